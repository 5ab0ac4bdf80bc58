"""The rules of a search, the same for every observer.

Where to look next is the observer's business; what follows from looking is here:
the initial fixation, what counts as found, inhibition of return, and the end.
With item areas, a fixated item is erased from the display and never visited again;
without them, a square around each fixation is inhibited and the display stays.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neurovis.core.observers import SearchRules, SearchTrial
from neurovis.core.types import Scanpath


class SearchState:
    """One trial in progress.

    Parameters
    ----------
    trial : SearchTrial
        Display.
    rules : SearchRules
        Rules of the experiment.

    Attributes
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        Display without the items visited so far.
    allowed : ndarray of uint8, shape (H, W)
        Weight of each pixel as a landing place: number of item areas that hold it,
        0 where inhibited.
    fixations : list of tuple of int
        Rows and columns of fixated pixels, the initial one first.
    found, done : bool
        Whether the target was reached; whether the trial is over.
    """

    def __init__(self, trial: SearchTrial, rules: SearchRules) -> None:
        self.trial = trial
        self.rules = rules
        self.image = trial.image.copy()
        height, width = trial.image.shape[:2]
        if trial.item_areas is None:
            self.allowed = np.ones((height, width), np.uint8)
        else:
            self.allowed = trial.item_areas.sum(0).astype(np.uint8)
        self.fixations = [trial.start or (height // 2, width // 2)]
        self.found = self.done = False

    def begin_glance(self) -> bool:
        """Prepare the next glance and say whether there is one.

        Returns
        -------
        bool
            False when the trial is over.
        """
        without_items = self.trial.item_areas is None
        if not self.done and without_items:
            self.found = self.done = self._on_target()
        if len(self.fixations) > self.rules.max_saccades:
            self.done = True
        if not self.done and without_items:
            side = self.rules.inhibition_px or self.rules.tolerance_px
            square = _square(self.fixations[-1], side)
            self.allowed[square] = 0
        return not self.done

    def reachable(self) -> tuple[slice, slice]:
        """Return the part of the display that a saccade can reach.

        Returns
        -------
        tuple of slice
            Rows and columns within `eye_radius_px` of the fixation.
        """
        reach = self.rules.eye_radius_px
        rows, columns = (
            slice(max(f - reach, 0), min(f + reach, n))
            for f, n in zip(self.fixations[-1], self.allowed.shape, strict=True)
        )
        return rows, columns

    def fixate(self, row: int, column: int) -> None:
        """Move the eye, erase the item there, and check for the target.

        Parameters
        ----------
        row, column : int
            Pixel to fixate; clipped to the display (its far border included, as
            published).
        """
        height, width = self.allowed.shape
        row, column = min(max(row, 0), height), min(max(column, 0), width)
        self.fixations.append((row, column))
        areas = self.trial.item_areas
        if areas is None:
            return
        if row < height and column < width:
            hit = np.flatnonzero(areas[:, row, column])
            if len(hit):
                area = areas[hit[0]]
                self.allowed[area] = 0
                self.image[area] = self.rules.background
        self.found = self.done = self._on_target()

    def scanpath(self, subject: str) -> Scanpath:
        """Return the fixations so far.

        Parameters
        ----------
        subject : str
            Name of the observer.

        Returns
        -------
        Scanpath
            Centres of the fixated pixels; durations are NaN.
        """
        rows, columns = np.array(self.fixations, np.float64).T
        durations = np.full(len(rows), np.nan)
        return Scanpath(
            subject,
            self.trial.stimulus_id,
            columns + 0.5,
            rows + 0.5,
            durations,
            self.found,
        )

    def _on_target(self) -> bool:
        square = _square(self.fixations[-1], self.rules.tolerance_px)
        return bool(self.trial.target_area[square].any())


def _square(fixation: tuple[int, int], side: int) -> tuple[slice, slice]:
    half = side // 2
    rows, columns = (slice(max(f - half, 0), max(f + half, 0)) for f in fixation)
    return rows, columns


def search_by_priority(
    state: SearchState, priority: NDArray[np.float64], subject: str
) -> Scanpath:
    """Visit the places of a fixed priority map, best first.

    Parameters
    ----------
    state : SearchState
        A trial that has just begun.
    priority : ndarray of float64, shape (H, W)
        Priority of each pixel.
    subject : str
        Name of the observer.

    Returns
    -------
    Scanpath
        All fixations; ties resolve to the first pixel in reading order.
    """
    while state.begin_glance():
        part = state.reachable()
        live = np.where(state.allowed[part] > 0, priority[part], -np.inf)
        if live.size == 0 or not np.isfinite(live).any():
            state.done = True  # nowhere left to look
            break
        row, column = divmod(int(live.argmax()), live.shape[1])
        state.fixate(row + part[0].start, column + part[1].start)
    return state.scanpath(subject)


def items_fixated(path: Scanpath, item_areas: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return which item each fixation fell on.

    Parameters
    ----------
    path : Scanpath
        Fixations in pixels of the display.
    item_areas : ndarray of bool, shape (n_items, H, W)
        Areas of the items.

    Returns
    -------
    ndarray of int64, shape (n_fixations,)
        1 + index of the last area that holds the fixation; 0 outside all areas.
    """
    height, width = item_areas.shape[1:]
    numbers = np.zeros(len(path), np.int64)
    for i, (x, y) in enumerate(zip(path.x_px, path.y_px, strict=True)):
        row, column = int(np.floor(y)), int(np.floor(x))
        if 0 <= row < height and 0 <= column < width:
            hit = np.flatnonzero(item_areas[:, row, column])
            numbers[i] = hit[-1] + 1 if len(hit) else 0
    return numbers


