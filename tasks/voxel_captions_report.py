"""The report of captions of the units of an encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_caption_units import (
    plot_concept_rates,
    plot_effective_numbers,
    plot_region_shares,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.adapters.brainscuba import NEAREST, PROJECTION, RAW, SCALED
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import Provenance
from tasks.brainscuba_verdicts import MEAN_SHARE, RETRIEVAL
from tasks.map_figures import draw_map
from tasks.report_parts import NamedFigure, figure_of, save_figures, value_text
from tasks.runs import SCORE_FILES, load_scores
from tasks.voxel_caption_scores import ALL, caption_regions
from tasks.voxel_caption_verdicts import (
    NAMING,
    TRUTHS,
    caption_conclusions,
    naming_rows,
    region_rows,
)
from tasks.voxel_captions import TASK

_TABLES = ("captions.parquet", "units.parquet", "nouns.parquet")
_PEOPLE = "people_share"
_N_CLEAREST, _N_FIRST, _N_NOUNS = 3, 2, 6
_MOST_REGIONS = 12
_METRICS = {
    "people_share_mean": ("Captions with people", 2),
    "people_noun_share_mean": ("Nouns for people", 2),
    "concept_agreement_mean": ("Repeats agree: concepts", 2),
    "noun_jaccard_mean": ("Repeats agree: nouns", 2),
    "effective_number_median": ("Effective number", 1),
    "cosine_mean": ("Cosine", 2),
}

_QUESTION = """\
What makes each unit respond, in words? An encoder gives each unit a direction among \
embeddings of pictures. It is moved to where pictures are, as a weighted mean of the \
embeddings of a bank of pictures, and a captioner says what that embedding shows. Each \
repeat takes another part of the bank.

A caption is a statement of three models (encoder, bank and captioner) about a fourth \
thing. Beside it stand captions of the weights themselves, of the nearest and of a \
random picture: what these say as well owes nothing to the projection."""
_NAMING = """\
Share of captions that name what a unit is known to prefer: by the region that it lies \
in, or by what its encoder prefers among the pictures of a localiser. Chance is that \
of permuted units, with the captions as they are. Limits are Wilson's, over units; \
neighbouring units are not independent, so that limits are too narrow for conclusions \
about other brains."""
_REGIONS = """\
Regions of at least five units; they may overlap, and those of the same units stand \
once. Means over units, median for the effective number, with 95 % limits over units. \
Agreement is that of pairs of repeats: whether they name the same set of concepts, and \
the share of their nouns that both have. Cosine is that of weights and projection."""
_NOUNS = """\
Typical nouns are those whose odds of being named are larger in the region than in all \
other units, sorted by the lower limit of the log odds ratio (above 0); in brackets \
the share of captions elsewhere. Frequent nouns may be so everywhere."""
_EXAMPLES = """\
Not typical units alone: of each region those with the largest cosine of weights and \
projection ({clearest}), whose captions can be trusted most, and the first ones in the \
order of the data ({first}), which nobody chose. Captions are those of the first \
repeat."""
_EFFECTIVE = """\
Effective number: exp of the entropy of the weights over the bank. Near 1 the caption \
is that of the nearest picture, near the size of the bank that of the mean picture, \
whatever the unit. Larger inverse temperatures lower it."""
_MAPS = """\
Shares of captions that name people, on the brain. Files lie in `maps`, beside those \
of each concept, of the effective number and of the agreement of repeats."""
_SOURCES = """\
Luo, Henderson, Tarr & Wehbe (2024), BrainSCUBA: fine-grained natural language \
captions of visual cortex selectivity, ICLR, arXiv:2310.04420. Captioner: Mokady, \
Hertz & Bermano (2021), ClipCap, arXiv:2111.09734. Interval of a share: Wilson (1927), \
J. Am. Stat. Assoc. 22:209-212. Log odds ratio: Haldane (1956), Ann. Hum. Genet. \
20:309-311; Gart & Zweifel (1967), Biometrika 54:181-187."""


