"""What reports of encoding models have in common: regions, scores, layers, maps."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_encoding import (
    model_labels,
    plot_layer_scores,
    plot_penalties,
    plot_score_distribution,
)
from analysis.report import ReportFigure, ReportTable
from tasks.encoding_layers import file_name
from tasks.encoding_run import EncodingRun
from tasks.encoding_scores import BASELINE, HELD_OUT, PERMUTED, WHOLE
from tasks.map_figures import draw_map
from tasks.report_parts import NamedFigure, axes_grid, figure_of, value_text

_MOST_REGIONS = 9
_LEAST_UNITS = 5
_TABLE_METRICS = {
    "r_mean": "Mean r",
    "r2_mean": "Mean R2",
    "r2_noise_normalised_median": "Median share of explainable variance",
    "share_significant": "Units above chance (FDR 5 %)",
}


def best_rows(run: EncodingRun) -> pd.DataFrame:
    """Return the rows of units at the layer chosen over all units.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.

    Returns
    -------
    DataFrame
        One row per unit and model.
    """
    keys = ["data", "subject", "model", "layer"]
    chosen = run.layers[run.layers["chosen"] & (run.layers["region"] == WHOLE)]
    return run.units.merge(chosen[keys], on=keys, how="inner")


def chosen_layers(run: EncodingRun) -> list[Any]:
    """Return the layer of each subject and model chosen over all units.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.

    Returns
    -------
    list of Series
        Rows of the table of layers.
    """
    chosen = run.layers["chosen"] & (run.layers["region"] == WHOLE)
    return row_list(run.layers[chosen])


def count_units(run: EncodingRun) -> int:
    """Return the number of units of all subjects.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.

    Returns
    -------
    int
        Each unit counts once.
    """
    return len(run.units[["data", "subject", "unit_id"]].drop_duplicates())


def shown_regions(run: EncodingRun) -> list[tuple[str, str]]:
    """Return the regions that figures show: all units, then the larger ones.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.

    Returns
    -------
    list of tuple of str
        Families and regions in the order of the tables, at most ten.
    """
    sizes = run.layers.groupby(["family", "region"], sort=False)["n_units"].mean()
    # A region that has all units would say the same again.
    others = sizes[sizes < sizes["", WHOLE]]
    large = others[others >= _LEAST_UNITS].nlargest(_MOST_REGIONS).index
    kept = [place for place in others.index if place in set(large)]
    return [("", WHOLE), *((str(f), str(r)) for f, r in kept)]


def simulated_mark(run: EncodingRun) -> str:
    """Return what stands before titles of simulated data.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.

    Returns
    -------
    str
        "Simulated: ", or "" where somebody was measured.
    """
    return "Simulated: " if run.units["simulated"].any() else ""


def chosen_scores(run: EncodingRun, metric: str, condition: str) -> pd.DataFrame:
    """Return scores at the layer that was chosen in each region.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.
    metric, condition : str
        As in the table of scores.

    Returns
    -------
    DataFrame
        One row per subject, model and region.
    """
    keys = ["data", "subject", "model", "family", "region", "layer"]
    rows = run.scores[run.scores["metric"] == metric]
    rows = rows[rows["condition"] == condition]
    return run.layers.loc[run.layers["chosen"], keys].merge(rows, on=keys, how="inner")


def score_table(run: EncodingRun) -> ReportTable:
    """Return the scores of all models in the regions that are shown.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.

    Returns
    -------
    ReportTable
        Held-out scores with limits, chance and ceilings.
    """
    shown = shown_regions(run)
    names = model_labels(run.layers)
    keys = ["subject", "model", "family", "region", "layer"]
    table: pd.DataFrame | None = None
    for metric, header in _TABLE_METRICS.items():
        rows = chosen_scores(run, metric, HELD_OUT)
        part = rows[keys].assign(**{header: [value_text(r, 3) for r in row_list(rows)]})
        if metric == "r_mean":
            part["n_units"] = rows["n_units"]
            part["ceiling"] = rows["ceiling_low"]
            chance = chosen_scores(run, metric, PERMUTED)
            part["chance"] = [
                f"{number_text(r['ci_low'], 3)} to {number_text(r['ci_high'], 3)}"
                for r in row_list(chance)
            ]
        table = part if table is None else table.merge(part, on=keys, how="left")
    assert table is not None
    order = {place: number for number, place in enumerate(shown)}
    pairs = zip(table["family"], table["region"], strict=True)
    table["order"] = [order.get(pair, -1) for pair in pairs]
    table["rank"] = table["model"].map({m: k for k, m in enumerate(names)})
    table = table[table["order"] >= 0].sort_values(["subject", "rank", "order"])
    table = table.assign(
        model=table["model"].map(names), layer=table["layer"].replace("", "features")
    )
    columns = ["subject", "region", "n_units", "model", "layer", "Mean r", "chance"]
    columns += ["ceiling", *list(_TABLE_METRICS.values())[1:]]
    base = run.scores[
        (run.scores["model"] == BASELINE) & (run.scores["region"] == WHOLE)
    ]["value"].mean()
    return ReportTable(
        table[columns],
        caption=f"{simulated_mark(run)}held-out scores with 95 % intervals over "
        f"pictures. Predicting the mean of the training rows has a mean R2 of "
        f"{number_text(base, 3)} over all units, and no r.",
        headers={
            "subject": "Subject",
            "region": "Region",
            "n_units": "Units",
            "model": "Model",
            "layer": "Layer",
            "chance": "Chance (95 %)",
            "ceiling": "Ceiling of r",
        },
        formats={"ceiling": ".3f"},
    )


def row_list(table: pd.DataFrame) -> list[Any]:
    """Return the rows of a table, one by one.

    Parameters
    ----------
    table : DataFrame
        Any table.

    Returns
    -------
    list of Series
        Its rows.
    """
    return [row for _, row in table.iterrows()]


def layer_figure(run: EncodingRun) -> NamedFigure:
    """Draw the scores of all layers in the regions that are shown.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.

    Returns
    -------
    tuple of str and ReportFigure
        "layers".
    """
    regions = shown_regions(run)
    scores = run.scores[run.scores["model"] != BASELINE]
    grid = axes_grid(len(regions), 3, (4.0, 3.2))
    for number, (axes, (family, region)) in enumerate(zip(grid, regions, strict=True)):
        plot_layer_scores(
            scores,
            region=region,
            family=family,
            label="Mean r",
            title=f"{simulated_mark(run)}{region}",
            legend=number == len(regions) - 1,
            ax=axes,
        )
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Score of each layer of each model in each region, with ceilings",
        caption="Mean r of held-out pictures by layer; bars are 95 % intervals over "
        "pictures, the broken line is the noise ceiling, the grey band chance. Open "
        "marks: untrained networks.",
        wide=True,
    )
    return "layers", item


def distribution_figure(best: pd.DataFrame) -> NamedFigure:
    """Draw how r is distributed over units.

    Parameters
    ----------
    best : DataFrame
        From `best_rows`.

    Returns
    -------
    tuple of str and ReportFigure
        "distribution".
    """
    mark = "Simulated: " if best["simulated"].any() else ""
    axes = plot_score_distribution(best, title=f"{mark}scores of units")
    item = ReportFigure(
        figure_of(axes),
        alt="Histograms of r over units, beside the largest r that noise allows",
        caption="r of all units at the layer chosen over all of them; grey: roots of "
        "the ceilings.",
    )
    return "distribution", item


def penalty_figure(best: pd.DataFrame) -> NamedFigure:
    """Draw which penalties were chosen.

    Parameters
    ----------
    best : DataFrame
        From `best_rows`.

    Returns
    -------
    tuple of str and ReportFigure
        "penalties".
    """
    axes = plot_penalties(best, title="Penalties")
    item = ReportFigure(
        figure_of(axes),
        alt="Histograms of the chosen penalties",
        caption="Penalties of standardised features, chosen for each unit by "
        "cross-validation within the training pictures.",
    )
    return "penalties", item


def map_figures(run: EncodingRun) -> list[NamedFigure]:
    """Draw r on the brain, for the layer chosen over all units.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.

    Returns
    -------
    list of tuple of str and ReportFigure
        One per subject and model with places in the brain. Maps of the cortex that can
        be turned are written beside their files.
    """
    found = []
    for row in chosen_layers(run):
        home = run.folder / "maps" / file_name(row["subject"]) / file_name(row["model"])
        stem = f"{file_name(row['layer'])}_r"
        names = f"{file_name(row['subject'])}_{file_name(row['model'])}"
        marked = f"{row['model']} (untrained)" if row["untrained"] else row["model"]
        title = f"{row['subject']}: {marked} {row['layer']}".strip()
        figure = draw_map(
            home,
            stem,
            home / f"{stem}.html",
            label="r of held-out pictures",
            title=title,
            note="simulated data" if row["simulated"] else "",
        )
        if figure is None:
            continue
        item = ReportFigure(
            figure,
            alt=f"Map of r: {title}",
            caption=f"{title}; grey: no unit, or undefined.",
            wide=True,
            image_format="png",
        )
        found.append((f"map_{names}", item))
    return found


def told_scores(run: EncodingRun) -> list[str]:
    """Tell the mean r over all units of each subject and model.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.

    Returns
    -------
    list of str
        What is told, then one line per subject and model: the layer that was chosen, r
        with limits, and the ceiling.
    """
    names = model_labels(run.layers)
    lines = [
        "mean r over units, layer chosen within training pictures (95 % interval over "
        "held-out pictures)"
    ]
    for row in row_list(chosen_scores(run, "r_mean", HELD_OUT)):
        if row["region"] != WHOLE:
            continue
        simulated = ", simulated" if row["simulated"] else ""
        layer = f" {row['layer']}" if row["layer"] else ""
        ceiling = row["ceiling_low"]
        limit = "" if np.isnan(ceiling) else f"  ceiling {ceiling:.3f}"
        lines.append(
            f"  {row['subject']}{simulated}  {names[row['model']]}{layer}: "
            f"{value_text(row, 3)}{limit}"
        )
    return lines
