"""The trainer: what it computes, which weights it returns, how it ends."""

import copy
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, read_table
from neurovis.fitting.train import TrainSettings, train

RESULT_FILES = ["curves.csv", "model.safetensors", "training.json"]


def data(n_batches=5, n=8, seed=3):
    draw = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(n, 4, generator=draw), torch.randn(n, 2, generator=draw))
        for _ in range(n_batches)
    ]


BATCHES = data()


def network(dropout=0.0, norm=False, seed=1):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Linear(4, 6), nn.BatchNorm1d(6) if norm else nn.Identity()]
        return nn.Sequential(*layers, nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 2))


def squared_error(module, batch):
    x, y = batch
    return (module(x) - y).square().sum(), float(len(x))


def validate(module):
    x, y = BATCHES[0]
    assert not module.training
    assert not torch.is_grad_enabled()
    return {"loss": (module(x) - y).square().mean().item()}


def fit(module=None, *, batches=BATCHES, loss=squared_error, **options):
    named = {k: options.pop(k) for k in list(options) if hasattr(TrainSettings, k)}
    settings = TrainSettings(**({"max_epochs": 4, "learning_rate": 0.01} | named))
    chosen = batches if callable(batches) else lambda epoch: batches
    return train(module or network(), chosen, loss, settings=settings, **options)


def assert_equal(one, other):
    assert one.state.keys() == other.state.keys()
    for name, value in one.state.items():
        assert torch.equal(value, other.state[name]), name
    pd.testing.assert_frame_equal(one.curves, other.curves, check_exact=True)
    for field in ("best_epoch", "n_epochs", "stopped"):
        assert getattr(one, field) == getattr(other, field)


# ------------------------------------------------------------ what is computed


def test_a_linear_regression_is_recovered_in_agreement_with_least_squares():
    draw = np.random.default_rng(5)
    x = draw.normal(size=(200, 3))
    y = x @ [1.0, -2.0, 0.5] + 0.7 + 0.1 * draw.normal(size=200)
    design = np.column_stack([x, np.ones(200)])
    exact = np.linalg.lstsq(design, y, rcond=None)[0]
    batch = (torch.tensor(x), torch.tensor(y)[:, None])
    result = fit(
        nn.Linear(3, 1).double(),
        batches=[batch],
        max_epochs=800,
        learning_rate=0.05,
        schedule="cosine",
        clip_norm=None,
    )
    found = [*result.state["weight"][0].tolist(), result.state["bias"].item()]
    np.testing.assert_allclose(found, exact, atol=1e-6)
    residual = y - design @ exact
    assert result.curves["loss"].iloc[-1] == pytest.approx(np.mean(residual**2))


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("clip_norm", [None, 0.3])
def test_training_equals_a_plain_loop_to_the_last_bit(optimiser, clip_norm):
    module = network()
    plain = copy.deepcopy(module)
    kinds = {
        "adam": lambda p: torch.optim.Adam(p, lr=0.01),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    }
    steps = kinds[optimiser](plain.parameters())
    losses, norms = [], []
    for _ in range(4):
        losses.append(0.0)
        norms.append(0.0)
        for x, y in BATCHES:
            total = (plain(x) - y).square().sum()
            (total / len(x)).backward()
            limit = clip_norm or torch.inf
            norm = nn.utils.clip_grad_norm_(plain.parameters(), limit)
            steps.step()
            steps.zero_grad()
            losses[-1] += total.item() / (len(x) * len(BATCHES))
            norms[-1] += norm.item() / len(BATCHES)
    result = fit(module, optimiser=optimiser, clip_norm=clip_norm)
    for name, value in plain.state_dict().items():
        assert torch.equal(result.state[name], value)
    np.testing.assert_allclose(result.curves["loss"], losses, rtol=1e-12)
    np.testing.assert_allclose(result.curves["grad_norm"], norms, rtol=1e-12)
    assert result.curves["step"].tolist() == [5, 10, 15, 20]


