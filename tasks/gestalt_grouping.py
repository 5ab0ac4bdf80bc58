"""Grouping in a model: proximity, similarity, closure, and contours of patches."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.choices import choose_odd, similarity
from analysis.gestalt import without_orientation_bias
from analysis.linear_readout import fit_linear_readout
from analysis.patches import mean_token, touched_patches
from stimuli.bracket_search import bracket_display, make_bracket_search
from stimuli.display import to_8_bit
from stimuli.dot_lattices import (
    ASPECTS,
    draw_stripes,
    lattice_display,
    make_dot_lattices,
)
from stimuli.gabor_fields import contour_display, make_contour_fields
from tasks.gestalt_reading import (
    BatterySize,
    Observer,
    Shown,
    choice_columns,
    read_places,
    show,
    trials_of,
)
from tasks.picture_features import embed

SIMILARITY_ASPECTS = (1.0, 1.2, 1.5)
LUMINANCE_STEPS = (0.3, 0.6)
SET_SIZES = (3, 4, 6, 8)

_STRIPE_PHASES = (0.0, 0.5)


def show_proximity(size: BatterySize) -> Shown:
    """Draw dot lattices of all aspects.

    Parameters
    ----------
    size : BatterySize
        How many.

    Returns
    -------
    Shown
        An even number of orientations of each aspect.
    """
    stimuli = make_dot_lattices(
        aspects=ASPECTS,
        n_lattices=_even(size.n_displays),
        px_per_deg=size.px_per_deg,
        seed=size.seed,
    )
    return show(stimuli.table.assign(condition="dots"), _lattice)


def show_similarity(size: BatterySize) -> Shown:
    """Draw dot lattices whose columns along the longer distance are alike.

    Parameters
    ----------
    size : BatterySize
        How many.

    Returns
    -------
    Shown
        Conditions "luminance 0", "luminance 0.3" and so on, and "shape".
    """
    tables = []
    for kind, steps in (("luminance", (0.0, *LUMINANCE_STEPS)), ("shape", (1.0,))):
        stimuli = make_dot_lattices(
            aspects=SIMILARITY_ASPECTS,
            n_lattices=_even(size.n_displays / 2),
            similarity=kind,
            differences=steps,
            px_per_deg=size.px_per_deg,
            seed=size.seed,
        )
        names = stimuli.table["difference"].map("luminance {:g}".format)
        condition = names if kind == "luminance" else kind
        ids = f"{kind}_" + stimuli.table["stimulus_id"]
        tables.append(stimuli.table.assign(condition=condition, stimulus_id=ids))
    return show(pd.concat(tables, ignore_index=True), _lattice)


def measure_lattices(
    observer: Observer, shown: Shown, size: BatterySize, *, test: str = "proximity"
) -> pd.DataFrame:
    """Choose between the two groupings of lattices.

    The lattice is compared with stripes along a and along b, by the cosine of whole
    layers; templates are means over two phases of the stripes. What a layer likes about
    an orientation as such is taken away: see
    `analysis.gestalt.without_orientation_bias`.

    Parameters
    ----------
    observer : Observer
        Who looks.
    shown : Shown
        From `show_proximity` or `show_similarity`.
    size : BatterySize
        Seed and resolution.
    test : {"proximity", "similarity"}
        Name in the table.

    Returns
    -------
    DataFrame
        `level` is the aspect; the truth is "a", the shorter distance; `value` is the
        evidence for b.
    """
    table = shown.table
    angles = sorted(set(table["orientation_deg"]) | set(_turned(table)))
    stripes = [
        to_8_bit(draw_stripes(angle, phase=phase, px_per_deg=size.px_per_deg).image)
        for angle in angles
        for phase in _STRIPE_PHASES
    ]
    along_a = [angles.index(angle) for angle in table["orientation_deg"]]
    along_b = [angles.index(angle) for angle in _turned(table)]
    both = embed(observer.model, [*shown.pictures, *stripes], device=observer.device)
    plain = (table["aspect"] == 1) & (table["difference"] == 0)
    parts = []
    for layer, features in both.items():
        lattices, rest = features[: len(table)], features[len(table) :]
        templates = rest.reshape(len(angles), len(_STRIPE_PHASES), -1).mean(axis=1)
        to_a = similarity(lattices, templates[along_a])
        to_b = similarity(lattices, templates[along_b])
        evidence = without_orientation_bias(
            to_b - to_a, table["orientation_deg"], plain
        )
        columns = {
            "stimulus_id": table["stimulus_id"].to_numpy(),
            "condition": table["condition"].to_numpy(),
            "level": table["aspect"].to_numpy(),
            "truth": "a",
            "response": np.select([evidence < 0, evidence > 0], ["a", "b"], ""),
            "correct": np.select([evidence < 0, evidence > 0], [1.0, 0.0], np.nan),
            "rt_or_cost": 1 - np.abs(evidence),
            "value": evidence,
            "chance": 0.5,
        }
        parts.append(trials_of(observer, layer, test, columns, size.seed))
    return pd.concat(parts, ignore_index=True)


def measure_similarity(
    observer: Observer, shown: Shown, size: BatterySize
) -> pd.DataFrame:
    """Choose between proximity and similarity, as `measure_lattices` does.

    Parameters
    ----------
    observer : Observer
        Who looks.
    shown : Shown
        From `show_similarity`.
    size : BatterySize
        Seed and resolution.

    Returns
    -------
    DataFrame
        As `measure_lattices`.
    """
    return measure_lattices(observer, shown, size, test="similarity")


def show_closure(size: BatterySize) -> Shown:
    """Draw displays of closed and of open outlines with one of another shape.

    Parameters
    ----------
    size : BatterySize
        How many.

    Returns
    -------
    Shown
        `n_displays` of each set size, closed and open.
    """
    stimuli = make_bracket_search(
        set_sizes=SET_SIZES,
        n_displays=size.n_displays,
        px_per_deg=size.px_per_deg,
        seed=size.seed,
    )
    return show(stimuli.table, bracket_display)


def measure_closure(
    observer: Observer, shown: Shown, size: BatterySize
) -> pd.DataFrame:
    """Find the odd outline: the one whose mean token is least like the others.

    Parameters
    ----------
    observer : Observer
        Who looks.
    shown : Shown
        From `show_closure`.
    size : BatterySize
        Seed.

    Returns
    -------
    DataFrame
        Conditions "closed" and "open"; `level` is the number of items, and the cost
        1 minus the margin of the cosines.
    """
    table = shown.table
    counts = table["n_items"].to_numpy()

    def items(tokens: Any, index: int, _: str) -> Any:
        masks = shown.masks[index]
        return np.array(
            [
                mean_token(tokens, touched_patches(masks[f"item {k}"],
                                                   *tokens.shape[:2]))
                for k in range(counts[index])
            ]
        )  # fmt: skip

    found = read_places(observer, shown.pictures, items)
    parts = []
    for layer in observer.layers:
        choices = [choose_odd(one[None]) for one in found[layer.title]]
        picked = np.array([choice.picked[0] for choice in choices])
        margin = np.array([choice.margin[0] for choice in choices])
        columns = {
            "stimulus_id": table["stimulus_id"].to_numpy(),
            "condition": np.where(table["closed"], "closed", "open"),
            "level": counts,
            "truth": table["target"].to_numpy(),
            "response": picked,
            "correct": picked == table["target"].to_numpy(),
            "rt_or_cost": 1 - margin,
            "chance": 1 / counts,
        }
        parts.append(trials_of(observer, layer.title, "closure", columns, size.seed))
    return pd.concat(parts, ignore_index=True)


def show_contours(size: BatterySize) -> Shown:
    """Draw fields of Gabor patches with a contour and without.

    Parameters
    ----------
    size : BatterySize
        How many, and the grid; three quarters of its side are the path.

    Returns
    -------
    Shown
        Column `part`: fields for training, and others for the test.
    """
    tables = []
    for part, seed in (("train", size.seed + 1), ("test", size.seed)):
        stimuli = make_contour_fields(
            n_fields=size.n_displays,
            closed=(False, True),
            grid=size.contour_grid,
            path_length=3 * size.contour_grid // 4,
            px_per_deg=size.px_per_deg * 7 / size.contour_grid,
            seed=seed,
        )
        ids = part + "_" + stimuli.table["stimulus_id"]
        tables.append(stimuli.table.assign(part=part, stimulus_id=ids))
    return show(
        pd.concat(tables, ignore_index=True),
        lambda row: contour_display({k: v for k, v in row.items() if k != "part"}),
    )


def measure_contours(
    observer: Observer, shown: Shown, size: BatterySize
) -> pd.DataFrame:
    """Choose the field with a contour of two, with a readout of other fields.

    The readout gets mean and standard deviation of every channel over all places,
    because a contour can lie anywhere.

    Parameters
    ----------
    observer : Observer
        Who looks.
    shown : Shown
        From `show_contours`.
    size : BatterySize
        Seed.

    Returns
    -------
    DataFrame
        Conditions "open" and "closed"; `level` is the path angle in degrees.
    """
    table = shown.table

    def summary(tokens: Any, *_: Any) -> Any:
        places = np.asarray(tokens, np.float64).reshape(-1, tokens.shape[2])
        return np.concatenate([places.mean(axis=0), places.std(axis=0)])

    found = read_places(observer, shown.pictures, summary)
    train = (table["part"] == "train").to_numpy()
    present = table["present"].to_numpy(bool)
    test = table[~train & present]
    parts = []
    for layer in observer.layers:
        features = np.array(found[layer.title])
        readout = fit_linear_readout(
            features[train],
            present[train],
            groups=table.loc[train, "pair"],
            seed=size.seed,
        )
        logits = pd.Series(readout.logits(features)[:, 1], index=table.index)
        tested = table[~train].assign(logit=logits[~train])
        wide = tested.pivot_table(index="pair", columns="present", values="logit")
        evidence = (wide[True] - wide[False]).loc[test["pair"]].to_numpy()
        columns = {
            "stimulus_id": test["stimulus_id"].to_numpy(),
            "condition": np.where(test["closed"], "closed", "open"),
            "level": test["path_angle_deg"].to_numpy(),
            **choice_columns(evidence, ("path", "none")),
        }
        parts.append(trials_of(observer, layer.title, "contours", columns, size.seed))
    return pd.concat(parts, ignore_index=True)


def _even(number: float) -> int:
    """Return an even number of orientations: each has its right angle among them."""
    return 2 * max(1, round(number / 2))


def _turned(table: pd.DataFrame) -> "pd.Series[float]":
    return (table["orientation_deg"] + 90) % 180


def _lattice(row: Any) -> Any:
    return lattice_display({k: v for k, v in row.items() if k != "condition"})
