"""A model without one of its ingredients, to measure what that ingredient brings.

An ingredient is left out where a session asks the predictor what it can do, or in the network itself; the
session is the same. Nothing is trained anew: a network that was trained with an ingredient and goes
without shows what it leans on, which is not quite what a network trained without would reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.errors import ModelError
from MSAMLogic.predictor import Predictor, Relay, TorchPredictor

FINER_LOOK = "finer-look"
COARSER_LOOK = "coarser-look"
DETAIL_BRANCH = "detail-branch"
FIRST_LOOKS = "first-looks"
ALL_CLICKS = "all-clicks"
ANTIALIAS = "antialias"
CORRECTOR = "corrector"
LOOK_FUSION = "look-fusion"

INGREDIENTS: dict[str, str] = {
    FINER_LOOK: "looks at a small lesion, or into a small image, at a finer spacing than the first look's",
    COARSER_LOOK: "looks at a lesion that reaches the border at a coarser spacing; without it, in patches "
    "side by side",
    FIRST_LOOKS: "looks first at several spacings and goes on with the one in which the lesion's size is "
    "steadiest; without it, at one",
    LOOK_FUSION: "makes one mask of the first looks; without it, the one that suits best stands for itself",
    DETAIL_BRANCH: "the high-resolution branch; without it the mask decoder's answer is upsampled",
    ALL_CLICKS: "all clicks of a patch in each answer; without it the newest and the mask prompt",
    CORRECTOR: "a further click changes the mask round it only, as a network of its own sees fit; without it "
    "each click's answer replaces the mask",
    ANTIALIAS: "averages over the image's voxels where a patch is coarser",
}


def without(predictor: Predictor, ingredients: Sequence[str]) -> Predictor:
    """Return a predictor that answers like ``predictor`` but for the ingredients left out.

    Args:
        predictor: what :func:`MSAMLogic.load_model` returns, or any other; it is not changed.
        ingredients: names from :data:`INGREDIENTS`.

    Raises:
        ModelError: when a name is unknown, or the model has no such ingredient: measuring the same thing
            twice would look like an ingredient that brings nothing.
    """
    for name in ingredients:
        if name not in INGREDIENTS:
            raise ModelError(f"There is no ingredient '{name}'; choose from {', '.join(INGREDIENTS)}.")
    capabilities = predictor.capabilities
    for name in ingredients:
        if name == DETAIL_BRANCH:
            predictor = _without_detail_branch(predictor)
            continue
        lessened = _lessened(capabilities, name)
        if lessened == capabilities:
            raise _absent(name)
        capabilities = lessened
    return Relay(predictor, capabilities)


def _lessened(capabilities: Capabilities, ingredient: str) -> Capabilities:
    first = capabilities.first_spacing
    if ingredient == FINER_LOOK:
        return _limited(capabilities, lambda spacing: spacing >= first)
    if ingredient == COARSER_LOOK:
        return _limited(capabilities, lambda spacing: spacing <= first)
    if ingredient == FIRST_LOOKS:
        return replace(capabilities, first_looks=())
    if ingredient == ALL_CLICKS:
        return replace(capabilities, all_clicks=False)
    if ingredient == CORRECTOR:
        return replace(capabilities, corrects=False)
    if ingredient == LOOK_FUSION:
        return replace(capabilities, fused_looks=())
    return replace(capabilities, antialias=False)


def _limited(capabilities: Capabilities, allowed: Callable[[float], bool]) -> Capabilities:
    return replace(
        capabilities,
        spacings=tuple(filter(allowed, capabilities.spacings)),
        first_looks=tuple(filter(allowed, capabilities.first_looks)),
    )


def _without_detail_branch(predictor: Predictor) -> Predictor:
    """Return the same network, on the same device and at the same precision, without its detail branch."""
    if not isinstance(predictor, TorchPredictor) or predictor.network.detail_branch is None:
        raise _absent(DETAIL_BRANCH)
    from MSAMLogic.model import MSAM

    network = predictor.network
    bare = MSAM(replace(network.config, detail_width=0, quality_width=0))
    bare.load_state_dict(
        {
            name: tensor
            for name, tensor in network.state_dict().items()
            if name.split(".")[0] != "detail_branch"
        }
    )
    lessened = TorchPredictor(bare, "cpu")
    lessened.device, lessened.dtype = predictor.device, predictor.dtype
    bare.to(predictor.device)
    return lessened


def _absent(ingredient: str) -> ModelError:
    return ModelError(f"The model has no {ingredient} that could be left out; leave out something else.")
