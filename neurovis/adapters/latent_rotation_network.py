"""A network that sees a picture as a volume, turns the volume, and draws it again.

The encoder makes a volume of a picture, without a label of its content; the decoder
makes a picture of a volume. Trained to draw one view of an object from the turned
volume of another view, the volume must hold the object in three dimensions (neural
rendering by equivariance: Dupont et al. 2020, arXiv:2006.07630). The frame is that of
the camera: x to the right, y up, z towards the viewer.

``neurovis train latent-rotation`` makes files of weights.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from neurovis.adapters.described_weights import read_described_weights
from neurovis.adapters.latent_rotation import (
    rotate_volume,
    sphere_mask,
    voxel_centres,
)
from neurovis.adapters.latent_rotation_settings import (
    SMALL,
    LatentRotationSettings,
)
from neurovis.adapters.weights import check_state_dict
from neurovis.core.checks import check_option, check_path
from neurovis.core.files import canonical_json, plain, write_bytes
from neurovis.core.rng import own_torch_stream
from stimuli.block_figures import Key, check_shape, mirror_pair_key

_ABOUT = "latent_rotation"
_GROUP = 16  # channels that are normalised together
_SLOPE = 0.2
_COLOURS = 3


class LatentRotation(nn.Module):
    """Encoder, rotation and decoder.

    Parameters
    ----------
    settings : LatentRotationSettings, optional
        Sizes; the published ones by default.
    about : mapping, optional
        How its weights came about, as JSON values: `notes`, `seed`, `shapes` (strings
        of the objects that it has seen, one per mirror pair).
    trained : bool, default False
        False for random weights.

    Raises
    ------
    TypeError, ValueError
        If `shapes` has a string that is none of an object.

    Notes
    -----
    Published are widths, steps and the resampling; groups of 16 channels that are
    normalised together, leaky ReLUs (0.2) and kernels of 3 (4 where the resolution
    changes) are chosen here.
    """

    inside: Tensor

    def __init__(
        self,
        settings: LatentRotationSettings | None = None,
        about: Mapping[str, Any] | None = None,
        *,
        trained: bool = False,
    ) -> None:
        super().__init__()
        own = LatentRotationSettings() if settings is None else settings
        self.settings = own
        self.about = dict(about or {})
        self.trained = trained
        self.shapes = tuple(check_shape("shapes", s) for s in self._listed("shapes"))
        flat = _plan(_COLOURS, own.widths_2d, own.strides_2d)
        lift = _plan(own.widths_2d[-1], own.widths_lift, (1,) * len(own.widths_lift))
        deep = _plan(own.n_lifted, own.widths_3d, own.strides_3d)
        self.look = _stages(2, flat)
        self.lift = _pointwise(lift)
        self.shape = _stages(3, deep)
        self.unshape = _stages(3, _mirrored(deep))
        self.unlift = nn.Sequential(nn.LeakyReLU(_SLOPE), *_pointwise(_mirrored(lift)))
        *back, last = _mirrored(flat)
        self.draw = _stages(2, back)
        self.colour = _convolution(2, *last)
        self.register_buffer("inside", sphere_mask(own.side).float(), persistent=False)

    def _listed(self, name: str) -> list[str]:
        return [str(text) for text in self.about.get(name, ())]

    def encode(self, images: Tensor) -> Tensor:
        """Make volumes of pictures; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, size_px, size_px), 0..1
            Pictures.

        Returns
        -------
        Tensor of float32, shape (n, n_channels, side, side, side)
            Volumes, axes z, y, x; 0 outside the inscribed sphere.

        Raises
        ------
        ValueError
            If the shape is another one.
        """
        size = self.settings.size_px
        if images.ndim != 4 or tuple(images.shape[1:]) != (_COLOURS, size, size):
            raise ValueError(
                f"`images` must have shape (n, {_COLOURS}, {size}, {size}); got "
                f"{tuple(images.shape)}."
            )
        maps = self.lift(self.look(images))
        volume: Tensor = self.shape(volume_of_maps(maps, self.settings.lifted_side))
        return volume * self.inside

    def decode(self, volume: Tensor) -> Tensor:
        """Draw volumes; gradients flow.

        Parameters
        ----------
        volume : Tensor of float32, shape (n, n_channels, side, side, side)
            Volumes, axes z, y, x.

        Returns
        -------
        Tensor of float32, shape (n, 3, size_px, size_px), 0..1
            Pictures.
        """
        maps = self.unlift(maps_of_volume(self.unshape(volume)))
        return torch.sigmoid(self.colour(self.draw(maps)))

    def forward(self, images: Tensor, rotation: Tensor) -> Tensor:
        """Draw what is seen after objects have been turned.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, size_px, size_px), 0..1
            Pictures.
        rotation : Tensor of float32, shape (n, 3, 3)
            Rotation matrices for (x, y, z) of the camera.

        Returns
        -------
        Tensor of float32, shape (n, 3, size_px, size_px), 0..1
            Pictures of the turned objects.
        """
        return self.decode(turn_volume(self.encode(images), rotation))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know."""
        return tuple(self._listed("notes"))

    @property
    def mirror_pair_keys(self) -> frozenset[Key]:
        """Mirror pairs of which it has seen an object."""
        return frozenset(mirror_pair_key(shape) for shape in self.shapes)


