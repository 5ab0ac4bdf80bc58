"""The report of an RSA run: layers, best layers, differences, matrices."""

from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from analysis.plots_rsa import plot_rdm
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import (
    DECODER_ERRORS,
    check_writable_folder,
    corrupt,
    read_table,
)
from neurovis.core.types import Score
from tasks.brain_ranking_parts import (
    FEW_SUBJECTS,
    Ranking,
    best_lines,
    ranking_figures,
    ranking_section,
    subject_text,
)
from tasks.encoding_layers import file_name
from tasks.report_parts import NamedFigure, axes_grid, figure_of, save_figures
from tasks.rsa_scores import BEST, BOTH, CKA, TASK
from tasks.runs import SCORE_FILES, load_scores

COMPARISON_NAMES = {
    "pearson": "Pearson r",
    "spearman": "Spearman r",
    "kendall_tau_a": "Kendall tau-a",
    "rho_a": "rho-a",
    "cosine": "cosine",
    "whitened_cosine": "whitened cosine",
    "whitened_pearson": "whitened Pearson r",
}
"""Printed names of similarities of RDMs."""

RSA_TEXT = """\
Each layer and each subject gives one matrix of dissimilarities of all pairs of \
stimuli. A score is their similarity, mean over subjects. Limits come from resampled \
{over}. Chance, and p, come from exchanged labels of stimuli: p asks whether a match \
this good comes about by accident for these stimuli and subjects, limits how far the \
score would change with others. So p can be small where limits include 0. That of a \
model is for the largest of its layers, with the largest in each exchange.

The layer of a model was chosen on half of the stimuli and scored on the other half, \
in both directions, in {n_splits} random splits. The largest value of all layers is \
shown beside it: it is optimistic, because it was chosen on the data that it is scored \
on."""
_SOURCES = """\
Kriegeskorte, Mur & Bandettini (2008), Front. Syst. Neurosci. 2:4. Nili et al. \
(2014), PLoS Comput. Biol. 10:e1003553 (ceilings). Schütt et al. (2023), eLife \
12:e82566 (resampling stimuli and subjects). Benjamini & Hochberg (1995) (false \
discovery rate)."""
RECORDINGS = ", mean over recordings"
"""End of `over` where recordings were compared one by one and averaged."""

_MOST_MATRICES = 8
# Larger matrices would be a grey noise of many megabytes.
_MOST_STIMULI = 200
_NEEDED = (*SCORE_FILES, "comparisons.parquet", "rdms.npz")


