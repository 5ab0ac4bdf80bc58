"""Experiments with people in a browser: a folder that any static server can show.

The page uses jsPsych and asks nothing of other hosts. It shows pictures for a number of
frames, takes keys or clicks, keeps every answer in the browser, and gives the results
as CSV at the end.
"""

import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import neurovis
from neurovis.core.checks import check_between, check_image, check_whole
from neurovis.core.files import (
    atomic_folder,
    plain,
    sha256_json,
    write_bytes,
    write_json,
)
from neurovis.core.pictures import write_png
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.choice_trials import (
    PICTURE_COLUMNS,
    ChoiceTrials,
    cell_values,
    draw_orders,
    make_choice_trials,
)
from stimuli.jspsych_library import library_files
from stimuli.save import check_file_names, picture_hash

FORMAT = 1
"""Version of the folder and of the results."""

RESULT_COLUMNS = (
    *("participant", "session", "trial", "block", "practice", "task", "stimulus_id"),
    *PICTURE_COLUMNS,
    *("truth", "keys", "key", "input", "place", "response", "correct", "rt_ms"),
    *("onset_ms", "offset_ms", "frame_ms", "frames_asked", "frames_shown"),
    *("frames_dropped", "left_page", "load_wait_ms", "click_x_px", "click_y_px"),
    *("on_target", "n_trials", "order", "seed", "calibration", "px_per_deg", "scale"),
    *("viewing_distance_cm", "window_width_px", "window_height_px"),
    *("device_pixel_ratio", "browser", "user_agent", "set_fingerprint"),
    "experiment_version",
)
"""Columns of the results besides the factors, which come before `truth`."""

TEXTS: Mapping[str, str] = {
    "agree": "I agree",
    "disagree": "I do not agree",
    "refused": "You did not agree. Nothing was recorded. You may close this page.",
    "participant": "Your participant code",
    "participant_help": "Letters, digits, '_', '-' or '.', the first a letter or "
    "digit, at most 64.",
    "continue": "Continue",
    "geometry": "How far you sit decides how large the pictures must be.",
    "measure": "Measure it (bank card and blind spot)",
    "card": "Measure the screen with a bank card and type the distance",
    "skip": "Skip",
    "distance": "Distance of your eyes from the screen in cm",
    "too_small": "The window is too small: the pictures would be shown at {percent} % "
    "of their size. Make the window larger, or use the full screen.",
    "check_again": "Check again",
    "go_smaller": "Go on with smaller pictures",
    "resume": "This browser holds {done} of {all} answers of this participant.",
    "resume_go_on": "Go on where I stopped",
    "resume_restart": "Save them and start again",
    "key_line": "Key {key}: {answer}",
    "click_choice": "You may also click on a picture.",
    "click_target": "Then click on the target.",
    "click_now": "Click on the target.",
    "begin": "Press the space bar to begin.",
    "practice": "First {n} trials for practice.",
    "practice_over": "The practice is over. Press the space bar to begin.",
    "pause": "Pause: {done} of {all} are done. Press the space bar to go on.",
    "loading": "Pictures are being loaded.",
    "load_failed": "These pictures could not be loaded: {files}. Look at your "
    "connection, then try again.",
    "try_again": "Try again",
    "right": "right",
    "wrong": "wrong",
    "late": "too late",
    "save_again": "Save the file again",
    "forget": "Remove my answers from this browser",
    "forgotten": "The answers were removed from this browser.",
}
"""What the page says; ``texts.json`` may be edited, or given in another language."""

PROMPTS: Mapping[str, str] = {
    "2afc": "Look at the picture, then choose the answer that fits.",
    "pairs": "Two pictures are shown. Choose one of them.",
    "search": "Is the target there? Answer as fast as you can without mistakes.",
    "odd-one-out": "Three pictures are shown. Choose the one that fits least.",
}
"""Default instructions."""

_PAGE = Path(__file__).parent / "jspsych_page"
_N_MASKS = 8
_CUE_FRAMES = 60
_FEEDBACK_FRAMES = 30
_GAP_DEG = 1.0
_FIXATION_DEG = 0.5


@dataclass(frozen=True)
class _Timing:
    """Durations in frames, of a screen with `refresh_hz`; None has no end."""

    refresh_hz: float | None
    fixation_frames: int
    target_frames: int
    stimulus_frames: int | None
    mask_frames: int
    feedback_frames: int
    response_ms: float | None


