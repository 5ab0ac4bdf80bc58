"""Metamers of models: pictures that share pooled statistics, and trials with them.

Every sample starts from noise or from a texture of its own, and is changed until its
statistics in all pooling windows are those of its original, as Freeman and Simoncelli
(2011), doi:10.1038/nn.2889, made pictures of their model.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.picture_folder import open_picture_folder
from neurovis.core.checks import check_option, check_path
from neurovis.core.device import resolve
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import plain, read_json, read_table, write_json, write_table
from neurovis.core.provenance import collect
from neurovis.core.types import Provenance, StimulusSet
from stimuli.abx import (
    COMPARISONS,
    export_abx_jspsych,
    export_abx_psychopy,
    make_abx_trials,
)
from stimuli.frequency_filters import grey_of
from stimuli.save import load_stimuli, picture_hash, save_stimuli
from tasks.foveation_systems import as_squares
from tasks.metamer_design import MetamerDesign, pooled_statistics
from tasks.metamer_samples import VERSION, Sample, make_samples
from tasks.runs import begin_run

TASK = "make-metamers"
EXPORTS = ("psychopy", "jspsych")
"""Programs that trials are written for."""

STIMULI, TRIALS, ABOUT = "stimuli", "trials.csv", "metamers.json"
CURVES, ERRORS = "curves.parquet", "errors.parquet"
_GUESSED = (
    "The viewing distance was not given: the pictures are taken to span 26 degrees."
)
_APPROXIMATE = (
    "Approximate: these samples have the local statistics of the fast transform alone, "
    "and were not refined towards those of the model."
)
_COLOUR = (
    "The three colour channels were matched one by one: how they go together is not "
    "among the statistics."
)

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Metamers:
    """Pictures and trials of an experiment with metamers.

    Parameters
    ----------
    folder : Path
        Where they lie.
    stimuli : StimulusSet
        Originals and samples. Its table has `stimulus_id`, `image` (base picture),
        `kind` ("original" or "sample"), `scale`, `sample` (from 1; 0 for originals),
        `model`, `n_steps` (taken), `loss_start`, `loss_final` (sums of squared
        relative errors), `error_start`, `error_final` (relative error of the family
        that is farthest off), `worst_statistic` (which one), `converged` (1 when
        `error_final` is within the tolerance, otherwise 0); NaN where it does not
        apply.
    trials : DataFrame
        ABX trials, as of `stimuli.abx.make_abx_trials`.
    curves : DataFrame
        Descent: `stimulus_id`, `scale`, and the columns of a curve of
        `neurovis.foveation.refine.Refinement`.
    errors : DataFrame
        Per sample and family: `stimulus_id`, `scale`, `statistic`, `start`, `final`:
        relative errors of the start, and of the finished 8-bit picture.
    provenance : Provenance
        How they came about.
    """

    folder: Path
    stimuli: StimulusSet
    trials: pd.DataFrame
    curves: pd.DataFrame
    errors: pd.DataFrame
    provenance: Provenance

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The rows of the samples."""
        table = self.stimuli.table
        return table[table["kind"] == "sample"].reset_index(drop=True)

    @property
    def design(self) -> MetamerDesign:
        """What was asked for."""
        return MetamerDesign.from_parameters(self.provenance.call)


