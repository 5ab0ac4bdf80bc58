"""OAT trained on simulated searchers of many kinds: the weights that come with it.

No data of people are used. The searchers draw their rules from broad ranges (see
`neurovis.adapters.search_policy.random_policy`), displays have grids of many sizes and
generated covers. To find a target by its look has to be learnt from few examples of
each kind of display; it is learnt on small displays first, where it is easier.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from neurovis.adapters.oat import OAT
from neurovis.adapters.oat_network import small_config
from neurovis.adapters.search_policy import random_policy, simulate_trials
from neurovis.core.checks import check_whole
from neurovis.core.object_displays import ObjectDisplay, regular_display
from neurovis.core.object_scanpaths import ObjectTrial
from neurovis.core.rng import generator
from neurovis.fitting.train import Training, TrainSettings
from tasks.oat_looks import N_FEATURES, display_looks, synthetic_looks
from tasks.oat_training import OATRecipe, fit_oat

NOTE = (
    "Trained on simulated searchers with random rules, on generated covers; it has "
    "seen no data of people."
)
_SMALL = (2, 4), (3, 6)
_LARGE = (3, 7), (7, 15)
_USUAL = 6, 14
_N_VALIDATION = 40


@dataclass(frozen=True)
class Curriculum:
    """What is shown in which epoch.

    Parameters
    ----------
    n_epochs : int, default 260
        Epochs; all displays and searchers are new in each.
    n_small : int, default 70
        Epochs at the beginning with displays of 2 or 3 rows of 3 to 5 objects; after
        them 3 to 6 rows of 7 to 14, in half of them 6 of 14.
    n_displays : int, default 192
        Displays per epoch.
    n_observers : int, default 4
        Searchers per epoch; each searches every display once.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """

    n_epochs: int = 260
    n_small: int = 70
    n_displays: int = 192
    n_observers: int = 4

    def __post_init__(self) -> None:
        check_whole("n_small", self.n_small, low=0)
        for name in ("n_epochs", "n_displays", "n_observers"):
            check_whole(name, getattr(self, name), low=1)


def searcher_trials(
    epoch: int, curriculum: Curriculum, seed: int = 0
) -> list[ObjectTrial]:
    """Simulate the scanpaths of one epoch.

    Parameters
    ----------
    epoch : int
        The epoch, from 0.
    curriculum : Curriculum
        What is shown.
    seed : int, default 0
        Seed of displays and searchers.

    Returns
    -------
    list of ObjectTrial
        On displays without appearance.

    Raises
    ------
    TypeError, ValueError
        If the seed is none.
    """
    small = epoch < curriculum.n_small
    displays = _displays(f"e{epoch}", curriculum.n_displays, small=small, seed=seed)
    rules = [
        random_policy(seed, "pretraining", epoch, k)
        for k in range(curriculum.n_observers)
    ]
    return simulate_trials(rules, displays, seed=seed)


def pretrain_oat(
    folder: str | Path | None = None,
    *,
    target_position: str = "none",
    curriculum: Curriculum | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[OAT, Training]:
    """Train the small network on simulated searchers.

    Parameters
    ----------
    folder : str or Path, optional
        Where checkpoints go.
    target_position : {"none", "true"}
        Whether the network is told where the target is.
    curriculum : Curriculum, optional
        What is shown; that of the shipped weights by default.
    seed : int, default 0
        Seed of everything.
    device : str, default "cpu"
        Where to compute.

    Returns
    -------
    observer : OAT
        With the weights that were best on 40 displays of the larger kind, with
        covers and searchers of their own.
    training : Training
        How it went.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown, the seed is none, or `folder` holds another training.
    DataCorruptError
        If a file of `folder` is damaged.
    """
    plan = curriculum or Curriculum()
    check_whole("seed", seed, low=0)
    config = small_config(
        appearance="features",
        n_features=N_FEATURES,
        target_position=target_position,
        dropout=0.0,
    )
    settings = TrainSettings(
        max_epochs=plan.n_epochs,
        patience=None,
        monitor="nats",
        optimiser="adamw",
        learning_rate=1e-3,
        weight_decay=0.01,
        schedule="cosine",
        warmup_steps=200,
        validate_every=min(10, plan.n_epochs),
    )
    return fit_oat(
        lambda epoch: searcher_trials(epoch, plan, seed),
        _validation(plan, seed),
        config=config,
        recipe=OATRecipe(settings, displays_per_batch=6),
        seed=seed,
        looks=synthetic_looks(seed),
        longest=55,
        identity={"pretraining": asdict(plan), "seed": seed},
        folder=folder,
        device=device,
        name="oat",
        notes=(NOTE,),
    )


def _validation(plan: Curriculum, seed: int) -> list[ObjectTrial]:
    displays = _displays("validation", _N_VALIDATION, small=False, seed=seed)
    dressed = [replace(d, appearance=display_looks(d, seed)) for d in displays]
    rules = [
        random_policy(seed, "pretraining validation", k)
        for k in range(plan.n_observers)
    ]
    return simulate_trials(rules, dressed, seed=seed)


def _displays(name: str, n: int, *, small: bool, seed: int) -> list[ObjectDisplay]:
    draw = generator(seed, "pretraining displays", name)
    made = []
    for number in range(n):
        rows, cols = (int(draw.integers(*r)) for r in (_SMALL if small else _LARGE))
        if draw.random() < 0.5 and not small:
            rows, cols = _USUAL
        made.append(
            regular_display(
                f"{name} {number}",
                rows=rows,
                cols=cols,
                size_px=(1680, 1050),
                target_cell=int(draw.integers(rows * cols)),
            )
        )
    return made
