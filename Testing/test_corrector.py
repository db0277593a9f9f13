"""The corrector: what it sees, how it is recorded for and taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from predictors import ThresholdPredictor
from test_model import TINY, randomised
from typer.testing import CliRunner

from MSAMLogic.cli import app
from MSAMLogic.correcting.correction import CUBE_SIZE, Correction
from MSAMLogic.errors import ImageError, ModelError, TrainingError
from MSAMLogic.geometry import PatchGrid
from MSAMLogic.loading import read_network
from MSAMLogic.model import MSAM, build_model
from MSAMLogic.model.checkpoints import save_weights
from MSAMLogic.model.corrector import CorrectionTensors, Corrector, correction_channels
from MSAMLogic.predictor import TorchPredictor
from MSAMLogic.session import InteractiveSession
from MSAMLogic.training.cases import read_cases, split_by_patient
from MSAMLogic.training.corrections.losses import correction_figures
from MSAMLogic.training.corrections.record import MOST_CLICKS, RECORD, as_record
from MSAMLogic.training.corrections.samples import CorrectionSamples
from MSAMLogic.training.corrections.sessions import RecordedSessions, record_session
from MSAMLogic.training.corrections.trainer import CorrectorConfig, CorrectorRun
from MSAMLogic.training.loaded_case import LoadedCase
from MSAMLogic.training.recorded_run import RecordingElsewhere, recipe_of
from MSAMLogic.training.recorded_scans import ScanShares
from MSAMLogic.training.records import map_records, write_records
from MSAMLogic.training.samples import PatchSamples
from MSAMLogic.training.wrong_masks import wrong_mask

N = CUBE_SIZE
CORRECTING = replace(TINY, corrector_width=8)


def correction(seed: int = 0, clicks: int = 3) -> Correction:
    """Return a correction of a bright ball of which the mask holds one half."""
    rng = np.random.default_rng(seed)
    offset = np.stack(np.indices((N, N, N))) - (N - 1) / 2
    ball = np.linalg.norm(offset, axis=0) < 9
    image = np.where(ball, 300.0, 100.0) + rng.normal(0, 10, ball.shape)
    image[:, :, :3] = np.nan
    before = (ball & (offset[0] < 0)).astype(np.float32)
    answer = np.where(ball, 2.0, -2.0) + rng.normal(0, 0.5, ball.shape)
    coords = np.concatenate((rng.uniform(0, N, (clicks - 1, 3)), np.full((1, 3), (N - 1) / 2)))
    labels = np.array([*rng.integers(0, 2, clicks - 1), 1])
    cube = PatchGrid((0.0, 0.0, 0.0), 1.0, N)
    return Correction(
        cube,
        image.astype(np.float32),
        before,
        answer.astype(np.float32),
        coords.astype(np.float32),
        labels,
        2.0,
        np.array([1.0, 1.0, 3.0], np.float32),
    )


def truth_of(made: Correction) -> np.ndarray:
    return (np.nan_to_num(made.image, nan=100.0) > 200).astype(np.float32)


def tensors(made: Correction) -> CorrectionTensors:
    return CorrectionTensors(*(torch.from_numpy(part[None]) for part in made.arrays()))


# What it sees


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 500.0), (0.02, -1.0), (7.0, 0.0)])
def test_brightness_is_relative(scale: float, offset: float) -> None:
    known = tensors(correction())
    other = known._replace(image=known.image * scale + offset)
    assert torch.allclose(correction_channels(known), correction_channels(other), atol=0.02)


def test_what_lies_beyond_the_image_is_finite_and_marked() -> None:
    channels = correction_channels(tensors(correction()))
    assert channels.isfinite().all()
    beyond = channels[0, 11]
    assert (beyond[:, :, :3] == 1).all() and not beyond[:, :, 3:].any()
    nowhere = tensors(correction())._replace(image=torch.full((1, N, N, N), float("nan")))
    assert correction_channels(nowhere).isfinite().all()


def test_contrasts_of_soft_tissue_are_seen_beside_bone_and_air() -> None:
    made = correction()
    hounsfield = np.where(np.nan_to_num(made.image, nan=0) > 200, 60.0, 30.0)  # a lesion in muscle
    hounsfield += np.random.default_rng(1).normal(0, 5, hounsfield.shape)
    hounsfield[:, :5] = -1000.0
    hounsfield[:, 28:] = 900.0
    channels = correction_channels(tensors(replace(made, image=hounsfield.astype(np.float32))))[0].numpy()
    lesion = truth_of(made)[:, 5:28] > 0
    of_scene, of_noise, like_mask, like_ring = (channels[n][:, 5:28] for n in (1, 13, 15, 16))
    faint, seen = (channel[lesion].mean() - channel[~lesion].mean() for channel in (of_scene, of_noise))
    assert faint < 0.3 and seen > 0.45
    assert like_mask[lesion].mean() > 2 * like_mask[~lesion].mean()
    assert like_ring.max() <= 1


def test_how_thick_voxels_are_is_seen_along_its_axis() -> None:
    known = tensors(correction())
    channels = correction_channels(known)[0, 17:]
    assert not channels[:2].any() and channels[2].unique().item() == pytest.approx(np.log2(3.0) / 4)
    unknown = known._replace(voxel=torch.full((1, 3), float("nan")))
    assert not correction_channels(unknown)[0, 17:].any()


def test_a_corrector_of_the_first_kind_sees_nothing_of_it() -> None:
    made, corrector = tensors(correction()), randomised(Corrector(8, 13), 0.1).eval()
    thicker = made._replace(voxel=5 * made.voxel)
    with torch.inference_mode():
        assert torch.equal(corrector(made), corrector(thicker))
    with pytest.raises(ModelError, match="corrector_channels"):
        replace(CORRECTING, corrector_channels=14)


def test_absent_clicks_leave_no_trace() -> None:
    known = tensors(correction(clicks=2))
    padded = known._replace(
        coords=torch.cat((torch.full((1, 2, 3), 10.0), known.coords), dim=1),
        labels=torch.cat((torch.full((1, 2), -1), known.labels), dim=1),
    )
    assert torch.equal(correction_channels(known), correction_channels(padded))


def test_a_lesion_click_and_a_background_click_look_different() -> None:
    known = tensors(correction())
    labels = known.labels.clone()
    labels[:, -1] = 0
    assert not torch.equal(correction_channels(known), correction_channels(known._replace(labels=labels)))


def test_an_untrained_corrector_blends_the_answer_and_the_mask_before() -> None:
    made = correction()
    torch.manual_seed(0)
    corrector = Corrector(8, 20)
    torch.nn.init.zeros_(corrector.head.weight)
    torch.nn.init.zeros_(corrector.head.bias)
    logits = corrector(tensors(made))[0]
    assert (logits[torch.from_numpy((made.before > 0.5) & (made.answer > 0))] > 0).all()
    assert (logits[torch.from_numpy((made.before < 0.5) & (made.answer < 0))] < 0).all()


def test_samples_of_a_batch_do_not_mix() -> None:
    corrector = randomised(Corrector(8, 20), 0.1).eval()
    one, other = tensors(correction(0)), tensors(correction(1))
    both = CorrectionTensors(*(torch.cat(pair) for pair in zip(one, other, strict=True)))
    with torch.inference_mode():
        assert torch.allclose(corrector(both)[0], corrector(one)[0], atol=1e-4)


def test_a_network_says_whether_it_corrects() -> None:
    with_one, without = build_model("", CORRECTING), build_model("", TINY)
    assert with_one.capabilities.corrects and not without.capabilities.corrects
    assert TorchPredictor(with_one, "cpu").correct(correction()).shape == (N, N, N)
    with pytest.raises(ModelError, match="no corrector"):
        TorchPredictor(without, "cpu").correct(correction())


def test_out_of_gpu_memory_the_processor_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = TorchPredictor(build_model("", CORRECTING), "cpu")
    expected = predictor.correct(correction())
    correct, calls = predictor.network.correct, []

    def full_at_first(known: CorrectionTensors) -> torch.Tensor:
        calls.append(known)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("full")
        return correct(known)

    monkeypatch.setattr(predictor.network, "correct", full_at_first)
    with pytest.warns(UserWarning, match="ran out of memory"):
        assert np.array_equal(predictor.correct(correction()), expected)


def test_a_width_that_cannot_be_normalised_is_refused() -> None:
    with pytest.raises(ModelError, match="corrector_width"):
        replace(TINY, corrector_width=12)


# Its loss


def test_a_perfect_correction_costs_little_and_its_opposite_much() -> None:
    made = correction()
    known, target = tensors(made), torch.from_numpy(truth_of(made))[None]
    right = correction_figures(20 * target - 10, known, target)
    wrong = correction_figures(10 - 20 * target, known, target)
    assert right["loss"] < 0.01 and right["dice"] > 0.999
    assert wrong["loss"] > 5 and wrong["dice"] < 0.2
    assert 0.6 < right["dice_before"] < 0.72 and right["dice_answer"] > 0.99


def test_what_lies_beyond_the_image_costs_nothing() -> None:
    made = correction()
    known, target = tensors(made), torch.from_numpy(truth_of(made))[None]
    logits = (20 * target - 10).requires_grad_()
    correction_figures(logits, known, target)["loss"].backward()
    assert logits.grad is not None
    assert not logits.grad[known.image.isnan()].any() and logits.grad.any()


@pytest.mark.parametrize("positive", [True, False])
def test_what_the_click_cannot_change_counts_little(positive: bool) -> None:
    made = correction()
    known, target = tensors(made), torch.from_numpy(truth_of(made))[None]
    labels = known.labels.clone()
    labels[:, -1] = int(positive)
    logits = torch.zeros_like(target).requires_grad_()
    figures = correction_figures(logits, known._replace(labels=labels), target)
    figures["loss"].backward()
    assert logits.grad is not None
    edge = (known.distance.abs() <= 2) & ~known.image.isnan()
    inside, outside = (edge & (known.before == share) for share in (1, 0))
    changing, fixed = (outside, inside) if positive else (inside, outside)
    assert logits.grad[changing].abs().mean() > 5 * logits.grad[fixed].abs().mean() > 0
    # Everything is said to be lesion, and nothing: the mask can only grow, or only shrink.
    for said in (10.0, -10.0):
        told = correction_figures(torch.full_like(target, said), known._replace(labels=labels), target)
        assert (told["dice"] == told["dice_before"]) == ((said < 0) == positive)


def test_what_is_in_question_counts_more_than_the_rest() -> None:
    made = correction()
    known, target = tensors(made), torch.from_numpy(truth_of(made))[None]
    logits = torch.zeros_like(target).requires_grad_()
    correction_figures(logits, known, target)["loss"].backward()
    assert logits.grad is not None
    within, outside = ~known.image.isnan(), target < 0.5
    in_question = within & outside & ((known.answer > 0) | (known.distance.abs() <= 2))
    far = within & outside & (known.answer < 0) & (known.distance < -3)
    assert in_question.any() and far.any()
    assert logits.grad[in_question].abs().mean() > 2 * logits.grad[far].abs().mean()


@pytest.mark.parametrize("chance_of_error", [0.3, 0.7])
def test_the_mask_changes_where_it_is_more_likely_wrong_than_right(chance_of_error: float) -> None:
    made = correction()
    known = tensors(made)
    right = (known.before > 0.5).float()
    shell = (known.distance.abs() <= 1) & ~known.image.isnan()  # nobody can tell what is there
    wrong = torch.where(shell, 1 - right, right)
    logits = torch.zeros_like(right).requires_grad_()
    losses = [correction_figures(logits, known, truth)["loss"] for truth in (right, wrong)]
    ((1 - chance_of_error) * losses[0] + chance_of_error * losses[1]).backward()
    assert logits.grad is not None
    kept = (logits.grad[shell] < 0) == (right[shell] > 0.5)
    assert kept.float().mean() > 0.95 if chance_of_error < 0.5 else kept.float().mean() < 0.05


# Records


def test_a_record_holds_what_was_known(tmp_path: Path) -> None:
    made = correction()
    write_records(tmp_path / "0.npy", [as_record(made, truth_of(made))], RECORD)
    (record,) = map_records(tmp_path / "0.npy", RECORD)
    assert np.array_equal(record["image"], made.image, equal_nan=True)
    assert np.abs(record["before"] / 255 - made.before).max() < 0.01
    assert np.allclose(record["answer"], made.answer, atol=0.01)
    assert np.abs(record["truth"] / 255 - truth_of(made)).max() < 0.01
    assert record["labels"].tolist() == [-1] * (MOST_CLICKS - 3) + made.labels.tolist()
    assert np.array_equal(record["coords"][-3:], made.coords) and record["depth"] == 2.0


def test_of_many_clicks_the_newest_are_kept() -> None:
    made = correction(clicks=MOST_CLICKS + 5)
    record = as_record(made, truth_of(made))
    assert record["labels"].tolist() == made.labels[-MOST_CLICKS:].tolist()
    assert np.array_equal(record["coords"], made.coords[-MOST_CLICKS:])


def test_a_session_may_have_no_records(tmp_path: Path) -> None:
    write_records(tmp_path / "0.npy", [], RECORD)
    assert len(map_records(tmp_path / "0.npy", RECORD)) == 0
    with pytest.raises(TrainingError, match="No session"):
        CorrectionSamples([tmp_path / "0.npy"], 0, 10)


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_damaged_record_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "7.npy"
    if content is None:
        np.save(path, np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"7\.npy"):
        map_records(path, RECORD)


def test_a_turned_sample_is_the_same_correction_seen_from_elsewhere(tmp_path: Path) -> None:
    made = correction()
    # Where the mask and the lesion are brightest the click markers lie: they must turn together.
    marked = replace(made, coords=np.array([[4, 9, 20], [25, 6, 11], [15.5, 15.5, 15.5]], np.float32))
    before = made.before * 0
    before[4, 9, 20] = before[25, 6, 11] = 1
    voxel = np.array([4.0, 9.0, 20.0], np.float32)  # as far along each axis as the first marker
    marked = replace(marked, before=before, labels=np.array([0, 1, 1]), voxel=voxel)
    write_records(tmp_path / "0.npy", [as_record(marked, truth_of(made))], RECORD)
    samples = CorrectionSamples([tmp_path / "0.npy"], 5, 100)
    turns = set()
    for index in range(20):
        sample = samples[index]
        for cell in sample["coords"][-3:-1].long().tolist():
            assert sample["before"][tuple(cell)] == 1
        turns.add(tuple(sample["coords"][-3].tolist()))
        mirrored = N - 1 - sample["voxel"]
        first = sample["coords"][-3]
        assert ((first == sample["voxel"]) | (first == mirrored)).all()
        assert torch.equal(sample["target"].sum(), samples[0]["target"].sum())
        assert sample["patch"].isnan().sum() == np.isnan(made.image).sum()
    assert len(turns) > 8


def test_a_sample_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    for number in range(3):
        made = correction(number)
        write_records(tmp_path / f"{number}.npy", [as_record(made, truth_of(made))] * 2, RECORD)
    files = sorted(tmp_path.glob("*.npy"))
    one, again = CorrectionSamples(files, 1, 10), CorrectionSamples(files, 1, 10)
    for index in (3, 0, 3):
        for name, value in one[index].items():
            assert torch.equal(value.nan_to_num(), again[index][name].nan_to_num()), name


# Sessions


@pytest.mark.parametrize("drawn", [0.0, 1.0])
def test_a_session_is_the_same_whenever_it_is_recorded(two_scans: PatchSamples, drawn: float) -> None:
    def sessions() -> RecordedSessions:
        return RecordedSessions(ThresholdPredictor(), two_scans, 0, 8, 4, ScanShares(drawn), 0.0)

    one, again = sessions(), sessions()
    lengths = []
    for number in (5, 1, 5, 3):
        first, second = one[number], again[number]
        lengths.append(len(first))
        assert len(first) == len(second) <= 2 * 3
        for a, b in zip(first, second, strict=True):
            assert a.tobytes() == b.tobytes()
    assert max(lengths) > 0


def test_a_session_is_recorded_in_the_modality_of_its_scan(
    two_scans: PatchSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = []

    def noted(self: InteractiveSession, image: object, modality: str) -> None:
        met.append((image.GetSize(), modality))  # type: ignore[attr-defined]
        raise ImageError("enough")

    monkeypatch.setattr(InteractiveSession, "set_image", noted)
    sessions = RecordedSessions(ThresholdPredictor(), two_scans, 0, 30, 3, ScanShares(1.0), 0.0)
    expected = []
    for number in range(30):
        assert sessions[number] == []
        rng = np.random.default_rng((0, 3, number))
        rng.random()
        expected.append(two_scans.draw_lesion(rng)[0].case.modality)
    assert [modality for _, modality in met] == expected and set(expected) == {"CT", "MR"}


def test_each_recorded_click_lies_in_an_error_of_the_mask_it_met(two_scans: PatchSamples) -> None:
    sessions = RecordedSessions(ThresholdPredictor(), two_scans, 2, 20, 5, ScanShares(1.0), 0.0)
    middle = slice(N // 2 - 1, N // 2 + 1)
    met = 0
    for number in range(8):
        for record in sessions[number]:
            met += 1
            truth, before = (
                record[name][middle, middle, middle].mean() / 255 for name in ("truth", "before")
            )
            # The click's voxel is wrong; its neighbours, which the cells show too, need not be.
            assert truth > before if record["labels"][-1] else truth < before
            assert record["depth"] > 0
    assert met > 5


def test_every_click_is_recorded_in_two_cubes_of_different_spacing(two_scans: PatchSamples) -> None:
    sessions = RecordedSessions(ThresholdPredictor(), two_scans, 2, 20, 5, ScanShares(1.0), 0.0)
    middle, ratios = (N - 1) / 2, []
    for number in range(8):
        records = sessions[number]
        assert len(records) % 2 == 0
        for one, other in zip(records[::2], records[1::2], strict=True):
            # The same clicks, seen at another scale.
            ratios.append(float(one["depth"] / other["depth"]))
            clicked = one["labels"] >= 0
            assert (one["labels"] == other["labels"]).all() and clicked.sum() >= 2
            offsets, others = (record["coords"][clicked] - middle for record in (one, other))
            assert np.allclose(offsets, others * ratios[-1], atol=1e-3)
    assert 1 / 3.3 < min(ratios) < 0.8 and 1.2 < max(ratios) < 3.3


def test_the_networks_own_corrector_is_asked_where_it_shall_be(two_scans: PatchSamples) -> None:
    class Own(ThresholdPredictor):
        asked = 0

        def correct(self, made: Correction) -> np.ndarray:
            self.asked += 1
            return np.full(made.image.shape, 1.0 if made.labels[-1] else -1.0, np.float32)

    predictor = Own()
    never = RecordedSessions(predictor, two_scans, 0, 6, 4, ScanShares(0.5), 0.0)
    assert sum(len(never[number]) for number in range(6)) and not predictor.asked
    always = RecordedSessions(predictor, two_scans, 0, 6, 4, ScanShares(0.5), 1.0)
    assert sum(len(always[number]) for number in range(6)) == 2 * predictor.asked > 0


def test_a_session_goes_on_from_the_mask_that_takes_the_place_of_its_first() -> None:
    offset = np.stack(np.indices((20, 24, 24))) - 10.0
    ball = np.linalg.norm(offset, axis=0) < 7
    image = sitk.GetImageFromArray(np.where(ball, 300.0, 100.0).astype(np.float32))
    half = ball & (offset[2] < 0)

    def met(first: np.ndarray) -> list[tuple[int, float]]:
        """Return label and share of the lesion in the mask, in the cubes of the one correcting click."""
        rng = np.random.default_rng(3)
        predictor = ThresholdPredictor()
        records = record_session(predictor, image, "MR", ball, 2, lambda made: made.answer, rng, first)
        return [
            (int(record["labels"][-1]), float(record["before"].sum() / record["truth"].sum()))
            for record in records
        ]

    too_little, too_much = met(half), met(np.linalg.norm(offset, axis=0) < 9)
    assert len(too_little) == 2 and all(label == 1 and 0.2 < share < 0.8 for label, share in too_little)
    assert len(too_much) == 2 and all(label == 0 and share > 1.2 for label, share in too_much)


def test_as_many_sessions_as_wanted_go_on_from_wrong_masks(
    two_scans: PatchSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def noted(lesion: np.ndarray, spacing: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
        made.append(int(lesion.sum()))
        return wrong_mask(lesion, spacing, rng)

    monkeypatch.setattr("MSAMLogic.training.corrections.sessions.wrong_mask", noted)
    counts = {}
    for wrong in (0.0, 0.25, 1.0):
        made.clear()
        shares = ScanShares(1.0)
        recorded = RecordedSessions(ThresholdPredictor(), two_scans, 0, 12, 3, shares, 0.0, wrong)
        assert sum(len(recorded[number]) for number in range(12))
        counts[wrong] = len(made)
    assert counts[0.0] == 0 and 1 <= counts[0.25] <= 5 and counts[1.0] == 12


# Runs


def written_config(tmp_path: Path, scan_folder: Path, **changes: object) -> Path:
    network = build_model("", TINY)
    randomised(network, 0.3)
    save_weights(tmp_path / "start.safetensors", network.config, network.state_dict())
    values = {
        "recipe": "corrector",
        "data": scan_folder,
        "output": tmp_path / "run",
        "start": "start.safetensors",
        "sessions": 3,
        "clicks": 3,
        "steps": 3,
        "minutes": 5,
        "batch_size": 2,
        "workers": 0,
    } | changes
    path = tmp_path / "corrector.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    return path


def test_a_run_records_sessions_on_the_scans_that_it_is_asked_for(
    tmp_path: Path, scan_folder: Path, two_scans: PatchSamples
) -> None:
    def records(varied: float, drawn: float = 1.0, implanted: float = 0.0, wrong: float = 0.0) -> list[bytes]:
        shares = {"drawn": drawn, "implanted": implanted, "varied": varied, "wrong": wrong}
        path = written_config(tmp_path, scan_folder, **shares)
        recorder = CorrectorRun._recorder(CorrectorConfig.read(path), ThresholdPredictor(), two_scans)
        return [record.tobytes() for number in range(8) for record in recorder[number]]

    plain = RecordedSessions(ThresholdPredictor(), two_scans, 0, 3, 3, ScanShares(1.0), 0.0)
    expected = [record.tobytes() for number in range(8) for record in plain[number]]
    assert records(0.0) == expected and records(1.0) != expected and expected
    assert records(0.0, wrong=1.0) != expected
    made_up, implanted = records(0.0, drawn=0.0), records(0.0, drawn=0.0, implanted=1.0)
    assert implanted not in (expected, made_up) and implanted


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_run_records_what_other_readers_draw_where_it_is_asked_to(
    tmp_path: Path, scan_folder: Path, share: float
) -> None:
    config = CorrectorConfig.read(written_config(tmp_path, scan_folder, redrawn=share))
    network = CorrectorRun(config, log=lambda line: None).network
    recorder = RecordingElsewhere(CorrectorRun, config, network, "cpu").prepare()
    assert isinstance(recorder, RecordedSessions)
    kept, size = recorder.samples, network.config.patch_size
    training, _ = split_by_patient(read_cases(scan_folder))
    plain = PatchSamples(
        [LoadedCase(case) for case in training], {}, size, config.patch_spacings, 0, 100, config.mix
    )
    same = [torch.equal(kept[number]["target"], plain[number]["target"]) for number in range(12)]
    assert all(same) if share == 0 else not all(same)


def test_msam_train_teaches_the_corrector_and_nothing_else(tmp_path: Path, scan_folder: Path) -> None:
    config = written_config(tmp_path, scan_folder)
    assert recipe_of(config) == "corrector"
    result = CliRunner().invoke(app, ["train", str(config)])
    assert result.exit_code == 0, result.output
    start, taught = (
        read_network(path) for path in (tmp_path / "start.safetensors", tmp_path / "run/weights.safetensors")
    )
    assert isinstance(taught, MSAM) and taught.capabilities.corrects
    for name, value in start.state_dict().items():
        assert torch.equal(value, taught.state_dict()[name]), name
    fresh = CorrectorRun(CorrectorConfig.read(config), log=lambda line: None).network.state_dict()
    moved = [
        name for name, value in taught.state_dict().items() if not torch.equal(value.cpu(), fresh[name].cpu())
    ]
    assert moved and all(name.startswith("corrector.") for name in moved)


def test_a_corrector_that_learns_to_see_more_answers_at_first_as_before(
    tmp_path: Path, scan_folder: Path
) -> None:
    config = written_config(tmp_path, scan_folder)
    old = randomised(build_model("", CORRECTING), 0.3)
    save_weights(tmp_path / "start.safetensors", old.config, old.state_dict())
    start = read_network(tmp_path / "start.safetensors")
    taught = CorrectorRun(CorrectorConfig.read(config), log=lambda line: None).network
    assert (start.config.corrector_channels, taught.config.corrector_channels) == (13, 20)
    assert taught.config.corrector_width == 8
    known = tensors(correction())
    with torch.inference_mode():
        expected, found = start.correct(known), taught.correct(known).cpu()
    # Random weights make logits of hundreds; sums of 13 and of 20 channels are rounded otherwise.
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_a_run_that_was_killed_ends_as_one_that_was_not(
    tmp_path: Path, scan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CorrectorConfig.read(written_config(tmp_path, scan_folder, steps=4, checkpoint_minutes=1e-6))
    CorrectorRun(whole, log=lambda line: None).run()
    killed = whole.model_copy(update={"output": tmp_path / "killed"})
    loss, calls = CorrectorRun._loss, []

    def killed_in_the_third_step(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(*args)

    monkeypatch.setattr(CorrectorRun, "_loss", killed_in_the_third_step)
    with pytest.raises(KeyboardInterrupt):
        CorrectorRun(killed, log=lambda line: None).run()
    recordings = sorted((tmp_path / "killed/recordings").glob("*.npy"))
    made = [path.stat().st_mtime_ns for path in recordings]
    lines: list[str] = []
    CorrectorRun(killed, log=lines.append).run()
    assert any("resumed at step 2" in line for line in lines)
    assert not any("recording" in line for line in lines)
    assert [path.stat().st_mtime_ns for path in recordings] == made and len(made) == 3
    one, other = (read_network(tmp_path / name / "weights.safetensors") for name in ("run", "killed"))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_run_records_no_longer_than_it_may_and_goes_on_with_what_it_has(
    tmp_path: Path, scan_folder: Path
) -> None:
    lines: list[str] = []
    path = written_config(tmp_path, scan_folder, sessions=50, recording_minutes=1e-6)
    config = CorrectorConfig.read(path)
    CorrectorRun(config, log=lines.append).run()
    assert "recording 50 sessions" in lines and any(line.startswith("1 sessions") for line in lines)
    lines.clear()
    CorrectorRun(config.model_copy(update={"steps": 5}), log=lines.append).run()
    assert any("resumed at step 3" in line for line in lines)
    assert any(line.startswith("1 sessions") for line in lines) and "recording" not in " ".join(lines)
    assert [path.name for path in (tmp_path / "run/recordings").iterdir()] == ["000000.npy"]


def test_sessions_of_another_run_are_learnt_from_too(tmp_path: Path, scan_folder: Path) -> None:
    first = CorrectorConfig.read(written_config(tmp_path, scan_folder))
    CorrectorRun(first, log=lambda line: None).run()
    (tmp_path / "run/recordings/.partial-000003.npy").write_bytes(b"")  # as a run that was killed leaves it
    lines: list[str] = []
    again = first.model_copy(
        update={
            "output": tmp_path / "again",
            "start": str(tmp_path / "run/weights.safetensors"),
            "recorded": (tmp_path / "run/recordings",),
            "own": 1.0,
            "seed": 1,
        }
    )
    CorrectorRun(again, log=lines.append).run()
    assert any(line.startswith("6 sessions") for line in lines)


def test_a_network_of_another_system_is_refused(tmp_path: Path, scan_folder: Path) -> None:
    from tiny_networks import tiny_network

    network = tiny_network("masksam")
    save_weights(tmp_path / "other.safetensors", network.config, network.state_dict())
    config = CorrectorConfig.read(written_config(tmp_path, scan_folder, start="other.safetensors"))
    with pytest.raises(TrainingError, match="no corrector"):
        CorrectorRun(config, log=lambda line: None)


@pytest.mark.parametrize(
    ("field", "value"), [("own", 1.5), ("clicks", 1), ("clicks", 99), ("sessions", 0), ("cliks", 3)]
)
def test_a_wrong_field_is_named(tmp_path: Path, scan_folder: Path, field: str, value: object) -> None:
    with pytest.raises(TrainingError, match=field):
        CorrectorConfig.read(written_config(tmp_path, scan_folder, **{field: value}))


def test_shares_of_more_than_all_scans_are_refused(tmp_path: Path, scan_folder: Path) -> None:
    with pytest.raises(TrainingError, match="drawn and implanted"):
        CorrectorConfig.read(written_config(tmp_path, scan_folder, drawn=0.6, implanted=0.5))


@pytest.mark.parametrize(
    "name",
    [
        "corrector.yaml",
        "corrector_again.yaml",
        "corrector_closer.yaml",
        "corrector_implanted.yaml",
        "corrector_one_way.yaml",
    ],
)
def test_the_recipe_of_the_default_weights_can_be_read(name: str) -> None:
    path = Path(__file__).parents[1] / "configs" / name
    assert recipe_of(path) == "corrector"
    assert CorrectorConfig.read(path).data.name == "data"
