"""How the Gestalt battery shows pictures to a model and reads its places."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.adapters.feature_layers import plan_readings
from neurovis.adapters.features import extract_features
from stimuli.display import Display, to_8_bit
from tasks.picture_features import PictureModel

FloatArray = NDArray[np.float64]
Reduce = Callable[[NDArray[np.float32], int, str], Any]

TRIAL_COLUMNS = (
    *("task", "test", "trial", "stimulus_id", "model", "kind", "untrained", "layer"),
    *("condition", "level", "truth", "response", "correct", "rt_or_cost"),
    *("value", "p_value", "chance", "seed"),
)
"""Of the table of trials of the battery."""

NO_CHOICE = 1e-6
"""Evidence of a readout, in logits, that is no larger makes no choice."""

_PICTURES_AT_ONCE = 16


@dataclass(frozen=True)
class BatterySize:
    """How much is shown.

    Parameters
    ----------
    n_displays : int
        Pictures, or pairs, of each condition.
    px_per_deg : float
        Pixels per degree of the pictures of 7 degrees.
    contour_grid : int
        Cells to a side of fields of Gabor patches.
    n_permutations : int
        Exchanges of places, for fill-in.
    top_k : tuple of float
        Shares of activations that are kept, for illusory contours.
    seed : int
        Of all draws.
    """

    n_displays: int = 8
    px_per_deg: float = 32.0
    contour_grid: int = 8
    n_permutations: int = 1000
    top_k: tuple[float, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class PlaceLayer:
    """A layer whose output has places.

    Parameters
    ----------
    title : str
        Name in tables.
    request : str
        What is extracted.
    n_rows, n_columns, n_channels : int
        Its form.
    channels_first : bool
        Order of the extracted features.
    """

    title: str
    request: str
    n_rows: int
    n_columns: int
    n_channels: int
    channels_first: bool

    def tokens(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give extracted features the form of places.

        Parameters
        ----------
        rows : ndarray of float32, shape (n_pictures, n_features)
            From `neurovis.adapters.features.extract_features`.

        Returns
        -------
        ndarray of float32, shape (n_pictures, n_rows, n_columns, n_channels)
            Row 0 is at the top.
        """
        grid = (self.n_rows, self.n_columns)
        if not self.channels_first:
            return rows.reshape(len(rows), *grid, self.n_channels)
        maps = rows.reshape(len(rows), self.n_channels, *grid)
        return np.ascontiguousarray(maps.transpose(0, 2, 3, 1))


@dataclass(frozen=True)
class Observer:
    """A model with the places of its layers.

    Parameters
    ----------
    model : PictureModel
        Who looks.
    layers : tuple of PlaceLayer
        What is read.
    device : str
        Where it computes.
    """

    model: PictureModel
    layers: tuple[PlaceLayer, ...]
    device: str


@dataclass(frozen=True, eq=False)
class Shown:
    """Pictures with what is known of them.

    Parameters
    ----------
    table : DataFrame
        One row per picture.
    pictures : list of ndarray of uint8, shape (H, W, 3)
        What models see.
    masks : list of mapping of str to ndarray of bool, shape (H, W)
        Areas of each picture.
    """

    table: pd.DataFrame
    pictures: list[NDArray[np.uint8]]
    masks: list[Mapping[str, NDArray[np.bool_]]] = field(default_factory=list)


def show(table: pd.DataFrame, draw: Callable[[Mapping[str, Any]], Display]) -> Shown:
    """Draw the pictures of a table.

    Parameters
    ----------
    table : DataFrame
        One row per picture.
    draw : callable
        Draws a row.

    Returns
    -------
    Shown
        Pictures and masks.
    """
    records: list[Any] = table.to_dict("records")
    pictures, masks = [], []
    for row in records:
        display = draw(row)
        pictures.append(to_8_bit(display.image))
        masks.append(display.masks)
    return Shown(table.reset_index(drop=True), pictures, masks)


