"""A contact sheet: the pictures of a set side by side, small."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from neurovis.core.checks import check_whole
from neurovis.core.types import StimulusSet

Picture = NDArray[np.uint8]

_GAP_PX = 8
_TEXT_PX = 14
_TEXT_WIDTH_PX = 120


def contact_sheet(
    stimuli: StimulusSet,
    *,
    n_pictures: int = 24,
    columns: int = 6,
    cell_px: int = 180,
    captions: Sequence[str] | None = None,
) -> Picture:
    """Put pictures of a set side by side, spread evenly over the set.

    Parameters
    ----------
    stimuli : StimulusSet
        The set.
    n_pictures : int, default 24
        Most pictures on the sheet.
    columns : int, default 6
        Pictures side by side.
    cell_px : int, default 180
        Longer side of a picture on the sheet, in pixels; smaller pictures are not
        enlarged by more than whole factors.
    captions : sequence of str, optional
        Columns of the table that stand below each picture; `stimulus_id` by default.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        The sheet, on white.

    Raises
    ------
    ValueError
        If the set is empty, a number is out of range, or a column is missing.
    """
    for name, value in (("n_pictures", n_pictures), ("columns", columns)):
        check_whole(name, value, low=1)
    check_whole("cell_px", cell_px, low=16)
    shown = ["stimulus_id"] if captions is None else list(captions)
    missing = [name for name in shown if name not in stimuli.table.columns]
    if missing:
        raise ValueError(
            f"`captions` names {missing[0]!r}; the table has "
            f"{', '.join(stimuli.table.columns)}."
        )
    if not len(stimuli):
        raise ValueError("The set has no pictures: there is nothing to show.")
    n = min(n_pictures, len(stimuli))
    rows = np.unique(np.linspace(0, len(stimuli) - 1, n).round().astype(int))
    n_across = min(columns, len(rows))
    down = math.ceil(len(rows) / n_across)
    pictures = [_small(stimuli.load(int(row)), cell_px) for row in rows]
    height = max(picture.height for picture in pictures) + _TEXT_PX * len(shown)
    width = max(*(picture.width for picture in pictures), min(cell_px, _TEXT_WIDTH_PX))
    sheet = Image.new(
        "RGB",
        (
            n_across * (width + _GAP_PX) + _GAP_PX,
            down * (height + _GAP_PX) + _GAP_PX,
        ),
        "white",
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for place, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
        left = _GAP_PX + (place % n_across) * (width + _GAP_PX)
        top = _GAP_PX + (place // n_across) * (height + _GAP_PX)
        sheet.paste(picture, (left + (width - picture.width) // 2, top))
        for k, name in enumerate(shown):
            text = _shortened(str(stimuli.table[name].iloc[row]), pen, font, width)
            below = top + height - _TEXT_PX * (len(shown) - k)
            pen.text((left, below), text, fill="black", font=font)
    return np.asarray(sheet)


def _small(picture: Picture, side_px: int) -> Image.Image:
    image = Image.fromarray(picture)
    longest = max(image.size)
    if longest <= side_px:
        factor = side_px // longest
        size = (image.width * factor, image.height * factor)
        return image.resize(size, Image.Resampling.NEAREST)
    size = (
        max(1, round(image.width * side_px / longest)),
        max(1, round(image.height * side_px / longest)),
    )
    return image.resize(size, Image.Resampling.BOX)


def _shortened(text: str, pen: ImageDraw.ImageDraw, font: Any, width: int) -> str:
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength(f"{text}…", font=font) > width:
        text = text[:-1]
    return f"{text}…"
