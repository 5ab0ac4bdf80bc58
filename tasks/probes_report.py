"""The report of probes: groups of runs beside each other, measure by measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_probes import CONTROL, plot_probe_groups, plot_probe_layers
from analysis.plots_tuning import plot_tuning
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import Provenance
from tasks.probes import TASK
from tasks.probes_tables import ACCURACY, PROBE, TUNING, WHOLE_NETWORK
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    p_text,
    save_figures,
    value_text,
)
from tasks.rsa_scores import BEST, LAYER
from tasks.runs import SCORE_FILES, load_scores

_NEEDED = (*SCORE_FILES, "groups.parquet", "differences.parquet")
_NAMES = {
    ACCURACY: "accuracy",
    "encoding_r": "encoding, mean r",
    "encoding_explained_share": "encoding, share of explainable variance",
    "rsa_spearman": "RSA, Spearman r",
    "responsive_share": "units that respond",
    "circular_variance_median": "circular variance, median",
    "oriented_share": "units that prefer an orientation",
    "half_width_deg_median": "half-width of orientation, median (deg)",
    "bandwidth_octaves_median": "bandwidth of frequency, median (octaves)",
    "closed_bandwidth_share": "units with a closed bandwidth",
    "simple_share": "units that follow the phase",
}
_TUNED = tuple(name for name in _NAMES if name not in tuple(_NAMES)[:4])
_DRAWN = ("circular_variance_median", "oriented_share", "bandwidth_octaves_median")
_DISTRIBUTIONS = ("circular_variance", "bandwidth_octaves")
_PLACE = ("measure", "data", "metric", "region", "subject")
_SEVERAL = "mean"

_QUESTION = """\
Is what a network learnt better than what it started from? Each group is one kind of \
network, and its runs differ in their seed alone. Untrained networks have the same \
architecture and random weights; pixels of small pictures and colour are controls \
without any network.

Linear probe: a ridge classifier of one layer's features, trained on some pictures and \
scored on others. RSA: are the same pictures alike for the layer and for the brain? \
Encoding: a ridge regression of each unit of the brain, scored on other pictures. \
Tuning: the responses of the unit in the middle of each map to gratings.

