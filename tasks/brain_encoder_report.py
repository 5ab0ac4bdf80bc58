"""The report of trained encoders: models compared, what was chosen, where they look."""

from dataclasses import replace
from pathlib import Path
from textwrap import fill

import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_encoder import plot_region_bars
from analysis.plots_encoding import model_labels
from analysis.plots_ranking import plot_difference_matrix
from analysis.plots_training import plot_learning_curves
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from tasks.brain_encoder import COMPARISONS_FILE
from tasks.encoder_attention_report import attention_section
from tasks.encoder_model import ENCODER_FILE, FittedEncoder, load_encoder
from tasks.encoding_fwrf import LAYERS
from tasks.encoding_layers import file_name
from tasks.encoding_report_parts import (
    best_rows,
    chosen_layers,
    chosen_scores,
    count_units,
    distribution_figure,
    layer_figure,
    map_figures,
    penalty_figure,
    row_list,
    score_table,
    shown_regions,
    simulated_mark,
    told_scores,
)
from tasks.encoding_run import EncodingRun, load_encoding, model_folder
from tasks.encoding_scores import HELD_OUT, PERMUTED, WHOLE
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    p_text,
    save_figures,
)

_QUESTION = """\
Which way of reading feature maps predicts the responses of units best? All models get \
the same features of the same pictures, and are judged by pictures that none of them \
has seen. They differ in how a unit comes to what it responds to.

Trained readouts: {share} of the training stimuli, drawn at random, decide which \
epoch is kept and, where there are several, which penalty; the rest are trained \
on.{ridge} Where a model has several layers, the one with the best `cv_score` is \
shown. That score is R2 of those validation pictures{ridge_score}: layers of one model \
can be compared by it, models cannot. All other scores are of held-out pictures.

r is computed over held-out pictures, unit by unit, and averaged over units. Limits \
are 95 % intervals over pictures drawn with replacement. Chance is r after the \
pictures were permuted. The ceiling is the largest r that the noise of the responses \
allows; noise can carry a score beyond it. A training with another seed ends \
elsewhere: limits do not tell how far."""
_RIDGE_TEXT = """ Ridge regression has the same features, flattened, and the same \
training pictures; penalties are chosen for each unit by {cv}-fold cross-validation \
within them, and weights are then fitted to all of them."""
_RIDGE_SCORE = ", and for ridge of cross-validation"
_TITLE_LETTERS = 48
_UNTRAINED = """(untrained) says that the network whose maps are read has random \
weights; the readout is trained all the same."""
_READOUTS = {
    "transformer": "Learned queries attend to the map of each picture; units are "
    "linear in what their query found.",
    "masks": "Each query has one mask over places, the same for all pictures; units "
    "are linear in what it lets through.",
    "factorised": "A mask over places and weights of channels, for each unit.",
    "gaussian": "A place and weights of channels, for each unit.",
    "semantic-spatial": "A mask and weights of channels for each unit, which a second "
    "map moves from picture to picture.",
    "linear": "A convolution, then a linear map of all places to all units.",
    "vector": "A linear map of one vector per picture.",
    "ridge": "A linear map of all places and channels, by ridge regression.",
}

_ENSEMBLE = (
    "The layers of a trained readout, their predictions averaged; each unit has "
    "weights of its own, by r of the validation pictures."
)