def export_jspsych(
    stimuli: StimulusSet,
    folder: str | Path,
    *,
    task: str,
    answer_column: str | None = None,
    groups: pd.DataFrame | None = None,
    keys: Mapping[str, str] | None = None,
    prompt: str | None = None,
    click: bool | None = None,
    n_repeats: int = 1,
    block_size: int = 40,
    practice: int = 0,
    feedback: bool = False,
    fixation_frames: int = 30,
    target_frames: int | None = None,
    stimulus_frames: int | None = None,
    mask: str | NDArray[np.uint8] | None = None,
    mask_frames: int = 12,
    response_ms: float | None = None,
    refresh_hz: float | None = 60.0,
    n_orders: int = 20,
    keep: Sequence[str] | None = None,
    texts: Mapping[str, str] | None = None,
    library: str | Path | None = None,
    seed: int = 0,
) -> Path:
    """Write an experiment for a browser: pictures, design, page and jsPsych.

    Parameters
    ----------
    stimuli : StimulusSet
        Pictures; `stimulus_id` names files.
    folder : str or Path
        Folder to make.
    task : {"2afc", "search", "odd-one-out"}
        What people do. "2afc" is one picture with two answers (`answer_column`), or a
        choice between two pictures side by side (`groups`).
    answer_column : str, optional
        As `stimuli.choice_trials.make_choice_trials`.
    groups : DataFrame, optional
        Pairs or triplets of pictures, as `make_choice_trials`.
    keys : mapping of str to str, optional
        Answer, or place, to key, as `make_choice_trials`.
    prompt : str, optional
        Instructions, plain text; by default a sentence for the task.
    click : bool, optional
        With pictures side by side whether a click on one answers too (by default
        yes). In a search whether a click on the target is asked for after "present":
        by default only if no display is without target.
    n_repeats : int, default 1
        How often each trial comes.
    block_size : int, default 40
        Trials of a block. Pictures of the next block are loaded during this one.
    practice : int, default 0
        Trials for practice, drawn from all, with feedback where there is a truth; they
        are marked in the results.
    feedback : bool, default False
        Tell after each trial whether the answer was right.
    fixation_frames : int, default 30
        Frames of the fixation cross, >= 0.
    target_frames : int, optional
        Frames for which the target of a search is shown first; by default 60 if the set
        has pictures of targets.
    stimulus_frames : int, optional
        Frames of the picture, >= 1; by default it stays until the answer.
    mask : {"noise"} or ndarray of uint8, shape (H, W, 3), optional
        What replaces the picture: noise with a 1/f amplitude spectrum, or a picture,
        stretched to the size of the stimulus. Needs `stimulus_frames`.
    mask_frames : int, default 12
        Frames of the mask, >= 1.
    response_ms : float, optional
        Time for an answer from the onset of the picture, in ms; by default no limit.
    refresh_hz : float, optional
        Rate for which frames are counted, default 60. On a screen with another rate
        their number is changed so that durations stay. None keeps the number.
    n_orders : int, default 20
        Random orders; a participant gets one by a hash of the identity
        (`stimuli.choice_trials.order_of`).
    keep : sequence of str, optional
        Factors to repeat in the results; by default all columns that are no lists.
    texts : mapping of str to str, optional
        Replacements for `TEXTS`.
    library : str or Path, optional
        Folder with the packed files of jsPsych, as
        `stimuli.jspsych_library.library_files`.
    seed : int, default 0
        Of orders, places, practice and masks.

    Returns
    -------
    Path
        The page, ``index.html``.

    Raises
    ------
    FileExistsError
        If something is at `folder`.
    ValueError
        If an argument is impossible, or does not fit the set or the task.
    MissingDependencyError, ConnectionError, DataCorruptError
        If jsPsych cannot be had, or is not the pinned one.

    Notes
    -----
    The same set and arguments give the same bytes. ``experiment_version`` is a hash of
    the design and the orders; it stands in every row of the results.

    Examples
    --------
    >>> from stimuli.slope_arrays import make_slope_arrays
    >>> displays = make_slope_arrays("feature", set_sizes=[3], trials=2)
    >>> page = export_jspsych(
    ...     displays, "visual_search", task="search"
    ... )  # doctest: +SKIP
    """
    identities = stimuli.table["stimulus_id"].astype(str).tolist()
    check_file_names(identities)
    trials = make_choice_trials(
        stimuli,
        task,
        answer_column=answer_column,
        groups=groups,
        keys=keys,
        keep=keep,
        reserved=RESULT_COLUMNS,
    )
    for name, count in (
        ("n_repeats", n_repeats),
        ("block_size", block_size),
        ("n_orders", n_orders),
    ):
        check_whole(name, count, low=1)
    if check_whole("practice", practice, low=0) > len(trials):
        raise ValueError(
            f"`practice` is {practice}, but there are {len(trials)} different trials."
        )
    timing = _check_timing(
        refresh_hz,
        fixation_frames,
        _target_frames(stimuli, task, target_frames),
        stimulus_frames,
        None if mask is None else mask_frames,
        response_ms,
        feedback or practice > 0,
    )
    masks = _masks(mask, stimuli, seed)
    unknown = sorted(set(texts or {}) - set(TEXTS))
    if unknown:
        raise ValueError(f"`texts` has {unknown[0]!r}; known are {sorted(TEXTS)}.")
    kind = "pairs" if trials.n_pictures == 2 else task
    design = {
        "format": FORMAT,
        "name": stimuli.name,
        "task": task,
        "neurovis": neurovis.__version__,
        "set_fingerprint": stimuli.fingerprint,
        "seed": seed,
        "prompt": prompt or PROMPTS[kind],
        "keys": [[answer, key] for answer, key in trials.keys.items()],
        "key_text": trials.key_text,
        "click": _click_kind(trials, click),
        "feedback": feedback,
        "block_size": block_size,
        "arrangements": list(itertools.permutations(range(trials.n_pictures))),
        "timing": asdict(timing),
        "px_per_deg": stimuli.viewing.px_per_deg,
        "background": stimuli.viewing.background,
        "gap_px": stimuli.viewing.size_px(_GAP_DEG),
        "fixation_px": stimuli.viewing.size_px(_FIXATION_DEG),
        "masks": [f"masks/{i}.png" for i in range(len(masks))],
        "columns": _columns(trials),
        "factors": trials.factors,
        "trials": _trials_as_json(stimuli, trials, identities),
    }
    orders = _orders_as_json(trials, n_repeats, n_orders, practice, seed)
    files = library_files(library)
    folder = Path(folder)
    with atomic_folder(folder) as part:
        sizes = {}
        for i in sorted({i for own in trials.pictures for i in own}):
            picture = stimuli.load(i)
            write_png(part / "images" / f"{identities[i]}.png", picture)
            sizes[identities[i]] = [picture.shape[1], picture.shape[0]]
        for target in {t["target"]: i for i, t in enumerate(design["trials"])}.items():
            if target[0] is not None and stimuli.targets is not None:
                own = stimuli.targets[trials.pictures[target[1]][0]]
                write_png(part / target[0], own)
        for name, picture in zip(design["masks"], masks, strict=True):
            write_png(part / name, picture)
        design["sizes_px"] = sizes
        content = plain([design, orders])
        design["experiment_version"] = sha256_json(content)[:16]
        for source in sorted(_PAGE.iterdir()):
            shutil.copyfile(source, part / source.name)
        for name, data in files.items():
            write_bytes(part / "vendor" / name, data)
        write_json(part / "texts.json", {**TEXTS, **(texts or {})})
        write_json(part / "orders.json", orders)
        write_json(part / "design.json", design)
    return folder / "index.html"


