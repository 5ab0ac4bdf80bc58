"""OAT as an observer: decoding, likelihood, appearance, files."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.stats import chisquare

from neurovis.adapters.oat import OAT, knowledge, load_oat, pad_cells, shipped_name
from neurovis.adapters.oat_appearance import display_appearance, timm_features
from neurovis.adapters.oat_network import OATConfig, OATNetwork, object_batch
from neurovis.adapters.object_tokens import token_nats
from neurovis.core.errors import DataCorruptError
from neurovis.core.object_displays import FreeDisplay, regular_display
from neurovis.core.object_scanpaths import (
    KNOWLEDGE,
    FittedScanpathModel,
    ObjectTrial,
    TokenModel,
)
from neurovis.core.rng import generator

N_FEATURES = 6
TINY = OATConfig(
    appearance="features",
    n_features=N_FEATURES,
    appearance_width=16,
    position_width=48,
    feedforward=32,
    n_encoder_layers=1,
    n_decoder_layers=2,
)
BLIND = replace(TINY, appearance="none", n_features=0)


def make_observer(config=TINY, max_fixations=30, seed=1, sharpness=1.0, **changes):
    network = OATNetwork(config, seed)
    with torch.no_grad():
        network.pointer.readout.weight *= sharpness
    return OAT(network, max_fixations, **changes)


def features(n, seed=0):
    draw = np.random.default_rng(seed)
    return draw.standard_normal((n, N_FEATURES)).astype(np.float32)


def grid(name="a", rows=3, cols=4, target=5, seed=0):
    display = regular_display(
        name,
        rows=rows,
        cols=cols,
        size_px=(100.0 * cols, 100.0 * rows),
        target_cell=target,
    )
    return replace(display, appearance=features(rows * cols, seed))


def free(name="f", n=5, seed=2):
    corner = np.random.default_rng(seed).uniform(0, 300, (n, 2))
    boxes = np.hstack([corner, corner + 40])
    return FreeDisplay(name, boxes, 400, 400, n - 1, features(n, seed))


DISPLAYS = [grid(), grid("b", 2, 2, 1, seed=1), free(), grid("c", 4, 5, 0, seed=3)]


def assert_same(found, expected):
    assert [path.tolist() for path in found] == [path.tolist() for path in expected]


# --------------------------------------------------------------------- decoding


def decode_slowly(observer, display, sample, seed):
    """One scanpath from the distributions of whole scanpaths, by the same numbers."""
    numbers = generator(seed, "OAT", display.stimulus_id, sample).random(
        observer.max_fixations
    )
    path = []
    for number in numbers:
        # What comes after a fixation does not change what came before.
        given = observer.token_probabilities(display, [*path, 0])[len(path)]
        token = int(np.searchsorted(given.cumsum(), number, side="right"))
        if token == display.n_cells:
            break
        path.append(token)
    return path


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d.stimulus_id)
def test_scanpaths_are_drawn_from_the_distributions_token_by_token(display):
    observer = make_observer(sharpness=2.0)
    made = observer.sample(display, 12, seed=4)
    expected = [decode_slowly(observer, display, k, 4) for k in range(12)]
    assert [path.tolist() for path in made] == expected
    assert len({len(path) for path in expected}) > 3


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d.stimulus_id)
def test_a_greedy_observer_takes_the_most_probable_token_at_every_step(display):
    observer = make_observer(max_fixations=12, sharpness=3.0, greedy=True)
    (path,) = observer.sample(display, 1)
    given = observer.token_probabilities(display, path)
    expected = given.argmax(axis=1)
    n = len(path)
    assert path.tolist() == expected[:n].tolist()
    assert n == 12 or expected[n] == display.n_cells


def test_all_samples_of_a_greedy_observer_are_equal_and_can_be_changed():
    observer = make_observer(greedy=True)
    first, second, third = observer.sample(grid(), 3, seed=8)
    assert_same([first, first], [second, third])
    first[0] = -1
    assert second[0] >= 0
    assert not observer.stochastic
    assert replace(observer, greedy=False).stochastic


def test_frequencies_of_scanpaths_agree_with_their_probabilities():
    observer = make_observer(max_fixations=2)
    display, n = grid("d", 2, 2, 3), 4000
    made = [tuple(path.tolist()) for path in observer.sample(display, n, seed=2)]
    probability = {}
    for first in range(4):
        one, two = observer.token_probabilities(display, [first])
        probability[(first,)] = one[first] * two[4]
        for second in range(4):
            probability[first, second] = one[first] * two[second]
    assert set(made) <= set(probability)
    expected = np.array(list(probability.values())) * n
    found = np.array([made.count(path) for path in probability])
    assert expected.sum() == pytest.approx(n)
    assert expected.min() > 5
    assert chisquare(found, expected).pvalue > 0.01


def test_no_scanpath_is_empty_even_where_the_end_is_near_certain():
    observer = make_observer(sharpness=0.0)
    with torch.no_grad():
        # The end points at the target token: let it alone match.
        pointer, display = observer.network.pointer, grid()
        batch = object_batch([display], TINY)
        tokens, _ = observer.network.embed(batch)
        for layer in observer.network.encoder:
            tokens = layer(tokens, None)
        away = tokens[0, -1] - tokens[0, :-1].mean(dim=0)
        pointer.readout.weight[0, 0] = 1.0
        pointer.objects[0].weight.zero_()
        pointer.objects[0].weight[0] = away * 100
        pointer.tokens[0].weight.zero_()
        pointer.tokens[0].bias.zero_()
        pointer.tokens[0].bias[0] = 10.0
    given = observer.token_probabilities(display, [3])
    assert given[0, -1] == 0
    assert given[1, -1] > 0.999
    assert all(len(path) == 1 for path in observer.sample(display, 50))


def test_scanpaths_are_cut_at_the_longest():
    long, short = make_observer(), make_observer(max_fixations=3)
    uncut = [path.tolist() for path in long.sample(grid(), 40)]
    cut = [path.tolist() for path in short.sample(grid(), 40)]
    assert cut == [path[:3] for path in uncut]
    assert max(len(path) for path in uncut) > 3


def test_objects_can_be_fixated_again():
    paths = make_observer().sample(grid("b", 2, 2, 1), 50)
    assert any((np.diff(path) == 0).any() for path in paths)
    assert any(len(set(path)) < len(path) for path in paths)


def test_samples_do_not_depend_on_how_many_there_are():
    observer = make_observer()
    many = observer.sample(grid(), 60)
    assert_same(observer.sample(grid(), 7), many[:7])
    assert len({tuple(path) for path in many}) > 50


@pytest.mark.parametrize("greedy", [False, True])
def test_displays_decoded_together_give_the_scanpaths_of_each_alone(greedy):
    # Other grids pad theirs; scanpaths that ended leave while others go on.
    observer = make_observer(sharpness=2.0, greedy=greedy)
    together = observer.sample_displays(DISPLAYS, 30, seed=5)
    for display, paths in zip(DISPLAYS, together, strict=True):
        assert_same(paths, observer.sample(display, 30, seed=5))
    backwards = observer.sample_displays(DISPLAYS[::-1], 30, seed=5)
    for one, other in zip(together, backwards[::-1], strict=True):
        assert_same(one, other)
    assert observer.sample_displays([], 3) == []


def test_more_displays_than_are_encoded_at_once_change_nothing():
    observer = make_observer(BLIND, max_fixations=4)
    displays = [grid(f"d{k}", 1 + k % 3, 3, 0) for k in range(40)]
    together = observer.sample_displays(displays, 2)
    assert len(together) == 40
    for k in (0, 31, 32, 39):
        assert_same(together[k], observer.sample(displays[k], 2))


def test_a_seed_and_a_display_decide_what_is_drawn():
    observer = make_observer()
    again = [p.tolist() for p in observer.sample(grid(), 5, seed=3)]
    assert [p.tolist() for p in observer.sample(grid(), 5, seed=3)] == again
    assert [p.tolist() for p in observer.sample(grid(), 5, seed=4)] != again
    other = replace(grid(), stimulus_id="other")
    assert [p.tolist() for p in observer.sample(other, 5, seed=3)] != again


def test_at_low_temperature_sampling_is_greedy():
    observer = make_observer()
    cold = observer.sample_displays(DISPLAYS, 3, temperature=1e-6)
    greedy = replace(observer, greedy=True).sample_displays(DISPLAYS, 3)
    for one, other in zip(cold, greedy, strict=True):
        assert_same(one, other)


def test_at_high_temperature_all_tokens_are_equally_frequent():
    observer = make_observer(max_fixations=1, sharpness=4.0)
    (paths,) = observer.sample_displays([grid("b", 2, 2, 1)], 2000, temperature=1e6)
    counts = np.bincount(np.concatenate(paths), minlength=4)
    assert chisquare(counts).pvalue > 0.01
    warm = np.bincount(np.concatenate(observer.sample(grid("b", 2, 2, 1), 2000)))
    assert chisquare(warm).pvalue < 1e-6


def test_decoding_leaves_random_numbers_of_others_alone():
    observer = make_observer()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    observer.sample(grid(), 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 0}, "`n_samples`"),
        ({"n_samples": 1, "seed": -1}, "`seed`"),
        ({"n_samples": 1, "temperature": 0.0}, "`temperature`"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_observer().sample_displays([grid()], **arguments)


def test_an_observer_that_never_fixates_is_refused():
    with pytest.raises(ValueError, match="`max_fixations`"):
        make_observer(max_fixations=0)


# ------------------------------------------------------------------- likelihood

TRIALS = [
    ObjectTrial(DISPLAYS[0], "ann", [3, 5]),
    ObjectTrial(DISPLAYS[1], "ann", [0, 0, 3, 1, 2]),
    ObjectTrial(DISPLAYS[0], "bob", [11]),
    ObjectTrial(DISPLAYS[2], "bob", [4, 2, 4]),
    ObjectTrial(DISPLAYS[3], "bob", [19, 0, 1, 7, 7, 7, 3]),
]


@pytest.mark.parametrize("trial", TRIALS, ids=lambda t: t.display.stimulus_id)
def test_the_likelihood_is_made_of_the_probabilities_of_the_tokens(trial):
    observer = make_observer()
    given = observer.token_probabilities(trial.display, trial.cells)
    assert given.shape == (len(trial.cells) + 1, trial.display.n_cells + 1)
    assert given.dtype == np.float64
    np.testing.assert_allclose(given.sum(axis=1), 1.0, atol=1e-12)
    assert given[0, -1] == 0
    assert (given[1:] > 0).all()
    (logs,) = observer.log_likelihood([trial])
    expected = np.log(given[np.arange(len(given)), trial.tokens])
    np.testing.assert_allclose(logs, expected, atol=1e-12)
    np.testing.assert_allclose(token_nats(observer, trial), -expected, atol=1e-12)


def test_trials_of_several_grids_together_have_the_likelihoods_of_each_alone():
    observer = make_observer()
    together = observer.log_likelihood(TRIALS)
    for trial, logs in zip(TRIALS, together, strict=True):
        (alone,) = observer.log_likelihood([trial])
        np.testing.assert_allclose(logs, alone, atol=1e-5)
    assert observer.log_likelihood([]) == []
    many = observer.log_likelihood(TRIALS * 10)
    for one, other in zip(many, together * 10, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_displays_of_one_name_and_different_looks_are_kept_apart():
    observer = make_observer()
    other = replace(grid(), appearance=features(12, 9))
    trials = [ObjectTrial(d, "ann", [3, 5]) for d in (grid(), other)]
    one, two = observer.log_likelihood(trials)
    assert np.abs(one - two).max() > 1e-3
    np.testing.assert_allclose(two, observer.log_likelihood(trials[1:])[0], atol=1e-5)


def test_a_scanpath_with_objects_that_are_not_there_is_refused():
    with pytest.raises(ValueError, match=r"`cells` must name objects 0\.\.11"):
        make_observer().token_probabilities(grid(), [0, 12])
    with pytest.raises(ValueError, match="`cells` is empty"):
        make_observer().token_probabilities(grid(), [])


def test_it_is_a_model_of_scanpaths_and_of_tokens():
    observer = make_observer()
    assert isinstance(observer, FittedScanpathModel)
    assert isinstance(observer, TokenModel)


def test_what_it_knows_follows_from_the_architecture():
    known = [
        knowledge(replace(config, target_position=told))
        for config in (TINY, BLIND)
        for told in ("none", "true")
    ]
    assert known == ["appearance", "position", "none", "position"]
    assert set(known) <= set(KNOWLEDGE)
    assert make_observer(BLIND).knows == "none"


def test_identity_follows_weights_and_decoding_and_not_names():
    one = make_observer()
    assert one.identity == make_observer(name="x", notes=("y",)).identity
    for other in (
        make_observer(seed=2),
        make_observer(max_fixations=5),
        make_observer(greedy=True),
        make_observer(replace(TINY, target_position="true")),
    ):
        assert other.identity != one.identity
    json.dumps(one.identity)


# Log-likelihoods of the tokens of TRIALS[0] and TRIALS[3], of weights of seed 1.
FROZEN = {
    "features": (
        [-2.56108, -2.28448, -2.04132],
        [-2.05900, -1.39740, -2.19956, -2.50949],
    ),
    "none": (
        [-2.19126, -2.77110, -2.37145],
        [-1.55728, -1.69165, -1.76374, -1.64952],
    ),
}


@pytest.mark.parametrize("kind", FROZEN)
def test_outputs_of_seeded_weights_stay_what_they_are(kind):
    observer = make_observer({"features": TINY, "none": BLIND}[kind])
    found = observer.log_likelihood([TRIALS[0], TRIALS[3]])
    for logs, expected in zip(found, FROZEN[kind], strict=True):
        np.testing.assert_allclose(logs, expected, atol=1e-4)


# -------------------------------------------------------------------- attention


def test_attention_tells_a_share_of_every_object_before_each_token():
    found = make_observer().attention(grid(), [3, 5, 5])
    assert found.shape == (2, 4, 13)
    np.testing.assert_allclose(found.sum(axis=2), 1.0, atol=1e-6)
    assert found.min() > 0
    cut = make_observer().attention(grid(), [3])
    np.testing.assert_allclose(found[:, :2], cut, atol=1e-6)


def test_attention_checks_the_scanpath():
    with pytest.raises(TypeError, match="whole numbers"):
        make_observer().attention(grid(), [0.5])


# ------------------------------------------------------------------- appearance


def picture_display(height=30, width=20, seed=0):
    pictures = np.random.default_rng(seed).integers(
        0, 256, (6, height, width, 3), np.uint8
    )
    return replace(grid(rows=2, cols=3), appearance=pictures)


def test_pictures_of_the_right_size_become_red_green_blue_from_0_to_1():
    display = picture_display(150, 93)
    found = display_appearance(display, "crops", 0)
    expected = display.appearance.transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("size", [(300, 186), (30, 20), (400, 50), (1, 1)])
def test_pictures_are_scaled_to_150_by_93(size):
    display = picture_display(*size)
    found = display_appearance(display, "crops", 0)
    assert found.shape == (6, 3, 150, 93)
    assert 0 <= found.min() <= found.max() <= 1
    for picture, scaled in zip(display.appearance, found, strict=True):
        pil = Image.fromarray(picture).resize((93, 150), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(
            scaled.permute(1, 2, 0), np.asarray(pil) / 255, atol=1.1 / 255
        )


def test_raw_pixels_are_blue_green_red_from_0_to_255():
    config = OATConfig(raw_pixels=True)
    display = picture_display(150, 93)
    looks = object_batch([display], config).looks
    assert looks is not None
    expected = display.appearance[..., ::-1].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(looks[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "display", "message"),
    [
        (TINY, picture_display(), "takes features of objects; 'a' has crops"),
        (TINY, replace(grid(), appearance=None), "takes features .* 'a' has none"),
        (OATConfig(), grid(), "takes crops of objects; 'a' has features"),
        (replace(TINY, n_features=7), grid(), "takes 7 features .* 'a' has 6"),
    ],
)
def test_a_display_with_another_appearance_is_refused(config, display, message):
    observer = OAT(OATNetwork(config), 5)
    with pytest.raises(ValueError, match=message):
        observer.sample(display, 1)
    with pytest.raises(ValueError, match=message):
        observer.token_probabilities(display, [0])


def test_without_appearance_looks_are_ignored():
    observer = make_observer(BLIND)
    one = observer.token_probabilities(grid(), [1, 2])
    other = observer.token_probabilities(replace(grid(), appearance=None), [1, 2])
    np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def timm_weights(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = timm.create_model("test_resnet").state_dict()
    path = tmp_path_factory.mktemp("timm") / "resnet.safetensors"
    save_file(state, path)
    return path


def timm_by_hand(path, images):
    network = timm.create_model("test_resnet", num_classes=0).eval()
    network.load_state_dict(load_file(path), strict=False)
    with torch.inference_mode():
        return network(torch.from_numpy(images)).numpy()


def test_features_are_those_that_timm_computes(timm_weights):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 160, 160, 3), np.uint8)
    found = timm_features(pictures, "test_resnet", weights=timm_weights, batch_size=2)
    images = ((pictures / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2).astype(np.float32)
    expected = timm_by_hand(timm_weights, images)
    assert found.dtype == np.float32
    assert found.shape == (5, 96)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_features_are_those_of_the_whole_picture_scaled(timm_weights):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3), np.uint8)
    found = timm_features(pictures, "test_resnet", weights=timm_weights)
    scaled = np.stack(
        [
            Image.fromarray(p).resize((160, 160), Image.Resampling.BICUBIC)
            for p in pictures
        ]
    )
    images = ((scaled / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2).astype(np.float32)
    expected = timm_by_hand(timm_weights, images)
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
    display = replace(grid(rows=1, cols=3, target=0), appearance=found)
    config = replace(TINY, n_features=found.shape[1])
    assert len(OAT(OATNetwork(config), 5).sample(display, 2)) == 2


def test_errors_of_features_name_what_is_wrong(timm_weights, tmp_path, monkeypatch):
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=r"got 'test_resnt'\. Did you mean 'test_res"):
        timm_features(pictures, "test_resnt", weights=timm_weights)
    with pytest.raises(ValueError, match=r"do not fit: .* missing"):
        timm_features(pictures, "test_vit", weights=timm_weights)
    with pytest.raises(TypeError, match="`pictures` must have dtype"):
        timm_features(pictures / 255, "test_resnet", weights=timm_weights)
    with pytest.raises(ValueError, match="`pictures` is empty"):
        timm_features(pictures[:0], "test_resnet", weights=timm_weights)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(timm_weights.read_bytes()[:1000])
    with pytest.raises(DataCorruptError, match=r"cut\.safetensors"):
        timm_features(pictures, "test_resnet", weights=cut)
    with pytest.raises(FileNotFoundError, match="absent"):
        timm_features(pictures, "test_resnet", weights=tmp_path / "absent.pt")
    monkeypatch.setenv("NEUROVIS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="downloads are off"):
        timm_features(pictures, "test_resnet")


# ------------------------------------------------------------------------ files


def test_a_saved_observer_is_read_back_exactly(tmp_path):
    path = tmp_path / "oat.safetensors"
    observer = make_observer(max_fixations=17, name="x", notes=("Told of é.", "b"))
    observer.save(path)
    found = load_oat("y", weights=path, device="cpu")
    assert (found.name, found.notes) == ("y", ("Told of é.", "b"))
    assert found.identity == observer.identity
    assert found.max_fixations == 17
    assert not found.network.training
    assert_same(found.sample(grid(), 10), observer.sample(grid(), 10))
    greedy = load_oat(weights=path, device="cpu", greedy=True, label="z")
    assert (greedy.name, greedy.greedy) == ("z", True)


def test_half_the_bits_change_likelihoods_little(tmp_path):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    observer = make_observer(sharpness=4.0)
    observer.save(whole)
    observer.save(half, half=True)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    found = load_oat(weights=half, device="cpu")
    assert {p.dtype for p in found.network.parameters()} == {torch.float32}
    for one, other in zip(
        found.log_likelihood(TRIALS), observer.log_likelihood(TRIALS), strict=True
    ):
        assert 0 < np.abs(one - other).max() < 1e-2


def test_equal_observers_give_equal_files_that_tell_the_architecture(tmp_path):
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    make_observer(notes=("a",)).save(one)
    make_observer(notes=("a",)).save(other)
    assert one.read_bytes() == other.read_bytes()
    (tmp_path / "plain").write_text("")
    assert one.stat().st_mode == (tmp_path / "plain").stat().st_mode
    with safe_open(one, "pt") as file:
        about = json.loads(file.metadata()["oat"])
    assert about["config"]["n_features"] == N_FEATURES
    assert about["max_fixations"] == 30
    assert about["notes"] == ["a"]


def test_a_hash_is_checked(tmp_path):
    path = tmp_path / "oat.safetensors"
    make_observer().save(path)
    with pytest.raises(DataCorruptError, match=r"SHA-256|hash"):
        load_oat(weights=path, sha256="0" * 64, device="cpu")


def with_description(path, text):
    """Write an observer's file with another description."""
    make_observer().save(path)
    state = load_file(path)
    save_file(state, path, None if text is None else {"oat": text})