def write_rsa_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.rsa.run_rsa`).

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    DataCorruptError
        If one of its files is damaged.
    """
    folder = Path(folder)
    score = load_scores(folder, _NEEDED, TASK)
    check_writable_folder(folder)
    rankings = rsa_rankings(score.table, read_table(folder / "comparisons.parquet"))
    sections, every = [], []
    for (region, subject), ranking in rankings.items():
        figures = ranking_figures(ranking)
        if ranking.rows["n"].max() <= _MOST_STIMULI:
            figures += _matrices(folder, f"{region} {subject}", ranking)
        every += figures
        section = ranking_section(ranking, rsa_text(ranking.rows), figures)
        mine = (score.table["region"] == region) & (score.table["subject"] == subject)
        cka = score.table[mine & (score.table["metric"] == CKA)]
        tables = [*section.tables, *([_cka_table(ranking, cka)] if len(cka) else [])]
        sections.append(replace(section, tables=tables))
    save_figures(folder, every)
    call = score.provenance.call
    n_models = score.table["model"].nunique()
    return write_report(
        folder / "report.html",
        title=f"RSA: {call['data'].partition(':')[0]}",
        summary=(
            f"{n_models} models; dissimilarity: {call['measure']}, compared by "
            f"{COMPARISON_NAMES[call['compare']]}; seed {score.provenance.seed}."
        ),
        warnings=score.provenance.notes,
        sections=[*sections, Section("Sources", _SOURCES)],
        provenance=score.provenance.to_dict(),
    )


def finish_rsa(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the ranking in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Best layers of all models; path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_rsa_report(folder)
    table = Score.load(folder).table
    rankings = rsa_rankings(table, read_table(Path(folder) / "comparisons.parquet"))
    lines = [line for ranking in rankings.values() for line in best_lines(ranking)]
    return [*lines, f"report {report}"]


def rsa_rankings(
    scores: pd.DataFrame, comparisons: pd.DataFrame
) -> dict[tuple[str, str], Ranking]:
    """Part the tables of a run by region and subject.

    Parameters
    ----------
    scores, comparisons : DataFrame
        Tables of `tasks.rsa.run_rsa`.

    Returns
    -------
    dict of tuple of str to Ranking
        By region and subject.
    """
    rows = scores[scores["metric"] != CKA]
    found = {}
    for key, part in rows.groupby(["region", "subject"], sort=False):
        region, subject = map(str, key)
        own = (comparisons["region"] == region) & (comparisons["subject"] == subject)
        data = str(part["stimuli"].iloc[0]).partition(":")[0]
        name = COMPARISON_NAMES[str(part["metric"].iloc[0]).removeprefix("rsa_")]
        title = f"{data}: {region}{subject_text(subject)} (RSA)"
        found[region, subject] = Ranking(title, name, part, comparisons[own])
    return found


def rsa_text(rows: pd.DataFrame) -> str:
    """Tell how scores came about.

    Parameters
    ----------
    rows : DataFrame
        Rows of one ranking.

    Returns
    -------
    str
        Paragraphs.
    """
    n_splits, over = int(rows["n_splits"].iloc[0]), str(rows["over"].iloc[0])
    n, people = int(rows["n"].iloc[0]), int(rows["n_subjects"].iloc[0])
    count = f"{n} stimuli, {people} subject{'s' * (people != 1)}."
    if over.endswith(RECORDINGS):
        count = f"{n} stimuli in {people} recordings, with their own each."
        over = over.removesuffix(RECORDINGS)
    if over == BOTH and people < FEW_SUBJECTS:
        count += (
            " So few subjects say little about others: limits are wide. The second "
            "matrix of differences is for these subjects only."
        )
    words = over.replace("images", "stimuli")
    return f"{RSA_TEXT.format(over=words, n_splits=n_splits)}\n\n{count}"


def _cka_table(ranking: Ranking, cka: pd.DataFrame) -> ReportTable:
    best = cka.loc[cka.dropna(subset="value").groupby("model")["value"].idxmax()]
    rows = best.sort_values("value", ascending=False)[["model", "layer", "value"]]
    table = rows.assign(model=rows["model"].map(ranking.labels))
    return ReportTable(
        table,
        caption="Debiased linear CKA of features and responses, mean over subjects: "
        "the layer with the largest value (optimistic).",
        headers={"model": "Model", "layer": "Layer", "value": "CKA"},
        formats={"value": ".3f"},
    )


def _matrices(folder: Path, name: str, ranking: Ranking) -> list[NamedFigure]:
    """Draw the mean matrix of the subjects and those of the best layers."""
    path = folder / "rdms.npz"
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            content = {
                key: file[f"{name}/{key}"]
                for key in ("subjects", "layers", "layer_names", "stimulus_id")
            }
            groups = None
            if f"{name}/category" in file.files:
                groups = [str(c) for c in file[f"{name}/category"]]
    except (*DECODER_ERRORS, BadZipFile, KeyError) as error:
        raise corrupt(path, "file of RDMs", error) from error
    layer_of = {
        model: f"{model} {layer}".strip()
        for model, layer in ranking.of(BEST)[["model", "layer"]].astype(str).to_numpy()
    }
    place = {str(n): i for i, n in enumerate(content["layer_names"])}
    shown = [
        (model, place[layer_of[model]])
        for model in ranking.order
        if layer_of[model] in place
    ][:_MOST_MATRICES]
    grid = axes_grid(1 + len(shown), 3, (3.4, 2.75))
    mean = content["subjects"].mean(axis=0)
    plot_rdm(mean, groups=groups, title=name, ax=grid[0])
    for axes, (model, row) in zip(grid[1:], shown, strict=True):
        plot_rdm(
            content["layers"][row],
            groups=groups,
            title=ranking.labels[model] + layer_of[model].removeprefix(model),
            ax=axes,
        )
    item = ReportFigure(
        figure_of(grid[0]),
        alt=f"Dissimilarity matrices of {name} and of the best layers",
        caption="Dissimilarities as ranks, dark where two stimuli are alike: the mean "
        "of the subjects, then the chosen layers, best first.",
        wide=True,
        image_format="png",
    )
    return [(f"{file_name(ranking.title).lower()}_matrices", item)]
