"""Never frozen: queued clicks, cancelling, stale results, leaving, closing."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import slicer
from support import HeldPredictor, User, directly, two_balls, volume_node

from Testing.slicer_shell.testing import count_nodes, count_observers, process_events


def beside(centre: tuple[float, float, float], shift: float) -> tuple[float, float, float]:
    return (centre[0] + shift, centre[1], centre[2])


def inference_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "MSAM inference"]


def test_clicks_made_meanwhile_queue_and_all_count(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.predictor.may_go_on.clear()
    wanted = [(centre, True), (beside(centre, 6), False), (beside(centre, -6), False)]
    for ras, positive in wanted:
        user.place(ras, positive)
        process_events(5)
    assert len(user.markers()) == 3 and user.lesion.update is None
    user.predictor.may_go_on.set()
    user.wait()
    assert np.array_equal(user.mask(), directly(HeldPredictor(), image, wanted))
    assert len(user.lesion.update.clicks) == 3


def test_one_thread_does_all_the_inference(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    for shift in (0, 1, 2):
        user.mark(beside(centre, shift))
    assert len(inference_threads()) == 1 and user.loads == 1


def test_cancel_drops_what_is_not_answered_at_once_and_keeps_the_rest(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    before = user.mask()
    user.predictor.may_go_on.clear()
    user.place(beside(centre, 6), positive=False)
    user.place(beside(centre, -6), positive=False)
    user.wait_until(user.predictor.is_waiting.is_set)
    user.wait_until(lambda: user.panel.ui.cancelButton.isVisible())
    assert user.panel.ui.progressBar.isVisible() and "Working" in user.status
    start = time.monotonic()
    user.panel.ui.cancelButton.click()
    process_events()
    assert time.monotonic() - start < 0.3
    assert not user.panel.ui.cancelButton.isVisible()
    assert len(user.markers()) == 1 and np.array_equal(user.mask(), before)
    user.predictor.may_go_on.set()
    user.wait()
    assert np.array_equal(user.mask(), before)
    user.mark(beside(centre, 6), positive=False)  # goes on as if nothing had been
    assert np.array_equal(
        user.mask(), directly(HeldPredictor(), image, [(centre, True), (beside(centre, 6), False)])
    )
    user.panel.undo()
    user.wait()
    assert np.array_equal(user.mask(), before) and len(user.markers()) == 1


def test_a_cancelled_first_click_leaves_an_empty_lesion_that_can_be_clicked(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.predictor.may_go_on.clear()
    user.place(centre)
    user.wait_until(user.predictor.is_waiting.is_set)
    user.panel.cancel()
    assert user.markers() == []
    user.predictor.may_go_on.set()
    user.mark(centre)
    assert np.array_equal(user.mask(), directly(HeldPredictor(), image, [(centre, True)]))


def test_quick_answers_show_no_busy_sign(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    seen = []
    user.place(beside(centre, 6), positive=False)
    while user.editor.worker.is_busy:
        seen.append(user.panel.ui.cancelButton.isVisible())
        process_events(1)
    assert not any(seen)


def test_a_failing_network_is_reported_and_the_click_taken_back(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    before = user.mask()
    good = user.predictor.__class__.decode

    def broken(*args: object) -> object:
        raise RuntimeError("out of order")

    user.predictor.__class__.decode = broken
    try:
        user.mark(beside(centre, 6), positive=False)
    finally:
        user.predictor.__class__.decode = good
    assert "out of order" in user.status
    assert len(user.markers()) == 1 and np.array_equal(user.mask(), before)


def test_closing_the_scene_during_an_inference_drops_its_result(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.predictor.may_go_on.clear()
    user.place(centre)
    user.wait_until(user.predictor.is_waiting.is_set)
    slicer.mrmlScene.Clear(0)
    process_events(10)
    user.predictor.may_go_on.set()
    process_events(200)
    assert user.editor.volume is None and user.lesion is None and not user.editor.worker.is_busy
    assert count_nodes("vtkMRMLSegmentationNode") == count_nodes("vtkMRMLMarkupsFiducialNode") == 0
    image, centre, _ = two_balls()
    user.open(volume_node(image, "Next patient"))
    user.panel.ui.volumeSelector.setCurrentNode(slicer.util.getNode("Next patient"))
    user.mark(centre)
    assert user.mask().any()


def test_deleting_the_volume_during_an_inference_drops_its_result(user: User) -> None:
    image, centre, _ = two_balls()
    volume = volume_node(image)
    user.open(volume)
    user.predictor.may_go_on.clear()
    user.place(centre)
    user.wait_until(user.predictor.is_waiting.is_set)
    slicer.mrmlScene.RemoveNode(volume)
    user.predictor.may_go_on.set()
    process_events(200)
    assert user.editor.volume is None and user.markers() == [] and not user.editor.preview.is_shown
    assert not user.panel.ui.lesionButton.enabled


def test_deleting_the_segmentation_starts_a_new_one_at_the_next_click(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    slicer.mrmlScene.RemoveNode(user.segmentation)
    process_events(10)
    assert user.segmentation is None and user.markers() == []
    user.mark(centre)
    assert user.mask().any() and len(user.segment_ids()) == 1


def test_removing_the_selected_segment_is_survived(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    user.segmentation.GetSegmentation().RemoveSegment(user.lesion.segment_id)
    process_events(10)
    user.mark(centre)
    assert user.mask().any() and len(user.segment_ids()) == 1


def test_leaving_and_coming_back_goes_on_where_it_was(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    user.mark(beside(centre, 6), positive=False)
    mask, markers = user.mask(), user.markers()
    user.panel.clicking.start_placing(True)
    slicer.util.selectModule("")
    process_events(10)
    assert count_nodes("vtkMRMLMarkupsFiducialNode") == 0 and user.editor.preview.node is None
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    user.open()
    user.wait()
    assert np.array_equal(user.mask(), mask) and user.editor.preview.is_shown
    assert [sign for _, sign in user.markers()] == [sign for _, sign in markers]
    user.panel.undo()
    user.wait()
    assert len(user.markers()) == 1


def test_an_answer_that_comes_after_leaving_waits_until_the_user_is_back(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    user.predictor.may_go_on.clear()
    user.place(beside(centre, 6), positive=False)
    user.wait_until(user.predictor.is_waiting.is_set)
    slicer.util.selectModule("")
    user.predictor.may_go_on.set()
    user.wait()
    assert count_nodes("vtkMRMLMarkupsFiducialNode") == 0 and user.editor.preview.node is None
    user.open()
    user.wait()
    expected = directly(HeldPredictor(), image, [(centre, True), (beside(centre, 6), False)])
    assert np.array_equal(user.mask(), expected) and len(user.markers()) == 2
    assert user.editor.preview.is_shown


def test_what_was_to_be_measured_is_measured_after_a_cancel(user: User) -> None:
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    user.place(beside(centre, 6), positive=False)
    user.panel.cancel()
    user.wait()
    user.mark(beside(centre, 6), positive=False)
    measured = user.editor.measurements_of(user.lesion.segment_id)
    assert measured is not None and measured.voxel_count == user.mask().sum()


def test_keys_are_dead_outside_the_module(user: User) -> None:
    import qt

    from Testing.slicer_shell.testing import press_key

    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    slicer.util.selectModule("")
    press_key(qt.Qt.Key_R)
    press_key(qt.Qt.Key_P)
    process_events(20)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    user.open()
    user.wait()
    assert user.mask().any()


def test_after_fifty_clicks_and_a_closed_scene_nothing_is_left(user: User) -> None:
    image, centre, other = two_balls()
    user.open()
    scene_observers = count_observers(slicer.mrmlScene)
    nodes = count_nodes()
    volume = volume_node(image)
    user.panel.ui.volumeSelector.setCurrentNode(volume)
    process_events(10)
    rng = np.random.default_rng(0)
    for number in range(50):
        if number == 25:
            user.panel.next_lesion()
        start = centre if number < 25 else other
        first = number in (0, 25)
        shift = np.zeros(3) if first else rng.uniform(-5, 5, 3)
        user.mark(tuple(np.array(start) + shift), positive=bool(first or number % 2))
    assert len(user.markers()) == 25
    slicer.mrmlScene.Clear(0)
    process_events(50)
    assert count_observers(slicer.mrmlScene) == scene_observers
    assert count_nodes() <= nodes
    assert user.markers() == [] and not user.editor.worker.is_busy and user.editor._lesions == {}
    assert len(inference_threads()) == 1
    user.panel.close()
    process_events(20)
    assert inference_threads() == []


def test_the_click_of_a_model_without_weights_is_refused_with_the_reason(user: User) -> None:
    from MSAMLogic.errors import WeightsError

    def missing(name: str, job: object) -> object:
        raise WeightsError("The weights are not here. Download them.")

    user.panel.load_predictor = missing
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.mark(centre)
    assert "Download them" in user.status and user.markers() == []


@pytest.mark.parametrize("share", [None, 0.42])
def test_loading_shows_its_progress(user: User, share: float | None) -> None:
    from SlicerMSAMLib.model_choice import Progress

    go_on = threading.Event()

    def slow(name: str, job: object) -> object:
        job.report(Progress("Downloading the model", share))
        assert go_on.wait(20)
        return user.predictor

    user.panel.load_predictor = slow
    image, centre, _ = two_balls()
    user.open(volume_node(image))
    user.place(centre)
    user.wait_until(lambda: user.panel.ui.progressBar.isVisible())
    user.wait_until(lambda: "Downloading" in user.status)
    assert user.panel.ui.progressBar.maximum == (0 if share is None else 100)
    if share is not None:
        assert user.panel.ui.progressBar.value == 42
    go_on.set()
    user.wait()
    assert user.mask().any() and not user.panel.ui.progressBar.isVisible()
