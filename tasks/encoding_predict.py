"""Predictions of fitted encoding models for pictures that nobody was shown yet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.algonauts import NAME as ALGONAUTS
from data_loaders.algonauts import algonauts_stimuli, write_submission
from data_loaders.algonauts_files import response_files, response_shapes
from data_loaders.algonauts_files import subject_folder as algonauts_folder
from data_loaders.picture_folder import open_picture_folder
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.features import extract_features, fingerprint_pictures
from neurovis.adapters.projections import Projection, load_projection
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_columns, check_option, check_path
from neurovis.core.device import deterministic, resolve
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import plain, sha256_file, write_json, write_table
from neurovis.core.provenance import collect
from neurovis.fitting.encoding_model import (
    MODEL_FILE,
    EncodingModel,
    load_encoding_model,
)
from neurovis.fitting.fwrf_model import FwRFModel
from tasks.brain_sources import split_source
from tasks.encoding_parts import projection_file
from tasks.encoding_run import save_matrix
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
    device: str = "auto",
) -> NDArray[np.float32]:
    """Predict the responses of units to pictures, and leave them in a folder.

    The network is loaded as the model describes it; its weights, preprocessing and
    projections must be those that the model was fitted with.

    Parameters
    ----------
    model : str or Path
        Folder of one model, below ``models`` of a finished fit.
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
        Where features are kept; in `out` by default.
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
        cannot be computed from pictures, or `out` holds something else.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If the model, weights or pictures are missing or damaged.
    """
    place = resolve(device)
    home = check_path("model", model, kind="folder")
    fitted = load_encoding_model(home)
    if (pictures is None) == (data is None):
        raise ValueError("Give either `pictures` or `data`, what is to be predicted.")
    subject = str(fitted.training.get("subject"))
    challenge = None
    if data is not None:
        name, challenge = split_source(data)
        check_option("data set to predict", name, ("algonauts",))
        check_option("data set of the model", fitted.training.get("data"), (ALGONAUTS,))
        shown, table = algonauts_stimuli(challenge, subject)
    elif isinstance(pictures, str | Path):
        shown, table = open_picture_folder(pictures)
    else:
        assert pictures is not None
        shown = pictures
        table = _numbered(len(shown)) if stimuli is None else stimuli
    _check_stimuli(table, len(shown))
    spaces, backbones = _load_networks(fitted, weights)
    projections = [_projections(home, k, facts) for k, facts in enumerate(spaces)]
    arguments = plain(
        {
            "task": TASK,
            "model": sha256_file(home / MODEL_FILE),
            "data": data,
            "pictures": fingerprint_pictures(shown),
        }
    )
    folder = begin_run(out, arguments)
    where = Path(store) if store is not None else folder / "store" / "features"
    features = {}
    with deterministic():
        for facts, backbone, own in zip(spaces, backbones, projections, strict=True):
            found = extract_features(
                backbone,
                shown,
                facts["requests"],
                device=device,
                store=where,
                projection=own,
                fingerprint=arguments["pictures"],
            )
            parts = [found[request] for request in facts["requests"]]
            # Whole maps are large: what stands alone stays on disk.
            joined = np.hstack(parts) if len(parts) > 1 else parts[0]
            features[facts["space"]] = joined
    predicted = fitted.predict(features)
    save_matrix(folder / PREDICTIONS_FILE, predicted)
    write_table(folder / "stimuli.parquet", table)
    write_table(folder / "units.parquet", fitted.units)
    notes = [*fitted.notes, fitted.licence]
    if challenge is not None:
        notes += _submit(folder, challenge, subject, fitted, predicted)
    marks = {"model": arguments["model"], "pictures": arguments["pictures"]}
    provenance = collect(None, place, "float32", marks, arguments, notes)
    write_json(folder / "provenance.json", provenance.to_dict())
    return predicted


def _numbered(n: int) -> pd.DataFrame:
    return pd.DataFrame({"stimulus_id": [f"picture-{i:05d}" for i in range(n)]})


def _check_stimuli(table: pd.DataFrame, n: int) -> None:
    check_columns("stimuli", table.columns, ["stimulus_id"])
    if len(table) != n or not n:
        raise ValueError(
            f"`stimuli` has {len(table)} rows for {n} pictures: one row per picture, "
            "and at least one, is needed."
        )


def _load_networks(
    model: EncodingModel | FwRFModel, weights: str | Path | None
) -> tuple[list[dict[str, Any]], list[Backbone]]:
    """Return what the spaces are, and their networks, each loaded once."""
    described = model.features.get("spaces", [])
    names = [space.name for space in model.spaces]
    spaces = [
        {**facts, "space": name} for facts, name in zip(described, names, strict=True)
    ]
    for facts in spaces:
        if facts["source"] != "network":
            raise ValueError(
                f"The features {facts['title']!r} of the model came from outside, so "
                "that they cannot be computed for pictures. Compute them, and use "
                "`EncodingModel.predict`."
            )
    wanted = {(f["name"], f["weights"], f["resize"]) for f in spaces}
    if weights is not None and len(wanted) > 1:
        raise ValueError(
            f"The model has {len(wanted)} networks, and `weights` can replace those of "
            "one only: put the files back where they were."
        )
    loaded = {
        key: load_backbone(key[0], weights or key[1], resize=key[2]) for key in wanted
    }
    backbones = [loaded[f["name"], f["weights"], f["resize"]] for f in spaces]
    for facts, backbone in zip(spaces, backbones, strict=True):
        _check_network(facts, backbone)
    return spaces, backbones


def _check_network(facts: Mapping[str, Any], backbone: Backbone) -> None:
    found = {
        "weights_hash": backbone.weights_hash,
        "architecture": backbone.architecture,
        "preprocessing": plain(backbone.preprocessing.identity),
    }
    for name, value in found.items():
        if facts[name] != value:
            raise ValueError(
                f"The network {backbone.name} is not the one that the model was fitted "
                f"with: {name} is {value!r}, and was {facts[name]!r}. Give the same "
                "`weights`, and the same versions of the packages."
            )


def _projections(
    home: Path, number: int, facts: Mapping[str, Any]
) -> dict[str, Projection]:
    found: dict[str, Projection] = {}
    for request, identity in facts["projections"].items():
        path = home / projection_file(number, request)
        projection = load_projection(path)
        if plain(dict(projection.identity)) != identity:
            raise DataCorruptError(
                f"{path} is not the projection that the model was fitted with. Fit the "
                "model again."
            )
        found[request] = projection
    return found


def _submit(
    folder: Path,
    challenge: Path,
    subject: str,
    model: EncodingModel | FwRFModel,
    predicted: NDArray[np.float32],
) -> list[str]:
    """Write the files of the challenge; return what a reader must know of them."""
    check_columns("units", model.units.columns, ["hemisphere", "challenge_vertex"])
    shapes = response_shapes(
        response_files(algonauts_folder(challenge, subject), "train")
    )
    arrays = {}
    for hemisphere in HEMISPHERES:
        mine = model.units["hemisphere"].eq(hemisphere).to_numpy()
        vertex = model.units.loc[mine, "challenge_vertex"].to_numpy(np.int64)
        array = np.zeros((len(predicted), shapes[hemisphere][1]), np.float32)
        array[:, vertex] = np.nan_to_num(predicted[:, mine])
        arrays[hemisphere] = array
    target = folder / SUBMISSION_FOLDER
    if not (target / subject).is_dir():  # otherwise left by the same call before
        write_submission(target, subject, arrays["lh"], arrays["rh"], data=challenge)
    n_all = sum(shapes[h][1] for h in HEMISPHERES)
    n_lost = int(np.isnan(predicted).any(axis=0).sum())
    n_missing = n_all - model.n_units + n_lost
    if not n_missing:
        return []
    return [f"{n_missing} of {n_all} vertices of the submission are 0: not predicted."]
