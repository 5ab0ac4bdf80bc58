"""A small VGG that was trained here, on photographs that may be passed on.

Five stages of 3 x 3 convolutions with average pooling between them, as eccNET pools,
so that its pooling windows can grow with eccentricity. The weights that come with the
suite are `SHIPPED`; ``neurovis train backbone`` makes others. In training every
convolution has a batch normalisation, which is folded into it when it is saved.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from neurovis.adapters.described_weights import read_described_weights
from neurovis.adapters.trunks import fold_normalisation
from neurovis.adapters.weights import check_state_dict
from neurovis.core.checks import check_option, check_path, check_whole
from neurovis.core.files import canonical_json, write_bytes
from neurovis.core.rng import generator, own_torch_stream

WIDTHS = (24, 48, 96, 128, 192)
"""Channels of the five stages."""

DEPTHS = (1, 1, 2, 2, 2)
"""Convolutions of the five stages."""

STAGES = tuple(f"stage{number}" for number in range(1, 6))

SHIPPED = "compact_vgg_osie.safetensors"
"""File that comes with the suite."""

SHIPPED_SHA256 = "520410b397e8ba3fcd6d1b9f2a5469f1eaa111c5b4d724cf1952589c7d74edc3"

_EPS = 1e-5  # as torch's batch normalisation


@dataclass(frozen=True)
class CompactWeights:
    """Weights of a compact VGG and how they came about.

    Parameters
    ----------
    state : dict of str to Tensor of float32
        ``stageI.convJ.weight`` (out, in, 3, 3) and ``.bias`` (out,).
    about : mapping
        What the file tells: `widths`, `notes`, and the training as JSON values.
    trained : bool
        False for random weights.
    """

    state: dict[str, Tensor]
    about: Mapping[str, Any]
    trained: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know."""
        return tuple(str(note) for note in self.about.get("notes", ()))


def compact_vgg_shapes(widths: Sequence[int] = WIDTHS) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the weights.

    Parameters
    ----------
    widths : sequence of int
        Channels of the five stages.

    Returns
    -------
    dict of str to tuple of int
        In network order.

    Raises
    ------
    ValueError
        If there are not five widths >= 1.

    Examples
    --------
    >>> compact_vgg_shapes()["stage1.conv1.weight"]
    (24, 3, 3, 3)
    """
    widths = _check_widths(widths)
    shapes: dict[str, tuple[int, ...]] = {}
    n_in = 3
    for stage, width, depth in zip(STAGES, widths, DEPTHS, strict=True):
        for number in range(1, depth + 1):
            shapes[f"{stage}.conv{number}.weight"] = (width, n_in, 3, 3)
            shapes[f"{stage}.conv{number}.bias"] = (width,)
            n_in = width
    return shapes


def _check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    if len(widths) != len(STAGES):
        raise ValueError(f"`widths` must be five numbers; got {tuple(widths)}.")
    return tuple(check_whole("widths", width, low=1) for width in widths)


def seeded_compact(seed: int, widths: Sequence[int] = WIDTHS) -> dict[str, Tensor]:
    """Return the random weights that a training starts from: equal on every machine.

    Parameters
    ----------
    seed : int
        Seed.
    widths : sequence of int
        Channels of the five stages.

    Returns
    -------
    dict of str to Tensor of float32
        Kernels normal with variance 2 / fan-in; biases 0.
    """
    state = {}
    for name, shape in compact_vgg_shapes(widths).items():
        if name.endswith(".bias"):
            state[name] = torch.zeros(shape)
            continue
        draws = generator(seed, "compact_vgg", name).standard_normal(shape, np.float32)
        scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
        state[name] = torch.from_numpy(draws * scale)
    return state


class _Convolution(nn.Conv2d):
    """A 3 x 3 convolution, normalised or with a bias, then rectified."""

    def __init__(self, n_in: int, n_out: int, *, normalised: bool) -> None:
        super().__init__(n_in, n_out, 3, padding=1, bias=not normalised)
        self.norm = nn.BatchNorm2d(n_out, eps=_EPS) if normalised else None

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return (x if self.norm is None else self.norm(x)).relu_()


def compact_vgg(
    state: Mapping[str, Tensor],
    widths: Sequence[int] = WIDTHS,
    *,
    normalised: bool = False,
) -> nn.Sequential:
    """Build the network.

    Parameters
    ----------
    state : mapping of str to Tensor
        Weights as `compact_vgg_shapes` names them.
    widths : sequence of int
        Channels of the five stages.
    normalised : bool, default False
        With a batch normalisation after every convolution, for training; the biases
        of `state` become its shifts.

    Returns
    -------
    torch.nn.Sequential
        ``stage1``, ``pool1``, ``stage2`` and so on to ``stage5``, in channels-last
        memory and in evaluation mode; from (B, 3, H, W) to (B, C, H / 16, W / 16).

    Raises
    ------
    ValueError
        If names or shapes do not fit.
    """
    widths = _check_widths(widths)
    check_state_dict(state, compact_vgg_shapes(widths), "`state`")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    n_in = 3
    for number, (stage, width, depth) in enumerate(
        zip(STAGES, widths, DEPTHS, strict=True)
    ):
        if number:
            layers[f"pool{number}"] = nn.AvgPool2d(2)
        convolutions: OrderedDict[str, nn.Module] = OrderedDict()
        for place in range(1, depth + 1):
            # What it draws is replaced; the caller's generator must not notice.
            with own_torch_stream(0, "not used"):
                layer = _Convolution(n_in, width, normalised=normalised)
            name = f"{stage}.conv{place}"
            bias = layer.bias if layer.norm is None else layer.norm.bias
            assert bias is not None
            with torch.no_grad():
                layer.weight.copy_(state[f"{name}.weight"])
                bias.copy_(state[f"{name}.bias"])
            convolutions[f"conv{place}"] = layer
            n_in = width
        layers[stage] = nn.Sequential(convolutions)
    network = nn.Sequential(layers)
    return network.to(memory_format=torch.channels_last).eval()


def stage_outputs(network: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Run the network and keep the output of every stage.

    Parameters
    ----------
    network : torch.nn.Sequential
        What `compact_vgg` built.
    x : Tensor, shape (B, 3, H, W)
        Normalised pictures.

    Returns
    -------
    list of Tensor, shape (B, C, H / 2**i, W / 2**i)
        Five maps.
    """
    kept = []
    for name, layer in network.named_children():
        x = layer(x)
        if name in STAGES:
            kept.append(x)
    return kept


