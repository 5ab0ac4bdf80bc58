"""Models ranked on recordings of V4 and on IT: what is known must come out."""

import numpy as np
import pytest

from neurovis.core.files import read_table
from neurovis.core.types import Score
from tasks.brain_ranking import run_brain_ranking
from tasks.brain_ranking_tables import ENCODING, ENCODING_R, ENCODING_SHARE, MEAN, RSA
from tasks.rsa_scores import BEST

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def run(data_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("real") / "run"
    sets = ("v4-images:v4_images", "objects92:objects92")
    named = [where.split(":") for where in sets]
    run_brain_ranking(
        [f"{name}:{data_folder / folder}" for name, folder in named],
        ["control:pyramid", "control:colour"],
        out,
        source=["human IT", "monkey IT"],
        n_bootstrap=200,
        n_permutations=100,
        device="cpu",
    )
    return out


def best_of(out, **wanted):
    table = Score.load(out).table
    for column, value in {"condition": BEST, **wanted}.items():
        table = table[table[column] == value]
    return table


def test_energy_predicts_v4_better_than_colour_in_every_recording(run):
    rows = best_of(run, data="v4-images", metric=ENCODING_R)
    values = rows.pivot_table(index="subject", columns="model", values="value")
    assert len(values) == 5  # four recordings, and their mean
    assert (values["control:pyramid"] > values["control:colour"] + 0.05).all()
    assert values.loc[MEAN, "control:pyramid"] == pytest.approx(0.406, abs=0.005)
    assert values.loc[MEAN, "control:colour"] == pytest.approx(0.262, abs=0.005)
    table = read_table(run / "comparisons.parquet")
    pooled = table[(table["subject"] == MEAN) & (table["metric"] == ENCODING_R)]
    assert pooled["p_fdr"].iloc[0] < 1e-4


def test_the_mean_of_recordings_is_that_of_their_values(run):
    for analysis in (ENCODING, RSA):
        rows = best_of(run, data="v4-images", analysis=analysis, model="control:colour")
        rows = rows[rows["metric"] != ENCODING_SHARE]
        apart = rows[rows["subject"] != MEAN]
        pooled = rows[rows["subject"] == MEAN].iloc[0]
        assert pooled["value"] == pytest.approx(apart["value"].mean())
        expected = np.sqrt((apart["standard_error"] ** 2).sum()) / len(apart)
        assert pooled["standard_error"] == pytest.approx(expected)


def test_only_the_recording_with_repeats_has_a_ceiling(run):
    rows = best_of(run, data="v4-images", metric=ENCODING_R, model="control:colour")
    ceilings = rows.set_index("subject")["ceiling_low"]
    assert ceilings["PE 210325"] == pytest.approx(0.86, abs=0.01)
    assert ceilings.drop("PE 210325").isna().all()
    shares = best_of(run, metric=ENCODING_SHARE)
    assert set(shares["subject"]) == {"PE 210325"}


def test_matrices_are_ranked_with_the_ceiling_of_their_subjects(run):
    rows = best_of(run, data="objects92", region="human IT")
    assert rows["ceiling_low"].iloc[0] == pytest.approx(0.3668, abs=1e-3)
    assert rows["ceiling_high"].iloc[0] == pytest.approx(0.723, abs=1e-3)
    assert rows.set_index("model")["value"].idxmax() == "animacy (of the data)"
