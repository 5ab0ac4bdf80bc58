"""The search model eccNET: features that depend on eccentricity.

Gupta, Zhang, Wu, Wolfe & Kreiman (2021), "Visual Search Asymmetry: Deep Nets and
Humans Share Similar Inherent Biases", NeurIPS, arXiv:2106.02953. At every fixation
the network sees a window around gaze; features of three stages are matched with
those of the target; the best place wins, is fixated and is not visited again.

The same code runs the published ablations (`VARIANTS`) and any trunk of `trunks.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.adapters.eccentric_pooling import PoolKind, halve
from neurovis.adapters.gaze_window import GazeWindow
from neurovis.adapters.search_loop import SearchState, check_trials
from neurovis.adapters.search_maps import (
    combine_maps,
    enlarge_map,
    match_map,
    sharpen_map,
    to_numpy,
)
from neurovis.adapters.trunk_weights import load_trunk
from neurovis.adapters.trunks import Trunk, full_pass, pooling_rules
from neurovis.core.checks import check_option
from neurovis.core.device import exact_float32, in_batches, resolve
from neurovis.core.observers import SearchRules, SearchTrial
from neurovis.core.types import Scanpath

# Strip around the reach of the eye that is seen but cannot be landed on.
MARGIN_PX = 64
# Places this close to the best, as a share of it, tie: the first in reading order
# wins. Float32 sums agree to about this much, so that ties (two like items, a bare
# display) resolve alike on every device and at every batch size.
TIE = 2e-6


@dataclass(frozen=True)
class Variant:
    """What distinguishes eccNET and its ablations.

    Parameters
    ----------
    name : str
        Name in tables.
    eccentric : bool, default True
        Whether pooling windows grow with eccentricity.
    kind : {"average", "max"}
        Pooling, in both networks and in the side branches.
    layers : tuple of float
        Weight of each of the three compared stages.
    weights : str, optional
        Training that the variant needs; None where any weights do.
    """

    name: str
    eccentric: bool = True
    kind: PoolKind = "average"
    layers: tuple[float, ...] = (1.0, 1.0, 1.0)
    weights: str | None = None


_TOP = (0.0, 0.0, 1.0)
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("eccnet"),
        Variant("eccnet-18-17", layers=_TOP),
        Variant("eccnet-noecc", eccentric=False, kind="max"),
        Variant("ivsn", eccentric=False, kind="max", layers=_TOP),
        Variant("eccnet-rot90", weights="trained on images rotated by 90 degrees"),
        Variant("eccnet-mnist", weights="trained on MNIST digits"),
    )
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
    winner : tuple of int
        Row and column that is fixated next.
    """

    fixation: tuple[int, int]
    features: tuple[Tensor, ...]
    raw: NDArray[np.float32]
    combined: NDArray[np.float64]
    sharpened: NDArray[np.float64]
    landing: NDArray[np.float64]
    landing_corner: tuple[int, int]
    winner: tuple[int, int]


