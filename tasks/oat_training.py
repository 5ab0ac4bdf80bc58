"""Training of OAT on scanpaths over objects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.search_efficiency import behaviour_delta, behaviour_vectors
from neurovis.adapters.oat import OAT, pad_cells
from neurovis.adapters.oat_network import (
    OATConfig,
    OATNetwork,
    ObjectBatch,
    object_batch,
)
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import resolve
from neurovis.core.files import sha256_bytes
from neurovis.core.object_displays import Display, ObjectDisplay
from neurovis.core.object_scanpaths import ObjectTrial
from neurovis.core.rng import generator
from neurovis.fitting.train import Training, TrainSettings, train

MIRRORS = ("horizontal", "vertical")
MONITORS = ("nats", "delta")
_IGNORED = -100
_AT_ONCE = 6

FloatArray = NDArray[np.float32]
Scanpaths = Sequence[ObjectTrial] | Callable[[int], Sequence[ObjectTrial]]


@dataclass(frozen=True)
class OATRecipe:
    """How OAT is trained.

    Parameters
    ----------
    settings : TrainSettings
        The training loop; its `monitor` is "nats" or "delta".
    displays_per_batch : int, default 4
        Displays of a batch, each with all its trials: a display is encoded once.
    trials_per_batch : int, default 0
        Trials of a batch in any order instead, as published (20), when not 0.
    mirrors : tuple of str, default ()
        Axes along which displays and scanpaths are mirrored at random: "horizontal",
        "vertical". People do not look symmetrically; this trades bias for data.
    n_samples : int, default 10
        Scanpaths per display when "delta" is monitored.

    Raises
    ------
    ValueError
        If an option is unknown.
    """

    settings: TrainSettings = field(
        default_factory=lambda: TrainSettings(monitor="nats")
    )
    displays_per_batch: int = 4
    trials_per_batch: int = 0
    mirrors: tuple[str, ...] = ()
    n_samples: int = 10

    def __post_init__(self) -> None:
        check_option("monitor", self.settings.monitor, MONITORS)
        check_whole("displays_per_batch", self.displays_per_batch, low=1)
        check_whole("trials_per_batch", self.trials_per_batch, low=0)
        check_whole("n_samples", self.n_samples, low=1)
        for name in self.mirrors:
            check_option("mirrors", name, MIRRORS)


@dataclass(frozen=True)
class OATBatch:
    """Scanpaths and the displays they are on, as tensors.

    Parameters
    ----------
    displays : ObjectBatch
        The displays.
    cells : Tensor of int64, shape (n_trials, longest)
        Scanpaths.
    display : Tensor of int64, shape (n_trials,)
        Which display each is on.
    tokens : Tensor of int64, shape (n_trials, longest + 1)
        What is to be foretold; -100 where there is nothing.
    """

    displays: ObjectBatch
    cells: Tensor
    display: Tensor
    tokens: Tensor


def token_loss(module: nn.Module, batch: OATBatch) -> tuple[Tensor, float]:
    """Sum the surprise of all tokens, padding being one of the classes.

    Parameters
    ----------
    module : OATNetwork
        The network.
    batch : OATBatch
        Scanpaths, on any device.

    Returns
    -------
    loss : Tensor, shape ()
        Sum of cross entropies, nats. Unlike `OAT.log_likelihood`, padding, and the
        end as the first token, keep their share of probability.
    n_tokens : float
        How many.
    """
    assert isinstance(module, OATNetwork)
    where = next(module.parameters()).device
    encoded = module.encode(batch.displays.to(where))
    n_tokens = (batch.tokens != _IGNORED).sum(dim=1)
    losses = []
    # Most scanpaths are much shorter than the longest: those of like length together.
    for rows in torch.split(n_tokens.argsort(stable=True), _AT_ONCE):
        longest = int(n_tokens[rows].max())
        cells = batch.cells[rows, : longest - 1].to(where)
        logits = module.decode(encoded.take(batch.display[rows].to(where)), cells)
        losses.append(
            F.cross_entropy(
                logits.flatten(0, 1).float(),
                batch.tokens[rows, :longest].flatten().to(where),
                ignore_index=_IGNORED,
                reduction="sum",
            )
        )
    return torch.stack(losses).sum(), float(n_tokens.sum())


class OATBatches(Sequence[OATBatch]):
    """The batches of one epoch, each made when it is asked for.

    Parameters
    ----------
    trials : sequence of ObjectTrial
        Scanpaths.
    config : OATConfig
        Architecture.
    recipe : OATRecipe
        Batches and mirrors.
    seed, epoch : int
        What the batches depend on.
    looks : ndarray of float32, shape (n, n_features), optional
        Features of objects from which every display of every batch draws anew,
        instead of its own.

    Raises
    ------
    ValueError
        If there is no trial, or displays that are no grids are to be mirrored.
    """

    def __init__(
        self,
        trials: Sequence[ObjectTrial],
        config: OATConfig,
        recipe: OATRecipe,
        *,
        seed: int,
        epoch: int,
        looks: FloatArray | None = None,
    ) -> None:
        if not len(trials):
            raise ValueError(f"Epoch {epoch} has no trial: at least one is needed.")
        if recipe.mirrors:
            for trial in trials:
                _check_grid(trial.display)
        self.trials, self.config, self.recipe = trials, config, recipe
        self.key = seed, "OAT batches", epoch
        self.looks = looks
        draw = generator(*self.key)
        if recipe.trials_per_batch:
            order = draw.permutation(len(trials))
            size = recipe.trials_per_batch
            self.groups = [order[i : i + size] for i in range(0, len(order), size)]
        else:
            _, display = np.unique(
                [t.display.stimulus_id for t in trials], return_inverse=True
            )
            shuffled = draw.permutation(display.max() + 1)
            size = recipe.displays_per_batch
            parts = [shuffled[i : i + size] for i in range(0, len(shuffled), size)]
            self.groups = [np.flatnonzero(np.isin(display, part)) for part in parts]

    def __len__(self) -> int:
        return len(self.groups)

    @overload
    def __getitem__(self, index: int) -> OATBatch: ...
    @overload
    def __getitem__(self, index: slice) -> list[OATBatch]: ...
    def __getitem__(self, index: int | slice) -> OATBatch | list[OATBatch]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        draw = generator(*self.key, index)
        trials = [self.trials[i] for i in self.groups[index]]
        mirrored = {
            t.display.stimulus_id: [
                name for name in self.recipe.mirrors if draw.random() < 0.5
            ]
            for t in trials
        }
        trials = [mirror(t, mirrored[t.display.stimulus_id]) for t in trials]
        displays = {t.display.stimulus_id: t.display for t in trials}
        if self.looks is not None:
            displays = {
                name: replace(
                    d, appearance=self.looks[_some(len(self.looks), d.n_cells, draw)]
                )
                for name, d in displays.items()
            }
        return make_batch(trials, displays, self.config)


def _some(n: int, size: int, draw: np.random.Generator) -> NDArray[np.int64]:
    return draw.choice(n, size, replace=n < size)


def make_batch(
    trials: Sequence[ObjectTrial], displays: Mapping[str, Display], config: OATConfig
) -> OATBatch:
    """Turn scanpaths into tensors.

    Parameters
    ----------
    trials : sequence of ObjectTrial
        Scanpaths.
    displays : mapping of str to ObjectDisplay or FreeDisplay
        Their displays by `stimulus_id`.
    config : OATConfig
        Architecture.

    Returns
    -------
    OATBatch
        On the CPU.

    Raises
    ------
    ValueError
        If a display does not suit the network.
    """
    place = {name: row for row, name in enumerate(displays)}
    cells = pad_cells([t.cells for t in trials])
    tokens = torch.full((len(trials), cells.shape[1] + 1), _IGNORED)
    for row, trial in zip(tokens, trials, strict=True):
        row[: len(trial.cells) + 1] = torch.from_numpy(trial.tokens)
    return OATBatch(
        object_batch(list(displays.values()), config),
        cells,
        torch.tensor([place[t.display.stimulus_id] for t in trials]),
        tokens,
    )


def mirror(trial: ObjectTrial, axes: Sequence[str]) -> ObjectTrial:
    """Mirror a display and the scanpath on it.

    Parameters
    ----------
    trial : ObjectTrial
        A trial on a grid.
    axes : sequence of {"horizontal", "vertical"}
        Which sides change place: left and right, or top and bottom.

    Returns
    -------
    ObjectTrial
        The mirrored trial.

    Raises
    ------
    ValueError
        If the display is no grid.

    Examples
    --------
    >>> from neurovis.core.object_displays import regular_display
    >>> display = regular_display("a", rows=2, cols=3, size_px=(3, 2), target_cell=0)
    >>> mirror(ObjectTrial(display, "ann", [0, 4]), ["horizontal"]).cells
    array([2, 4])
    """
    if not axes:
        return trial
    display = _check_grid(trial.display)
    cells = np.arange(display.n_cells).reshape(display.rows, display.cols)
    x, y = display.col_centres_px, display.row_centres_px
    xy = np.asarray(trial.xy_px).copy()
    for axis in axes:
        if axis == "horizontal":
            cells, x = cells[:, ::-1], display.width_px - x[::-1]
            xy[:, 0] = display.width_px - xy[:, 0]
        else:
            cells, y = cells[::-1], display.height_px - y[::-1]
            xy[:, 1] = display.height_px - xy[:, 1]
    old = cells.ravel()  # old[i] is now at place i
    new = np.argsort(old)
    looks = display.appearance
    moved = replace(
        display,
        col_centres_px=x,
        row_centres_px=y,
        target_cell=int(new[display.target_cell]),
        appearance=None if looks is None else looks[old],
    )
    return ObjectTrial(moved, trial.subject, new[trial.cells], xy)


def _check_grid(display: Display) -> ObjectDisplay:
    if not isinstance(display, ObjectDisplay):
        raise ValueError(
            f"Only grids can be mirrored; {display.stimulus_id!r} has objects at any "
            "place. Train without `mirrors`."
        )
    return display


def fit_oat(
    training: Scanpaths,
    validation: Sequence[ObjectTrial] = (),
    *,
    config: OATConfig,
    recipe: OATRecipe,
    seed: int = 0,
    start: OAT | None = None,
    looks: FloatArray | None = None,
    longest: int = 0,
    identity: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    device: str | torch.device = "cpu",
    name: str = "oat",
    notes: Sequence[str] = (),
) -> tuple[OAT, Training]:
    """Train OAT and return the observer with the best weights.

    Parameters
    ----------
    training : sequence of ObjectTrial, or callable
        Scanpaths; a callable gets the epoch and returns those of this epoch.
    validation : sequence of ObjectTrial
        Scanpaths that decide which weights are kept and when to stop; without them
        the last weights are kept.
    config : OATConfig
        Architecture.
    recipe : OATRecipe
        How to train.
    seed : int, default 0
        Seed of weights, batches and dropout.
    start : OAT, optional
        Trained weights to start from, of the same architecture.
    looks : ndarray of float32, shape (n, n_features), optional
        Features of objects from which each display of each batch draws anew.
    longest : int, default 0
        Where scanpaths of the model are cut; by default the longest of `training`,
        which then is no callable.
    identity : mapping, optional
        What the training data are, for resuming; by default their hash. With it
        `training`, `validation` and `looks` must be functions of it.
    folder : str or Path, optional
        Where checkpoints, weights and curves go; with it a run that was killed
        resumes.
    device : str or torch.device, default "cpu"
        Where to compute.
    name : str, default "oat"
        Name in tables.
    notes : sequence of str
        What a reader must know.

    Returns
    -------
    observer : OAT
        With the best weights.
    training : Training
        How it went.

    Raises
    ------
    ValueError
        If data, architecture and start do not fit together, or `folder` holds
        another training.
    DataCorruptError
        If a file of `folder` is damaged.
    """
    where = resolve(device)
    network = OATNetwork(config, seed)
    if start is not None:
        check_start(start, config)
        network.load_state_dict(start.network.state_dict())
    trials_of = training if callable(training) else lambda epoch: training
    if not callable(training):
        if not len(training):
            raise ValueError("`training` is empty: at least one trial is needed.")
        longest = longest or max(len(t.cells) for t in training)
    check_whole("longest", longest, low=1)
    if not callable(training) and looks is None:
        _check_displays(training, config)
    _check_displays(validation, config)
    known = {
        "config": asdict(config),
        "recipe": {k: v for k, v in asdict(recipe).items() if k != "settings"},
        "data": dict(identity or _data_identity(training, validation, looks)),
    }

    def batches(epoch: int) -> OATBatches:
        return OATBatches(
            trials_of(epoch), config, recipe, seed=seed, epoch=epoch, looks=looks
        )

    def validate(module: nn.Module) -> dict[str, float]:
        assert isinstance(module, OATNetwork)
        observer = OAT(module, longest)
        nats = np.concatenate(observer.log_likelihood(validation))
        found = {"nats": float(-nats.mean())}
        if recipe.settings.monitor == "delta":
            found["delta"] = _delta(observer, validation, recipe.n_samples, seed)
        return found

    done = train(
        network.to(where),
        batches,
        token_loss,
        settings=recipe.settings,
        validate=validate if len(validation) else None,
        seed=seed,
        device=where,
        folder=folder,
        identity=known,
        description=name,
    )
    network.load_state_dict(done.state)
    return OAT(network.to(where), longest, name, tuple(notes)), done


def check_start(start: OAT, config: OATConfig) -> None:
    """Raise if a network cannot start from the weights of another one.

    Parameters
    ----------
    start : OAT
        Has the weights.
    config : OATConfig
        Architecture of the network.

    Raises
    ------
    ValueError
        If more than dropout differs.
    """
    if replace(start.network.config, dropout=config.dropout) != config:
        raise ValueError(
            "`start` has another architecture than `config` (dropout may differ): "
            f"{start.network.config} instead of {config}."
        )


def _check_displays(trials: Sequence[ObjectTrial], config: OATConfig) -> None:
    for display in {t.display.fingerprint: t.display for t in trials}.values():
        object_batch([display], config)


def _data_identity(
    training: Scanpaths, validation: Sequence[ObjectTrial], looks: FloatArray | None
) -> dict[str, Any]:
    if callable(training):
        raise ValueError("`identity` is needed when `training` is a function.")
    return {
        "training": [trial.fingerprint for trial in training],
        "validation": [trial.fingerprint for trial in validation],
        "looks": None if looks is None else sha256_bytes(looks.tobytes()),
    }


def _delta(
    observer: OAT, trials: Sequence[ObjectTrial], n_samples: int, seed: int
) -> float:
    displays = list({t.display.stimulus_id: t.display for t in trials}.values())
    made = observer.sample_displays(displays, n_samples, seed)
    pred = [path for paths in made for path in paths]
    targets = np.repeat([d.target_cell for d in displays], n_samples)
    of_people = behaviour_vectors(
        [t.cells for t in trials], np.array([t.display.target_cell for t in trials])
    )
    return behaviour_delta(behaviour_vectors(pred, targets), of_people)