def _overlap(n_in: int, n_out: int) -> NDArray[np.float64]:
    """Share of each new pixel that lies in each old one, (n_out, n_in)."""
    edges = np.arange(n_out + 1)[:, None] * (n_in / n_out)
    old = np.arange(n_in)
    share: NDArray[np.float64] = np.diff(np.clip(edges, old, old + 1), axis=0)
    return share * (n_out / n_in)


def fit_trial(
    trial: SearchTrial, shape: tuple[int, int], target_shape: tuple[int, int]
) -> SearchTrial:
    """Bring a trial to the model's size, as the published pipeline does.

    Parameters
    ----------
    trial : SearchTrial
        Display at any size.
    shape, target_shape : tuple of int
        Height and width wanted for the display and for the target.

    Returns
    -------
    SearchTrial
        Pictures resized to their nearest pixels; areas averaged over each new
        pixel and kept where more than 125/255 of it is covered.
    """

    def nearest(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        if image.shape[:2] == size:
            return image
        picture = Image.fromarray(image)
        return np.asarray(picture.resize(size[::-1], Image.Resampling.NEAREST))

    def covered(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
        rows, columns = (
            _overlap(old, new) for old, new in zip(area.shape, shape, strict=True)
        )
        levels = np.rint(rows @ area @ columns.T * 255)
        return np.asarray(levels > 125)

    areas, start = trial.item_areas, trial.start
    if start is not None:
        old = trial.image.shape[:2]
        row, column = (
            int((f + 0.5) * n / o) for f, n, o in zip(start, shape, old, strict=True)
        )
        start = (row, column)
    return SearchTrial(
        trial.stimulus_id,
        nearest(trial.image, shape),
        nearest(trial.target, target_shape),
        covered(trial.target_area),
        None if areas is None else np.stack([covered(area) for area in areas]),
        start,
    )


def check_trials(trials: Sequence[SearchTrial], rules: SearchRules) -> None:
    """Check what a search needs before anything is computed.

    Parameters
    ----------
    trials : sequence of SearchTrial
        Displays.
    rules : SearchRules
        Rules of the experiment.

    Raises
    ------
    ValueError
        If there is no trial, or one has no target area or no item area.
    """
    if len(trials) == 0:
        raise ValueError("`trials` is empty: at least one display is needed.")
    for trial in trials:
        if not trial.target_area.any():
            raise ValueError(
                f"{trial.stimulus_id}: `target_area` is empty, so that the target "
                "can never be found."
            )
        if trial.item_areas is not None and not trial.item_areas.any():
            raise ValueError(
                f"{trial.stimulus_id}: `item_areas` are empty; give None to search "
                "without item areas."
            )
