"""The report of a fit of encoding models: layers, regions, maps, penalties."""

from pathlib import Path

import pandas as pd

from analysis.plots_encoding import (
    model_labels,
    plot_best_layers,
    plot_receptive_fields,
    plot_space_shares,
)
from analysis.report import ReportFigure, Section, write_report
from neurovis.core.files import check_writable_folder
from tasks.encoding_layers import file_name
from tasks.encoding_report_parts import (
    best_rows,
    count_units,
    distribution_figure,
    layer_figure,
    map_figures,
    penalty_figure,
    score_table,
    shown_regions,
    simulated_mark,
    told_scores,
)
from tasks.encoding_run import EncodingRun, load_encoding
from tasks.encoding_scores import ALPHA_FDR, WHOLE
from tasks.report_parts import NamedFigure, axes_grid, figure_of, save_figures

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
    curves = layer_figure(run)
    spread = distribution_figure(best)
    bars = [_best_figure(run, model) for model in run.layers["model"].unique()]
    penalties = penalty_figure(best)
    maps = map_figures(run)
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
            tables=[score_table(run)],
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
            f"subjects, {count_units(run)} units; method "
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
    return [*told_scores(load_encoding(folder)), f"report {report}"]


def _best_figure(run: EncodingRun, model: str) -> NamedFigure:
    name = model_labels(run.layers)[model]
    axes = plot_best_layers(
        run.layers,
        model=model,
        regions=shown_regions(run),
        title=f"{simulated_mark(run)}{name}",
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
        means.reset_index(), title=f"{simulated_mark(run)}shares of feature spaces"
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
            title = f"{simulated_mark(run)}{region}, {len(inside)} of {n}"
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