def test_accumulated_batches_of_unequal_size_are_one_large_batch():
    sizes = [3, 9, 1, 7, 4]
    parts = [
        tuple(v.double() for v in data(1, n, seed=n)[0]) for n in sizes
    ]  # 2 steps: three batches, then the two that are left
    large = [
        tuple(torch.cat([p[i] for p in some]) for i in (0, 1))
        for some in (parts[:3], parts[3:])
    ]
    module = network().double()
    small_steps = fit(module, batches=parts, accumulate=3)
    large_steps = fit(module, batches=large)
    for name, value in large_steps.state.items():
        torch.testing.assert_close(
            small_steps.state[name], value, rtol=1e-10, atol=1e-12
        )
    columns = ["step", "loss", "grad_norm"]
    np.testing.assert_allclose(
        small_steps.curves[columns], large_steps.curves[columns], rtol=1e-10
    )


def test_every_schedule_gives_the_stated_learning_rates():
    def rates(**options):
        result = fit(batches=BATCHES[:2], learning_rate=1.0, **options)
        return result.curves["learning_rate"].tolist()

    assert rates() == [1.0] * 4
    cosine = [(1 + np.cos(np.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert rates(schedule="cosine") == pytest.approx(cosine)
    halved = rates(schedule="step", step_epochs=2, step_factor=0.5)
    assert halved == [1.0, 1.0, 0.5, 0.5]
    # The rates are those of the last of two steps of each epoch.
    assert rates(warmup_steps=5) == pytest.approx([0.4, 0.8, 1.0, 1.0])


def test_the_learning_rate_of_the_schedule_is_the_one_of_the_step():
    line = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        line.weight.zero_()
    result = fit(
        line,
        batches=[1.0, 1.0],  # a gradient of 1 whatever the weight is
        loss=lambda module, batch: (module.weight.sum() * batch, 1),
        optimiser="sgd",
        betas=(0.0, 0.9),
        learning_rate=1.0,
        warmup_steps=4,
        schedule="step",
        step_factor=0.5,
        max_epochs=3,
    )
    rates = [0.25, 0.5, 0.75 / 2, 1.0 / 2, 1.0 / 4, 1.0 / 4]
    assert result.state["weight"].item() == pytest.approx(-sum(rates))


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_weight_decay_leaves_tensors_of_one_dimension_alone(optimiser):
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    with torch.no_grad():
        module[0].bias.fill_(1.0)
    result = fit(
        module,
        batches=[None],
        loss=lambda m, batch: (sum(p.sum() for p in m.parameters()) * 0.0, 1),
        optimiser=optimiser,
        betas=(0.0, 0.9),
        learning_rate=0.1,
        weight_decay=0.5,
        clip_norm=None,
        max_epochs=1,
    )
    before = module.state_dict()
    shrunk = before["0.weight"] * (1 - 0.1 * 0.5)
    torch.testing.assert_close(result.state["0.weight"], shrunk)
    for name in ("0.bias", "1.weight", "1.bias"):
        assert torch.equal(result.state[name], before[name])


def test_the_moving_average_is_returned_and_validated():
    line = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        line.weight.zero_()
    seen = []

    def look(module):
        seen.append(module.weight.item())
        return {"loss": -module.weight.item()}

    result = fit(
        line,
        batches=[-1.0],
        loss=lambda module, batch: (module.weight.sum() * batch, 1),
        validate=look,
        optimiser="sgd",
        betas=(0.0, 0.9),
        learning_rate=1.0,
        ema_decay=0.3,
        max_epochs=3,
    )
    decays = [min(0.3, (1 + n) / (10 + n)) for n in (1, 2, 3)]
    average, expected = 0.0, []
    for weight, decay in zip((1.0, 2.0, 3.0), decays, strict=True):
        average = decay * average + (1 - decay) * weight
        expected.append(average)
    assert seen == pytest.approx(expected)
    assert result.state["weight"].item() == pytest.approx(expected[-1])


def test_parameters_without_gradient_stay_fixed():
    module = network()
    module[0].requires_grad_(False)
    result = fit(module, optimiser="adamw", weight_decay=0.1)
    assert torch.equal(result.state["0.weight"], module[0].weight)
    assert not torch.equal(result.state["4.weight"], module[4].weight)


def test_the_module_that_was_given_is_not_changed():
    module = network(norm=True).eval()
    before = copy.deepcopy(module.state_dict())
    fit(module, validate=validate)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert not module.training
    assert module[0].weight.grad is None


@pytest.mark.parametrize("precision", ["mixed", "bfloat16", "float16"])
def test_sixteen_bits_run_on_the_cpu_and_come_close(precision):
    kinds = []

    def loss(module, batch):
        kinds.append(module(batch[0]).dtype)
        return squared_error(module, batch)

    exact = fit(max_epochs=20)
    mixed = fit(max_epochs=20, loss=loss, precision=precision)
    half = torch.float16 if precision == "float16" else torch.bfloat16
    assert set(kinds) == {half}
    assert mixed.state["0.weight"].dtype == torch.float32
    assert not torch.equal(mixed.state["0.weight"], exact.state["0.weight"])
    last = mixed.curves["loss"].iloc[-1]
    assert last == pytest.approx(exact.curves["loss"].iloc[-1], rel=0.02)


# ------------------------------------------------------- which weights, and when


def judged(values, seen=None):
    """Return a validation that gives one value after the other."""
    left = iter(values)

    def look(module):
        if seen is not None:
            seen.append(copy.deepcopy(module.state_dict()))
        return {"loss": next(left), "other": 0.0}

    return look


def test_the_best_weights_are_returned_not_the_last():
    seen = []
    result = fit(validate=judged([3.0, 1.0, 2.0, 5.0], seen))
    assert result.best_epoch == 1
    assert result.stopped == "max_epochs"
    assert result.curves["best"].tolist() == [False, True, False, False]
    for name, value in result.state.items():
        assert torch.equal(value, seen[1][name])
        assert not torch.equal(value, seen[3][name])


def test_of_equal_values_the_first_is_best():
    assert fit(validate=judged([2.0, 1.0, 1.0, 1.0])).best_epoch == 1


def test_more_can_be_better():
    result = fit(validate=judged([2.0, 7.0, 1.0, 7.0]), more_is_better=True)
    assert result.best_epoch == 1


def test_an_undefined_value_is_never_best():
    assert fit(validate=judged([np.nan, 4.0, np.nan, 5.0])).best_epoch == 1
    with pytest.raises(ValueError, match="gave NaN for 'loss' each time"):
        fit(validate=judged([np.nan] * 4))


def test_patience_counts_validations_not_epochs():
    values = [5.0, 6.0, 4.0, 4.0, 7.0, 4.0]
    result = fit(validate=judged(values), patience=2, validate_every=3, max_epochs=100)
    assert result.stopped == "patience"
    assert result.n_epochs == 15  # validations 4 and 5 are no better than 3
    assert result.best_epoch == 8
    validated = result.curves["val_loss"].notna()
    assert validated.to_numpy().nonzero()[0].tolist() == [2, 5, 8, 11, 14]


def test_without_patience_all_epochs_are_trained():
    result = fit(validate=judged(range(9)), patience=None, max_epochs=9)
    assert (result.n_epochs, result.stopped) == (9, "max_epochs")


def test_there_is_a_validation_after_the_last_epoch():
    result = fit(validate=judged([2.0, 1.0]), validate_every=3, max_epochs=4)
    assert result.curves["val_loss"].notna().tolist() == [False, False, True, True]
    assert result.best_epoch == 3


def test_without_validation_the_last_weights_are_returned():
    result = fit()
    assert result.best_epoch == 3
    assert list(result.curves) == [
        "epoch",
        "step",
        "learning_rate",
        "loss",
        "grad_norm",
        "best",
    ]


# ------------------------------------------------------------------ randomness


def test_the_result_depends_on_the_seed_and_not_on_the_callers_generators():
    def noisy(module):
        return {"loss": torch.rand(()).item()}

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fit(network(0.5), seed=4, validate=noisy)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_equal(fit(network(0.5), seed=4, validate=noisy), first)
    other = fit(network(0.5), seed=5, validate=noisy)
    assert not torch.equal(other.state["0.weight"], first.state["0.weight"])
    assert other.curves["val_loss"].nunique() == 4


def test_every_batch_of_every_epoch_has_a_stream_of_its_own():
    drawn = []

    def loss(module, batch):
        drawn.append(torch.rand(()).item())
        return squared_error(module, batch)

    fit(loss=loss)
    assert len(set(drawn)) == 20


# ---------------------------------------------------------------------- folders

NOISY = {
    "validate": validate,
    "accumulate": 2,
    "ema_decay": 0.9,
    "optimiser": "adamw",
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warmup_steps": 3,
    "validate_every": 2,
    "seed": 6,
}


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_holds_the_result_and_nothing_else(tmp_path):
    result = fit(network(0.2, norm=True), folder=tmp_path / "run", **NOISY)
    assert_equal(fit(network(0.2, norm=True), **NOISY), result)
    assert sorted(files(tmp_path / "run")) == RESULT_FILES
    pd.testing.assert_frame_equal(
        read_table(tmp_path / "run/curves.csv"), result.curves
    )
    meta = read_json(tmp_path / "run/training.json")
    assert meta["finished"] is True
    assert meta["best_epoch"] == result.best_epoch
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_finished_run_is_read_and_not_trained_again(tmp_path):
    def never(*_):
        raise AssertionError("trained again")

    first = fit(folder=tmp_path, **NOISY)
    before = files(tmp_path)
    again = fit(
        folder=tmp_path, loss=never, batches=never, **NOISY | {"validate": never}
    )
    assert_equal(again, first)
    assert files(tmp_path) == before


def test_a_second_writer_waits_and_reads_the_result_of_the_first(tmp_path):
    calls = []

    def loss(module, batch):
        calls.append(1)
        return squared_error(module, batch)

    def run(module):
        return fit(module, folder=tmp_path / "run", loss=loss, **NOISY)

    # Made here: threads share the generator that draws the weights.
    modules = [network(), network()]
    with ThreadPoolExecutor(2) as pool:
        assert_equal(*pool.map(run, modules))
    assert len(calls) == 20


class Stop(Exception):
    """Ends a run as an error of the caller does."""


@pytest.mark.parametrize("n_batches", [1, 8, 14, 17])
@pytest.mark.parametrize("kind", ["sequence", "iterator"])
def test_a_run_goes_on_inside_an_epoch_with_equal_bits(tmp_path, n_batches, kind):
    asked = []

    class Lazy(list):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    def batches(epoch):
        moved = [(x + epoch, y) for x, y in BATCHES]
        return Lazy(moved) if kind == "sequence" else iter(moved)

    done = []

    def failing(module, batch):
        if len(done) == n_batches:
            raise Stop
        done.append(1)
        return squared_error(module, batch)

    options = {"batches": batches, "checkpoint_s": 0.0, **NOISY}
    whole = fit(network(0.2, norm=True), folder=tmp_path / "whole", **options)
    with pytest.raises(Stop):
        fit(network(0.2, norm=True), folder=tmp_path / "cut", loss=failing, **options)
    asked.clear()
    again = fit(network(0.2, norm=True), folder=tmp_path / "cut", **options)
    assert_equal(again, whole)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    if kind == "sequence":
        # Three steps an epoch: of two, two and one batches.
        finished = [0, 2, 4, 5]
        in_epoch = max(n for n in finished if n <= n_batches % 5)
        assert asked[0] == in_epoch
        assert len(asked) == 20 - (n_batches - n_batches % 5 + in_epoch)


def test_when_checkpoints_are_written_does_not_change_a_byte(tmp_path):
    fit(folder=tmp_path / "often", checkpoint_s=0.0, **NOISY)
    fit(folder=tmp_path / "seldom", checkpoint_every=3, **NOISY)
    assert files(tmp_path / "often") == files(tmp_path / "seldom")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_run_in_sixteen_bits_goes_on_with_equal_bits(tmp_path, precision):
    def overflowing(module, batch):
        total, n = squared_error(module, batch)
        return total * 1e4, n  # float16 has to lower its scale

    calls = []

    def failing(module, batch):
        calls.append(1)
        if len(calls) == 13:
            raise Stop
        return overflowing(module, batch)

    options = {"precision": precision, "checkpoint_s": 0.0, **NOISY}
    whole = fit(loss=overflowing, **options)
    with pytest.raises(Stop):
        fit(loss=failing, folder=tmp_path, **options)
    assert_equal(fit(loss=overflowing, folder=tmp_path, **options), whole)


@pytest.mark.parametrize("at", [("loss", 7), ("loss", 10), ("validate", 1)])
def test_control_c_keeps_the_last_step(tmp_path, at):
    calls = {"loss": 0, "validate": 0}

    def interrupted(name, function):
        def call(*arguments):
            calls[name] += 1
            if at == (name, calls[name]):
                os.kill(os.getpid(), signal.SIGINT)
            return function(*arguments)

        return call

    whole = fit(network(0.2, norm=True), folder=tmp_path / "whole", **NOISY)
    options = {**NOISY, "checkpoint_every": 100}
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(
            network(0.2, norm=True),
            folder=tmp_path / "cut",
            loss=interrupted("loss", squared_error),
            **options | {"validate": interrupted("validate", validate)},
        )
    assert signal.getsignal(signal.SIGINT) is handler
    assert sorted(files(tmp_path / "cut")) == ["checkpoint.safetensors"]
    calls["loss"] = 100
    again = fit(
        network(0.2, norm=True),
        folder=tmp_path / "cut",
        loss=interrupted("loss", squared_error),
        **options,
    )
    assert_equal(again, whole)
    # The step under way was finished; of 20 batches only the others came again.
    kept = {("loss", 7): 7, ("loss", 10): 10, ("validate", 1): 10}[at]
    assert calls["loss"] == 100 + 20 - kept


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 0.02}, r"settings\.learning_rate=0\.01; now .*=0\.02"),
        ({"seed": 7}, "seed=6; now seed=7"),
        ({"identity": {"data": "b"}}, r"identity\.data='a'; now identity\.data='b'"),
        ({"module": network(seed=2)}, "initial_weights='"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_with_another_run_is_refused(tmp_path, change, named, finished):
    options = {"module": network(), "identity": {"data": "a"}, **NOISY}
    if finished:
        fit(folder=tmp_path, **options)
    else:
        fit_until_cut(tmp_path, **options)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=named):
        fit(folder=tmp_path, **options | change)
    assert files(tmp_path) == before


def fit_until_cut(folder, **options):
    calls = []

    def failing(module, batch):
        calls.append(1)
        if len(calls) == 13:
            raise Stop
        return squared_error(module, batch)

    with pytest.raises(Stop):
        fit(folder=folder, loss=failing, checkpoint_s=0.0, **options)


@pytest.mark.parametrize("damage", ["cut", "empty", "changed tensor", "changed text"])
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path, damage):
    fit_until_cut(tmp_path, **NOISY)
    path = tmp_path / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "empty":
        content.clear()
    elif damage == "changed tensor":
        content[-5] ^= 1
    else:
        at = content.index(b"waited")
        content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataCorruptError, match="starts from its beginning"):
        fit(folder=tmp_path, **NOISY)


