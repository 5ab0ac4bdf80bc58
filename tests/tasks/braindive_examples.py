"""A finished run of the BrainDiVE experiment, made by hand."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from neurovis.core.files import sha256_file, write_json, write_table
from neurovis.core.pictures import write_png
from neurovis.core.provenance import collect
from neurovis.core.types import Score
from tasks.braindive import MANIFEST, MANIFEST_COLUMNS
from tasks.braindive_experiment import DiveSettings, condition_name
from tasks.braindive_scores import braindive_scores, label_shares

REGIONS = ("face", "place", "body", "word", "food")
COLOURS = dict(
    zip(
        REGIONS,
        [(200, 120, 90), (80, 150, 90), (90, 90, 200), (40, 40, 40), (220, 190, 60)],
        strict=True,
    )
)
SCALES = (0.1, 1.0, 10.0, 100.0)
SCALE = 3.0

# Guide, held-out brain, share in which the judge is right (None: one set of images for
# all regions, of which the judge sees PRIOR).
LEVELS = {
    "unguided": (0.0, 0.0, None),
    "guided": (0.9, 0.7, 0.8),
    "sweep 0.1": (0.2, 0.15, 0.3),
    "sweep 1": (0.5, 0.4, 0.6),
    "sweep 10": (1.1, 0.4, 0.6),
    "sweep 100": (1.2, -0.1, 0.2),
    "suppressed": (-0.5, -0.4, 0.05),
    "permuted regions": (0.0, 0.0, 0.2),
    "pixel ascent": (3.6, -0.05, 0.2),
    "real, random": (0.0, 0.0, None),
    "real, best measured": (1.2, 1.1, 0.98),
}
NOT_DRIVEN = "word"
"""A region whose guided images are as unguided ones."""

PRIOR = ("face", "place", "body", "food") * 5 + ("face", "face", "body", "word")
"""What the judge sees in 24 unguided images."""


def many_looks(levels=None, *, n=24, n_few=12, seed=0):
    """What observers measure of each image; `levels` replaces those of conditions."""
    parts = []
    for condition, known in (LEVELS | (levels or {})).items():
        for number, region in enumerate(REGIONS):
            few = condition not in ("unguided", "guided")
            count = n_few if few else n
            rng = np.random.default_rng([seed, number, *condition.encode()])
            guide, heldout, right = known
            if region == NOT_DRIVEN and condition == "guided":
                guide, heldout, right = 0.1, 0.0, 0.0
            labels = [PRIOR[i % len(PRIOR)] for i in range(count)]
            if right is not None:
                n_right = round(right * count)
                drawn = [x for x in REGIONS if x not in (region, NOT_DRIVEN)]
                labels = [region] * n_right
                labels += [drawn[i % len(drawn)] for i in range(count - n_right)]
                labels = rng.permutation(labels).tolist()
            hit = np.array(labels) == region
            wobble = rng.normal(0, 0.3, (3, count))
            parts.append(
                pd.DataFrame(
                    {
                        "guide_activation": guide + wobble[0],
                        "heldout_activation": heldout + wobble[0] + wobble[1] / 2,
                        "judge_accuracy": hit.astype(float),
                        "second_judge_accuracy": hit.astype(float),
                        "judge_confidence": rng.uniform(0.6, 1, count),
                        "off_target_activation": -heldout / 5 + wobble[2],
                        "saturated_share": rng.uniform(0, 0.1, count),
                        "judge_label": labels,
                        "condition": condition,
                        "region": region,
                        "scale": scale_of(condition),
                        "seed": np.arange(count),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def scale_of(condition):
    known = {"unguided": 0.0, "guided": SCALE, "permuted regions": SCALE}
    known |= {f"sweep {scale:g}": scale for scale in SCALES} | {"suppressed": -SCALE}
    return known.get(condition, np.nan)


def scores_of(looks, *, n_bootstrap=100):
    embeddings = np.random.default_rng(1).normal(size=(len(looks), 4))
    return braindive_scores(
        looks, embeddings.astype(np.float32), regions=REGIONS, n_bootstrap=n_bootstrap
    )


def encoders(ratio=0.95):
    rows = [
        (encoder, subject, region, 0.7 * ratio, 0.7)
        for encoder, subject in (("guide", "sim01"), ("held-out", "sim02"))
        for region in (*REGIONS, "all")
    ]
    columns = ["encoder", "subject", "region", "test_r", "ceiling"]
    return pd.DataFrame(rows, columns=columns)


def picture(region, seed):
    """A disc in the colour of the region, whose place tells the seed."""
    y, x = np.mgrid[:32, :32]
    inside = (y - 8 - seed % 16) ** 2 + (x - 16) ** 2 < 50
    shown = np.full((32, 32, 3), 230, np.uint8)
    shown[inside] = COLOURS.get(region, (140, 140, 140))
    return shown


def write_run(folder, looks, *, notes=("A note of the run.",), images=True):
    """Leave what a finished run leaves; images of "guided" and "unguided" only."""
    folder.mkdir(parents=True)
    settings = DiveSettings(n_images=24, n_controls=12, scale=SCALE, scales=SCALES)
    call = {
        "task": "braindive",
        "generator": "sketch:latent",
        "fingerprint": "0" * 64,
        "settings": asdict(settings),
        "seed": 0,
        "n_bootstrap": 100,
    }
    write_json(folder / "run.json", call)
    rows = []
    seeds = looks.loc[looks["condition"] == "guided", "seed"].unique()
    conditions = [("unguided", "", 0.0)] + [
        (condition_name("guided", region, SCALE), region, SCALE) for region in REGIONS
    ]
    for name, region, scale in conditions:
        for seed in seeds if images else ():
            file = f"images/{name}/{seed:012d}.png"
            write_png(folder / file, picture(region, int(seed)))
            row = dict.fromkeys(MANIFEST_COLUMNS, 0.0) | {
                "condition": name,
                "region": region,
                "scale": scale,
                "seed": int(seed),
                "file": file,
                "sha256": sha256_file(folder / file),
                "settings": "0" * 64,
            }
            rows.append(row)
    manifest = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
    write_table(folder / MANIFEST, manifest)
    write_table(folder / "looks.parquet", looks)
    write_table(folder / "labels.parquet", label_shares(looks, REGIONS, REGIONS))
    write_table(folder / "encoders.parquet", encoders())
    provenance = collect(0, call=call, notes=notes)
    Score(scores_of(looks), provenance).save(folder)
    return folder
