"""What a tree of the Natural Scenes Dataset holds, told without reading betas."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data_loaders.beta_recording import tell_scales
from data_loaders.memory_plan import plan_memory
from data_loaders.nsd_design import NSDDesign, read_design, repeats_in_all
from data_loaders.nsd_files import (
    PREPARATIONS,
    SIMULATION_FILE,
    check_root,
    check_sessions,
    find_preparations,
    find_subjects,
    write_ranges,
)
from data_loaders.nsd_recording import NSDRecording, known_sessions, plan_recording
from neurovis.core.noise_ceiling import explainable_fraction
from neurovis.core.regions import region_labels, region_mask

_TIMES = ("never", "once", "twice", "three times")


def describe_nsd(
    root: str | Path,
    subject: int | str | None = None,
    *,
    space: str = "func1pt8mm",
    preparation: str = "betas_fithrf_GLMdenoise_RR",
    volume_format: str | None = None,
    sessions: Iterable[int] | None = None,
    families: Sequence[str] | str | None = None,
    regions: Sequence[str] | str | None = None,
    mask: ArrayLike | str | Path | None = None,
    min_ncsnr: float | None = None,
    average: bool = True,
    memory_gib: float = 4.0,
) -> list[str]:
    """Tell what is there, and what `load_nsd` would need; no betas are read.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str, optional
        1-based number, or "subj01"; default every subject that has betas of this
        space and preparation.
    space, preparation, volume_format : str, optional
        As `data_loaders.nsd.load_nsd`.
    sessions, families, regions, mask, min_ncsnr : optional
        As `data_loaders.nsd.load_nsd`.
    average : bool, default True
        Whether trials will be averaged.
    memory_gib : float, default 4.0
        Memory to use at most, in GiB.

    Returns
    -------
    list of str
        Lines of text: subjects and their betas, shared pictures, then per subject
        trials, pictures, repeats, units and median noise ceiling by region, and
        memory.

    Raises
    ------
    FileNotFoundError, DataCorruptError, KeyError, ValueError
        As `data_loaders.nsd.load_nsd`.
    """
    root = check_root(root)
    if sessions is not None:
        sessions = check_sessions(sessions)
    design = read_design(root)
    lines = _describe_tree(root, design)
    chosen: list[int | str] = [] if subject is None else [subject]
    if subject is None:
        names = {preparation, PREPARATIONS.get(preparation, preparation)}
        found = {s: find_preparations(root, s).get(space) for s in find_subjects(root)}
        chosen += [s for s, there in found.items() if names & set(there or ())]
    if not chosen:
        lines.append(f"  no subject has {preparation} in {space}: choose another")
    for one in chosen:
        plan = plan_recording(
            root,
            one,
            space=space,
            preparation=preparation,
            volume_format=volume_format,
            sessions=sessions,
            families=families,
            regions=regions,
            mask=mask,
            min_ncsnr=min_ncsnr,
        )
        lines += _describe_subject(plan, average, memory_gib)
    return lines


def _describe_tree(root: Path, design: NSDDesign) -> list[str]:
    kind = "simulated" if (root / SIMULATION_FILE).is_file() else "measured"
    lines = [f"Natural Scenes Dataset, {kind}: {design.n_subjects} subjects planned"]
    for subject in find_subjects(root):
        spaces = find_preparations(root, subject).items()
        parts = [f"{space} ({', '.join(names)})" for space, names in spaces]
        lines.append(f"  {subject}: {'; '.join(parts) if parts else 'no betas'}")
    known = known_sessions(root, design)
    least = repeats_in_all(design, known)[design.shared]
    lines.append(f"  sessions: {' '.join(map(str, known))}")
    counts = [f"{(least >= n).sum()} at least {_TIMES[n]}" for n in (1, 2, 3)]
    lines.append(
        f"  shared pictures: {len(least)}; seen by all subjects: {', '.join(counts)}"
    )
    return lines


def _describe_subject(
    plan: NSDRecording, average: bool, memory_gib: float
) -> list[str]:
    trials, units = plan.recording.trials, plan.recording.units
    repeats = trials["nsd_id"].value_counts()
    times = repeats.value_counts().sort_index()
    counts = [f"{n} {_times(int(str(k)))}" for k, n in times.items()]
    n_shared = trials.loc[trials["shared"], "nsd_id"].nunique()
    files = plan.files
    lines = [
        f"{files.subject}, {files.space}, {files.preparation}",
        f"  sessions {write_ranges(files.sessions)}; stored numbers are divided by "
        f"{tell_scales(plan.recording.scales())}",
        f"  {len(trials)} trials of {len(repeats)} pictures ({', '.join(counts)}), "
        f"{n_shared} of them shared",
    ]
    ceiling: NDArray[np.float64] | None = None
    if plan.has_published_ncsnr:
        ncsnr = units["ncsnr_published"].to_numpy(np.float64)
        ncsnr = np.where(ncsnr >= 0, ncsnr, np.nan)
        ceiling = explainable_fraction(ncsnr, repeats if average else [1])
    kind = "vertices" if files.is_surface else "voxels"
    every = np.ones(len(units), np.bool_)
    known = " (median noise ceiling)" if ceiling is not None else ""
    lines.append(f"  {kind}{known}: {len(units)}{_median(ceiling, every)}")
    for family, labels in region_labels(units, plan.recording.families).items():
        parts = [_describe_label(units, family, label, ceiling) for label in labels]
        lines.append(f"    {family}: {', '.join(parts) if parts else 'none'}")
    try:
        need = plan_memory(plan.recording, average=average, memory_gib=memory_gib)
    except ValueError as error:  # the rest is worth telling all the same
        lines.append(f"  memory: {error}")
    else:
        lines.append(
            f"  memory: result {_size(need.result_bytes)}, work files "
            f"{_size(need.work_bytes)}, process at most {_size(need.peak_bytes)}; "
            f"blocks of {need.units_per_block} units: {need.n_blocks}"
        )
    return lines + [f"  note: {note}" for note in plan.recording.notes]


def _times(n: int) -> str:
    return _TIMES[n] if n < len(_TIMES) else f"{n} times"


def _describe_label(
    units: pd.DataFrame,
    family: str,
    label: str,
    ceiling: NDArray[np.float64] | None,
) -> str:
    inside = region_mask(units, (family,), f"{family}:{label}")
    return f"{label} {inside.sum()}{_median(ceiling, inside)}"


def _median(ceiling: NDArray[np.float64] | None, inside: NDArray[np.bool_]) -> str:
    if ceiling is None or np.isnan(ceiling[inside]).all():
        return ""
    return f" ({np.nanmedian(ceiling[inside]):.2f})"


def _size(n_bytes: int) -> str:
    if n_bytes < 2**30:
        return f"{n_bytes / 2**20:.1f} MiB"
    return f"{n_bytes / 2**30:.1f} GiB"
