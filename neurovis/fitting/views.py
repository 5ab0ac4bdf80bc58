"""Random views of pictures, for training without labels.

A view is a crop with other colours: what two views of one picture share is what the
picture shows. Views are never turned upside down or rotated. A network that learns to
ignore the direction of gravity or of light would lose the very regularities of
orientation and shading that are studied in it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from neurovis.core.checks import check_between, check_whole
from neurovis.core.files import plain
from neurovis.core.rng import generator

# Pixels on either side that a blur takes in.
_HALF = 3
# Weights of red, green and blue in the luma of ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)
# What is drawn for a view, each uniform in [0, 1), in this order.
_CROP = ("area", "aspect", "top", "left", "mirror")
_GAINS = ("brightness", "contrast", "saturation", "red", "green", "blue")
_DRAWS = (*_CROP, *_GAINS, "grey", "blur", "sigma")

Pictures = Tensor | Sequence[Tensor]
Rows = Sequence[int] | NDArray[np.integer[Any]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ViewSettings:
    """What views of a picture look like.

    Parameters
    ----------
    size_px : int, default 64
        Side of a view, >= 4.
    area : (float, float), default (0.1, 1.0)
        Smallest and largest share of the picture's area that a view covers, in
        (0, 1]; uniform between.
    aspect : (float, float), default (3/4, 4/3)
        Smallest and largest ratio of width to height of what a view covers, > 0;
        uniform in its logarithm. The view itself is square.
    mirror : float, default 0.5
        Probability of a swap of left and right.
    brightness, contrast, saturation : float, default 0.4
        A gain is uniform within 1 ± this, 0 to 1. Brightness scales the values,
        contrast their distance to the mean of the view, saturation their distance to
        the luma of the pixel.
    channel_gain : float, default 0.2
        Red, green and blue each get a gain uniform within 1 ± this, 0 to 1.
    grey : float, default 0.2
        Probability that all channels become the luma.
    blur : float, default 0.5
        Probability of a blur by a Gaussian.
    blur_sigma_px : (float, float), default (0.1, 1.5)
        Smallest and largest standard deviation of it, pixels of the view, in (0, 3];
        uniform between. The kernel has 7 taps: wide ones are cut at ±3 pixels.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.

    Examples
    --------
    >>> ViewSettings(size_px=32).parameters["area"]
    [0.1, 1.0]
    """

    size_px: int = 64
    area: tuple[float, float] = (0.1, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    mirror: float = 0.5
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    channel_gain: float = 0.2
    grey: float = 0.2
    blur: float = 0.5
    blur_sigma_px: tuple[float, float] = (0.1, 1.5)

    def __post_init__(self) -> None:
        # Reflection at the border needs more pixels than half a kernel.
        check_whole("size_px", self.size_px, low=_HALF + 1)
        for name in ("mirror", "grey", "blur"):
            check_between(name, getattr(self, name), low=0, high=1)
        for name in ("brightness", "contrast", "saturation", "channel_gain"):
            check_between(name, getattr(self, name), low=0, high=1)
        for name, high in (("area", 1), ("aspect", None), ("blur_sigma_px", _HALF)):
            _check_range(name, getattr(self, name), high)

    @property
    def parameters(self) -> dict[str, Any]:
        """All values, as JSON values."""
        values: dict[str, Any] = plain(asdict(self))
        return values


def make_views(
    pictures: Pictures,
    rows: Rows,
    settings: ViewSettings,
    *,
    seed: int,
    keys: tuple[str | int, ...],
) -> Tensor:
    """Make one random view of each of some pictures.

    Parameters
    ----------
    pictures : Tensor of uint8, shape (N, 3, H, W), or sequence of Tensor (3, H, W)
        Pictures on the CPU, of any sizes. Fastest when the channels of a pixel lie
        side by side in memory, as in ``torch.from_numpy(image).permute(2, 0, 1)``.
    rows : sequence or ndarray of int, length B
        Which pictures, 0 to N - 1; a picture may come several times.
    settings : ViewSettings
        What views look like.
    seed : int
        Seed of the run, 0 or more.
    keys : tuple of (str or int)
        What the batch is, such as epoch, number of the batch, and which of two views.

    Returns
    -------
    Tensor of float32, shape (B, 3, size_px, size_px)
        Views in [0, 1] on the CPU, in the memory format ``torch.channels_last``.

    Raises
    ------
    TypeError, ValueError
        If a picture, row, seed or key is none.

    Notes
    -----
    A view depends on its picture, `settings`, `seed`, `keys` and its place in the
    batch: nothing else in the batch matters, nor does the number of threads.

    Every crop fits, none is drawn again. The ratio of sides is first limited to those
    with which the drawn area fits into the picture; where none of them is within
    ``settings.aspect`` (pictures longer than that), the area is limited instead.
    Crops are whole pixels, are resized with antialiasing, as 8 bits, and only what
    leaves [0, 1] after all changes of colour is cut.

    The kinds of changes are those of Chen et al. (2020), with a gain per channel in
    place of a change of hue.

    References
    ----------
    Chen, Kornblith, Norouzi & Hinton (2020), doi:10.48550/arXiv.2002.05709.

    Examples
    --------
    >>> pictures = torch.full((2, 3, 30, 40), 128, dtype=torch.uint8)
    >>> views = make_views(
    ...     pictures, [0, 1, 1], ViewSettings(size_px=16), seed=0, keys=("epoch", 0)
    ... )
    >>> views.shape
    torch.Size([3, 3, 16, 16])
    """
    if not isinstance(settings, ViewSettings):
        raise TypeError(f"`settings` must be ViewSettings; got {settings!r}.")
    if not isinstance(keys, tuple):
        raise TypeError(f"`keys` must be a tuple of text or numbers; got {keys!r}.")
    chosen = _check_pictures(pictures, rows)
    random = generator(seed, "views", *keys).random((len(chosen), len(_DRAWS)))
    drawn = dict(zip(_DRAWS, random.T, strict=True))
    shapes = np.array([picture.shape[1:] for picture in chosen])
    levels = _cut(chosen, _draw_boxes(shapes, drawn, settings), settings.size_px)
    mirrored = torch.from_numpy(drawn["mirror"] < settings.mirror)
    levels[mirrored] = levels[mirrored].flip(-1)
    views = _blurred(_coloured(levels, drawn, settings), drawn, settings)
    return views.clamp_(0, 1).contiguous(memory_format=torch.channels_last)


def centre_views(pictures: Pictures, rows: Rows, size_px: int) -> Tensor:
    """Return the largest centred square of each of some pictures.

    Parameters
    ----------
    pictures : Tensor of uint8, shape (N, 3, H, W), or sequence of Tensor (3, H, W)
        As `make_views`.
    rows : sequence or ndarray of int, length B
        Which pictures, 0 to N - 1.
    size_px : int
        Side of a view, >= 1.

    Returns
    -------
    Tensor of float32, shape (B, 3, size_px, size_px)
        Views in [0, 1] on the CPU, in the memory format ``torch.channels_last``;
        resized as those of `make_views`, and nothing is random. Where the rest is odd,
        the larger part is cut at the bottom or on the right.

    Raises
    ------
    TypeError, ValueError
        If a picture, row or size is none.

    Examples
    --------
    >>> picture = torch.zeros(3, 2, 4, dtype=torch.uint8)
    >>> picture[:, :, 2:] = 255
    >>> centre_views([picture], [0], 2)[0, 0]
    tensor([[0., 1.],
            [0., 1.]])
    """
    size_px = check_whole("size_px", size_px, low=1)
    chosen = _check_pictures(pictures, rows)
    shapes = np.array([picture.shape[1:] for picture in chosen])
    sides = shapes.min(1, keepdims=True)
    boxes = np.hstack([(shapes - sides) // 2, sides, sides])
    views = _cut(chosen, boxes, size_px).float() / 255
    return views.contiguous(memory_format=torch.channels_last)


def _check_range(name: str, value: Any, high: float | None) -> None:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"`{name}` must be two numbers (low, high); got {value!r}.")
    for number in value:
        if check_between(name, number, low=0, high=high) == 0:
            raise ValueError(f"`{name}` must be above 0; got {value!r}.")
    if value[0] > value[1]:
        raise ValueError(f"`{name}` must be (low, high), low first; got {value!r}.")


def _check_pictures(pictures: Pictures, rows: Rows) -> list[Tensor]:
    """Return the pictures of `rows`; only those are looked at."""
    if not isinstance(pictures, Tensor | Sequence) or isinstance(pictures, str):
        raise TypeError(
            "`pictures` must be a tensor (N, 3, H, W) or a sequence of tensors "
            f"(3, H, W); got {type(pictures).__name__}."
        )
    if isinstance(pictures, Tensor) and pictures.ndim != 4:
        raise ValueError(
            "`pictures` as one tensor must have shape (N, 3, H, W); got "
            f"{tuple(pictures.shape)}. Put a single picture into a list."
        )
    numbers = np.asarray(rows)
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"`rows` must be one or more whole numbers in a row; got {rows!r}."
        )
    n_pictures = len(pictures)
    if numbers.min() < 0 or numbers.max() >= n_pictures:
        raise ValueError(
            f"`rows` must be within 0 and {n_pictures - 1}, as there are {n_pictures} "
            f"pictures; got {numbers.min()} to {numbers.max()}."
        )
    chosen = [pictures[row] for row in numbers.tolist()]
    for row, picture in zip(numbers.tolist(), chosen, strict=True):
        if not isinstance(picture, Tensor) or picture.dtype != torch.uint8:
            is_tensor = isinstance(picture, Tensor)
            kind = picture.dtype if is_tensor else type(picture).__name__
            raise TypeError(
                f"`pictures` must be tensors of uint8; number {row} is {kind}."
            )
        if picture.ndim != 3 or len(picture) != 3 or not picture.numel():
            raise ValueError(
                f"`pictures` must have shape (3, H, W), not empty; number {row} has "
                f"{tuple(picture.shape)}."
            )
        if picture.device.type != "cpu":
            raise ValueError(
                f"`pictures` must be on the CPU; number {row} is on {picture.device}. "
                "Views are made on the CPU: move the views."
            )
    return chosen


def _draw_boxes(
    shapes: NDArray[np.int64], drawn: dict[str, Floats], settings: ViewSettings
) -> NDArray[np.int64]:
    """Return top, left, height and width of crops, shape (B, 4)."""
    heights, widths = shapes.T
    longer = widths / heights
    area = _between(drawn["area"], *settings.area)
    low, high = np.log(settings.aspect)
    aspect = np.exp(_between(drawn["aspect"], low, high))
    # A crop of this area fits with these ratios, if with any.
    aspect = aspect.clip(area * longer, longer / area).clip(*settings.aspect)
    area = np.minimum(area, np.minimum(aspect / longer, longer / aspect))
    pixels = area * heights * widths
    height = np.rint(np.sqrt(pixels / aspect)).astype(np.int64).clip(1, heights)
    width = np.rint(np.sqrt(pixels * aspect)).astype(np.int64).clip(1, widths)
    top = (drawn["top"] * (heights - height + 1)).astype(np.int64)
    left = (drawn["left"] * (widths - width + 1)).astype(np.int64)
    return np.stack([top, left, height, width], 1)


def _cut(pictures: list[Tensor], boxes: NDArray[np.int64], size_px: int) -> Tensor:
    """Return resized crops, uint8 (B, 3, size_px, size_px).

    Resizing 8 bits costs a quarter of resizing floats; it errs by less than a level.
    """
    views = torch.empty(len(pictures), 3, size_px, size_px, dtype=torch.uint8)
    for view, picture, box in zip(views, pictures, boxes.tolist(), strict=True):
        top, left, height, width = box
        crop = picture[None, :, top : top + height, left : left + width]
        view.copy_(
            functional.interpolate(
                crop,
                (size_px, size_px),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )[0]
        )
    return views


def _coloured(
    levels: Tensor, drawn: dict[str, Floats], settings: ViewSettings
) -> Tensor:
    """Return views of float32, not yet cut to [0, 1]."""

    def gain(name: str, reach: float) -> Tensor:
        return _column(_between(drawn[name], 1 - reach, 1 + reach))

    # A sum of whole numbers is exact: equal bits for any number of threads.
    mean = levels.sum((1, 2, 3), dtype=torch.int64).double() / levels[0].numel() / 255
    brightness = gain("brightness", settings.brightness)
    contrast = gain("contrast", settings.contrast)
    views = (levels.float() / 255).mul_(brightness)
    mean = mean.float()[:, None, None, None] * brightness
    views.sub_(mean).mul_(contrast).add_(mean)
    luma = _luma(views)
    views.sub_(luma).mul_(gain("saturation", settings.saturation)).add_(luma)
    reach = settings.channel_gain
    views.mul_(torch.cat([gain(name, reach) for name in ("red", "green", "blue")], 1))
    is_grey = torch.from_numpy(drawn["grey"] < settings.grey)
    views[is_grey] = _luma(views[is_grey]).expand(-1, 3, -1, -1)
    return views


def _luma(views: Tensor) -> Tensor:
    # Channel by channel, because a reduction may add in another order.
    red, green, blue = (views[:, i : i + 1] for i in range(3))
    return red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]


def _blurred(views: Tensor, drawn: dict[str, Floats], settings: ViewSettings) -> Tensor:
    """Blur some of the views; sums of shifted views are the same in every batch."""
    is_blurred = drawn["blur"] < settings.blur
    sigma = _between(drawn["sigma"], *settings.blur_sigma_px)[is_blurred]
    taps = np.exp(-np.square(np.arange(_HALF + 1) / sigma[:, None]) / 2)
    taps /= taps[:, :1] + 2 * taps[:, 1:].sum(1, keepdims=True)
    weights = [_column(column) for column in taps.T]
    chosen = torch.from_numpy(is_blurred)
    some = views[chosen]
    for axis, border in ((2, (0, 0, _HALF, _HALF)), (3, (_HALF, _HALF, 0, 0))):
        wide = functional.pad(some, border, mode="reflect")
        shifted = [wide.narrow(axis, i, settings.size_px) for i in range(2 * _HALF + 1)]
        some = shifted[_HALF] * weights[0]
        for i in range(1, _HALF + 1):
            # In two steps: one that adds and multiplies may round in two ways.
            some += (shifted[_HALF - i] + shifted[_HALF + i]).mul_(weights[i])
    views[chosen] = some
    return views


def _between(share: Floats, low: float, high: float) -> Floats:
    return low + (high - low) * share


def _column(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None, None]