def folded_state(network: nn.Sequential) -> dict[str, Tensor]:
    """Fold the batch normalisations of a network into its convolutions.

    Parameters
    ----------
    network : torch.nn.Sequential
        With or without normalisation.

    Returns
    -------
    dict of str to Tensor of float32
        Weights as `compact_vgg_shapes` names them, on the CPU.
    """
    state = {}
    for stage in STAGES:
        for name, layer in network.get_submodule(stage).named_children():
            assert isinstance(layer, _Convolution)
            kernel = layer.weight.detach().cpu()
            if layer.norm is None:
                assert layer.bias is not None
                bias = layer.bias.detach().cpu()
            else:
                norm = {k: v.cpu() for k, v in layer.norm.state_dict().items()}
                kernel, bias = fold_normalisation(kernel, norm, layer.norm.eps)
            state[f"{stage}.{name}.weight"] = kernel.float().contiguous()
            state[f"{stage}.{name}.bias"] = bias.float()
    return state


def save_compact(
    path: str | Path, state: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """Write weights as 16-bit safetensors.

    Parameters
    ----------
    path : str or Path
        New ``.safetensors`` file.
    state : mapping of str to Tensor
        Weights as `compact_vgg_shapes` names them.
    about : mapping
        JSON values: `notes` (list of str) and how the weights came about.

    Raises
    ------
    ValueError
        If the suffix is another one, names do not fit, or a weight is too large for
        16 bits.
    """
    path = Path(path)
    check_option("suffix of path", path.suffix, (".safetensors",))
    firsts = [state.get(f"{stage}.conv1.bias", torch.empty(1)) for stage in STAGES]
    widths = tuple(max(first.numel(), 1) for first in firsts)
    check_state_dict(state, compact_vgg_shapes(widths), "`state`")
    half = {name: value.half().contiguous() for name, value in state.items()}
    for name, value in half.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} holds values that 16 bits cannot: {path}.")
    text = canonical_json({**about, "widths": list(widths)})
    # Sorted names: equal weights give equal bytes. `save_file` would write a file that
    # only its owner may read.
    write_bytes(path, save(dict(sorted(half.items())), {"compact_vgg": text}))


def load_compact(
    weights: str | Path = "shipped", *, sha256: str | None = None
) -> CompactWeights:
    """Read weights.

    Parameters
    ----------
    weights : str or Path, default "shipped"
        ``"shipped"`` for those that come with the suite; ``"seeded:N"`` for the random
        ones that training starts from, ``"seeded:N/D"`` with all widths divided by D;
        or a file that ``neurovis train backbone`` wrote.
    sha256 : str, optional
        Hash that the file must have; that of the shipped file is always checked.

    Returns
    -------
    CompactWeights
        On the CPU, float32.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    DataCorruptError
        If it is damaged or has another hash.
    ValueError
        If it holds something else.

    Examples
    --------
    >>> load_compact("seeded:3/8").about["widths"]
    [3, 6, 12, 16, 24]
    """
    if str(weights).startswith("seeded:"):
        found = re.fullmatch(r"seeded:(\d{1,9})(?:/([1-8]))?", str(weights), re.ASCII)
        if found is None:
            raise ValueError(
                "`weights` must look like 'seeded:0' or 'seeded:0/8' (at most nine "
                f"digits; divisor 1 to 8); got {str(weights)!r}."
            )
        widths = [width // int(found[2] or 1) for width in WIDTHS]
        state = seeded_compact(int(found[1]), widths)
        return CompactWeights(state, {"widths": widths}, False)
    if str(weights) == "shipped":
        source = resources.files("neurovis.adapters") / SHIPPED
        with resources.as_file(source) as path:
            return _read(path, SHIPPED_SHA256)
    return _read(check_path("weights", weights), sha256)


def _read(path: Path, sha256: str | None) -> CompactWeights:
    def understand(about: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        return about, compact_vgg_shapes(about["widths"])

    state, (about, shapes) = read_described_weights(
        path,
        "compact_vgg",
        understand,
        what="a compact VGG",
        writer="`neurovis train backbone`",
        sha256=sha256,
    )
    check_state_dict(state, shapes, str(path))
    return CompactWeights({n: v.float() for n, v in state.items()}, about, True)
