"""The report of a ranking: for each data set layers, best layers and differences."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from analysis.report import ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from tasks.brain_ranking import TASK
from tasks.brain_ranking_parts import (
    Ranking,
    best_lines,
    ranking_figures,
    ranking_section,
    subject_text,
)
from tasks.brain_ranking_tables import (
    ENCODING,
    ENCODING_R,
    ENCODING_SHARE,
    KEYS,
    LOWEST_CEILING,
    MEAN,
)
from tasks.report_parts import NamedFigure, save_figures, value_text
from tasks.rsa_report import COMPARISON_NAMES, rsa_text
from tasks.rsa_scores import BEST
from tasks.runs import SCORE_FILES, load_scores

_NEEDED = (*SCORE_FILES, "comparisons.parquet")
_QUESTION = """\
Which model explains the brain best, and by which of its layers? Encoding models \
predict the response of each unit by a weighted sum of features; RSA compares which \
stimuli are alike. Both are given with what chance and noise allow. Networks with \
random weights have the architecture of their trained twins and nothing that was \
learnt; Gabor and pyramid energy and colour are baselines without any learning.

{pictures}"""
_SQUASHED = """\
All of each picture was scaled to the size of the network's input, whatever its aspect \
ratio, so that every model saw the same."""
_OWN = "Pictures came to the size of the input by the rule that each model was given."
_ENCODING_TEXT = """\
One ridge regression per unit and layer; penalties, means and the choice of the layer \
come from the training images alone (cross-validation within them), scores from images \
that nothing has seen. A score is the mean over units of Pearson's r. Limits and \
differences come from resampled {over}; those of single layers from resampled images. \
p of a model, from the same resamples, asks two-sided whether its score is 0. The \
largest value of all layers is optimistic: it was chosen on the test images."""
_POOLED_TEXT = """\
This is the mean of {n} recordings, or subjects, that were compared one by one. Errors \
are independent where each has images of its own; where images are shared, limits are \
the widest possible. It holds for these recordings, not for others. The layer named is \
the one chosen most often. p here asks two-sided whether the score is 0."""
_SHARE_TEXT = (
    "Noise-normalised: the square of r, with its sign, over the share of variance that "
    "repeats say can be explained; units with less than {lowest:g} are left out."
)


