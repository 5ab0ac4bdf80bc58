"""Descriptions of schedulers: what is kept of them, and which are refused."""

import re

import diffusers
import pytest
import torch

from neurovis.adapters.scheduler_files import SCHEDULERS, check_betas, read_scheduler

STABLE = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}


@pytest.fixture
def path(tmp_path):
    """Name of a file, for messages."""
    return tmp_path / "scheduler_config.json"


def refused(error, told, path, message):
    with pytest.raises(error, match=message) as caught:
        check_betas(read_scheduler(STABLE | told, path), path)
    assert str(path) in str(caught.value)


def test_what_belongs_to_the_model_is_kept_and_nothing_else(path):
    known = read_scheduler(STABLE, path)
    assert known == {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "steps_offset": 1,
        "set_alpha_to_one": False,
    }
    check_betas(known, path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_tell_noise_by_betas_alone(path, name):
    # Those that need packages of their own are no more than names here.
    kind = getattr(diffusers, name)
    if "dummy" in kind.__module__:
        pytest.skip(f"{name} needs a package that is not installed")
    told = {"beta_start": 0.001, "beta_end": 0.02, "beta_schedule": "linear"}
    made = kind(**told)
    expected = torch.linspace(0.001, 0.02, 1000)
    assert torch.allclose(made.betas, expected, atol=1e-7)
    known = read_scheduler(dict(made.config) | {"_class_name": name}, path)
    assert {key: known[key] for key in told} == told
    check_betas(known, path)


@pytest.mark.parametrize(
    "told",
    [
        {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"rescale_betas_zero_snr": True},
        {"beta_schedule": None, "trained_betas": [0.1, 0.2], "num_train_timesteps": 2},
        {"beta_end": 1.0},
    ],
)
def test_betas_of_all_known_kinds_are_taken(path, told):
    check_betas(read_scheduler(STABLE | told, path), path)


@pytest.mark.parametrize(
    "name",
    ["NoSuchScheduler", "EDMEulerScheduler", "LCMScheduler", "", None, ["DDPM"]],
)
def test_other_schedulers_are_refused(path, name):
    message = rf"describes {re.escape(repr(name))} with the beta_schedule 'scaled_l"
    refused(ValueError, {"_class_name": name}, path, message)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"beta_schedule": "sigmoid"}, "'PNDMScheduler' with the beta_schedule 'sigm"),
        ({"beta_schedule": None}, "beta_schedule None, whose noise is not one"),
        ({"use_flow_sigmas": True}, "flow matching is not"),
        ({"prediction_type": "velocity"}, "'v_prediction', 'sample'; got 'velocity'"),
        ({"timestep_spacing": "even"}, "timestep_spacing of .*'trailing'; got 'even'"),
        ({"num_train_timesteps": 0}, "num_train_timesteps of .*; got 0"),
        ({"steps_offset": 5000}, r"steps_offset of .*within \[0, 1\]; got 5000"),
    ],
)
def test_other_noise_and_predictions_are_refused(path, told, message):
    refused(ValueError, told, path, message)


def test_a_number_of_steps_must_be_a_number(path):
    refused(TypeError, {"num_train_timesteps": "1000"}, path, "must be a number")


@pytest.mark.parametrize(
    "told",
    [
        {"beta_start": float("nan")},
        {"beta_start": float("inf")},
        {"beta_start": 0.0},
        {"beta_start": -0.1},
        {"beta_start": -0.1, "beta_schedule": "linear"},
        {"beta_start": "small"},
        {"beta_start": [0.1]},
        {"beta_end": 3.0},
        {"trained_betas": [0.1, 0.2]},
        {"trained_betas": [0.1] * 999 + [1.5]},
        {"trained_betas": ["a"] * 1000},
        {"trained_betas": [[0.1] * 1000]},
        {"trained_betas": 0.5},
        {"trained_betas": {"a": 1}},
    ],
)
def test_betas_that_cannot_be_are_told_with_what_is_needed(path, told):
    message = "tells betas that cannot be used: numbers above 0 and up to 1 are needed"
    refused(ValueError, told, path, message)
    with pytest.raises(ValueError, match=r"one for each .*; it has \{") as error:
        check_betas(read_scheduler(STABLE | told, path), path)
    assert len(str(error.value)) < 600
