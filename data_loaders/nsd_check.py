"""Whether a tree of the Natural Scenes Dataset is whole and of one piece."""

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from data_loaders.beta_files import BetaFile, open_beta_file
from data_loaders.nsd_design import (
    DESIGN_FILE,
    NSDDesign,
    check_behaviour,
    check_stimulus_info,
    read_design,
)
from data_loaders.nsd_files import (
    PREPARATIONS,
    SIMULATION_FILE,
    TRIALS_PER_SESSION,
    SessionFiles,
    check_root,
    find_beta_files,
    find_preparations,
    find_sessions,
    find_subjects,
    write_ranges,
)
from data_loaders.nsd_maps import check_map_shape, map_shape
from data_loaders.nsd_recording import brainmask_file, known_sessions
from data_loaders.nsd_regions import find_families, read_regions
from data_loaders.nsd_stimuli import PICTURES_FILE, count_pictures
from data_loaders.nsd_tables import (
    BEHAVIOUR_FILE,
    STIMULI_FILE,
    read_behaviour,
    read_stimulus_info,
)
from data_loaders.nsd_transforms import read_nearest
from neurovis.core.brain_space import (
    HEMISPHERES,
    BrainSpace,
    SurfaceSpace,
    VolumeSpace,
)
from neurovis.core.errors import DataCorruptError

Result = TypeVar("Result")
Given = ParamSpec("Given")
_MOST_LINES = 10


