"""Paired differences between the models of a run, region by region."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.encoding_comparison import FEWEST_TEST_IMAGES, compare_encoding
from analysis.multiple_tests import fdr_adjusted
from neurovis.core.rng import generator
from tasks.encoding_data import HeldOut
from tasks.encoding_run import open_matrix, prediction_file
from tasks.encoding_scores import region_masks
from tasks.encoding_tables import choose_layers


def compare_models(
    folder: Path,
    held: Sequence[HeldOut],
    regions: pd.DataFrame,
    n_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Compare the models of each subject on the pictures that none has seen.

    Parameters
    ----------
    folder : Path
        Folder of the run, with predictions.
    held : sequence of HeldOut
        Subjects.
    regions : DataFrame
        Table of regions, which tells the layer of each model that is compared: the one
        with the best score within training pictures.
    n_bootstrap : int
        Samples of pictures.
    seed : int
        Seed of their draw.

    Returns
    -------
    DataFrame
        One row per subject, region and pair of models: `data`, `subject`, `family`,
        `region`, `n_units`, `model_a`, `layer_a`, `model_b`, `layer_b`, `difference`
        (mean over units of r of a minus r of b), `standard_error`, `low`, `high` (95 %
        limits over pictures), `p_value` (two-sided), `p_fdr` (over all rows of the
        subject). No rows where there is one model only, or too few pictures.
    """
    layers = choose_layers(regions)
    layers = layers[layers["chosen"]]
    found = []
    for one in held:
        data, subject = one.data.responses.name, one.data.subject
        own = layers[(layers["data"] == data) & (layers["subject"] == subject)]
        if own["model"].nunique() < 2 or min(map(len, one.groups)) < FEWEST_TEST_IMAGES:
            continue
        for family, region, mask in region_masks(one):
            here = own[(own["family"] == family) & (own["region"] == region)]
            chosen = dict(zip(here["model"], here["layer"], strict=True))
            if len(chosen) < 2:  # no unit that could be fitted
                continue
            guesses = {
                model: np.asarray(
                    open_matrix(prediction_file(folder, subject, model, layer))[:, mask]
                )
                for model, layer in chosen.items()
            }
            result = compare_encoding(
                one.measured[:, mask],
                guesses,
                groups=one.groups,
                n_bootstrap=n_bootstrap,
                rng=generator(seed, "encoders: comparison", one.data.name, region),
            )
            table = result.differences().drop(columns=["p_fdr", "degrees_of_freedom"])
            table = table.assign(
                data=data,
                subject=subject,
                family=family,
                region=region,
                n_units=int(result.used.sum()),
                layer_a=table["model_a"].map(chosen),
                layer_b=table["model_b"].map(chosen),
            )
            found.append(table)
    columns = [
        *("data", "subject", "family", "region", "n_units"),
        *("model_a", "layer_a", "model_b", "layer_b"),
        *("difference", "standard_error", "low", "high", "p_value", "p_fdr"),
    ]
    if not found:
        return pd.DataFrame(columns=columns)
    joined = pd.concat(found, ignore_index=True)
    by_subject = joined.groupby(["data", "subject"], sort=False)["p_value"]
    adjusted = by_subject.transform(lambda p: fdr_adjusted(p.to_numpy()))
    return joined.assign(p_fdr=adjusted)[columns]
