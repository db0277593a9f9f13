"""One persistent thread that infers; its results are handed over on the main thread.

Qt and MRML belong to the main thread, so the worker knows neither: the widget polls it from a timer. One
thread for good, because GPU libraries keep plans for each thread.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


class CancelledError(Exception):
    """A job was cancelled; what it had done so far is dropped."""


class Job:
    """One piece of work and who wants to hear of it.

    Args:
        work: runs on the worker's thread, is given the job and returns a result.
        on_success: called with the result, on the main thread.
        on_failure: called with the exception, on the main thread; by default it is logged.
        on_cancel: called without arguments, on the main thread.
        commit: called with the result on the worker's thread, only when the job was not cancelled: the
            place to make a change stick. It must be quick.
    """

    def __init__(
        self,
        work: Callable[[Job], Any],
        on_success: Callable[[Any], object] | None = None,
        on_failure: Callable[[Exception], object] | None = None,
        on_cancel: Callable[[], object] | None = None,
        commit: Callable[[Any], object] | None = None,
    ) -> None:
        self.work = work
        self.on_success = on_success
        self.on_failure = on_failure
        self.on_cancel = on_cancel
        self.commit = commit
        self.is_decided = False  # finished for good: too late to cancel
        self._cancelled = threading.Event()
        self._report: Callable[[object], None] = lambda message: None

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise :class:`CancelledError` when the job was cancelled; work calls this now and then."""
        if self.is_cancelled:
            raise CancelledError

    def report(self, message: object) -> None:
        """Send a message of progress to the main thread."""
        self._report(message)


class InferenceWorker:
    """Runs jobs one after the other on a thread of its own.

    Args:
        on_message: called on the main thread with what jobs report.
    """

    def __init__(self, on_message: Callable[[object], object] | None = None) -> None:
        self._on_message = on_message
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._open: list[Job] = []  # submitted, and neither delivered nor cancelled; main thread only
        self._decision = threading.Lock()  # whether a job is cancelled or committed is decided once
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job waits, runs, or has an outcome that nobody was told yet."""
        return bool(self._open)

    @property
    def open_jobs(self) -> int:
        """How many jobs wait or run."""
        return len(self._open)

    def submit(self, job: Job) -> Job:
        """Queue a job; call from the main thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="MSAM inference", daemon=True)
            self._thread.start()
        job._report = lambda message: self._outcomes.put(lambda: self._tell(message))
        self._open.append(job)
        self._jobs.put(job)
        return job

    def poll(self) -> None:
        """Deliver what has happened; call from the main thread, for example from a timer."""
        while True:
            try:
                deliver = self._outcomes.get_nowait()
            except queue.Empty:
                return
            deliver()

    def cancel(self, jobs: list[Job] | None = None) -> None:
        """Cancel jobs, by default all that are open; they are told at once.

        A job that is already finished stays finished. One that runs stops at its next check and changes
        nothing any more.
        """
        cancelled = []
        for job in list(self._open if jobs is None else jobs):
            with self._decision:
                if job in self._open and not job.is_decided:
                    job._cancelled.set()
                    cancelled.append(job)
        for job in cancelled:
            self._open.remove(job)
            if job.on_cancel is not None:
                job.on_cancel()

    def stop(self, seconds: float = 5.0) -> None:
        """Cancel everything and end the thread; a later :meth:`submit` starts a new one."""
        self.cancel()
        self._open.clear()
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(seconds)
            if self._thread.is_alive():
                logger.warning("Inference goes on in the background until its present step is done.")
            self._thread = None
        self._jobs = queue.SimpleQueue()
        self._outcomes = queue.SimpleQueue()

    def _run(self) -> None:
        jobs, outcomes = self._jobs, self._outcomes
        while (job := jobs.get()) is not None:
            if job.is_cancelled:
                continue
            try:
                result = job.work(job)
                with self._decision:
                    job.check()
                    job.is_decided = True
                    if job.commit is not None:
                        job.commit(result)
                outcomes.put(lambda job=job, result=result: self._succeed(job, result))
                result = None  # a large mask need not wait for the next job
            except CancelledError:
                continue
            except Exception as error:
                with self._decision:
                    if job.is_cancelled:
                        continue
                    job.is_decided = True
                outcomes.put(lambda job=job, error=error: self._fail(job, error))

    def _succeed(self, job: Job, result: Any) -> None:
        if job in self._open:
            self._open.remove(job)
            if job.on_success is not None:
                job.on_success(result)

    def _fail(self, job: Job, error: Exception) -> None:
        if job in self._open:
            self._open.remove(job)
            if job.on_failure is not None:
                job.on_failure(error)
            else:
                logger.error("A background job failed.", exc_info=error)

    def _tell(self, message: object) -> None:
        if self._on_message is not None:
            self._on_message(message)