def write_ranking_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished ranking.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.brain_ranking.run_brain_ranking`).

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
    rankings = load_rankings(folder)
    sections, every = [], []
    for key, ranking in _shown(rankings):
        figures = ranking_figures(ranking)
        every += figures
        sections.append(_section(key, ranking, figures, rankings))
    save_figures(folder, every)
    call = score.provenance.call
    names = [where.partition(":")[0] for where in call["data"]]
    squash = all(
        spec["resize"] == "squash"
        for spec in call["features"]
        if spec["source"] == "network"
    )
    question = _QUESTION.format(pictures=_SQUASHED if squash else _OWN)
    return write_report(
        folder / "report.html",
        title=f"Models ranked on brain data: {', '.join(names)}",
        summary=(
            f"{len(call['features'])} models on {len(names)} data sets; seed "
            f"{score.provenance.seed}."
        ),
        warnings=_joined_notes(score.provenance.notes),
        sections=[
            Section("The question", question, tables=[_overview(rankings)]),
            *sections,
        ],
        provenance=score.provenance.to_dict(),
    )


def finish_ranking(folder: str | Path) -> list[str]:
    """Write the report of a ranking and tell it in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Best layers of all models on each data set; path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_ranking_report(folder)
    lines: list[str] = []
    for _, ranking in _shown(load_rankings(folder)):
        lines += best_lines(ranking)
    return [*lines, f"report {report}"]


def load_rankings(folder: str | Path) -> dict[tuple[str, ...], Ranking]:
    """Read the tables of a run and part them.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    dict of tuple of str to Ranking
        By data set, analysis, metric, region and subject.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    folder = Path(folder)
    scores = load_scores(folder, _NEEDED, TASK).table
    comparisons = read_table(folder / "comparisons.parquet")
    apart = {
        tuple(map(str, key)): part
        for key, part in comparisons.groupby(list(KEYS), sort=False)
    }
    found = {}
    for group, part in scores.groupby(list(KEYS), sort=False):
        key = tuple(map(str, group))
        data, analysis, metric, region, subject = key
        how = "encoding" if analysis == ENCODING else "RSA"
        title = f"{data}: {region}{subject_text(subject)} ({how})"
        if metric == ENCODING_SHARE:
            title = title.replace("encoding", "encoding, noise-normalised")
        found[key] = Ranking(
            title, _score_name(metric), part, apart.get(key, comparisons.iloc[:0])
        )
    return found


def _score_name(metric: str) -> str:
    if metric == ENCODING_R:
        return "Pearson r, mean over units"
    if metric == ENCODING_SHARE:
        return "share of explainable variance"
    return COMPARISON_NAMES[metric.removeprefix("rsa_")]


def _joined_notes(notes: Sequence[str]) -> list[str]:
    """Tell what holds for several subjects once, with all their names."""
    names: dict[str, list[str]] = {}
    for note in notes:
        name, colon, text = note.partition(": ")
        name, text = (name, text) if colon else ("", note)
        names.setdefault(text, []).append(name)
    return [": ".join(filter(None, (", ".join(n), t))) for t, n in names.items()]


def _shown(
    rankings: dict[tuple[str, ...], Ranking],
) -> Iterator[tuple[tuple[str, ...], Ranking]]:
    """Yield what gets a section: means over recordings, and who has a ceiling."""
    # Means stand before the recordings that they are of; sets in their order.
    sets, regions = ([*dict.fromkeys(key[i] for key in rankings)] for i in (0, 3))
    ordered = sorted(
        rankings,
        key=lambda k: (
            *(sets.index(k[0]), k[1], k[2], regions.index(k[3])),
            k[4] != MEAN,
        ),
    )
    for key in ordered:
        *_, metric, _, subject = key
        pooled = (*key[:-1], MEAN) in rankings
        ceiling = rankings[key].of(BEST)["ceiling_low"].notna().any()
        if metric != ENCODING_SHARE and (subject == MEAN or not pooled or ceiling):
            yield key, rankings[key]


def _section(
    key: tuple[str, ...],
    ranking: Ranking,
    figures: list[NamedFigure],
    rankings: dict[tuple[str, ...], Ranking],
) -> Section:
    data, analysis, metric, region, subject = key
    rows = ranking.rows
    over = ranking.over.partition(",")[0]
    if analysis == ENCODING:
        text = _ENCODING_TEXT.format(over=over)
    else:
        text = rsa_text(rows.dropna(subset="n_splits"))
    alone = [
        (k[-1], other)
        for k, other in rankings.items()
        if k[:-1] == key[:-1] and k[-1] != MEAN
    ]
    tables = []
    if subject == MEAN and alone:
        text = f"{_POOLED_TEXT.format(n=len(alone))}\n\n{text}"
        tables.append(_by_recording(ranking, alone))
    share = rankings.get((data, analysis, ENCODING_SHARE, region, subject))
    if metric == ENCODING_R and share is not None and subject != MEAN:
        tables.append(_share_table(share))
    section = ranking_section(ranking, text, figures)
    return Section(
        section.title, section.text, section.figures, [*section.tables, *tables]
    )


def _by_recording(ranking: Ranking, alone: list[tuple[str, Ranking]]) -> ReportTable:
    """Return the score and layer of each model in each recording."""
    rows = []
    for model in ranking.order:
        row = {"Model": ranking.labels[model]}
        for subject, other in alone:
            best = other.of(BEST).set_index("model")
            if model not in best.index:
                row[subject] = "–"
                continue
            found = best.loc[model].to_dict()
            value = number_text(float(found["value"]), 3)
            row[subject] = f"{value} {found['layer']}".strip()
        rows.append(row)
    table = pd.DataFrame(rows, columns=["Model", *(s for s, _ in alone)])
    ceilings = []
    for subject, other in alone:
        low = float(other.of(BEST)["ceiling_low"].median())
        known = f"{low:.3f}" if np.isfinite(low) else "unknown"
        ceilings.append(f"{subject} {known}")
    return ReportTable(
        table,
        caption=f"{ranking.score} of the best layer in each recording. Ceilings: "
        f"{', '.join(ceilings)}.",
    )


def _share_table(share: Ranking) -> ReportTable:
    best = share.of(BEST).sort_values("value", ascending=False)
    rows = [
        {
            "Model": share.labels[str(row["model"])],
            "Share": value_text(row, 3),
            "Units": int(row["n_units"]),
        }
        for row in best.to_dict("records")
    ]
    return ReportTable(
        pd.DataFrame(rows, columns=["Model", "Share", "Units"]),
        caption=_SHARE_TEXT.format(lowest=LOWEST_CEILING),
        headers={"Share": "Share of explainable variance"},
    )


def _overview(rankings: dict[tuple[str, ...], Ranking]) -> ReportTable:
    """Return ranks of all models in all rankings that have a section."""
    shown = [
        ranking
        for key, ranking in _shown(rankings)
        if key[-1] == MEAN or (*key[:-1], MEAN) not in rankings
    ]
    models = list(
        dict.fromkeys(
            model
            for ranking in shown
            for model in ranking.order
            if ranking.rows.loc[ranking.rows["model"] == model, "kind"].iloc[0]
            != "packaged"
        )
    )
    labels = {k: v for ranking in shown for k, v in ranking.labels.items()}
    rows = []
    for model in models:
        row = {"Model": labels[model]}
        for ranking in shown:
            best = ranking.of(BEST)
            found = best.loc[best["model"] == model].to_dict("records")
            row[ranking.title] = (
                number_text(float(found[0]["value"]), 3) if found else "–"
            )
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows, columns=["Model", *(r.title for r in shown)]),
        caption="Scores of the best layers; limits, chance and ceilings are below. "
        "Encoding: Pearson r; RSA: similarity of matrices. Models that came with data "
        "are left out here.",
    )