# ------------------------------------------------------------------- arguments


def _check_timing(
    refresh_hz: float | None,
    fixation_frames: int,
    target_frames: int,
    stimulus_frames: int | None,
    mask_frames: int | None,
    response_ms: float | None,
    feedback: bool,
) -> _Timing:
    if refresh_hz is not None:
        check_between("refresh_hz", refresh_hz, low=1)
    if response_ms is not None:
        check_between("response_ms", response_ms, low=1)
    check_whole("fixation_frames", fixation_frames, low=0)
    if stimulus_frames is not None:
        check_whole("stimulus_frames", stimulus_frames, low=1)
    if mask_frames is not None:
        check_whole("mask_frames", mask_frames, low=1)
        if stimulus_frames is None:
            raise ValueError(
                "A `mask` follows a picture that ends: give `stimulus_frames` too."
            )
    return _Timing(
        refresh_hz,
        fixation_frames,
        target_frames,
        stimulus_frames,
        mask_frames or 0,
        _FEEDBACK_FRAMES if feedback else 0,
        response_ms,
    )


def _target_frames(stimuli: StimulusSet, task: str, frames: int | None) -> int:
    if task != "search" or stimuli.targets is None:
        if frames:
            raise ValueError(
                "`target_frames` needs the task 'search' and a set with pictures of "
                "targets."
            )
        return 0
    return (
        _CUE_FRAMES if frames is None else check_whole("target_frames", frames, low=0)
    )