def make_metamers(
    folder: str | Path,
    out: str | Path,
    design: MetamerDesign | None = None,
    *,
    exports: Sequence[str] = (),
    device: str = "auto",
) -> Metamers:
    """Make metamers of the pictures of a folder; run again after an interruption.

    Parameters
    ----------
    folder : str or Path
        Base pictures, in sub-folders too.
    out : str or Path
        Where to write; made when missing.
    design : MetamerDesign, optional
        What to make.
    exports : sequence of str
        "psychopy", "jspsych": also write trials for these programs, into folders of
        these names.
    device : str, default "auto"
        Where to compute.

    Returns
    -------
    Metamers
        The finished set.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, two pictures would get one name, or `out` holds
        another run.
    FileNotFoundError, DataCorruptError
        If the folder or a picture is missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError, OSError
        If `out` cannot be written.

    Notes
    -----
    The folder gets ``stimuli/`` (see `stimuli.save`), ``trials.csv``,
    ``curves.parquet``, ``errors.parquet`` and ``metamers.json``. Finished samples are
    kept in ``parts/``. A sample of refined statistics need not be a metamer: the notes
    and the column `converged` tell.
    """
    design = design or MetamerDesign()
    for name in exports:
        check_option("exports", name, EXPORTS)
    place = resolve(device)
    pictures, labels = open_picture_folder(folder)
    names = _image_names(labels["stimulus_id"].tolist())
    squares = as_squares(pictures, design.size_px)
    originals = [grey_of(one) if design.grey else one for one in squares]
    hashes = [picture_hash(one) for one in originals]
    pooled_statistics(design, design.scales[0])  # refused before anything is written
    arguments = plain(
        {
            "task": TASK,
            "version": VERSION,
            "pictures": [list(pair) for pair in zip(names, hashes, strict=True)],
            **design.parameters,
        }
    )
    home = begin_run(out, arguments)
    bases = dict(zip(names, originals, strict=True))
    made = make_samples(bases, design, home / "parts", place)
    stimuli, curves, errors = _gathered(bases, made, design)
    comparisons = COMPARISONS if design.n_samples > 1 else COMPARISONS[:1]
    trials = make_abx_trials(
        stimuli.table,
        comparisons=comparisons,
        n_per_pair=design.n_per_pair,
        seed=design.seed,
    )
    save_stimuli(stimuli, home / STIMULI)
    for name, table in ((TRIALS, trials), (CURVES, curves), (ERRORS, errors)):
        write_table(home / name, table)
    writers = {"psychopy": export_abx_psychopy, "jspsych": export_abx_jspsych}
    for name in exports:
        if not (home / name).exists():  # an export is whole or absent
            writers[name](trials, stimuli, home / name)
    provenance = collect(
        design.seed,
        device=place,
        fingerprints={"stimuli": stimuli.fingerprint},
        call=arguments,
        notes=_notes(stimuli.table, design),
    )
    write_json(home / ABOUT, provenance.to_dict())
    return Metamers(home, stimuli, trials, curves, errors, provenance)


def load_metamers(folder: str | Path) -> Metamers:
    """Open what `make_metamers` finished.

    Parameters
    ----------
    folder : str or Path
        Its folder.

    Returns
    -------
    Metamers
        The set; pictures are read when asked for.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished set.
    DataCorruptError
        If a file is damaged.
    """
    home = check_path("stimuli", folder, kind="folder")
    absent = [n for n in (ABOUT, TRIALS, CURVES, ERRORS) if not (home / n).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{home} holds no finished set of metamers: {absent[0]} is missing. Run "
            f"`neurovis stimuli metamers FOLDER --out {home}` (again) to finish it."
        )
    about = read_json(home / ABOUT)
    try:
        provenance = Provenance.from_dict(about)
        MetamerDesign.from_parameters(provenance.call)
    except (TypeError, KeyError, ValueError) as error:
        raise DataCorruptError(
            f"{home / ABOUT} does not describe a set of metamers: {error}"
        ) from error
    trials, curves, errors = (read_table(home / n) for n in (TRIALS, CURVES, ERRORS))
    # Names such as "1001" come back from CSV as numbers.
    names = ["image", "a", "b", "x", "first_in_pair"]
    trials[names] = trials[names].astype(str)
    stimuli = load_stimuli(home / STIMULI)
    return Metamers(home, stimuli, trials, curves, errors, provenance)


def convergence(metamers: Metamers) -> pd.DataFrame:
    """Tell how near the samples of each scale came to the statistics.

    Parameters
    ----------
    metamers : Metamers
        A set.

    Returns
    -------
    DataFrame
        One row per scale: `scale`, `n_samples`, `n_converged`, `median_error`,
        `largest_error` (relative errors of the family that is farthest off) and
        `worst_statistic` (the commonest of these families).
    """
    rows = []
    for scale, part in metamers.samples.groupby("scale"):
        worst = Counter(part["worst_statistic"])
        rows.append(
            {
                "scale": scale,
                "n_samples": len(part),
                "n_converged": int(part["converged"].sum()),
                "median_error": part["error_final"].median(),
                "largest_error": part["error_final"].max(),
                "worst_statistic": min(worst, key=lambda k: (-worst[k], k)),
            }
        )
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------- tables