def write_brain_encoder_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished fit.

    Parameters
    ----------
    folder : str or Path
        What `tasks.brain_encoder.fit_brain_encoder` wrote.

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
    bars, layers = [_bar_figure(run)], []
    if run.layers.groupby("model")["layer"].nunique().max() > 1:
        # A mean over layers has no place among them.
        single = run.scores[run.scores["layer"] != LAYERS]
        layers = [layer_figure(replace(run, scores=single))]
    best = best_rows(run)
    units = [distribution_figure(best)]
    linear = best[best["at_smallest"].notna()]  # of networks it is not defined
    if len(linear):
        units.append(penalty_figure(linear))
    differences, matrices = _differences(run)
    attention = attention_section(run)
    maps = map_figures(run)
    looks = [] if attention is None else attention[1]
    training, curves = _training(run)
    figures = [*bars, *matrices, *layers, *units, *curves, *looks, *maps]
    save_figures(run.folder, figures)
    sections = [
        Section("The question", _question(run), tables=[_readout_table(run)]),
        Section("Scores of regions", figures=_items(bars), tables=[score_table(run)]),
        Section(
            "Differences",
            "Models that predict the same responses to the same pictures, compared "
            "pairwise, each at the layer chosen for the region. Limits are 95 % "
            "intervals over pictures; p is two-sided and corrected for all regions and "
            "pairs of a subject (false discovery rate)."
            if differences
            else "There is one model only, or there are too few pictures to compare.",
            figures=_items(matrices),
            tables=differences,
        ),
    ]
    if layers:
        sections.append(Section("Layers", figures=_items(layers)))
    sections += [Section("Units", figures=_items(units)), training]
    if attention is not None:
        sections.append(attention[0])
    if maps:
        text = (
            "r of held-out pictures on the brain, at the layer chosen over all units. "
            "Files of all layers lie in `maps`."
        )
        sections.append(Section("Maps", text, figures=_items(maps)))
    mark = ": simulated data" if simulated_mark(run) else ""
    features = ", ".join(spec["name"] for spec in run.provenance.call["features"])
    models, subjects = (run.units[name].nunique() for name in ("model", "subject"))
    return write_report(
        run.folder / "report.html",
        title=f"Trained brain encoders{mark}",
        summary=(
            f"{_count(models, 'model')} of the features {features}; "
            f"{_count(subjects, 'subject')}, {_count(count_units(run), 'unit')}; "
            f"seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_brain_encoder(folder: str | Path) -> list[str]:
    """Write the report of a fit and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        What `tasks.brain_encoder.fit_brain_encoder` wrote.

    Returns
    -------
    list of str
        Mean r over all units of each subject and model, with limits and ceiling; path
        of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished fit, or a damaged one.
    """
    report = write_brain_encoder_report(folder)
    return [*told_scores(load_encoding(folder)), f"report {report}"]


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _items(figures: list[NamedFigure]) -> list[ReportFigure]:
    return [item for _, item in figures]


def _question(run: EncodingRun) -> str:
    call = run.provenance.call
    has_ridge = "ridge" in call["readouts"]
    shares = {option["validation"] for option in call["options"].values()}
    text = _QUESTION.format(
        share=" or ".join(f"{100 * share:.3g} %" for share in sorted(shares)) or "none",
        ridge=_RIDGE_TEXT.format(cv=call["cv"]) if has_ridge else "",
        ridge_score=_RIDGE_SCORE if has_ridge else "",
    )
    return f"{text}\n\n{_UNTRAINED}" if run.layers["untrained"].any() else text


def _readout_table(run: EncodingRun) -> ReportTable:
    told = {name: _READOUTS[name] for name in run.provenance.call["readouts"]}
    if (run.layers["layer"] == LAYERS).any():
        told["ensemble"] = _ENSEMBLE
    rows = [{"Readout": name, "How it reads": text} for name, text in told.items()]
    return ReportTable(pd.DataFrame(rows), caption="What is compared.")


# ------------------------------------------------------------- scores, differences


def _bar_figure(run: EncodingRun) -> NamedFigure:
    keys = ["data", "subject", "model", "family", "region"]
    scores = chosen_scores(run, "r_mean", HELD_OUT)
    chance = chosen_scores(run, "r_mean", PERMUTED)
    chance = chance.rename(columns={"ci_low": "chance_low", "ci_high": "chance_high"})
    scores = scores.merge(chance[[*keys, "chance_low", "chance_high"]], on=keys)
    shown = {place: number for number, place in enumerate(shown_regions(run))}
    order = [
        shown.get(place, -1)
        for place in zip(scores["family"], scores["region"], strict=True)
    ]
    scores = scores.assign(order=order).sort_values("order", kind="stable")
    rank = {model: number for number, model in enumerate(model_labels(run.layers))}
    scores = scores[scores["order"] >= 0].sort_values(
        "model", key=lambda names: names.map(rank), kind="stable"
    )
    several = len(scores["subject"].unique()) > 1
    axes = plot_region_bars(
        scores,
        ylabel="Mean r of held-out pictures",
        title=f"{simulated_mark(run)}models in each region",
    )
    limits = (
        "Bars are means over subjects, dots are subjects"
        if several
        else "Lines are 95 % intervals over pictures"
    )
    item = ReportFigure(
        figure_of(axes),
        alt="Mean r of every model in each region, with ceilings and chance",
        caption=f"{limits}; in brackets the number of units.",
        wide=True,
    )
    return "models", item


def _reference(models: list[str]) -> str:
    """Return the model that others are compared with: ridge, or the first one."""
    linear = [m for m in models if m == "ridge" or m.startswith("ridge of ")]
    return linear[0] if len(linear) == 1 else models[0]


def _differences(run: EncodingRun) -> tuple[list[ReportTable], list[NamedFigure]]:
    """Return the table of differences from one model, and all pairs as a matrix."""
    path = run.folder / COMPARISONS_FILE
    pairs = read_table(path) if path.is_file() else pd.DataFrame()
    if pairs.empty:
        return [], []
    labels = model_labels(run.layers)
    models = list(labels)
    reference = _reference(models)
    shown = shown_regions(run)
    rows = []
    for row in row_list(pairs):
        place = (row["family"], row["region"])
        if place not in shown or reference not in (row["model_a"], row["model_b"]):
            continue
        sign = 1.0 if row["model_b"] == reference else -1.0
        other = row["model_a"] if sign > 0 else row["model_b"]
        low, high = sorted((sign * row["low"], sign * row["high"]))
        ends = (number_text(x, 3) for x in (sign * row["difference"], low, high))
        rows.append(
            {
                "order": (row["subject"], models.index(other), shown.index(place)),
                "Subject": row["subject"],
                "Region": row["region"],
                "Units": row["n_units"],
                "Model": labels[other],
                "Difference of r": "{} [{}, {}]".format(*ends),
                "p (FDR)": p_text(float(row["p_fdr"])),
            }
        )
    table = pd.DataFrame(rows).sort_values("order", kind="stable")
    told = ReportTable(
        table.drop(columns="order"),
        caption=f"{simulated_mark(run)}mean r over units, minus that of "
        f"{labels[reference]}. All other pairs are in {COMPARISONS_FILE}.",
    )
    if len(models) < 3:
        return [told], []
    figures = []
    whole = pairs[pairs["region"] == WHOLE]
    for subject, part in whole.groupby("subject", sort=False):
        axes = plot_difference_matrix(
            part,
            order=models,
            label="Difference of mean r",
            labels=labels,
            title=f"{simulated_mark(run)}{subject}, row minus column",
        )
        item = ReportFigure(
            figure_of(axes),
            alt=f"Differences of r between all models, {subject}",
            caption="Mean r over all units, model of the row minus model of the "
            "column; bold and coloured: p (FDR) below 0.05.",
        )
        figures.append((f"differences_{file_name(str(subject))}", item))
    return [told], figures


# ------------------------------------------------------------------------ training


def _training(run: EncodingRun) -> tuple[Section, list[NamedFigure]]:
    labels = model_labels(run.layers)
    rows, kept = [], []
    for row in chosen_layers(run):
        home = model_folder(run.folder, row["subject"], row["model"], row["layer"])
        if not (home / ENCODER_FILE).is_file():
            continue
        encoder = load_encoder(home)
        kept.append((row["model"], row["subject"], encoder))
        told = encoder.training
        numbers = [p.numel() for p in encoder.networks[0].parameters()]
        epochs = [
            f"{best + 1} of {n}"
            for best, n in zip(told["best_epochs"], told["n_epochs"], strict=True)
        ]
        several = len(epochs) > 3
        rows.append(
            {
                "Subject": row["subject"],
                "Model": labels[row["model"]],
                "Layer": row["layer"] or "features",
                "Parameters": f"{sum(numbers):,}".replace(",", " "),
                "Training rows": told["n_train"],
                "Penalty": f"{told['penalty']:g}",
                "Runs": len(epochs),
                "Epoch kept": ", ".join(epochs[:3]) + (", …" if several else ""),
            }
        )
    if not rows:
        text = "No weights of trained readouts were kept that could be told of."
        return Section("Training", text), []
    text = (
        "Number of parameters of one run, rows of responses that came to training and "
        "validation, the penalty that validation pictures chose, and the epoch that "
        "was best for those pictures, whose weights are kept. Where the last epoch was "
        "the best, more epochs may be better."
    )
    if run.provenance.call["together"]:
        text += " One encoder was trained for the units of all subjects together."
    caption = f"{simulated_mark(run)}trainings, at the layer chosen over all units."
    curves = [_curve_figure(run, kept)]
    table = ReportTable(pd.DataFrame(rows), caption=caption)
    section = Section("Training", text, figures=_items(curves), tables=[table])
    return section, curves


def _curve_figure(
    run: EncodingRun, kept: list[tuple[str, str, FittedEncoder]]
) -> NamedFigure:
    """Draw the validation of each model by epoch, one panel per model."""
    labels = model_labels(run.layers)
    tables: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for model, subject, encoder in kept:
        # One training of all subjects has one curve.
        name = "all subjects" if run.provenance.call["together"] else subject
        table = encoder.curves.assign(subject=name, epoch=encoder.curves["epoch"] + 1)
        column = encoder.options.training.monitor
        known = tables.setdefault((model, f"val_{column}"), [])
        if not any(name in other["subject"].to_numpy() for other in known):
            known.append(table.rename(columns={"run": "fold"}))
    grid = axes_grid(len(tables), 2, (4.6, 3.0))
    for axes, ((model, column), found) in zip(grid, tables.items(), strict=True):
        plot_learning_curves(
            pd.concat(found, ignore_index=True),
            monitor=column,
            label="Mean r" if column == "val_r" else "Mean squared error",
            groups="subject" if len(found) > 1 else None,
            training=False,
            title=fill(f"{simulated_mark(run)}{labels[model]}", _TITLE_LETTERS),
            ax=axes,
        )
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Validation of each trained model by epoch, best epochs marked",
        caption="Validation pictures by epoch, at the layer chosen over all units, one "
        "line per run; dots mark the epochs whose weights were kept. These pictures "
        "chose the epoch: scores of held-out pictures can be lower.",
        wide=True,
    )
    return "curves", item
