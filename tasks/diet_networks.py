"""The networks of the diet experiment: trained, or read where they are finished."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurovis.adapters.compact_vgg import WIDTHS
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import plain, read_json, read_table, sha256_file
from neurovis.core.log import progress
from tasks.backbone_recipe import BackboneRecipe, compact_recipe
from tasks.backbone_training import CARD_FILE, WEIGHTS_FILE, train_backbone
from tasks.diet_verdicts import UNTRAINED

CURVES_FILE = "curves.csv"


@dataclass(frozen=True, eq=False)
class DietNetwork:
    """One trained network.

    Parameters
    ----------
    diet : str
        What it was fed.
    seed : int
        Seed of its initial weights and of its training.
    weights : Path
        Its file.
    card : dict of str to Any
        How it came about, as `tasks.backbone_training.train_backbone` leaves it.
    curves : DataFrame
        Its learning curves.
    """

    diet: str
    seed: int
    weights: Path
    card: dict[str, Any]
    curves: pd.DataFrame

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{self.diet} seed {self.seed}"


def diet_recipe(*, mirrors: bool = False) -> BackboneRecipe:
    """Return how the networks of the experiment are trained by default.

    Parameters
    ----------
    mirrors : bool, default False
        Mirror half of the views left to right, as most trainings do. It teaches every
        network that left and right are alike, whatever its pictures show.

    Returns
    -------
    BackboneRecipe
        That of the shipped weights, shortened.
    """
    recipe = compact_recipe().shortened(4)
    return recipe if mirrors else recipe.without_mirrors()


def untrained_weights(widths: Sequence[int], seed: int) -> str:
    """Name the weights that a training starts from.

    Parameters
    ----------
    widths : sequence of int
        Channels of the five stages.
    seed : int
        Seed of the network.

    Returns
    -------
    str
        As `neurovis.adapters.compact_vgg.load_compact` takes it.

    Raises
    ------
    ValueError
        If such weights have no name.

    Examples
    --------
    >>> untrained_weights(WIDTHS, 2)
    'seeded:2'
    """
    for divisor in range(1, 9):
        if tuple(widths) == tuple(width // divisor for width in WIDTHS):
            return f"seeded:{seed}/{divisor}" if divisor > 1 else f"seeded:{seed}"
    raise ValueError(
        f"`untrained` networks have the widths {WIDTHS}, or these divided by 2 to 8; "
        f"the recipe has {tuple(widths)}. Change them, or give `untrained=False`."
    )


def train_networks(
    root: Path,
    home: Path,
    diets: Sequence[str],
    seeds: Sequence[int],
    *,
    source: str,
    recipe: BackboneRecipe,
    name: str,
    licence: str,
    device: str,
) -> list[DietNetwork]:
    """Train what is not finished; every diet gets its first network first.

    Parameters
    ----------
    root : Path
        Pictures.
    home : Path
        Folder of the networks, ``DIET-seedN`` each. One that another process trains
        is waited for.
    diets : sequence of str
        What they are fed.
    seeds : sequence of int
        Networks per diet.
    source : str
        Fingerprint of the pictures.
    recipe : BackboneRecipe
        How they are trained.
    name, licence : str
        Of the pictures, for the cards.
    device : str
        Where they are trained.

    Returns
    -------
    list of DietNetwork
        All networks of the first diet, then those of the next.

    Raises
    ------
    ValueError
        If a folder holds another network.
    DataCorruptError
        If a file of a network is damaged.
    """
    found = {}
    with progress(len(diets) * len(seeds), "networks", unit="network") as bar:
        for seed in seeds:
            for diet in diets:
                place = home / f"{diet}-seed{seed}"
                asked = {"diet": diet, "name": name, "licence": licence, "seed": seed}
                told = {"images": str(root), "recipe": recipe.parameters}
                if not _is_finished(place, {**asked, **told}, source):
                    train_backbone(
                        root,
                        place,
                        recipe=recipe,
                        diet=diet,
                        name=name,
                        licence=licence,
                        seed=seed,
                        device=device,
                    )
                found[diet, seed] = DietNetwork(
                    diet,
                    seed,
                    place / WEIGHTS_FILE,
                    _read_card(place / CARD_FILE),
                    # From the file, so that a resumed run has the same digits.
                    read_table(place / CURVES_FILE),
                )
                bar.update()
    return [found[diet, seed] for diet in diets for seed in seeds]


def _is_finished(folder: Path, asked: dict[str, Any], source: str) -> bool:
    """Tell whether a folder holds this very network, without reading pictures."""
    names = ("run.json", CARD_FILE, WEIGHTS_FILE, CURVES_FILE)
    if not all((folder / name).is_file() for name in names):
        return False
    call, card = read_json(folder / "run.json"), _read_card(folder / CARD_FILE)
    same = {k: call.get(k) for k in asked} == plain(asked)
    sound = card["sha256"] == sha256_file(folder / WEIGHTS_FILE)
    seen = card["provenance"]["fingerprints"]["pictures"]
    return bool(same and sound and seen == source)


def _read_card(path: Path) -> dict[str, Any]:
    card = read_json(path)
    try:
        numbers = card["n_training"], card["n_validation"], card["n_epochs"]
        texts = (
            card["sha256"],
            card["provenance"]["device"],
            card["provenance"]["fingerprints"]["pictures"],
        )
        whole = all(isinstance(n, int) for n in numbers)
        sound = whole and all(isinstance(text, str) for text in texts)
        sound = sound and isinstance(card["validation"], dict)
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise DataCorruptError(
            f"{path} is not the card of a network. Remove its folder to train it again."
        )
    return dict(card)


def network_table(networks: Sequence[DietNetwork]) -> pd.DataFrame:
    """Return one row per network.

    Parameters
    ----------
    networks : sequence of DietNetwork
        Trained networks.

    Returns
    -------
    DataFrame
        `diet`, `seed`, `sha256` (of the weights), `n_training`, `n_validation`
        (pictures), `n_epochs`, `val_loss`, `val_accuracy`, `chance` (that of a guess,
        for the accuracy) and `device`; undefined is NaN.
    """
    rows = []
    for one in networks:
        card = one.card
        chance = card.get("chance")
        rows.append(
            {
                "diet": one.diet,
                "seed": one.seed,
                "sha256": card["sha256"],
                "n_training": card["n_training"],
                "n_validation": card["n_validation"],
                "n_epochs": card["n_epochs"],
                "val_loss": card["validation"].get("loss", np.nan),
                "val_accuracy": card["validation"].get("accuracy", np.nan),
                "chance": np.nan if chance is None else float(chance),
                "device": card["provenance"]["device"],
            }
        )
    return pd.DataFrame(rows)


def run_notes(
    networks: Sequence[DietNetwork],
    recipe: BackboneRecipe,
    name: str,
    untrained: bool,
    synthetic: bool,
) -> list[str]:
    """Say what a reader must know before the numbers.

    Parameters
    ----------
    networks : sequence of DietNetwork
        Trained networks.
    recipe : BackboneRecipe
        How they were trained.
    name : str
        What the pictures are called.
    untrained : bool
        Whether untrained networks searched too.
    synthetic : bool
        Whether the pictures are made by a program.

    Returns
    -------
    list of str
        One sentence or two each.
    """
    how = "to name classes" if recipe.objective == "supervised" else "without labels"
    n, steps = int(networks[0].card["n_training"]), recipe.settings.max_epochs
    steps *= recipe.steps_per_epoch
    widths = "-".join(str(width) for width in recipe.widths)
    seeds = len({one.seed for one in networks})
    notes = [
        f"Small networks (widths {widths}), trained here {how} on {n} pictures of "
        f"{name} for {steps} steps: no replication at the published scale, and what "
        "does not show here is not refuted.",
        f"{seeds} {'networks' if seeds > 1 else 'network'} per diet.",
    ]
    if synthetic:
        notes.append("Synthetic pictures: made by a program, no photographs.")
    if recipe.views.mirror:
        notes.append(
            "Half of the views were mirrored: all diets taught that left and right are "
            "alike, which can make an asymmetry, or hide one."
        )
    if untrained:
        notes.append(
            f'Observers called "{UNTRAINED}" are the same networks before training.'
        )
    return notes
