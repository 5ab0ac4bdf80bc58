"""The report of captions of simulated voxels whose concepts are known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_braindive import plot_label_matrix
from analysis.plots_captions import plot_inverse_temperatures, plot_naming_rates
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.adapters.brainscuba import BASELINES, NEAREST, PROJECTION, RAW, SCALED
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import Provenance
from tasks.brainscuba_scores import CHOSEN, PICTURES, SHUFFLED, TASK
from tasks.brainscuba_verdicts import (
    concept_names,
    conclusions,
    noise_levels,
    score_rows,
)
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)
from tasks.runs import SCORE_FILES, load_scores

_TABLES = ("captions.parquet", "encoders.parquet")
_BEFORE = (*BASELINES, SHUFFLED)
_SHOWN = (PROJECTION, *_BEFORE, PICTURES)
_FITTED = (RAW, SCALED, NEAREST)
_COMPARED = (SCALED, NEAREST)
_TITLES = {"": "a weak penalty", CHOSEN: "the penalty chosen"}
_N_EXAMPLES = 2
NOTHING = "none"
"""Column of captions that name no concept."""

_QUESTION = """\
An encoder on embeddings gives each voxel a direction among embeddings, which is not \
the embedding of any picture. Does a captioner name what the voxel prefers when that \
direction is moved to where pictures are, as a weighted mean of the embeddings of a \
bank of pictures? And would the weights themselves, or the nearest picture, do as well?

Every voxel here prefers one kind of drawing, by declaration: the truth is known. A \
caption is right if it has a word of that concept. Controls are voxels whose responses \
were shuffled over the drawings before the fit, and random pictures of the bank."""
_HOW = """\
Limits are 95 %: Wilson's for shares, percentiles of a bootstrap over voxels for \
differences and for the effective number of pictures. Voxels of a brain share \
drawings, bank and captioner: limits over voxels do not speak of other drawings, so \
that each brain stands apart in a second table. Nothing is corrected for the number of \
comparisons.

Effective number: exp of the entropy of the weights over the bank. Near 1 the \
projection is the nearest picture; near the size of the bank, the mean picture. \
Cosine: of the weights and their projection."""
_ENCODERS = """\
Encoders are ridge regressions of a weak penalty ({penalty}). \
Beside them stand encoders whose penalty was chosen for each voxel by \
cross-validation. The stronger a penalty is, the closer the weights come to a sum of \
embeddings of pictures, weighted by responses, which a captioner may read as they \
are."""
_CHANCE = """\
Concepts that a caption names, on average: {means}. Chance is {chance} where it names \
one, and as many times that as it names concepts."""
_MATRIX = """\
What captions of the projection name, by what the voxels prefer. A caption that names \
two concepts counts for both."""
_SOURCES = """\
Luo, Henderson, Tarr & Wehbe (2024), BrainSCUBA: fine-grained natural language \
captions of visual cortex selectivity, ICLR, arXiv:2310.04420. Captioner: Mokady, \
Hertz & Bermano (2021), ClipCap, arXiv:2111.09734. Interval of a share: Wilson (1927), \
J. Am. Stat. Assoc. 22:209-212.