@dataclass(frozen=True, eq=False)
class _Run:
    """What `tasks.voxel_captions.caption_voxels` left."""

    folder: Path
    captions: pd.DataFrame
    units: pd.DataFrame
    nouns: pd.DataFrame
    scores: pd.DataFrame
    provenance: Provenance

    @property
    def call(self) -> Mapping[str, Any]:
        """How it was called."""
        return self.provenance.call

    @property
    def mark(self) -> str:
        """What keeps a figure from being taken for more than it is."""
        notes = " ".join(self.provenance.notes).lower()
        return ", ".join(word for word in ("simulated", "untrained") if word in notes)

    def begin(self, text: str) -> str:
        """Return the beginning of a heading."""
        text = f"{self.mark}: {text}" if self.mark else text
        return text[:1].upper() + text[1:]

    @property
    def n_bank(self) -> int:
        """Pictures that a projection is made of."""
        settings, n_bank = self.call["settings"], int(self.call["n_bank"])
        return int(settings["n_images"] or n_bank // settings["n_repeats"])

    def regions(self) -> dict[str, list[int]]:
        """Return the units of each region; those of equal units have one name."""
        families = list(self.call["families"])
        names: dict[tuple[int, ...], str] = {}
        for name, units in caption_regions(self.units, families).items():
            known = names.get(tuple(units))
            # A label tells more than a family that has no other.
            if known is None or known in families:
                names[tuple(units)] = name
        return {name: list(units) for units, name in names.items()}

    def shown_scores(self) -> pd.DataFrame:
        """Return the scores of concepts, and of these regions."""
        known = self.scores["region"].isin(list(self.regions()))
        return self.scores[known | (self.scores["metric"] == NAMING)]

    def told(self) -> list[str]:
        """Return what the limits allow to say."""
        return caption_conclusions(
            self.shown_scores(),
            self.units["effective_number"].to_numpy(np.float64),
            n_bank=self.n_bank,
        )


def write_captions_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.voxel_captions.caption_voxels` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline. Of units on a surface of the fsaverage
        family, ``cortex.html`` beside it shows a map that can be turned.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    ValueError
        If it holds a run of another experiment.
    """
    run = _load(folder)
    check_writable_folder(run.folder)
    naming = [_naming_figure(run, truth) for truth in TRUTHS if _has(run, truth)]
    people, numbers, maps = _people_figure(run), _number_figure(run), _map_figures(run)
    save_figures(run.folder, [*naming, people, numbers, *maps])
    sections = [
        Section("What it is", _QUESTION),
        Section("What the data allow to say", "\n\n".join(run.told())),
    ]
    if naming:
        figures = [item for _, item in naming]
        sections.append(Section("Known preferences", _NAMING, figures=figures))
    clearest, first = f"{_N_CLEAREST} units", f"{_N_FIRST} units"
    examples = _EXAMPLES.format(clearest=clearest, first=first)
    sections += [
        Section("Examples", examples, tables=[_example_table(run)]),
        Section("Nouns", _NOUNS, tables=[_noun_table(run)]),
        Section("Regions", _REGIONS, figures=[people[1]], tables=[_region_table(run)]),
        Section("Pictures that count", _EFFECTIVE, figures=[numbers[1]]),
    ]
    if maps:
        turned = (
            ""
            if not (run.folder / "cortex.html").is_file()
            else (
                "\n\nThe page `cortex.html` beside this report shows the same map on a "
                "cortex that can be turned."
            )
        )
        figures = [item for _, item in maps]
        sections.append(Section("Maps", _MAPS + turned, figures=figures))
    sections.append(Section("Sources", _SOURCES))
    settings = run.call["settings"]
    subject = str(run.scores["subject"].iloc[0])
    return write_report(
        run.folder / "report.html",
        title=run.begin("captions of units"),
        summary=(
            f"{len(run.units)} units{f' of {subject}' if subject else ''}; repeats: "
            f"{settings['n_repeats']}, each from {run.n_bank} of {run.call['n_bank']} "
            f"pictures; inverse temperature {settings['inverse_temperature']:g}; seed "
            f"{run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_captions(folder: str | Path) -> list[str]:
    """Write the report of a run and tell what the data allow to say.

    Parameters
    ----------
    folder : str or Path
        What `tasks.voxel_captions.caption_voxels` wrote.

    Returns
    -------
    list of str
        What limits the run, `tasks.voxel_caption_verdicts.caption_conclusions`, and
        the path of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    ValueError
        If it holds a run of another experiment.
    """
    report = write_captions_report(folder)
    run = _load(folder)
    return [*run.provenance.notes, *run.told(), f"report {report}"]


def _load(folder: str | Path) -> _Run:
    path = check_path("results", folder, kind="folder")
    score = load_scores(path, (*_TABLES, *SCORE_FILES), TASK)
    captions, units, nouns = (read_table(path / name) for name in _TABLES)
    return _Run(path, captions, units, nouns, score.table, score.provenance)


def _has(run: _Run, truth: str) -> bool:
    return bool((run.scores["truth"] == truth).any())


def _naming_figure(run: _Run, truth: str) -> NamedFigure:
    rows = naming_rows(run.scores, truth).rename(columns={"region": "concept"})
    # Where all units stand for one concept, "all" would say the same again.
    if rows["concept"].nunique() == 2:
        rows = rows[rows["concept"] != ALL]
    axes = plot_concept_rates(rows, title=run.begin(f"concepts by {truth}"))
    item = ReportFigure(
        figure_of(axes),
        alt=f"Share of captions that name what {truth} tell, by concept and condition",
        caption=f"{run.begin('share of captions that name the concept told by')} "
        f"{TRUTHS[truth]}, with 95 % limits over units; in brackets the number of "
        "units. Pale: chance, permuted units.",
    )
    return f"naming-{truth}", item


def _people_figure(run: _Run) -> NamedFigure:
    rows = region_rows(run.shown_scores(), "people_share_mean")
    is_all = rows["region"] == ALL
    rest = rows[~is_all].sort_values("value", ascending=False, kind="stable")
    axes = plot_region_shares(
        pd.concat([rows[is_all], rest]),
        label="Captions that name people (share)",
        title=run.begin("people in captions"),
    )
    item = ReportFigure(
        figure_of(axes),
        alt="Share of captions that name people, by region",
        caption=f"{run.begin('share of captions that name people')}, mean over units "
        "with 95 % limits; in brackets the number of units. Regions may overlap.",
    )
    return "people", item


def _number_figure(run: _Run) -> NamedFigure:
    n_bank = max(run.n_bank, 2)
    axes = plot_effective_numbers(
        run.units["effective_number"],
        n_bank=n_bank,
        retrieval=RETRIEVAL,
        mean=max(MEAN_SHARE * n_bank, RETRIEVAL),
        title=run.begin("pictures that count"),
    )
    item = ReportFigure(
        figure_of(axes),
        alt="Histogram of the effective number of pictures over units",
        caption=f"{run.begin('effective number of pictures')}, median over repeats of "
        f"each unit. Shaded: up to {RETRIEVAL:g} pictures, and from "
        f"{number_text(100 * MEAN_SHARE, 0)} % of the bank on. Upright: the median.",
    )
    return "effective-number", item


def _map_figures(run: _Run) -> list[NamedFigure]:
    title = run.begin("people in captions")
    figure = draw_map(
        run.folder / "maps",
        _PEOPLE,
        run.folder / "cortex.html",
        label="Captions that name\npeople (share)",
        title=title,
        note="simulated data" if "simulated" in run.mark else "",
    )
    if figure is None:
        return []
    item = ReportFigure(
        figure,
        alt="Map of the share of captions that name people",
        caption=f"{title}: share of captions; grey: no unit, or no noun in its "
        "captions.",
        wide=True,
        image_format="png",
    )
    return [("map-people", item)]


def _example_table(run: _Run) -> ReportTable:
    first = run.captions[run.captions["repeat"] == 0]
    said = {
        str(name): part.set_index("unit")["caption"]
        for name, part in first.groupby("condition", sort=False)
        if name in (PROJECTION, SCALED, RAW, NEAREST)
    }
    # Of two kinds of raw weights, those with the better chance.
    if SCALED in said:
        said.pop(RAW, None)
    by_unit = run.units.set_index("unit")
    regions = run.regions()
    names = [name for name in regions if name != ALL] or [ALL]
    rows = []
    for region in names[:_MOST_REGIONS]:
        own = by_unit.loc[regions[region]]
        clearest = own["cosine"].sort_values(ascending=False, kind="stable")
        chosen = [(unit, "clear") for unit in clearest.index[:_N_CLEAREST]]
        chosen += [(unit, "first") for unit in own.index[:_N_FIRST]]
        for unit, why in chosen:
            row = {"region": region, "why": why, "unit": own.loc[unit, "unit_id"]}
            row |= {"cosine": own.loc[unit, "cosine"]}
            rows.append(row | {name: told.get(unit) for name, told in said.items()})
    shown = min(len(names), _MOST_REGIONS)
    part = "" if shown == len(names) else f", the first {shown} of {len(names)} regions"
    return ReportTable(
        pd.DataFrame(rows),
        caption=f"{run.begin('captions of units')}{part}; all are in `captions.csv`.",
        headers={
            "region": "Region",
            "why": "Chosen as",
            "unit": "Unit",
            "cosine": "Cosine",
            **{name: name[:1].upper() + name[1:] for name in said},
        },
        formats={"cosine": ".2f"},
    )


def _noun_table(run: _Run) -> ReportTable:
    rows = []
    nouns = run.nouns[run.nouns["region"].isin(list(run.regions()))]
    for region, own in nouns.groupby("region", sort=False):
        typical = own[own["log_odds_low"] > 0].head(_N_NOUNS)
        frequent = own.sort_values("share", ascending=False, kind="stable")
        shares = zip(
            typical["noun"], typical["share"], typical["share_elsewhere"], strict=True
        )
        rows.append(
            {
                "region": region,
                "n_units": own["n_units"].iloc[0],
                "typical": ", ".join(
                    f"{noun} {number_text(here, 2)} ({number_text(there, 2)})"
                    for noun, here, there in shares
                )
                or "–",
                "frequent": ", ".join(
                    f"{noun} {number_text(share, 2)}"
                    for noun, share in frequent[["noun", "share"]]
                    .head(_N_NOUNS)
                    .itertuples(index=False)
                ),
            }
        )
    columns = {
        "region": "Region",
        "n_units": "Units",
        "typical": "Typical: share here (elsewhere)",
        "frequent": "Most frequent: share here",
    }
    return ReportTable(
        pd.DataFrame(rows, columns=list(columns)),
        caption=f"{run.begin('nouns of captions')}, share of captions; with limits in "
        "`nouns.parquet`.",
        headers=columns,
    )


def _region_table(run: _Run) -> ReportTable:
    columns: dict[str, list[Any]] = {}
    for metric, (header, digits) in _METRICS.items():
        rows = region_rows(run.shown_scores(), metric)
        columns.setdefault("Region", rows["region"].tolist())
        columns.setdefault("Units", rows["n"].tolist())
        # One caption of each unit agrees with nothing.
        if rows["value"].notna().any():
            columns[header] = [value_text(row, digits) for _, row in rows.iterrows()]
    return ReportTable(
        pd.DataFrame(columns),
        caption=f"{run.begin('what captions have in common')}, by region. Units: those "
        "with a noun in a caption.",
    )
