"""How torch's threads wait for each other: awake for a moment, then asleep.

A network has many barriers, at each of which threads wait for the slowest. GNU's OpenMP, which torch uses
on Linux, lets them wait for long in a loop that takes the processor. Where another program, or the viewer
itself, wants a core, that loop runs in place of the thread that all wait for. Threads that sleep at once are
slow to wake, though, on a computer that has nothing else to do. ``make bench`` measures clicks on an idle and
on a busy one.
"""

from __future__ import annotations

import os

# Both are read when OpenMP's library is loaded. The first is GNU's own: rounds of the loop before a thread
# sleeps, by default 300,000 (libgomp's manual, "GOMP_SPINCOUNT"). The second, the standard's, is coarser.
SPIN_COUNT = "GOMP_SPINCOUNT"
WAIT_POLICY = "OMP_WAIT_POLICY"
_ROUNDS = 1000


def let_waiting_threads_sleep() -> None:
    """Ask OpenMP to let threads sleep that wait for long, unless the user has said otherwise.

    It counts for all that loads OpenMP later in this process or its children; what has loaded it already, for
    example torch, goes on as it was. Other libraries than GNU's take no notice.
    """
    if WAIT_POLICY not in os.environ:
        os.environ.setdefault(SPIN_COUNT, str(_ROUNDS))
