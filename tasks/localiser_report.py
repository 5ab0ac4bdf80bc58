"""The report of a localiser for models: preferences, regions, reliability."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_selectivity import (
    plot_region_selectivity,
    plot_selectivity_histogram,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from analysis.selectivity import Selectivity
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import Provenance
from tasks.encoding_layers import file_name
from tasks.encoding_scores import WHOLE
from tasks.localiser import TASK
from tasks.localiser_scores import RELIABILITY, STRENGTH
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)
from tasks.runs import SCORE_FILES, load_scores

_NEEDED = (*SCORE_FILES, "units.parquet", "regions.parquet")
_MOST_REGIONS, _MOST_MODELS, _LEAST_UNITS = 10, 8, 3
_HALVES = {RELIABILITY[0]: "Halves: r", RELIABILITY[2]: "Best units: d'"}
_QUESTION = """\
Which categories of pictures do the units of a model prefer? The models were fitted \
to responses of people or animals to other pictures; here they are shown the pictures \
of a localiser, and what they predict is analysed as measured responses are. Nobody \
was measured with these pictures: a preference is one of the model.

d' of a unit is the difference of its mean responses to a group of pictures and to \
all others, in standard deviations within both. A unit prefers the group with the \
largest d', and is selective if d' is above 0 with a false discovery rate of 5 % over \
the units (Welch's test over pictures). Chance is the mean size of d' after the \
pictures were permuted.

Halves: selectivity is computed in each half of the pictures; r tells how far the two \
maps agree over units. The mean d' of the best units is measured in the half that they \
were not chosen in. Predictions have no noise of measurement, so that halves differ by \
their pictures alone, and agree better than those of a measurement would.

AUC of a region is the probability that one of its units has a larger d' than a unit \
outside; 0.5 is chance."""


