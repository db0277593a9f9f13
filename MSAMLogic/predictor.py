"""What a session needs of a network, in NumPy arrays, and the network that torch runs.

A session sees a :class:`Predictor` only, so it imports without torch and its tests can inject one.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.capabilities import Capabilities
from MSAMLogic.correcting.correction import Correction
from MSAMLogic.errors import ModelError
from MSAMLogic.looking.first_looks import FirstLooks

if TYPE_CHECKING:
    import torch

    from MSAMLogic.model import Network

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
FloatArray = NDArray[np.float32]


class Answer(NamedTuple):
    """A network's answer to the clicks so far.

    Attributes:
        logits: (r, r, r), positive is lesion, on the patch's cube at the network's own resolution.
        prompt: (m, m, m), the mask prompt of the next click.
        iou: the network's own estimate of its IoU.
    """

    logits: FloatArray
    prompt: FloatArray
    iou: float


class Predictor(Protocol):
    """A network as a session uses it: encode a patch once, decode it for every click."""

    capabilities: Capabilities

    def encode(self, patch: FloatArray) -> Any:
        """Return features of a normalised patch (n, n, n), axes (R, A, S); opaque to the session."""

    def decode(
        self, features: Any, coords: FloatArray, labels: NDArray[np.int64], prompt: FloatArray
    ) -> Answer:
        """Return the answer to clicks ``coords`` (N, 3) in patch voxels with ``labels`` (N,) of 1 and 0.

        ``prompt`` (m, m, m) is the previous answer's, zeros before the first.
        """

    def correct(self, correction: Correction) -> FloatArray:
        """Return logits (n, n, n) in the cube round a correcting click.

        Asked only where ``capabilities.corrects`` says so.
        """

    def fuse(self, known: FirstLooks) -> FloatArray:
        """Return logits (n, n, n) of the lesion in the cube round it.

        Asked only where ``capabilities.fused_looks`` names some.
        """


class Relay:
    """A predictor that passes every question on to another; what wraps one changes only what it is about.

    Args:
        predictor: what answers.
        capabilities: what a session is told of it; by default what it says itself.
    """

    def __init__(self, predictor: Predictor, capabilities: Capabilities | None = None) -> None:
        self._predictor = predictor
        self.capabilities = capabilities or predictor.capabilities

    def encode(self, patch: FloatArray) -> Any:
        """See :meth:`Predictor.encode`."""
        return self._predictor.encode(patch)

    def decode(
        self, features: Any, coords: FloatArray, labels: NDArray[np.int64], prompt: FloatArray
    ) -> Answer:
        """See :meth:`Predictor.decode`."""
        return self._predictor.decode(features, coords, labels, prompt)

    def correct(self, correction: Correction) -> FloatArray:
        """See :meth:`Predictor.correct`."""
        return self._predictor.correct(correction)

    def fuse(self, known: FirstLooks) -> FloatArray:
        """See :meth:`Predictor.fuse`."""
        return self._predictor.fuse(known)


class TorchPredictor:
    """A network of :mod:`MSAMLogic.model` on a device.

    Args:
        network: the network; it is moved to the device and put into evaluation mode.
        device: "auto" takes CUDA, then Apple's MPS, then the CPU.
        precision: "auto" is bfloat16 (or float16 where the GPU has no bfloat16) on CUDA; on a CPU it is
            float32, but for networks that were trained in bfloat16 that, where there are instructions for
            it, or else "int8", where there are instructions for that. With "int8" convolutions multiply
            integers (:mod:`MSAMLogic.model.eight_bit`), all else is float32.

    Raises:
        ModelError: when the device is not there, or does not compute at this precision.
    """

    def __init__(self, network: Network, device: Device = "auto", precision: Precision = "auto") -> None:
        import torch

        self.device = _find_device(device)
        self.network = network.eval().to(self.device)
        if network.channels_last:
            self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.dtype = _find_dtype(self.device, precision, network.trained_in_bfloat16)
        self.capabilities: Capabilities = network.capabilities

    def encode(self, patch: FloatArray) -> Any:
        """See :meth:`Predictor.encode`; returns :class:`MSAMLogic.model.PatchFeatures`."""
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(patch, dtype=np.float32))[None, None]
        return self._run(lambda: self.network.look(tensor.to(self.device)))

    def decode(
        self, features: Any, coords: FloatArray, labels: NDArray[np.int64], prompt: FloatArray
    ) -> Answer:
        """See :meth:`Predictor.decode`."""
        import torch

        coord_tensor = torch.from_numpy(np.asarray(coords, np.float32))[None]
        label_tensor = torch.from_numpy(np.asarray(labels, np.int64))[None]
        prompt_tensor = torch.from_numpy(np.asarray(prompt, np.float32))[None, None]

        def run() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            return self.network.answer(
                _on_device(features, self.device),
                coord_tensor.to(self.device),
                label_tensor.to(self.device),
                prompt_tensor.to(self.device),
            )

        logits, next_prompt, iou = self._run(run)
        return Answer(
            logits[0, 0].float().cpu().numpy(), next_prompt[0, 0].float().cpu().numpy(), float(iou[0, 0])
        )

    def correct(self, correction: Correction) -> FloatArray:
        """Return logits (n, n, n) of the lesion in the cube round a correcting click.

        Raises:
            ModelError: when the network has no corrector.
        """
        import torch

        from MSAMLogic.model.corrector import CorrectionTensors

        known = CorrectionTensors(*(torch.from_numpy(part[None]) for part in correction.arrays()))
        logits = self._run(lambda: self.network.correct(_on_device(known, self.device)))
        found: FloatArray = logits[0].float().cpu().numpy()
        return found

    def fuse(self, known: FirstLooks) -> FloatArray:
        """Return logits (n, n, n) of the lesion in the cube round it.

        Raises:
            ModelError: when the network makes no one mask of several looks.
        """
        import torch

        from MSAMLogic.model.look_fusion import FirstLookTensors

        tensors = FirstLookTensors(*(torch.from_numpy(part[None]) for part in known.arrays()))
        logits = self._run(lambda: self.network.fuse(_on_device(tensors, self.device)))
        found: FloatArray = logits[0].float().cpu().numpy()
        return found

    def classify(self, patch: FloatArray) -> FloatArray:
        """Return probabilities (K + 1, n, n, D) of background and the classes in a patch (n, n, D).

        Raises:
            ModelError: when the network takes clicks and knows no classes.
        """
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(patch, dtype=np.float32))[None, None]
        probabilities = self._run(lambda: self.network.classify(tensor.to(self.device)))
        found: FloatArray = probabilities[0].float().cpu().numpy()
        return found

    def _run(self, call: Any) -> Any:
        """Run ``call`` without gradients; out of GPU memory, go on with the CPU and say so."""
        import torch

        try:
            with torch.inference_mode(), self._autocast():
                return call()
        except torch.OutOfMemoryError:
            warnings.warn(
                "The GPU ran out of memory; the CPU goes on, slower. Nothing is lost.", stacklevel=3
            )
            self.device = torch.device("cpu")
            self.network.to(self.device)
            self.dtype = torch.float32
            torch.cuda.empty_cache()
            with torch.inference_mode():
                return call()

    def _autocast(self) -> Any:
        import torch

        from MSAMLogic.model.eight_bit import eight_bit_convolutions

        if self.dtype == torch.int8:
            return eight_bit_convolutions()
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def _on_device(features: Any, device: torch.device) -> Any:
    """Return features, which are tensors, None or (named) tuples of features, on a device."""
    if features is None:
        return None
    if not isinstance(features, tuple):
        return features.to(device)
    moved = [_on_device(part, device) for part in features]
    return type(features)(*moved) if hasattr(features, "_fields") else tuple(moved)


def _find_device(device: Device) -> torch.device:
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, here in available.items() if here))
    if not available.get(device, False):
        here = ", ".join(name for name, is_here in available.items() if is_here)
        raise ModelError(f"There is no device '{device}' on this machine; choose auto or one of: {here}.")
    return torch.device(device)


def _find_dtype(device: torch.device, precision: Precision, trained_in_bfloat16: bool) -> torch.dtype:
    import torch

    from MSAMLogic.model import eight_bit
    from MSAMLogic.model.precision import is_quick_in_bfloat16, is_quick_in_eight_bits

    if precision not in get_args(Precision):
        raise ModelError(
            f"There is no precision '{precision}'; choose one of: {', '.join(get_args(Precision))}."
        )
    if precision == "int8" and not (device.type == "cpu" and eight_bit.is_known()):
        raise ModelError("Eight bits are for a processor and a PyTorch that convolve in them; choose 'auto'.")
    if precision != "auto":
        dtype: torch.dtype = getattr(torch, precision)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and trained_in_bfloat16:
        if is_quick_in_bfloat16(device):
            return torch.bfloat16
        if is_quick_in_eight_bits(device):
            return torch.int8
    return torch.float32


def load_model(
    name: str = "default", device: Device = "auto", precision: Precision = "auto"
) -> TorchPredictor:
    """Load a network with its weights, ready for :class:`MSAMLogic.InteractiveSession`.

    Args:
        name: "default", another name of the registry (``msam models`` lists them), or the path of a
            weights file: safetensors that this package wrote, or a published ``.pth`` of M-SAM, SAM-Med3D
            or 3DSAM-adapter.
        device: "auto" takes CUDA, then Apple's MPS, then the CPU.
        precision: see :class:`TorchPredictor`.

    Raises:
        WeightsError: when the weights are unknown, not downloaded yet, damaged or of another network.
        ModelError: when the device is not there, or PyTorch is not installed.
    """
    try:
        from MSAMLogic.loading import load_network
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModelError(
            "PyTorch is not installed. In 3D Slicer install it with the PyTorch extension, elsewhere with "
            "'pip install torch'."
        ) from error
    return TorchPredictor(load_network(name), device, precision)


def as_predictor(model: Any) -> Predictor:
    """Return ``model`` as a predictor; a bare network of :mod:`MSAMLogic.model` is wrapped.

    Raises:
        ModelError: when it is neither.
    """
    if hasattr(model, "load_published_state_dict"):
        return TorchPredictor(model)
    if isinstance(getattr(model, "capabilities", None), Capabilities):
        predictor: Predictor = model
        return predictor
    raise ModelError(f"A {type(model).__name__} is no model; give what load_model or build_model returns.")
