"""Fits of networks: what the losses are, what is missing, and what is refused."""

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from neurovis.core.rng import generator
from neurovis.fitting.network_batches import Batches
from neurovis.fitting.network_fit import (
    fit_network,
    predict_network,
    published_settings,
    split_groups,
)
from neurovis.fitting.network_losses import discordance, validation_scores
from neurovis.fitting.network_parts import check_inputs, check_targets
from neurovis.fitting.train import TrainSettings, train
from neurovis.fitting.vector_readouts import LinearReadout

STILL = TrainSettings(max_epochs=1, learning_rate=1e-12, monitor="loss")


def draw(*shape, seed=0):
    values = generator(seed, "network fits", *shape).standard_normal(shape)
    return torch.from_numpy(values).float()


def line(n_from=3, n_to=5, seed=1):
    module = nn.Linear(n_from, n_to)
    for k, value in enumerate(module.parameters()):
        value.data = draw(*value.shape, seed=seed + k)
    return module


def data(n=40, n_units=5, missing=0.0, seed=0):
    x = draw(n, 3, seed=seed)
    y = x @ draw(3, n_units, seed=seed + 9) + 0.3 * draw(n, n_units, seed=seed + 7)
    lost = generator(seed, "missing").random((n, n_units)) < missing
    lost[np.arange(n), np.arange(n) % 4] = False  # one unit of every picture stays
    y[torch.from_numpy(lost)] = torch.nan
    return x, y


class Sum(nn.Module):
    """Two inputs, one network each."""

    def __init__(self):
        super().__init__()
        self.one, self.two = line(seed=2), line(4, seed=5)

    def forward(self, x, z):
        return self.one(x) + self.two(z.flatten(1))


# ---------------------------------------------------------------------- losses


def epoch_loss(x, y, **options):
    """The loss of the first epoch, with weights that stand still."""
    fit = fit_network(line(), x, y, settings=STILL, validation=0.25, **options)
    return fit.training.curves.loc[0, "loss"], fit


def order_of(fit, size, seed=0):
    order = generator(seed, "readout batches", 0).permutation(fit.trained)
    return [order[i : i + size] for i in range(0, len(order), size)]


def test_mean_is_the_sum_of_the_published_means_of_hemispheres():
    x, y = data(41)
    side = np.array([0, 1, 1, 0, 1])
    found, fit = epoch_loss(x, y, parts=side, batch_size=7)
    errors = (line()(x) - y).detach().square()[fit.trained]
    expected = errors[:, side == 0].mean() + errors[:, side == 1].mean()
    assert found == pytest.approx(expected.item(), rel=1e-5)
    one, _ = epoch_loss(x, y, batch_size=7)
    assert one == pytest.approx(errors.mean().item(), rel=1e-5)
    total, _ = epoch_loss(x, y, parts=side, batch_size=7, loss="sum")
    assert total == pytest.approx(errors.sum(1).mean().item(), rel=1e-5)


