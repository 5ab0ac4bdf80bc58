"""Pictures whose shape and texture disagree, edge drawings and silhouettes.

References
----------
Geirhos, Rubisch, Michaelis, Bethge, Wichmann and Brendel (2019). ImageNet-trained CNNs
are biased towards texture; increasing shape bias improves accuracy and robustness.
ICLR. arXiv:1811.12231.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_loaders.model_vs_human import CATEGORY_NAMES, make_decisions
from data_loaders.source_files import (
    ZipPictures,
    content_of,
    read_columns,
    read_source_json,
)
from neurovis.core.checks import check_path
from neurovis.core.files import sha256_file
from neurovis.core.types import StimulusSet, Viewing

PX_PER_DEG = 74.2
"""Pixels per degree for the observers: 224 px were 3.02 degrees."""

_SIDE_PX = 224
_LIST, _RESPONSES = "cue_conflict_images.csv", "responses.csv.gz"
_REFERENCE = "reference_values.json"
_CONFLICT, _OTHERS = "cue_conflict.zip", "edges_silhouettes.zip"
# Names in the files, and those of the same experiments in model-vs-human.
_EXPERIMENTS = {
    "cue_conflict": "cue-conflict",
    "edges": "edge",
    "silhouettes": "silhouette",
}
_EXEMPLARS = range(1, 11)


@dataclass(frozen=True, eq=False)
class TextureShape:
    """Pictures of three experiments, and decisions of people and networks.

    Parameters
    ----------
    images : DataFrame
        One row per picture of the experiments: `experiment` ("cue-conflict", "edge" or
        "silhouette"), `image_id` (str, as in model-vs-human), `shape`,
        `shape_exemplar` (int), `texture` and `texture_exemplar` (missing without
        texture) and `included` (bool, whether the picture is at hand).
    stimuli : mapping of str to StimulusSet
        The pictures at hand by experiment, read when asked for; `stimulus_id` is the
        `image_id`, and `shape` and `texture` are columns.
    responses : DataFrame
        Decisions on all pictures, also on those not at hand, with the columns of
        `load_model_vs_human`; `session` is missing, `condition` is "0".
    reference : mapping
        Shape bias and accuracies of the observers, as the data set states them.
    fingerprints : mapping of str to str
        SHA-256 of the files read.
    """

    images: pd.DataFrame
    stimuli: Mapping[str, StimulusSet]
    responses: pd.DataFrame
    reference: Mapping[str, Any]
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> list[str]:
        """Count pictures, observers and trials.

        Returns
        -------
        list of str
            One line per experiment.
        """
        lines = []
        for name, shown in self.stimuli.items():
            own = self.responses[self.responses["experiment"] == name]
            people = own[own["is_human"]]["subject"].nunique()
            total = int((self.images["experiment"] == name).sum())
            lines.append(
                f"{name}: {len(shown)} of {total} pictures, {len(own)} trials of "
                f"{people} people and {own['subject'].nunique() - people} networks"
            )
        return lines


def load_texture_shape(folder: str | Path) -> TextureShape:
    """Load the pictures and the decisions.

    Parameters
    ----------
    folder : str or Path
        Folder with ``cue_conflict.zip``, ``edges_silhouettes.zip``,
        ``cue_conflict_images.csv``, ``responses.csv.gz`` and
        ``reference_values.json``; the zip files stay packed.

    Returns
    -------
    TextureShape
        320 of 1280 pictures with a cue conflict (in 80 of the 1280 the two categories
        agree), 160 edge drawings, 160 silhouettes, and 17 600 decisions of eight
        people and three networks.

    Raises
    ------
    FileNotFoundError
        If the folder or a file is not there.
    DataCorruptError
        If a file is damaged, lacks a picture, or holds what cannot be.
    """
    # Pictures are read later, perhaps from another working folder.
    folder = check_path("folder", folder, kind="folder").absolute()
    names = (_LIST, _RESPONSES, _REFERENCE, _CONFLICT, _OTHERS)
    paths = {name: check_path(name, folder / name) for name in names}
    plain = [_plain_images(name) for name in ("edge", "silhouette")]
    images = pd.concat([_conflict_images(paths[_LIST]), *plain], ignore_index=True)
    stimuli = {}
    for source, name in _EXPERIMENTS.items():
        own = images[(images["experiment"] == name) & images["included"]]
        archive = paths[_CONFLICT if name == "cue-conflict" else _OTHERS]
        suffix = ".jpg" if name == "cue-conflict" else ".png"
        members = tuple(
            f"{source}/{shape}/{image.removesuffix('.png')}{suffix}"
            for shape, image in zip(own["shape"], own["image_id"], strict=True)
        )
        table = own[["image_id", "shape", "texture"]].rename(
            columns={"image_id": "stimulus_id"}
        )
        stimuli[name] = StimulusSet(
            name,
            table.reset_index(drop=True),
            Viewing(px_per_deg=PX_PER_DEG, width_px=_SIDE_PX, height_px=_SIDE_PX),
            ZipPictures(archive, members),
        )
    reference = read_source_json(paths[_REFERENCE])
    with content_of(paths[_REFERENCE]):
        if not isinstance(reference, dict):
            raise ValueError("It must hold one object of named values.")
    return TextureShape(
        images,
        stimuli,
        _responses(paths[_RESPONSES], images),
        reference,
        {name: sha256_file(path) for name, path in paths.items()},
    )


def check_texture_shape(folder: str | Path) -> list[str]:
    """Check a folder of pictures and decisions; every picture is decoded.

    Parameters
    ----------
    folder : str or Path
        As for `load_texture_shape`.

    Returns
    -------
    list of str
        One line per experiment, then the number of pictures decoded.

    Raises
    ------
    FileNotFoundError
        If the folder or a file is not there.
    DataCorruptError
        If a file is damaged or holds what cannot be.
    """
    data = load_texture_shape(folder)
    n = 0
    for name, shown in data.stimuli.items():
        for i in range(len(shown)):
            shape = shown.load(i).shape
            with content_of(Path(folder) / f"{name}: {shown.table['stimulus_id'][i]}"):
                if shape != (_SIDE_PX, _SIDE_PX, 3):
                    raise ValueError(
                        f"A picture must have {_SIDE_PX} x {_SIDE_PX} px; it has "
                        f"{shape[1]} x {shape[0]}."
                    )
            n += 1
    return [*data.describe(), f"{n} pictures of {_SIDE_PX} x {_SIDE_PX} px decoded"]


def _conflict_images(path: Path) -> pd.DataFrame:
    kinds = {"image": "text", "shape": "text", "shape_exemplar": "whole"}
    kinds |= {"texture": "text", "texture_exemplar": "whole", "included": "flag"}
    table = read_columns(path, kinds).rename(columns={"image": "image_id"})
    with content_of(path):
        for column in ("shape", "texture"):
            strange = table[column][~table[column].isin(CATEGORY_NAMES)]
            if len(strange):
                raise ValueError(
                    f"The column `{column}` must have one of the sixteen categories; "
                    f"it has {strange.iloc[0]!r}."
                )
        built = table["shape"] + table["shape_exemplar"].astype(str) + "-"
        built += table["texture"] + table["texture_exemplar"].astype(str) + ".png"
        wrong = table["image_id"] != built
        if wrong.any() or table["image_id"].duplicated().any():
            rows = wrong | table["image_id"].duplicated()
            raise ValueError(
                f"The picture {table['image_id'][rows].iloc[0]!r} is listed twice or "
                "with other categories or numbers than its name tells."
            )
    table["texture_exemplar"] = table["texture_exemplar"].astype("Int64")
    return table.assign(experiment="cue-conflict")[
        ["experiment", "image_id", *list(kinds)[1:]]
    ]


def _plain_images(experiment: str) -> pd.DataFrame:
    """List the pictures of an experiment that has ten of each category."""
    shapes = np.repeat(CATEGORY_NAMES, len(_EXEMPLARS))
    numbers = np.tile(_EXEMPLARS, len(CATEGORY_NAMES))
    return pd.DataFrame(
        {
            "experiment": experiment,
            "image_id": [f"{s}{k}.png" for s, k in zip(shapes, numbers, strict=True)],
            "shape": shapes,
            "shape_exemplar": numbers,
            "texture": pd.array([None] * len(shapes), dtype="str"),
            "texture_exemplar": pd.array([pd.NA] * len(shapes), dtype="Int64"),
            "included": True,
        }
    )


def _responses(path: Path, images: pd.DataFrame) -> pd.DataFrame:
    kinds = {"experiment": "text", "observer": "text", "trial": "whole"}
    kinds |= {"image": "text", "category": "text", "response": "text", "rt_s": "number"}
    raw = read_columns(path, kinds)
    with content_of(path):
        strange = raw["experiment"][~raw["experiment"].isin(_EXPERIMENTS)]
        if len(strange):
            raise ValueError(
                f"The column `experiment` must have one of {tuple(_EXPERIMENTS)}; it "
                f"has {strange.iloc[0]!r}."
            )
        parts = [
            make_decisions(
                name,
                subject=own["observer"],
                trial=own["trial"],
                rt_ms=1000 * own["rt_s"],
                response=own["response"],
                truth=own["category"],
                condition=["0"] * len(own),
                imagename=own["image"],
                session=pd.array([pd.NA] * len(own), dtype="Int64"),
            )
            for source, name in _EXPERIMENTS.items()
            if len(own := raw[raw["experiment"] == source].reset_index(drop=True))
        ]
        if not parts:
            raise ValueError("It has no trial.")
        table = pd.concat(parts, ignore_index=True)
        known = images[["experiment", "image_id", "shape"]]
        joined = table.merge(known, how="left", on=["experiment", "image_id"])
        wrong = joined["shape"] != joined["truth"]
        if wrong.any():
            row = joined[wrong].iloc[0]
            raise ValueError(
                f"The picture {row['image_id']!r} of {row['experiment']!r} is unknown, "
                f"or has another shape than {row['truth']!r}."
            )
    return table