def volume_of_maps(maps: Tensor, depth: int) -> Tensor:
    """Divide the channels of maps among layers of depth.

    Parameters
    ----------
    maps : Tensor of float, shape (n, n_channels * depth, side, side)
        Maps over a picture, the first row on top.
    depth : int
        Layers.

    Returns
    -------
    Tensor of float, shape (n, n_channels, depth, side, side)
        Volume, axes z, y, x: the first row is the lowest.

    Examples
    --------
    >>> volume_of_maps(torch.tensor([[[[1.0], [2.0]]]]), 1)[0, 0, 0].tolist()
    [[2.0], [1.0]]
    """
    n, _, *side = maps.shape
    return maps.reshape(n, -1, depth, *side).flip(3)


def maps_of_volume(volume: Tensor) -> Tensor:
    """Join layers of depth and channels: the way back of `volume_of_maps`.

    Parameters
    ----------
    volume : Tensor of float, shape (n, n_channels, depth, side, side)
        Volume, axes z, y, x.

    Returns
    -------
    Tensor of float, shape (n, n_channels * depth, side, side)
        Maps over a picture, the first row on top.
    """
    return volume.flip(3).flatten(1, 2)


def turn_volume(volume: Tensor, rotation: Tensor) -> Tensor:
    """Turn volumes as `neurovis.adapters.latent_rotation.rotate_volume`, anywhere.

    Parameters
    ----------
    volume : Tensor of float, shape (n, n_channels, side, side, side)
        Volumes, axes z, y, x.
    rotation : Tensor of float, shape (n, 3, 3)
        Rotation matrices for (x, y, z).

    Returns
    -------
    Tensor of float, shape (n, n_channels, side, side, side)
        Turned volumes. Equal bits on any device that has deterministic indexing.
    """
    # The gradient of `grid_sample` over volumes has no deterministic form on CUDA.
    turn = rotate_volume if volume.device.type == "cpu" else turn_by_corners
    return turn(volume, rotation)


def turn_by_corners(volume: Tensor, rotation: Tensor) -> Tensor:
    """Turn volumes by adding up the eight corners around each place.

    Parameters
    ----------
    volume : Tensor of float, shape (n, n_channels, side, side, side)
        Volumes, axes z, y, x.
    rotation : Tensor of float, shape (n, 3, 3)
        Rotation matrices for (x, y, z).

    Returns
    -------
    Tensor of float, shape (n, n_channels, side, side, side)
        Turned volumes; outside the cube there is 0.
    """
    n, channels, side = volume.shape[:3]
    places = voxel_centres(side).to(volume).flatten(0, 2)
    at = (torch.einsum("vi,nij->nvj", places, rotation.to(volume)) + 1) * side / 2 - 0.5
    low = at.floor()
    part = at - low
    rows = volume.permute(0, 2, 3, 4, 1).reshape(n * side**3, channels)
    first = torch.arange(n, device=volume.device)[:, None] * side**3
    turned = torch.zeros(n, side**3, channels).to(volume)
    for corner in range(8):
        step = torch.tensor([corner >> k & 1 for k in range(3)], device=volume.device)
        cell = low.long() + step  # x, y, z
        within = ((cell >= 0) & (cell < side)).all(dim=-1)
        weight = torch.where(step == 1, part, 1 - part).prod(dim=-1) * within
        x, y, z = cell.clamp(0, side - 1).unbind(dim=-1)
        found = rows[first + (z * side + y) * side + x]
        turned = turned + weight[..., None] * found
    return turned.transpose(1, 2).reshape(volume.shape)


def build_latent_rotation(
    settings: LatentRotationSettings | None = None, seed: int = 0
) -> LatentRotation:
    """Build a network with the random weights that a training starts from.

    Parameters
    ----------
    settings : LatentRotationSettings, optional
        Sizes; the published ones by default.
    seed : int, default 0
        Seed of the weights.

    Returns
    -------
    LatentRotation
        In training mode.

    Raises
    ------
    TypeError, ValueError
        If the seed is none.
    """
    note = f"latent rotation: a network with random weights (seed {seed})."
    with own_torch_stream(seed, "latent rotation"):
        return LatentRotation(settings, {"notes": [note], "seed": seed})


