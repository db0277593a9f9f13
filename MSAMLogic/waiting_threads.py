"""How torch's threads wait for each other: asleep, so that a click stays quick on a busy computer.

By default OpenMP's threads wait in a loop that takes the processor. Where another program, or the viewer
itself, wants a core, that loop is what runs in place of the thread that all wait for, at every one of the
many barriers of a network: beside a busy program a click took many times as long. ``make bench`` measures it.
"""

from __future__ import annotations

import os

VARIABLE = "OMP_WAIT_POLICY"  # OpenMP 5.2, section 21.6; read when OpenMP's library is loaded


def let_waiting_threads_sleep() -> None:
    """Ask OpenMP to let threads sleep while they wait, unless the user has said otherwise.

    It counts for all that loads OpenMP later in this process or its children; what has loaded it already, for
    example torch, goes on as it was.
    """
    os.environ.setdefault(VARIABLE, "PASSIVE")
