"""Runs of captions of units, made by hand: what each caption names is known."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from neurovis.core.brain_space import SurfaceSpace, VolumeSpace, describe_space
from neurovis.core.files import plain, write_json, write_table
from neurovis.core.provenance import collect
from neurovis.core.rng import generator
from neurovis.core.types import Score
from tasks.clip_encoder_model import ClipEncoder
from tasks.voxel_caption_scores import (
    LocalisedUnits,
    caption_scores,
    unit_words,
    write_caption_maps,
)
from tasks.voxel_captions import CaptionSettings

CONCEPTS = {
    "face": ["face", "woman", "man"],
    "place": ["room", "street"],
    "food": ["pizza", "cake"],
}
PEOPLE = ("woman", "man")
FAMILIES = ("floc-faces", "floc-places", "streams")
N_BANK, N_REPEATS, N_EACH = 1000, 3, 20
TEXTS = {
    "face": ("a woman with long hair .", "the face of a man .", "a large face ."),
    "place": ("a room with bare walls .", "a street .", "an empty room ."),
    "food": ("a pizza .", "a cake on a plate .", "a pizza and a cake ."),
}
# Share of captions that name the concept of the unit; otherwise food is named.
RIGHT = {
    "projection": 0.9,
    "raw weights": 0.4,
    "raw weights, mean norm": 0.6,
    "nearest image": 0.85,
    "random image": 0.0,
}
SPACES = {
    "surface": SurfaceSpace("fsaverage3", (642, 642)),
    "native": SurfaceSpace("native", (50, 61)),
    "volume": VolumeSpace("func", (8, 9, 6), np.diag([2.0, 2.0, 2.0, 1.0])),
}
NOTES = ("Captions are statements of models.",)


def make_units(space=None):
    """20 units that prefer faces, 20 places; the first 10 of each lie in "ventral"."""
    n = 2 * N_EACH
    where = SPACES[space].locate(np.arange(n) * 2) if space else None
    units = pd.DataFrame({"unit_id": [f"u{i:02d}" for i in range(n)]})
    if where is not None:
        units = where
    is_face = np.arange(n) < N_EACH
    units["floc-faces"] = np.where(is_face, "FFA-1", "")
    units["floc-places"] = np.where(is_face, "", "PPA")
    units["streams"] = np.where(np.arange(n) % N_EACH < N_EACH // 2, "ventral", "")
    return units


def make_encoder(space=None):
    """An encoder of these units, without a network."""
    units = make_units(space)
    n = len(units)
    rng = np.random.default_rng(0)
    ones = np.ones(n, np.float32)
    return ClipEncoder(
        weight=rng.normal(size=(n, 4)).astype(np.float32),
        bias=0 * ones,
        mean=0 * ones,
        scale=ones,
        voxel_index=np.arange(n),
        units=units,
        test_r=np.full(n, 0.5),
        test_r2=np.full(n, 0.25),
        ceiling=np.full(n, 0.8),
        training={
            "families": list(FAMILIES),
            "space": describe_space(SPACES[space] if space else None),
        },
    )


def make_captions(units, *, n_repeats=N_REPEATS, baselines=True, numbers=(3.0, 30.0)):
    """Captions that name the concept of a unit as often as `RIGHT` says.

    Effective numbers of pictures lie between `numbers`.
    """
    names = list(RIGHT) if baselines else ["projection"]
    tables = []
    for name in names:
        for repeat in range(n_repeats if name == "projection" else 1):
            rng = generator(0, "captions by hand", name, repeat)
            true = np.where(units["floc-faces"] != "", "face", "place")
            is_right = rng.uniform(size=len(true)) < RIGHT[name]
            said = np.where(is_right, true, "food")
            table = pd.DataFrame(
                {
                    "condition": name,
                    "repeat": repeat,
                    "unit": np.arange(len(true)),
                    "unit_id": units["unit_id"],
                    "caption": [TEXTS[x][rng.integers(3)] for x in said],
                }
            )
            if name == "projection":
                low, high = np.log(numbers)
                table["effective_number"] = np.exp(rng.uniform(low, high, len(true)))
                table["cosine"] = np.linspace(0.2, 0.6, len(true))
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def make_localised(units):
    """A localiser that agrees with the regions, but for the last unit."""
    preferred = np.where(units["floc-faces"] != "", "face", "place").astype(object)
    preferred[-1] = ""
    table = pd.DataFrame({"preferred": preferred, "d_prime_face": 0.5})
    return LocalisedUnits(table, "Nobody was measured with these pictures.", "0" * 64)


def write_captions_run(
    folder, *, space=None, localised=False, baselines=True, notes=NOTES, **more
):
    """Leave what a finished run of `caption_voxels` leaves."""
    folder.mkdir(parents=True)
    model = make_encoder(space)
    told = make_captions(model.units, baselines=baselines, **more)
    settings = CaptionSettings(
        n_repeats=int(told["repeat"].max()) + 1,
        baselines=tuple(RIGHT)[1:] if baselines else (),
    )
    call = {
        "task": "voxel-captions",
        "n_bank": N_BANK,
        "families": list(FAMILIES),
        "settings": asdict(settings),
        "seed": 0,
    }
    write_json(folder / "run.json", plain(call))
    words, nouns = unit_words(
        told,
        model.units.assign(unit=np.arange(model.n_units)),
        families=FAMILIES,
        concepts=CONCEPTS,
        people=PEOPLE,
        localised=make_localised(model.units) if localised else None,
    )
    scores = caption_scores(
        told,
        words,
        families=FAMILIES,
        concepts=CONCEPTS,
        n_permutations=99,
        n_bootstrap=50,
    )
    write_table(folder / "captions.parquet", told)
    write_table(folder / "units.parquet", words)
    write_table(folder / "nouns.parquet", nouns)
    write_caption_maps(folder, model, words)
    table = scores.assign(subject="sim00", stimuli="drawings", seed=0)
    provenance = collect(0, call=plain(call), notes=notes)
    Score(table.assign(task="voxel-captions"), provenance).save(folder)
    return folder
