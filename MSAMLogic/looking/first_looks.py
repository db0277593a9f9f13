"""What is known of a lesion when one mask is made of the first looks at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.geometry import PatchGrid

CUBE_SIZE = 48
MOST_LOOKS = 4


@dataclass(frozen=True, eq=False)
class FirstLooks:
    """The first looks at a lesion, brought to one cube.

    Attributes:
        cube: round the lesion, n cells a side.
        image: (n, n, n) scanner values, NaN beyond the image.
        chosen: (n, n, n) logits of the look that suits best, NaN where it shows nothing.
        answers: (4, n, n, n) logits of all looks, the finest first, NaN where they show nothing; all NaN for
            a spacing that was not looked at.
        click: (3,) the lesion click in cells of the cube.
        voxel: (3,) how many cells long a voxel of the image is along each axis of the cube.
    """

    cube: PatchGrid
    image: NDArray[np.float32]
    chosen: NDArray[np.float32]
    answers: NDArray[np.float32]
    click: NDArray[np.float32]
    voxel: NDArray[np.float32]

    def arrays(self) -> tuple[NDArray[np.float32], ...]:
        """Return image, chosen, answers, click and voxel, as a fusion network takes them."""
        return (self.image, self.chosen, self.answers, self.click, self.voxel)
