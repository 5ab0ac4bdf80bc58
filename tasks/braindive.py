"""Images that drive brain regions: generated, kept with their settings, and resumed.

Every image is one file and one row of a manifest. What exists with equal settings is
not made again; files are written before their rows.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_whole
from neurovis.core.device import in_batches
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    check_writable_folder,
    plain,
    read_table,
    remove_leftovers,
    sha256_file,
    sha256_json,
    write_table,
)
from neurovis.core.log import progress
from neurovis.core.pictures import read_image, write_png
from neurovis.core.store import lock
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.sampling import (
    MOST_SEED,
    Guidance,
    SamplingSettings,
    sample_images,
)

MANIFEST = "manifest.csv"

MANIFEST_COLUMNS = (
    *("condition", "region", "scale", "seed", "file", "sha256", "settings"),
    *("objective_first", "objective_last", "gradient_norm", "saturated", "n_failed"),
)
"""One row per image: what was asked for, where it lies, and what was measured."""


@dataclass(frozen=True, eq=False)
class DriveCondition:
    """What a set of images is generated for.

    Parameters
    ----------
    name : str
        Name in tables; also that of the folder, so letters, digits, ".", "+", "-" and
        "_" only, and a letter or digit first.
    guidance : Guidance or None
        What drives, such as `neurovis.adapters.braindive.BrainGuidance`; None: nothing
        does.
    seeds : tuple of int
        One per image, 0 to 2**32 - 1. Equal seeds start from equal noise in all
        conditions.
    region : str, default ""
        What is driven, for tables.
    identity : str, default ""
        Fingerprint of the encoder that guides.

    Raises
    ------
    ValueError
        If the name cannot be one of a folder, or seeds repeat.
    """

    name: str
    guidance: Guidance | None
    seeds: tuple[int, ...]
    region: str = ""
    identity: str = field(default="")

    def __post_init__(self) -> None:
        letters = set(self.name.replace("-", "").replace("_", "").replace("+", ""))
        known = all(c.isalnum() or c == "." for c in letters)
        if not known or not self.name[:1].isalnum():
            raise ValueError(
                "`name` must consist of letters, digits, '.', '+', '-' and '_', and "
                f"start with a letter or digit; got {self.name!r}."
            )
        for seed in self.seeds:
            check_whole("seeds", seed, low=0, high=MOST_SEED)
        if len(set(self.seeds)) < len(self.seeds) or not self.seeds:
            raise ValueError(
                f"`seeds` of {self.name!r} must be different numbers, at least one."
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """What its images depend on besides generator, sampling and seed."""
        if self.guidance is None:
            return {"guidance": None}
        return {"guidance": self.guidance.parameters, "encoder": self.identity}


def generate_images(
    generator: ImageGenerator,
    conditions: Sequence[DriveCondition],
    out: str | Path,
    *,
    settings: SamplingSettings | None = None,
    batch_size: int | Literal["auto"] = "auto",
) -> pd.DataFrame:
    """Generate what is missing of all conditions.

    Interrupted, it goes on when called again: images depend on their seeds, not on
    batches.

    Parameters
    ----------
    generator : ImageGenerator
        Where it is, is where images are computed.
    conditions : sequence of DriveCondition
        Those of one name have different seeds.
    out : str or Path
        Folder for ``images/CONDITION/SEED.png`` and ``manifest.csv``.
    settings : SamplingSettings, optional
        How to sample.
    batch_size : int or "auto", default "auto"
        Images at once; halved where memory does not suffice.

    Returns
    -------
    DataFrame
        `MANIFEST_COLUMNS`, one row per image in the order of conditions and seeds:
        `settings` is a hash of all that the image depends on, `objective_first` and
        `objective_last` are those of the first and the last guided step,
        `gradient_norm` is a mean over steps, `saturated` the share of levels at an
        end of the scale, `n_failed` the number of steps without a finite gradient.

    Raises
    ------
    ValueError
        If a name comes twice with the same seed, or a setting cannot be.
    FloatingPointError
        If samples or too many gradients are not finite.
    MemoryError
        If a single image does not fit.
    PermissionError, NotADirectoryError
        If `out` cannot be written.
    """
    settings = SamplingSettings() if settings is None else settings
    names = list(dict.fromkeys(condition.name for condition in conditions))
    asked = [(c.name, seed) for c in conditions for seed in c.seeds]
    if len(set(asked)) < len(asked) or not names:
        raise ValueError(
            "`conditions` must have different names, or different seeds where names "
            f"are the same; got {[c.name for c in conditions]}."
        )
    folder = check_writable_folder(out)
    with lock(folder / MANIFEST):
        remove_leftovers(folder, MANIFEST)
        for name in names:
            remove_leftovers(folder / "images" / name, "*.png")
        kept = _read_manifest(folder / MANIFEST)
        total = sum(len(condition.seeds) for condition in conditions)
        with progress(total, "generating", unit="image") as bar:
            for condition in conditions:
                mark = _mark(generator, condition, settings)
                found = _finished(folder, kept, condition, mark)
                bar.update(len(found))
                left = [seed for seed in condition.seeds if seed not in found]

                def make(
                    seeds: Sequence[int],
                    condition: DriveCondition = condition,
                    mark: str = mark,
                ) -> list[dict[str, Any]]:
                    sampled = sample_images(
                        generator,
                        seeds,
                        settings=settings,
                        guidance=condition.guidance,
                    )
                    rows = [
                        _write(folder, condition, mark, seed, i, sampled)
                        for i, seed in enumerate(seeds)
                    ]
                    kept.update({(r["condition"], r["seed"]): r for r in rows})
                    _write_manifest(folder / MANIFEST, kept)
                    bar.update(len(rows))
                    return rows

                if not left:
                    continue
                try:
                    in_batches(make, left, batch_size, device=generator.device)
                except MemoryError as error:
                    raise _too_large(condition, error) from error
    # What a region is called is no part of an image.
    rows = [
        {**kept[c.name, seed], "region": c.region}
        for c in conditions
        for seed in c.seeds
    ]
    return pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))


def load_generated(out: str | Path, manifest: pd.DataFrame) -> NDArray[np.uint8]:
    """Read generated images.

    Parameters
    ----------
    out : str or Path
        Folder of `generate_images`.
    manifest : DataFrame
        Rows of its manifest.

    Returns
    -------
    ndarray of uint8, shape (n, H, W, 3)
        In the order of the rows.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If a file is missing or not the one of the manifest.
    """
    images = []
    for row in manifest.to_dict("records"):
        path = Path(out) / str(row["file"])
        if sha256_file(path) != row["sha256"]:
            raise DataCorruptError(
                f"{path} is not the image of the manifest: remove it and generate "
                "again."
            )
        images.append(read_image(path))
    return np.stack(images)


def _too_large(condition: DriveCondition, error: MemoryError) -> MemoryError:
    return MemoryError(
        f"Not even single images of {condition.name!r} could be generated. {error} "
        "Weights of 16 bits (precision='float16') need less memory; guidance also with "
        "gradient_checkpointing=True (--save-memory) or through_denoiser=False "
        "(--fixed-noise)."
    )


def _mark(
    generator: ImageGenerator, condition: DriveCondition, settings: SamplingSettings
) -> str:
    return sha256_json(
        plain(
            {
                "generator": generator.fingerprint,
                "noise": dict(generator.scheduler),
                "scaling": generator.scaling,
                "clean_limit": generator.clean_limit,
                "dtype": str(generator.dtype),
                "sampling": asdict(settings),
                **condition.parameters,
            }
        )
    )


def _finished(
    folder: Path,
    kept: dict[tuple[str, int], dict[str, Any]],
    condition: DriveCondition,
    mark: str,
) -> set[int]:
    """Return the seeds whose images are there, made with equal settings."""
    done = set()
    for seed in condition.seeds:
        row = kept.get((condition.name, seed))
        if row is None or row["settings"] != mark:
            continue
        path = folder / row["file"]
        if path.is_file() and sha256_file(path) == row["sha256"]:
            done.add(seed)
    return done


def _write(
    folder: Path,
    condition: DriveCondition,
    mark: str,
    seed: int,
    number: int,
    sampled: Any,
) -> dict[str, Any]:
    file = f"images/{condition.name}/{seed:012d}.png"
    write_png(folder / file, sampled.images[number])
    objective = sampled.objective[number]
    objective = objective[~np.isnan(objective)]
    norm = sampled.gradient_norm[number]
    norm = norm[~np.isnan(norm)]
    scale = 0.0 if condition.guidance is None else condition.guidance.scale
    return {
        "condition": condition.name,
        "region": condition.region,
        "scale": float(scale),
        "seed": int(seed),
        "file": file,
        "sha256": sha256_file(folder / file),
        "settings": mark,
        "objective_first": float(objective[0]) if len(objective) else np.nan,
        "objective_last": float(objective[-1]) if len(objective) else np.nan,
        "gradient_norm": float(norm.mean()) if len(norm) else np.nan,
        "saturated": float(sampled.saturated[number]),
        "n_failed": int(sampled.n_failed[number]),
    }


def _read_manifest(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    if not path.exists():
        return {}
    table = read_table(path)
    missing = [name for name in MANIFEST_COLUMNS if name not in table]
    if missing:
        raise DataCorruptError(
            f"{path} is no manifest of generated images: it lacks {missing}. Choose "
            "another folder, or remove it."
        )
    regions = table["region"].astype(object)
    table["region"] = regions.where(regions.notna(), "").astype(str)
    # Names such as "007" look like numbers in a table; those of folders do not.
    table["condition"] = [Path(file).parent.name for file in table["file"]]
    rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
    return {(str(row["condition"]), int(row["seed"])): row for row in rows}


def _write_manifest(path: Path, kept: dict[tuple[str, int], dict[str, Any]]) -> None:
    write_table(path, pd.DataFrame(list(kept.values()), columns=list(MANIFEST_COLUMNS)))