@pytest.mark.parametrize("name", RESULT_FILES)
def test_a_damaged_result_is_one_clear_error(tmp_path, name):
    fit(folder=tmp_path, **NOISY)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataCorruptError, match=name):
        fit(folder=tmp_path, **NOISY)


# ----------------------------------------------------------------------- errors


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(tmp_path):
    bad = [*BATCHES[:3], (torch.full((8, 4), torch.nan), BATCHES[3][1])]

    def batches(epoch):
        return bad if epoch == 2 else BATCHES

    with pytest.raises(ValueError, match=r"loss is nan at epoch 2, batch 3 .*Lower"):
        fit(batches=batches, folder=tmp_path, **NOISY)
    assert list(files(tmp_path)) == ["checkpoint.safetensors"]
    whole = fit(**NOISY)
    assert_equal(fit(folder=tmp_path, **NOISY), whole)


def test_a_gradient_that_is_not_finite_ends_the_run():
    def loss(module, batch):
        total, n = squared_error(module, batch)
        return total + (module[0].weight * 0).abs().sqrt().sum(), n

    with pytest.raises(ValueError, match="norm of the gradient is nan at epoch 0"):
        fit(loss=loss)


def test_gradients_that_float16_never_holds_end_the_run():
    def loss(module, batch):
        total, n = squared_error(module, batch)
        return total + (module[0].weight * 0).abs().sqrt().sum(), n

    with pytest.raises(ValueError, match="gradient in float16"):
        fit(loss=loss, precision="float16", max_epochs=30)


