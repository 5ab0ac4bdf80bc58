"""Figures that are made and not drawn, for tests of words, numbers and options.

Drawing is most of the time of a report. The tests of each report draw its figures;
those of command lines, resuming and texts need not do it again.
"""

from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


def one_pixel():
    """A PNG of one white pixel."""
    buffer = BytesIO()
    Image.new("RGB", (1, 1), "white").save(buffer, "PNG")
    return buffer.getvalue()


PNG = one_pixel()


def save_nothing(figure, file, *, format=None, **options):
    """Write a picture of one pixel where the figure would be."""
    kind = format or Path(file).suffix.lstrip(".")
    data = {"png": PNG, "svg": SVG}[kind]
    if hasattr(file, "write"):
        file.write(data)
    else:
        Path(file).write_bytes(data)


@contextmanager
def figures_not_drawn():
    """Write every figure as one pixel inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save_nothing)
        yield
