"""One table of scores and one of differences from encoding and RSA runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.encoding_comparison import (
    EncodingComparison,
    compare_encoding,
    pool_recordings,
)
from analysis.multiple_tests import fdr_adjusted
from neurovis.core.regions import region_mask
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS
from tasks.brain_sources import LEAVE_ONE_OUT
from tasks.encoding_run import EncodingRun
from tasks.encoding_scores import HELD_OUT, PERMUTED, WHOLE
from tasks.feature_specs import FeatureSpec
from tasks.rsa_scores import BEST, CKA, LAYER, OPTIMISTIC, kind_of

ENCODING, RSA = "encoding", "rsa"
"""Values of `analysis`."""

ENCODING_R, ENCODING_SHARE = "encoding_r", "encoding_explained_share"
"""Metrics of encoding models: mean r over units, and ``r**2`` over the ceiling."""

MEAN = "mean"
"""What `subject` is for several."""

LOWEST_CEILING = 0.1
"""Units with a smaller share of explainable variance are left out of shares."""

KEYS = ("data", "analysis", "metric", "region", "subject")
"""What tells one ranking from another."""

SHARED = "shared_images"
"""Column before pooling: whether subjects were scored on some of the same images."""

_POOLED = "{}, mean over recordings"
_NORMAL = 1.959964  # a 95 % interval in standard errors
_EXTRA = (
    *("data", "analysis", "kind", "depth", "untrained", "simulated", "n_subjects"),
    *("n_units", "over", "n_splits", "standard_error", "degrees_of_freedom"),
    *("chosen_share", "p_value", "p_fdr", "p_family", "chance_low", "chance_high"),
    "rank",
)
_COMPARED = (
    *KEYS,
    *("model_a", "layer_a", "model_b", "layer_b", "difference", "standard_error"),
    *("degrees_of_freedom", "ci_low", "ci_high", "p_value", "p_fdr", "over", "n"),
)


@dataclass(frozen=True)
class RankingSettings:
    """How encoding models are compared.

    Parameters
    ----------
    over : {"both", "images", "units"}
        What is resampled, as `analysis.encoding_comparison.compare_encoding`.
    n_bootstrap : int
        Number of resamples.
    seed : int
        Seed of the draws.
    """

    over: str = "both"
    n_bootstrap: int = 1000
    seed: int = 0

    @property
    def told(self) -> str:
        """What is resampled, in words."""
        return "images and units" if self.over == "both" else self.over


def encoding_tables(
    run: EncodingRun,
    specs: Sequence[FeatureSpec],
    depths: Mapping[str, Mapping[str, float]],
    name: str,
    regions: Sequence[str] | None,
    settings: RankingSettings,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return scores and differences of encoding models.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.
    specs : sequence of FeatureSpec
        Its features.
    depths : mapping of str to mapping of str to float
        Depth of each layer (`tasks.rsa_scores.depths_of`), by title of the model.
    name : str
        Data set, in tables.
    regions : sequence of str or None
        Regions; all units as one by default.
    settings : RankingSettings
        How models are compared.

    Returns
    -------
    scores, comparisons : DataFrame
        Rows per subject, see `tasks.brain_ranking.run_brain_ranking`.
    """
    scores: list[pd.DataFrame] = []
    comparisons: list[pd.DataFrame] = []
    for subject in run.layers["subject"].unique():
        for region in dict.fromkeys(regions or [WHOLE]):
            part = _Part(run, str(subject), region, name, specs, depths, settings)
            for table, found in zip((scores, comparisons), part.tables(), strict=True):
                table.append(found)
    images = [
        name
        for subject in run.layers["subject"].unique()
        for name in run.rows(str(subject))["stimulus_id"]
    ]
    shared = len(set(images)) < len(images)
    return (
        pd.concat(scores, ignore_index=True).assign(**{SHARED: shared}),
        pd.concat(comparisons, ignore_index=True).assign(**{SHARED: shared}),
    )