def write_localiser_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.localiser.run_localiser` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    run = _read(folder)
    check_writable_folder(run.folder)
    every: list[NamedFigure] = []
    sections = [
        Section("The question", _QUESTION),
        Section("Preferences", tables=[_summary(run)]),
    ]
    for number, (title, name, part) in enumerate(run.models()):
        if number == _MOST_MODELS:
            text = f"Figures are drawn for the first {_MOST_MODELS} models only."
            sections.append(Section("Further models", text))
            break
        figures = _region_figures(part, title, name)
        figures.append(_histograms(part, title, name))
        every += figures
        regions = _region_table(part, title)
        sections.append(
            Section(
                title,
                figures=[item for _, item in figures],
                tables=[
                    *(_table(part, level) for level in part.levels),
                    *([] if regions is None else [regions]),
                ],
            )
        )
    maps = sorted((run.folder / "maps").rglob("*_d_prime.*"))
    if maps:
        text = (
            f"{len(maps)} maps of d' lie in `maps`, one of each model and group, as "
            "other programs read them."
        )
        sections.append(Section("Maps", text))
    save_figures(run.folder, every)
    n_units = len(run.units[["data", "subject", "unit_id"]].drop_duplicates())
    call = run.provenance.call
    n_models = len(call["models"])
    return write_report(
        run.folder / "report.html",
        title=_begin(run, "localiser for models"),
        summary=(
            f"{n_models} model{'s' * (n_models != 1)} of {n_units} units; "
            f"{run.scores['n'].iloc[0]} pictures; left out: "
            f"{', '.join(call['exclude']) or 'nothing'}; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_localiser(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        What `tasks.localiser.run_localiser` wrote.

    Returns
    -------
    list of str
        For each model, what its units prefer, and how well that repeats; path of the
        report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    report = write_localiser_report(folder)
    run = _read(folder)
    level = run.levels[0]
    lines = [
        f"share of units that prefer each {level} (r of d' between halves of the "
        "pictures): predictions of models, nobody was measured"
    ]
    for title, _, part in run.models():
        scores = part.scores[part.scores["level"] == level]
        found = []
        for category, rows in scores.groupby("category", sort=False):
            values = rows[rows["region"] == WHOLE].set_index("metric")["value"]
            share, r = values["share_preferred"], values.get(RELIABILITY[0], np.nan)
            text = f"d' {number_text(float(values['d_prime_mean']), 2)}"
            if not np.isnan(share):
                text = f"{number_text(100 * float(share), 0)} %"
            halves = "" if np.isnan(r) else f" ({number_text(float(r), 2)})"
            found.append(f"{category} {text}{halves}")
        lines.append(f"  {title}: {', '.join(found)}")
    return [*lines, f"report {report}"]


@dataclass(frozen=True, eq=False)
class _Run:
    """Tables of a finished run, or those of one model."""

    folder: Path
    units: pd.DataFrame
    regions: pd.DataFrame
    scores: pd.DataFrame
    provenance: Provenance

    @property
    def levels(self) -> list[str]:
        """Levels of comparison, domains first."""
        return [str(name) for name in self.regions["level"].unique()]

    def models(self) -> Iterator[tuple[str, str, "_Run"]]:
        """Return title, name of files and tables of each model."""
        keys = ["data", "subject", "model", "layer"]
        marks = [*keys, "untrained", "simulated"]
        for _, row in self.regions[marks].drop_duplicates().iterrows():
            units, regions, scores = (
                table[(table[keys] == row[keys]).all(axis=1)]
                for table in (self.units, self.regions, self.scores)
            )
            untrained = " (untrained)" if row["untrained"] else ""
            simulated = ", simulated" if row["simulated"] else ""
            names = " ".join(filter(None, (row["model"] + untrained, row["layer"])))
            name = "_".join(file_name(str(row[k])) for k in keys[1:])
            yield (
                f"{row['subject']}{simulated}: {names}",
                name,
                _Run(self.folder, units, regions, scores, self.provenance),
            )


def _read(folder: str | Path) -> _Run:
    folder = check_path("results", folder, kind="folder")
    score = load_scores(folder, _NEEDED, TASK)
    units, regions = (read_table(folder / name) for name in _NEEDED[-2:])
    return _Run(folder, units, regions, score.table, score.provenance)


def _begin(run: _Run, text: str) -> str:
    """Return the beginning of a heading, which says what is simulated."""
    if run.units["simulated"].any():
        return f"Simulated: {text}"
    return text[0].upper() + text[1:]


def _summary(run: _Run) -> ReportTable:
    """Return the share of units that prefer each group, one row per model."""
    level = run.levels[0]
    metric, what = "share_preferred", f"share that prefers each {level}"
    if run.regions.loc[run.regions["level"] == level, metric].isna().all():
        metric, what = "d_prime_mean", "mean d'"
    rows = []
    for title, _, part in run.models():
        scores = part.scores[part.scores["level"] == level]
        whole = scores[(scores["region"] == WHOLE) & (scores["metric"] == metric)]
        found = dict(zip(whole["category"], whole["value"], strict=True))
        rows.append({"model": title, "n_units": whole["n_units"].max()} | found)
    table = pd.DataFrame(rows)
    return ReportTable(
        table,
        caption=_begin(run, f"all units, {what}."),
        headers={"model": "Model", "n_units": "Units"},
        formats={"n_units": ".0f"} | dict.fromkeys(table.columns[2:], ".2f"),
    )


def _table(part: _Run, level: str) -> ReportTable:
    """Return what all units of a model do with each group of pictures."""
    rows: list[dict[str, Any]] = []
    scores = part.scores[part.scores["level"] == level]
    whole = scores[scores["region"] == WHOLE]
    for category, own in whole.groupby("category", sort=False):
        found = own.set_index("metric")
        strength: Any = found.loc[STRENGTH]
        values = found["value"]
        chance = [float(strength[f"chance_{k}"]) for k in ("low", "high")]
        limits = [number_text(value, 2) for value in chance]
        rows.append(
            {
                "category": category,
                "n_units": strength["n_defined"],
                "preferred": values["share_preferred"],
                "selective": values["share_selective"],
                "size": value_text(strength, 2),
                "chance": "–" if np.isnan(chance[0]) else " to ".join(limits),
                "p_value": strength["p_value"],
                **{name: values.get(name, np.nan) for name in _HALVES},
            }
        )
    shares = {"preferred": ".2f", "selective": ".2f", "p_value": ".3f"}
    return ReportTable(
        pd.DataFrame(rows),
        caption=_begin(
            part,
            f"all units, each {level} against all others. Limits of the mean size of "
            "d' are over units.",
        ),
        headers={
            "category": level.capitalize(),
            "n_units": "Units",
            "preferred": "Prefer it",
            "selective": "Selective",
            "size": "Mean |d'|",
            "chance": "Chance (95 %)",
            "p_value": "p",
            **_HALVES,
        },
        formats={**shares, "n_units": ".0f", **dict.fromkeys(_HALVES, ".2f")},
    )


def _shown(part: _Run) -> pd.DataFrame:
    """Return the larger regions of each family, at the first level."""
    rows = part.regions[part.regions["level"] == part.levels[0]]
    # A region that has all units would say the same again.
    n_all = rows.loc[rows["region"] == WHOLE, "n_units"].max()
    rows = rows[rows["n_units"].between(_LEAST_UNITS, n_all, inclusive="left")]
    found = []
    for _, own in rows.groupby("family", sort=False):
        sizes = own.groupby("region", sort=False)["n_units"].first()
        kept = sizes.nlargest(_MOST_REGIONS).index
        found.append(own[own["region"].isin(kept)])
    return pd.concat(found) if found else rows


def _region_figures(part: _Run, title: str, name: str) -> list[NamedFigure]:
    shown = _shown(part)
    if not len(shown):
        return []
    families = list(shown["family"].unique())
    n_categories = shown["category"].nunique()
    most = shown.groupby("family")["region"].nunique().max()
    width = max(5.0, 1.6 + 0.2 * most * (n_categories + 1))
    captions = {
        "d_prime": "Mean d' of the units of each region, by family of regions; in "
        "brackets the number of units, ticks are the means of all other units.",
        "auc": "How well d' tells the units of a region from all others: area under "
        "the ROC curve.",
    }
    found = []
    for measure, caption in captions.items():
        grid = axes_grid(len(families), 1, (width, 3.6))
        for axes, family in zip(grid, families, strict=True):
            own = shown[shown["family"] == family]
            plot_region_selectivity(
                own, measure=measure, title=f"{title}, {family}", ax=axes
            )
        item = ReportFigure(
            figure_of(grid[0]),
            alt=f"Selectivity of regions ({measure}) of {title}",
            caption=caption,
            wide=True,
        )
        found.append((f"regions_{measure}_{name}", item))
    return found


def _histograms(part: _Run, title: str, name: str) -> NamedFigure:
    rows = part.units[part.units["level"] == part.levels[0]]
    categories = tuple(str(c) for c in rows["category"].unique())
    columns = ("d_prime", "t", "df", "p_value")
    n = len(categories)
    # Rows are ordered by unit, then by category.
    arrays = [rows[c].to_numpy(np.float64).reshape(-1, n) for c in columns]
    first = rows.iloc[:n]
    counts = [first[c].to_numpy(np.intp) for c in ("n_in", "n_out")]
    selectivity = Selectivity(categories, *arrays, *counts)
    grid = axes_grid(len(categories), 3, (3.6, 3.2))
    n_bins = int(np.clip(2 * np.sqrt(len(rows) / n), 8, 40))
    for axes, category in zip(grid, categories, strict=True):
        plot_selectivity_histogram(selectivity, category, n_bins=n_bins, ax=axes)
    item = ReportFigure(
        figure_of(grid[0]),
        alt=f"Histograms of d' over the units of {title}",
        caption=f"{title}: d' of all units; the short bar is the median.",
        wide=True,
    )
    return f"d_prime_{name}", item


def _region_table(part: _Run, title: str) -> ReportTable | None:
    shown = _shown(part)
    if not len(shown):
        return None
    limits = shown.rename(columns={"d_prime": "value"})
    table = shown.assign(size=[value_text(row, 2) for _, row in limits.iterrows()])
    columns = ["family", "region", "category", "n_defined", "size", "d_prime_others"]
    columns += ["auc", "share_preferred", "share_selective"]
    shares = ("auc", "share_preferred", "share_selective", "d_prime_others")
    return ReportTable(
        table[columns],
        caption=f"{title}: regions, with limits over their units. Regions of fewer "
        f"than {_LEAST_UNITS} units are in `regions.parquet` only.",
        headers={
            "family": "Family",
            "region": "Region",
            "category": part.levels[0].capitalize(),
            "n_defined": "Units",
            "size": "Mean d'",
            "d_prime_others": "All other units",
            "auc": "AUC",
            "share_preferred": "Prefer it",
            "share_selective": "Selective",
        },
        formats=dict.fromkeys(shares, ".2f"),
    )