def _gathered(
    originals: Mapping[str, Image], made: Sequence[Sample], design: MetamerDesign
) -> tuple[StimulusSet, pd.DataFrame, pd.DataFrame]:
    """Lay out pictures by base picture, the original first."""
    nothing = dict.fromkeys(
        ("scale", "n_steps", "loss_start", "loss_final", "error_start", "error_final"),
        np.nan,
    )
    rows: list[dict[str, Any]] = []
    pictures, curves, errors = [], [], []
    for image, original in originals.items():
        label = {"stimulus_id": image, "image": image, "kind": "original"}
        rows.append({**label, "sample": 0, "model": design.model, **nothing})
        pictures.append(original)
        for one in made:
            if one.image != image:
                continue
            rows.append(_row(one, design))
            pictures.append(one.picture)
            mark: Any = {"stimulus_id": one.name, "scale": one.scale}
            if len(one.curve):
                curves.append(one.curve.assign(**mark))
            errors.append(one.errors.assign(**mark))
    table = pd.DataFrame(rows)
    order = ["stimulus_id", "image", "kind", "scale"]
    table = table[order + [c for c in table.columns if c not in order]]
    empty = pd.DataFrame(
        {"stimulus_id": pd.Series(dtype=str), "scale": [], "step": [], "loss": []}
    )
    tables = [
        part[["stimulus_id", "scale", *part.columns.drop(["stimulus_id", "scale"])]]
        for part in (
            pd.concat(curves, ignore_index=True) if curves else empty,
            pd.concat(errors, ignore_index=True),
        )
    ]
    name = f"metamers of {design.model}"
    stimuli = StimulusSet(name, table, design.viewing, pictures)
    return stimuli, tables[0], tables[1]


def _row(one: Sample, design: MetamerDesign) -> dict[str, Any]:
    worst = one.errors.iloc[int(one.errors["final"].argmax())]
    start, final = (one.errors[k].to_numpy() for k in ("start", "final"))
    return {
        "stimulus_id": one.name,
        "image": one.image,
        "kind": "sample",
        "scale": one.scale,
        "sample": one.number,
        "model": design.model,
        "n_steps": float(one.curve["change"].notna().sum()) if len(one.curve) else 0.0,
        "loss_start": float((start**2).sum()),
        "loss_final": float((final**2).sum()),
        "error_start": float(start.max()),
        "error_final": float(worst["final"]),
        "worst_statistic": str(worst["statistic"]),
        "converged": float(worst["final"] <= design.tolerance),
    }


def _notes(table: pd.DataFrame, design: MetamerDesign) -> list[str]:
    samples = table[table["kind"] == "sample"]
    n, k = len(samples), int(samples["converged"].sum())
    errors = samples["error_final"]
    notes = [_APPROXIMATE] if design.n_steps == 0 else []
    within = f"every family of statistics within {100 * design.tolerance:g} %"
    if k == n:
        text = f"All {n} samples are metamers of the {design.model} model: {within}"
    else:
        text = (
            f"{k} of {n} samples are metamers of the {design.model} model ({within}); "
            f"the other {n - k} are NOT"
        )
        if design.n_steps:
            text += ", and more steps are needed"
    notes.append(
        f"{text}. The family that is farthest off is {100 * errors.median():.1f} % off "
        f"in the median, {100 * errors.max():.1f} % at most, measured in the 8-bit "
        "pictures."
    )
    if not design.grey:
        notes.append(_COLOUR)
    if design.px_per_deg is None:
        notes.append(_GUESSED)
    return notes


def _image_names(identities: Sequence[str]) -> list[str]:
    """Return names of base pictures that can be part of names of files."""
    names: list[str] = []
    seen: dict[str, str] = {}
    for identity in identities:
        stem = Path(identity).with_suffix("").as_posix()
        name = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-")
        if not name:
            raise ValueError(
                f"{identity!r} has neither letter nor digit in its name: rename it."
            )
        other = seen.setdefault(name.lower(), identity)
        if other != identity:
            raise ValueError(
                f"{identity!r} and {other!r} would both be called {name!r}: rename one."
            )
        names.append(name)
    return names