def save_latent_rotation(
    path: str | Path,
    state: Mapping[str, Tensor],
    settings: LatentRotationSettings,
    about: Mapping[str, Any],
) -> None:
    """Write weights; equal weights give equal bytes.

    Parameters
    ----------
    path : str or Path
        File that ends in ``.safetensors``.
    state : mapping of str to Tensor
        State dictionary of a `LatentRotation` of these sizes.
    settings : LatentRotationSettings
        Sizes.
    about : mapping
        JSON values: `notes`, `seed`, `shapes`, and how the weights came about.

    Raises
    ------
    ValueError
        If the suffix is another one, `shapes` are missing, or names or shapes of
        tensors do not fit.
    """
    path = Path(path)
    check_option("suffix of path", path.suffix, (".safetensors",))
    if not about.get("shapes"):
        raise ValueError(
            "`about` must name the objects that were trained on, under 'shapes'."
        )
    check_state_dict(state, _shapes(settings), "`state`")
    text = canonical_json({**about, "settings": plain(asdict(settings))})
    kept = {name: state[name].detach().cpu().contiguous() for name in sorted(state)}
    write_bytes(path, save(kept, {_ABOUT: text}))


def load_latent_rotation(
    weights: str | Path, *, sha256: str | None = None
) -> LatentRotation:
    """Read a network, or draw random weights.

    Parameters
    ----------
    weights : str or Path
        File that ``neurovis train latent-rotation`` wrote; ``"seeded:N"`` for a
        network of the sizes `SMALL` with random weights.
    sha256 : str, optional
        Hash that the file must have.

    Returns
    -------
    LatentRotation
        On the CPU, in evaluation mode, without gradients of its weights.

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
    >>> network = load_latent_rotation("seeded:0")
    >>> network.encode(torch.rand(1, 3, 32, 32)).shape
    torch.Size([1, 16, 8, 8, 8])
    """
    asked = str(weights)
    if asked.startswith("seeded:"):
        found = re.fullmatch(r"seeded:(\d{1,9})", asked, re.ASCII)
        if found is None:
            raise ValueError(
                "`weights` must look like 'seeded:0' (at most nine digits); got "
                f"{asked!r}."
            )
        return build_latent_rotation(SMALL, int(found[1])).eval().requires_grad_(False)
    path = check_path("weights", weights)
    state, about = read_described_weights(
        path,
        _ABOUT,
        _understood,
        what="a network of latent rotation",
        writer="`neurovis train latent-rotation`",
        sha256=sha256,
    )
    settings = about.pop("settings")
    check_state_dict(state, _shapes(settings), str(path))
    # What it draws is replaced; the caller's generator must not notice.
    with own_torch_stream(0, "not used"):
        network = LatentRotation(settings, about, trained=True)
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _understood(about: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in about["settings"].items()
    }
    for shape in about["shapes"]:
        check_shape("shapes", shape)
    return {**about, "settings": LatentRotationSettings(**values)}


def _shapes(settings: LatentRotationSettings) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        network = LatentRotation(settings)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


_Stage = tuple[int, int, int]  # channels before and after, step


def _plan(inputs: int, widths: Sequence[int], strides: Sequence[int]) -> list[_Stage]:
    return list(zip((inputs, *widths[:-1]), widths, strides, strict=True))


def _mirrored(stages: Sequence[_Stage]) -> list[_Stage]:
    """Return the stages that lead back."""
    return [(b, a, s if s == 1 else -s) for a, b, s in reversed(stages)]


def _stages(n_axes: int, stages: Sequence[_Stage]) -> nn.Sequential:
    return nn.Sequential(*(_stage(n_axes, *stage) for stage in stages))


def _stage(n_axes: int, before: int, after: int, stride: int) -> nn.Module:
    if stride == 1 and before == after:
        return _Residual(n_axes, before)
    change = _convolution(n_axes, before, after, stride)
    return nn.Sequential(change, _norm(after), nn.LeakyReLU(_SLOPE))


def _convolution(n_axes: int, before: int, after: int, stride: int) -> nn.Module:
    flat = n_axes == 2
    kind: Any = nn.Conv2d if flat else nn.Conv3d
    if stride == -2:
        kind = nn.ConvTranspose2d if flat else nn.ConvTranspose3d
    size = 3 if stride == 1 else 4
    made: nn.Module = kind(before, after, size, stride=abs(stride), padding=1)
    return made


def _pointwise(stages: Sequence[_Stage]) -> nn.Sequential:
    """Return 1 x 1 convolutions; the last one is left as it is."""
    layers: list[nn.Module] = []
    for before, after, _ in stages:
        layers += [nn.Conv2d(before, after, 1), _norm(after), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers[:-2])


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(width, max(width // _GROUP, 1)), width)


class _Residual(nn.Module):
    """Two convolutions that are added to what came in."""

    def __init__(self, n_axes: int, width: int) -> None:
        super().__init__()
        convolution: Any = nn.Conv2d if n_axes == 2 else nn.Conv3d
        self.norms = nn.ModuleList(_norm(width) for _ in range(2))
        self.layers = nn.ModuleList(
            convolution(width, width, 3, padding=1) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return x with what the convolutions made of it.

        Parameters
        ----------
        x : Tensor of float32, shape (n, width, ...)
            Maps or volumes.

        Returns
        -------
        Tensor of float32, shape (n, width, ...)
            The same shape.
        """
        made = x
        for norm, layer in zip(self.norms, self.layers, strict=True):
            made = layer(F.leaky_relu(norm(made), _SLOPE))
        return x + made
