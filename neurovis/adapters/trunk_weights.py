"""Four trunks and where their weights come from.

- ``compact_vgg``: the small network that comes with weights (`compact_vgg`);
- ``vgg16``: Simonyan & Zisserman (2015, arXiv:1409.1556), convolutional part;
- ``squeezenet1_0``: Iandola et al. (2016, arXiv:1602.07360), up to fire9;
- ``darknet_tiny``: Redmon (2013-2016), the 15 convolutions before the classifier.

Border padding of the last two differs from their training (no padding in conv1 and
ceil-mode pooling in SqueezeNet): inside a display features agree up to a shift of
sampling by one or two pixels; `classifiers` has the exact networks.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neurovis.adapters.compact_vgg import STAGES, load_compact
from neurovis.adapters.trunks import (
    INPUT_FORMATS,
    ConvLayer,
    Trunk,
    fold_normalisation,
)
from neurovis.adapters.weights import (
    check_state_dict,
    hub_file,
    read_state_dict,
    timm_state_dict,
)
from neurovis.core.checks import check_option, check_path
from neurovis.core.tensors import hash_state_dict

VGG16_WIDTHS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
# Width and kernel of convolutions 1..15, by stage.
DARKNET_TINY = (
    ((16, 3),),
    ((32, 3),),
    ((16, 1), (128, 3), (16, 1), (128, 3)),
    ((32, 1), (256, 3), (32, 1), (256, 3)),
    ((64, 1), (512, 3), (64, 1), (512, 3), (128, 1)),
)
# Squeeze and expand widths of the fire modules, by stage after conv1.
SQUEEZENET = (
    (("fire2", 16, 64), ("fire3", 16, 64), ("fire4", 32, 128)),
    (("fire5", 32, 128), ("fire6", 48, 192), ("fire7", 48, 192), ("fire8", 64, 256)),
    (("fire9", 64, 256),),
)
TRUNKS = ("vgg16", "compact_vgg", "squeezenet1_0", "darknet_tiny")
"""Names of the architectures."""

OXFORD_FEATURES = {
    "url": "https://download.pytorch.org/models/vgg16_features-amdegroot-88682ab5.pth",
    "filename": "vgg16_features-amdegroot-88682ab5.pth",
    "sha256_prefix": "88682ab5",
}


def seeded_state(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Return reproducible random weights: the same numbers on every machine.

    Layer l draws from ``RandomState(seed + l)``: kernels normal with variance
    2 / fan-in in (row, column, in, out) order, then biases standard normal.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Names ending in ``.weight`` (out, in, k, k), in network order.
    seed : int
        Seed of the first layer.

    Returns
    -------
    dict of str to Tensor
        Weights and biases, float32.

    Examples
    --------
    >>> state = seeded_state({"a.weight": (2, 3, 1, 1)}, 0)
    >>> state["a.bias"].shape
    torch.Size([2])
    """
    state = {}
    kernels = [name for name in shapes if name.endswith(".weight")]
    for index, name in enumerate(kernels):
        n_out, n_in, rows, columns = shapes[name]
        # The legacy stream is stable across NumPy versions.
        draw = np.random.RandomState(seed + index)
        kernel = draw.randn(rows, columns, n_in, n_out)
        kernel = (kernel * np.sqrt(2 / (rows * columns * n_in))).astype(np.float32)
        bias = draw.randn(n_out).astype(np.float32)
        state[name] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        state[name.replace(".weight", ".bias")] = torch.from_numpy(bias)
    return state


def vgg16_shapes(width_divisor: int = 1) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the convolutional weights of VGG16.

    Parameters
    ----------
    width_divisor : int, default 1
        All widths are divided by this (small untrained twins).

    Returns
    -------
    dict of str to tuple of int
        Keras layer names with ``.weight`` and ``.bias``.

    Examples
    --------
    >>> vgg16_shapes()["block1_conv1.weight"]
    (64, 3, 3, 3)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    n_in = 3
    for block, widths in enumerate(VGG16_WIDTHS, 1):
        for conv, width in enumerate(widths, 1):
            n_out = width // width_divisor
            shapes[f"block{block}_conv{conv}.weight"] = (n_out, n_in, 3, 3)
            shapes[f"block{block}_conv{conv}.bias"] = (n_out,)
            n_in = n_out
    return shapes