class _Part:
    """Encoding models of one region of one subject."""

    def __init__(
        self,
        run: EncodingRun,
        subject: str,
        region: str,
        name: str,
        specs: Sequence[FeatureSpec],
        depths: Mapping[str, Mapping[str, float]],
        settings: RankingSettings,
    ) -> None:
        self._run, self._subject, self._settings = run, subject, settings
        self._kinds = {spec.title: kind_of(spec) for spec in specs}
        self._depths = depths
        family, colon, label = region.partition(":")
        self._region = region
        self._label = label if colon else region
        self._family = family if colon else None
        self._name = name

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return scores and differences."""
        layers = self._here(self._run.layers)
        chosen = layers[layers["chosen"]]
        layer_of = dict(zip(chosen["model"], chosen["layer"], strict=True))
        rows = self._layer_rows(layers)
        known = [model for model in layers["model"].unique() if model in layer_of]
        scores, comparisons = [rows], []
        for metric in (ENCODING_R, ENCODING_SHARE):
            found = self._compare(known, layer_of, share=metric == ENCODING_SHARE)
            if found is None:
                continue
            scores.append(self._best_rows(found, layer_of, rows, metric))
            comparisons.append(self._differences(found, layer_of, metric))
        base = {
            "data": self._name,
            "analysis": ENCODING,
            "subject": self._subject,
            "region": self._region,
        }
        tables = [pd.concat(part, ignore_index=True) for part in (scores, comparisons)]
        return tables[0].assign(**base), tables[1].assign(**base)

    def _here(self, table: pd.DataFrame) -> pd.DataFrame:
        mine = (table["subject"] == self._subject) & (table["region"] == self._label)
        if self._family is not None:
            mine &= table["family"] == self._family
        return table[mine]

    def _layer_rows(self, layers: pd.DataFrame) -> pd.DataFrame:
        """Return every layer, and the one with the largest r on the test images."""
        held = self._here(self._run.scores)
        held = held[held["metric"] == "r_mean"]
        keys = ["model", "layer"]
        chance = held[held["condition"] == PERMUTED][[*keys, "ci_low", "ci_high"]]
        chance = chance.rename(
            columns={"ci_low": "chance_low", "ci_high": "chance_high"}
        )
        rows = held[held["condition"] == HELD_OUT].merge(chance, on=keys, how="left")
        # Marks of layers without a score are not lost.
        marks = ["untrained", "simulated"]
        order = layers[[*keys, "chosen", *marks]].merge(
            rows.drop(columns=marks), on=keys, how="left"
        )
        order = order.assign(
            condition=LAYER,
            metric=ENCODING_R,
            kind=order["model"].map(self._kinds).fillna("network"),
            depth=[
                self._depths.get(m, {}).get(k, np.nan)
                for m, k in order[keys].to_numpy()
            ],
            chosen_share=order["chosen"].astype(float),
            over="images",
            n_subjects=1,
            unit="r",
            standard_error=(order["ci_high"] - order["ci_low"]) / (2 * _NORMAL),
            degrees_of_freedom=order["n"] - 1,
            simulated=order["simulated"].astype(bool),
            untrained=order["untrained"].astype(bool),
        )
        known = order.dropna(subset="value")
        luck = order.loc[known.groupby("model", sort=False)["value"].idxmax()]
        blank = dict.fromkeys(
            ("ci_low", "ci_high", "standard_error", "degrees_of_freedom"), np.nan
        )
        both = [order, luck.assign(condition=OPTIMISTIC, **blank)]
        return pd.concat(both, ignore_index=True).drop(columns="chosen")

    def _compare(
        self, models: Sequence[str], layer_of: Mapping[str, str], *, share: bool
    ) -> EncodingComparison | None:
        mask = self._mask()
        ceiling = None
        if share:
            units = self._run.units
            first = (units["subject"] == self._subject) & (units["model"] == models[0])
            first &= units["layer"] == layer_of[models[0]]
            ceiling = units.loc[first, "ceiling"].to_numpy(np.float64)
            mask = mask & (ceiling >= LOWEST_CEILING)
            if not mask.any():
                return None
            ceiling = ceiling[mask]
        measured = np.asarray(self._run.measured(self._subject))[:, mask]
        predictions = {
            model: np.asarray(
                self._run.predictions(self._subject, model, layer_of[model])
            )[:, mask]
            for model in models
        }
        return compare_encoding(
            measured,
            predictions,
            noise_ceiling=ceiling,
            groups=self._groups(),
            over=self._settings.over,
            n_bootstrap=self._settings.n_bootstrap,
            # The same draws of images for r and for shares.
            rng=generator(
                self._settings.seed, "encoding comparison", self._name, self._subject
            ),
        )

    def _mask(self) -> NDArray[np.bool_]:
        places = self._run.unit_places(self._subject)
        if self._region == WHOLE:
            return np.ones(len(places), bool)
        found = self._run.regions["family"].unique()
        families = tuple(f for f in found if f and f in places)
        return region_mask(places, families, self._region)

    def _groups(self) -> list[NDArray[np.intp]] | None:
        split = self._run.rows(self._subject)["split"]
        if split.str.startswith(LEAVE_ONE_OUT).all():
            return None  # predictions of all folds are scored together
        return [np.flatnonzero(split == name) for name in split.unique()]

    def _best_rows(
        self,
        found: EncodingComparison,
        layer_of: Mapping[str, str],
        rows: pd.DataFrame,
        metric: str,
    ) -> pd.DataFrame:
        table = found.models().rename(
            columns={
                "score": "value",
                "low": "ci_low",
                "high": "ci_high",
                "p_zero": "p_value",
            }
        )
        table["layer"] = table["model"].map(layer_of)
        of_r = metric == ENCODING_R
        kept = ["model", "layer", "kind", "depth", "untrained", "simulated", "stimuli"]
        kept += ["task", "n", "seed", "n_subjects", "ceiling_kind"]
        kept += ["chance_low", "chance_high", "ceiling_low", "ceiling_high"] * of_r
        layers = rows[rows["condition"] == LAYER][kept]
        table = table.merge(layers, on=["model", "layer"], how="left")
        if not of_r:
            table = table.assign(ceiling_low=1.0, ceiling_high=1.0)
        return table.assign(
            condition=BEST,
            metric=metric,
            unit="r" if of_r else "share of explainable variance",
            chosen_share=1.0,
            over=self._settings.told,
            value_over_ceiling=table["value"] / table["ceiling_low"],
            p_fdr=fdr_adjusted(table["p_value"]),
        )

    def _differences(
        self, found: EncodingComparison, layer_of: Mapping[str, str], metric: str
    ) -> pd.DataFrame:
        table = found.differences()
        table = table.rename(columns={"low": "ci_low", "high": "ci_high"})
        return table.assign(
            metric=metric,
            layer_a=table["model_a"].map(layer_of),
            layer_b=table["model_b"].map(layer_of),
            over=self._settings.told,
            n=found.bootstrap.n_images,
        )


def rsa_tables(
    scores: pd.DataFrame, comparisons: pd.DataFrame, name: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of an RSA run as those of a ranking.

    Parameters
    ----------
    scores, comparisons : DataFrame
        Tables of `tasks.rsa.run_rsa`.
    name : str
        Data set, in tables.

    Returns
    -------
    scores, comparisons : DataFrame
        As `encoding_tables`; scores by CKA are left out.
    """
    base = {"data": name, "analysis": RSA}
    kept = scores[scores["metric"] != CKA].reset_index(drop=True)
    return kept.assign(**base), comparisons.assign(**base)


