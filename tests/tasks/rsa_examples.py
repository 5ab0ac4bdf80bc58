"""Small sets and calls that tests of RSA share."""

import io
import zipfile

import numpy as np
import pandas as pd
from PIL import Image

from analysis.rdms import make_rdm
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from neurovis.core.types import Score
from neurovis.core.unit_responses import UnitResponses
from stimuli.category_pictures import make_category_pictures

N, N_PAIRS = 92, 4186
NETWORK = "timm:test_vit@seeded:0"
LAYERS = ("patch_embed:gap", "blocks.0:cls", "blocks.0:grid2")
TRUE_LAYER = "blocks.0:cls"
REQUEST = f"{NETWORK}:{','.join(LAYERS)}"
FEATURES = [REQUEST, "control:colour"]
DATA = "objects92:{}"
MODELS = ("animacy", "FaceBodyManmadeNatobj", "monkeyIT", "EVA", "HMAX", "V1")
MODELS += ("Silhouette", "RADON")
CALL = {"n_bootstrap": 40, "n_permutations": 50, "n_splits": 6, "device": "cpu"}
TABLES = ("scores.parquet", "pairs.parquet", "comparisons.parquet", "rdms.npz")


def noisy(rdm, rng, amount=0.6):
    return np.abs(rdm + amount * rdm.std() * rng.normal(size=np.shape(rdm)))


def write_objects92(folder):
    """A set in the form of the 92 objects; IT is made of one layer of a network."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = make_category_pictures(N, size_px=40, seed=1)
    images = [pictures.load(i) for i in range(N)]
    network = load_backbone("timm:test_vit", "seeded:0")
    truth = make_rdm(extract_features(network, images, [TRUE_LAYER])[TRUE_LAYER])
    other = rng.random(N_PAIRS)
    rdms = {
        "humanIT_subjects": np.stack(
            [[noisy(truth, rng) for _ in range(2)] for _ in range(3)]
        ),
        "humanIT_mean": noisy(truth, rng, 0.2),
        "monkeyIT_mean": noisy(truth, rng),
        "behaviour_subjects": np.stack([noisy(other, rng) for _ in range(12)]),
        **{f"model_{m}": rng.random(N_PAIRS) for m in MODELS},
    }
    rdms["model_monkeyIT"] = rdms["monkeyIT_mean"]
    np.savez(folder / "rdms.npz", **{k: v.astype("f4") for k, v in rdms.items()})
    flags = ["human", "face", "animal", "natural"]
    groups = "animate inanim human nonhumani body face natObj artiObj rand24 rand48"
    groups += " other48 monkeyape"
    flags += [f"cat_{group}" for group in groups.split()]
    table = pd.DataFrame({"index": range(N)})
    table["file"] = [f"images/{i:02d}.png" for i in range(N)]
    table["category"] = list(pictures.table["category"])
    for k, flag in enumerate(flags):
        table[flag] = (np.arange(N) + k) % 2
    table.to_csv(folder / "stimuli.csv", index=False)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for i, image in enumerate(images):
            data = io.BytesIO()
            Image.fromarray(image).save(data, "PNG")
            archive.writestr(f"images/{i:02d}.png", data.getvalue())
    return folder


def make_units(n=30, n_repeats=4, noise=1.0, seed=0):
    """Single trials of units that follow ten hidden features of stimuli."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 10))
    signal = hidden @ rng.normal(size=(10, 24))
    trials = signal[:, None] + noise * rng.normal(size=(n, n_repeats, 24))
    ids = np.repeat([f"p{i:02d}" for i in range(n)], n_repeats)
    units = pd.DataFrame({"unit_id": [f"u{i}" for i in range(24)]})
    units["area"] = np.where(np.arange(24) < 12, "V1", "V4")
    responses = UnitResponses(
        "tiny",
        "s1",
        trials.reshape(-1, 24).astype(np.float32),
        pd.DataFrame({"stimulus_id": ids, "n_repeats": 1}),
        units,
        families=("area",),
    )
    return hidden.astype(np.float32), responses


def rows_of(out, **wanted):
    table = Score.load(out).table
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def contents(out):
    return {name: (out / name).read_bytes() for name in TABLES}
