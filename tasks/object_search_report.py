"""The report of an object-search run: texts, tables, provenance."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.object_scanpaths import KNOWLEDGE
from neurovis.core.types import HUMAN_MODEL
from tasks import oat_looks, simulated_search
from tasks.object_models import MODELS
from tasks.object_search import load_object_run
from tasks.object_search_data import LEAKAGE_NOTE, PUBLISHED_FOLDS
from tasks.object_search_figures import (
    SHOWN,
    TOLD,
    ObjectRun,
    attention_figures,
    curve_figures,
    fold_figures,
    learning_figures,
    scanpath_figures,
    score_figures,
)
from tasks.object_search_inputs import read_source, search_data, split_data
from tasks.object_search_scores import LEAVE_ONE_OUT, LEAVE_ONE_OUT_RAW
from tasks.report_parts import NamedFigure, save_figures
from tasks.simulated_search import SimulatedSearch

_FIRST_WARNINGS = (LEAKAGE_NOTE, simulated_search.NOTE, oat_looks.NOTE)
# Trained models stand beside these in each fold: reference and measure.
_COMPARED = (
    ("human_nearest_target", "SS"),
    ("human_nearest_target", "ScanMatch"),
    ("displacement_jump_tokens", "nats_per_token"),
)
_MOST_FOLDS = 12
_NAMES = {"SS": "SS", "ScanMatch": "ScanMatch", "nats_per_token": "nats"}
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
different things of the target: one figure for each kind, and none of another kind in \
it."""
_READING = """\
Nats per token is the surprise at each next fixation, and at the end, of {who}; chance \
there is `uniform_tokens`, elsewhere `chance_uniform`. SS is the longest common \
subsequence over the greater length; nFED the edit distance over the greater length; \
ScanMatch has threshold 3.5 cells and no durations; MultiMatch has no durations either. \
Delta compares the five shares and means of behaviour; TFP n is the share of scanpaths \
that have been on the target by step n.

Compare only equals: a model with those that are told as much of the target. Rows are \
in order of what is told, which is part of every table.

Read SS and ScanMatch together with the curves and the nats: MultiMatch is higher for \
reading row by row than for people, STDE and raw edit distances favour short \
scanpaths, and delta is small for human scanpaths from other displays."""
_MOVES = """\
How scanpaths start, move and stop: how far, how often back, and how likely the target \
is to be next when it is near. {more}"""
_RECOVERY = """\
The rule of the simulated observers is known: a model that has recovered it agrees with \
their column within the errors of both."""
_ATTENTION = """\
What the networks attended to before a fixation, and where they expected it, at some \
steps of a scanpath. Attention is that of the last layer of the decoder, averaged over \
its heads. It is no proof of what the network uses: other layers pass on what they have \
gathered, and other attention can give the same prediction."""
_EYES = """\
Eye movements: Sattar, Müller, Fritz & Bulling (2015), CVPR. Boxes: Stauden, Barz & \
Sonntag (2018), KI. Licence of the data: CC BY-NC-SA 4.0."""
_SOURCES = """\
OAT, behaviour and delta: Fang, Yu, Zhang, van der Lans & Shi (2024), ECCV. Sequence \
score and target fixation probability: Yang et al. (2020), CVPR. ScanMatch: Cristino \
et al. (2010). MultiMatch: Dewhurst et al. (2012)."""
_SCANPATHS = {
    "nats_per_token": ("Nats per token (less is better)", 3),
    "SS": ("SS", 3),
    "nFED": ("nFED (less is better)", 3),
    "ScanMatch": ("ScanMatch", 3),
    "STDE": ("STDE", 3),
}
_MULTIMATCH = {
    "MM_vector": ("Vector", 3),
    "MM_direction": ("Direction", 3),
    "MM_length": ("Length", 3),
    "MM_position": ("Position", 3),
    "MM_avg": ("Mean", 3),
}
_SEARCH = {
    "delta": ("Delta (less is better)", 3),
    "TFP10": ("TFP 10", 3),
    "TFP20": ("TFP 20", 3),
    "TFP30": ("TFP 30", 3),
    "TFP_nAUC30": ("Mean of the curve to step 30", 3),
    "prob_mismatch30": ("Mismatch of curves (less is better)", 2),
}
_BEHAVIOUR = {
    "correct": ("Ends on target", 3),
    "length": ("Fixations", 2),
    "search": ("New object", 3),
    "refix": ("Same object", 3),
    "revisit": ("Seen before", 3),
}
_STATISTICS = {
    "n_fixations": ("Fixations", 1),
    "ends_on_target": ("Scanpaths that end on the target", 2),
    "refixation": ("Transitions that stay on the object", 3),
    "revisit": ("Transitions back to an object", 3),
    "saccade_down": ("Saccade, up or down (cells)", 2),
    "saccade_right": ("Saccade, left or right (cells)", 2),
    "saccade": ("Saccade (cells)", 2),
    "target_from_1": ("Transitions to the target from 1 cell away", 3),
    "target_from_2": ("from 2", 3),
    "target_from_3": ("from 3", 3),
    "target_from_4": ("from 4", 3),
    "stop_on_target": ("Fixations on the target that are the last", 3),
    "stop_elsewhere": ("Fixations elsewhere that are the last", 3),
    "start_down": ("First fixation, share of the height", 3),
    "start_right": ("First fixation, share of the width", 3),
}


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
    made, splits = _read(folder)
    folds = made.table("folds.csv")
    some_folds = folds["split"].nunique() > 1
    figures = {
        "curves": curve_figures(made),
        "scores": score_figures(made),
        "folds": fold_figures(made, folds) if some_folds else [],
        "learning": learning_figures(made),
        "attention": attention_figures(made),
        "scanpaths": scanpath_figures(made),
    }
    save_figures(made.run.folder, [item for part in figures.values() for item in part])
    return write_report(
        made.run.folder / "report.html",
        title=f"Search among objects: models and {made.who}",
        summary=_summary(made, splits),
        warnings=_warnings(made),
        sections=[
            *_opening(made),
            *_agreement(made, figures),
            *([_folds(made, folds, figures["folds"])] if some_folds else []),
            _moves(made),
            *_networks(made, figures),
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


def _read(folder: str | Path) -> tuple[ObjectRun, int]:
    """Return a run, its models in order of what they know, and how many splits are."""
    run = load_object_run(folder)
    check_writable_folder(run.folder)
    models = read_table(check_path("models.csv", run.folder / "models.csv"))
    order = {name: place for place, name in enumerate((HUMAN_MODEL, *KNOWLEDGE))}
    models = models.sort_values("knows", key=lambda k: k.map(order), kind="stable")
    call = run.provenance.call
    source = read_source(call["data"])
    everything = search_data(source, call["appearance"])
    data, splits = split_data(everything, call["folds"], seed=call["seed"])
    simulation = source if isinstance(source, SimulatedSearch) else None
    return ObjectRun(run, models.reset_index(drop=True), data, simulation), len(splits)


# ----------------------------------------------------------------------- texts


def _told(text: str, made: ObjectRun) -> str:
    return text.replace("{who}", made.who).replace("{Who}", made.who.capitalize())


def _summary(made: ObjectRun, splits: int) -> str:
    call = made.run.provenance.call
    people = made.run.trials[made.run.trials["model"] == LEAVE_ONE_OUT]
    some = call["n_splits"] if call["n_splits"] not in (None, splits) else None
    noun = "fold" if splits == 1 else "folds"
    text = f"{splits} {noun}" if some is None else f"{some} of {splits} {noun}"
    return (
        f"{len(call['models'])} models, {people['stimulus_id'].nunique()} "
        f"displays, {len(people)} trials of {people['subject'].nunique()} {made.who}; "
        f"left out in turn: {text} ({call['folds']}); {call['n_samples']} scanpaths "
        f"per display; appearance: {call['appearance']}; seed {call['seed']}."
    )


def _is_known(name: str, made: ObjectRun) -> bool:
    """Whether notes of a model describe it, and warn of nothing."""
    oat = [m["name"] for m in made.run.provenance.call["models"] if _is_oat(m)]
    return name in MODELS or (name in oat and made.run.mark(name) == name)


def _is_oat(model: dict[str, object]) -> bool:
    return model.get("model") == "OAT"


def _warnings(made: ObjectRun) -> list[str]:
    """Notes that are no descriptions of models, the most important ones first."""
    run, call = made.run, made.run.provenance.call
    notes = [n for n in run.provenance.notes if not _is_known(n.split(": ")[0], made)]
    first = [note for note in _FIRST_WARNINGS if note in notes]
    told = [
        m["name"] for m in call["models"] if _is_oat(m) and m["knows"] == "position"
    ]
    if told:
        first.append(
            f"{', '.join(told)}: told where the target is, so that it is no model of "
            "search. Compare it with heuristics that are told the same."
        )
    return [*first, *(note for note in notes if note not in first)]


def _opening(made: ObjectRun) -> list[Section]:
    call = made.run.provenance.call
    simulated = made.simulation is not None
    parts = [
        f"{_SIMULATED_ASK if simulated else _PEOPLE_ASK} {_told(_LEARNT, made)}",
        _told(_LEAKS if call["folds"] in PUBLISHED_FOLDS else _TOGETHER, made),
    ]
    if not simulated:
        parts.append(_NO_PICTURES)
    notes = (note.split(": ", 1) for note in made.run.provenance.notes if ": " in note)
    said = {name: text for name, text in notes if _is_known(name, made)}
    knows = made.models.set_index("baseline")["knows"]
    rows = [
        # Notes of heuristics speak of those whom they have learnt from.
        (name, knows[name], said[name].replace("people", made.who))
        for name in knows.index
        if name in said
    ]
    table = pd.DataFrame(rows, columns=["Model", "Told", "What it does"])
    kinds = "; ".join(f"{name}: {text}" for name, text in TOLD.items())
    tables = [ReportTable(table, caption=f"What a model is told. {kinds}.")]
    return [
        Section("The question", "\n\n".join(parts)),
        *([Section("Models", tables=tables)] if rows else []),
    ]


def _agreement(made: ObjectRun, figures: dict[str, list[NamedFigure]]) -> list[Section]:
    tables = [
        _table(made, _SCANPATHS, "Scanpaths, and the surprise of tokens"),
        _table(made, _MULTIMATCH, "MultiMatch"),
        _table(made, _SEARCH, "Search"),
    ]
    return [
        Section(
            "How soon the target is fixated", _CURVES, figures=_items(figures["curves"])
        ),
        Section(
            f"Agreement with {made.who}",
            _told(_READING, made),
            figures=_items(figures["scores"]),
            tables=tables,
        ),
    ]


def _networks(made: ObjectRun, figures: dict[str, list[NamedFigure]]) -> list[Section]:
    """What is there of training, attention and displays; and the sources."""
    looks = (
        "Shelves are drawn as they are made. Fixations"
        if made.simulation
        else "Grids are empty: the pictures are not part of the data. Fixations"
    )
    parts = {
        "learning": ("How the networks learnt", ""),
        "attention": ("What the networks attend to", _ATTENTION),
        "scanpaths": (
            "Scanpaths",
            f"The first scanpath of each on displays spread over the set. {looks} on "
            "one object stand beside each other in its box. Long scanpaths have no "
            "numbers.",
        ),
    }
    sources = _SOURCES if made.simulation else f"{_EYES} {_SOURCES}"
    return [
        *(
            Section(title, text, figures=_items(figures[name]))
            for name, (title, text) in parts.items()
            if figures[name]
        ),
        Section("Sources", sources),
    ]


def _items(figures: list[NamedFigure]) -> list[ReportFigure]:
    return [item for _, item in figures]


# ---------------------------------------------------------------------- tables


def _label(name: str, made: ObjectRun) -> str:
    """Return a model as tables print it."""
    labels = {
        LEAVE_ONE_OUT: f"{made.who}, leave one out",
        LEAVE_ONE_OUT_RAW: f"{made.who}, where exactly they looked",
        HUMAN_MODEL: made.who,
    }
    return labels.get(name, made.run.mark(name))


def _table(
    made: ObjectRun, columns: dict[str, tuple[str, int]], title: str
) -> ReportTable:
    """Values with standard errors, models in order of what they are told."""
    rows = []
    for row in made.models.to_dict("records"):
        name = row["baseline"]
        # Simulated observers look at the centres of objects.
        again = name == LEAVE_ONE_OUT_RAW and made.simulation is not None
        if again or all(pd.isna(row[metric]) for metric in columns):
            continue
        texts = {
            header: _with_error(row[metric], row[f"{metric}_se"], digits)
            for metric, (header, digits) in columns.items()
        }
        told = "–" if row["knows"] == HUMAN_MODEL else row["knows"]
        rows.append({"Model": _label(name, made), "Told": told, **texts})
    return ReportTable(
        pd.DataFrame(rows),
        caption=f"{title}: mean over trials of {made.who} ± standard error over "
        "displays.",
    )


def _with_error(value: float, error: float, digits: int) -> str:
    text = number_text(value, digits)
    return text if pd.isna(value) or pd.isna(error) else f"{text} ± {error:.{digits}f}"


def _folds(made: ObjectRun, folds: pd.DataFrame, figures: list[NamedFigure]) -> Section:
    tables = [_fold_table(made, folds), *_difference_tables(made, folds)]
    return Section(
        "Folds",
        "Each fold is a test set of its own, and networks are trained anew for it. "
        "How much values differ among folds tells how far a single one can be trusted.",
        figures=_items(figures),
        tables=tables,
    )


def _fold_table(made: ObjectRun, folds: pd.DataFrame) -> ReportTable:
    rows = []
    for model in made.models["baseline"]:
        part = folds[folds["model"] == model]
        texts = {}
        for metric, name in _NAMES.items():
            values = part.loc[part["metric"] == metric, "value"].to_numpy(float)
            values = values[np.isfinite(values)]
            spread = values.std(ddof=1) if len(values) > 1 else np.nan
            texts[name] = _with_error(_mean(values), spread, 3)
            low, high = (values.min(), values.max()) if len(values) else (np.nan,) * 2
            texts[f"{name}, range"] = _range(low, high)
        if model != LEAVE_ONE_OUT_RAW:
            rows.append({"Model": _label(model, made), **texts})
    return ReportTable(
        pd.DataFrame(rows),
        caption="Mean over folds ± standard deviation over folds, and from the lowest "
        "to the highest fold. Folds differ in size, so that their mean is not quite "
        "the mean over trials.",
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _range(low: float, high: float) -> str:
    if np.isnan(low):
        return "–"
    return f"{number_text(low, 3)} to {number_text(high, 3)}"


def _difference_tables(made: ObjectRun, folds: pd.DataFrame) -> list[ReportTable]:
    """Trained models less a reference, fold by fold, where both are there."""
    rows = []
    for model in made.own:
        for reference, metric in _COMPARED:
            part = folds[folds["metric"] == metric]
            wide = part.pivot_table(
                index="split", columns="model", values="value", sort=False
            )
            if model not in wide or reference not in wide or model == reference:
                continue
            less = (wide[model] - wide[reference]).dropna()
            won = int((less < 0 if metric == "nats_per_token" else less > 0).sum())
            spread = less.std(ddof=1) if len(less) > 1 else np.nan
            row = {
                "Model": _label(model, made),
                "Less": reference,
                "Measure": _NAMES[metric],
                "Mean": _with_error(float(less.mean()), spread, 3),
                "Better in": f"{won} of {len(less)}",
            }
            if len(wide) <= _MOST_FOLDS:
                row |= {str(name): number_text(v, 3) for name, v in less.items()}
            rows.append(row)
    if not rows:
        return []
    return [
        ReportTable(
            pd.DataFrame(rows),
            caption="Difference in each fold ± standard deviation over folds. Both "
            "references are told where the target is; for nats, less is better.",
        )
    ]


def _moves(made: ObjectRun) -> Section:
    table = made.table("statistics.csv")
    there = set(table["model"])
    chosen = [HUMAN_MODEL, *dict.fromkeys([*made.own, *SHOWN])]
    if not made.own and not there & set(SHOWN):
        chosen += list(made.models["baseline"])
    rows = []
    cells = table.set_index(["statistic", "model"])[["value", "standard_error"]]
    for statistic, (name, digits) in _STATISTICS.items():
        row = {"Statistic": name}
        for model in chosen:
            if model in there:
                value, error = cells.loc[(statistic, model)]
                row[_label(model, made)] = _with_error(value, error, digits)
        rows.append(row)
    caption = (
        "Mean ± standard error as if all cases were independent: true errors are "
        "larger. Other models are in statistics.csv."
    )
    return Section(
        "How each moves and stops",
        _MOVES.replace("{more}", _RECOVERY if made.simulation else "").strip(),
        tables=[
            ReportTable(pd.DataFrame(rows), caption=caption),
            _table(
                made,
                _BEHAVIOUR,
                "Behaviour, with shares of fixations on an object not seen before, "
                "again on the same object, and on one seen before",
            ),
        ],
    )