class _Findings:
    """What was found, and what is wrong."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.problems: list[str] = []

    def attempt(
        self, work: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs
    ) -> Result | None:
        """Return what `work` returns, or None after noting why it could not."""
        try:
            return work(*args, **kwargs)
        except KeyError as error:
            self.note(str(error.args[0]))
        except (OSError, ValueError) as error:
            self.note(str(error))
        return None

    def note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def check_nsd(root: str | Path) -> list[str]:
    """Check a whole tree: names, headers, grids, labels and tables.

    Betas are opened, but not read. All that is there is checked, whether it will be
    used or not; all that is wrong is told at once. The published preparations of the
    task must have 750 trials in each session and no session missing in the middle; of
    others, such as those of the resting state, it is told what there is.

    Parameters
    ----------
    root : str or Path
        Folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.

    Returns
    -------
    list of str
        What there is, one line per fact.

    Raises
    ------
    FileNotFoundError
        If `root` is not the folder of the data set.
    DataCorruptError
        If anything is wrong; each problem has a line, up to ten.
    """
    root = check_root(root)
    found = _Findings()
    design = found.attempt(read_design, root)
    subjects = find_subjects(root)
    if design is not None:
        _check_tables(root, design, subjects, found)
    for subject in subjects:
        _check_subject(root, subject, design, found)
    if found.problems:
        shown = found.problems[:_MOST_LINES]
        more = len(found.problems) - len(shown)
        rest = [f"... and {more} more"] if more else []
        listed = "\n".join(f"- {line}" for line in [*shown, *rest])
        n = len(found.problems)
        raise DataCorruptError(
            f"{root} has {n} problem{'s' if n > 1 else ''}:\n{listed}"
        )
    return found.lines


# -------------------------------------------------------------------- tables


def _check_tables(
    root: Path, design: NSDDesign, subjects: list[str], found: _Findings
) -> None:
    kind = "simulated" if (root / SIMULATION_FILE).is_file() else "measured"
    found.lines.append(
        f"{Path(DESIGN_FILE).name}: {design.n_subjects} subjects, "
        f"{design.n_sessions} sessions, {len(design.shared)} shared pictures, {kind}"
    )
    compared = []
    path = root / STIMULI_FILE
    if path.is_file():
        info = found.attempt(read_stimulus_info, path)
        if info is not None:
            found.attempt(check_stimulus_info, design, info, path)
        compared.append(path.name)
    for subject in subjects:
        path_of = root / BEHAVIOUR_FILE.format(subject=subject)
        if path_of.is_file():
            found.attempt(_check_answers, design, subject, path_of)
            compared.append(f"{path_of.name} of {subject}")
    if compared:
        found.lines.append(f"the same order of pictures in {', '.join(compared)}")
    known = found.attempt(known_sessions, root, design)
    if known is not None:
        found.lines.append(f"sessions of the subjects: {' '.join(map(str, known))}")
    bricks = root / PICTURES_FILE
    if not bricks.is_file():
        found.lines.append("no pictures")
        return
    n_pictures = found.attempt(count_pictures, bricks)
    if n_pictures is not None:
        found.lines.append(f"{n_pictures} pictures")
        if n_pictures <= design.images.max():
            found.note(
                f"{bricks} has {n_pictures} pictures, but {design.path} shows the "
                f"0-based number {design.images.max()}."
            )


def _check_answers(design: NSDDesign, subject: str, path: Path) -> None:
    check_behaviour(design, read_behaviour(path, subject), path)


# ------------------------------------------------------------------ subjects


def _check_subject(
    root: Path, subject: str, design: NSDDesign | None, found: _Findings
) -> None:
    spaces = found.attempt(find_preparations, root, subject) or {}
    for space, names in spaces.items():
        place: BrainSpace | None = None
        # The grid of the task is the measure for the others.
        for name in sorted(names, key=lambda n: n not in PREPARATIONS.values()):
            sessions = None
            if name not in PREPARATIONS.values():
                folder = root / "nsddata_betas" / "ppdata" / subject / space / name
                sessions, half = _sessions(folder)
                if not sessions:
                    found.lines.append(f"{subject} {space} {name}: {half}")
                    continue
            files = found.attempt(
                find_sessions,
                root,
                subject,
                space=space,
                preparation=name,
                sessions=sessions,
            )
            if files is not None:
                place = _check_files(root, files, place, design, found) or place
        if place is not None:
            found.attempt(_check_regions, root, subject, place, found)
    found.attempt(_check_warps, root, subject)


def _sessions(folder: Path) -> tuple[list[int], str]:
    """Return the sessions that are wholly there, and a remark on the others."""
    found = find_beta_files(folder).values()
    every = {s for files in found for s in files}
    whole = {
        session
        for files in found
        for session, parts in files.items()
        if "" in parts or len(parts) == 2
    }
    half = write_ranges(every - whole)
    return sorted(whole), f"one hemisphere only of sessions {half}" if half else ""


def _check_files(
    root: Path,
    files: SessionFiles,
    place: BrainSpace | None,
    design: NSDDesign | None,
    found: _Findings,
) -> BrainSpace | None:
    """Check all sessions of a preparation against the space of the first file."""
    parts = len(next(iter(files.files.values())))
    grids: list[tuple[int, ...] | None] = [None] * parts
    if place is not None and isinstance(place, VolumeSpace) and parts == 1:
        grids = [place.shape]
    if place is not None and isinstance(place, SurfaceSpace) and parts == 2:
        grids = [(n,) for n in place.n_vertices]
    is_task = files.preparation in PREPARATIONS.values()
    n_trials = TRIALS_PER_SESSION if is_task else None
    opened: list[BetaFile] = []
    # Those of other formats, which would not be read, are checked as well.
    listed = [
        item
        for by_session in find_beta_files(files.folder).values()
        for by_hemisphere in by_session.values()
        for item in by_hemisphere.items()
    ]
    for hemisphere, path in listed:
        part = int(hemisphere == "rh")
        if part >= parts or bool(hemisphere) != files.is_surface:
            found.note(f"{path} is of another kind than {files.folder} holds.")
            continue
        file = found.attempt(open_beta_file, path, grid=grids[part], n_trials=n_trials)
        if file is not None:
            grids[part] = file.grid
            opened.append(file)
    if not opened or None in grids:
        return None
    for path, grid in zip(files.companion("ncsnr"), grids, strict=False):
        found.attempt(_check_shape, path, grid or (), files)
    brain = brainmask_file(root, files.subject, files.space)
    if not files.is_surface and brain.is_file():
        found.attempt(_check_shape, brain, grids[0] or (), files)
    last = files.sessions[-1]
    if is_task and design is not None and last > design.n_sessions:
        found.note(
            f"{files.folder} has session {last}, but {design.path} plans "
            f"{design.n_sessions}."
        )
    facts = [
        f"sessions {write_ranges(files.sessions)}",
        f"grid {' and '.join(str(grid) for grid in grids)}",
        f"divided by {opened[0].scale:g}",
    ]
    if not is_task:
        counts = [file.n_trials for file in opened]
        ends = sorted({min(counts), max(counts)})
        facts.append(f"{' to '.join(map(str, ends))} trials each")
        half = _sessions(files.folder)[1]
        facts += [half] * bool(half)
    where = f"{files.subject} {files.space} {files.preparation}"
    found.lines.append(f"{where}: {', '.join(facts)}")
    if files.is_surface:
        left, right = (grid[0] for grid in grids if grid)
        return SurfaceSpace(files.space, (left, right))
    x, y, z = grids[0] or ()
    return VolumeSpace(files.space, (x, y, z), opened[0].affine)


def _check_shape(path: Path, grid: tuple[int, ...], files: SessionFiles) -> None:
    check_map_shape(path, map_shape(path), grid, f"{files.space} of {files.subject}")


def _check_regions(
    root: Path, subject: str, place: BrainSpace, found: _Findings
) -> None:
    good = []
    for family in find_families(root, subject, place.name):
        labels = found.attempt(read_regions, root, subject, place, [family])
        if labels is not None:
            good.append(family)
    listed = ", ".join(good) if good else "none"
    found.lines.append(f"{subject} {place.name}: regions {listed}")


def _check_warps(root: Path, subject: str) -> None:
    """Check the tables between the surfaces against each other."""
    folder = root / "nsddata" / "ppdata" / subject / "transforms"
    for hemisphere in HEMISPHERES:
        there = folder / f"{hemisphere}.white-to-fsaverage.mgz"
        back = folder / f"{hemisphere}.fsaverage-to-white.mgz"
        if there.is_file() and back.is_file():
            read_nearest(there, map_shape(back)[0])
            read_nearest(back, map_shape(there)[0])
