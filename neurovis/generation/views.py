"""Views of a picture that keep noise noise, for visual anagrams.

An anagram is one picture that shows different things in different views. A diffusion
model sees every view as an ordinary noisy picture only if white noise stays white
noise: views must be linear and orthogonal. All of them here swap pixels and flip signs,
so they are undone exactly. Blur, rotation with interpolation and changes of contrast do
not qualify.

References
----------
Geng, Park and Owens (2024). Visual anagrams: generating multi-view optical illusions
with diffusion models. CVPR. arXiv:2311.17919.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_option, check_whole
from neurovis.core.files import sha256_bytes
from neurovis.core.rng import generator

VIEWS = (
    "identity",
    "vertical-flip",
    "horizontal-flip",
    "rotate-cw",
    "rotate-ccw",
    "rotate-180",
    "negate",
    "skew",
    "patch-permutation",
    "pixel-permutation",
    "jigsaw",
    "inner-circle",
    "square-hinge",
)
"""Names of views, as `make_view` takes them."""

_GRID = 8  # patches to a side
_SKEW = 1.5
_RADIUS = 3 / 8
_LEAST_JIGSAW = 28  # knobs would cut pieces of smaller pictures in two

Places = NDArray[np.int64]


class NoiseView(Protocol):
    """What anagrams ask of a view: a `View`, or a part of noise."""

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    @property
    def size_px(self) -> int:
        """Side of its pictures."""
        ...

    @property
    def parameters(self) -> dict[str, Any]:
        """What it is, as JSON values."""
        ...

    def apply(self, x: Tensor) -> Tensor:
        """Return what the network sees.

        Parameters
        ----------
        x : Tensor, shape (n, C, size_px, size_px)
            Noisy samples.

        Returns
        -------
        Tensor, shape (n, C, size_px, size_px)
            Their view.
        """
        ...

    def map_noise_back(self, output: Tensor) -> Tensor:
        """Return predicted noise as it adds to the picture.

        Parameters
        ----------
        output : Tensor, shape (n, C, size_px, size_px)
            What was predicted for the view.

        Returns
        -------
        Tensor, shape (n, C, size_px, size_px)
            In the frame of the picture.
        """
        ...

    def apply_to_images(self, images: Tensor) -> Tensor:
        """Return what an observer sees.

        Parameters
        ----------
        images : Tensor, shape (n, C, size_px, size_px)
            Pictures, 0..1.

        Returns
        -------
        Tensor, shape (n, C, size_px, size_px)
            Their view.
        """
        ...


@dataclass(frozen=True, eq=False)
class View:
    """Another order of the pixels of a square picture, and perhaps other signs.

    Parameters
    ----------
    name : str
        Name in tables.
    order : Tensor of int64, shape (size_px, size_px)
        For every place of the view the pixel that is seen there, counted row by row:
        each pixel once.
    sign : {1, -1}, default 1
        What values are multiplied by.

    Raises
    ------
    TypeError, ValueError
        If the order leaves out a pixel, or the sign is another number.

    Examples
    --------
    >>> mirror = View("mirror", torch.tensor([[1, 0], [3, 2]]))
    >>> mirror.apply(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).tolist()
    [[[[2.0, 1.0], [4.0, 3.0]]]]
    """

    name: str
    order: Tensor
    sign: int = 1

    def __post_init__(self) -> None:
        check_option("sign", self.sign, (1, -1))
        if self.order.dtype != torch.int64:
            raise TypeError(f"`order` must be of int64; got {self.order.dtype}.")
        shape = tuple(self.order.shape)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"`order` must be square; got the shape {shape}.")
        pixels = torch.arange(self.order.numel())
        if not torch.equal(self.order.cpu().flatten().sort().values, pixels):
            raise ValueError(
                f"`order` must hold each pixel of 0 to {len(pixels) - 1} once: "
                "otherwise the view cannot be undone."
            )

    @property
    def size_px(self) -> int:
        """Side of its pictures."""
        return len(self.order)

    @property
    def parameters(self) -> dict[str, Any]:
        """What it is, as JSON values."""
        order = self.order.cpu().contiguous().numpy()
        return {
            "name": self.name,
            "order": sha256_bytes(order.tobytes()),
            "sign": self.sign,
        }

    def apply(self, x: Tensor) -> Tensor:
        """Return the view of samples; gradients can flow.

        Parameters
        ----------
        x : Tensor, shape (n, C, size_px, size_px)
            Samples around 0.

        Returns
        -------
        Tensor, shape (n, C, size_px, size_px)
            The same values elsewhere, times the sign.

        Raises
        ------
        ValueError
            If the shape is another one.
        """
        return self.sign * self._rearrange(x, self.order)

    def invert(self, x: Tensor) -> Tensor:
        """Undo `apply`, exactly; gradients can flow.

        Parameters
        ----------
        x : Tensor, shape (n, C, size_px, size_px)
            Views of samples.

        Returns
        -------
        Tensor, shape (n, C, size_px, size_px)
            The samples.

        Raises
        ------
        ValueError
            If the shape is another one.
        """
        return self.sign * self._rearrange(x, self.order.flatten().argsort())

    def map_noise_back(self, output: Tensor, n_noise: int | None = None) -> Tensor:
        """Return what was predicted for a view as it holds for the picture.

        Parameters
        ----------
        output : Tensor, shape (n, C, size_px, size_px)
            Predicted noise, or with `n_noise` noise and then variances.
        n_noise : int, optional
            Channels that hold noise; all by default. Variances have no sign: they
            only change places.

        Returns
        -------
        Tensor, shape (n, C, size_px, size_px)
            In the frame of the picture.

        Raises
        ------
        TypeError, ValueError
            If the shape is another one, or there are fewer channels.
        """
        if n_noise is None:
            return self.invert(output)
        check_whole("n_noise", n_noise, low=1, high=output.shape[1])
        noise, variance = output[:, :n_noise], output[:, n_noise:]
        return torch.cat([self.invert(noise), self.sign * self.invert(variance)], 1)

    def apply_to_images(self, images: Tensor) -> Tensor:
        """Return the view of pictures; gradients can flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, C, size_px, size_px), 0..1
            Pictures; with a negative sign light becomes dark.

        Returns
        -------
        Tensor of float32, shape (n, C, size_px, size_px), 0..1
            What an observer sees.

        Raises
        ------
        TypeError, ValueError
            If they are not of floats, or the shape is another one.
        """
        check_levels(images)
        seen = self._rearrange(images, self.order)
        return seen if self.sign == 1 else 1 - seen

    def _rearrange(self, x: Tensor, order: Tensor) -> Tensor:
        check_size(x, self.size_px, self.name)
        return x.flatten(2)[..., order.flatten().to(x.device)].reshape(x.shape)


def make_view(name: str, size_px: int, seed: int = 0) -> View:
    """Make a view of square pictures.

    Parameters
    ----------
    name : str
        One of `VIEWS`: flips and turns by quarters, "negate" (light for dark), "skew"
        (columns roll by 1.5 px more than their left neighbour), "patch-permutation"
        (8 x 8 patches), "pixel-permutation", "jigsaw" (16 pieces), "inner-circle" (a
        disc of 3/8 of the side turns by 180°) and "square-hinge" (3 x 3 squares turn by
        90°, neighbours in opposite directions).
    size_px : int
        Side of the pictures. Patches need a multiple of 8, the jigsaw a multiple of 4
        of at least 28; squares leave a rim of 1 or 2 px if 3 does not divide it.
    seed : int, default 0
        Of permutations and the jigsaw.

    Returns
    -------
    View
        Orthogonal and exact.

    Raises
    ------
    TypeError, ValueError
        If the name is unknown, or the size does not fit.

    Notes
    -----
    The rules of the jigsaw are those of Geng et al. (2024): corners, edges and inner
    pieces each change places among themselves, and turn. Its pieces are drawn here,
    with round knobs, for any size; the published ones were painted by hand for pictures
    of 64, 256 and 1024 px. Seeds stand for other permutations than theirs.

    Examples
    --------
    >>> view = make_view("rotate-cw", 2)
    >>> view.apply(torch.tensor([[[[1, 2], [3, 4]]]])).tolist()
    [[[[3, 1], [4, 2]]]]
    """
    check_option("name", name, VIEWS)
    size_px = check_whole("size_px", size_px, low=2)
    places = np.arange(size_px**2).reshape(size_px, size_px)
    stream = generator(seed, "view", name, size_px)
    order = _order(name, places, stream)
    sign = -1 if name == "negate" else 1
    return View(name, torch.from_numpy(np.ascontiguousarray(order)), sign)


def _order(name: str, places: Places, stream: np.random.Generator) -> Places:
    if name == "vertical-flip":
        return places[::-1]
    if name == "horizontal-flip":
        return places[:, ::-1]
    if name.startswith("rotate-"):
        return np.rot90(places, {"cw": -1, "ccw": 1, "180": 2}[name[len("rotate-") :]])
    if name == "skew":
        size_px = len(places)
        shifts = [int(_SKEW * (i - size_px // 2)) for i in range(size_px)]
        columns = [np.roll(places[:, i], shift) for i, shift in enumerate(shifts)]
        return np.stack(columns, 1)
    if name == "patch-permutation":
        return _permute_patches(places, stream)
    if name == "pixel-permutation":
        return stream.permutation(places.ravel()).reshape(places.shape)
    if name == "jigsaw":
        return _jigsaw(places, stream)
    if name == "inner-circle":
        middle = np.arange(len(places)) + 0.5 - len(places) / 2
        inside = np.hypot(middle[:, None], middle) < _RADIUS * len(places)
        return np.where(inside, places[::-1, ::-1], places)
    if name == "square-hinge":
        return _turn_squares(places)
    return places


def _permute_patches(places: Places, stream: np.random.Generator) -> Places:
    _check_divisible("patch-permutation", len(places), _GRID)
    side = len(places) // _GRID
    patches = places.reshape(_GRID, side, _GRID, side).swapaxes(1, 2)
    patches = stream.permutation(patches.reshape(-1, side, side))
    return (
        patches.reshape(_GRID, _GRID, side, side).swapaxes(1, 2).reshape(places.shape)
    )


def _turn_squares(places: Places) -> Places:
    order = places.copy()
    side, rim = len(places) // 3, len(places) % 3 // 2
    for row in range(3):
        for column in range(3):
            top, left = rim + row * side, rim + column * side
            square = order[top : top + side, left : left + side]
            square[:] = np.rot90(square, 1 if (row + column) % 2 else -1).copy()
    return order


def _jigsaw(places: Places, stream: np.random.Generator) -> Places:
    """Let pieces of one kind change places; they turn with the side they come to."""
    size_px = len(places)
    _check_divisible("jigsaw", size_px, 4)
    if size_px < _LEAST_JIGSAW:
        raise ValueError(
            f"`size_px` must be at least {_LEAST_JIGSAW} for a jigsaw; got {size_px}."
        )
    # Seen from each side of the picture the same four pieces lie in the same places.
    corner, edge, next_edge, inner = _pieces(size_px)
    order = places.ravel().copy()
    for masks in ([corner], [inner], [edge, next_edge]):
        slots = [np.rot90(places, turn)[mask] for mask in masks for turn in range(4)]
        for slot, taken in zip(slots, stream.permutation(len(slots)), strict=True):
            order[slot] = slots[taken]
    return order.reshape(places.shape)


def _pieces(size_px: int) -> list[NDArray[np.bool_]]:
    """Return where a corner, two edges and an inner piece of the upper left lie.

    Clockwise, each piece has a knob where it leaves to the next, and edges one inwards:
    then all pieces of a kind have one shape.
    """
    side = size_px // 4
    cells = [(0, 0), (0, 1), (0, 2), (1, 1)]
    names = np.zeros((size_px, size_px), np.int64)
    turned = [np.rot90(names, turn) for turn in range(4)]
    for turn, area in enumerate(turned):
        for kind, (row, column) in enumerate(cells):
            top, left = row * side, column * side
            area[top : top + side, left : left + side] = 4 * kind + turn
    along = np.arange(side) + 0.5
    centre = np.hypot(along[:, None] - side / 2, along - side / 8)
    knob = centre < side / 6
    for turn, area in enumerate(turned):
        for kind, (row, column) in enumerate(cells):
            top, left = row * side, column * side
            right = area[top : top + side, left + side : left + 2 * side]
            right[knob] = 4 * kind + turn
            if kind in (1, 2):
                below = area[top + side : top + 2 * side, left : left + side]
                below[knob.T] = 4 * kind + turn
    return [names == 4 * kind for kind in range(4)]


def _check_divisible(name: str, size_px: int, number: int) -> None:
    if size_px % number:
        raise ValueError(
            f"`size_px` must be a multiple of {number} for {name!r}; got {size_px}."
        )


def check_size(x: Tensor, size_px: int, name: str) -> None:
    """Raise unless samples are square and of the size of a view.

    Parameters
    ----------
    x : Tensor
        Samples or pictures.
    size_px : int
        Side that they must have.
    name : str
        Of the view, for the message.

    Raises
    ------
    ValueError
        If the shape is another one than (n, C, size_px, size_px).
    """
    if x.ndim != 4 or tuple(x.shape[-2:]) != (size_px, size_px):
        raise ValueError(
            f"The view {name!r} needs the shape (n, C, {size_px}, {size_px}); got "
            f"{tuple(x.shape)}. Make it for the size of the pictures."
        )


def check_levels(images: Any) -> None:
    """Raise unless pictures are floats.

    Parameters
    ----------
    images : object
        What came.

    Raises
    ------
    TypeError
        If it is no tensor of floats.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = getattr(images, "dtype", type(images).__name__)
        raise TypeError(
            f"`images` must be a tensor of floats, 0..1; got {kind}. Divide 8-bit "
            "pictures by 255."
        )