def _click_kind(trials: ChoiceTrials, click: bool | None) -> str:
    """Return "none", "choose" (a picture) or "target" (after the key)."""
    if trials.n_pictures > 1:
        return "none" if click is False else "choose"
    if trials.task != "search":
        if click:
            raise ValueError(
                "`click` is for pictures side by side and for searches; the answers to "
                "one picture are keys."
            )
        return "none"
    alone = len(trials.keys) == 1
    if click is False and alone:
        raise ValueError(
            "Every display holds its target, so that the key alone tells nothing: "
            "leave `click` on, or use a set with displays without target."
        )
    if not (alone if click is None else click):
        return "none"
    pairs = zip(trials.table["truth"], trials.boxes, strict=True)
    if any(right == "present" and box is None for right, box in pairs):
        raise ValueError(
            "A `click` on the target needs to know where it is: the set must have the "
            "columns `target_left_px`, `target_top_px`, `target_width_px` and "
            "`target_height_px`."
        )
    return "target"


def _masks(
    mask: str | NDArray[np.uint8] | None, stimuli: StimulusSet, seed: int
) -> list[NDArray[np.uint8]]:
    if mask is None:
        return []
    if isinstance(mask, str):
        if mask != "noise":
            raise ValueError(f"`mask` must be 'noise' or a picture; got {mask!r}.")
        height, width = stimuli.load(0).shape[:2]
        return [_noise(height, width, seed, i) for i in range(_N_MASKS)]
    return [check_image("mask", mask)]


def _noise(height: int, width: int, seed: int, number: int) -> NDArray[np.uint8]:
    """Return grey noise whose amplitude falls as 1/f, mean 128, four SD to the ends."""
    rng = generator(seed, "mask", number)
    across, down = np.fft.rfftfreq(width), np.fft.fftfreq(height)
    frequency = np.hypot(across, down[:, None])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(
        np.fft.rfft2(rng.standard_normal((height, width))) / frequency, (height, width)
    )
    levels = 127.5 + noise * (127.5 / (4 * max(float(noise.std()), 1e-12)))
    grey = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


# ---------------------------------------------------------------------- design


def _columns(trials: ChoiceTrials) -> list[str]:
    """Return the columns of the results: factors stand before the truth."""
    place = RESULT_COLUMNS.index("truth")
    shown = PICTURE_COLUMNS[: trials.n_pictures]
    before = [
        c for c in RESULT_COLUMNS[:place] if c not in PICTURE_COLUMNS or c in shown
    ]
    return [*before, *trials.factors, *RESULT_COLUMNS[place:]]


def _trials_as_json(
    stimuli: StimulusSet, trials: ChoiceTrials, identities: Sequence[str]
) -> list[dict[str, Any]]:
    factors = cell_values(trials.table[trials.factors])
    targets: list[str | None] = [None] * len(trials)
    if trials.task == "search" and stimuli.targets is not None:
        targets = [
            f"targets/{picture_hash(stimuli.targets[own[0]])[:16]}.png"
            for own in trials.pictures
        ]
    return [
        {
            "stimulus_id": str(trials.table["stimulus_id"].iloc[i]),
            "pictures": [identities[k] for k in trials.pictures[i]],
            "truth": trials.table["truth"].iloc[i],
            "target": targets[i],
            "target_box_px": trials.boxes[i],
            "factors": factors[i],
        }
        for i in range(len(trials))
    ]


def _orders_as_json(
    trials: ChoiceTrials, n_repeats: int, n_orders: int, practice: int, seed: int
) -> list[dict[str, Any]]:
    main = draw_orders(
        len(trials),
        trials.n_pictures,
        n_repeats=n_repeats,
        n_orders=n_orders,
        seed=seed,
    )
    first = generator(seed, "practice").permutation(len(trials))[:practice].tolist()
    n_arrangements = len(list(itertools.permutations(range(trials.n_pictures))))
    warm_up = [(trial, i % n_arrangements) for i, trial in enumerate(first)]
    return [{"practice": warm_up, "trials": order} for order in main]
