"""Simulated voxels that prefer categories: the declared truth comes out again."""

import numpy as np
import pytest

from data_loaders.simulated_selectivity import (
    NUISANCES,
    picture_nuisances,
    simulate_selective_units,
)

REGIONS = ("face", "place", "body", "word", "food")
N = 1500


def shown(n=N, seed=0, size=6):
    """Pictures whose nuisances vary, and categories that they do not show."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(40, 200, (n, 1, 1, 3))
    spread = rng.uniform(1, 40, (n, 1, 1, 1))
    noise = rng.normal(0, 1, (n, size, size, 3))
    pictures = np.clip(base + spread * noise, 0, 255).astype(np.uint8)
    return pictures, [REGIONS[i % 5] for i in rng.permutation(n)]


def simulated(**options):
    pictures, categories = shown()
    options = {"regions": REGIONS, "n_units": 12} | options
    return simulate_selective_units(pictures, categories, **options)


def one_hot(categories, names=REGIONS):
    return (np.array(categories)[:, None] == np.array(names)).astype(float)


def test_properties_of_pixels_are_those_of_loops():
    pictures, _ = shown(4, seed=3)
    found = picture_nuisances(pictures)
    assert found.shape == (4, len(NUISANCES))
    for picture, row in zip(pictures / 255, found, strict=True):
        grey = (
            0.299 * picture[..., 0] + 0.587 * picture[..., 1] + 0.114 * picture[..., 2]
        )
        steps_across = [abs(r[j + 1] - r[j]) for r in grey for j in range(5)]
        steps_down = [abs(c[j + 1] - c[j]) for c in grey.T for j in range(5)]
        edges = (np.mean(steps_across) + np.mean(steps_down)) / 2
        red_green = np.mean(picture[..., 0]) - np.mean(picture[..., 1])
        expected = [grey.mean(), grey.std(), red_green, edges]
        np.testing.assert_allclose(row, expected, atol=1e-12)


def test_even_pictures_have_neither_contrast_nor_edges():
    even = np.full((2, 4, 4, 3), 128, np.uint8)
    np.testing.assert_allclose(
        picture_nuisances(even), [[128 / 255, 0, 0, 0]] * 2, atol=1e-12
    )


@pytest.mark.parametrize("n_repeats", [1, 3, 100])
def test_regression_finds_the_declared_selectivity(n_repeats):
    found = simulated(n_repeats=n_repeats)
    pictures, categories = shown()
    nuisance = picture_nuisances(pictures)
    nuisance = (nuisance - nuisance.mean(0)) / nuisance.std(0)
    design = np.column_stack([one_hot(categories), nuisance])
    fitted, *_ = np.linalg.lstsq(design, found.betas, rcond=None)
    declared = found.units[[f"selectivity_{name}" for name in REGIONS]].to_numpy().T
    # Responses are z-scored: only differences of categories, up to a factor, remain.
    estimates = fitted[:5] - fitted[:5].mean(0)
    declared = declared - declared.mean(0)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(estimates.T, declared.T, strict=True)]
    assert np.mean(r) > {1: 0.97, 3: 0.985, 100: 0.999}[n_repeats]
    # The factor is the standard deviation before the z-score.
    noise = 1 / n_repeats
    ceiling = found.units["noise_ceiling"].to_numpy()
    total_sd = np.sqrt(noise / (1 - ceiling))
    slope = (estimates * declared).sum(0) / (declared**2).sum(0)
    np.testing.assert_allclose(slope * total_sd, 1, atol=0.25)


def test_ceilings_are_the_share_of_variance_that_signals_explain():
    found = simulated(n_repeats=2)
    other = simulated(n_repeats=1_000_000)  # next to no noise: the signal
    signal, noisy = other.betas, found.betas
    # Voxels are the same whatever the noise.
    np.testing.assert_array_equal(
        found.units.filter(like="selectivity"), other.units.filter(like="selectivity")
    )
    r = np.array(
        [np.corrcoef(a, b)[0, 1] for a, b in zip(signal.T, noisy.T, strict=True)]
    )
    np.testing.assert_allclose(r**2, found.units["noise_ceiling"], atol=0.05)
    assert (other.units["noise_ceiling"] > 0.99999).all()


def test_every_region_prefers_its_category():
    found = simulated(n_repeats=10)
    hot = one_hot(shown()[1])
    means = (hot / hot.sum(0)).T @ found.betas
    preferred = np.array(REGIONS)[means.argmax(0)]
    assert (preferred == found.units["region"]).mean() > 0.95
    declared = found.units[[f"selectivity_{name}" for name in REGIONS]].to_numpy()
    own = declared[np.arange(60), np.repeat(np.arange(5), 12)]
    assert own.min() > 0.5
    assert own.max() < 1.9


def test_faces_and_bodies_share_and_others_do_not():
    units = simulated(n_units=400).units
    means = units.groupby("region")[[f"selectivity_{n}" for n in REGIONS]].mean()
    for region in REGIONS:
        for name in REGIONS:
            shared = {region, name} == {"face", "body"}
            expected = 1.2 if region == name else 0.4 if shared else 0.0
            assert means.loc[region, f"selectivity_{name}"] == pytest.approx(
                expected, abs=0.05
            )


def test_responses_are_z_scores_and_subjects_and_seeds_differ():
    found = simulated()
    np.testing.assert_allclose(found.betas.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.betas.std(0), 1, atol=1e-5)
    assert found.betas.dtype == np.float32
    again = simulated()
    np.testing.assert_array_equal(found.betas, again.betas)
    for other in (simulated(subject="sim02"), simulated(seed=1)):
        r = np.corrcoef(
            found.units["selectivity_face"], other.units["selectivity_face"]
        )
        assert 0.5 < r[0, 1] < 0.97  # the regions are shared, the voxels are not
        assert not np.array_equal(found.betas, other.betas)


def test_two_sets_of_pictures_meet_the_same_voxels_in_other_trials():
    pictures, categories = shown(600, seed=5)
    first, second = (
        simulate_selective_units(p, c, regions=REGIONS, n_units=12)
        for p, c in (shown(), (pictures, categories))
    )
    names = [f"selectivity_{name}" for name in REGIONS]
    np.testing.assert_array_equal(first.units[names], second.units[names])
    # What is left without categories and pixels is noise, and new.
    left = []
    for found, (p, c) in ((first, shown()), (second, (pictures, categories))):
        design = np.column_stack([one_hot(c), picture_nuisances(p)])
        fitted, *_ = np.linalg.lstsq(design, found.betas, rcond=None)
        left.append((found.betas - design @ fitted)[:600])
    r = np.corrcoef(left[0].ravel(), left[1].ravel())[0, 1]
    assert abs(r) < 0.03


def test_nuisances_weigh_as_much_as_asked():
    for nuisance_sd in (0.0, 0.5):
        found = simulated(n_units=100, nuisance_sd=nuisance_sd, n_repeats=100_000)
        pictures, categories = shown()
        nuisance = picture_nuisances(pictures)
        nuisance = (nuisance - nuisance.mean(0)) / nuisance.std(0)
        hot = one_hot(categories)
        fitted, *_ = np.linalg.lstsq(
            np.column_stack([hot, nuisance]), found.betas, rcond=None
        )
        declared = found.units[[f"selectivity_{name}" for name in REGIONS]].to_numpy()
        # Back from z-scores by the range of the categories.
        factor = np.ptp(declared, axis=1) / np.ptp(fitted[:5], axis=0)
        assert (fitted[5:] * factor).std() == pytest.approx(nuisance_sd, abs=0.05)


def test_pictures_without_any_difference_do_not_break():
    even = np.full((40, 4, 4, 3), 90, np.uint8)
    found = simulate_selective_units(
        even, ["face", "place"] * 20, regions=["face", "place"], n_units=3
    )
    assert np.isfinite(found.betas).all()


def test_a_set_tells_what_was_shown_and_that_it_is_simulated():
    found = simulated()
    assert len(found) == N
    assert found.stimuli["category"].tolist() == shown()[1]
    assert found.stimuli["stimulus_id"].is_unique
    assert (found.stimuli["n_repeats"] == 3).all()
    assert found.units["region"].tolist() == [r for r in REGIONS for _ in range(12)]
    assert found.units["unit_id"].is_unique
    assert set(found.regions()["region"]) == set(REGIONS)
    assert any("Simulated" in note for note in found.notes)
    assert np.array_equal(found.pictures[7], shown()[0][7])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": ["face", "car"]}, "occur in the pictures"),
        ({"regions": []}, "different categories"),
        ({"regions": ["face", "face"]}, "different categories"),
        ({"n_units": 0}, "n_units"),
        ({"n_repeats": 0}, "n_repeats"),
        ({"nuisance_sd": -1.0}, "nuisance_sd"),
        ({"categories": ["face"]}, "got 1 names"),
        ({"pictures": np.zeros((10, 4, 4, 3))}, "pictures"),
        ({"pictures": np.zeros((10, 4, 4), np.uint8)}, "pictures"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    pictures, categories = shown(10)
    call = {"pictures": pictures, "categories": categories, "regions": ["face"]}
    call |= options
    first, second = call.pop("pictures"), call.pop("categories")
    with pytest.raises((TypeError, ValueError), match=message):
        simulate_selective_units(first, second, **call)