def squeezenet_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the weights of SqueezeNet 1.0.

    Returns
    -------
    dict of str to tuple of int
        ``conv1``, ``fireN.squeeze1x1``, ``fireN.expand1x1``, ``fireN.expand3x3`` and
        ``conv10`` with ``.weight`` and ``.bias``.
    """
    kernels = {"conv1": (96, 3, 7, 7)}
    n_in = 96
    for stage in SQUEEZENET:
        for fire, squeeze, expand in stage:
            kernels[f"{fire}.squeeze1x1"] = (squeeze, n_in, 1, 1)
            kernels[f"{fire}.expand1x1"] = (expand, squeeze, 1, 1)
            kernels[f"{fire}.expand3x3"] = (expand, squeeze, 3, 3)
            n_in = 2 * expand
    kernels["conv10"] = (1000, n_in, 1, 1)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in kernels.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def darknet_tiny_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the weights of Darknet tiny.

    Returns
    -------
    dict of str to tuple of int
        ``conv1..16`` and ``bn1..15``.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    n_in = 3
    layers = [layer for stage in DARKNET_TINY for layer in stage]
    for index, (width, kernel) in enumerate(layers, 1):
        shapes[f"conv{index}.weight"] = (width, n_in, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"bn{index}.{part}"] = (width,)
        n_in = width
    shapes["conv16.weight"], shapes["conv16.bias"] = (1000, n_in, 1, 1), (1000,)
    return shapes


def fold_batch_norm(
    state: Mapping[str, Tensor], index: int, eps: float = 1e-3
) -> tuple[Tensor, Tensor]:
    """Fold the batch normalisation of one Darknet layer into its convolution.

    Parameters
    ----------
    state : mapping of str to Tensor
        Weights of the network.
    index : int
        1-based layer.
    eps : float, default 1e-3
        Added to the variance.

    Returns
    -------
    tuple of Tensor
        Kernel (out, in, k, k) and bias (out,), float32.
    """
    parts = ("weight", "bias", "running_mean", "running_var")
    norm = {name: state[f"bn{index}.{name}"] for name in parts}
    return fold_normalisation(state[f"conv{index}.weight"], norm, eps)


def _vgg16_stages(state: Mapping[str, Tensor]) -> tuple[tuple[ConvLayer, ...], ...]:
    return tuple(
        tuple(
            ConvLayer((state[f"{name}.weight"],), (state[f"{name}.bias"],))
            for name in (f"block{b}_conv{c}" for c in range(1, len(widths) + 1))
        )
        for b, widths in enumerate(VGG16_WIDTHS, 1)
    )


def _squeezenet_stages(
    state: Mapping[str, Tensor],
) -> tuple[tuple[ConvLayer, ...], ...]:
    def layer(*names: str, stride: int = 1) -> ConvLayer:
        kernels = tuple(state[f"{n}.weight"] for n in names)
        return ConvLayer(kernels, tuple(state[f"{n}.bias"] for n in names), stride)

    stages: list[tuple[ConvLayer, ...]] = [(layer("conv1", stride=2),)]
    for fires in SQUEEZENET:
        layers: list[ConvLayer] = []
        for fire, _, _ in fires:
            layers.append(layer(f"{fire}.squeeze1x1"))
            layers.append(layer(f"{fire}.expand1x1", f"{fire}.expand3x3"))
        stages.append(tuple(layers))
    return tuple(stages)


def _darknet_stages(state: Mapping[str, Tensor]) -> tuple[tuple[ConvLayer, ...], ...]:
    stages, index = [], 0
    for widths in DARKNET_TINY:
        layers = []
        for _ in widths:
            index += 1
            if f"bn{index}.weight" in state:
                kernel, bias = fold_batch_norm(state, index)
            else:  # an untrained twin has plain biases
                kernel = state[f"conv{index}.weight"]
                bias = state[f"conv{index}.bias"]
            layers.append(ConvLayer((kernel,), (bias,), leak=0.1))
        stages.append(tuple(layers))
    return tuple(stages)


def _load_compact_trunk(weights: str) -> Trunk:
    found = load_compact(weights)
    stages = tuple(
        tuple(
            ConvLayer((found.state[name],), (found.state[f"{name[:-7]}.bias"],))
            for name in found.state
            if name.startswith(f"{stage}.") and name.endswith(".weight")
        )
        for stage in STAGES
    )
    is_file = found.trained and weights != "shipped"
    return Trunk(
        name="compact_vgg",
        stages=stages,
        pool_window=2,
        pixels=INPUT_FORMATS["imagenet"],
        weights_name=Path(weights).name if is_file else weights,
        weights_hash=hash_state_dict(found.state),
        trained=found.trained,
        remarks=found.notes,
    )


def _torchvision_to_keras(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename ``features.N`` of torchvision and timm to the Keras layer names."""
    names = [n.removesuffix(".weight") for n in vgg16_shapes() if "weight" in n]
    found = sorted({int(k.split(".")[1]) for k in state if k.startswith("features.")})
    renamed = {}
    for name, number in zip(names, found, strict=False):
        for part in ("weight", "bias"):
            key = f"features.{number}.{part}"
            if key in state:
                renamed[f"{name}.{part}"] = state[key]
    return renamed


