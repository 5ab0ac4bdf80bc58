"""Reports: tables and figures in one HTML file that needs nothing else.

The file has no script and no reference to the network; its content security policy
forbids both. All text is escaped. The same tables and newly drawn figures give the same
bytes.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import jinja2
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neurovis.core.checks import check_columns, check_option
from neurovis.core.files import write_text

_PX_PER_IN = 96
_TEMPLATES = Path(__file__).parent / "templates"
# XML has no sign for them, and a drawing with one is not shown at all.
_NOT_IN_XML = bytes(set(range(32)) - set(b"\t\n\r"))
_UNDEFINED = "–"


@dataclass(frozen=True)
class ReportFigure:
    """A figure with the words that it needs.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure; it is drawn when the report is written.
    alt : str
        What it shows, for readers who cannot see it; must not be empty.
    caption : str
        Text below it.
    wide : bool, default False
        Takes the whole width; otherwise figures stand side by side where there is
        room.
    image_format : {"svg", "png"}, default "svg"
        Drawing (sharp at any size) or pixels, twice as dense as the screen (for
        figures that contain pictures).

    Raises
    ------
    ValueError
        If `alt` is empty or the format is another one.
    """

    figure: Figure
    alt: str
    caption: str
    wide: bool = False
    image_format: Literal["svg", "png"] = "svg"

    def __post_init__(self) -> None:
        check_option("image_format", self.image_format, ("svg", "png"))
        if not self.alt.strip():
            raise ValueError("`alt` must say what the figure shows; it is empty.")


@dataclass(frozen=True)
class ReportTable:
    """A table with the words that it needs.

    Parameters
    ----------
    table : DataFrame
        Content; the index is not shown.
    caption : str
        Text above it.
    headers : mapping of str to str, optional
        Printed names of columns, with units: ``{"rt_ms": "RT (ms)"}``.
    formats : mapping of str to str, optional
        Format of the numbers of a column, as for `format`: ``{"rt_ms": ".0f"}``.

    Raises
    ------
    ValueError
        If `headers` or `formats` name a column that the table has not.
    """

    table: pd.DataFrame
    caption: str
    headers: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = [str(c) for c in self.table.columns]
        check_columns("table", columns, [*self.headers, *self.formats])


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Parameters
    ----------
    title : str
        Heading.
    text : str, optional
        Plain text; empty lines part paragraphs.
    figures : sequence of ReportFigure, optional
        Shown after the text.
    tables : sequence of ReportTable, optional
        Shown after the figures.
    """

    title: str
    text: str = ""
    figures: Sequence[ReportFigure] = ()
    tables: Sequence[ReportTable] = ()


def write_report(
    path: str | Path,
    *,
    title: str,
    sections: Sequence[Section],
    summary: str = "",
    warnings: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a report as one HTML file, atomically.

    Parameters
    ----------
    path : str or Path
        File to write or replace; the suffix must be ``.html``.
    title : str
        Heading of the report.
    sections : sequence of Section
        Parts, in order.
    summary : str, optional
        Text under the heading; empty lines part paragraphs.
    warnings : sequence of str, optional
        What a reader must know first, shown in a banner.
    provenance : mapping, optional
        How the results came about; values may be mappings or sequences.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the suffix is another one.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "report.html"
    >>> _ = write_report(path, title="Search", sections=[Section("Result", "r = 0.4")])
    >>> "r = 0.4" in path.read_text(encoding="utf-8")
    True
    """
    path = Path(path)
    check_option("suffix of the report", path.suffix, (".html",))
    html = render_report(
        title=title,
        sections=sections,
        summary=summary,
        warnings=warnings,
        provenance=provenance,
    )
    write_text(path, html)
    return path


def render_report(
    *,
    title: str,
    sections: Sequence[Section],
    summary: str = "",
    warnings: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """Return the HTML text that `write_report` writes.

    Parameters
    ----------
    title : str
        As in `write_report`.
    sections : sequence of Section
        As in `write_report`.
    summary : str, optional
        As in `write_report`.
    warnings : sequence of str, optional
        As in `write_report`.
    provenance : mapping, optional
        As in `write_report`.

    Returns
    -------
    str
        A whole HTML document.

    Examples
    --------
    >>> "&lt;b&gt;" in render_report(title="<b>", sections=[])
    True
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        title=title,
        summary=_paragraphs(summary),
        warnings=list(warnings),
        sections=[
            {
                "title": section.title,
                "paragraphs": _paragraphs(section.text),
                "figures": [_figure_parts(f) for f in section.figures],
                "tables": [_table_parts(t) for t in section.tables],
            }
            for section in sections
        ],
        provenance=_entries(provenance or {}),
    )


