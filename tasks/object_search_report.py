"""The report of an object-search run: what was asked, found, and how it came about."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import read_table
from tasks import oat_looks, simulated_search
from tasks.object_models import MODELS
from tasks.object_search_data import LEAKAGE_NOTE
from tasks.object_search_figures import (
    attention_figures,
    curve_figures,
    fold_figures,
    learning_figures,
    scanpath_figures,
    score_figures,
)
from tasks.object_search_scores import LEAVE_ONE_OUT
from tasks.object_search_tables import (
    BEHAVIOUR,
    MULTIMATCH,
    SCANPATHS,
    SEARCH,
    SURPRISE,
    TOLD,
    ObjectRun,
    difference_tables,
    fold_table,
    read_object_run,
    score_table,
    statistics_table,
)
from tasks.report_parts import NamedFigure, save_figures

Figures = Mapping[str, list[NamedFigure]]

_FIRST_WARNINGS = (LEAKAGE_NOTE, simulated_search.NOTE, oat_looks.NOTE)
_PEOPLE_ASK = """\
People looked for one book cover among 84. Which covers do they look at, in which \
order, and when do they stop?"""
_SIMULATED_ASK = """\
Simulated observers looked for one cover on generated shelves. Their rule is known: \
which of the models recovers it, and how much of it?"""
_LEARNT = """\
Each model learnt from some displays, made scanpaths on others, and each of these was \
compared with every scanpath of {who} there. Simple models of tokens and networks also \
give the probability of each next fixation, and of the end."""
_TOGETHER = """\
All trials on a display stay together, in training or in test: observers share \
displays and targets. Standard errors come from resampling displays. {Who} are \
compared with the other observers of the same display."""
_LEAKS = """\
This division leaks: see above. Standard errors come from resampling displays. {Who} \
are compared with the other observers of the same display."""
_NO_PICTURES = """\
The pictures of the displays are not part of the data: they are drawn here as empty \
grids, and no model has seen what people saw."""
_CURVES = """\
Share of scanpaths that have been on the target by each step. Models are told \
different things of the target: there is one figure for each kind, and a model stands \
only beside those of its kind."""
_NO_EQUALS = """\
No heuristic is told what objects look like: those that recognise the target when they \
fixate it are told less, those that know where it is are told more."""
_READING = """\
Compare only equals: a model with those that are told as much of the target. Tables \
are in order of what is told.

Nats per token are the surprise at each next fixation of {who}, and at the end; chance \
there is uniform_tokens, elsewhere chance_uniform; a greedy model has those of the one \
that draws from the same network. SS is the longest common \
subsequence over the greater length; nFED the edit distance over the greater length. \
ScanMatch has threshold 3.5 cells; it and MultiMatch are without durations. Delta \
compares behaviour (below), mismatch the curves to step 30: for {who} themselves both \
are 0. TFP n is the share of scanpaths that have been on the target by step n.

