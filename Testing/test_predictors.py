"""Every stand-in for a network passes on all that a session may ask of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.correcting.correction import Correction
from MSAMLogic.evaluation.ablation import without
from MSAMLogic.geometry import PatchGrid
from MSAMLogic.looking.first_looks import FirstLooks
from MSAMLogic.predictor import Predictor
from MSAMLogic.training.corrections.sessions import _Mannered

sys.path.insert(0, str(Path(__file__).parents[1] / "SlicerMSAM"))
from SlicerMSAMLib.inference_worker import CancelledError
from SlicerMSAMLib.lesion_sessions import CancellablePredictor

QUESTIONS = [name for name, value in vars(Predictor).items() if callable(value) and name[0] != "_"]
CUBE = np.zeros((32, 32, 32), np.float32)
CORRECTION = Correction(
    PatchGrid((0.0, 0.0, 0.0), 1.0, 32),
    CUBE,
    CUBE,
    CUBE,
    np.zeros((1, 3), np.float32),
    np.ones(1, np.int64),
    2.0,
    np.ones(3, np.float32),
)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "encode": (CUBE,),
    "decode": (CUBE, np.zeros((1, 3), np.float32), np.ones(1, np.int64), CUBE),
    "correct": (CORRECTION,),
    "fuse": (FirstLooks(CORRECTION.cube, CUBE, CUBE, CUBE[None], CUBE[0, 0, :3], CUBE[0, 0, :3]),),
}


class Echo:
    """Answers each question with its name."""

    capabilities = Capabilities(32, 16, antialias=True, corrects=True)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: (name, len(arguments))


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("wrap", [CancellablePredictor, lambda predictor: without(predictor, ["antialias"])])
def test_each_question_reaches_the_network(wrap: Any, question: str) -> None:
    arguments = ARGUMENTS[question]
    assert getattr(wrap(Echo()), question)(*arguments) == (question, len(arguments))


@pytest.mark.parametrize("question", ["encode", "decode", "fuse"])
def test_whoever_watches_a_session_passes_its_questions_on(question: str) -> None:
    observer = _Mannered(Echo(), lambda correction: correction.answer)  # type: ignore[arg-type]
    arguments = ARGUMENTS[question]
    assert getattr(observer, question)(*arguments) == (question, len(arguments))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_cancelled_job_stops_before_each_step_of_the_network(question: str) -> None:
    class Cancelled:
        def check(self) -> None:
            raise CancelledError

    predictor = CancellablePredictor(Echo())
    predictor.job = Cancelled()  # type: ignore[assignment]
    with pytest.raises(CancelledError):
        getattr(predictor, question)(*ARGUMENTS[question])