def pooled_tables(
    scores: pd.DataFrame, comparisons: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Average over subjects, or recordings, that were compared one by one.

    Parameters
    ----------
    scores, comparisons : DataFrame
        From `encoding_tables` or `rsa_tables`.

    Returns
    -------
    scores, comparisons : DataFrame
        Rows with the subject "mean" where there are several
        (`analysis.encoding_comparison.pool_recordings`); subjects are taken as they
        are, and errors are independent only where stimuli differ. `layer` of a model is
        the one chosen for most, `chosen_share` for how many.
    """
    place = ["data", "analysis", "metric", "region"]
    many = scores.groupby(place)["subject"].transform("nunique") > 1
    several = scores[many & (scores["subject"] != MEAN)]
    rows = [
        _pooled_scores(part)
        for _, part in several.groupby([*place, "condition", "model"], sort=False)
    ]
    pairs = comparisons.merge(several[place].drop_duplicates(), on=place)
    differences = [
        _pooled_differences(part)
        for _, part in pairs.groupby([*place, "over", "model_a", "model_b"], sort=False)
    ]
    found = pd.concat(rows, ignore_index=True) if rows else scores.iloc[:0]
    compared = pd.DataFrame(differences, columns=list(_COMPARED))
    if len(compared):
        groups = compared.groupby([*place, "over"], sort=False)["p_value"]
        compared["p_fdr"] = groups.transform(lambda p: fdr_adjusted(p.to_numpy(float)))
    if len(found):
        best = found["condition"] == BEST
        groups = found[best].groupby(place, sort=False)["p_value"]
        found.loc[best, "p_fdr"] = groups.transform(
            lambda p: fdr_adjusted(p.to_numpy(float))
        )
    return found, compared


def _pooled_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Pool the rows of one model and condition: layer by layer, or as chosen."""
    if rows["condition"].iloc[0] == LAYER:
        parts = [part for _, part in rows.groupby("layer", sort=False)]
    else:
        parts = [rows]
    return pd.DataFrame([_pool_rows(part) for part in parts])


def _pool_rows(rows: pd.DataFrame) -> dict[str, Any]:
    first: dict[str, Any] = {str(k): v for k, v in rows.iloc[0].items()}
    layers = rows["layer"].value_counts(sort=True)
    means = ("value", "ceiling_low", "ceiling_high", "value_over_ceiling")
    chance = ("chance_low", "chance_high")
    found = {name: rows[name].mean(skipna=False) for name in means}
    # Limits of a mean of independent values with limits of their own.
    same = _same_images(rows)
    centre = rows[list(chance)].mean(axis=1)
    halves = (rows["chance_high"] - rows["chance_low"]) / 2
    half = halves.sum(skipna=False) if same else np.sqrt((halves**2).sum(skipna=False))
    middle = centre.mean(skipna=False)
    pooled = pool_recordings(
        rows["value"],
        rows["standard_error"],
        rows["degrees_of_freedom"],
        same_images=same,
    )
    common = float(rows["chosen_share"].mean())
    if first["condition"] != LAYER:
        common = float(layers.iloc[0] / len(rows))
    return {
        **first,
        **found,
        "subject": MEAN,
        "layer": layers.index[0],
        "depth": rows.loc[rows["layer"] == layers.index[0], "depth"].iloc[0],
        "ci_low": pooled["low"],
        "ci_high": pooled["high"],
        "standard_error": pooled["standard_error"],
        "degrees_of_freedom": pooled["degrees_of_freedom"],
        "p_value": pooled["p_value"],
        "p_fdr": np.nan,
        "p_family": np.nan,
        "chance_low": middle - half / len(rows),
        "chance_high": middle + half / len(rows),
        "chosen_share": common,
        "n": int(rows["n"].max() if same else rows["n"].sum()),
        "n_units": rows["n_units"].sum() if "n_units" in rows else np.nan,
        "n_subjects": len(rows),
        "over": _POOLED.format(first["over"]),
        "ceiling_kind": None
        if np.isnan(found["ceiling_low"])
        else first["ceiling_kind"],
        "stimuli": str(first["stimuli"]).partition(":")[0],
    }


def _same_images(rows: pd.DataFrame) -> bool:
    return SHARED in rows and bool(rows[SHARED].any())


def _pooled_differences(rows: pd.DataFrame) -> dict[str, Any]:
    same = _same_images(rows)
    pooled = pool_recordings(
        rows["difference"],
        rows["standard_error"],
        rows["degrees_of_freedom"],
        same_images=same,
    )
    first = rows.iloc[0]
    return {
        **{name: first[name] for name in KEYS},
        "subject": MEAN,
        "model_a": first["model_a"],
        "layer_a": rows["layer_a"].value_counts().index[0],
        "model_b": first["model_b"],
        "layer_b": rows["layer_b"].value_counts().index[0],
        "difference": pooled["estimate"],
        "standard_error": pooled["standard_error"],
        "degrees_of_freedom": pooled["degrees_of_freedom"],
        "ci_low": pooled["low"],
        "ci_high": pooled["high"],
        "p_value": pooled["p_value"],
        "over": _POOLED.format(first["over"]),
        "n": int(rows["n"].max() if same else rows["n"].sum()),
    }


def finished_tables(
    scores: pd.DataFrame, comparisons: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add ranks and bring the columns into order.

    Parameters
    ----------
    scores, comparisons : DataFrame
        All rows.

    Returns
    -------
    scores, comparisons : DataFrame
        `rank` is 1 for the best model of a ranking (condition "best"), NaN elsewhere.
    """
    best = scores["condition"] == BEST
    groups = scores[best].groupby(list(KEYS), sort=False)["value"]
    scores = scores.assign(rank=groups.rank(ascending=False, method="min"))
    first = list(SCORE_COLUMNS)
    columns = [*first, *(c for c in _EXTRA if c not in first)]
    return scores.reindex(columns=columns), comparisons.reindex(columns=list(_COMPARED))
