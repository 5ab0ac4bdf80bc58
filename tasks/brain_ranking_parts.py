"""Parts of reports that rank models: figures, table and words of one comparison."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_ranking import (
    model_labels,
    plot_difference_matrix,
    plot_layer_curves,
    plot_model_ranking,
)
from analysis.report import ReportFigure, ReportTable, Section
from tasks.encoding_layers import file_name
from tasks.report_parts import NamedFigure, figure_of, value_text
from tasks.rsa_scores import BEST, BOTH, LAYER, OPTIMISTIC, PACKAGED

ALPHA = 0.05
FEW_SUBJECTS = 6
"""With fewer, differences are shown for these subjects too."""

_SUBJECT_MEAN = "mean"
_SMALLEST_P = 1e-4
# Names in tables of encoding models are those of columns.
_CEILINGS = {
    "ncsnr": "noise between repeats, as published: ncsnr",
    "noise_ceiling": "noise between repeats",
}


@dataclass(frozen=True)
class Ranking:
    """Scores of models on one region of one subject, or of several.

    Parameters
    ----------
    title : str
        Heading, such as "objects92: human IT (RSA)".
    score : str
        Printed name of the score.
    rows : DataFrame
        Rows of one metric with the conditions of `tasks.rsa_scores`.
    differences : DataFrame
        Paired differences of the models, perhaps for several values of `over`.
    """

    title: str
    score: str
    rows: pd.DataFrame
    differences: pd.DataFrame

    def of(self, condition: str) -> pd.DataFrame:
        """Return the rows of a condition.

        Parameters
        ----------
        condition : str
            One of `tasks.rsa_scores`.

        Returns
        -------
        DataFrame
            In their order.
        """
        return self.rows[self.rows["condition"] == condition]

    @property
    def over(self) -> str:
        """What was resampled."""
        return str(self.of(BEST)["over"].iloc[0])

    @property
    def comparisons(self) -> pd.DataFrame:
        """Paired differences for conclusions of the same kind as the limits."""
        return self.differences[self.differences["over"] == self.over]

    @property
    def of_these_subjects(self) -> pd.DataFrame:
        """Paired differences for new images and the same few subjects; may be empty."""
        few = self.over == BOTH and self.rows["n_subjects"].max() < FEW_SUBJECTS
        return self.differences[(self.differences["over"] == "images") & few]

    @property
    def labels(self) -> dict[str, str]:
        """Printed names of models."""
        return model_labels(self.rows)

    @property
    def order(self) -> list[str]:
        """Models, the best first; undefined ones last."""
        best = self.of(BEST).sort_values("value", ascending=False, kind="stable")
        return [str(name) for name in best["model"]]


def ranking_figures(ranking: Ranking) -> list[NamedFigure]:
    """Draw layers, best layers and differences.

    Parameters
    ----------
    ranking : Ranking
        What to draw.

    Returns
    -------
    list of tuple of str and ReportFigure
        Names of files and figures.
    """
    name = file_name(ranking.title).lower()
    labels = ranking.labels
    layers = ranking.of(LAYER)
    shown = layers[layers["kind"] != PACKAGED]
    curves = plot_layer_curves(
        shown, ylabel=ranking.score, labels=labels, title=ranking.title
    )
    bars = plot_model_ranking(
        ranking.of(BEST),
        optimistic=ranking.of(OPTIMISTIC),
        xlabel=ranking.score,
        labels=labels,
        muted=ranking.rows.loc[ranking.rows["kind"] == PACKAGED, "model"].unique(),
        title=f"{ranking.title}: best layers",
    )
    figures = [
        (
            f"{name}_layers",
            ReportFigure(
                figure_of(curves),
                alt=f"{ranking.title}: {ranking.score} of every layer against depth",
                caption="Every layer; bands are 95 % intervals. Broken lines are "
                "networks with random weights.",
                wide=True,
            ),
        ),
        (
            f"{name}_best",
            ReportFigure(
                figure_of(bars),
                alt=f"{ranking.title}: {ranking.score} of the best layer of each model",
                caption="Best layers, chosen on other data than those they are scored "
                "on, with 95 % intervals.",
                wide=True,
            ),
        ),
    ]
    if len(ranking.order) > 1:
        same = ranking.over.partition(",")[0].replace("images", "stimuli")
        figures.append(_matrix(ranking, f"{name}_differences", same))
    if len(ranking.of_these_subjects):
        figures.append(_matrix(ranking, f"{name}_differences_stimuli", "stimuli"))
    return figures


def _matrix(ranking: Ranking, name: str, over: str) -> NamedFigure:
    fixed = name.endswith("stimuli")
    matrix = plot_difference_matrix(
        ranking.of_these_subjects if fixed else ranking.comparisons,
        order=ranking.order,
        label=f"Difference of {ranking.score}",
        labels=ranking.labels,
        alpha=ALPHA,
        title=f"{ranking.title}: row minus column" + ", these subjects" * fixed,
    )
    item = ReportFigure(
        figure_of(matrix),
        alt=f"{ranking.title}: paired differences of all models, over {over}",
        caption="Paired differences, row minus column; coloured and bold at a false "
        f"discovery rate below {ALPHA:g}, over resampled {over}"
        + (", for these subjects only." if fixed else "."),
        wide=True,
    )
    return name, item


def ranking_table(ranking: Ranking) -> ReportTable:
    """Return one row per model, the best first.

    Parameters
    ----------
    ranking : Ranking
        What to tell.

    Returns
    -------
    ReportTable
        Best layer and how often it was chosen, score with interval, share of the
        ceiling where there is one, p, and the largest value beside.
    """
    labels = ranking.labels
    best = ranking.of(BEST).set_index("model").to_dict("index")
    luck = ranking.of(OPTIMISTIC).set_index("model").to_dict("index")
    rows = []
    for place, model in enumerate(ranking.order, 1):
        row, top = best[model], luck[model]
        largest = number_text(float(top["value"]), 3)
        rows.append(
            {
                "rank": place,
                "model": labels[model],
                "layer": _layer_text(row),
                "score": value_text(row, 3),
                "share": row["value_over_ceiling"],
                "p": _p_text(row["p_fdr"]),
                "best": largest
                + (f" ({top['layer']})" if top["layer"] != row["layer"] else ""),
            }
        )
    headers = {
        "rank": "Rank",
        "model": "Model",
        "layer": "Layer chosen",
        "score": ranking.score,
        "share": "Part of ceiling",
        "p": "p (FDR)",
        "best": "Largest layer (optimistic)",
    }
    if not np.isfinite(ranking.of(BEST)["value_over_ceiling"]).any():
        del headers["share"]
    caption = [f"{ranking.title}.", ceiling_text(ranking)]
    if ranking.rows["simulated"].any():
        caption.append("The brain is simulated.")
    if ranking.of(BEST)["chosen_share"].lt(1).any():
        caption.append("Layers: the one chosen most often, and how often.")
    kinds = set(ranking.of(BEST)["kind"])
    if "control" in kinds:
        caption.append("“control:” are baselines without learning.")
    if PACKAGED in kinds:
        caption.append("“(of the data)” came with the data.")
    if (
        "share" in headers
        and ranking.of(BEST)["ceiling_high"].gt(ranking.of(BEST)["ceiling_low"]).any()
    ):
        caption.append("Parts are of the lower ceiling.")
    return ReportTable(
        pd.DataFrame(rows)[list(headers)],
        caption=" ".join(caption),
        headers=headers,
        formats={"share": ".2f"} if "share" in headers else {},
    )


def _p_text(p: float) -> str:
    if np.isnan(p):
        return "–"
    return "< 0.0001" if p < _SMALLEST_P else f"{p:.2g}"


def _layer_text(row: dict[Any, Any]) -> str:
    """Return the layer, and how often it was chosen where that varied."""
    always = not row["chosen_share"] < 1
    return str(row["layer"]) + ("" if always else f" ({row['chosen_share']:.0%})")


def ceiling_text(ranking: Ranking) -> str:
    """Tell the ceiling in words.

    Parameters
    ----------
    ranking : Ranking
        Rows with `ceiling_low`, `ceiling_high` and `ceiling_kind`.

    Returns
    -------
    str
        One sentence.
    """
    best = ranking.of(BEST)
    low, high = best["ceiling_low"].median(), best["ceiling_high"].median()
    if not np.isfinite(low):
        return "Ceiling: unknown (one subject without repeats, or not for all)."
    kind = str(best["ceiling_kind"].dropna().iloc[0])
    kind = _CEILINGS.get(kind, kind)
    span = number_text(float(low), 3)
    if high > low:
        span += f" to {number_text(float(high), 3)}"
    return f"Ceiling: {span} ({kind})."


def ranking_section(ranking: Ranking, text: str, figures: list[NamedFigure]) -> Section:
    """Return a section of a report.

    Parameters
    ----------
    ranking : Ranking
        What it is about.
    text : str
        What a reader must know.
    figures : list of tuple of str and ReportFigure
        From `ranking_figures`.

    Returns
    -------
    Section
        Words, figures and table.
    """
    return Section(
        ranking.title,
        text,
        figures=[item for _, item in figures],
        tables=[ranking_table(ranking)],
    )


def best_lines(ranking: Ranking) -> list[str]:
    """Tell the ranking in lines of text.

    Parameters
    ----------
    ranking : Ranking
        What to tell.

    Returns
    -------
    list of str
        Heading with the ceiling, then one line per model.
    """
    labels = ranking.labels
    best = ranking.of(BEST).set_index("model")
    lines = [f"{ranking.title}: {ranking.score}. {ceiling_text(ranking)}"]
    for model in ranking.order:
        row = best.loc[model]
        lines.append(f"  {labels[model]:<36}{value_text(row, 3):<26}{row['layer']}")
    return lines


def subject_text(subject: str) -> str:
    """Return a subject as part of a heading.

    Parameters
    ----------
    subject : str
        As in tables.

    Returns
    -------
    str
        "" for the mean.

    Examples
    --------
    >>> subject_text("mean"), subject_text("WE 190923")
    ('', ', WE 190923')
    """
    return "" if subject == _SUBJECT_MEAN else f", {subject}"