@dataclass
class EccNet:
    """The search model and its ablations: a `Searcher`.

    Trained: nothing here; the trunk brings its weights. Input: the display at 30
    pixels per degree; the window around a fixation has twice the reach of the eye
    plus 64 pixels on each side. Changes from the published code: the response to
    the bare surround is computed once (equal up to float32 summation order), and
    ties within `TIE` go to the first place in reading order.

    Parameters
    ----------
    trunk : Trunk
        Network with weights.
    variant : Variant
        eccNET, or an ablation of `VARIANTS`.
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
        If the device is absent.
    """

    trunk: Trunk
    variant: Variant = VARIANTS["eccnet"]
    label: str | None = None
    device: str = "auto"
    batch_size: int | Literal["auto"] = "auto"
    _windows: dict[tuple[int, int, float], GazeWindow] = field(
        default_factory=dict, init=False, repr=False
    )
    _targets: dict[tuple[bytes, float], tuple[Tensor, ...]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        self.trunk = self.trunk.to(resolve(self.device))

    @property
    def name(self) -> str:
        """Name in tables and figures."""
        return self.label or self.variant.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about the weights; says so when they are random."""
        if self.trunk.trained:
            return tuple(f"{self.name}: {remark}" for remark in self.trunk.remarks)
        return (f"{self.name}: untrained weights ({self.trunk.weights_name})",)

    @property
    def identity(self) -> dict[str, Any]:
        """All that its responses depend on besides display, rules and seed."""
        variant = asdict(self.variant)
        del variant["name"], variant["weights"]
        return {
            "observer": "eccnet",
            **variant,
            "trunk": self.trunk.name,
            "weights": self.trunk.weights_hash,
            "pixels": asdict(self.trunk.pixels),
            "margin_px": MARGIN_PX,
            "tie": TIE,
            "device": self.trunk.device.type,
        }

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
            states = [SearchState(trial, rules) for trial in batch]
            for _ in self._glances(states, rules):
                pass
            return [state.scanpath(self.name) for state in states]

        check_trials(trials, rules)
        # A GPU holds a few copies of the first stage's map per trial.
        item_bytes = self.window(rules).side ** 2 * 1024
        return in_batches(
            run, trials, size, item_bytes=item_bytes, device=self.trunk.device
        )

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
        check_trials([trial], rules)
        state = SearchState(trial, rules)
        glances = [batch[0] for batch in self._glances([state], rules)]
        return state.scanpath(self.name), glances

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
        rules = pooling_rules(
            self.trunk,
            eccentric=self.variant.eccentric,
            kind=self.variant.kind,
            px_per_deg=px_per_deg,
        )
        pixels = torch.from_numpy(target[None].copy()).to(self.trunk.device)
        with exact_float32():
            _, pooled = full_pass(self.trunk, pixels, rules)
            last = pooled[-3:]
            return tuple(
                halve(x, len(last) - 1 - i, self.variant.kind)[0]
                for i, x in enumerate(last)
            )

    def window(self, rules: SearchRules) -> GazeWindow:
        """Return what the model sees through under these rules; kept until they change.

        Parameters
        ----------
        rules : SearchRules
            Rules of the experiment.

        Returns
        -------
        GazeWindow
            Window of twice the reach of the eye and its margin.
        """
        side = 2 * (rules.eye_radius_px + MARGIN_PX)
        key = (side, rules.background, rules.px_per_deg)
        if key not in self._windows:
            self._windows.clear()  # one surround at a time: they are large
            self._windows[key] = GazeWindow(
                self.trunk,
                side,
                rules.background,
                eccentric=self.variant.eccentric,
                kind=self.variant.kind,
                px_per_deg=rules.px_per_deg,
            )
        return self._windows[key]

    def _glances(
        self, states: Sequence[SearchState], rules: SearchRules
    ) -> Iterator[list[Glance]]:
        """Move every trial on by one saccade at a time until all are done."""
        window = self.window(rules)
        while live := [state for state in states if state.begin_glance()]:
            with torch.inference_mode(), exact_float32():
                seen = window.see_many(
                    [state.image for state in live],
                    [state.fixations[-1] for state in live],
                )
                glances = []
                for row, state in enumerate(live):
                    features = tuple(x[row] for x in seen)
                    glances.append(self.attend(state, features, window.side))
            for state, glance in zip(live, glances, strict=True):
                state.fixate(*glance.winner)
            yield glances

    def attend(
        self, state: SearchState, features: tuple[Tensor, ...], side: int
    ) -> Glance:
        """Turn features into attention and the place that wins.

        Parameters
        ----------
        state : SearchState
            Trial in progress.
        features : tuple of Tensor, shape (C, M, M)
            What is seen from the current fixation.
        side : int
            Side of the window in pixels.

        Returns
        -------
        Glance
            All maps and the winner.
        """
        rules, fixation = state.rules, state.fixations[-1]
        target = self.target_features(state.trial.target, rules.px_per_deg)
        raw = to_numpy([match_map(x, t) for x, t in zip(features, target, strict=True)])
        combined = combine_maps(raw, self.variant.layers, rules.layer_weighting)
        sharpened = sharpen_map(combined, rules.sharpening)
        # Only what is on the display and within reach can win.
        part = state.reachable()
        rows, columns = (
            (s.start + side // 2 - f, s.stop + side // 2 - f)
            for s, f in zip(part, fixation, strict=True)
        )
        landing = enlarge_map(sharpened, side, rows, columns)
        landing -= sharpened.min()
        landing *= state.allowed[part]
        peak = landing.max(initial=0.0)
        if peak > 0:
            first = int((landing >= peak * (1 - TIE)).argmax())
            row, column = divmod(first, landing.shape[1])
            winner = (row + part[0].start, column + part[1].start)
        else:  # nothing left: the corner of the window, as published
            winner = (fixation[0] - side // 2, fixation[1] - side // 2)
        corner = (part[0].start, part[1].start)
        return Glance(
            fixation, features, raw, combined, sharpened, landing, corner, winner
        )


def load_eccnet(
    variant: str = "eccnet",
    *,
    backbone: str | None = None,
    weights: str | None = None,
    preprocessing: str | None = None,
    device: str = "auto",
    label: str | None = None,
) -> EccNet:
    """Build eccNET or one of its ablations.

    Parameters
    ----------
    variant : str, default "eccnet"
        One of `VARIANTS`.
    backbone, weights : str, optional
        Architecture, and where its weights come from; see
        `neurovis.adapters.trunk_weights.load_trunk`. By default the compact VGG with
        the weights that come with the suite; with `weights` alone VGG16; another
        architecture alone has random weights.
    preprocessing : str, optional
        What pixels the weights expect, where a file does not tell; see there.
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
    if backbone is None:
        backbone = "compact_vgg" if weights is None else "vgg16"
    if weights is None:
        weights = "shipped" if backbone == "compact_vgg" else "seeded:0"
    needed = VARIANTS[variant].weights
    if needed and (weights.startswith("seeded:") or weights == "shipped"):
        raise ValueError(
            f"`{variant}` is eccnet with weights {needed}: give such a file as "
            f"`weights`; got {weights!r}."
        )
    trunk = load_trunk(backbone, weights, preprocessing=preprocessing)
    return EccNet(trunk, VARIANTS[variant], label, device)