def test_a_shortage_of_memory_comes_with_advice():
    def loss(module, batch):
        return torch.empty(2**60).sum(), 1

    with pytest.raises(RuntimeError) as caught:
        fit(loss=loss)
    assert "raise `accumulate`" in caught.value.__notes__[0]


def test_a_loss_of_another_module_is_refused():
    module = network()
    with pytest.raises(ValueError, match="must use the module it is given"):
        fit(module, loss=lambda _, batch: squared_error(module, batch))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ((torch.tensor(1.0), 1), "depends on the parameters"),
        ((1.0, 1), "scalar tensor"),
        ((torch.ones(2, requires_grad=True), 1), "scalar tensor"),
        ((torch.tensor(1.0, requires_grad=True), 0), "above 0; got 0.0 at epoch 0"),
    ],
)
def test_what_is_no_loss_is_refused(found, message):
    with pytest.raises((TypeError, ValueError), match=message):
        fit(loss=lambda module, batch: found)


def test_a_missing_monitor_is_named_with_what_there_is():
    with pytest.raises(ValueError, match="one of 'loss', 'other'; got 'los'"):
        fit(validate=judged([1.0]), monitor="los")


def test_an_epoch_without_batches_is_refused():
    with pytest.raises(ValueError, match=r"`batches\(0\)` gave no batch"):
        fit(batches=[])


