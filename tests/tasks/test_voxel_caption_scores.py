"""Words of units and regions, against plain counting."""

import gzip

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurovis.core.types import SCORE_COLUMNS
from tasks.voxel_caption_scores import (
    CAPTION_COLUMNS,
    LocalisedUnits,
    caption_regions,
    caption_scores,
    localise_units,
    unit_words,
    write_caption_maps,
)
from tests.tasks.caption_examples import (
    CONCEPTS,
    FAMILIES,
    N_EACH,
    N_REPEATS,
    PEOPLE,
    RIGHT,
    make_captions,
    make_encoder,
    make_localised,
    make_units,
)

CALL = {"families": FAMILIES, "concepts": CONCEPTS}


@pytest.fixture(scope="module")
def units():
    table = make_units()
    return table.assign(unit=np.arange(len(table)))


@pytest.fixture(scope="module")
def told(units):
    return make_captions(units)


@pytest.fixture(scope="module")
def words(told, units):
    return unit_words(
        told, units, **CALL, people=PEOPLE, localised=make_localised(units)
    )[0]


@pytest.fixture(scope="module")
def scores(told, words):
    return caption_scores(told, words, **CALL, n_permutations=99, n_bootstrap=100)


def captions_of(told, unit):
    own = told[(told["condition"] == "projection") & (told["unit"] == unit)]
    return own["caption"].tolist()


def names(caption, nouns):
    return any(word in nouns for word in caption.split())


def test_shares_of_a_unit_are_those_of_its_captions_of_the_projection(told, words):
    for row in words.to_dict("records"):
        own = captions_of(told, row["unit"])
        assert row["n_captions"] == len(own) == N_REPEATS
        for concept, nouns in CONCEPTS.items():
            share = np.mean([names(text, nouns) for text in own])
            assert row[f"names_{concept}"] == pytest.approx(share)
        people = np.mean([names(text, PEOPLE) for text in own])
        assert row["people_share"] == pytest.approx(people)


def test_the_concept_of_a_unit_is_the_one_named_most_often(words):
    shares = words[[f"names_{name}" for name in CONCEPTS]].to_numpy()
    most = shares.max(axis=1)
    for row, own, top in zip(words.to_dict("records"), shares, most, strict=True):
        assert own[list(CONCEPTS).index(row["concept"])] == top


def test_units_that_name_nothing_have_no_concept_and_undefined_shares(units):
    silent = make_captions(units)
    silent.loc[silent["unit"] == 3, "caption"] = "something ."
    words, _ = unit_words(silent, units, **CALL, people=PEOPLE)
    row = words.set_index("unit").loc[3]
    assert row["concept"] == ""
    assert np.isnan(row["people_share"])
    assert np.isnan(row["concept_agreement"])
    assert row["names_face"] == 0
    found = caption_scores(silent, words, **CALL, n_permutations=9, n_bootstrap=10)
    whole = found[(found["region"] == "all") & (found["metric"] == "people_share_mean")]
    assert whole["n"].tolist() == [2 * N_EACH - 1]
    assert whole["value"].notna().all()


def test_medians_over_repeats_are_kept_of_the_projection(told, words):
    own = told[told["condition"] == "projection"].groupby("unit")
    expected = own["effective_number"].median()
    np.testing.assert_allclose(words["effective_number"], expected)


def test_what_the_localiser_told_stands_beside_each_unit(words):
    assert words["preferred"].tolist() == ["face"] * N_EACH + ["place"] * 19 + [""]
    assert (words["d_prime_face"] == 0.5).all()


def test_rows_are_those_of_the_units_whatever_units_were_captioned(told, units):
    some = units.iloc[[30, 4, 17]]
    few = told[told["unit"].isin(some["unit"])]
    words, _ = unit_words(few, some, **CALL, people=PEOPLE)
    assert words["unit"].tolist() == [30, 4, 17]
    everyone, _ = unit_words(told, units, **CALL, people=PEOPLE)
    expected = everyone.set_index("unit").loc[[30, 4, 17]].reset_index()
    pd.testing.assert_frame_equal(words[list(expected)], expected)


def test_regions_have_at_least_five_units_and_all_come_first(words):
    found = caption_regions(words, FAMILIES)
    assert list(found) == [
        *("all", "floc-faces", "FFA-1", "FFA"),
        *("floc-places", "PPA", "streams", "ventral"),
    ]
    assert found["all"] == list(range(2 * N_EACH))
    assert found["ventral"] == [*range(10), *range(20, 30)]
    few = words[words["unit"] < 24]
    assert "PPA" not in caption_regions(few, FAMILIES)


def test_summaries_of_regions_are_means_and_medians_over_units(words, scores):
    assert list(scores) == [*SCORE_COLUMNS, *CAPTION_COLUMNS]
    by_unit = words.set_index("unit")
    for region, members in caption_regions(words, FAMILIES).items():
        own = by_unit.loc[members]
        for metric, expected in (
            ("people_share_mean", own["people_share"].mean()),
            ("people_noun_share_mean", own["people_noun_share"].mean()),
            ("concept_agreement_mean", own["concept_agreement"].mean()),
            ("noun_jaccard_mean", own["noun_jaccard"].mean()),
            ("effective_number_median", own["effective_number"].median()),
            ("cosine_mean", own["cosine"].mean()),
        ):
            is_own = (scores["metric"] == metric) & (scores["region"] == region)
            [row] = scores[is_own].to_dict("records")
            assert row["value"] == pytest.approx(expected)
            assert row["ci_low"] <= row["value"] <= row["ci_high"]
            assert row["n"] == len(members)
            assert row["truth"] == ""