Voxels, drawings and captions are of simulations. They tell whether the method can \
name what is known, and nothing about a brain."""


@dataclass(frozen=True, eq=False)
class _Run:
    """What `tasks.brainscuba_experiment.run_brainscuba` left."""

    folder: Path
    captions: pd.DataFrame
    encoders: pd.DataFrame
    scores: pd.DataFrame
    provenance: Provenance

    @property
    def settings(self) -> dict[str, Any]:
        """Size of the experiment."""
        return dict(self.provenance.call["settings"])

    @property
    def beta(self) -> float:
        """The inverse temperature of controls and comparisons."""
        return float(self.settings["inverse_temperature"])

    @property
    def chance(self) -> float:
        """Share of captions that are right if each names any one concept."""
        return 1 / len(concept_names(self.scores))

    def told(self) -> list[str]:
        """Return what the limits allow to say."""
        return conclusions(
            self.scores,
            inverse_temperature=self.beta,
            n_bank=int(self.settings["n_bank"]),
        )

    def columns(self) -> list[tuple[str, str, float | None]]:
        """Return header, condition and inverse temperature of columns of tables."""
        betas = sorted(float(b) for b in self.settings["inverse_temperatures"])
        found: list[tuple[str, str, float | None]] = [(n, n, None) for n in _BEFORE]
        found += [(f"projection, {beta:g}", PROJECTION, beta) for beta in betas]
        found.append((PICTURES, PICTURES, None))
        name = f"projection, {self.beta:g}{CHOSEN}"
        found.append((name, PROJECTION + CHOSEN, self.beta))
        found += [(n + CHOSEN, n + CHOSEN, None) for n in _FITTED]
        known = set(self.scores["condition"])
        return [column for column in found if column[1] in known]


def write_brainscuba_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.brainscuba_experiment.run_brainscuba` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    ValueError
        If it holds a run of another experiment.
    """
    run = _load(folder)
    check_writable_folder(run.folder)
    rates, temperatures = _rate_figure(run), _temperature_figure(run)
    matrix = _matrix_figure(run)
    save_figures(run.folder, [rates, temperatures, matrix])
    settings = run.settings
    n_brains, n_voxels = int(settings["n_brains"]), int(settings["n_voxels"])
    encoders = _ENCODERS.format(penalty=f"{settings['penalty']:g}")
    brain = "1 brain" if n_brains == 1 else f"{n_brains} brains"
    sections = [
        Section("The question", _QUESTION),
        Section("What the data allow to say", "\n\n".join(run.told())),
        Section(
            "How often the concept is named",
            "\n\n".join((_HOW, encoders, _chance_text(run))),
            figures=[rates[1]],
            tables=[_rate_table(run), _brain_table(run)],
        ),
        Section(
            "Inverse temperature",
            figures=[temperatures[1]],
            tables=[_effective_table(run)],
        ),
        Section("Words by concept", _MATRIX, figures=[matrix[1]]),
        Section("Examples", _example_text(), tables=[_example_table(run)]),
        Section("Encoders", tables=[_encoder_table(run)]),
        Section("Sources", _SOURCES),
    ]
    return write_report(
        run.folder / "report.html",
        title="Simulated voxels, told in words",
        summary=(
            f"Simulated: {brain}, {n_voxels} voxels for each of "
            f"{len(concept_names(run.scores))} concepts; encoders fitted to "
            f"{settings['n_training']} drawings, a bank of {settings['n_bank']} "
            f"others; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_brainscuba(folder: str | Path) -> list[str]:
    """Write the report of a run and tell what the data allow to say.

    Parameters
    ----------
    folder : str or Path
        What `tasks.brainscuba_experiment.run_brainscuba` wrote.

    Returns
    -------
    list of str
        What limits the run, `tasks.brainscuba_verdicts.conclusions`, and the path of
        the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    ValueError
        If it holds a run of another experiment.
    """
    report = write_brainscuba_report(folder)
    run = _load(folder)
    return [*run.provenance.notes, *run.told(), f"report {report}"]


def _load(folder: str | Path) -> _Run:
    path = check_path("results", folder, kind="folder")
    score = load_scores(path, (*_TABLES, *SCORE_FILES), TASK)
    captions, encoders = (read_table(path / name) for name in _TABLES)
    return _Run(path, captions, encoders, score.table, score.provenance)


def _rows(
    run: _Run, metric: str, encoder: str = "", *, by_brain: bool = False
) -> pd.DataFrame:
    """Return all conditions of one kind of encoder, at the chosen temperature."""
    tables = []
    for name in _SHOWN:
        beta = run.beta if name == PROJECTION else None
        own = score_rows(
            run.scores,
            metric,
            name + encoder,
            inverse_temperature=beta,
            by_brain=by_brain,
        )
        tables.append(own.assign(condition=name))
    return pd.concat(tables)


def _rate_figure(run: _Run) -> NamedFigure:
    n_brains = int(run.settings["n_brains"])
    rows = {encoder: _rows(run, "naming_rate", encoder) for encoder in _TITLES}
    rows = {encoder: own for encoder, own in rows.items() if len(own)}
    grid = axes_grid(len(rows), len(rows), (5.6, 5.4))
    for axes, (encoder, own) in zip(grid, rows.items(), strict=True):
        parts = _rows(run, "naming_rate", encoder, by_brain=True)
        plot_naming_rates(
            own,
            parts=parts if n_brains > 1 else None,
            chance=run.chance,
            columns=2,
            title=f"Simulated voxels: {_TITLES[encoder]}",
            ax=axes,
        )
    dots = "; small marks are single brains" if n_brains > 1 else ""
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Share of captions that name the concept, by noise and condition",
        caption="Simulated voxels: share of captions that name the concept of the "
        f"voxel, projection at inverse temperature {run.beta:g}, with 95 % limits over "
        f"voxels{dots}.",
        wide=True,
    )
    return "naming", item


def _temperature_figure(run: _Run) -> NamedFigure:
    grid = axes_grid(2, 2, (5.2, 4.8))
    n_bank = int(run.settings["n_bank"])
    baselines = [score_rows(run.scores, "naming_rate", name) for name in _COMPARED]
    plot_inverse_temperatures(
        score_rows(run.scores, "naming_rate", PROJECTION),
        label="Captions that name the concept (share)",
        baselines=pd.concat(baselines),
        chance=run.chance,
        marked=run.beta,
        title="Simulated voxels: concepts that are named",
        ax=grid[0],
    )
    plot_inverse_temperatures(
        score_rows(run.scores, "effective_number", PROJECTION),
        label="Effective number of pictures (median)",
        bounds={"the nearest picture": 1, "all of the bank": n_bank},
        marked=run.beta,
        logarithmic=True,
        title="Simulated voxels: pictures that count",
        ax=grid[1],
    )
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Naming rate and effective number of pictures by inverse temperature",
        caption="Simulated voxels: naming rate (left) and pictures that count (right) "
        "by inverse temperature, with 95 % limits over voxels; steps are equal. Broken "
        f"lines: {_COMPARED[0]}, and {_COMPARED[1]}, in the colour of the noise. Pale "
        "band: the temperature of controls and comparisons.",
        wide=True,
    )
    return "temperature", item


