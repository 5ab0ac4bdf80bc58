"""Simulated searchers whose rule is known, over the objects of a display.

They make any number of scanpaths to train a model on, and tell how good it can
become: the probability of every token is exact, so the nats per token of the searcher
itself are the least that any model of it can reach on average, and
`analysis.policy_statistics` says whether a model moves and stops as the searcher does.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_array, check_between, check_whole
from neurovis.core.object_displays import Display, FloatArray, IntArray
from neurovis.core.object_scanpaths import ObjectTrial, check_cells
from neurovis.core.rng import generator

BoolArray = NDArray[np.bool_]

# Searchers that walk at once: their arrays stay in the cache of the processor.
_AT_ONCE = 256


@dataclass(frozen=True)
class SearchPolicy:
    r"""A searcher of known rule: where it begins, goes and stops.

    The first object is drawn around `start`. After each fixation the scanpath ends
    with probability `stop_on_target` or `stop_elsewhere`. If it goes on, the target is
    next with the probability that `guidance` gives its distance; if not, the eye stays
    with probability `refixate`, or moves to another object, never the target, by

    .. math:: w = [(1 - t) e^{-q/2} + t e^{-\sqrt{q}}] \; i \; e^{m \cos a},
        \quad q = (d_y / s_y)^2 + (d_x / s_x)^2,

    with t = `tail`, s = `saccade_sd`, i = `inhibition` where it has been lately (1
    elsewhere), m = `momentum` and a the angle between this saccade and the one
    before it. On the target there is no guidance: the eye stays or moves.

    Parameters
    ----------
    start : pair of float
        Centre of the first fixations as share of the height and the width of the
        display, rows first, 0..1.
    start_sd : pair of float
        Their spread in the same units, >= 0.001: objects weigh as a Gaussian of the
        place of their centre.
    saccade_sd : pair of float
        Spread of saccades down and right, in `Display.coordinates` (cells), >= 0.01.
    refixate : float
        Probability to stay on the same object, 0..1. Where no other object is
        allowed (displays of one or two objects) the eye stays for certain.
    inhibition : float
        Factor on objects visited within `memory`, >= 1e-9, at most 1, which is none.
    momentum : float
        Preference to go on in the direction of the last saccade, >= 0. There is no
        direction after the first fixation and after a refixation.
    guidance : tuple of float
        Probability that the next fixation is the target, 0..1, when it is 1, 2, ...
        cells away (Euclidean, rounded down, at least 1); the last one holds beyond.
        Empty: the target attracts no more and no less than other objects.
    stop_on_target, stop_elsewhere : float
        Probability that a fixation on, or off, the target is the last, 0..1.
    tail : float, default 0
        Weight of an exponential fall of saccades beside the Gaussian one, 0..1.
    memory : int, optional
        Fixations before the present one that inhibit their objects, >= 0; default all.
    lapse : float, default 0
        Share of first fixations and moves to any allowed object alike, 0..1.
    max_fixations : int, default 55
        A scanpath ends here at the latest, >= 1.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> from neurovis.core.object_displays import regular_display
    >>> display = regular_display("a", rows=1, cols=3, size_px=(3, 1), target_cell=2)
    >>> given = SHELF_SEARCHER.token_probabilities(display, [1])
    >>> given[1].round(3).tolist()  # .99 x (.55 x .85, .55 x .15, .45), then the end
    [0.463, 0.082, 0.446, 0.01]
    """

    start: tuple[float, float]
    start_sd: tuple[float, float]
    saccade_sd: tuple[float, float]
    refixate: float
    inhibition: float
    momentum: float
    guidance: tuple[float, ...]
    stop_on_target: float
    stop_elsewhere: float
    tail: float = 0.0
    memory: int | None = None
    lapse: float = 0.0
    max_fixations: int = 55

    def __post_init__(self) -> None:
        pairs = {"start": (0, 1), "start_sd": (1e-3, None), "saccade_sd": (1e-2, None)}
        for name, (low, high) in pairs.items():
            self._set_numbers(name, 2, low, high)
        self._set_numbers("guidance", None, 0, 1)
        shares = ("refixate", "stop_on_target", "stop_elsewhere", "tail", "lapse")
        bounds: dict[str, tuple[float, float | None]] = dict.fromkeys(shares, (0, 1))
        bounds |= {"inhibition": (1e-9, 1), "momentum": (0, None)}
        for name, (least, most) in bounds.items():
            number = float(check_between(name, getattr(self, name), least, most))
            object.__setattr__(self, name, number)
        longest = check_whole("max_fixations", self.max_fixations, low=1)
        object.__setattr__(self, "max_fixations", longest)
        if self.memory is not None:
            span = check_whole("memory", self.memory, low=0)
            object.__setattr__(self, "memory", span)

    def _set_numbers(
        self, name: str, length: int | None, low: float, high: float | None
    ) -> None:
        """Keep plain numbers, so that equal policies have equal identities."""
        array = check_array(name, getattr(self, name), shape=(length,))
        numbers = tuple(
            float(check_between(f"{name}[{i}]", value, low, high))
            for i, value in enumerate(array.tolist())
        )
        object.__setattr__(self, name, numbers)

    @property
    def identity(self) -> dict[str, Any]:
        """All that its responses depend on besides display and seed."""
        return {"search policy": asdict(self)}

    def token_probabilities(self, display: Display, cells: IntArray) -> FloatArray:
        """Give the exact distribution of each token of a scanpath after those before.

        Parameters
        ----------
        display : ObjectDisplay or FreeDisplay
            What is looked at.
        cells : array-like of int, shape (n_fixations,)
            A scanpath, at least one object.

        Returns
        -------
        ndarray of float64, shape (n_fixations + 1, n_cells + 1)
            Rows sum to 1; the last column is the end. It is certain from
            `max_fixations` on: a longer scanpath is impossible.

        Raises
        ------
        TypeError, ValueError
            If an object is not on the display.
        """
        cells = check_cells("cells", cells, display.n_cells)
        n = len(cells)
        searchers = _Searchers.of([self] * n, [display] * n)
        span = n if self.memory is None else self.memory
        recent = np.zeros((n, display.n_cells), bool)
        for i in range(n):
            recent[i, cells[max(i - span, 0) : i]] = True
        before = np.append(cells[:1], cells[:-1])
        later = searchers.next_tokens(cells, before, recent, np.arange(1, n + 1))
        first = np.append(_first_objects([self], [display]), 0.0)
        return np.vstack([first, later])

    def sample(self, display: Display, n_samples: int, seed: int = 0) -> list[IntArray]:
        """Make scanpaths on a display.

        Parameters
        ----------
        display : ObjectDisplay or FreeDisplay
            What is looked at.
        n_samples : int
            How many, >= 1.
        seed : int
            Each sample of each display draws from its own stream.

        Returns
        -------
        list of ndarray of int64, shape (n_fixations,)
            Objects, at least one each.

        Raises
        ------
        TypeError, ValueError
            If `n_samples` is not a whole number of at least 1, or the seed is none.
        """
        n_samples = check_whole("n_samples", n_samples, low=1)
        return _walk([(self, display, i) for i in range(n_samples)], seed)


SHELF_SEARCHER = SearchPolicy(
    start=(0.4, 0.45),
    start_sd=(0.2, 0.2),
    saccade_sd=(1.0, 2.2),
    refixate=0.15,
    inhibition=0.3,
    momentum=0.3,
    guidance=(0.45, 0.15, 0.07, 0.04),
    stop_on_target=0.4,
    stop_elsewhere=0.01,
    lapse=0.01,
)
"""Round numbers in the range of people who look for one product on a shelf."""


def random_policy(seed: int, *keys: str | int) -> SearchPolicy:
    """Draw a plausible searcher from broad ranges.

    The ranges are fitted to no data set. They follow what is commonly known of eye
    movements in search: saccades are short and mostly horizontal, some fixations stay
    on an object, objects seen lately are avoided, targets attract from near.

    Parameters
    ----------
    seed : int
        Seed, 0 or more.
    *keys : str or int
        Which searcher; other keys give an independent one.

    Returns
    -------
    SearchPolicy
        `start` uniform in .2 to .6 (down and right), `start_sd` in .08 to .4;
        `saccade_sd` 1 to 3.5 cells right, .4 to 1 times that down; `tail` 0 to .5;
        `refixate` .05 to .3; `inhibition` .05 to 1 (log-uniform) over the last 1 to
        16 objects, or all of them in half of the searchers; `momentum` 0 to 1;
        `guidance` .2 to .7 from one cell away, then .2 to .6 times the one before, at
        least .005; `stop_on_target` .2 to .9; `stop_elsewhere` .002 to .04
        (log-uniform); `lapse` .002 to .03.

    Examples
    --------
    >>> [random_policy(0, "ann") == random_policy(0, who) for who in ("ann", "bob")]
    [True, False]
    """
    draw = generator(seed, "search policy", *keys)
    right = draw.uniform(1.0, 3.5)
    falls = np.cumprod([draw.uniform(0.2, 0.7), *draw.uniform(0.2, 0.6, size=3)])
    span = int(draw.integers(1, 17))
    return SearchPolicy(
        start=tuple(draw.uniform(0.2, 0.6, size=2)),
        start_sd=tuple(draw.uniform(0.08, 0.4, size=2)),
        saccade_sd=(right * draw.uniform(0.4, 1.0), right),
        refixate=draw.uniform(0.05, 0.3),
        inhibition=0.05 ** draw.uniform(0.0, 1.0),
        momentum=draw.uniform(0.0, 1.0),
        guidance=tuple(np.maximum(falls, 0.005)),
        stop_on_target=draw.uniform(0.2, 0.9),
        stop_elsewhere=0.04 / 20 ** draw.uniform(0.0, 1.0),
        tail=draw.uniform(0.0, 0.5),
        memory=span if draw.random() < 0.5 else None,
        lapse=draw.uniform(0.002, 0.03),
    )


def simulate_trials(
    policy: SearchPolicy | Sequence[SearchPolicy],
    displays: Sequence[Display],
    *,
    n_observers: int | None = None,
    seed: int = 0,
) -> list[ObjectTrial]:
    """Let simulated observers search displays, each display once.

    Parameters
    ----------
    policy : SearchPolicy or sequence of SearchPolicy
        The rule of all observers, or one for each.
    displays : sequence of ObjectDisplay or FreeDisplay
        What they see, at least one; their numbers of objects may differ.
    n_observers : int, optional
        How many, >= 1; as many as there are policies by default.
    seed : int
        Observer k on a display makes the same scanpath as sample k of
        `SearchPolicy.sample`, whatever other observers and displays there are.

    Returns
    -------
    list of ObjectTrial
        Observers "sim0", "sim1", ... on the first display, then on the second, ...

    Raises
    ------
    TypeError, ValueError
        If there is no display or policy, two displays share a `stimulus_id`, or the
        numbers of policies and observers differ.

    Examples
    --------
    >>> from neurovis.core.object_displays import regular_display
    >>> display = regular_display("a", rows=2, cols=3, size_px=(3, 2), target_cell=2)
    >>> trials = simulate_trials(SHELF_SEARCHER, [display], n_observers=2)
    >>> [trial.subject for trial in trials]
    ['sim0', 'sim1']
    """
    if isinstance(policy, SearchPolicy):
        n = 1 if n_observers is None else n_observers
        policies = [policy] * check_whole("n_observers", n, low=1)
    else:
        policies = list(policy)
    if not policies or (n_observers is not None and n_observers != len(policies)):
        raise ValueError(
            f"`policy` must be one policy for all observers or one for each; got "
            f"{len(policies)} for {n_observers} observers."
        )
    names = [display.stimulus_id for display in displays]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            "`displays` must hold at least one display and each `stimulus_id` once, "
            f"because scanpaths are drawn by it; got {names}."
        )
    jobs = [(p, d, k) for d in displays for k, p in enumerate(policies)]
    return [
        ObjectTrial(display, f"sim{k}", cells)
        for (_, display, k), cells in zip(jobs, _walk(jobs, seed), strict=True)
    ]


# ---------------------------------------------------------------- many at once


_SAME_NAMES = ("saccade_sd", "refixate", "inhibition", "momentum", "tail", "lapse")


@dataclass(frozen=True)
class _Searchers:
    """Policies and displays of m searchers on n objects each; all arrays have m rows.

    Samples of many displays, or all steps of one scanpath, are computed together.
    """

    places: FloatArray  # (m, n, 2), down and right
    target: IntArray
    guidance: FloatArray  # (m, longest)
    guided: BoolArray
    stop: FloatArray  # (m, 2), elsewhere and on the target
    span: IntArray  # of memory, fixations
    max_fixations: IntArray
    saccade_sd: FloatArray  # (m, 2)
    refixate: FloatArray
    inhibition: FloatArray
    momentum: FloatArray
    tail: FloatArray
    lapse: FloatArray

    @classmethod
    def of(
        cls, policies: Sequence[SearchPolicy], displays: Sequence[Display]
    ) -> "_Searchers":
        steps = [p.guidance or (0.0,) for p in policies]
        longest = max(map(len, steps))
        spans = [p.max_fixations if p.memory is None else p.memory for p in policies]
        return cls(
            np.stack([display.coordinates for display in displays]),
            np.array([display.target_cell for display in displays]),
            np.array([[*g, *[g[-1]] * (longest - len(g))] for g in steps]),
            np.array([len(p.guidance) > 0 for p in policies]),
            np.array([(p.stop_elsewhere, p.stop_on_target) for p in policies]),
            np.array(spans),
            np.array([p.max_fixations for p in policies]),
            *(np.array([getattr(p, name) for p in policies]) for name in _SAME_NAMES),
        )

    def take(self, rows: IntArray) -> "_Searchers":
        """Return some of them."""
        return _Searchers(*(getattr(self, field.name)[rows] for field in fields(self)))

    def next_tokens(
        self, here: IntArray, before: IntArray, recent: BoolArray, fixation: IntArray
    ) -> FloatArray:
        """Distributions of the token after the present fixation, shape (m, n + 1).

        `here` and `before` are the present object and that of the fixation before it
        (the same for a first fixation), shape (m,); `recent` are the objects that are
        inhibited, (m, n); `fixation` is the number of the present fixation, from 1.
        """
        m, n, _ = self.places.shape
        each = np.arange(m)
        on_target = here == self.target
        allowed = np.ones((m, n), bool)
        allowed[each, here] = False
        allowed[each[self.guided], self.target[self.guided]] = False
        moves, possible = self._moves(here, before, recent, allowed)
        place, target = self.places[each, here], self.places[each, self.target]
        # Whole distances stay whole where rounding put them a hair below.
        away = (np.hypot(*(place - target).T) + 1e-9).astype(np.int64)
        step = np.clip(away, 1, self.guidance.shape[1]) - 1
        jump = np.where(on_target, 0.0, self.guidance[each, step])
        stay = np.where(possible, self.refixate, 1.0)
        # The rows of `moves` that are empty stay so: the eye cannot move there.
        chances = moves * ((1 - jump) * (1 - stay))[:, None]
        chances[each, here] += (1 - jump) * stay
        chances[each, self.target] += jump
        over = fixation >= self.max_fixations
        stop = np.where(over, 1.0, self.stop[each, on_target.astype(np.int64)])
        return np.column_stack([chances * (1 - stop)[:, None], stop])

    def _moves(
        self, here: IntArray, before: IntArray, recent: BoolArray, allowed: BoolArray
    ) -> tuple[FloatArray, BoolArray]:
        """Where a move to another object goes, shape (m, n), and whether one can be."""
        each = np.arange(len(here))
        place = self.places[each, here]
        down, right = (self.places - place[:, None]).transpose(2, 0, 1)
        sd_down, sd_right = self.saccade_sd.T[:, :, None]
        q = (down / sd_down) ** 2 + (right / sd_right) ** 2
        # Logarithms, because far objects would all have weight 0 otherwise.
        weight = -q / 2
        if self.tail.any():
            with np.errstate(divide="ignore"):
                gauss, tail = np.log1p(-self.tail)[:, None], np.log(self.tail)[:, None]
            weight = np.logaddexp(gauss + weight, tail - np.sqrt(q))
        weight += np.where(recent, np.log(self.inhibition)[:, None], 0.0)
        if self.momentum.any():
            last = place - self.places[each, before]
            along = last[:, :1] * down + last[:, 1:] * right
            lengths = np.hypot(*last.T)[:, None] * np.hypot(down, right)
            cosine = np.divide(along, lengths, out=np.zeros_like(q), where=lengths > 0)
            weight += self.momentum[:, None] * cosine
        weight[~allowed] = -np.inf
        possible = np.asarray(allowed.any(axis=1))
        top = np.where(possible, weight.max(axis=1), 0.0)
        weight = np.exp(weight - top[:, None])
        total = np.where(possible, weight.sum(axis=1), 1.0)
        count = np.maximum(allowed.sum(axis=1), 1)
        moves = weight * ((1 - self.lapse) / total)[:, None]
        return moves + allowed * (self.lapse / count)[:, None], possible


def _first_objects(
    policies: Sequence[SearchPolicy], displays: Sequence[Display]
) -> FloatArray:
    """Distributions of the first object, shape (m, n)."""
    size = np.array([(d.height_px, d.width_px) for d in displays])[:, None]
    place = np.stack([d.centres_px[:, ::-1] for d in displays]) / size
    start = np.array([p.start for p in policies])[:, None]
    spread = np.array([p.start_sd for p in policies])[:, None]
    lapse = np.array([p.lapse for p in policies])[:, None]
    weight = -(((place - start) / spread) ** 2).sum(axis=2) / 2
    weight = np.exp(weight - weight.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    return np.asarray((1 - lapse) * weight + lapse / weight.shape[1])


_Job = tuple[SearchPolicy, Display, int]


def _walk(jobs: Sequence[_Job], seed: int) -> list[IntArray]:
    """Make one scanpath per policy, display and sample number, in that order."""
    paths: list[IntArray] = [np.empty(0, np.int64)] * len(jobs)
    sizes = np.array([display.n_cells for _, display, _ in jobs])
    for size in np.unique(sizes):
        same = np.flatnonzero(sizes == size)
        for some in np.split(same, range(_AT_ONCE, len(same), _AT_ONCE)):
            made = _walk_at_once([jobs[i] for i in some], seed)
            for i, path in zip(some, made, strict=True):
                paths[i] = path
    return paths


def _walk_at_once(jobs: Sequence[_Job], seed: int) -> list[IntArray]:
    policies, displays, _ = zip(*jobs, strict=True)
    longest = max(p.max_fixations for p in policies)
    # One number per token, so that no other scanpath moves the stream of this one.
    keys = [("search policy", d.stimulus_id, i) for _, d, i in jobs]
    draws = np.stack([generator(seed, *key).random(longest) for key in keys])
    searchers = _Searchers.of(policies, displays)
    m, n, _ = searchers.places.shape
    path = np.empty((m, longest), np.int64)
    lengths = np.ones(m, np.int64)
    last_visit = np.full((m, n), -1)
    path[:, 0] = _pick(_first_objects(policies, displays), draws[:, 0])
    on = np.arange(m)
    for t in range(longest - 1):
        here, before = path[on, t], path[on, max(t - 1, 0)]
        recent = last_visit[on] >= np.maximum(t - searchers.span, 0)[:, None]
        last_visit[on, here] = t
        chances = searchers.next_tokens(here, before, recent, np.full(len(on), t + 1))
        tokens = _pick(chances, draws[on, t + 1])
        goes_on = np.flatnonzero(tokens < n)
        on, searchers = on[goes_on], searchers.take(goes_on)
        if not len(on):
            break
        path[on, t + 1] = tokens[goes_on]
        lengths[on] += 1
    return [path[i, : lengths[i]].copy() for i in range(m)]


def _pick(chances: FloatArray, uniform: FloatArray) -> IntArray:
    """Draw one column per row by the inverse of the running sums."""
    sums = np.cumsum(chances, axis=1)
    # Below the last sum even where rounding would lift the product onto it.
    at = np.minimum(uniform * sums[:, -1], np.nextafter(sums[:, -1], 0))
    return np.asarray((sums <= at[:, None]).sum(axis=1), np.int64)