@pytest.mark.parametrize("condition", list(RIGHT))
def test_naming_rates_are_shares_of_captions_of_each_concept(told, scores, condition):
    own = scores[(scores["metric"] == "naming_rate") & (scores["truth"] == "regions")]
    own = own[own["condition"] == condition].set_index("region")
    assert list(own.index) == ["face", "place", "all"]
    said = told[told["condition"] == condition]
    is_face = said["unit"] < N_EACH
    for concept, part in (("face", said[is_face]), ("place", said[~is_face])):
        rate = np.mean([names(text, CONCEPTS[concept]) for text in part["caption"]])
        assert own.loc[concept, "value"] == pytest.approx(rate)
        assert own.loc[concept, "n"] == N_EACH
    assert own.loc["all", "value"] == pytest.approx(own["value"].iloc[:2].mean())


def test_known_preferences_are_told_from_chance(scores):
    own = scores[(scores["metric"] == "naming_rate") & (scores["region"] == "all")]
    for truth, n in (("regions", 2 * N_EACH), ("localiser", 2 * N_EACH - 1)):
        rows = own[own["truth"] == truth].set_index("condition")
        assert (rows["n"] == n).all()
        main, lost = rows.loc["projection"], rows.loc["random image"]
        assert main["p_value"] == 0.01  # one of 100
        assert main["chance_low"] < main["chance"] < main["chance_high"]
        assert main["ci_low"] > main["chance_high"]
        assert lost["value"] == lost["chance"] == 0
        assert lost["p_value"] == 1


def test_units_of_regions_that_disagree_or_stand_for_nothing_have_no_truth(units):
    other = units.copy()
    other.loc[0, "floc-places"] = "PPA"
    other.loc[1, "floc-faces"] = ""
    told = make_captions(units)
    words, _ = unit_words(told, other, **CALL, people=PEOPLE)
    found = caption_scores(told, words, **CALL, n_permutations=9, n_bootstrap=10)
    rows = found[(found["metric"] == "naming_rate") & (found["region"] == "face")]
    assert (rows["n"] == N_EACH - 2).all()
    assert set(found["truth"]) == {"", "regions"}


def test_a_region_may_be_called_by_what_it_prefers(units):
    plain = units.assign(prefers=["face"] * N_EACH + ["place"] * N_EACH)
    told = make_captions(units)
    options = {"families": ["prefers"], "concepts": CONCEPTS}
    words, _ = unit_words(told, plain, **options, people=PEOPLE)
    found = caption_scores(told, words, **options, n_permutations=9, n_bootstrap=10)
    rows = found[found["metric"] == "naming_rate"]
    assert set(rows["region"]) == {"face", "place", "all"}


def test_without_known_preferences_there_are_summaries_only(units):
    told = make_captions(units)
    options = {"families": ["streams"], "concepts": CONCEPTS}
    words, nouns = unit_words(told, units, **options, people=PEOPLE)
    found = caption_scores(told, words, **options, n_permutations=9, n_bootstrap=10)
    assert "naming_rate" not in set(found["metric"])
    assert set(nouns["region"]) == {"all", "streams", "ventral"}


def test_nouns_of_a_region_are_typical_of_it(told, units):
    _, nouns = unit_words(told, units, **CALL, people=PEOPLE)
    own = nouns[(nouns["region"] == "PPA") & (nouns["log_odds_low"] > 0)]
    assert set(own["noun"]) <= {"room", "street"}
    assert len(own) > 0
    whole = nouns[nouns["region"] == "all"]
    assert whole["share_elsewhere"].isna().all()
    assert whole["n_units"].eq(2 * N_EACH).all()


@pytest.mark.parametrize("space", ["surface", "volume"])
def test_maps_hold_the_shares_of_units_at_their_places(tmp_path, space):
    model = make_encoder(space)
    some = model.units.iloc[5:30].assign(unit=np.arange(5, 30))
    told = make_captions(model.units)
    told = told[told["unit"].isin(some["unit"])]
    words, _ = unit_words(told, some, **CALL, people=PEOPLE)
    written = write_caption_maps(tmp_path, model, words)
    assert len(written) == 7 * (1 if space == "volume" else 2)
    home = tmp_path / "maps"
    # From bytes, so that no file stays open.
    if space == "volume":
        content = gzip.decompress((home / "people_share.nii.gz").read_bytes())
        image = nib.Nifti1Image.from_bytes(content).get_fdata()
        found = image[some["x"], some["y"], some["z"]]
    else:
        content = (home / "lh.people_share.mgh").read_bytes()
        image = nib.MGHImage.from_bytes(content).get_fdata()
        found = image[some["vertex"], 0, 0]
    np.testing.assert_allclose(found, words["people_share"], atol=1e-6)
    assert np.isfinite(image).sum() == np.isfinite(words["people_share"]).sum()


def test_units_without_places_have_no_maps(tmp_path, words):
    assert write_caption_maps(tmp_path, make_encoder(), words) == []
    assert not (tmp_path / "maps").exists()


def test_a_localiser_needs_an_encoder_that_was_read_from_a_folder(tmp_path):
    with pytest.raises(ValueError, match="must be a folder for `localiser`"):
        localise_units(make_encoder(), tmp_path)


def test_localised_units_without_preference_are_nobodys_truth(told, units):
    nobody = LocalisedUnits(pd.DataFrame({"preferred": [""] * len(units)}), "", "")
    words, _ = unit_words(told, units, **CALL, people=PEOPLE, localised=nobody)
    found = caption_scores(told, words, **CALL, n_permutations=9, n_bootstrap=10)
    assert "localiser" not in set(found["truth"])
