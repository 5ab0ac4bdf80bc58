"""Volumes that are turned: the latent space of a model of mental rotation.

A volume holds channels over a cube of voxels, whose inscribed sphere stays within it
however it is turned. Axes are z, y and x, each from -1 to 1; x points to the right, y
up, and z towards the viewer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def voxel_centres(side: int) -> Tensor:
    """Return where the voxels of a cube lie.

    Parameters
    ----------
    side : int
        Voxels along each axis.

    Returns
    -------
    Tensor of float32, shape (side, side, side, 3)
        Centres (x, y, z) of the voxels in the order z, y, x, within -1..1.

    Examples
    --------
    >>> voxel_centres(2)[0, 0, 1].tolist()
    [0.5, -0.5, -0.5]
    """
    line = (torch.arange(side) * 2 + 1) / side - 1
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def sphere_mask(side: int) -> Tensor:
    """Return which voxels lie in the sphere that touches the faces of the cube.

    Parameters
    ----------
    side : int
        Voxels along each axis.

    Returns
    -------
    Tensor of bool, shape (side, side, side)
        Whether the centre of a voxel is at most 1 from the middle.

    Examples
    --------
    >>> int(sphere_mask(2).sum()), int(sphere_mask(4).sum())
    (8, 32)
    """
    return voxel_centres(side).square().sum(dim=-1) <= 1


def rotate_volume(volume: Tensor, rotation: Tensor) -> Tensor:
    """Turn volumes, by trilinear interpolation.

    Parameters
    ----------
    volume : Tensor of float, shape (n, n_channels, side, side, side)
        Volumes, axes z, y, x.
    rotation : Tensor of float, shape (n, 3, 3)
        Rotation matrices for (x, y, z): what was at p comes to ``R p``.

    Returns
    -------
    Tensor of float, shape (n, n_channels, side, side, side)
        Turned volumes; outside the cube there is 0.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> volume = torch.zeros(1, 1, 2, 2, 2)
    >>> volume[0, 0, 0, 0, 1] = 1  # right, below, behind
    >>> quarter = torch.tensor([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    >>> rotate_volume(volume, quarter)[0, 0, 0].round().tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    n, side = len(volume), volume.shape[-1]
    if volume.ndim != 5 or volume.shape[2:] != (side,) * 3:
        raise ValueError(
            "`volume` must have shape (n, channels, side, side, side); got "
            f"{tuple(volume.shape)}."
        )
    if rotation.shape != (n, 3, 3):
        raise ValueError(
            f"`rotation` must have shape {(n, 3, 3)}; got {tuple(rotation.shape)}."
        )
    places = voxel_centres(side).to(volume)
    # At p there is what was at the inverse rotation of p: as rows, p R.
    grid = torch.einsum("zyxi,nij->nzyxj", places, rotation.to(volume))
    return F.grid_sample(volume, grid, align_corners=False)


def axis_rotation(axis: Tensor, angle_deg: Tensor) -> Tensor:
    """Return rotations about axes, by the formula of Rodrigues.

    Parameters
    ----------
    axis : Tensor of float, shape (n, 3)
        Directions (x, y, z) of length 1.
    angle_deg : Tensor of float, shape (n,)
        Angles, counter-clockwise for who sees the axis point to them.

    Returns
    -------
    Tensor of float, shape (n, 3, 3)
        Rotation matrices.

    Examples
    --------
    >>> up = torch.tensor([[0.0, 1.0, 0.0]])
    >>> (
    ...     axis_rotation(up, torch.tensor([90.0]))[0] @ torch.tensor([0.0, 0, 1])
    ... ).tolist()
    [1.0, 0.0, 0.0]
    """
    angle = torch.deg2rad(angle_deg.double())
    x, y, z = axis.double().unbind(dim=1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    sin, cos = (f(angle)[:, None, None] for f in (torch.sin, torch.cos))
    turn = torch.eye(3, dtype=torch.float64, device=axis.device)
    turn = turn + sin * cross + (1 - cos) * (cross @ cross)
    # Of right angles nothing shall be left over.
    return torch.where(turn.abs() < 1e-15, 0, turn).to(axis.dtype)


def rotation_matches(
    first: Tensor, second: Tensor, axis: Tensor, *, step_deg: float = 5.0
) -> Tensor:
    """Turn volumes step by step, and correlate them with others.

    Parameters
    ----------
    first : Tensor of float, shape (n, n_channels, side, side, side)
        Volumes that are turned.
    second : Tensor of float, shape (n, n_channels, side, side, side)
        Volumes that they are compared with.
    axis : Tensor of float, shape (n, 3)
        Axes of rotation (x, y, z), of length 1.
    step_deg : float, default 5
        Degrees from one comparison to the next, up to 180.

    Returns
    -------
    Tensor of float64, shape (n, n_steps)
        Correlation inside the sphere after 0, 1, 2, ... steps, the larger one of both
        directions; NaN for a volume of one value.

    Raises
    ------
    ValueError
        If shapes do not fit together, or `step_deg` is not above 0.
    """
    if first.shape != second.shape or axis.shape != (len(first), 3):
        raise ValueError(
            f"`first` {tuple(first.shape)}, `second` {tuple(second.shape)} and `axis` "
            f"{tuple(axis.shape)} do not fit together."
        )
    if not step_deg > 0:
        raise ValueError(f"`step_deg` must be above 0; got {step_deg}.")
    inside = sphere_mask(first.shape[-1]).to(first.device)
    wanted = _standard(second[..., inside])
    # Volumes that turn alike are turned as channels of one: several times faster.
    alike = bool((axis == axis[:1]).all())
    moved, turns = (first.flatten(0, 1)[None], axis[:1]) if alike else (first, axis)
    found = []
    for step in range(int(180 / step_deg + 1e-9) + 1):
        both = []
        for sign in (1, -1):
            angle = torch.full((len(turns),), sign * step * step_deg).to(turns)
            turned = rotate_volume(moved, axis_rotation(turns, angle))
            own = _standard(turned.view(first.shape)[..., inside])
            both.append((own * wanted).sum(dim=(1, 2)))
        found.append(torch.maximum(*both))
    return torch.stack(found, dim=1)


def _standard(values: Tensor) -> Tensor:
    """Return values (n, n_channels, n_voxels) with mean 0 and length 1."""
    centred = values.double() - values.double().mean(dim=(1, 2), keepdim=True)
    length = centred.square().sum(dim=(1, 2), keepdim=True).sqrt()
    return centred / length