def _matrix_figure(run: _Run) -> NamedFigure:
    levels, concepts = noise_levels(run.scores), concept_names(run.scores)
    noise = levels[len(levels) // 2]
    own = _captions_of(run, PROJECTION, noise, run.beta)
    rows: list[tuple[str, str, float]] = []
    for concept in concepts:
        named = own.loc[own["region"] == concept, "named"].fillna("").str.split(",")
        rows += [
            (concept, name, float(np.mean([name in words for words in named])))
            for name in concepts
        ]
        rows.append((concept, NOTHING, float(np.mean([w == [""] for w in named]))))
    table = pd.DataFrame(rows, columns=["name", "label", "share"])
    if not table.loc[table["label"] == NOTHING, "share"].any():
        table = table[table["label"] != NOTHING]
    axes = plot_label_matrix(
        table,
        label="What captions name",
        title=f"Simulated voxels, noise {noise:g}, inverse temperature {run.beta:g}",
    )
    axes.set_ylabel("What voxels prefer")
    item = ReportFigure(
        figure_of(axes),
        alt="Share of captions that name each concept, by concept of the voxel",
        caption="Simulated voxels: share of captions that name each concept, at noise "
        f"{noise:g} and inverse temperature {run.beta:g}, all brains. Framed: the "
        "concept that the voxel prefers.",
    )
    return "words", item


def _captions_of(
    run: _Run, condition: str, noise: float, beta: float | None = None
) -> pd.DataFrame:
    table = run.captions
    is_own = (table["condition"] == condition) & (table["repeat"] == 0)
    is_own &= table["noise_sd"] == noise
    if beta is not None:
        is_own &= table["inverse_temperature"] == beta
    return table[is_own]


def _chance_text(run: _Run) -> str:
    own = run.captions[run.captions["repeat"] == 0]
    n_named = (
        own["named"].fillna("").map(lambda names: len(set(names.split(",")) - {""}))
    )
    means = n_named.groupby(own["condition"], sort=False).mean()
    told = ", ".join(
        f"{name} {number_text(means[name], 2)}" for name in _SHOWN if name in means
    )
    return _CHANCE.format(means=told, chance=number_text(run.chance, 2))


def _rate_table(run: _Run) -> ReportTable:
    levels = [f"noise {level:g}" for level in noise_levels(run.scores)]
    rows = []
    for header, condition, beta in run.columns():
        own = score_rows(run.scores, "naming_rate", condition, inverse_temperature=beta)
        texts = [value_text(row, 2) for _, row in own.iterrows()]
        told = dict(zip(levels, texts, strict=True))
        rows.append({"condition": _header(header), **told})
    return ReportTable(
        pd.DataFrame(rows),
        caption="Simulated voxels: share of captions that name the concept, with 95 % "
        f"limits over all voxels; chance {number_text(run.chance, 2)}. Projections by "
        f"inverse temperature; {SHUFFLED} at {run.beta:g}.",
        headers={"condition": "Condition"} | {name: _header(name) for name in levels},
    )


def _brain_table(run: _Run) -> ReportTable:
    keys = ["noise_sd", "brain"]
    rows = _rows(run, "naming_rate", by_brain=True)
    names = list(dict.fromkeys(rows["condition"]))
    wide = rows.pivot_table(index=keys, columns="condition", values="value")[names]
    return ReportTable(
        wide.reset_index(),
        caption="Simulated voxels: each brain apart, projection at inverse temperature "
        f"{run.beta:g}.",
        headers={"noise_sd": "Noise", "brain": "Brain"}
        | {name: _header(name) for name in names},
        formats={"noise_sd": "g"} | dict.fromkeys(names, ".2f"),
    )


def _header(name: str) -> str:
    return name[:1].upper() + name[1:]


def _effective_table(run: _Run) -> ReportTable:
    keys, digits = (
        ["noise_sd", "inverse_temperature"],
        {"effective_number": 1, "cosine": 2},
    )
    found = {name: score_rows(run.scores, name, PROJECTION) for name in digits}
    places = found["effective_number"][keys].sort_values(keys)
    columns = {
        name: [
            value_text(row, digits[name]) for _, row in own.sort_values(keys).iterrows()
        ]
        for name, own in found.items()
    }
    return ReportTable(
        places.assign(**columns),
        caption="Simulated voxels: pictures that count (median of voxels), of "
        f"{run.settings['n_bank']}, and cosine of weights and projection (mean).",
        headers={
            "noise_sd": "Noise",
            "inverse_temperature": "Inverse temperature",
            "effective_number": "Effective number",
            "cosine": "Cosine",
        },
        formats=dict.fromkeys(keys, "g"),
    )


def _example_text() -> str:
    return (
        f"The first {_N_EXAMPLES} voxels of each concept in the first brain, at each "
        "noise: nobody chose them. A cross stands before captions that do not name the "
        "concept."
    )


def _example_table(run: _Run) -> ReportTable:
    brain = run.captions["brain"].min()
    shown = {PROJECTION: run.beta, RAW: None, NEAREST: None}
    rows = []
    for concept in concept_names(run.scores):
        for noise in noise_levels(run.scores):
            parts = {}
            for condition, beta in shown.items():
                own = _captions_of(run, condition, noise, beta)
                own = own[(own["brain"] == brain) & (own["region"] == concept)]
                parts[condition] = own.sort_values("unit").head(_N_EXAMPLES)
            texts = {name: _caption_texts(part) for name, part in parts.items()}
            for place, unit in enumerate(parts[PROJECTION]["unit_id"]):
                row = {"concept": concept, "noise": f"{noise:g}", "voxel": unit}
                rows.append(row | {name: own[place] for name, own in texts.items()})
    return ReportTable(
        pd.DataFrame(rows),
        caption=f"Simulated voxels: captions, projection at inverse temperature "
        f"{run.beta:g}.",
        headers={"concept": "Concept", "noise": "Noise", "voxel": "Voxel"}
        | {name: _header(name) for name in shown},
    )


def _caption_texts(own: pd.DataFrame) -> list[str]:
    return [
        text if correct else f"✗ {text}"
        for text, correct in zip(own["caption"], own["correct"], strict=True)
    ]


def _encoder_table(run: _Run) -> ReportTable:
    table = run.encoders
    return ReportTable(
        table.assign(share=table["test_r"] / table["ceiling"]),
        caption="Simulated voxels: how well encoders predict responses to drawings "
        "that they were not fitted to (Pearson r, mean over voxels).",
        headers={
            "encoder": "Encoder",
            "noise_sd": "Noise",
            "brain": "Brain",
            "test_r": "Test r",
            "ceiling": "Ceiling",
            "share": "Share of the ceiling",
        },
        formats={"noise_sd": "g", "test_r": ".3f", "ceiling": ".3f", "share": ".2f"},
    )
