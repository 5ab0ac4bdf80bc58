"""Convolutions that turn with the picture: filters in n orientations, learnt once.

A filter is a sum of circular harmonics on rings, ``R(r) exp(i m phi)``. To turn it by
theta, each harmonic is multiplied by ``exp(-i m theta)``: no pixel is interpolated.
Maps come in fields; each has one channel per orientation, and a picture that is turned
by one orientation moves them on by one.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.rng import torch_generator

FILTERS = ("steerable", "pixels")
"""What filters are made of: circular harmonics on rings, or single pixels."""

LARGEST_KERNEL = 15
"""Largest side of a kernel, in pixels."""

# Standard deviation of a ring, in pixels. Wider rings weigh the corners of a kernel,
# narrower ones see only some directions: turning by 45 degrees suffers from both.
_RING_SIGMA = 0.45


def check_kernel(name: str, size: int) -> int:
    """Return the side of a kernel if it is odd and within 1..15.

    Parameters
    ----------
    name : str
        Argument name for the message.
    size : int
        Side in pixels.

    Returns
    -------
    int
        `size`.

    Raises
    ------
    TypeError, ValueError
        If it is not.

    Examples
    --------
    >>> check_kernel("size", 5)
    5
    """
    number = check_whole(name, size, low=1, high=LARGEST_KERNEL)
    if number % 2 == 0:
        raise ValueError(
            f"`{name}` must be odd, so that a kernel has a centre; got {size!r}. Use "
            f"{number - 1} or {number + 1}."
        )
    return number


def check_filters(filters: str, n_orientations: int) -> int:
    """Return the number of orientations if such filters can be turned so.

    Parameters
    ----------
    filters : {"steerable", "pixels"}
        What filters are made of.
    n_orientations : int
        Number of orientations, >= 1; for "pixels" 1, 2 or 4.

    Returns
    -------
    int
        `n_orientations`.

    Raises
    ------
    TypeError, ValueError
        If they cannot, or an argument is out of range.

    Examples
    --------
    >>> check_filters("steerable", 8)
    8
    """
    check_option("filters", filters, FILTERS)
    number = check_whole("n_orientations", n_orientations, low=1)
    if filters == "pixels" and number not in (1, 2, 4):
        raise ValueError(
            "`n_orientations` must be 1, 2 or 4 with filters='pixels', because pixels "
            f"fall on pixels by quarter turns only; got {number}. Use "
            "filters='steerable' for others."
        )
    return number


def steerable_basis(size: int, n_orientations: int) -> Tensor:
    """Return the harmonics that filters are made of, in all orientations.

    Ring j of radius j pixels has the profile ``exp(-(r - j)² / (2 · 0.45²))`` and the
    angular frequencies m = 0..2 j: a cycle is at least pi pixels long, so that pixels
    do not alias it. The outermost ring, cut by the border of the kernel, ends at
    2 j - 1, and the centre has m = 0 only. Each m > 0 has two members, real and
    imaginary part.

    Parameters
    ----------
    size : int
        Side of the kernel in pixels, odd, 1..15.
    n_orientations : int
        Number of orientations, >= 1.

    Returns
    -------
    Tensor of float64, shape (n_orientations, n_members, size, size)
        Member b in orientation g is member b turned counter-clockwise by
        ``360 g / n_orientations`` degrees. The mean sum of squares of the members of
        a frequency is 1.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or out of range, or `size` is even.

    References
    ----------
    Weiler, Hamprecht & Storath (2018), doi:10.1109/CVPR.2018.00095.

    Examples
    --------
    >>> basis = steerable_basis(5, 8)
    >>> basis.shape  # 1 member in the centre, 5 on the first ring, 7 on the second
    torch.Size([8, 13, 5, 5])
    >>> torch.allclose(basis[2], torch.rot90(basis[0], 1, (-2, -1)))
    True
    """
    size = check_kernel("size", size)
    n_orientations = check_filters("steerable", n_orientations)
    reach = size // 2
    steps = np.arange(-reach, reach + 1)
    x, y = steps[None, :], -steps[:, None]  # y points up
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    turns = 2 * np.pi / n_orientations * np.arange(n_orientations)[:, None, None]
    members = []
    for ring, m in _harmonics(size):
        profile = np.exp(-((radius - ring) ** 2) / (2 * _RING_SIGMA**2))
        # The centre has no angle, so that only a constant has a value there.
        wave = np.where((radius == 0) & (m > 0), 0, np.exp(1j * m * angle))
        turned = profile * wave * np.exp(-1j * m * turns)
        parts = [turned.real, turned.imag] if m else [turned.real]
        # One scale for both parts, because turning mixes them.
        power = np.mean([np.square(part[0]).sum() for part in parts])
        members += [part / np.sqrt(power) for part in parts]
    return torch.from_numpy(np.stack(members, 1))


def _harmonics(size: int) -> list[tuple[int, int]]:
    """Return ring and angular frequency of each harmonic."""
    last = size // 2
    highest = [max(2 * ring - (ring == last), 0) for ring in range(last + 1)]
    return [(ring, m) for ring in range(last + 1) for m in range(highest[ring] + 1)]


def pixel_basis(size: int, n_orientations: int) -> Tensor:
    """Return single pixels, in all orientations: filters without any constraint.

    Parameters
    ----------
    size : int
        Side of the kernel in pixels, odd, 1..15.
    n_orientations : {1, 2, 4}
        Number of orientations: pixels fall on pixels by quarter turns only.

    Returns
    -------
    Tensor of float64, shape (n_orientations, size ** 2, size, size)
        As `steerable_basis`; in the first orientation member b is pixel b, row by row.

    Raises
    ------
    TypeError, ValueError
        If `size` is even or out of range, or `n_orientations` is another number.

    Examples
    --------
    >>> pixel_basis(3, 4)[:, 0].flatten(1).argmax(1).tolist()
    [0, 6, 8, 2]
    """
    size = check_kernel("size", size)
    n_orientations = check_filters("pixels", n_orientations)
    pixels = torch.eye(size**2, dtype=torch.float64).reshape(-1, size, size)
    quarters = 4 // n_orientations
    turned = [
        torch.rot90(pixels, g * quarters, (-2, -1)) for g in range(n_orientations)
    ]
    return torch.stack(turned)


def _start_scales(filters: str, size: int) -> Tensor:
    """Return standard deviations of the initial share of each member.

    A random filter then answers with a mean square of 1 both to white noise and to a
    uniform map of mean square 1. Rectified maps are something between: equal shares
    would make them grow from layer to layer, as rings sum up what is uniform.
    """
    if filters == "pixels" or size == 1:
        return torch.full((size**2,), 1 / size, dtype=torch.float64)
    # Two conditions, two unknowns: the variances for m = 0, and for all others.
    even = [m == 0 for _, m in _harmonics(size) for _ in range(2 if m else 1)]
    is_even = torch.tensor(even)
    to_uniform = steerable_basis(size, 1)[0].sum((1, 2)).square()
    groups = torch.stack([is_even, ~is_even], 1).double()
    answers = torch.stack([groups.sum(0), to_uniform @ groups])
    variances = torch.linalg.solve(answers, torch.ones(2, dtype=torch.float64))
    scales: Tensor = (groups @ variances).sqrt()
    return scales


class RotationConv(nn.Module):
    """A convolution with filters that are learnt once and used in n orientations.

    The first layer, which sees a picture, applies each filter in every orientation.
    Further ones see fields: the filter of orientation g for input orientation h is
    the learnt one of ``(h - g) mod n``, turned by g. Both commute with rotations of the
    input by ``360 / n`` degrees: exactly by 90, 180 and 270 degrees on square maps,
    else as well as pixels allow.

    Parameters
    ----------
    in_fields : int
        Fields (or, for pictures, channels) of the input.
    out_fields : int
        Fields of the output.
    size : int
        Side of the kernel in pixels, odd, 1..15. The map keeps its size; around it are
        zeros.
    n_orientations : int
        Orientations of the output, >= 1; 1 is an ordinary convolution.
    sees_picture : bool, default False
        Whether the input has no orientations: then it is (B, in_fields, H, W).
    filters : {"steerable", "pixels"}
        See `steerable_basis` and `pixel_basis`.
    has_bias : bool, default True
        Whether there is a constant per field; it starts at 0.
    gain : float, default 1
        Root mean square of the output at the start, for input of mean square 1 that is
        white noise, or uniform.
    seed : int, default 0
        Seed of the initial filters.
    key : str or int, default ""
        Layers of one seed differ by their key.

    Attributes
    ----------
    weight : Parameter, shape (out_fields, in_fields, n_in_orientations, n_members)
        Share of each member of the basis.
    bias : Parameter, shape (out_fields,), or None
        Constants.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, an option is unknown, or the two do not fit.

    Notes
    -----
    Channel ``field * n_orientations + g`` has orientation g, which is turned counter-
    clockwise by ``360 g / n_orientations`` degrees.

    References
    ----------
    Cohen & Welling (2016), arXiv:1602.07576; Weiler, Hamprecht & Storath (2018),
    doi:10.1109/CVPR.2018.00095.

    Examples
    --------
    >>> layer = RotationConv(3, 2, 5, 8, sees_picture=True)
    >>> picture = torch.rand(1, 3, 16, 16)
    >>> turned = layer(torch.rot90(picture, 1, (-2, -1))).unflatten(1, (2, 8))
    >>> maps = torch.rot90(layer(picture), 1, (-2, -1)).unflatten(1, (2, 8))
    >>> torch.allclose(turned, maps.roll(2, 2), atol=1e-5)
    True
    """

    basis: Tensor

    def __init__(
        self,
        in_fields: int,
        out_fields: int,
        size: int,
        n_orientations: int,
        *,
        sees_picture: bool = False,
        filters: str = "steerable",
        has_bias: bool = True,
        gain: float = 1.0,
        seed: int = 0,
        key: str | int = "",
    ) -> None:
        super().__init__()
        in_fields = check_whole("in_fields", in_fields, low=1)
        out_fields = check_whole("out_fields", out_fields, low=1)
        n_orientations = check_filters(filters, n_orientations)
        size = check_kernel("size", size)
        check_between("gain", gain, low=0)
        make = steerable_basis if filters == "steerable" else pixel_basis
        basis = make(size, n_orientations).float()
        # Follows from the arguments, so that it is no part of what is saved.
        self.register_buffer("basis", basis, persistent=False)
        self.n_orientations = n_orientations
        self.n_in_orientations = 1 if sees_picture else n_orientations
        self.in_fields, self.out_fields = in_fields, out_fields
        shape = (out_fields, in_fields, self.n_in_orientations, basis.shape[1])
        draw = torch_generator(seed, "rotation filters", key)
        scales = _start_scales(filters, size) * gain / math.sqrt(math.prod(shape[1:3]))
        start = torch.randn(shape, generator=draw) * scales.float()
        self.weight = nn.Parameter(start)
        self.bias = nn.Parameter(torch.zeros(out_fields)) if has_bias else None

    def kernels(self) -> Tensor:
        """Return the filters in pixels.

        Returns
        -------
        Tensor, shape (out_fields * n, in_fields * n_in, size, size)
            What an ordinary convolution would be given; differentiable in `weight`.
        """
        n, n_members, size, _ = self.basis.shape
        table = self.basis.permute(1, 0, 2, 3).reshape(n_members, -1)
        turned = (self.weight @ table).reshape(*self.weight.shape[:3], n, size, size)
        if self.n_in_orientations > 1:
            # Entry s is for the input orientation h = g + s.
            each = [turned[:, :, :, g].roll(g, 2) for g in range(n)]
            filters = torch.stack(each, 1)
        else:
            filters = turned.permute(0, 3, 1, 2, 4, 5)
        return filters.reshape(self.out_fields * n, -1, size, size)

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve.

        Parameters
        ----------
        maps : Tensor, shape (B, in_fields * n_in, H, W)
            Pictures, or maps in which the orientations of a field are neighbours.

        Returns
        -------
        Tensor, shape (B, out_fields * n_orientations, H, W)
            Maps in the same order.

        Raises
        ------
        ValueError
            If the number of channels differs.
        """
        n_channels = self.in_fields * self.n_in_orientations
        if maps.ndim != 4 or maps.shape[1] != n_channels:
            raise ValueError(
                f"`maps` must have shape (n_images, {n_channels}, height, width): "
                f"{self.in_fields} fields of {self.n_in_orientations} orientations; "
                f"got {tuple(maps.shape)}."
            )
        bias: Tensor | None = self.bias
        if bias is not None:
            bias = bias.repeat_interleave(self.n_orientations)
        reach = self.basis.shape[-1] // 2
        return functional.conv2d(maps, self.kernels(), bias, padding=reach)