def described(**changes):
    config = {"appearance": "features", "n_features": N_FEATURES}
    about = {"config": config, "max_fixations": 5, "notes": []}
    return json.dumps({**about, **changes})


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, ValueError, "holds tensors, but no description of an OAT"),
        ("{", DataCorruptError, "none of an OAT .*JSONDecodeError"),
        ("[]", DataCorruptError, "none of an OAT"),
        ('{"config": {}}', DataCorruptError, "none of an OAT"),
        (described(config={"depth": 3}), DataCorruptError, "'depth'"),
        (described(config={"n_heads": "x"}), DataCorruptError, "`n_heads`"),
        (described(max_fixations=0), DataCorruptError, "`max_fixations`"),
        (described(max_fixations="x"), DataCorruptError, "`max_fixations`"),
        (described(notes=None), DataCorruptError, "none of an OAT"),
        (described(), ValueError, "do not fit: .* another architecture"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, error, message):
    path = tmp_path / "oat.safetensors"
    with_description(path, text)
    with pytest.raises(error, match=message) as caught:
        load_oat(weights=path, device="cpu")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 200, -100])
def test_a_cut_file_is_refused(tmp_path, keep):
    path = tmp_path / "oat.safetensors"
    make_observer().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataCorruptError, match=r"oat\.safetensors"):
        load_oat(weights=path, device="cpu")