def observe(model: PictureModel, device: str = "cpu") -> Observer:
    """Find the places of the layers of a model, before anything is computed.

    Parameters
    ----------
    model : PictureModel
        From `tasks.picture_features.picture_models`.
    device : str, default "cpu"
        Where it will compute.

    Returns
    -------
    Observer
        What the tests take.

    Raises
    ------
    ValueError
        If a layer has no places, or a title stands for several layers.
    """
    backbone = model.backbone
    layers = []
    for title, parts in model.layers.items():
        if len(parts) != 1:
            raise ValueError(
                f"The layer {title!r} of {model.title} joins {len(parts)} layers: the "
                "battery reads places of one layer. Name them one by one."
            )
        path = parts[0].partition(":")[0]
        flat = plan_readings(
            backbone.module, backbone.layout, [f"{path}:flat"], backbone.name
        )[0].activation
        if flat.grid is None or flat.kind not in ("tokens", "map"):
            raise ValueError(
                f"The layer {path!r} of {model.title} has no places (its output has "
                f"shape {flat.shape}): name one that returns tokens or a map."
            )
        request = f"{path}:patches" if flat.kind == "tokens" else f"{path}:flat"
        reading = plan_readings(
            backbone.module, backbone.layout, [request], backbone.name
        )[0]
        rows, columns = flat.grid
        first = not (flat.kind == "tokens" or flat.order == "channels-last")
        channels = reading.n_features // math.prod(flat.grid)
        layers.append(PlaceLayer(title, request, rows, columns, channels, first))
    return Observer(model, tuple(layers), device)


def read_places(
    observer: Observer,
    pictures: Sequence[NDArray[np.uint8]],
    reduce: Reduce,
) -> dict[str, list[Any]]:
    """Show pictures, and keep of every layer what a function makes of its tokens.

    Parameters
    ----------
    observer : Observer
        Who looks.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures.
    reduce : callable
        Called with the tokens (n_rows, n_columns, n_channels) and the index of each
        picture, and the title of the layer.

    Returns
    -------
    dict of str to list
        By title of the layer: one result per picture.
    """
    found: dict[str, list[Any]] = {one.title: [] for one in observer.layers}
    requests = list(dict.fromkeys(layer.request for layer in observer.layers))
    for start in range(0, len(pictures), _PICTURES_AT_ONCE):
        some = pictures[start : start + _PICTURES_AT_ONCE]
        rows = extract_features(
            observer.model.backbone, some, requests, device=observer.device
        )
        for layer in observer.layers:
            tokens = layer.tokens(rows[layer.request])
            found[layer.title] += [
                reduce(one, start + k, layer.title) for k, one in enumerate(tokens)
            ]
    return found


def trials_of(
    observer: Observer, layer: str, test: str, columns: Mapping[str, Any], seed: int
) -> pd.DataFrame:
    """Put the trials of a layer into the common table.

    Parameters
    ----------
    observer : Observer
        Who looked.
    layer : str
        Title of the layer.
    test : str
        Name of the test.
    columns : mapping of str to sequence or value
        Of `TRIAL_COLUMNS`: at least `stimulus_id`, `condition` and `level`. What is
        left out is undefined.
    seed : int
        Of the run.

    Returns
    -------
    DataFrame
        With all of `TRIAL_COLUMNS`.
    """
    table = pd.DataFrame(dict(columns))
    known: dict[str, Any] = {
        "task": "gestalt",
        "test": test,
        "trial": np.arange(len(table)),
        "model": observer.model.title,
        "kind": observer.model.kind,
        "untrained": observer.model.untrained,
        "layer": layer,
        "seed": seed,
    }
    for name, value in known.items():
        table[name] = value
    for name in ("truth", "response"):
        table[name] = table[name].astype(str) if name in table else ""
    # NaN: a test whose trials are not right or wrong.
    for name in ("level", "correct", "rt_or_cost", "value", "p_value", "chance"):
        table[name] = table[name].astype(float) if name in table else np.nan
    return table[list(TRIAL_COLUMNS)]


def choice_columns(
    evidence: FloatArray, names: tuple[str, str], *, preference: bool = False
) -> dict[str, Any]:
    """Make choices of evidence for the first of two answers.

    Parameters
    ----------
    evidence : ndarray of float64, shape (n,)
        Above 0 for the first answer.
    names : tuple of str
        Answers; the first is the truth, or in a preference what people favour.
    preference : bool, default False
        There is no right and wrong: without a choice `correct` is undefined, instead
        of wrong.

    Returns
    -------
    dict
        `truth`, `response` ("" without a choice), `correct`, `rt_or_cost` (minus the
        size of the evidence), `value` and `chance`.
    """
    chosen = np.abs(evidence) > NO_CHOICE
    correct = np.where(evidence > 0, 1.0, 0.0)
    correct[~chosen] = np.nan if preference else 0.0
    return {
        "truth": names[0],
        "response": np.select([~chosen, evidence > 0], ["", names[0]], names[1]),
        "correct": correct,
        "rt_or_cost": -np.abs(evidence),
        "value": evidence,
        "chance": 0.5,
    }