Read SS and ScanMatch together with the curves and the nats: MultiMatch is high for \
reading row by row, STDE and raw edit distances favour short scanpaths, and delta is \
small for scanpaths that are copied from other displays."""
_FOLDS = """\
Each fold is a test set of its own, for which networks are trained anew. How much \
values differ among folds tells how far a single one can be trusted."""
_MOVES = """\
How scanpaths start, move and stop: how far, how often back, and how likely the target \
is to be next when it is near."""
_RECOVERY = """\
The rule of the simulated observers is known: a model that has recovered it agrees \
with their column within the errors of both."""
_ATTENTION = """\
What the networks attended to before a fixation, and where they expected it, at some \
steps of a scanpath. Attention is that of the last layer of the decoder, averaged over \
its heads. It is no proof of what the network uses: other layers pass on what they \
have gathered, and other attention can give the same prediction."""
_SCANPATHS_SHOWN = """\
The first scanpath of each on displays spread over the set; the green box is the \
target. {looks} Models look at the centres of objects. Fixations on one object stand \
beside each other in its box, those that stay there have a ring. Long scanpaths have \
no numbers."""
_EYES = """\
Eye movements: Sattar, Müller, Fritz & Bulling (2015), CVPR. Boxes: Stauden, Barz & \
Sonntag (2018), KI. Licence of the data: CC BY-NC-SA 4.0."""
_SOURCES = """\
OAT, behaviour and delta: Fang, Yu, Zhang, van der Lans & Shi (2024), ECCV. Sequence \
score and target fixation probability: Yang et al. (2020), CVPR. ScanMatch: Cristino \
et al. (2010). MultiMatch: Dewhurst et al. (2012)."""


def write_object_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.object_search.run_object_search`).

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run, or its data are gone.
    """
    made = read_object_run(folder)
    folds = made.table("folds.csv")
    figures = {
        "curves": curve_figures(made),
        "scores": score_figures(made),
        "folds": fold_figures(made, folds),
        "learning": learning_figures(made),
        "attention": attention_figures(made),
        "scanpaths": scanpath_figures(made),
    }
    save_figures(made.run.folder, [item for part in figures.values() for item in part])
    return write_report(
        made.run.folder / "report.html",
        title=f"Search among objects: models and {made.who}",
        summary=_summary(made),
        warnings=_sorted_notes(made)[0],
        sections=[
            *_opening(made),
            *_agreement(made, folds, figures),
            *_networks(made, figures),
            Section("Sources", _SOURCES if made.simulation else f"{_EYES} {_SOURCES}"),
        ],
        provenance=made.run.provenance.to_dict(),
    )


