"""The report of a fit of encoding models: layers, regions, maps, penalties."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.plot_style import number_text
from analysis.plots_encoding import (
    model_labels,
    plot_best_layers,
    plot_layer_scores,
    plot_penalties,
    plot_receptive_fields,
    plot_score_distribution,
    plot_space_shares,
)
from analysis.plots_volume import plot_volume_map
from analysis.report import ReportFigure, ReportTable, Section, write_report
from analysis.surface import plot_cortex_map
from analysis.surface_mesh import to_fsaverage5
from analysis.surface_page import write_cortex_html
from neurovis.core.brain_space import HEMISPHERES, SurfaceSpace
from neurovis.core.files import check_writable_folder
from tasks.encoding_layers import file_name
from tasks.encoding_run import EncodingRun, load_encoding
from tasks.encoding_scores import ALPHA_FDR, BASELINE, HELD_OUT, PERMUTED, WHOLE
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)

_MOST_REGIONS = 9
_LEAST_UNITS = 5
_QUESTION = """\
How well do features of pictures predict the responses of each unit to pictures that \
the model has never seen? Each layer is one linear model of each unit. Weights, \
penalties, means and components of features come from training pictures alone; the \
layer of a region is chosen by cross-validation within them.

r is computed over held-out pictures, unit by unit, and averaged over units. Limits \
are 95 % intervals over pictures drawn with replacement; the neighbours in a region \
are not counted as independent evidence. Chance is r after the pictures were \
permuted. The ceiling is the largest r that the noise of the responses allows; noise \
can carry a score beyond it."""
_TABLE_METRICS = {
    "r_mean": "Mean r",
    "r2_mean": "Mean R2",
    "r2_noise_normalised_median": "Median share of explainable variance",
    "share_significant": "Units above chance (FDR 5 %)",
}


def write_encoding_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished fit.

    Parameters
    ----------
    folder : str or Path
        What `tasks.encoding.fit_encoding` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline. Maps of fsaverage that can be turned
        lie in ``maps`` beside it.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished fit, or a damaged one.
    """
    run = load_encoding(folder)
    check_writable_folder(run.folder)
    best = best_rows(run)
    curves = _curve_figure(run)
    spread = _distribution_figure(best)
    bars = [_best_figure(run, model) for model in run.layers["model"].unique()]
    penalties = _penalty_figure(best)
    maps = _map_figures(run)
    spaces = [] if run.spaces is None else [_space_figure(run)]
    fields = _field_figures(run)
    figures = [curves, spread, *bars, penalties, *maps, *spaces, *fields]
    save_figures(run.folder, figures)
    models = run.units["model"].nunique()
    subjects = run.units["subject"].nunique()
    sections = [
        Section("The question", _QUESTION),
        Section(
            "Scores of regions",
            "The layer of each model and region is the one that cross-validation "
            "within the training pictures chose.",
            tables=[_score_table(run)],
        ),
        Section("Layers", figures=[curves[1], *(item for _, item in bars)]),
        Section("Units", figures=[spread[1], penalties[1]]),
    ]
    if spaces:
        sections.append(
            Section(
                "Feature spaces",
                "One model of all spaces, each with a penalty of its own; its R2 is "
                "divided by the product measure, which splits evenly what two spaces "
                "predict in common.",
                figures=[item for _, item in spaces],
            )
        )
    if fields:
        sections.append(
            Section(
                "Receptive fields",
                "One model of all layers: a Gaussian of each unit, the same for all "
                "feature maps, pools them, and a ridge regression weighs what it sees. "
                "Place, size and penalty were chosen within the training pictures. "
                "Places are told in sides of the square that the network sees.",
                figures=[item for _, item in fields],
            )
        )
    if maps:
        text = (
            "r of held-out pictures on the brain, for the layer that cross-validation "
            "chose over all units. Files of all layers lie in `maps`."
        )
        sections.append(Section("Maps", text, figures=[item for _, item in maps]))
    return write_report(
        run.folder / "report.html",
        title="Encoding models",
        summary=(
            f"{models} models, {run.layers['layer'].nunique()} layers, {subjects} "
            f"subjects, {_n_units(run)} units; method "
            f"{run.units['method'].iloc[0]}; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_encoding(folder: str | Path) -> list[str]:
    """Write the report of a fit and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        What `tasks.encoding.fit_encoding` wrote.

    Returns
    -------
    list of str
        Mean r over all units of each subject and model, at the layer that was chosen;
        path of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished fit, or a damaged one.
    """
    report = write_encoding_report(folder)
    run = load_encoding(folder)
    names = model_labels(run.layers)
    lines = [
        "mean r over units, layer chosen within training pictures (95 % interval over "
        "held-out pictures)"
    ]
    for _, row in _chosen_scores(run, "r_mean", HELD_OUT).iterrows():
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
    return [*lines, f"report {report}"]


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


def _n_units(run: EncodingRun) -> int:
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


def _mark(run: EncodingRun) -> str:
    return "Simulated: " if run.units["simulated"].any() else ""


def _chosen_scores(run: EncodingRun, metric: str, condition: str) -> pd.DataFrame:
    """Return scores at the layer that was chosen in each region."""
    keys = ["data", "subject", "model", "family", "region", "layer"]
    rows = run.scores[run.scores["metric"] == metric]
    rows = rows[rows["condition"] == condition]
    return run.layers.loc[run.layers["chosen"], keys].merge(rows, on=keys, how="inner")


def _score_table(run: EncodingRun) -> ReportTable:
    shown = shown_regions(run)
    names = model_labels(run.layers)
    keys = ["subject", "model", "family", "region", "layer"]
    table: pd.DataFrame | None = None
    for metric, header in _TABLE_METRICS.items():
        rows = _chosen_scores(run, metric, HELD_OUT)
        part = rows[keys].assign(**{header: [value_text(r, 3) for r in _rows(rows)]})
        if metric == "r_mean":
            part["n_units"] = rows["n_units"]
            part["ceiling"] = rows["ceiling_low"]
            chance = _chosen_scores(run, metric, PERMUTED)
            part["chance"] = [
                f"{number_text(r['ci_low'], 3)} to {number_text(r['ci_high'], 3)}"
                for r in _rows(chance)
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
        caption=f"{_mark(run)}held-out scores with 95 % intervals over pictures. "
        f"Predicting the mean of the training rows has a mean R2 of "
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


def _rows(table: pd.DataFrame) -> list[Any]:
    return [row for _, row in table.iterrows()]


def _curve_figure(run: EncodingRun) -> NamedFigure:
    regions = shown_regions(run)
    scores = run.scores[run.scores["model"] != BASELINE]
    grid = axes_grid(len(regions), 3, (4.0, 3.2))
    for number, (axes, (family, region)) in enumerate(zip(grid, regions, strict=True)):
        plot_layer_scores(
            scores,
            region=region,
            family=family,
            label="Mean r",
            title=f"{_mark(run)}{region}",
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


def _distribution_figure(best: pd.DataFrame) -> NamedFigure:
    mark = "Simulated: " if best["simulated"].any() else ""
    axes = plot_score_distribution(best, title=f"{mark}scores of units")
    item = ReportFigure(
        figure_of(axes),
        alt="Histograms of r over units, beside the largest r that noise allows",
        caption="r of all units at the layer chosen over all of them; grey: roots of "
        "the ceilings.",
    )
    return "distribution", item


def _penalty_figure(best: pd.DataFrame) -> NamedFigure:
    axes = plot_penalties(best, title="Penalties")
    item = ReportFigure(
        figure_of(axes),
        alt="Histograms of the chosen penalties",
        caption="Penalties of standardised features, chosen for each unit by "
        "cross-validation within the training pictures.",
    )
    return "penalties", item


def _best_figure(run: EncodingRun, model: str) -> NamedFigure:
    name = model_labels(run.layers)[model]
    axes = plot_best_layers(
        run.layers,
        model=model,
        regions=shown_regions(run),
        title=f"{_mark(run)}{name}",
    )
    item = ReportFigure(
        figure_of(axes),
        alt=f"Best layer of {name} in each region",
        caption="The layer chosen within training pictures, and its r of held-out "
        "ones; in brackets the number of units.",
    )
    return f"best_layers_{file_name(model)}", item


def _space_figure(run: EncodingRun) -> NamedFigure:
    assert run.spaces is not None
    families = [f for f, _ in shown_regions(run) if f]
    parts = [run.spaces.assign(region=WHOLE)]
    for family in dict.fromkeys(families):
        labels = [r for f, r in shown_regions(run) if f == family]
        own = run.spaces[run.spaces[family].isin(labels)]
        parts.append(own.assign(region=own[family]))
    long = pd.concat(parts, ignore_index=True)
    means = long.groupby(["region", "space"], sort=False)["r2_share"].mean()
    axes = plot_space_shares(
        means.reset_index(), title=f"{_mark(run)}shares of feature spaces"
    )
    item = ReportFigure(
        figure_of(axes),
        alt="R2 of each region divided among feature spaces",
        caption="R2 of held-out pictures, divided among feature spaces; means over "
        "units and subjects.",
        wide=True,
    )
    return "spaces", item


def _field_figures(run: EncodingRun) -> list[NamedFigure]:
    if "rf_x" not in run.units:
        return []
    found = []
    regions = shown_regions(run)
    for model, name in model_labels(run.units).items():
        own = run.units[run.units["model"] == model]
        tested = own["p_fdr"].notna().any()
        seen = own[own["p_fdr"] < ALPHA_FDR] if tested else own
        grid = axes_grid(len(regions), 3, (3.3, 3.4))
        for axes, (family, region) in zip(grid, regions, strict=True):
            inside, n = seen, len(own)
            if family:
                inside, n = (
                    seen[seen[family] == region],
                    int((own[family] == region).sum()),
                )
            title = f"{_mark(run)}{region}, {len(inside)} of {n}"
            plot_receptive_fields(inside, title=title, ax=axes)
        which = "units above chance (FDR 5 %)" if tested else "all units"
        item = ReportFigure(
            figure_of(grid[0]),
            alt=f"Receptive fields of units by region, as {name} finds them",
            caption=f"{name}: receptive fields of {which}; dots are centres, larger "
            "where several units share one, circles have a radius of one sigma.",
            wide=True,
        )
        found.append((f"receptive_fields_{file_name(model)}", item))
    return found


# ------------------------------------------------------------------------ maps


def _map_figures(run: EncodingRun) -> list[NamedFigure]:
    chosen = run.layers[run.layers["chosen"] & (run.layers["region"] == WHOLE)]
    found = []
    for row in _rows(chosen):
        home = run.folder / "maps" / file_name(row["subject"]) / file_name(row["model"])
        stem = f"{file_name(row['layer'])}_r"
        names = f"{file_name(row['subject'])}_{file_name(row['model'])}"
        marked = f"{row['model']} (untrained)" if row["untrained"] else row["model"]
        words = {
            "label": "r of held-out pictures",
            "title": f"{row['subject']}: {marked} {row['layer']}".strip(),
            "note": "simulated data" if row["simulated"] else "",
            "vmin": 0.0,
        }
        volume, left = home / f"{stem}.nii.gz", home / f"lh.{stem}.mgh"
        if volume.is_file():
            figure = _volume_figure(volume, words)
        elif left.is_file():
            maps = {h: _read_mgh(home / f"{h}.{stem}.mgh") for h in HEMISPHERES}
            figure = _cortex_figure(maps, words, home / f"{stem}.html")
        else:
            continue
        if figure is None:
            continue
        item = ReportFigure(
            figure,
            alt=f"Map of r: {words['title']}",
            caption=f"{words['title']}; grey: no unit, or undefined.",
            wide=True,
            image_format="png",
        )
        found.append((f"map_{names}", item))
    return found


def _volume_figure(path: Path, words: dict[str, Any]) -> Any:
    # From bytes, so that no file stays open.
    image: Any = nib.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
    values = np.asarray(image.dataobj, np.float64)
    if not np.isfinite(values).any():
        return None
    return plot_volume_map(values, image.affine, **_range(values, words))


def _range(values: NDArray[np.float64], words: dict[str, Any]) -> dict[str, Any]:
    # Where nothing is above 0, the colours must still span something.
    high = float(np.nanmax(values))
    return words if high > 0 else {**words, "vmin": None, "vmax": None}


def _read_mgh(path: Path) -> NDArray[np.float64]:
    image: Any = nib.MGHImage.from_bytes(path.read_bytes())
    return np.asarray(image.dataobj, np.float64)[:, 0, 0]


def _cortex_figure(
    maps: dict[str, NDArray[np.float64]], words: dict[str, Any], page: Path
) -> Any:
    """Draw a map of a mesh of the fsaverage family, and write it as a page."""
    both = np.concatenate(list(maps.values()))
    if not np.isfinite(both).any():
        return None
    space = SurfaceSpace("fsaverage", (len(maps["lh"]), len(maps["rh"])))
    try:
        small = to_fsaverage5(maps, space)
    except ValueError:  # a native surface, whose mesh is not told
        return None
    options = _range(both, words)
    write_cortex_html(page, small, **options)
    return plot_cortex_map(small, **options)