def test_a_file_with_a_damaged_head_is_refused(tmp_path):
    path = tmp_path / "oat.safetensors"
    make_observer().save(path)
    data = bytearray(path.read_bytes())
    data[:8] = struct.pack("<Q", 2**60)
    path.write_bytes(data)
    with pytest.raises(DataCorruptError, match=r"oat\.safetensors"):
        load_oat(weights=path, device="cpu")


def test_missing_weights_and_wrong_endings_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="`weights` must be an existing file"):
        load_oat(weights=tmp_path / "absent.safetensors", device="cpu")
    other = tmp_path / "oat.pt"
    torch.save({"a": torch.ones(1)}, other)
    with pytest.raises(ValueError, match=r"\.safetensors"):
        load_oat(weights=other, device="cpu")
    with pytest.raises(ValueError, match=r"must end in \.safetensors; got 'oat\.pt'"):
        make_observer().save(other)


def test_names_of_shipped_weights_follow_what_the_network_is_told():
    assert shipped_name("none") != shipped_name("true")
    with pytest.raises(ValueError, match="target_position"):
        shipped_name("maybe")


def test_scanpaths_are_padded_with_zeros():
    assert pad_cells([np.array([4]), np.array([1, 2, 3])]).tolist() == [
        [4, 0, 0],
        [1, 2, 3],
    ]