def finish_object_search(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Sequence score, ScanMatch, delta, mean of the curve and nats per token of
        each model, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run, or its data are gone.
    """
    report = write_object_report(folder)
    models = read_table(Path(folder) / "models.csv")
    columns = {
        "SS": "SS",
        "ScanMatch": "ScanMatch",
        "delta": "delta",
        "TFP_nAUC30": "nAUC30",
        "nats_per_token": "nats",
    }
    lines = [f"{'':<32}{'knows':>13}" + "".join(f"{c:>11}" for c in columns.values())]
    for row in models.to_dict("records"):
        values = "".join(
            f"{'-' if pd.isna(row[c]) else format(row[c], '.3f'):>11}" for c in columns
        )
        lines.append(f"  {row['baseline']:<30}{row['knows']:>13}{values}")
    return [*lines, f"report {report}"]


# ----------------------------------------------------------------------- texts


def _told(text: str, made: ObjectRun) -> str:
    return text.replace("{who}", made.who).replace("{Who}", made.who.capitalize())


def _summary(made: ObjectRun) -> str:
    call = made.run.provenance.call
    people = made.run.trials[made.run.trials["model"] == LEAVE_ONE_OUT]
    used = made.n_splits if call["n_splits"] is None else call["n_splits"]
    some = "" if used == made.n_splits else f"{used} of "
    noun = "fold" if made.n_splits == 1 else "folds"
    return (
        f"{len(call['models'])} models, {people['stimulus_id'].nunique()} "
        f"displays, {len(people)} trials of {people['subject'].nunique()} {made.who}; "
        f"left out in turn: {some}{made.n_splits} {noun} ({call['folds']}); "
        f"{call['n_samples']} scanpaths per display; appearance: "
        f"{call['appearance']}; seed {call['seed']}."
    )


def _sorted_notes(
    made: ObjectRun,
) -> tuple[list[str], dict[str, str], list[str]]:
    """Return warnings, what models are, and what else there is to know."""
    warnings: list[str] = []
    described: dict[str, str] = {}
    others: list[str] = []
    models = {m["name"]: m for m in made.run.provenance.call["models"]}
    for note in made.run.provenance.notes:
        name, _, text = note.partition(": ")
        if name not in models:
            (warnings if note in _FIRST_WARNINGS else others).append(note)
            continue
        ours = name in MODELS or _is_oat(models[name])
        if ours and made.run.mark(name) == name:
            described[name] = f"{described.get(name, '')} {text}".strip()
        else:
            warnings.append(note)
    warnings.sort(key=lambda n: _FIRST_WARNINGS.index(n) if n in _FIRST_WARNINGS else 9)
    told = [n for n, m in models.items() if _is_oat(m) and m["knows"] == "position"]
    if told:
        warnings.append(
            f"Told where the target is, and so no models of search: {', '.join(told)}. "
            "Compare them with heuristics that are told the same."
        )
    return warnings, described, others


def _is_oat(model: Mapping[str, Any]) -> bool:
    return model.get("model") == "OAT"


# -------------------------------------------------------------------- sections


def _opening(made: ObjectRun) -> list[Section]:
    """Say what was asked, and of which models."""
    _, described, others = _sorted_notes(made)
    simulated = made.simulation is not None
    parts = [
        f"{_SIMULATED_ASK if simulated else _PEOPLE_ASK} {_told(_LEARNT, made)}",
        _told(_LEAKS if made.leaks else _TOGETHER, made),
        *([] if simulated else [_NO_PICTURES]),
        " ".join(others),
    ]
    knows = made.models.set_index("baseline")["knows"]
    rows = [
        # Notes of heuristics speak of those whom they have learnt from.
        (name, told, described[name].replace("people", made.who))
        for name, told in knows.items()
        if name in described
    ]
    sections = [Section("The question", "\n\n".join(parts))]
    if rows:
        table = pd.DataFrame(rows, columns=["Model", "Told", "What it does"])
        kinds = "; ".join(f"{name}: {text}" for name, text in TOLD.items())
        tables = [ReportTable(table, caption=f"What models are told. {kinds}.")]
        sections.append(Section("Models", tables=tables))
    return sections


def _agreement(made: ObjectRun, folds: pd.DataFrame, figures: Figures) -> list[Section]:
    """Say how well models foretell scanpaths, over all and by fold."""
    looks = (made.models["knows"] == "appearance").any()
    agreement = [
        score_table(made, SURPRISE, "Surprise at each next fixation"),
        score_table(made, SCANPATHS, "Scanpaths"),
        score_table(made, MULTIMATCH, "MultiMatch"),
        score_table(made, SEARCH, "Search"),
    ]
    sections = [
        Section(
            "How soon the target is fixated",
            f"{_CURVES} {_NO_EQUALS}" if looks else _CURVES,
            figures=_items(figures["curves"]),
        ),
        Section(
            f"Agreement with {made.who}",
            _told(_READING, made),
            figures=_items(figures["scores"]),
            tables=[table for table in agreement if len(table.table)],
        ),
    ]
    if figures["folds"]:
        tables = [fold_table(made, folds), *difference_tables(made, folds)]
        figs = _items(figures["folds"])
        sections.append(Section("Folds", _FOLDS, figures=figs, tables=tables))
    behaviour = score_table(
        made,
        BEHAVIOUR,
        "Behaviour, with shares of fixations on an object not seen before, again on "
        "the same object, and on one seen before",
    )
    moves = Section(
        "How each moves and stops",
        f"{_MOVES} {_RECOVERY}" if made.simulation else _MOVES,
        tables=[statistics_table(made), behaviour],
    )
    return [*sections, moves]


def _networks(made: ObjectRun, figures: Figures) -> list[Section]:
    """Show what there is of training, attention and scanpaths."""
    looks = (
        "Shelves are drawn paler than they are."
        if made.simulation
        else "Grids are empty: the pictures are not part of the data."
    )
    parts = {
        "learning": ("How the networks learnt", ""),
        "attention": ("What the networks attend to", _ATTENTION),
        "scanpaths": ("Scanpaths", _SCANPATHS_SHOWN.replace("{looks}", looks)),
    }
    return [
        Section(title, text, figures=_items(figures[name]))
        for name, (title, text) in parts.items()
        if figures[name]
    ]


def _items(figures: list[NamedFigure]) -> list[ReportFigure]:
    return [item for _, item in figures]
