"""The trainer as published recipes of classifiers need it."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from neurovis.fitting.checkpoints import snapshot_file
from neurovis.fitting.train import TrainSettings, train


def data(n_batches=5, n=8):
    draw = torch.Generator().manual_seed(3)
    return [
        (torch.randn(n, 4, generator=draw), torch.randn(n, 2, generator=draw))
        for _ in range(n_batches)
    ]


BATCHES = data()


def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def squared_error(module, batch):
    x, y = batch
    return (module(x) - y).square().sum(), float(len(x))


def published(**options):
    values = {
        "max_epochs": 6,
        "optimiser": "sgd",
        "learning_rate": 0.1,
        "weight_decay": 0.05,
        "decay_all": True,
        "betas": (0.9, 0.0),
        "nesterov": True,
        "schedule": "step",
        "step_epochs": (2, 3),
        "step_factor": 0.25,
        "clip_norm": None,
    }
    return TrainSettings(**(values | options))


def by_hand(fresh):
    """The loop as such papers write it, with torch alone."""
    module = copy.deepcopy(network())
    rates = [0.1, 0.1, 0.025, 0.00625, 0.00625, 0.00625]
    optimiser = None
    for rate in rates:
        if optimiser is None or fresh:
            optimiser = torch.optim.SGD(
                module.parameters(), rate, 0.9, weight_decay=0.05, nesterov=True
            )
        for group in optimiser.param_groups:
            group["lr"] = rate
        for x, y in BATCHES:
            optimiser.zero_grad()
            ((module(x) - y).square().sum() / len(x)).backward()
            optimiser.step()
    return module.state_dict()


@pytest.mark.parametrize("fresh", [False, True])
def test_stages_of_sgd_with_nesterov_equal_a_loop_of_torch_alone(fresh):
    settings = published(fresh_optimiser=fresh)
    found = train(network(), lambda epoch: BATCHES, squared_error, settings=settings)
    for name, value in by_hand(fresh).items():
        torch.testing.assert_close(found.state[name], value)


def test_an_optimiser_that_forgets_gives_other_weights():
    one, other = by_hand(False), by_hand(True)
    assert (one["0.weight"] - other["0.weight"]).abs().max() > 1e-3


@pytest.mark.parametrize("fresh", [False, True])
def test_stopped_in_an_epoch_it_ends_with_the_same_bits(tmp_path, fresh):
    settings = published(fresh_optimiser=fresh, checkpoint_s=0.0)
    calls = []

    def stops(module, batch):
        calls.append(1)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return squared_error(module, batch)

    def run(loss, folder=None):
        return train(
            network(), lambda epoch: BATCHES, loss, settings=settings, folder=folder
        )

    with pytest.raises(KeyboardInterrupt):
        run(stops, tmp_path)
    resumed, whole = run(squared_error, tmp_path), run(squared_error)
    for name, value in whole.state.items():
        assert torch.equal(resumed.state[name], value)


def test_the_last_weights_are_kept_when_asked_for_although_others_were_better(tmp_path):
    values = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0] * 2)

    def validate(module):
        return {"loss": next(values)}

    def run(keep):
        return train(
            network(),
            lambda epoch: BATCHES,
            squared_error,
            settings=published(keep=keep),
            validate=validate,
        )

    best, last = run("best"), run("last")
    assert (best.best_epoch, last.best_epoch) == (1, 5)
    assert last.curves["best"].tolist() == [False] * 5 + [True]
    alone = train(network(), lambda epoch: BATCHES, squared_error, settings=published())
    assert torch.equal(last.state["0.weight"], alone.state["0.weight"])
    assert not torch.equal(best.state["0.weight"], last.state["0.weight"])


def test_snapshots_hold_the_weights_after_so_many_epochs(tmp_path):
    def run(settings, **options):
        return train(
            network(), lambda e: BATCHES, squared_error, settings=settings, **options
        )

    run(published(), folder=tmp_path, snapshots=(0, 2, 6))
    found = {n: load_file(tmp_path / snapshot_file(n)) for n in (0, 2, 6)}
    assert len(list(tmp_path.glob("epoch-*"))) == 3
    after_two = run(published(max_epochs=2)).state
    for name, value in network().state_dict().items():
        assert torch.equal(found[0][name], value)
        assert torch.equal(found[2][name], after_two[name])
        assert torch.equal(
            found[6][name], load_file(tmp_path / "model.safetensors")[name]
        )


def test_snapshots_without_a_folder_or_beyond_the_end_are_refused(tmp_path):
    def run(**options):
        settings = published()
        train(network(), lambda e: BATCHES, squared_error, settings=settings, **options)

    with pytest.raises(ValueError, match="`snapshots` are kept in `folder`"):
        run(snapshots=(1,))
    with pytest.raises(ValueError, match="`snapshots` must be within"):
        run(snapshots=(7,), folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"optimiser": "adam"}, "`nesterov` needs the optimiser 'sgd'"),
        ({"betas": (0.0, 0.0)}, "momentum above 0"),
        ({"step_epochs": (2, 0)}, "`step_epochs` must be within"),
        ({"keep": "first"}, "`keep` must be one of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        published(**options)
