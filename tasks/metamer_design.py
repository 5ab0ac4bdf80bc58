"""Which metamers are made, and how the eye looks at them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self, cast

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.files import plain
from neurovis.core.types import Viewing
from neurovis.foveation.pooled_statistics import PooledStatistics
from neurovis.foveation.windows import FOVEA_DEG, IMAGE_DEG, pooling_windows

MODELS = ("texture", "energy", "luminance")
"""Models of pooling (see `neurovis.foveation.pooled_statistics`)."""

STARTS = ("texture", "noise")
"""What samples are made of."""


@dataclass(frozen=True)
class MetamerDesign:
    """Which metamers are made, and how the eye looks at them.

    Parameters
    ----------
    scales : tuple of float, default (0.3, 0.4, 0.6)
        Widths of pooling windows over eccentricity, in (0, 2].
    model : {"texture", "energy", "luminance"}
        Whose statistics are shared.
    n_samples : int, default 2
        Samples of each picture and scale; with 1 there is nothing to compare a sample
        with but its original.
    start : {"texture", "noise"}
        `FoveatedTexture` of full strength: nearer, so that fewer steps are needed,
        and samples keep more of the original than the model asks for; or noise, as
        published.
    n_steps : int, default 200
        Most steps of descent; 0 leaves what the fast texture transform makes.
    optimiser : {"adam", "lbfgs"}
        As of `neurovis.foveation.refine.refine`.
    size_px : int, default 256
        Side of the square pictures, 32 or more. Others are resized, none is cropped.
    px_per_deg : float, optional
        Pixels of these squares per degree; by default the side spans 26 degrees.
    fixation_px : tuple of float, optional
        Point that is fixated in these squares, (x, y); the centre by default.
    fovea_deg : float, default 1.82165
        Radius of what stays original.
    n_scales : int, optional
        Scales of the pyramid; by default as many as fit, up to 4.
    grey : bool, default True
        Make pictures of luminance alone, as published.
    tolerance : float, default 0.1
        A sample counts as a metamer of the model when no family of its statistics is
        farther from the original than this, relative to its size.
    n_per_pair : int, default 4
        Trials per pair of pictures (see `stimuli.abx.make_abx_trials`).
    seed : int, default 0
        Seed of starts and trials.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range, or values do not go together.
    """

    scales: tuple[float, ...] = (0.3, 0.4, 0.6)
    model: str = "texture"
    n_samples: int = 2
    start: str = "texture"
    n_steps: int = 200
    optimiser: str = "adam"
    size_px: int = 256
    px_per_deg: float | None = None
    fixation_px: tuple[float, float] | None = None
    fovea_deg: float = FOVEA_DEG
    n_scales: int | None = None
    grey: bool = True
    tolerance: float = 0.1
    n_per_pair: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        scales = [check_between("scales", s, low=0.01, high=2) for s in self.scales]
        if not scales or len(set(scales)) != len(scales):
            raise ValueError(
                f"`scales` must be one or more different numbers; got {self.scales}."
            )
        object.__setattr__(self, "scales", tuple(float(s) for s in scales))
        check_option("model", self.model, MODELS)
        check_whole("n_samples", self.n_samples, low=1)
        check_option("start", self.start, STARTS)
        check_whole("n_steps", self.n_steps, low=0)
        if self.n_steps == 0 and self.start == "noise":
            raise ValueError(
                "`n_steps` of 0 would leave noise: take more steps, or the start "
                "'texture'."
            )
        check_option("optimiser", self.optimiser, ("adam", "lbfgs"))
        check_whole("size_px", self.size_px, low=32)
        if self.px_per_deg is not None:
            check_between("px_per_deg", self.px_per_deg, low=1e-6)
        x, y = self.fixation
        if not (0 <= x <= self.size_px and 0 <= y <= self.size_px):
            raise ValueError(
                f"`fixation_px` must lie within the square of {self.size_px} px; got "
                f"({x:g}, {y:g})."
            )
        check_between("fovea_deg", self.fovea_deg, low=1e-3)
        if self.n_scales is not None:
            check_whole("n_scales", self.n_scales, low=1)
        elif self.model != "luminance" and self.size_px % 2:
            raise ValueError(
                f"`size_px` must be even for a pyramid; got {self.size_px}."
            )
        check_between("tolerance", self.tolerance, low=1e-6)
        check_whole("n_per_pair", self.n_per_pair, low=1)
        check_whole("seed", self.seed, low=0)

    @property
    def fixation(self) -> tuple[float, float]:
        """The point that is fixated, (x, y) in pixels."""
        return self.fixation_px or (self.size_px / 2, self.size_px / 2)

    @property
    def viewing(self) -> Viewing:
        """How the squares are seen."""
        density = self.px_per_deg or self.size_px / IMAGE_DEG
        return Viewing(density, self.size_px, self.size_px)

    @property
    def parameters(self) -> dict[str, Any]:
        """The design as JSON values."""
        return cast(dict[str, Any], plain(asdict(self)))

    @classmethod
    def from_parameters(cls, values: Mapping[str, Any]) -> Self:
        """Return the design that `parameters` describes.

        Parameters
        ----------
        values : mapping
            JSON values; others than those of a design do not matter.

        Returns
        -------
        MetamerDesign
            An equal design.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a value is missing or wrong.
        """
        own = {name: values[name] for name in cls.__dataclass_fields__}
        for name in ("scales", "fixation_px"):
            own[name] = None if own[name] is None else tuple(own[name])
        return cls(**own)


def pyramid_scales(size_px: int) -> int:
    """Return how many scales of a pyramid fit a square, up to 4.

    Parameters
    ----------
    size_px : int
        Side of the square, even.

    Returns
    -------
    int
        As many as leave neighbourhoods of 7 samples at the coarsest one; 1 at least.

    Examples
    --------
    >>> pyramid_scales(256), pyramid_scales(64), pyramid_scales(50)
    (4, 3, 1)
    """
    fits = [n for n in (1, 2, 3, 4) if size_px % 2**n == 0 and size_px >> n >= 7]
    return max(fits, default=1)


def pooled_statistics(
    design: MetamerDesign, scale: float, model: str | None = None
) -> PooledStatistics:
    """Return the statistics of a model that looks as a design says.

    Parameters
    ----------
    design : MetamerDesign
        Size of pictures, viewing and pyramid.
    scale : float
        Width of windows over eccentricity.
    model : str, optional
        Another model than that of the design.

    Returns
    -------
    PooledStatistics
        For squares of the size of the design.

    Raises
    ------
    ValueError
        If the pyramid does not fit the size.
    """
    windows = pooling_windows(
        (design.size_px, design.size_px),
        scale,
        px_per_deg=design.viewing.px_per_deg,
        fixation_px=design.fixation,
        fovea_deg=design.fovea_deg,
    )
    n_scales = design.n_scales or pyramid_scales(design.size_px)
    kind = cast(Any, model or design.model)
    return PooledStatistics(windows, model=kind, n_scales=n_scales)
