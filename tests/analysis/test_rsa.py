"""Comparisons of RDMs and their ceilings against loops and published numbers."""

import json

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from analysis import stats
from analysis.cka import linear_cka
from analysis.rdms import make_rdm
from analysis.row_correlations import correlate_rows
from analysis.rsa import AVERAGES, MEASURES, compare_rdms, count_stimuli, rdm_ceiling
from data_loaders.rdm_sets import load_net2brain78, load_objects92

# Own output on small RDMs, so that a change is noticed without other data.
FROZEN = {
    "pearson": (0.767186, 0.826147, 0.903710),
    "spearman": (0.760864, 0.806924, 0.892689),
    "kendall_tau_a": (0.552525, 0.609848, 0.717172),
    "rho_a": (0.742292, 0.806736, 0.892424),
    "cosine": (0.963795, 0.975086, 0.986017),
    "whitened_pearson": (0.754710, 0.828425, 0.904998),
    "whitened_cosine": (0.851837, 0.900252, 0.944393),
}


def simulate(n_subjects=6, n_stimuli=10, noise=0.6, seed=0):
    """One true RDM, and those of subjects."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n_stimuli * (n_stimuli - 1) // 2)
    return truth, truth + noise * rng.random((n_subjects, len(truth)))


def dense_whitening(n, noise=None):
    i, j = np.triu_indices(n, 1)
    contrasts = np.zeros((len(i), n))
    contrasts[np.arange(len(i)), i] = 1
    contrasts[np.arange(len(i)), j] = -1
    return (contrasts @ (np.eye(n) if noise is None else noise) @ contrasts.T) ** 2


def plain_whitened(x, y, covariance):
    inverse = np.linalg.inv(covariance)
    return x @ inverse @ y / np.sqrt((x @ inverse @ x) * (y @ inverse @ y))


# ------------------------------------------------------------------- comparisons


@pytest.mark.parametrize("measure", MEASURES)
def test_frozen_similarities_and_bounds(measure):
    _, people = simulate(4)
    ties = np.round(people[:1] * 4) / 4
    ceiling = rdm_ceiling(people, measure)
    found = compare_rdms(ties, people[1:2], measure)[0, 0]
    numbers = (float(found), float(ceiling.lower), float(ceiling.upper))
    assert numbers == pytest.approx(FROZEN[measure], abs=1e-6)


@pytest.mark.parametrize(
    "measure", [m for m in MEASURES if not m.startswith("whitened")]
)
def test_rdms_are_compared_as_rows(measure):
    truth, people = simulate()
    found = compare_rdms(people, truth, measure)
    assert found.shape == (6, 1)
    np.testing.assert_array_equal(found, correlate_rows(people, truth, measure))


@pytest.mark.parametrize("kind", ["equal", "variances", "full"])
def test_whitened_measures_use_the_inverse_of_the_dense_covariance(kind):
    _, people = simulate(5)
    root = np.random.default_rng(1).standard_normal((10, 15))
    full = root @ root.T
    noise = {"equal": None, "variances": full.diagonal(), "full": full}[kind]
    whole = np.diag(noise) if kind == "variances" else noise
    covariance = dense_whitening(10, whole)
    cosine, pearson = (
        compare_rdms(people[:2], people[2:], measure, noise_covariance=noise)
        for measure in ("whitened_cosine", "whitened_pearson")
    )
    for i, j in np.ndindex(2, 3):
        x, y = people[i], people[2 + j]
        expected = plain_whitened(x, y, covariance)
        assert cosine[i, j] == pytest.approx(expected, abs=1e-10)
        expected = plain_whitened(x - x.mean(), y - y.mean(), covariance)
        assert pearson[i, j] == pytest.approx(expected, abs=1e-10)


def test_the_whitened_cosine_of_squared_distances_is_linear_cka():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((15, 30)), rng.standard_normal((15, 8)) ** 2
    rdms = [make_rdm(features, "squared_euclidean") for features in (x, y)]
    found = compare_rdms(*rdms, "whitened_cosine")[0, 0]
    assert found == pytest.approx(linear_cka(x, y), abs=1e-10)


def test_whitening_finds_the_right_one_of_two_models_more_often():
    """Why it exists (Diedrichsen et al. 2020)."""
    rng = np.random.default_rng(3)
    features = rng.standard_normal((2, 12, 6))
    features[1] = features[0] + 0.7 * features[1]
    models = np.stack([make_rdm(x, "squared_euclidean") for x in features])
    hits = {"cosine": 0, "whitened_cosine": 0}
    for _ in range(300):
        pattern = features[0] @ rng.standard_normal((6, 20))
        noisy = pattern + 6 * rng.standard_normal((12, 20))
        rdm = make_rdm(noisy, "squared_euclidean")
        for measure in hits:
            right, wrong = compare_rdms(models, rdm, measure)[:, 0]
            hits[measure] += right > wrong
    assert hits["whitened_cosine"] > hits["cosine"] + 15


@pytest.mark.parametrize("measure", MEASURES)
def test_an_rdm_is_most_similar_to_itself_and_the_order_of_stimuli_is_free(measure):
    truth, people = simulate()
    assert compare_rdms(truth, truth, measure)[0, 0] == pytest.approx(1)
    order = np.random.default_rng(4).permutation(10)
    moved = [squareform(squareform(r)[np.ix_(order, order)]) for r in (truth, *people)]
    found = compare_rdms(moved[1:], moved[0], measure)
    np.testing.assert_allclose(found, compare_rdms(people, truth, measure), atol=1e-10)
    swapped = compare_rdms(truth, people, measure).T
    np.testing.assert_allclose(swapped, found, atol=1e-10)


@pytest.mark.parametrize("measure", MEASURES)
def test_undefined_is_nan_and_chance_is_zero(measure):
    truth, _ = simulate()
    constant = compare_rdms(truth, np.full_like(truth, 0.3), measure)[0, 0]
    if measure in ("kendall_tau_a", "rho_a"):
        assert constant == 0
    elif measure.endswith("cosine"):
        assert 0 < constant < 1
    else:
        assert np.isnan(constant)
    if measure.endswith("cosine"):
        assert np.isnan(compare_rdms(truth, 0 * truth, measure)).all()


# --------------------------------------------------------------------- NaN policy


def with_nan():
    truth, people = simulate(4)
    people[1, [3, 17]] = np.nan
    people[2, 17] = np.inf
    truth[5] = np.nan
    return np.stack([truth, truth[::-1]]), people


@pytest.mark.parametrize("measure", MEASURES)
def test_omit_leaves_pairs_of_stimuli_out_where_either_lacks_them(measure):
    models, people = with_nan()
    found = compare_rdms(people, models, measure, nan="omit")
    i, j = np.triu_indices(10, 1)
    for row, column in np.ndindex(found.shape):
        used = np.isfinite(people[row]) & np.isfinite(models[column])
        x, y = people[row, used], models[column, used]
        if measure.startswith("whitened"):
            if measure.endswith("pearson"):
                x, y = x - x.mean(), y - y.mean()
            covariance = dense_whitening(10)[np.ix_(used, used)]
            expected = plain_whitened(x, y, covariance)
        else:
            expected = correlate_rows(x, y, measure)[0, 0]
        assert found[row, column] == pytest.approx(expected, abs=1e-10)
        assert len(i[used]) == len(j[used])


@pytest.mark.parametrize("measure", MEASURES)
def test_propagate_gives_nan_where_a_pair_lacks(measure):
    models, people = with_nan()
    assert np.isnan(compare_rdms(people, models, measure, nan="propagate")).all()
    found = compare_rdms(people, people, measure, nan="propagate")
    assert np.isfinite(found[np.ix_([0, 3], [0, 3])]).all()
    assert np.isnan(found[[1, 2]]).all()


def test_nan_is_refused_with_advice():
    models, people = with_nan()
    with pytest.raises(ValueError, match=r"`rdms` has 3 dissimilarities.*nan='omit'"):
        compare_rdms(people, models)
    with pytest.raises(ValueError, match=r"`rdms` has 3 dissimilarities.*nan='omit'"):
        rdm_ceiling(people)


def test_a_ceiling_without_missing_pairs_is_that_of_the_others():
    _, people = with_nan()
    found = rdm_ceiling(people, "pearson", nan="omit")
    expected = rdm_ceiling(np.delete(people, [3, 17], axis=1), "pearson")
    np.testing.assert_allclose(found.lower_per_subject, expected.lower_per_subject)
    lost = rdm_ceiling(people, "pearson", nan="propagate")
    assert np.isnan(lost.upper_per_subject).all()
    whitened = rdm_ceiling(people, "whitened_cosine", nan="omit")
    assert 0 < whitened.lower < whitened.upper < 1


# ----------------------------------------------------------------------- ceilings


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("average", AVERAGES)
def test_bounds_compare_subjects_with_means_of_others_and_of_all(measure, average):
    _, people = simulate(5)
    found = rdm_ceiling(people, measure, average=average)
    best = {"pearson": "z_scored", "cosine": "unit_length"}
    name = best.get(measure, "ranks") if average == "best" else average
    if "whitened" in measure and average == "best":
        name = "whitened_" + ("z_scored" if "pearson" in measure else "length")
    scaled = people.copy()
    if name.endswith("z_scored"):
        scaled = scaled - scaled.mean(axis=1, keepdims=True)
    if name == "ranks":
        scaled = np.stack([stats.stats.rankdata(row) for row in people])
    elif name.startswith("whitened"):
        inverse = np.linalg.inv(dense_whitening(10))
        scaled = scaled / np.sqrt(np.sum(scaled @ inverse * scaled, axis=1))[:, None]
    elif name != "plain":
        scaled = scaled / np.linalg.norm(scaled, axis=1)[:, None]
    for k in range(5):
        others = np.delete(scaled, k, axis=0).mean(axis=0)
        lower = compare_rdms(people[k], others, measure)[0, 0]
        upper = compare_rdms(people[k], scaled.mean(axis=0), measure)[0, 0]
        assert found.lower_per_subject[k] == pytest.approx(lower, abs=1e-9)
        assert found.upper_per_subject[k] == pytest.approx(upper, abs=1e-9)


@pytest.mark.parametrize(
    "measure", [m for m in MEASURES if m not in ("spearman", "kendall_tau_a")]
)
def test_no_model_exceeds_the_upper_bound_of_the_best_average(measure):
    rng = np.random.default_rng(5)
    for seed in range(20):
        truth, people = simulate(4, 5, noise=2.0, seed=seed)
        # Very unequal scales: a plain mean would be that of one subject.
        people *= np.array([1, 5, 0.2, 30])[:, None]
        upper = float(rdm_ceiling(people, measure).upper)
        mean = people.mean(axis=0)
        near = mean + mean.std() * rng.standard_normal((300, 10))
        models = np.concatenate([near, rng.random((300, 10)), [mean, truth], people])
        best = compare_rdms(models, people, measure).mean(axis=1).max()
        assert best <= upper + 1e-12


def test_the_best_average_beats_the_plain_one_for_unequal_scales():
    _, people = simulate(6, noise=2.0)
    people *= np.array([1, 1, 1, 1, 1, 20])[:, None]
    for measure in ("pearson", "spearman", "cosine", "whitened_cosine"):
        best = rdm_ceiling(people, measure)
        plain = rdm_ceiling(people, measure, average="plain")
        assert best.upper > plain.upper + 0.02


def test_sessions_of_a_subject_are_left_out_together():
    _, people = simulate(4)
    rng = np.random.default_rng(6)
    sessions = np.repeat(people, 2, axis=0) + 0.1 * rng.random((8, 45))
    names = np.repeat(list("abcd"), 2)
    found = rdm_ceiling(sessions, "pearson", average="plain", subjects=names)
    for k in range(8):
        others = sessions[names != names[k]].mean(axis=0)
        expected = stats.pearson_r(sessions[k], others)
        assert found.lower_per_subject[k] == pytest.approx(float(expected))
    apart = rdm_ceiling(sessions, "pearson", average="plain")
    assert apart.lower > found.lower + 0.03  # the other session gives it away
    np.testing.assert_allclose(apart.upper_per_subject, found.upper_per_subject)


def test_rdms_of_one_subject_have_no_lower_bound():
    found = rdm_ceiling([[1, 2, 3], [1, 3, 2]], subjects=["a", "a"])
    assert np.isnan(found.lower_per_subject).all()
    assert np.isfinite(found.upper_per_subject).all()


def test_other_numbers_of_subjects_are_refused():
    with pytest.raises(ValueError, match="`subjects` must have shape"):
        rdm_ceiling([[1, 2, 3], [1, 3, 2]], subjects=["a"])
    with pytest.raises(ValueError, match="at least two subjects"):
        rdm_ceiling([1, 2, 3])


# ------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(3), np.ones(6)), "`rdms` has 3 pairs of stimuli, but `others` has 6"),
        ((np.ones((2, 3, 3)), np.ones(3)), "condensed RDMs.*squareform"),
        ((np.ones(5), np.ones(5), "whitened_cosine"), "cannot have 5"),
        ((np.ones(3), np.ones(3), "kendall"), "Did you mean 'kendall_tau_a'"),
    ],
)
def test_impossible_comparisons_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare_rdms(*arguments)


def test_noise_belongs_to_whitened_measures():
    with pytest.raises(ValueError, match="belongs to whitened measures"):
        compare_rdms(np.ones(3), np.ones(3), "cosine", noise_covariance=np.eye(3))


@pytest.mark.parametrize("n", [2, 3, 92, 10_000])
def test_stimuli_are_counted_from_pairs(n):
    assert count_stimuli(n * (n - 1) // 2) == n


# ---------------------------------------------------------------- published data


def test_published_correlations_of_92_objects(data_folder):
    folder = data_folder / "objects92"
    expected = json.loads((folder / "reference_values.json").read_text())
    stack = load_objects92(folder)

    def rows(**factors):
        return stack.select(**factors).rdms

    monkey = rows(source="monkey IT")
    human = rows(source="human IT", subject="mean")
    animacy = rows(model="animacy")
    face = stack.stimuli["face"].to_numpy()
    both = np.logical_and.outer(face, face)[np.triu_indices(92, 1)]
    sessions = np.stack([rows(source="human IT", subject=s) for s in "123"])
    people = sessions.mean(axis=1)
    between = compare_rdms(people, people)[np.triu_indices(3, 1)]
    judged = rows(source="behaviour").mean(axis=0)
    found = {
        "spearman_monkey_vs_humanmean": compare_rdms(monkey, human),
        "pearson_monkey_vs_humanmean": compare_rdms(monkey, human, "pearson"),
        "spearman_humanmean_vs_animacy": compare_rdms(human, animacy),
        "spearman_humanmean_vs_face": compare_rdms(human, 1.0 - both),
        "spearman_between_subjects": between,
        "spearman_between_sessions": [compare_rdms(*pair) for pair in sessions],
        "spearman_behaviour_mean_vs_humanmean": compare_rdms(judged, human),
    }
    assert set(found) == set(expected)
    for name, values in found.items():
        np.testing.assert_allclose(np.ravel(values), expected[name], atol=5.1e-5)


def test_published_ceilings_of_78_photographs(data_folder):
    stack = load_net2brain78(data_folder / "net2brain78")
    published = {
        "human EVC": (0.0068177, 0.0639747),
        "human IT": (0.0027849, 0.0647332),
    }
    for source, (lower, upper) in published.items():
        rdms = stack.select(source=source).rdms
        found = rdm_ceiling(rdms, average="plain", squared=True)
        assert found.lower == pytest.approx(lower, abs=1e-7)
        assert found.upper == pytest.approx(upper, abs=1e-7)


@pytest.mark.slow
def test_layers_of_a_network_resemble_it_as_published(data_folder):
    torch = pytest.importorskip("torch")
    from PIL import Image
    from safetensors.torch import load_file
    from torch.nn.functional import conv2d, max_pool2d, relu

    folder = data_folder / "imagenet_backbones"
    values = json.loads((folder / "reference_values.json").read_text())
    kind = "rsa_spearman_objects92_flattened_activations_1_minus_pearson"
    expected = values[kind]["squeezenet1_0_deepcompressed"]
    weights = load_file(folder / "squeezenet1_0_deepcompressed.safetensors")
    stack = load_objects92(data_folder / "objects92")
    pictures = [
        np.asarray(Image.fromarray(p).resize((227, 227), Image.Resampling.BICUBIC))
        for p in stack.pictures
    ]
    bgr = np.stack(pictures)[..., ::-1].astype(np.float32) - [104, 117, 123]
    x = torch.from_numpy(bgr.astype(np.float32)).permute(0, 3, 1, 2)

    def layer(x, name, **options):
        return relu(
            conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)
        )

    activations = {}
    with torch.inference_mode():
        x = activations["conv1"] = layer(x, "conv1", stride=2)
        x = max_pool2d(x, 3, 2, ceil_mode=True)
        for k in range(2, 10):
            x = layer(x, f"fire{k}.squeeze1x1")
            wide = layer(x, f"fire{k}.expand3x3", padding=1)
            x = torch.cat([layer(x, f"fire{k}.expand1x1"), wide], dim=1)
            activations[f"fire{k}"] = x
            if k in (4, 8):
                x = max_pool2d(x, 3, 2, ceil_mode=True)
        activations["conv10"] = layer(x, "conv10", padding=1)
    brains = {
        "humanIT_mean": stack.select(source="human IT", subject="mean").rdms,
        "monkeyIT_mean": stack.select(source="monkey IT").rdms,
    }
    for name, numbers in expected.items():
        rdm = make_rdm(activations[name].numpy())
        for brain, number in numbers.items():
            found = compare_rdms(rdm, brains[brain])[0, 0]
            assert found == pytest.approx(number, abs=1.1e-4), (name, brain)