The layer of each run was chosen without the data that it is scored on: by the error \
of cross-validation within the training pictures, or on other stimuli (RSA)."""
_LIMITS = """\
Limits hold 95 % and are for other runs and other stimuli (of controls: for other \
stimuli; of tuning: for other runs). A group of a single run has none, since one run \
tells nothing of others. For RSA and encoding the variation of runs and that of \
stimuli are added, which makes limits rather too wide. Nothing was corrected for the \
number of comparisons."""
_TUNING_TEXT = """\
One unit per channel, in the middle of each map, was shown gratings of all \
orientations, spatial frequencies and phases; responses below zero count as none. \
Circular variance is 0 if one orientation alone drives a unit, and 1 if all do alike; \
a unit prefers an orientation if it responds more than twice as much as to the \
orthogonal one; bandwidth is the distance of the two flanks at half of the peak."""


def write_probes_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.probes.run_probes` wrote.

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
    groups = _groups_figure(run)
    layers = _layer_figures(run)
    tuning = _tuning_figures(run)
    save_figures(run.folder, [*groups, *layers, *tuning])
    sections = [
        Section("The question", _QUESTION),
        Section(
            "Groups",
            _LIMITS,
            figures=[item for _, item in groups],
            tables=_main_tables(run),
        ),
    ]
    if layers:
        text = "Thin lines are runs, thick ones the mean of a group."
        sections.append(Section("Layers", text, figures=[f for _, f in layers]))
    if tuning:
        sections.append(
            Section(
                "Tuning",
                _TUNING_TEXT,
                figures=[item for _, item in tuning],
                tables=[_tuning_table(run)],
            )
        )
    networks = run.scores[run.scores["kind"] != CONTROL]
    counts = networks.groupby("group", sort=False)["model"].nunique()
    runs = ", ".join(f"{n} of {name}" for name, n in counts.items())
    return write_report(
        run.folder / "report.html",
        title="Probes of networks",
        summary=f"Runs: {runs}; seed {run.provenance.seed}.",
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_probes(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        What `tasks.probes.run_probes` wrote.

    Returns
    -------
    list of str
        For each measure the mean of every group; path of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    report = write_probes_report(folder)
    run = _read(folder)
    lines = []
    for title, rows in _comparisons(run.means, _DRAWN[:1]):
        found = [
            f"{run.mark(str(row['group']))} {value_text(row, 3)}"
            for _, row in rows.iterrows()
        ]
        lines.append(f"{title}: {', '.join(found)}")
    return [*lines, f"report {report}"]


@dataclass(frozen=True, eq=False)
class _Run:
    """Tables of a finished run."""

    folder: Path
    scores: pd.DataFrame
    means: pd.DataFrame
    differences: pd.DataFrame
    provenance: Provenance

    def mark(self, group: str) -> str:
        """Return the name of a group, with a word when its weights are random."""
        own = self.scores[self.scores["group"] == group]
        untrained = bool(own["untrained"].any()) and "untrained" not in group.lower()
        return f"{group} (untrained)" if untrained else group


def _read(folder: str | Path) -> _Run:
    folder = check_path("results", folder, kind="folder")
    score = load_scores(folder, _NEEDED, TASK)
    means, differences = (read_table(folder / name) for name in _NEEDED[-2:])
    return _Run(folder, score.table, means, differences, score.provenance)


def _comparisons(
    table: pd.DataFrame, tuned: Sequence[str] = _TUNED
) -> list[tuple[str, pd.DataFrame]]:
    """Return heading and rows of each comparison of whole networks.

    Of several recordings of a data set only their mean is among them.
    """
    of_all = (table["condition"] == LAYER) & (table["layer"] == WHOLE_NETWORK)
    kept = table[
        (table["condition"] == BEST) | (of_all & table["metric"].isin(tuple(tuned)))
    ]
    whole = [name for name in _PLACE if name != "subject"]
    pooled = kept["subject"].eq(_SEVERAL).groupby([kept[n] for n in whole])
    kept = kept[kept["subject"].eq(_SEVERAL) | ~pooled.transform("any")]
    return [
        (_heading(rows.iloc[0]), rows)
        for _, rows in kept.groupby(list(_PLACE), sort=False)
    ]


def _heading(row: Any) -> str:
    name = _NAMES.get(str(row["metric"]), str(row["metric"]))
    if row["measure"] == TUNING:
        return f"gratings: {name}"
    subject = "" if row["subject"] == _SEVERAL else row["subject"]
    place = " ".join(filter(None, (str(row["region"]), str(subject))))
    where = f"{row['data']} {place}".strip()
    return f"{where}: {name}"


def _main_tables(run: _Run) -> list[ReportTable]:
    """Return the means of all groups, and how the others differ from the first."""
    rows, apart = [], []
    for title, own in _comparisons(run.means):
        row: dict[str, Any] = {"measure": title}
        for _, mean in own.iterrows():
            row[run.mark(str(mean["group"]))] = value_text(mean, 3)
        rows.append(row)
    renamed = run.differences.rename(columns={"difference": "value"})
    for title, own in _comparisons(renamed):
        for _, found in own.iterrows():
            pair = (run.mark(str(found[name])) for name in ("group_a", "group_b"))
            apart.append(
                {
                    "measure": title,
                    "pair": " − ".join(pair),
                    "runs": f"{found['n_runs_a']}, {found['n_runs_b']}",
                    "difference": value_text(found, 3),
                    "p_value": p_text(float(found["p_value"])),
                }
            )
    means = ReportTable(
        pd.DataFrame(rows).fillna("–"),
        caption="Means of the runs of each group, with the layer chosen of each run.",
        headers={"measure": "Measure"},
    )
    if not apart:
        return [means]
    text = "Differences of groups; p tests two-sided whether there is none."
    columns = {"measure": "Measure", "pair": "Groups", "runs": "Runs"}
    columns |= {"difference": "Difference", "p_value": "p"}
    return [means, ReportTable(pd.DataFrame(apart), text, columns)]


def _groups_figure(run: _Run) -> list[NamedFigure]:
    parts = _comparisons(run.scores, _DRAWN)
    n_groups = run.scores.loc[run.scores["kind"] != CONTROL, "group"].nunique()
    grid = axes_grid(len(parts), 3, (max(4.2, 2.6 + 0.7 * n_groups), 3.4))
    for axes, (title, rows) in zip(grid, parts, strict=True):
        first = rows.iloc[0]
        means = run.means
        for name in (*_PLACE, "condition"):
            means = means[means[name] == first[name]]
        if first["condition"] == LAYER:
            means = means[means["layer"] == WHOLE_NETWORK]
        plot_probe_groups(rows, means, label=_label(first), title=title, ax=axes)
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Scores of every run, by group and measure, with controls and chance",
        caption="Dots are runs, hollow ones untrained; bars are means with limits. "
        "Broken lines are controls; dotted ones are what chance reaches (of probes the "
        "share of the most frequent class, else the end of its central 95 %). The grey "
        "band is the ceiling that noise leaves.",
        wide=True,
    )
    return [("groups", item)]


def _layer_figures(run: _Run) -> list[NamedFigure]:
    layers = run.scores[run.scores["condition"] == LAYER]
    layers = layers[layers["layer"] != WHOLE_NETWORK]
    shown = layers[(layers["measure"] != TUNING) | layers["metric"].isin(_DRAWN)]
    several = shown["subject"].eq(_SEVERAL)
    whole = [shown[name] for name in _PLACE if name != "subject"]
    shown = shown[several | ~several.groupby(whole).transform("any")]
    parts = [rows for _, rows in shown.groupby(list(_PLACE), sort=False)]
    if not parts or max(rows["layer"].nunique() for rows in parts) < 2:
        return []
    widest = max(rows.loc[rows["kind"] != CONTROL, "layer"].nunique() for rows in parts)
    grid = axes_grid(len(parts), 3, (max(4.4, 2.8 + 0.35 * widest), 3.8))
    for axes, rows in zip(grid, parts, strict=True):
        first = rows.iloc[0]
        plot_probe_layers(rows, label=_label(first), title=_heading(first), ax=axes)
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Scores of each layer, by group and measure",
        caption="Layer by layer; broken lines with names are controls, each with its "
        "best set of features here.",
        wide=True,
    )
    return [("layers", item)]


def _label(row: Any) -> str:
    if row["measure"] in (PROBE, TUNING):
        return str(row["unit"])
    return _NAMES.get(str(row["metric"]), str(row["metric"])).partition(", ")[2]


def _tuning_figures(run: _Run) -> list[NamedFigure]:
    path = run.folder / "tuning.parquet"
    if not path.is_file():
        return []
    units = read_table(path)
    groups = run.scores.drop_duplicates("model").set_index("model")["group"]
    names = units["model"].map(groups)
    tables = {
        run.mark(str(name)): units[names == name] for name in names.drop_duplicates()
    }
    grid = axes_grid(len(_DISTRIBUTIONS), 2, (5.0, 3.8))
    for axes, measure in zip(grid, _DISTRIBUTIONS, strict=True):
        plot_tuning(tables, measure=measure, ax=axes)
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Cumulative distributions of circular variance and of bandwidth, by group",
        caption="Units of all layers and runs of each group.",
        wide=True,
    )
    return [("tuning", item)]


def _tuning_table(run: _Run) -> ReportTable:
    """Return the means of each group, layer by layer."""
    means = run.means[run.means["measure"] == TUNING]
    rows = []
    for (layer, group), own in means.groupby(["layer", "group"], sort=False):
        values = own.set_index("metric")["value"]
        row: dict[str, Any] = {"layer": layer, "group": run.mark(str(group))}
        row |= {name: number_text(float(values[name]), 2) for name in _TUNED}
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows),
        caption="Tuning of each layer: means of the runs of each group.",
        headers={"layer": "Layer", "group": "Group", **{n: _NAMES[n] for n in _TUNED}},
    )
