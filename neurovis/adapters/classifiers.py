"""The small ImageNet networks exactly as trained, up to their 1000 logits.

The trunks of `trunk_weights` serve search, with "same" padding throughout; here stand
the complete networks with their own padding: the check that weights are read right,
and observers for recognition.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import squeezenet1_0

from neurovis.adapters.trunk_weights import (
    DARKNET_TINY,
    darknet_tiny_shapes,
    fold_batch_norm,
    squeezenet_shapes,
)
from neurovis.adapters.trunks import INPUT_FORMATS, InputFormat, to_pixels
from neurovis.adapters.weights import check_state_dict, read_state_dict
from neurovis.core.checks import check_array, check_option

# Place of each fire module among torchvision's features.
_FIRES = {2: 3, 3: 4, 4: 5, 5: 7, 6: 8, 7: 9, 8: 10, 9: 12}


@dataclass(frozen=True)
class ImageClassifier:
    """A network that names pictures.

    Parameters
    ----------
    name : str
        Architecture.
    network : torch.nn.Module
        From preprocessed pictures to logits.
    pixels : InputFormat
        What the first layer expects.
    side_px : int
        Side of the square input it was trained on.
    """

    name: str
    network: nn.Module
    pixels: InputFormat
    side_px: int

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Classify pictures.

        Parameters
        ----------
        images : Tensor of uint8, shape (B, H, W, 3)
            RGB pictures, at the size the network was trained on (`side_px`) or any
            other above it.

        Returns
        -------
        Tensor of float32, shape (B, 1000)
            Logits in the order of sorted WordNet identities.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape differ.
        """
        check_array("images", images.cpu().numpy(), shape=(None, None, None, 3))
        if images.dtype != torch.uint8:
            raise TypeError(f"`images` must be uint8; got {images.dtype}.")
        logits: Tensor = self.network(to_pixels(images, self.pixels))
        return logits


def load_classifier(backbone: str, weights: str) -> ImageClassifier:
    """Build a small ImageNet network and load its weights.

    Parameters
    ----------
    backbone : {"squeezenet1_0", "darknet_tiny"}
        Architecture.
    weights : str
        Path of a ``.safetensors`` file with the layer names of `trunk_weights`.

    Returns
    -------
    ImageClassifier
        On the CPU.

    Raises
    ------
    ValueError
        If the names or shapes in the file do not fit.
    FileNotFoundError, DataCorruptError
        If the file is missing or damaged.
    """
    check_option("backbone", backbone, ("squeezenet1_0", "darknet_tiny"))
    state = {name: value.float() for name, value in read_state_dict(weights).items()}
    if backbone == "squeezenet1_0":
        check_state_dict(state, squeezenet_shapes(), weights)
        pixels = INPUT_FORMATS["squeezenet"]
        return ImageClassifier(backbone, _squeezenet(state), pixels, 227)
    check_state_dict(state, darknet_tiny_shapes(), weights)
    pixels = INPUT_FORMATS["unit"]
    return ImageClassifier(backbone, _DarknetTiny(state), pixels, 224)


def _squeezenet(state: Mapping[str, Tensor]) -> nn.Module:
    names = {"conv1": "features.0", "conv10": "classifier.1"}
    for fire, place in _FIRES.items():
        names[f"fire{fire}.squeeze1x1"] = f"features.{place}.squeeze"
        for kernel in ("1x1", "3x3"):
            names[f"fire{fire}.expand{kernel}"] = f"features.{place}.expand{kernel}"
    network: nn.Module = squeezenet1_0(weights=None)
    # The Caffe network pads its last 1x1 convolution; torchvision does not.
    last = network.get_submodule("classifier.1")
    assert isinstance(last, nn.Conv2d)
    last.padding = (1, 1)
    network.load_state_dict(
        {
            f"{new}.{part}": state[f"{old}.{part}"]
            for old, new in names.items()
            for part in ("weight", "bias")
        }
    )
    network.eval()
    return network


class _DarknetTiny(nn.Module):
    """Sixteen convolutions, four poolings, a mean."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.folded = [fold_batch_norm(state, i) for i in range(1, 16)]
        self.last = (state["conv16.weight"], state["conv16.bias"])

    def forward(self, x: Tensor) -> Tensor:
        index = 0
        for stage, widths in enumerate(DARKNET_TINY):
            x = F.max_pool2d(x, 2, 2) if stage else x
            for _, kernel in widths:
                weight, bias = self.folded[index]
                x = F.leaky_relu(F.conv2d(x, weight, bias, padding=kernel // 2), 0.1)
                index += 1
        return F.conv2d(x, *self.last).mean((2, 3))
