"""eccNET: visual search with eccentricity-dependent features.

Gupta, Zhang, Wu, Wolfe & Kreiman (2021), "Visual Search Asymmetry: Deep Nets and
Humans Share Similar Inherent Biases", NeurIPS, arXiv:2106.02953. At every fixation
the network sees a window around gaze; features of three stages are matched with
those of the target; the best place wins, is fixated and is not visited again.

The same code runs the published ablations (`VARIANTS`) and any trunk of `trunks.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.adapters.gaze_window import GazeWindow, full_pass, pooling_rules
from neurovis.adapters.search_maps import (
    combine_maps,
    enlarge_map,
    match_map,
    sharpen_map,
    to_numpy,
)
from neurovis.adapters.eccentric_pooling import same_pool
from neurovis.adapters.trunks import Trunk, load_trunk
from neurovis.core.checks import check_option
from neurovis.core.device import exact_float32, in_batches, resolve
from neurovis.core.types import Scanpath, SearchRules, SearchTrial

# Strip around the reach of the eye that is seen but cannot be landed on.
MARGIN_PX = 64


@dataclass(frozen=True)
class Variant:
    """What distinguishes a published ablation from eccNET.

    Parameters
    ----------
    eccentric : bool
        Eccentricity-dependent average pooling, or uniform max pooling.
    layers : tuple of float
        Weight of each of the three compared stages.
    weights : str, optional
        Training that the variant needs; None where any weights do.
    """

    eccentric: bool = True
    layers: tuple[float, float, float] = (1.0, 1.0, 1.0)
    weights: str | None = None


VARIANTS = {
    "eccnet": Variant(),
    "eccnet-18-17": Variant(layers=(0.0, 0.0, 1.0)),
    "eccnet-noecc": Variant(eccentric=False),
    "ivsn": Variant(eccentric=False, layers=(0.0, 0.0, 1.0)),
    "eccnet-rot90": Variant(weights="trained on images rotated by 90 degrees"),
    "eccnet-mnist": Variant(weights="trained on MNIST digits"),
}


@dataclass(frozen=True)
class Glance:
    """What drove one saccade.

    Parameters
    ----------
    fixation : tuple of int
        Row and column of the fixated pixel of the display.
    features : tuple of Tensor, shape (C, M, M)
        Features of the three compared stages.
    raw : ndarray of float32, shape (3, M, M)
        Match of each stage with the target.
    combined, sharpened : ndarray of float64, shape (M, M)
        Attention before and after sharpening.
    landing : ndarray of float64, shape (h, w)
        Attention in display pixels where the eye may land; 0 elsewhere.
    landing_corner : tuple of int
        Row and column of ``landing[0, 0]`` on the display.
    """

    fixation: tuple[int, int]
    features: tuple[Tensor, ...]
    raw: NDArray[np.float32]
    combined: NDArray[np.float64]
    sharpened: NDArray[np.float64]
    landing: NDArray[np.float64]
    landing_corner: tuple[int, int]


@dataclass
class _Searching:
    """State of one trial."""

    trial: SearchTrial
    image: NDArray[np.uint8]
    allowed: NDArray[np.uint8]
    target: tuple[Tensor, ...]
    fixations: list[tuple[int, int]]
    found: bool = False
    done: bool = False


@dataclass
class EccNet:
    """The search model and its ablations: a `Searcher`.

    Trained: nothing here; the trunk brings its weights. Input: the display at 30
    pixels per degree; the window around a fixation has twice the reach of the eye
    plus 64 pixels on each side. Changes from the published code: the response to
    the bare surround is computed once (equal up to float32 summation order).

    Parameters
    ----------
    trunk : Trunk
        Network with weights.
    variant : str, default "eccnet"
        One of `VARIANTS`.
    label : str, optional
        Name in tables; the variant's by default.
    device : str, default "auto"
        See `neurovis.core.device.resolve`.
    batch_size : int or "auto", default "auto"
        Trials that search in lockstep; one at a time on a CPU, where batches do
        not pay.

    Raises
    ------
    ValueError
        If the variant is unknown or the device absent.
    """

    trunk: Trunk
    variant: str = "eccnet"
    label: str | None = None
    device: str = "auto"
    batch_size: int | str = "auto"
    _windows: dict[tuple[int, int, float], GazeWindow] = field(
        default_factory=dict, init=False, repr=False
    )
    _targets: dict[tuple[bytes, float], tuple[Tensor, ...]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        check_option("variant", self.variant, tuple(VARIANTS))
        self.trunk = self.trunk.to(resolve(self.device))

    @property
    def name(self) -> str:
        """Name in tables and figures."""
        return self.label or self.variant

    @property
    def notes(self) -> tuple[str, ...]:
        """Says so when the weights are random."""
        if self.trunk.trained:
            return ()
        return (f"{self.name}: untrained weights ({self.trunk.weights_name})",)

    def search(
        self, trials: Sequence[SearchTrial], rules: SearchRules, *, seed: int = 0
    ) -> list[Scanpath]:
        """Search every display.

        Parameters
        ----------
        trials : sequence of SearchTrial
            Displays; they may differ in size.
        rules : SearchRules
            Rules of the experiment.
        seed : int
            Not used: the model is deterministic.

        Returns
        -------
        list of Scanpath
            Fixated pixel centres, the initial fixation first; durations are NaN.
        """
        size = self.batch_size
        if size == "auto" and self.trunk.device.type == "cpu":
            size = 1

        def run(batch: Sequence[SearchTrial]) -> list[Scanpath]:
            states = [self._begin(trial, rules) for trial in batch]
            for _ in self._glances(states, rules):
                pass
            return [self._scanpath(state) for state in states]

        return in_batches(run, trials, size)

    def watch(
        self, trial: SearchTrial, rules: SearchRules
    ) -> tuple[Scanpath, list[Glance]]:
        """Search one display and keep every map on the way.

        Parameters
        ----------
        trial : SearchTrial
            Display.
        rules : SearchRules
            Rules of the experiment.

        Returns
        -------
        tuple of Scanpath and list of Glance
            The scanpath, and one glance per saccade.
        """
        state = self._begin(trial, rules)
        glances = [batch[0] for batch in self._glances([state], rules)]
        return self._scanpath(state), glances

    def target_features(
        self, target: NDArray[np.uint8], px_per_deg: float = 30.0
    ) -> tuple[Tensor, ...]:
        """Return what the model looks for: features one pooling deeper.

        Parameters
        ----------
        target : ndarray of uint8, shape (h, w, 3)
            Picture of the target.
        px_per_deg : float, default 30.0
            Its pixels per degree.

        Returns
        -------
        tuple of Tensor, shape (C, ceil(h / 32), ceil(w / 32))
            One per compared stage (sides for a trunk of stride 16).
        """
        key = (repr(target.shape).encode() + target.tobytes(), px_per_deg)
        if key not in self._targets:
            if len(self._targets) >= 64:
                self._targets.clear()
            self._targets[key] = self._compute_target(target, px_per_deg)
        return self._targets[key]

    # -- steps ------------------------------------------------------------------

    @torch.inference_mode()
    def _compute_target(
        self, target: NDArray[np.uint8], px_per_deg: float
    ) -> tuple[Tensor, ...]:
        eccentric = VARIANTS[self.variant].eccentric
        rules = pooling_rules(self.trunk, eccentric=eccentric, px_per_deg=px_per_deg)
        pixels = torch.from_numpy(target[None].copy()).to(self.trunk.device)
        with exact_float32():
            _, pooled = full_pass(self.trunk, pixels, rules)
            features = []
            for index in range(len(pooled) - 3, len(pooled)):
                x = pooled[index]
                for _ in range(len(pooled) - 1 - index):
                    x = same_pool(x, 2, "average" if eccentric else "max")
                features.append(x[0])
        return tuple(features)

    def _window(self, rules: SearchRules) -> GazeWindow:
        side = 2 * (rules.eye_radius_px + MARGIN_PX)
        key = (side, rules.background, rules.px_per_deg)
        if key not in self._windows:
            self._windows.clear()  # one surround at a time: they are large
            self._windows[key] = GazeWindow(
                self.trunk,
                side,
                rules.background,
                eccentric=VARIANTS[self.variant].eccentric,
                px_per_deg=rules.px_per_deg,
            )
        return self._windows[key]

    def _begin(self, trial: SearchTrial, rules: SearchRules) -> _Searching:
        height, width = trial.image.shape[:2]
        if trial.item_areas is None:
            allowed = np.ones((height, width), np.uint8)
        else:
            allowed = trial.item_areas.sum(0).astype(np.uint8)
        return _Searching(
            trial,
            trial.image.copy(),
            allowed,
            self.target_features(trial.target, rules.px_per_deg),
            [(height // 2, width // 2)],
        )

    def _glances(
        self, states: Sequence[_Searching], rules: SearchRules
    ) -> Iterator[list[Glance]]:
        """Move every trial on by one saccade at a time until all are done."""
        window = self._window(rules)
        for _ in range(rules.max_saccades):
            for state in states:
                self._arrive_scene(state, rules)
            live = [state for state in states if not state.done]
            if not live:
                return
            with torch.inference_mode(), exact_float32():
                seen = window.see_many(
                    [s.image for s in live], [s.fixations[-1] for s in live]
                )
                raw = [
                    to_numpy(
                        [
                            match_map(x[row], target)
                            for x, target in zip(seen, state.target, strict=True)
                        ]
                    )
                    for row, state in enumerate(live)
                ]
            glances = []
            for row, state in enumerate(live):
                features = tuple(x[row] for x in seen)
                glance = self._attend(state, features, raw[row], window, rules)
                glances.append(glance)
                self._move(state, glance, rules)
            yield glances

    def _attend(
        self,
        state: _Searching,
        features: tuple[Tensor, ...],
        raw: NDArray[np.float32],
        window: GazeWindow,
        rules: SearchRules,
    ) -> Glance:
        layers = VARIANTS[self.variant].layers
        combined = combine_maps(raw, layers, rules.layer_weighting)
        sharpened = sharpen_map(combined, rules.sharpening)
        fixation, reach = state.fixations[-1], rules.eye_radius_px
        # Only what is on the display and within reach can win.
        spans = [
            (max(f - reach, 0), min(f + reach, n))
            for f, n in zip(fixation, state.allowed.shape, strict=True)
        ]
        shift = [window.side // 2 - f for f in fixation]
        rows, columns = (
            (a + d, b + d) for (a, b), d in zip(spans, shift, strict=True)
        )
        landing = enlarge_map(sharpened, window.side, rows, columns)
        landing -= sharpened.min()
        landing *= state.allowed[slice(*spans[0]), slice(*spans[1])]
        corner = (spans[0][0], spans[1][0])
        return Glance(fixation, features, raw, combined, sharpened, landing, corner)

    def _move(self, state: _Searching, glance: Glance, rules: SearchRules) -> None:
        """Fixate the winner; erase its item; stop when it is the target."""
        height, width = state.allowed.shape
        best = int(glance.landing.argmax()) if glance.landing.size else -1
        if best >= 0 and glance.landing.flat[best] > 0:
            row, column = divmod(best, glance.landing.shape[1])
            row, column = row + glance.landing_corner[0], column + glance.landing_corner[1]
        else:  # nothing left: the corner of the window, as published
            half = rules.eye_radius_px + MARGIN_PX
            row, column = (f - half for f in glance.fixation)
        row, column = min(max(row, 0), height), min(max(column, 0), width)
        state.fixations.append((row, column))
        areas = state.trial.item_areas
        if areas is None:
            return
        if row < height and column < width:
            hit = np.flatnonzero(areas[:, row, column])
            if len(hit):
                area = areas[hit[0]]
                state.allowed[area] = 0
                state.image[area] = rules.background
        state.found = state.done = self._on_target(state, rules)

    def _arrive_scene(self, state: _Searching, rules: SearchRules) -> None:
        """Without item areas: check the target, then inhibit a square."""
        if state.done or state.trial.item_areas is not None:
            return
        state.found = state.done = self._on_target(state, rules)
        if not state.done:
            state.allowed[_square(state.fixations[-1], rules.tolerance_px)] = 0

    def _on_target(self, state: _Searching, rules: SearchRules) -> bool:
        square = _square(state.fixations[-1], rules.tolerance_px)
        return bool(state.trial.target_area[square].any())

    def _scanpath(self, state: _Searching) -> Scanpath:
        rows, columns = np.array(state.fixations, np.float64).T
        return Scanpath(
            self.name,
            state.trial.stimulus_id,
            columns + 0.5,
            rows + 0.5,
            np.full(len(rows), np.nan),
            state.found,
        )


def _square(fixation: tuple[int, int], side: int) -> tuple[slice, slice]:
    row, column = fixation
    half = side // 2
    return (
        slice(max(row - half, 0), max(row + half, 0)),
        slice(max(column - half, 0), max(column + half, 0)),
    )


def load_eccnet(
    variant: str = "eccnet",
    *,
    backbone: str = "vgg16",
    weights: str = "seeded:0",
    preprocessing: str | None = None,
    device: str = "auto",
    label: str | None = None,
) -> EccNet:
    """Build eccNET or one of its ablations.

    Parameters
    ----------
    variant : str, default "eccnet"
        One of `VARIANTS`.
    backbone, weights, preprocessing
        See `neurovis.adapters.trunks.load_trunk`.
    device : str, default "auto"
        Where to compute.
    label : str, optional
        Name in tables.

    Returns
    -------
    EccNet
        Ready to search.

    Raises
    ------
    ValueError
        If the variant needs special weights and got random ones.

    Examples
    --------
    >>> load_eccnet("ivsn", weights="seeded:0/8", device="cpu").notes
    ('ivsn: untrained weights (seeded:0/8)',)
    """
    check_option("variant", variant, tuple(VARIANTS))
    needed = VARIANTS[variant].weights
    if needed and weights.startswith("seeded:"):
        raise ValueError(
            f"`{variant}` is eccnet with weights {needed}: give such a file as "
            f"`weights`; got {weights!r}."
        )
    trunk = load_trunk(backbone, weights, preprocessing=preprocessing)
    return EccNet(trunk, variant, label, device)
