"""The parts of the Slicer module that need no Slicer: worker, click memory, measurement texts."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from images import balls, middle, oblique

from MSAMLogic.measurements import measure
from MSAMLogic.session import Click

sys.path.append(str(Path(__file__).parents[1] / "SlicerMSAM"))
from SlicerMSAMLib.click_memory import TAG, ClickMemory, fingerprint, geometry_text
from SlicerMSAMLib.inference_worker import CancelledError, InferenceWorker, Job
from SlicerMSAMLib.measurement_rows import (
    EXPLANATIONS,
    HEADINGS,
    NamedMeasurements,
    clipboard_text,
    shown_row,
)

# The worker


@pytest.fixture
def worker() -> Iterator[InferenceWorker]:
    made = InferenceWorker()
    yield made
    made.stop()


def deliver(worker: InferenceWorker, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while worker.is_busy:
        assert time.monotonic() < end, "the worker did not finish"
        worker.poll()
        time.sleep(0.001)


class Gate:
    """Work that waits until it may go on, and says when it runs."""

    def __init__(self) -> None:
        self.runs, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, job: Job) -> str:
        self.runs.set()
        assert self.may_go_on.wait(10)
        return "done"


def test_jobs_run_in_order_on_one_thread_and_are_told_on_the_caller_s(worker: InferenceWorker) -> None:
    told: list[tuple[int, str, str]] = []
    for number in range(20):
        job = Job(
            lambda job, n=number: (n, threading.current_thread().name),  # type: ignore[misc]
            lambda result: told.append((*result, threading.current_thread().name)),
        )
        worker.submit(job)
    deliver(worker)
    assert [n for n, _, _ in told] == list(range(20))
    assert {name for _, name, _ in told} == {"MSAM inference"}
    assert {name for _, _, name in told} == {threading.current_thread().name}


def test_nothing_is_told_before_somebody_polls(worker: InferenceWorker) -> None:
    told: list[object] = []
    worker.submit(Job(lambda job: 1, told.append))
    time.sleep(0.1)
    assert told == [] and worker.is_busy
    deliver(worker)
    assert told == [1]


def test_a_failure_is_told_and_the_next_job_runs(worker: InferenceWorker) -> None:
    told: list[object] = []

    def fail(job: Job) -> None:
        raise ValueError("broken")

    worker.submit(Job(fail, told.append, lambda error: told.append(str(error))))
    worker.submit(Job(lambda job: "next", told.append))
    deliver(worker)
    assert told == ["broken", "next"]


def test_a_cancelled_job_is_told_at_once_and_commits_nothing(worker: InferenceWorker) -> None:
    gate, told, committed = Gate(), [], []
    worker.submit(Job(gate, told.append, None, lambda: told.append("cancelled"), committed.append))
    queued = Job(lambda job: committed.append("never"), told.append, None, lambda: told.append("queued too"))
    worker.submit(queued)
    assert gate.runs.wait(10)
    worker.cancel()
    assert told == ["cancelled", "queued too"] and not worker.is_busy
    gate.may_go_on.set()
    after = Job(lambda job: "after", told.append)
    worker.submit(after)
    deliver(worker)
    assert told[2:] == ["after"] and committed == []


def test_a_finished_job_cannot_be_cancelled_any_more(worker: InferenceWorker) -> None:
    told: list[object] = []
    committed = threading.Event()
    job = Job(lambda job: 1, told.append, None, lambda: told.append("cancelled"), lambda r: committed.set())
    worker.submit(job)
    assert committed.wait(10)
    time.sleep(0.05)
    worker.cancel()
    deliver(worker)
    assert told == [1]  # what was committed is also told


def test_work_that_checks_stops_early(worker: InferenceWorker) -> None:
    steps = []
    runs = threading.Event()

    def work(job: Job) -> None:
        for step in range(1000):
            job.check()
            steps.append(step)
            runs.set()
            time.sleep(0.01)

    worker.submit(Job(work))
    assert runs.wait(10)
    worker.cancel()
    time.sleep(0.1)
    done = len(steps)
    time.sleep(0.1)
    assert len(steps) == done < 100


def test_progress_is_told_in_order() -> None:
    messages: list[object] = []
    worker = InferenceWorker(messages.append)
    try:
        worker.submit(Job(lambda job: [job.report(n) for n in range(5)]))
        deliver(worker)
        assert messages == list(range(5))
    finally:
        worker.stop()


def test_stopping_ends_the_thread_and_tells_nobody() -> None:
    worker, told = InferenceWorker(), []
    worker.submit(Job(lambda job: 1, told.append))
    thread = worker._thread
    worker.stop()
    worker.poll()
    assert thread is not None and not thread.is_alive() and told == []


def test_a_check_raises_only_when_cancelled() -> None:
    job = Job(lambda job: None)
    job.check()
    job._cancelled.set()
    with pytest.raises(CancelledError):
        job.check()


# The memory of clicks

points = st.tuples(*[st.floats(-2000, 2000)] * 3)
clicks = st.lists(st.builds(Click, points, st.booleans()), max_size=30)


def mask_of(voxels: np.ndarray, degrees: float = 0.0) -> sitk.Image:
    mask = sitk.GetImageFromArray(voxels.astype(np.uint8))
    mask.SetOrigin((-12.5, 40.0, 7.25))
    mask.SetSpacing((0.7, 0.8, 2.5))
    mask.SetDirection(oblique(degrees))
    return mask


@settings(max_examples=50, deadline=None)
@given(clicks, st.integers(0, 2**32 - 1), st.booleans(), st.floats(-40, 40))
def test_a_memory_comes_back_as_it_was(made: list[Click], seed: int, starts: bool, degrees: float) -> None:
    voxels = np.random.default_rng(seed).random((3, 5, 7)) > 0.5
    start = mask_of(voxels, degrees) if starts else None
    memory = ClickMemory(tuple(made), start, "geometry", "content")
    text = memory.to_text()
    assert not set(text) & set("|:^~ \n"), "Slicer separates tags by these"
    again = ClickMemory.from_text(text)
    assert again is not None and again.clicks == memory.clicks
    assert (again.geometry, again.content) == ("geometry", "content")
    if start is None:
        assert again.starting_mask is None
    else:
        assert again.starting_mask is not None
        assert np.array_equal(sitk.GetArrayFromImage(again.starting_mask), voxels)
        assert again.starting_mask.GetOrigin() == start.GetOrigin()
        assert again.starting_mask.GetDirection() == start.GetDirection()


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_a_damaged_memory_is_none(text: str) -> None:
    assert ClickMemory.from_text(text) is None
    whole = ClickMemory((Click((1.0, 2.0, 3.0)),), None, "g", "c").to_text()
    assert ClickMemory.from_text(whole[: len(whole) // 2]) is None


def test_a_memory_of_a_later_version_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import SlicerMSAMLib.click_memory as module

    monkeypatch.setattr(module, "_VERSION", 99)
    later = ClickMemory((), None, "g", "c").to_text()
    monkeypatch.undo()
    assert ClickMemory.from_text(later) is None and TAG == "MSAM.Clicks"


def test_a_fingerprint_is_of_the_voxels_not_of_their_box() -> None:
    voxels = np.zeros((6, 7, 8), bool)
    voxels[2:4, 3:5, 1:6] = True
    whole = mask_of(voxels, 20)
    tight = sitk.RegionOfInterest(whole, (5, 2, 2), (1, 3, 2))
    assert fingerprint(whole) == fingerprint(tight) != "empty"
    voxels[2, 3, 1] = False
    assert fingerprint(mask_of(voxels, 20)) != fingerprint(tight)
    moved = sitk.Image(tight)
    moved.SetOrigin((0.0, 0.0, 0.0))
    assert fingerprint(moved) != fingerprint(tight)
    assert fingerprint(mask_of(np.zeros((2, 2, 2)))) == "empty"


def test_a_geometry_is_the_same_for_the_same_voxels_only() -> None:
    to_ras = np.diag([-0.7, -0.7, 2.0, 1.0])
    assert geometry_text(to_ras, (10, 20, 30)) == geometry_text(to_ras + 1e-9, (10, 20, 30))
    assert geometry_text(to_ras, (10, 20, 30)) != geometry_text(to_ras, (10, 20, 31))
    shifted = to_ras.copy()
    shifted[0, 3] = 5
    assert geometry_text(to_ras, (10, 20, 30)) != geometry_text(shifted, (10, 20, 30))


# Measurements as text


@pytest.fixture(scope="module")
def rows() -> list[NamedMeasurements]:
    centre = middle(balls())
    image = balls(centres=[centre], radius=8)
    return [
        NamedMeasurements("Lesion 1", measure(image, image > 50)),
        NamedMeasurements("Lesion, empty", None),
    ]


def test_a_row_has_a_text_for_each_heading(rows: list[NamedMeasurements]) -> None:
    assert len(HEADINGS) == len(EXPLANATIONS)
    full, empty = (shown_row(row, "axial") for row in rows)
    assert len(full) == len(empty) == len(HEADINGS)
    assert float(full[1]) == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=0.1)
    assert float(full[2]) == pytest.approx(16, abs=1.5) and empty[1:] == ("–",) * 5


def test_the_clipboard_has_headings_and_rows(rows: list[NamedMeasurements]) -> None:
    lines = clipboard_text(rows, "coronal").splitlines()
    assert lines[0].split("\t") == list(HEADINGS) and len(lines) == 3