def _paragraphs(text: str) -> list[str]:
    """Split text at empty lines."""
    blocks = "\n".join(line.strip() for line in text.splitlines()).split("\n\n")
    return [block.strip() for block in blocks if block.strip()]


def _figure_parts(item: ReportFigure) -> dict[str, Any]:
    """Draw a figure and return what the template needs."""
    buffer = io.BytesIO()
    width_in, height_in = item.figure.get_size_inches()
    # Dates, versions and random names would make every file different.
    if item.image_format == "svg":
        with mpl.rc_context({"svg.hashsalt": "neurovis", "svg.fonttype": "path"}):
            item.figure.savefig(
                buffer,
                format="svg",
                facecolor="white",
                metadata={"Date": None, "Creator": None},
            )
        kind = "svg+xml"
    else:
        item.figure.savefig(
            buffer,
            format="png",
            dpi=2 * _PX_PER_IN,
            facecolor="white",
            metadata={"Software": None},
        )
        kind = "png"
    drawn = buffer.getvalue()
    if item.image_format == "svg":
        drawn = drawn.translate(None, _NOT_IN_XML)
    data = base64.b64encode(drawn).decode("ascii")
    return {
        "source": f"data:image/{kind};base64,{data}",
        "alt": item.alt,
        "caption": _paragraphs(item.caption),
        "wide": item.wide,
        "width": round(width_in * _PX_PER_IN),
        "height": round(height_in * _PX_PER_IN),
    }


def _table_parts(item: ReportTable) -> dict[str, Any]:
    """Return headers and cells as text, with what is aligned as a number."""
    names = [str(c) for c in item.table.columns]
    columns = [item.table.iloc[:, i] for i in range(len(names))]
    numeric = [
        pd.api.types.is_numeric_dtype(c) and not pd.api.types.is_bool_dtype(c)
        for c in columns
    ]
    cells = [
        [_cell_text(value, item.formats.get(name)) for value in column]
        for name, column in zip(names, columns, strict=True)
    ]
    return {
        "caption": _paragraphs(item.caption),
        "headers": [item.headers.get(name, name) for name in names],
        "numeric": numeric,
        "rows": [list(row) for row in zip(*cells, strict=True)],
    }


def _cell_text(value: Any, spec: str | None) -> str:
    """Write one value for people; undefined is a dash."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return _UNDEFINED
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if not isinstance(value, Real):
        return str(value)
    number = float(value)
    if spec is not None:
        text = format(number, spec)
    elif number.is_integer() and abs(number) < 1e15:
        text = str(int(number))
    elif math.isfinite(number) and 100 <= abs(number) < 1e15:
        text = f"{number:.1f}"
    else:
        text = f"{number:.3g}"
    # "-0.00" is a rounded zero; a minus sign is not a hyphen.
    zero = text.startswith("-") and not text.strip("-0.%")
    return text.lstrip("-") if zero else text.replace("-", "−")


def _entries(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return names with text, or with entries of their own."""
    entries = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            entries.append({"name": str(name), "text": "", "entries": _entries(value)})
            continue
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = ", ".join(str(v) for v in value)
        text = _UNDEFINED if value is None or value == "" else str(value)
        entries.append({"name": str(name), "text": text, "entries": []})
    return entries
