"""The transforms by name: what they all are, and one way to make them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast

from torch import Tensor

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.files import sha256_file
from neurovis.foveation.acuity_blur import AcuityBlur
from neurovis.foveation.blur import FoveatedBlur, Reference, UniformBlur
from neurovis.foveation.texture import SMALLEST_SIDE, FoveatedTexture
from neurovis.foveation.windows import (
    FOVEA_DEG,
    IMAGE_DEG,
    LARGEST_SCALE,
    check_fixation,
)

CODECS = ("style-codec", "style-codec-reference")
"""Transforms that need files of weights: `neurovis.adapters.foveated_texture` makes
them."""

TRANSFORMS = (
    *("reference", "texture", "uniform-blur", "foveated-blur", "acuity-blur"),
    *CODECS,
)
"""Names of all transforms."""


class ImageTransform(Protocol):
    """What a picture goes through before it is seen."""

    @property
    def name(self) -> str:
        """One of `TRANSFORMS`, or a name of the user's own."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the pictures that it was made for."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        ...

    def __call__(
        self, images: Tensor, *, keys: Sequence[str | int] | None = None, seed: int = 0
    ) -> Tensor:
        """Transform pictures.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, H, W)
            Pictures in [0, 1] on any device.
        keys : sequence of (str or int), optional
            Identity of each picture, for random numbers of its own; without them all
            pictures get the same ones.
        seed : int, default 0
            Seed of the random numbers.

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W)
            In [0, 1], on the same device. What becomes of a picture depends neither
            on the batch nor on the device it is in.
        """
        ...


@dataclass(frozen=True)
class FoveationSettings:
    """Which transform, and how the eye looks at the picture.

    Parameters
    ----------
    transform : str, default "texture"
        One of `TRANSFORMS`.
    px_per_deg : float, optional
        Pixels per degree of visual angle, > 0; by default the longer side spans
        the published 26 degrees.
    fixation_px : tuple of float, optional
        Point that is fixated, (x, y) from the outer corner of the top-left pixel; the
        centre by default.
    fovea_deg : float, default 1.82165
        Radius of what stays as it is.
    scale : float, default 0.4
        Width of pooling windows over eccentricity; 0 pools nothing.
    quality : {"fast", "fine"}
        Of "texture".
    strength : float or {"unclipped", "clipped"}
        Of "texture": the weight of the texture, 0 to 1, or how it grows with the area
        of windows.
    sigma_px : float, optional
        Standard deviation of "uniform-blur".
    factor : float, optional
        Of "foveated-blur": standard deviation over the radius of a window.
    codec : tuple of str, optional
        Of `CODECS`: files of encoder and decoder.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range, a blur lacks its width, or a codec its files.
    """

    transform: str = "texture"
    px_per_deg: float | None = None
    fixation_px: tuple[float, float] | None = None
    fovea_deg: float = FOVEA_DEG
    scale: float = 0.4
    quality: str = "fast"
    strength: float | str = "unclipped"
    sigma_px: float | None = None
    factor: float | None = None
    codec: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        check_option("transform", self.transform, TRANSFORMS)
        check_option("quality", self.quality, ("fast", "fine"))
        if self.px_per_deg is not None:
            check_between("px_per_deg", self.px_per_deg, low=1e-6)
        check_fixation(self.fixation_px, (1, 1))  # within which picture, is open
        check_between("fovea_deg", self.fovea_deg, low=1e-3)
        check_between("scale", self.scale, low=0, high=LARGEST_SCALE)
        if isinstance(self.strength, str):
            check_option("strength", self.strength, ("unclipped", "clipped"))
        else:
            check_between("strength", self.strength, low=0, high=1)
        needed = {"uniform-blur": "sigma_px", "foveated-blur": "factor"}
        name = needed.get(self.transform)
        for other in needed.values():
            value = getattr(self, other)
            if value is not None:
                check_between(other, value, low=0)
            elif other == name:
                raise ValueError(
                    f"{self.transform!r} needs `{name}`: give it, or match it to the "
                    "texture with `neurovis.foveation.matching`."
                )

        if self.transform in CODECS and (self.codec is None or len(self.codec) != 2):
            raise ValueError(
                f"{self.transform!r} needs `codec`: files of an encoder and a decoder; "
                f"got {self.codec!r}."
            )
        if self.transform in CODECS and not isinstance(self.strength, str):
            raise ValueError(
                "`strength` of a style codec must be 'unclipped' or 'clipped'; got "
                f"{self.strength!r}."
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings as JSON values; of the codec the SHA-256 of its files."""
        values = asdict(self)
        if self.codec is not None:
            values["codec"] = [sha256_file(file) for file in self.codec]
        return values


def geometry(
    settings: FoveationSettings, shape: tuple[int, int]
) -> tuple[float, tuple[float, float]]:
    """Return how the eye looks at pictures of a size.

    Parameters
    ----------
    settings : FoveationSettings
        Settings.
    shape : tuple of int
        Height and width, pixels.

    Returns
    -------
    px_per_deg : float
        Pixels per degree.
    fixation_px : tuple of float
        The point that is fixated, (x, y).

    Raises
    ------
    TypeError, ValueError
        If that point lies outside, or the transform is not for such small pictures.

    Examples
    --------
    >>> geometry(FoveationSettings(), (260, 130))
    (10.0, (65.0, 130.0))
    """
    smallest = SMALLEST_SIDE if settings.transform == "texture" else 1
    height, width = (check_whole("shape", side, low=smallest) for side in shape)
    x, y = settings.fixation_px or (width / 2, height / 2)
    if not (0 <= x <= width and 0 <= y <= height):
        raise ValueError(
            f"`fixation_px` must lie within the picture of {width} x {height} px; got "
            f"({x:g}, {y:g})."
        )
    scale = settings.px_per_deg or max(height, width) / IMAGE_DEG
    return scale, (x, y)


def make_transform(
    settings: FoveationSettings, shape: tuple[int, int]
) -> ImageTransform:
    """Make a transform for pictures of one size.

    Parameters
    ----------
    settings : FoveationSettings
        Which one, and how the eye looks.
    shape : tuple of int
        Height and width of the pictures, pixels, 32 or more.

    Returns
    -------
    ImageTransform
        A callable that keeps its operators: make it once.

    Raises
    ------
    ValueError
        If the fixation lies outside, the pictures are too small, or the transform is
        one of `CODECS`.

    Examples
    --------
    >>> blur = make_transform(FoveationSettings("uniform-blur", sigma_px=2.0), (32, 48))
    >>> blur.shape
    (32, 48)
    """
    check_option("transform", settings.transform, TRANSFORMS[: -len(CODECS)])
    px_per_deg, fixation_px = geometry(settings, shape)
    looks: dict[str, Any] = {"px_per_deg": px_per_deg, "fixation_px": fixation_px}
    pools = {**looks, "scale": settings.scale, "fovea_deg": settings.fovea_deg}
    if settings.transform == "texture":
        # Checked by the settings.
        quality, strength = cast(Any, settings.quality), cast(Any, settings.strength)
        return FoveatedTexture(shape, quality=quality, strength=strength, **pools)
    if settings.transform == "foveated-blur":
        assert settings.factor is not None
        return FoveatedBlur(shape, settings.factor, **pools)
    if settings.transform == "uniform-blur":
        assert settings.sigma_px is not None
        return UniformBlur(shape, settings.sigma_px)
    if settings.transform == "acuity-blur":
        return AcuityBlur(shape, **looks)
    return Reference(shape)
