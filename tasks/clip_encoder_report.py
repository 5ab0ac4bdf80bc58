"""The report of encoders of embeddings: regions, units, how they were trained."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from analysis.plots_encoder import plot_region_bars
from analysis.plots_encoding import model_labels
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.checks import check_option
from neurovis.core.files import check_writable_folder
from tasks.encoding_report_parts import (
    best_rows,
    chosen_scores,
    count_units,
    distribution_figure,
    map_figures,
    score_table,
    shown_regions,
    simulated_mark,
    told_scores,
)
from tasks.encoding_run import CLIP_ENCODERS, EncodingRun, load_encoding
from tasks.encoding_scores import HELD_OUT, PERMUTED
from tasks.report_parts import NamedFigure, figure_of, save_figures

_QUESTION = """\
How well does a linear map of one embedding of a picture predict the responses of each \
unit to pictures that it has never seen? A frozen network embeds the picture, the \
embedding is made length 1, and a map that was trained by gradients gives the \
responses. Such encoders steer BrainDiVE.

There is one embedding, and nothing was chosen: weight decay is that of the recipe, \
and the weights of the last epoch are kept. r is computed over held-out pictures, unit \
by unit, and averaged over units. Limits are 95 % intervals over pictures drawn with \
replacement; the neighbours in a region are not counted as independent evidence. \
Chance is r after the pictures were permuted. The ceiling is the largest r that the \
noise of the responses allows; noise can carry a score beyond it."""
_UNTRAINED = """(untrained) says that the network which embeds pictures has random \
weights; the map is trained all the same."""
_TRAINING = """\
Steps are epochs times batches. Where R2 lies far below the square of r, predictions \
have the right course and are too small or too large: train longer, or at another \
learning rate. Who guides images by an encoder needs its gradient, which has the same \
fault."""
_SETTINGS = {
    "name": "Recipe",
    "epochs": "Epochs",
    "batch_size": "Pictures per step",
    "learning_rate": "Learning rate before the first epoch; it halves until the last",
    "weight_decay": "Weight decay",
    "gain": "Levels of each picture are changed by up to this share",
    "shift_px": "Batches are shifted by up to so many px",
    "noise_sd": "Noise of the normalised input (SD)",
    "standardise": "Responses are standardised",
    "precision": "Precision of the network",
}
_SOURCES = """\
Luo, Henderson, Wehbe & Tarr (2023), Brain Diffusion for Visual Exploration, NeurIPS \
36, arXiv:2306.03089. Luo, Henderson, Tarr & Wehbe (2024), BrainSCUBA, ICLR, \
arXiv:2310.04420."""


def write_clip_encoder_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished fit.

    Parameters
    ----------
    folder : str or Path
        What `tasks.clip_encoder.fit_clip_encoder` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline. Maps of fsaverage that can be turned
        lie in ``maps`` beside it.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished fit, or a damaged one.
    ValueError
        If it holds something else.
    """
    run = load_encoding(folder)
    call = run.provenance.call
    check_option(f"task of {folder}", call.get("task"), (CLIP_ENCODERS,))
    check_writable_folder(run.folder)
    name, spread = distribution_figure(best_rows(run))
    spread = replace(spread, caption="r of all units; grey: roots of the ceilings.")
    bars, maps = _bar_figure(run), map_figures(run)
    save_figures(run.folder, [bars, (name, spread), *maps])
    question = _QUESTION
    if run.layers["untrained"].any():
        question = f"{_QUESTION}\n\n{_UNTRAINED}"
    sections = [
        Section("The question", question),
        Section("Scores of regions", figures=[bars[1]], tables=[score_table(run)]),
        Section("Units", figures=[spread]),
        Section(
            "Training", _TRAINING, tables=[_subject_table(run), _recipe_table(run)]
        ),
    ]
    if maps:
        text = "r of held-out pictures on the brain. Files lie in `maps`."
        sections.append(Section("Maps", text, figures=[item for _, item in maps]))
    sections.append(Section("Sources", _SOURCES))
    (model,) = model_labels(run.layers).values()
    subjects, units = run.units["subject"].nunique(), count_units(run)
    return write_report(
        run.folder / "report.html",
        title="Encoders of embeddings"
        + (": simulated data" if simulated_mark(run) else ""),
        summary=(
            f"Embedding {call['layer']} of {model}; subjects: {subjects}; units: "
            f"{units}; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_clip_encoder(folder: str | Path) -> list[str]:
    """Write the report of a fit and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        What `tasks.clip_encoder.fit_clip_encoder` wrote.

    Returns
    -------
    list of str
        Mean r over all units of each subject, with limits and ceiling; path of the
        report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished fit, or a damaged one.
    """
    report = write_clip_encoder_report(folder)
    # The first line tells of a choice among layers.
    _, *scores = told_scores(load_encoding(folder))
    heading = "mean r over units (95 % interval over held-out pictures)"
    return [heading, *scores, f"report {report}"]


def _bar_figure(run: EncodingRun) -> NamedFigure:
    keys = ["data", "subject", "model", "family", "region"]
    scores = chosen_scores(run, "r_mean", HELD_OUT)
    chance = chosen_scores(run, "r_mean", PERMUTED)
    chance = chance.rename(columns={"ci_low": "chance_low", "ci_high": "chance_high"})
    scores = scores.merge(chance[[*keys, "chance_low", "chance_high"]], on=keys)
    shown = shown_regions(run)
    places = list(zip(scores["family"], scores["region"], strict=True))
    scores = scores[[place in shown for place in places]]
    axes = plot_region_bars(
        scores,
        ylabel="Mean r of held-out pictures",
        title=f"{simulated_mark(run)}r in each region",
    )
    limits = (
        "Bars are means over subjects, dots are subjects"
        if len(scores["subject"].unique()) > 1
        else "Lines are 95 % intervals over pictures"
    )
    item = ReportFigure(
        figure_of(axes),
        alt="Mean r in each region, with ceiling and chance",
        caption=f"{limits}; in brackets the number of units.",
        wide=True,
    )
    return "regions", item


def _subject_table(run: EncodingRun) -> ReportTable:
    recipe = run.provenance.call["recipe"]
    rows = []
    for subject, own in run.units.groupby("subject", sort=False):
        n = int(own["n_train"].iloc[0])
        rows.append(
            {
                "Subject": subject,
                "Units": len(own),
                "Scored units": int(own["r"].notna().sum()),
                "Training rows": n,
                "Steps": recipe["epochs"] * -(-n // recipe["batch_size"]),
                "Held-out rows": int(own["n_test"].iloc[0]),
            }
        )
    return ReportTable(
        pd.DataFrame(rows), caption=f"{simulated_mark(run)}what was trained on."
    )


def _recipe_table(run: EncodingRun) -> ReportTable:
    recipe = run.provenance.call["recipe"]
    rows = [(text, str(recipe[name])) for name, text in _SETTINGS.items()]
    table = pd.DataFrame(rows, columns=["Setting", "Value"])
    return ReportTable(table, caption="How it was trained.")
