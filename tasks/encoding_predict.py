"""Predictions of fitted encoding models for pictures that nobody was shown yet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from data_loaders.algonauts import NAME as ALGONAUTS
from data_loaders.algonauts import algonauts_stimuli, write_submission
from data_loaders.algonauts_files import response_files, response_shapes
from data_loaders.algonauts_files import subject_folder as algonauts_folder
from data_loaders.picture_folder import open_picture_folder
from neurovis.adapters.features import fingerprint_pictures
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_columns, check_option
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, write_json, write_table
from neurovis.core.provenance import collect
from tasks.brain_sources import split_source
from tasks.encoder_model import FittedEncoder
from tasks.encoder_predict import (
    ATTENTION_FILE,
    CLIP_FILE,
    ModelCard,
    PictureModel,
    load_picture_model,
    read_model_card,
    save_attention,
)
from tasks.encoding_run import save_matrix
from tasks.picture_gradients import GradientEncoder, load_gradient_encoder
from tasks.runs import begin_run

TASK = "predict-encoding"
PREDICTIONS_FILE = "predictions.npy"
SUBMISSION_FOLDER = "submission"


def predict_encoding(
    model: str | Path,
    pictures: Sequence[NDArray[np.uint8]] | str | Path | None = None,
    out: str | Path = "results/predict",
    *,
    data: str | None = None,
    stimuli: pd.DataFrame | None = None,
    weights: str | Path | None = None,
    store: str | Path | None = None,
    attention: bool = False,
    device: str = "auto",
) -> NDArray[np.float32]:
    """Predict the responses of units to pictures, and leave them in a folder.

    The network is loaded as the model describes it; its weights, preprocessing and
    projections must be those that the model was fitted with.

    Parameters
    ----------
    model : str or Path
        Folder of one model, linear, trained or on embeddings, below ``models`` of a
        finished fit.
    pictures : str, Path or sequence of ndarray of uint8, shape (H, W, 3), optional
        Folder of pictures, or pictures.
    out : str or Path
        Folder for ``predictions.npy`` (float32, pictures x units),
        ``stimuli.parquet``, ``units.parquet``, ``provenance.json``.
    data : str, optional
        ``algonauts:PATH`` instead of pictures: the test pictures of the subject of the
        model; ``submission`` then holds the files of the challenge, 0 for vertices that
        the model does not have.
    stimuli : DataFrame, optional
        For a sequence of pictures: one row each, with `stimulus_id`.
    weights : str or Path, optional
        Weights of the network, if they lie elsewhere by now.
    store : str or Path, optional
        Where features are kept; in `out` by default. Embeddings are not kept.
    attention : bool, default False
        Leave also ``attention.npz``: `names` of the queries of a trained encoder, and
        `maps`, where each of them looks in each picture (float32, pictures x queries x
        height x width).
    device : str, default "auto"
        Where the network runs.

    Returns
    -------
    ndarray of float32, shape (n_pictures, n_units)
        Predictions; NaN for units that could not be fitted.

    Raises
    ------
    TypeError, ValueError
        If arguments do not fit, the network is not that of the model, its features
        cannot be computed from pictures, its attention is not there or would be larger
        than 2 GiB, or `out` holds something else.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If the model, weights or pictures are missing or damaged.
    """
    place = resolve(device)
    card = read_model_card(model)
    if (pictures is None) == (data is None):
        raise ValueError("Give either `pictures` or `data`, what is to be predicted.")
    subject = str(card.training.get("subject"))
    challenge = None
    if data is not None:
        name, challenge = split_source(data)
        check_option("data set to predict", name, ("algonauts",))
        check_option("data set of the model", card.training.get("data"), (ALGONAUTS,))
        shown, table = algonauts_stimuli(challenge, subject)
    elif isinstance(pictures, str | Path):
        shown, table = open_picture_folder(pictures)
    else:
        assert pictures is not None
        shown = pictures
        table = _numbered(len(shown)) if stimuli is None else stimuli
    _check_stimuli(table, len(shown))
    look = _load(card, weights, place)
    if attention:
        if not isinstance(look, PictureModel):
            raise ValueError(
                "`attention` needs an encoder with queries, 'transformer' or 'masks'; "
                "this model reads embeddings. Leave `attention` out."
            )
        look.check_attention(len(shown))
    arguments = plain(
        {
            "task": TASK,
            "model": card.fingerprint,
            "data": data,
            "pictures": fingerprint_pictures(shown),
            **({"attention": True} if attention else {}),
        }
    )
    folder = begin_run(out, arguments)
    where = Path(store) if store is not None else folder / "store" / "features"
    mark = arguments["pictures"]
    with deterministic():
        if isinstance(look, PictureModel):
            seen = look.look(shown, store=where, fingerprint=mark, device=str(place))
            predicted = seen.predict()
            if attention:
                assert isinstance(look.fitted, FittedEncoder)
                names = look.fitted.query_names
                save_attention(folder / ATTENTION_FILE, names, seen.attention())
        else:
            predicted = look.predict(shown)
    save_matrix(folder / PREDICTIONS_FILE, predicted)
    write_table(folder / "stimuli.parquet", table)
    write_table(folder / "units.parquet", look.units)
    notes = list(look.notes)
    if challenge is not None:
        notes += _submit(folder, challenge, subject, look.units, predicted)
    marks = {"model": arguments["model"], "pictures": arguments["pictures"]}
    provenance = collect(None, place, "float32", marks, arguments, notes)
    write_json(folder / "provenance.json", provenance.to_dict())
    return predicted


def _load(
    card: ModelCard, weights: str | Path | None, place: torch.device
) -> PictureModel | GradientEncoder:
    if (card.home / CLIP_FILE).is_file():
        return load_gradient_encoder(card.home, weights=weights, device=place)
    return load_picture_model(card.home, weights=weights)


def _numbered(n: int) -> pd.DataFrame:
    return pd.DataFrame({"stimulus_id": [f"picture-{i:05d}" for i in range(n)]})


def _check_stimuli(table: pd.DataFrame, n: int) -> None:
    check_columns("stimuli", table.columns, ["stimulus_id"])
    if len(table) != n or not n:
        raise ValueError(
            f"`stimuli` has {len(table)} rows for {n} pictures: one row per picture, "
            "and at least one, is needed."
        )


def _submit(
    folder: Path,
    challenge: Path,
    subject: str,
    units: pd.DataFrame,
    predicted: NDArray[np.float32],
) -> list[str]:
    """Write the files of the challenge; return what a reader must know of them."""
    check_columns("units", units.columns, ["hemisphere", "challenge_vertex"])
    shapes = response_shapes(
        response_files(algonauts_folder(challenge, subject), "train")
    )
    arrays = {}
    for hemisphere in HEMISPHERES:
        mine = units["hemisphere"].eq(hemisphere).to_numpy()
        vertex = units.loc[mine, "challenge_vertex"].to_numpy(np.int64)
        array = np.zeros((len(predicted), shapes[hemisphere][1]), np.float32)
        array[:, vertex] = np.nan_to_num(predicted[:, mine])
        arrays[hemisphere] = array
    target = folder / SUBMISSION_FOLDER
    if not (target / subject).is_dir():  # otherwise left by the same call before
        write_submission(target, subject, arrays["lh"], arrays["rh"], data=challenge)
    n_all = sum(shapes[h][1] for h in HEMISPHERES)
    n_lost = int(np.isnan(predicted).any(axis=0).sum())
    n_missing = n_all - len(units) + n_lost
    if not n_missing:
        return []
    return [f"{n_missing} of {n_all} vertices of the submission are 0: not predicted."]
