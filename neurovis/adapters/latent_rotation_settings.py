"""How large a network of latent rotation is: the published sizes, and smaller ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from neurovis.core.checks import check_between, check_option, check_whole


@dataclass(frozen=True)
class LatentRotationSettings:
    """How large a network of latent rotation is.

    A stage of the convolutions that changes neither width nor resolution is a residual
    block; another one is a single convolution. The defaults are the published sizes.

    Parameters
    ----------
    size_px : int, default 128
        Side of the pictures that it sees.
    size_deg : float, default 7
        What they show, in degrees: more leaves a wider ground around an object.
    widths_2d : tuple of int
        Channels after each stage over the picture.
    strides_2d : tuple of int, each 1, 2 or -2
        Step of each of these stages; -2 doubles the resolution.
    widths_lift : tuple of int
        Channels of the 1 x 1 convolutions after them; the last one is divided among
        the layers of depth.
    widths_3d : tuple of int
        Channels after each stage over the volume.
    strides_3d : tuple of int, each 1, 2 or -2
        Step of each of these stages.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or sizes do not fit together.

    Examples
    --------
    >>> settings = LatentRotationSettings()
    >>> settings.n_lifted, settings.lifted_side
    (32, 32)
    >>> settings.n_channels, settings.side
    (64, 32)
    """

    size_px: int = 128
    size_deg: float = 7.0
    widths_2d: tuple[int, ...] = (64, 64, 128, 128, 128, 128, 256, 256, 128, 128, 128)
    strides_2d: tuple[int, ...] = (1, 1, 2, 1, 2, 1, 2, 1, -2, 1, 1)
    widths_lift: tuple[int, ...] = (256, 512, 1024)
    widths_3d: tuple[int, ...] = (32, 32, 128, 128, 128, 64, 64, 64)
    strides_3d: tuple[int, ...] = (1, 1, 2, 1, 1, -2, 1, 1)

    def __post_init__(self) -> None:
        check_whole("size_px", self.size_px, low=4)
        check_between("size_deg", self.size_deg, low=1, high=90)
        for name in ("widths_2d", "widths_lift", "widths_3d"):
            widths = getattr(self, name)
            if not widths:
                raise ValueError(f"`{name}` is empty: give at least one width.")
            for width in widths:
                check_whole(name, width, low=1)
        for what in ("2d", "3d"):
            strides = getattr(self, f"strides_{what}")
            if len(strides) != len(getattr(self, f"widths_{what}")):
                raise ValueError(
                    f"`strides_{what}` must have one step per width of `widths_{what}`."
                )
            for stride in strides:
                check_option(f"strides_{what}", stride, (1, 2, -2))
        for name, side, strides in (
            ("size_px", self.size_px, self.strides_2d),
            ("strides_2d", self.lifted_side, self.strides_3d),
        ):
            for stride in strides:
                if stride == 2 and (side % 2 or side < 4):
                    raise ValueError(
                        f"`{name}` leads to a side of {side} that is to be halved: "
                        "sides must be even, and at least 4."
                    )
                side = _strode(side, [stride])
        if self.widths_lift[-1] % self.lifted_side:
            raise ValueError(
                f"The last of `widths_lift`, {self.widths_lift[-1]}, must be a "
                f"multiple of the depth of the volume, {self.lifted_side}."
            )

    @property
    def lifted_side(self) -> int:
        """Voxels along each axis where the volume begins."""
        return _strode(self.size_px, self.strides_2d)

    @property
    def n_lifted(self) -> int:
        """Channels of the volume where it begins."""
        return self.widths_lift[-1] // self.lifted_side

    @property
    def side(self) -> int:
        """Voxels along each axis of the latent volume."""
        return _strode(self.lifted_side, self.strides_3d)

    @property
    def n_channels(self) -> int:
        """Channels of the latent volume."""
        return self.widths_3d[-1]


def _strode(side: int, strides: Sequence[int]) -> int:
    for stride in strides:
        side = side // 2 if stride == 2 else side * abs(stride)
    return side


SMALL = LatentRotationSettings(
    size_px=32,
    size_deg=5.0,
    widths_2d=(16, 32, 32),
    strides_2d=(2, 2, 1),
    widths_lift=(128,),
    widths_3d=(16, 16),
    strides_3d=(1, 1),
)
"""Fit for a processor: pictures of 32 pixels, a volume of 16 x 8 x 8 x 8."""

TINY = LatentRotationSettings(
    size_px=16,
    size_deg=5.0,
    widths_2d=(8, 16),
    strides_2d=(2, 1),
    widths_lift=(32,),
    widths_3d=(4, 4),
    strides_3d=(1, 1),
)
"""Fit for tests."""