def test_mean_of_a_step_is_that_of_its_measured_entries():
    x, y = data(41, missing=0.4)
    y[:, 4] = torch.nan
    y[::9, 4] = 1.0  # a part that some batches lack
    side = np.array([0, 1, 1, 0, 2])
    found, fit = epoch_loss(x, y, parts=side, batch_size=4)
    errors = (line()(x) - y).detach().square()
    total, n_absent = 0.0, 0
    for rows in order_of(fit, 4):
        for k in range(3):
            some = errors[rows][:, side == k]
            some = some[some.isfinite()]
            n_absent += not len(some)
            total += len(rows) * float(some.mean()) if len(some) else 0
    assert n_absent > 0
    assert found == pytest.approx(total / len(fit.trained), rel=1e-5)
    total, _ = epoch_loss(x, y, parts=side, batch_size=4, loss="sum")
    expected = errors[fit.trained].nansum() / len(fit.trained)
    assert total == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_accumulated_batches_have_the_gradient_of_a_large_one(loss):
    x, y = data(47, missing=0.5)
    side, weights = np.array([0, 1, 1, 0, 2]), {}
    for size, accumulate in ((12, 1), (4, 3), (3, 4)):
        settings = TrainSettings(
            max_epochs=3, learning_rate=0.1, optimiser="sgd", accumulate=accumulate,
            clip_norm=None,
        )  # fmt: skip
        fit = fit_network(
            line(), x, y, parts=side, batch_size=size, settings=settings, loss=loss
        )
        weights[size] = fit.module.weight.detach()
        assert fit.training.curves["step"].iloc[-1] == 3 * -(-len(fit.trained) // 12)
    assert float((weights[12] - line().weight.detach()).abs().max()) > 0.05
    for size in (4, 3):
        torch.testing.assert_close(weights[size], weights[12], rtol=1e-4, atol=1e-5)


def plain_concordance(x, y):
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    gap = (x.mean() - y.mean()) ** 2
    return 2 * covariance / (x.var(ddof=1) + y.var(ddof=1) + gap)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_mean_and_ccc_pools_all_measured_entries_of_a_batch(missing):
    x, y = data(41, missing=missing)
    found, fit = epoch_loss(x, y, batch_size=8, loss="mean+ccc")
    mean, _ = epoch_loss(x, y, batch_size=8)
    predicted, total = line()(x).detach().double().numpy(), 0.0
    for rows in order_of(fit, 8):
        a, b = predicted[rows], y[rows].double().numpy()
        pairs = a[~np.isnan(b)], b[~np.isnan(b)]
        total += len(rows) * (1 - plain_concordance(*pairs))
    assert found - mean == pytest.approx(total / len(fit.trained), rel=1e-4)


def test_discordance_has_gradients_and_is_left_out_where_it_is_not_defined():
    x, y = draw(4, 5).double().requires_grad_(), draw(4, 5, seed=1).double()
    y[1, 2:] = torch.nan
    assert torch.autograd.gradcheck(lambda v: discordance(v, y), (x,))
    discordance(x, y).backward()
    assert x.grad[1, 2:].tolist() == [0, 0, 0]
    for wrong in (torch.full((4, 5), torch.nan).double(), torch.ones(1, 1).double()):
        start = torch.ones_like(wrong).requires_grad_()
        out = discordance(start, wrong)
        assert out.item() == 0
        out.backward()
        assert start.grad.abs().sum() == 0
    ones = torch.ones(3, 2)
    assert discordance(ones, ones).item() == 0
    assert discordance(ones, 2 * ones).item() == 1  # no covariance
    spread = draw(300, 2)
    assert discordance(-spread, spread).item() > 1.9


def test_penalty_is_added_once_per_picture():
    x, y = draw(30, 2, 3, 3), draw(30, 4, seed=2)
    readout = LinearReadout((2, 3, 3), 4, width=2)
    options = {"settings": STILL, "batch_size": 7, "parts": [0, 0, 0, 1]}
    plain = fit_network(readout, x, y, **options).training.curves.loc[0, "loss"]
    more = fit_network(readout, x, y, penalty=3.0, **options).training.curves
    expected = plain + 3 * readout.regulariser().item()
    assert more.loc[0, "loss"] == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------ validation


def test_validation_leaves_out_what_is_missing_or_not_defined():
    predicted, measured = draw(30, 40), draw(30, 40, seed=3) + draw(30, 40)
    lost = generator(0, "lost").random((30, 40)) < 0.5
    measured[torch.from_numpy(lost)] = torch.nan
    measured[1:, 0] = torch.nan  # one picture
    measured[:, 1] = torch.nan
    predicted[:, 2] = 0.1  # constant
    measured[:, 3] = torch.where(measured[:, 3].isnan(), torch.nan, 0.1)
    a, b = predicted.double().numpy(), measured.double().numpy()
    r = []
    for k in range(4, 40):
        ok = ~np.isnan(b[:, k])
        r.append(np.corrcoef(a[ok, k], b[ok, k])[0, 1])
    found = validation_scores(predicted, measured)
    assert found["r"] == pytest.approx(np.mean(r), rel=1e-12)
    assert found["loss"] == pytest.approx(np.nanmean((a - b) ** 2), rel=1e-12)
    nothing = validation_scores(predicted[:, :2], measured[:, 1:2].expand(30, 2))
    assert np.isnan(nothing["r"])
    assert np.isnan(nothing["loss"])


def test_validation_in_pieces_of_units_is_the_same(monkeypatch):
    predicted, measured = draw(30, 40), draw(30, 40, seed=3)
    measured[measured > 1] = torch.nan
    whole = validation_scores(predicted, measured)
    module = "neurovis.fitting.network_losses._NUMBERS_AT_ONCE"
    monkeypatch.setattr(module, 200)
    assert validation_scores(predicted, measured) == pytest.approx(whole, rel=1e-12)


def test_held_out_pictures_are_scored_and_change_no_weight():
    x, y = data(40)
    groups = np.repeat(np.arange(10), 4)
    options = {"groups": groups, "validation": 0.3, "settings": STILL}
    fit = fit_network(line(), x, y, **options)
    train_rows, held = split_groups(40, groups, 0.3, 0)
    assert np.array_equal(fit.trained, train_rows)
    assert np.array_equal(fit.held, held)
    row = fit.training.curves.iloc[0]
    expected = validation_scores(line()(x)[held].detach(), y[held])
    assert row["val_loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert row["val_r"] == pytest.approx(expected["r"], rel=1e-5)
    y[held] += draw(len(held), 5, seed=8)
    other = fit_network(line(), x, y, **options)
    assert torch.equal(fit.module.weight, other.module.weight)
    assert other.training.curves.loc[0, "val_loss"] != row["val_loss"]


def test_settings_are_the_published_ones():
    settings = published_settings()
    assert settings.optimiser == "adamw"
    assert (settings.learning_rate, settings.weight_decay) == (5e-4, 1e-4)
    assert (settings.clip_norm, settings.max_epochs) == (0.1, 15)
    assert (settings.monitor, settings.more_is_better) == ("r", True)
    assert settings.patience is None
    assert [settings.rate(e, 0) for e in (0, 99, 100, 200)] == [
        5e-4, 5e-4, 2.5e-4, 1.25e-4,
    ]  # fmt: skip
    x, y = data(60)
    curves = fit_network(line(), x, y).training.curves
    assert len(curves) == 15
    assert curves["best"].argmax() == curves["val_r"].argmax()


# --------------------------------------------------------------------- missing


def test_two_subjects_side_by_side_train_as_each_alone():
    # One sees the even pictures, the other the odd ones; each has units of its own.
    x, whole = data(60, n_units=6)
    y, subject = torch.full_like(whole, torch.nan), np.array([0, 0, 1, 1, 1, 0])
    for k in range(2):
        y[k::2, subject == k] = whole[k::2, subject == k]
    # Not Adam, for which a wrong factor of a part would make no difference.
    settings = TrainSettings(
        max_epochs=20, learning_rate=0.2, optimiser="sgd", betas=(0.0, 0.0),
        clip_norm=None,
    )  # fmt: skip
    start = line(n_to=6)
    options = {"parts": subject, "settings": settings, "batch_size": 1000}
    fit = fit_network(start, x, y, groups=np.arange(60) // 2, **options)
    assert fit.training.best_epoch == 19  # still falling
    for k in range(2):
        units, rows = subject == k, fit.trained[fit.trained % 2 == k]
        alone = nn.Linear(3, int(units.sum()))
        alone.load_state_dict({n: v[units] for n, v in start.state_dict().items()})

        def loss(module, _, rows=rows, units=units):
            errors = (module(x[rows]) - whole[rows][:, units]).square()
            return errors.mean(1).sum(), len(rows)

        trained = train(alone, lambda epoch: [None], loss, settings=settings)
        for name, value in trained.state.items():
            found = fit.module.state_dict()[name][units]
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-6)


def test_what_stands_where_nothing_was_measured_does_not_matter():
    x, y = data(40, missing=0.3)
    few = {"settings": TrainSettings(max_epochs=2, learning_rate=0.01)}
    one = fit_network(line(), x, y, loss="mean+ccc", **few)
    targets = check_targets(y, 40, None)
    assert torch.equal(targets.n_measured[:, 0], y.isfinite().sum(1).double())
    alone = fit_network(line(), x, y.double().numpy(), loss="mean+ccc", **few)
    assert torch.equal(one.module.weight, alone.module.weight)
    assert one.module.weight.isfinite().all()


def test_units_are_recovered_although_half_of_the_responses_is_missing():
    x, y = data(300, missing=0.5)
    settings = TrainSettings(max_epochs=60, learning_rate=0.03, monitor="r",
                             more_is_better=True)  # fmt: skip
    fit = fit_network(nn.Linear(3, 5), x, y, settings=settings, seed=3)
    truth = draw(3, 5, seed=9).T
    assert float((fit.module.weight.detach() - truth).abs().max()) < 0.12
    assert not fit.module.training


# ---------------------------------------------------------------------- inputs


class Rows:
    """Reads ascending rows and nothing else."""

    def __init__(self, values, fingerprint=None):
        self.values, self.shape = values, values.shape
        if fingerprint is not None:
            self.fingerprint = fingerprint

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        assert isinstance(rows, np.ndarray)
        assert (np.diff(rows) > 0).all()
        return self.values[rows]


def test_arrays_files_and_readers_give_equal_bits(tmp_path):
    x, y = data(40)
    z = draw(40, 2, 2)
    few = {"settings": TrainSettings(max_epochs=3, learning_rate=0.01, clip_norm=None)}
    first = fit_network(Sum(), (x, z), y, **few)
    np.save(tmp_path / "x.npy", x.numpy())
    lazy = np.load(tmp_path / "x.npy", mmap_mode="r")
    with h5py.File(tmp_path / "z.h5", "w") as file:
        file["z"] = z.numpy()
    with h5py.File(tmp_path / "z.h5") as file:
        kinds = [[lazy, file["z"]], [x.double(), Rows(z.numpy())]]
        fits = [fit_network(Sum(), kind, y.numpy(), **few) for kind in kinds]
        predictions = [predict_network(first.module, k, rows=[7, 3, 39]) for k in kinds]
    for fit in fits:
        for name, value in first.module.state_dict().items():
            assert torch.equal(value, fit.module.state_dict()[name])
    assert np.array_equal(*predictions)
    one = fit_network(line(), x, y, **few)
    other = fit_network(line(), [x], y, **few)
    assert torch.equal(one.module.weight, other.module.weight)


def test_each_epoch_sees_every_picture_once_with_its_own_responses():
    x, y = data(41)
    targets = check_targets(y, 41, None)
    order = generator(0, "an order").permutation(41)
    batches = Batches(check_inputs((x, 2 * x)), targets, order, 6, 2)
    seen = list(batches)
    assert len(seen) == len(batches) == 7
    for batch in seen:
        rows = [int((x == row).all(1).int().argmax()) for row in batch.inputs[0]]
        assert torch.equal(batch.measured, y[rows])
        assert torch.equal(batch.inputs[1], 2 * batch.inputs[0])
    assert sum(len(batch.measured) for batch in seen) == 41


def test_predictions_come_in_the_order_of_the_rows():
    x, module = draw(50, 3), nn.Sequential(line(), nn.Dropout(0.5))
    module.train()
    expected = line()(x).detach().numpy()
    found = predict_network(module, x, batch_size=7)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    rows = [49, 3, 3, 0, 17]
    found = predict_network(module, Rows(x.numpy()), rows=rows, batch_size=2)
    np.testing.assert_allclose(found, expected[rows], rtol=1e-5, atol=1e-6)
    assert module.training
    assert predict_network(nn.Flatten(), x, rows=[1]).tolist() == [x[1].tolist()]


# --------------------------------------------------------------------- folders


def test_a_finished_run_is_read_again_and_another_one_refused(tmp_path):
    x, y = data(40, missing=0.2)
    few = {"settings": TrainSettings(max_epochs=3, learning_rate=0.01)}
    run = {"folder": tmp_path, "identity": {"layer": "conv1"}, **few}
    first = fit_network(nn.Sequential(line(), nn.Dropout(0.1)), x, y, **run)
    again = fit_network(nn.Sequential(line(), nn.Dropout(0.1)), x, y, **run)
    assert torch.equal(first.module[0].weight, again.module[0].weight)
    other = y.clone()
    other[0] = torch.where(y[0].isnan(), 0.0, y[0])
    other[1, 0] = torch.nan
    cases = {
        "responses": (nn.Dropout(0.1), x, other, {}),
        "inputs": (nn.Dropout(0.1), x + 1, y, {}),
        "module": (nn.Dropout(0.2), x, y, {}),
        "loss": (nn.Dropout(0.1), x, y, {"loss": "sum"}),
        "given": (nn.Dropout(0.1), x, y, {"identity": {"layer": "conv2"}}),
    }
    for key, (layer, some, targets, options) in cases.items():
        module = nn.Sequential(line(), layer)
        with pytest.raises(ValueError, match=rf"holds a training.*{key}"):
            fit_network(module, some, targets, **{**run, **options})


def test_an_input_with_a_fingerprint_of_its_own_is_not_read_for_it(tmp_path):
    x, y = data(40)
    few = {"settings": TrainSettings(max_epochs=1), "folder": tmp_path}
    fit_network(line(), Rows(x.numpy(), "maps of conv1"), y, **few)
    fit_network(line(), Rows(x.numpy() * np.nan, "maps of conv1"), y, **few)
    with pytest.raises(ValueError, match="conv2"):
        fit_network(line(), Rows(x.numpy(), "maps of conv2"), y, **few)
    read = Rows(x.numpy())
    fit_network(line(), read, y, settings=few["settings"], folder=tmp_path / "read")
    with pytest.raises(ValueError, match="inputs"):
        fit_network(
            line(), Rows(x.numpy() + 1), y, settings=few["settings"],
            folder=tmp_path / "read",
        )  # fmt: skip


# ---------------------------------------------------------------------- faults


class Vector(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x @ self.weight


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


def test_wrong_arguments_are_refused():
    x, y = data(20)
    inputs = {
        "entry 0 is a float": (0.5, TypeError),
        "entry 1 is a list": ((x, x.tolist()), TypeError),
        "is empty": ((), ValueError),
        r"`inputs` have \[20, 19\] rows": ((x, x[1:]), ValueError),
    }
    for message, (some, kind) in inputs.items():
        with pytest.raises(kind, match=message):
            fit_network(line(), some, y)
        with pytest.raises(kind, match=message):
            predict_network(line(), some)
    responses = {
        r"must have shape \(20, n_units\).*got \(19, 5\)": y[1:],
        r"got \(20,\)": y[:, 0],
        r"got \(20, 0\)": y[:, :0],
        "predicts 5 units, and `responses` have 4": y[:, :4],
    }
    for message, some in responses.items():
        with pytest.raises(ValueError, match=message):
            fit_network(line(), x, some)
    options = {
        "`loss` must be one of": {"loss": "mse"},
        "`batch_size` must be": {"batch_size": 0},
        "`penalty` must be": {"penalty": -1.0},
        r"Linear has no `regulariser\(\)`": {"penalty": 1.0},
        "`validation` must be above 0": {"validation": 0.0},
        "one entry per unit": {"parts": [0, 1]},
        "20 images": {"groups": [1, 2]},
        "at least two": {"groups": [1] * 20},
    }
    with pytest.raises(TypeError, match="`identity` must be a mapping"):
        fit_network(line(), x, y, identity=["conv1"])
    for message, some in options.items():
        with pytest.raises(ValueError, match=message):
            fit_network(line(), x, y, **some)
    with pytest.raises(TypeError, match="`parts` must be whole numbers"):
        fit_network(line(), x, y, parts=np.ones(5))
    for call in (lambda m: fit_network(m, x, y), lambda m: predict_network(m, x)):
        with pytest.raises(TypeError, match="`module` must be"):
            call("linear")
        with pytest.raises(ValueError, match=r"gave shape \(\d+,\)"):
            call(Vector())
        with pytest.raises(TypeError, match="must return one tensor"):
            call(Pair(3, 5))


def test_responses_that_cannot_be_used_are_refused():
    x, y = data(20)
    cases = {}
    for name, rows, units, value in (
        ("2 of 5 units have infinite values .the first is unit 1", 3, [1, 4], np.inf),
        ("1 of 5 units are NaN for all pictures .the first is unit 2", slice(0, 20), 2,
         np.nan),
        ("1 of 20 pictures are NaN for all units .the first is picture 7", 7,
         slice(0, 5), np.nan),
    ):  # fmt: skip
        cases[name] = y.clone()
        cases[name][rows, units] = value
    for message, some in cases.items():
        with pytest.raises(ValueError, match=message):
            fit_network(line(), x, some)
    _, held = split_groups(20, None, 0.1, 0)
    only = y.clone()
    only[:, 3] = torch.nan
    only[held, 3] = 1.0
    with pytest.raises(ValueError, match=r"1 units.*held-out.*unit 3"):
        fit_network(line(), x, only)


def test_wrong_rows_of_a_prediction_are_refused():
    x = draw(20, 3)
    for rows in ([20], [-1]):
        with pytest.raises(ValueError, match=r"`rows` must be within \[0, 19\]"):
            predict_network(line(), x, rows=rows)
    for rows in ([], [0.5], [True] * 20, [[1]]):
        with pytest.raises(TypeError, match="`rows` must be a vector"):
            predict_network(line(), x, rows=rows)
    with pytest.raises(ValueError, match="`batch_size` must be"):
        predict_network(line(), x, batch_size=0)
