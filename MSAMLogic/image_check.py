"""Which images can be segmented, and what to do about the others."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk

from MSAMLogic.errors import ImageError


def check_image(image: sitk.Image) -> None:
    """Refuse an image that cannot be segmented.

    Args:
        image: anything.

    Raises:
        ImageError: what is wrong with it and what to do.
    """
    if not isinstance(image, sitk.Image):
        raise ImageError(f"A SimpleITK image is needed, not a {type(image).__name__}.")
    if image.GetDimension() != 3:
        raise ImageError(
            f"The image has {image.GetDimension()} dimensions; give a single 3D volume, for a series "
            "one time point."
        )
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise ImageError("The image has several values a voxel (colour, vector); give one scalar channel.")
    if min(image.GetSize()) < 1:
        raise ImageError("The image has no voxels.")
    if not all(math.isfinite(s) and s > 0 for s in image.GetSpacing()):
        raise ImageError(
            f"The voxel spacing {image.GetSpacing()} mm is not positive; correct the image header."
        )
    if not np.isfinite([*image.GetOrigin(), *image.GetDirection()]).all():
        raise ImageError("Origin or direction of the image is not finite; correct the image header.")
    if abs(np.linalg.det(np.asarray(image.GetDirection()).reshape(3, 3))) < 1e-6:
        raise ImageError("The image's axes do not span space; correct the direction in the image header.")
    view = sitk.GetArrayViewFromImage(image)
    first = view.flat[0]
    constant = True
    for section in view:  # a slice at a time: no copy of the volume, and a varied image ends early
        if view.dtype.kind == "f" and not np.isfinite(section).all():
            raise ImageError(
                "The image has voxels that are no numbers (NaN or infinite); replace them, for example by 0."
            )
        if constant and (section != first).any():
            constant = False
            if view.dtype.kind != "f":
                return
    if constant:
        raise ImageError("All voxels of the image have the same value; there is nothing to segment.")
