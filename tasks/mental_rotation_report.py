"""The report of a mental rotation run: accuracy and cost by angle, beside people."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.plots_directions import plot_directions
from analysis.plots_mental_rotation import (
    plot_accuracy_by_angle,
    plot_cost_by_angle,
    plot_rotation_slopes,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import HUMAN_MODEL
from stimuli.block_sets import make_rotation_pairs
from tasks.mental_rotation import DIRECTIONS_FILE, LATENT, TASK
from tasks.mental_rotation_trials import plan_mental_rotation
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)
from tasks.runs import Run, load_run

_QUESTION = """\
Two block figures stand side by side: is it the same object, turned, or its mirror \
image? The time that people need grows by the same amount with every degree, whether \
the object is turned in the plane of the picture or in depth, as if they turned one \
until it fits the other.

"embedding": the answer is "same" above a threshold of the cosine of two embeddings; \
the cost is the negative cosine. "siamese": a small head is trained to compare \
embeddings; the cost is the negative logit of "same". "latent": a network makes a \
volume of each picture, and one is turned in steps until it matches the other or half \
a turn is over; the cost is the time of the steps. "voxel": the same with volumes of \
the objects themselves, with noise. "ideal" compares the objects themselves, "chance" \
tosses a coin. Thresholds and heads are fitted on other objects than those of the \
test, and on no mirror image of them."""

_SOURCES = """\
People: Shepard and Metzler (1971), Science 171:701-703, \
doi:10.1126/science.171.3972.701, eight observers, 1600 pairs each; Cooper and Shepard \
(1973), Memory & Cognition 1:246-250, doi:10.3758/BF03198104, rotated letters; Ganis \
and Kievit (2015), Journal of Open Psychology Data 3:e3, doi:10.5334/jopd.ai, shaded \
figures turned about the vertical axis. Their numbers are recalled; none is a \
threshold here."""

_SHOWN_FIRST = ("voxel", "ideal", "chance", "people")


def write_mental_rotation_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.mental_rotation.run_mental_rotation`).

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    run = load_run(folder, TASK)
    directions = read_table(run.folder / DIRECTIONS_FILE)
    check_writable_folder(run.folder)
    shown = shown_observers(run.scores)
    figures = {
        "pairs": [_pair_figure(run)],
        "accuracy": _by_angle(run, shown, "accuracy"),
        "cost": _by_angle(run, shown, "cost"),
        "slopes": _slope_figures(run, shown),
        "directions": _direction_figures(directions, run, shown),
    }
    save_figures(run.folder, [item for part in figures.values() for item in part])
    call = run.provenance.call
    n_test = run.trials["stimulus_id"].nunique()
    return write_report(
        run.folder / "report.html",
        title="Mental rotation: models and people",
        summary=(
            f"{run.trials['model'].nunique()} observers, {n_test} test pairs of "
            f"{run.trials['object'].nunique()} objects that nothing was fitted on, "
            f"angles {min(call['angles_deg']):g} to {max(call['angles_deg']):g} "
            f"degrees; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=[
            Section("The question", _QUESTION),
            Section("Pairs", figures=[item for _, item in figures["pairs"]]),
            Section(
                "Accuracy",
                "Of each network the layer is shown whose threshold or head did best "
                "on the training pairs.",
                figures=[item for _, item in figures["accuracy"]],
                tables=[_accuracy_table(run)],
            ),
            Section(
                "Cost",
                "A cost is no time: compare its shape over angles, not its size.",
                figures=[item for _, item in [*figures["cost"], *figures["slopes"]]],
                tables=[_cost_table(run)],
            ),
            Section(
                "What people do",
                "A claim holds where the 95 % interval of the number leaves out 0 on "
                "the side of people.",
                figures=[item for _, item in figures["directions"]],
                tables=[_direction_table(directions)],
            ),
            Section("Sources", _SOURCES),
        ],
        provenance=run.provenance.to_dict(),
    )


def finish_mental_rotation(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Accuracy and linearity of the shown observers, directions, and the path of
        the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_mental_rotation_report(folder)
    run = load_run(folder, TASK)
    directions = read_table(run.folder / DIRECTIONS_FILE)
    lines = ["mental rotation: correct (%); r² of cost by angle in depth, in the plane"]
    for subject in shown_observers(run.scores):
        own = run.scores[run.scores["subject"] == subject]
        by = own.set_index(["metric", "condition"])["value"]
        r2 = [by.get(("cost_r2", k), np.nan) for k in ("depth", "picture-plane")]
        texts = ["–" if np.isnan(value) else f"{value:.2f}" for value in r2]
        verdicts = directions[_is_shown(directions, run, [subject])]["verdict"]
        told = f"{(verdicts == 'holds').sum()} of {len(verdicts)} claims about people"
        lines.append(
            f"  {_label(own, subject):<52}{100 * by['accuracy', 'all']:5.1f}  "
            f"{'  '.join(texts)}  {told if len(verdicts) else ''}".rstrip()
        )
    return [*lines, f"report {report}"]


def shown_observers(scores: pd.DataFrame) -> list[str]:
    """Choose one layer per model and readout, by the training pairs.

    Parameters
    ----------
    scores : DataFrame
        Scores of a run.

    Returns
    -------
    list of str
        Names in `subject`: people, baselines and the surrogate, then for each readout
        and model the layer with the largest training accuracy (the first of equals).
    """
    fixed = scores[scores["readout"].isin(_SHOWN_FIRST)]["subject"].unique()
    fitted = scores[
        (scores["metric"] == "training_accuracy")
        & ~scores["readout"].isin(_SHOWN_FIRST)
    ]
    best = fitted.sort_values("value", ascending=False, kind="stable")
    best = best.drop_duplicates(["model", "readout"])
    chosen = fitted[fitted["subject"].isin(best["subject"])]
    return [*fixed, *chosen.sort_values("readout", kind="stable")["subject"]]


def _pair_figure(run: Run) -> NamedFigure:
    """Show same and different pairs at three angles."""
    call = run.provenance.call
    names = ("rotations", "angles_deg", "pairs_per_angle", "training_pairs_per_angle")
    trials = plan_mental_rotation(
        call["n_objects"],
        seed=call["seed"],
        apart_from=call.get("apart_from", ()),
        **{name: call[name] for name in names},
    )
    angles = call["angles_deg"]
    wanted = sorted({angles[0], angles[len(angles) // 2], angles[-1]})
    pairs = trials.test[trials.test["angle_deg"].isin(wanted)]
    keys = ["rotation", "truth", "angle_deg"]
    pairs = pairs.drop_duplicates(keys).sort_values(keys[:2], kind="stable")
    stimuli = make_rotation_pairs(pairs.reset_index(drop=True), side_by_side=True)
    grid = axes_grid(len(stimuli), len(wanted), (3.1, 1.75))
    for i, (axes, row) in enumerate(
        zip(grid, stimuli.table.to_dict("records"), strict=True)
    ):
        axes.imshow(stimuli.load(i))
        axes.set_axis_off()
        kind = str(row["rotation"]).replace("-", " ")
        axes.set_title(f"{kind}, {row['angle_deg']:g}°: {row['truth']}", fontsize=9)
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Pairs of block figures, the same object or its mirror image, turned",
        caption="Test pairs: the same object or its mirror image, turned in depth "
        "about the vertical axis or in the plane of the picture.",
        wide=True,
        image_format="png",
    )
    return "pairs", item


def _by_angle(run: Run, shown: list[str], what: str) -> list[NamedFigure]:
    """One figure per readout of networks and rotation, with people and surrogate."""
    scores = run.scores[run.scores["subject"].isin(shown)]
    references = (
        ["voxel", "people"]
        if what == "cost"
        else ["voxel", "ideal", "chance", "people"]
    )
    looking = [
        r for r in ("embedding", "siamese", LATENT) if (scores["readout"] == r).any()
    ]
    items = []
    for readout in looking or [""]:
        part = scores[scores["readout"].isin([readout, *references])]
        if what == "cost":
            known = part["metric"] == "mean_cost"
            part = part[known & part["value"].notna()]
        for rotation in run.provenance.call["rotations"]:
            if not (part["rotation"] == rotation).any():
                continue
            words = rotation.replace("-", " ")
            title = f"{words}, {readout}" if readout else words
            if what == "cost":
                axes = plot_cost_by_angle(part, rotation=rotation, title=title)
            else:
                axes = plot_accuracy_by_angle(part, rotation=rotation, title=title)
            item = ReportFigure(
                figure_of(axes),
                alt=f"{what.capitalize()} against angle, {title}",
                caption=f"{what.capitalize()} by angle, {title}. Bars: 95 % intervals "
                "over objects (of people: over participants).",
            )
            items.append((f"{what}_{rotation}_{readout}".rstrip("_"), item))
    return items


def _slope_figures(run: Run, shown: list[str]) -> list[NamedFigure]:
    scores = run.scores[run.scores["subject"].isin(shown)]
    labels = {
        "cost_r2": "r² of the line through costs of same pairs",
        "error_growth": "Growth of errors in same pairs over 180 degrees",
    }
    items = []
    for metric, label in labels.items():
        rows = scores[(scores["metric"] == metric) & scores["value"].notna()]
        if rows.empty:
            continue
        axes = plot_rotation_slopes(scores, metric=metric)
        axes.set_xlabel(label)
        item = ReportFigure(
            figure_of(axes),
            alt=f"{label}, by observer and rotation",
            caption=f"{label}.",
            wide=True,
        )
        items.append((metric, item))
    return items


def _is_shown(directions: pd.DataFrame, run: Run, shown: list[str]) -> pd.Series:
    own = run.scores[run.scores["subject"].isin(shown)]
    pairs = set(
        zip(own["model"] + ", " + own["readout"], own["layer"].fillna(""), strict=True)
    )
    layers = directions["layer"].fillna("")
    marks = [pair in pairs for pair in zip(directions["model"], layers, strict=True)]
    return pd.Series(marks, directions.index, dtype=bool)


def _direction_figures(
    directions: pd.DataFrame, run: Run, shown: list[str]
) -> list[NamedFigure]:
    """Numbers without unit only: slopes of costs would not fit one axis."""
    rows = directions[_is_shown(directions, run, shown)]
    rows = rows[rows["claim"].str.contains("errors|r²")]
    if rows.empty:
        return []
    texts = rows["model"] + ": " + rows["claim"].str.replace("picture plane", "plane")
    axes = plot_directions(
        rows.assign(claim=texts),
        equal_within=0.0,
        label="Difference from 0 (or r² − 0.9)",
    )
    item = ReportFigure(
        figure_of(axes),
        alt="Errors and linearity beside the direction that people show",
        caption="Pale: the side of people. Filled: the interval leaves out 0.",
        wide=True,
    )
    return [("directions", item)]


def _accuracy_table(run: Run) -> ReportTable:
    scores = run.scores
    columns = {"all": "All", "depth": "Depth", "picture-plane": "Plane"}
    rows = []
    for subject, part in scores.groupby("subject", sort=False):
        accuracy = part[part["metric"] == "accuracy"].set_index("condition")
        row = {"observer": _label(part, str(subject))}
        for condition, name in columns.items():
            if condition in accuracy.index:
                row[name] = value_text(accuracy.loc[condition], 2)
        fitted = part[part["metric"] == "training_accuracy"]["value"]
        row["Training"] = f"{fitted.iloc[0]:.2f}" if len(fitted) else "–"
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows).fillna("–"),
        caption="Share of right answers with 95 % intervals; chance is 0.5. Training: "
        "balanced, on the pairs that the threshold or head was fitted on.",
        headers={"observer": "Observer"},
    )


def _cost_table(run: Run) -> ReportTable:
    metrics = {
        "slope_ms_per_deg": ("ms/degree after mapping", 1),
        "cost_r2": ("r²", 2),
        "different_minus_same": ("different minus same (cost)", 3),
    }
    rows = []
    scores = run.scores[run.scores["rotation"] != ""]
    scores = scores[scores["angle_deg"].isna()]
    for (subject, rotation), part in scores.groupby(
        ["subject", "rotation"], sort=False
    ):
        by = part.set_index("metric")
        if by["value"].isna()["cost_slope"]:
            continue
        row = {
            "observer": _label(part, str(subject)),
            "rotation": str(rotation).replace("-", " "),
        }
        for metric, (name, digits) in metrics.items():
            row[name] = value_text(by.loc[metric], digits)
        whole = run.scores[run.scores["subject"] == subject].set_index("metric")
        ratio = "–"
        if "slope_ratio" in whole.index:
            ratio = value_text(whole.loc["slope_ratio"], 2)
        row["slope depth / plane"] = ratio
        rows.append(row)
    names = ["observer", "rotation", *(name for name, _ in metrics.values())]
    return ReportTable(
        pd.DataFrame(rows, columns=[*names, "slope depth / plane"]),
        caption="Lines through the mean costs of same pairs, with 95 % intervals. "
        "People: 17 to 18 ms/degree and a ratio near 1 (recalled).",
        headers={"observer": "Observer", "rotation": "Rotation"},
    )


def _direction_table(directions: pd.DataFrame) -> ReportTable:
    rows = directions.assign(
        observer=directions["model"]
        + np.where(directions["layer"].fillna("") != "", " " + directions["layer"], "")
        + np.where(directions["untrained"], " (untrained)", ""),
        number=[
            value_text(
                {"value": r["difference"], "ci_low": r["ci_low"],
                 "ci_high": r["ci_high"]}, 3
            )
            for _, r in directions.iterrows()
        ],
    )  # fmt: skip
    columns = ["observer", "claim", "people", "source", "number", "verdict"]
    return ReportTable(
        rows[columns],
        caption="Models beside what is known of people.",
        headers={name: name.capitalize() for name in columns},
    )


def _label(part: pd.DataFrame, subject: str) -> str:
    if part["model"].iloc[0] == HUMAN_MODEL:
        return "people"
    return subject + (" (untrained)" if part["untrained"].iloc[0] else "")