def test_a_module_with_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="no parameter that needs a gradient"):
        fit(network().requires_grad_(False))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_epochs": 0},
        {"patience": 0},
        {"optimiser": "adm"},
        {"learning_rate": 0.0},
        {"weight_decay": -0.1},
        {"betas": (0.9, 1.0)},
        {"schedule": "linear"},
        {"step_epochs": 1.5},
        {"step_factor": 0.0},
        {"warmup_steps": -1},
        {"clip_norm": 0.0},
        {"accumulate": 0},
        {"validate_every": 0},
        {"checkpoint_every": 0},
        {"checkpoint_s": -1.0},
        {"precision": "float64"},
        {"ema_decay": 1.0},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}"):
        TrainSettings(**wrong)


# -------------------------------------------------------------------------- GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "mixed", "bfloat16", "float16"])
def test_a_run_on_the_gpu_comes_close_to_the_cpu_and_goes_on(tmp_path, precision):
    def loss(module, batch):
        place = next(module.parameters()).device
        return squared_error(module, [v.to(place) for v in batch])

    calls = []

    def failing(module, batch):
        calls.append(1)
        if len(calls) == 13:
            raise Stop
        return loss(module, batch)

    options = {"max_epochs": 20, "checkpoint_s": 0.0, "accumulate": 2}
    cpu = fit(**options)
    before = torch.cuda.get_rng_state()
    settings = {**options, "device": "cuda", "precision": precision}
    whole = fit(loss=loss, **settings)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert whole.state["0.weight"].device.type == "cpu"
    tolerance = 1e-4 if precision == "float32" else 0.05
    last = whole.curves["loss"].iloc[-1]
    assert last == pytest.approx(cpu.curves["loss"].iloc[-1], rel=tolerance)
    with pytest.raises(Stop):
        fit(loss=failing, folder=tmp_path, **settings)
    again = fit(loss=loss, folder=tmp_path, **settings)
    np.testing.assert_allclose(again.curves["loss"], whole.curves["loss"], rtol=1e-5)