def _vgg16_state(
    weights: str, preprocessing: str | None
) -> tuple[dict[str, Tensor], str]:
    if weights == "imagenet-caffe":
        path = hub_file(**OXFORD_FEATURES, purpose="VGG16 with the Oxford features")
        return _torchvision_to_keras(read_state_dict(path)), "caffe-rgb"
    if weights.startswith("timm:"):
        state = timm_state_dict(weights.removeprefix("timm:"))
        return _torchvision_to_keras(state), preprocessing or "imagenet"
    state = read_state_dict(check_path("weights", weights))
    if any(name.startswith("features.") for name in state):
        if preprocessing is None:
            raise ValueError(
                f"{weights} has torchvision's layer names, which do not tell what "
                "pixels it was trained on: give `preprocessing`, one of "
                f"{', '.join(INPUT_FORMATS)} (torchvision and timm: 'imagenet'; "
                "the Oxford features: 'caffe-rgb')."
            )
        return _torchvision_to_keras(state), preprocessing
    return state, preprocessing or "caffe-bgr"


def load_trunk(
    backbone: str = "vgg16",
    weights: str = "seeded:0",
    *,
    preprocessing: str | None = None,
) -> Trunk:
    """Build a trunk and load its weights.

    Parameters
    ----------
    backbone : {"vgg16", "compact_vgg", "squeezenet1_0", "darknet_tiny"}
        Architecture.
    weights : str
        ``"seeded:N"`` for random weights (``"seeded:N/D"`` with all widths of a VGG
        divided by D); ``"shipped"`` for those of the compact VGG that come with the
        suite; for VGG16 ``"imagenet-caffe"`` for the original Oxford VGG16 features
        from the torch hub; ``"timm:NAME"`` for VGG16 weights of timm's hub; or the
        path of a ``.safetensors`` (or weights-only ``.pth``) file.
    preprocessing : str, optional
        One of `INPUT_FORMATS`; needed for VGG16 files with torchvision's names.

    Returns
    -------
    Trunk
        On the CPU; see `Trunk.to`.

    Raises
    ------
    ValueError
        If names, shapes or options do not fit the architecture.
    FileNotFoundError
        If a file is missing or a hub cannot be reached.
    DataCorruptError
        If a file is damaged.

    Examples
    --------
    >>> load_trunk("vgg16", "seeded:0/8").strides
    (1, 2, 4, 8, 16)
    """
    check_option("backbone", backbone, TRUNKS)
    if preprocessing is not None:
        check_option("preprocessing", preprocessing, tuple(INPUT_FORMATS))
    if backbone == "compact_vgg":
        if preprocessing not in (None, "imagenet"):
            raise ValueError(
                "`preprocessing` of compact_vgg is 'imagenet', as it was trained; got "
                f"{preprocessing!r}."
            )
        return _load_compact_trunk(weights).to(torch.device("cpu"))
    trained = not weights.startswith("seeded:")
    shapes = {
        "vgg16": vgg16_shapes,
        "squeezenet1_0": squeezenet_shapes,
        "darknet_tiny": darknet_tiny_shapes,
    }[backbone]()
    pixels = {
        "vgg16": "caffe-bgr",
        "squeezenet1_0": "squeezenet",
        "darknet_tiny": "unit",
    }[backbone]
    if not trained:
        seed, divisor = _parse_seeded(weights)
        if divisor > 1:
            if backbone != "vgg16":
                raise ValueError(
                    f"`weights` {weights!r} divides widths, which only vgg16 "
                    f"supports; use 'seeded:{seed}' for {backbone}."
                )
            shapes = vgg16_shapes(divisor)
        state = seeded_state(
            {n: s for n, s in shapes.items() if not n.startswith("bn")}, seed
        )
    elif backbone == "vgg16":
        state, pixels = _vgg16_state(weights, preprocessing)
        state = {name: value.float() for name, value in state.items()}
        check_state_dict(state, shapes, weights)
    else:
        if not Path(weights).suffix:
            raise ValueError(
                f"`weights` for {backbone} must be 'seeded:N' or the path of a "
                f".safetensors file; got {weights!r}."
            )
        path = check_path("weights", weights)
        state = {n: v.float() for n, v in read_state_dict(path).items()}
        check_state_dict(state, shapes, weights)
    build = {
        "vgg16": _vgg16_stages,
        "squeezenet1_0": _squeezenet_stages,
        "darknet_tiny": _darknet_stages,
    }[backbone]
    trunk = Trunk(
        name=backbone,
        stages=build(state),
        pool_window=3 if backbone == "squeezenet1_0" else 2,
        pixels=INPUT_FORMATS[preprocessing or pixels],
        weights_name=weights if not trained else Path(weights).name,
        weights_hash=hash_state_dict(state),
        trained=trained,
    )
    return trunk.to(torch.device("cpu"))


def _parse_seeded(weights: str) -> tuple[int, int]:
    found = re.fullmatch(r"seeded:(\d{1,9})(?:/(1|2|4|8|16))?", weights, re.ASCII)
    if found is None:
        raise ValueError(
            "`weights` must look like 'seeded:0' or 'seeded:0/8' (at most nine "
            f"digits; divisor 1, 2, 4, 8 or 16); got {weights!r}."
        )
    return int(found[1]), int(found[2] or 1)
