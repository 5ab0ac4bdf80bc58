"""Tables of a run of encoding models, put together from those of its models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.regions import region_table
from neurovis.core.files import write_table
from neurovis.core.types import SCORE_COLUMNS, Provenance, Score
from tasks.encoding_data import HeldOut
from tasks.encoding_fits import Candidate
from tasks.encoding_run import TASK
from tasks.encoding_scores import BASELINE, PERMUTED, WHOLE, baseline_scores

MEASURES = (
    "r",
    "ceiling_r",
    "r2",
    "ceiling",
    "r2_noise_normalised",
    "cv_score",
)
"""Measures in the table of regions."""

_FIRST = ("data", "subject", "model", "layer", "method")
_EXTRA = ("family", "n_units", "n_defined", "data", "method", "untrained", "simulated")


def model_tables(
    held: HeldOut,
    candidate: Candidate,
    units: pd.DataFrame,
    scored: pd.DataFrame,
    shares: NDArray[np.float64] | None = None,
) -> dict[str, pd.DataFrame]:
    """Return the rows that one model of one subject adds to each table.

    Parameters
    ----------
    held : HeldOut
        What was predicted.
    candidate : Candidate
        Model.
    units : DataFrame
        From `tasks.encoding_scores.unit_table`.
    scored : DataFrame
        From `tasks.encoding_scores.region_scores`.
    shares : ndarray of float64, shape (n_spaces, n_units), optional
        R2 divided among feature spaces.

    Returns
    -------
    dict of str to DataFrame
        "units", "regions", "scores", and with `shares` "spaces".
    """
    names = {
        "data": held.data.responses.name,
        "subject": held.data.subject,
        "model": candidate.model,
        "layer": candidate.layer,
    }
    marks = {"untrained": candidate.is_untrained, "simulated": held.data.is_simulated}
    values = {name: units[name] for name in MEASURES if name in units}
    values["ceiling_r"] = np.sqrt(units["ceiling"])
    tables = {
        "units": units.assign(**names, **marks),
        "regions": _by_region(held, values).assign(**names, **marks),
        "scores": _scored(held, scored).assign(**names, **marks),
    }
    if shares is not None:
        ids = ["unit_id", *held.data.responses.families]
        places = held.data.responses.units[ids]
        spaces = [
            places.assign(**names, space=space, r2_share=share, **marks)
            for space, share in zip(candidate.spaces, shares, strict=True)
        ]
        tables["spaces"] = pd.concat(spaces, ignore_index=True)
    return tables


def baseline_tables(held: HeldOut) -> dict[str, pd.DataFrame]:
    """Return the rows of the baseline of one subject.

    Parameters
    ----------
    held : HeldOut
        What is predicted.

    Returns
    -------
    dict of str to DataFrame
        "scores".
    """
    scored = _scored(held, baseline_scores(held)).assign(
        data=held.data.responses.name,
        subject=held.data.subject,
        model=BASELINE,
        layer="",
        untrained=False,
        simulated=held.data.is_simulated,
    )
    return {"scores": scored}


def _by_region(held: HeldOut, values: Mapping[str, Any]) -> pd.DataFrame:
    responses = held.data.responses
    # A family of its own for all units.
    units = responses.units[list(responses.families)].assign(**{WHOLE: WHOLE})
    table = region_table(values, units, [WHOLE, *responses.families])
    return table.assign(family=table["family"].where(table["family"] != WHOLE, ""))


def _scored(held: HeldOut, scored: pd.DataFrame) -> pd.DataFrame:
    ceiling = scored["ceiling"].to_numpy(np.float64)
    share = np.where(scored["condition"] == PERMUTED, np.nan, ceiling)
    positive = np.where(share > 0, share, np.nan)
    return scored.drop(columns="ceiling").assign(
        ceiling_low=share,
        ceiling_high=share,
        ceiling_kind=held.ceiling_kind,
        value_over_ceiling=scored["value"] / positive,
        n=len(held.table),
    )


def choose_layers(regions: pd.DataFrame) -> pd.DataFrame:
    """Compare the layers of each model within each region.

    Parameters
    ----------
    regions : DataFrame
        The table of regions.

    Returns
    -------
    DataFrame
        One row per subject, model, region and layer: `n_units`, `cv_score` (mean over
        units of what cross-validation within the training rows explained), `r` and
        `r2` (means of held-out pictures), `ceiling_r`, and `chosen`, True for the layer
        with the largest `cv_score` (the first of equal ones), or without any other.
        Held-out pictures have no part in the choice.
    """
    keys = ["data", "subject", "model", "family", "region"]
    wanted = regions[regions["measure"].isin(["cv_score", "r", "r2", "ceiling_r"])]
    marks = ["untrained", "simulated"]
    index = [*keys, "layer", "n_units", *marks]
    wide = wanted.pivot_table(
        index=index, columns="measure", values="mean", sort=False, dropna=False
    )
    order = wanted[index].drop_duplicates()
    table = order.merge(wide.reset_index(), on=index, how="left", sort=False)
    top = table.groupby(keys, sort=False)["cv_score"].transform("max")
    alone = ~table.duplicated(keys, keep=False) & table["r"].notna()
    is_top = (table["cv_score"] == top) | alone
    first = ~table[is_top].duplicated(keys)
    chosen = pd.Series(False, index=table.index)
    chosen[first[first].index] = True
    columns = [*keys, "layer", "n_units", "cv_score", "r", "r2", "ceiling_r"]
    return table.reindex(columns=[*columns, *marks]).assign(chosen=chosen)


def save_tables(
    folder: Path,
    found: Sequence[Mapping[str, pd.DataFrame]],
    stimuli: Mapping[str, str],
    method: str,
    provenance: Provenance,
    *,
    task: str = TASK,
) -> Score:
    """Write the tables of a finished run.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    found : sequence of mapping
        From `model_tables` and `baseline_tables`.
    stimuli : mapping of str to str
        By subject, what was shown.
    method : str
        How models were fitted.
    provenance : Provenance
        How it came about.
    task : str, default "encoding"
        Name of the experiment.

    Returns
    -------
    Score
        Scores of regions.
    """
    joined = {
        name: pd.concat([part[name] for part in found if name in part])
        for name in ("units", "regions", "scores", "spaces")
        if any(name in part for part in found)
    }
    tables = {
        name: table.reset_index(drop=True).assign(method=method)
        for name, table in joined.items()
    }
    for name in ("units", "regions", "spaces"):
        if name in tables:
            rest = [c for c in tables[name] if c not in _FIRST]
            tables[name] = tables[name][[*_FIRST, *rest]]
    tables["layers"] = choose_layers(tables["regions"])
    for name in ("units", "regions", "layers", "spaces"):
        if name in tables:
            write_table(folder / f"{name}.parquet", tables[name])
    scores = tables["scores"].assign(
        task=task,
        stimuli=tables["scores"]["subject"].map(stimuli),
        seed=provenance.seed,
    )
    scores = scores.reindex(columns=[*SCORE_COLUMNS, *_EXTRA])
    score = Score(scores, provenance)
    score.save(folder)
    return score
