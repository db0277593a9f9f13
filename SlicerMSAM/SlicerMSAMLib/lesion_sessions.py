"""The sessions of a volume's lesions, as the worker's thread keeps them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import SimpleITK as sitk

from MSAMLogic.predictor import Relay
from MSAMLogic.session import Click, InteractiveSession
from SlicerMSAMLib.click_memory import fingerprint
from SlicerMSAMLib.inference_worker import Job


@dataclass(frozen=True)
class Update:
    """What a change led to; all that the main thread needs to show.

    Attributes:
        mask: uint8 mask in its bounding box, on the volume's own voxels, LPS.
        content: fingerprint of the mask.
        clicks: all clicks of the lesion, oldest first, LPS in the volume's own coordinates.
        can_undo: whether there is something to undo.
        can_redo: whether there is something to redo.
        is_cut_off: whether the lesion goes on beyond what was looked at.
        starting_mask: the mask that the clicks correct, in its bounding box.
    """

    mask: sitk.Image
    content: str
    clicks: tuple[Click, ...]
    can_undo: bool
    can_redo: bool
    is_cut_off: bool
    starting_mask: sitk.Image

    @classmethod
    def of(cls, session: InteractiveSession) -> Update:
        """Return the present state of a session."""
        mask = session.mask_region
        return cls(
            mask,
            fingerprint(mask),
            session.clicks,
            session.can_undo,
            session.can_redo,
            session.is_cut_off,
            session.starting_mask,
        )


class CancellablePredictor(Relay):
    """A predictor that stops between two steps of the network when its job was cancelled.

    Args:
        predictor: the real one.
    """

    def __init__(self, predictor: Any) -> None:
        super().__init__(predictor)
        self.job: Job | None = None

    def encode(self, patch: Any) -> Any:
        """See :class:`MSAMLogic.predictor.Predictor`."""
        self._check()
        return super().encode(patch)

    def decode(self, features: Any, coords: Any, labels: Any, prompt: Any) -> Any:
        """See :class:`MSAMLogic.predictor.Predictor`."""
        self._check()
        return super().decode(features, coords, labels, prompt)

    def correct(self, correction: Any) -> Any:
        """See :class:`MSAMLogic.predictor.Predictor`."""
        self._check()
        return super().correct(correction)

    def fuse(self, known: Any) -> Any:
        """See :class:`MSAMLogic.predictor.Predictor`."""
        self._check()
        return super().fuse(known)

    def _check(self) -> None:
        if self.job is not None:
            self.job.check()


class LesionSessions:
    """One session for each lesion of one volume; they share image and embeddings.

    A change is tried in a copy of the session, which takes its place only when the job was not cancelled,
    so a cancelled click leaves no trace.

    Args:
        predictor: the network.
        image: the volume, in LPS.
    """

    def __init__(self, predictor: Any, image: sitk.Image) -> None:
        self._predictor = CancellablePredictor(predictor)
        self._empty = InteractiveSession(self._predictor)
        self._empty.set_image(image)
        self._image = image
        self._by_lesion: dict[Hashable, InteractiveSession] = {}

    @property
    def image(self) -> sitk.Image:
        """The volume."""
        return self._image

    def try_change(
        self, lesion: Hashable, change: Callable[[InteractiveSession], object], job: Job, anew: bool = False
    ) -> tuple[Update, Callable[[], None]]:
        """Change a copy of a lesion's session.

        Args:
            lesion: which one.
            change: what to do.
            job: the job that asks; the network's steps check whether it was cancelled.
            anew: start from a session without history.

        Returns:
            What came of it, and a function that makes it stick.

        Raises:
            MSAMError: what the session raises; nothing has changed then.
        """
        present = None if anew else self._by_lesion.get(lesion)
        session = (present or self._empty).copy()
        self._predictor.job = job
        try:
            change(session)
            update = Update.of(session)
        finally:
            self._predictor.job = None

        def keep() -> None:
            self._by_lesion[lesion] = session

        return update, keep
