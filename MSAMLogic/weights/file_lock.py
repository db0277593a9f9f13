"""A lock on a file that threads and processes of the same machine share."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_POLL_SECONDS = 0.1


@contextmanager
def locked(path: Path, while_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a file, across threads and processes.

    The system drops the lock of a process that ends, however it ends. The lock file stays: to delete it
    would let two others lock two different files.

    Args:
        path: the file; it need not exist, its folder must. ``.lock`` is added to its name.
        while_waiting: called again and again while another has the lock; may raise to give up.

    Raises:
        OSError: when the lock file cannot be made.
    """
    with path.with_name(path.name + ".lock").open("ab") as stream:
        while not _try_lock(stream):
            while_waiting()
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            _unlock(stream)


if sys.platform == "win32":

    def _try_lock(stream: IO[bytes]) -> bool:
        stream.seek(0)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        return True

    def _unlock(stream: IO[bytes]) -> None:
        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)

else:

    def _try_lock(stream: IO[bytes]) -> bool:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def _unlock(stream: IO[bytes]) -> None:
        # Not left to closing: a forked child would keep the lock.
        fcntl.flock(stream, fcntl.LOCK_UN)
