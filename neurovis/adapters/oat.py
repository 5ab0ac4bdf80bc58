"""OAT: scanpaths over objects from an attention transformer.

The network reads the objects of a display and what is searched for, and foretells
fixations one by one, each as a distribution over the objects and the end. Fixating an
object again is possible; nothing is inhibited by rule.

Published: Fang, Yu, Zhang, van der Lans & Shi (2024), "OAT: Object-level attention
transformer for gaze scanpath prediction", ECCV. Objects come as pictures of 93 x 150
px, degrees do not enter. Trained on scanpaths, nothing is pretrained. Changed here: by
default the network is not told where the target is, positions are coded exactly instead
of by a fitted table, parameters that the published code never uses are left out, and
objects may lie anywhere.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from neurovis.adapters.described_weights import read_described_weights
from neurovis.adapters.oat_decoding import CachedDecoder, decode
from neurovis.adapters.oat_network import (
    TARGET_POSITIONS,
    OATConfig,
    OATNetwork,
    object_batch,
)
from neurovis.adapters.weights import (
    check_state_dict,
)
from neurovis.core.checks import check_between, check_option, check_path, check_whole
from neurovis.core.device import resolve
from neurovis.core.files import canonical_json, write_bytes
from neurovis.core.object_displays import Display, FloatArray, IntArray
from neurovis.core.object_scanpaths import ObjectTrial, check_cells
from neurovis.core.rng import generator
from neurovis.core.tensors import hash_state_dict

SHIPPED = ("shelf-searcher", "shelf-searcher-told")
"""Weights that come with the suite: small networks trained on simulated searchers. The
second is told where the target is."""
# Scanpaths that are decoded at once (a processor keeps that many in its caches), and
# displays that are encoded at once.
_AT_ONCE, _DISPLAYS_AT_ONCE = {"cpu": 512}, 32


@dataclass(frozen=True)
class OAT:
    """A trained OAT as an observer.

    Parameters
    ----------
    network : OATNetwork
        The network.
    max_fixations : int
        Where scanpaths are cut: the longest of the training data.
    name : str, default "oat"
        Name in tables.
    notes : tuple of str
        What a reader must know, such as what it was trained on.
    greedy : bool, default False
        Take the most probable token always, instead of drawing.

    Raises
    ------
    ValueError
        If `max_fixations` is below 1.
    """

    network: OATNetwork
    max_fixations: int
    name: str = "oat"
    notes: tuple[str, ...] = ()
    greedy: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_whole("max_fixations", self.max_fixations, low=1)
        self.network.eval()

    @property
    def knows(self) -> str:
        """What it is told of the target: "none", "appearance" or "position".

        By its look it can find the target anywhere on the display, at once: there is
        no acuity. Without looks it does not know the target.
        """
        return knowledge(self.network.config)

    @property
    def stochastic(self) -> bool:
        """Whether samples differ."""
        return not self.greedy

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that its responses depend on besides the display and the seed."""
        return {
            "observer": "OAT",
            "config": asdict(self.network.config),
            "weights": hash_state_dict(self.network.state_dict()),
            "max_fixations": self.max_fixations,
            "greedy": self.greedy,
        }

    # --------------------------------------------------------------- scanpaths

    def sample(self, display: Display, n_samples: int, seed: int = 0) -> list[IntArray]:
        """Make scanpaths on a display.

        Parameters
        ----------
        display : ObjectDisplay or FreeDisplay
            A display, with the appearance that the network needs.
        n_samples : int
            How many, >= 1.
        seed : int, default 0
            Each sample of each display draws from its own stream.

        Returns
        -------
        list of ndarray of int64, shape (n_fixations,)
            Objects, at least one each; all equal for a greedy observer.
        """
        return self.sample_displays([display], n_samples, seed)[0]

    @torch.inference_mode()
    def sample_displays(
        self,
        displays: Sequence[Display],
        n_samples: int,
        seed: int = 0,
        *,
        temperature: float = 1.0,
    ) -> list[list[IntArray]]:
        """Make scanpaths on many displays at once.

        Parameters
        ----------
        displays : sequence of ObjectDisplay or FreeDisplay
            Displays; their grids may differ.
        n_samples : int
            Scanpaths per display, >= 1.
        seed : int, default 0
            As in `sample`, which gives the same scanpaths.
        temperature : float, default 1
            Divides the logits, > 0; does not matter for a greedy observer.

        Returns
        -------
        list of list of ndarray of int64, shape (n_fixations,)
            For each display its scanpaths.

        Raises
        ------
        ValueError
            If a number is out of range, or a display does not suit the network.
        """
        check_whole("n_samples", n_samples, low=1)
        check_whole("seed", seed, low=0)
        check_between("temperature", temperature, low=1e-6)
        n_drawn = 1 if self.greedy else int(n_samples)
        step = _AT_ONCE.get(self._device.type, 4096) // n_drawn
        step = max(1, min(_DISPLAYS_AT_ONCE, step))
        made: list[list[IntArray]] = []
        for first in range(0, len(displays), step):
            part = displays[first : first + step]
            batch = object_batch(part, self.network.config).to(self._device)
            paths = decode(
                CachedDecoder(self.network, batch),
                n_samples=n_drawn,
                max_fixations=self.max_fixations,
                draws=None if self.greedy else self._draws(part, n_drawn, seed),
                temperature=temperature,
            ).numpy()
            made += [[path[path >= 0] for path in of_one] for of_one in paths]
        if self.greedy:
            return [[path.copy() for path in paths * n_samples] for paths in made]
        return made

    def _draws(self, displays: Sequence[Display], n_samples: int, seed: int) -> Tensor:
        draws = np.empty((len(displays), n_samples, self.max_fixations))
        for display, of_display in zip(displays, draws, strict=True):
            for sample, row in enumerate(of_display):
                generator(seed, "OAT", display.stimulus_id, sample).random(out=row)
        return torch.from_numpy(draws)

    # ----------------------------------------------------------- probabilities

    def token_probabilities(self, display: Display, cells: IntArray) -> FloatArray:
        """Give the distribution of each token of a scanpath after those before it.

        Parameters
        ----------
        display : ObjectDisplay or FreeDisplay
            What is looked at.
        cells : array-like of int, shape (n_fixations,)
            A scanpath, at least one object.

        Returns
        -------
        ndarray of float64, shape (n_fixations + 1, n_cells + 1)
            Rows sum to 1; the last column is the end, which has probability 0 as the
            first token.

        Raises
        ------
        TypeError, ValueError
            If an object is not on the display, or it does not suit the network.
        """
        cells = check_cells("cells", cells, display.n_cells)
        return (
            self._log_probabilities([ObjectTrial(display, "", cells)])[0].exp().numpy()
        )

    def log_likelihood(self, trials: Sequence[ObjectTrial]) -> list[FloatArray]:
        """Compute the log-probability of each token of scanpaths.

        Parameters
        ----------
        trials : sequence of ObjectTrial
            Scanpaths, on displays of any grids.

        Returns
        -------
        list of ndarray of float64, shape (n_fixations + 1,)
            Natural logarithms, of each object and of the end; their sum is the
            log-likelihood of the scanpath.

        Raises
        ------
        ValueError
            If a display does not suit the network.
        """
        made: list[FloatArray] = []
        for first in range(0, len(trials), _DISPLAYS_AT_ONCE):
            part = trials[first : first + _DISPLAYS_AT_ONCE]
            for trial, logs in zip(part, self._log_probabilities(part), strict=True):
                tokens = torch.from_numpy(trial.tokens)
                made.append(logs.gather(1, tokens[:, None])[:, 0].numpy())
        return made

    @torch.inference_mode()
    def _log_probabilities(self, trials: Sequence[ObjectTrial]) -> list[Tensor]:
        where = self._device
        displays = {trial.display.fingerprint: trial.display for trial in trials}
        place = {key: row for row, key in enumerate(displays)}
        batch = object_batch(list(displays.values()), self.network.config).to(where)
        rows = torch.tensor([place[t.display.fingerprint] for t in trials])
        cells = pad_cells([trial.cells for trial in trials])
        logits = self.network(batch, cells.to(where), rows.to(where))
        logits = logits.double().cpu()
        made = []
        for trial, own in zip(trials, logits, strict=True):
            n = trial.display.n_cells
            own = own[: len(trial.cells) + 1, : n + 1].clone()
            own[0, n] = -torch.inf
            made.append(own.log_softmax(dim=1))
        return made

    @torch.inference_mode()
    def attention(self, display: Display, cells: IntArray) -> FloatArray:
        """Tell which objects each step of a scanpath attends to.

        Parameters
        ----------
        display : ObjectDisplay or FreeDisplay
            What is looked at.
        cells : array-like of int, shape (n_fixations,)
            A scanpath.

        Returns
        -------
        ndarray of float64, shape (n_layers, n_fixations + 1, n_cells + 1)
            Attention of the decoder layers before each token, averaged over heads;
            the last column is the target token. Rows sum to 1.

        Raises
        ------
        TypeError, ValueError
            As `token_probabilities`.
        """
        cells = check_cells("cells", cells, display.n_cells)
        where = self._device
        batch = object_batch([display], self.network.config).to(where)
        looks: list[Tensor] = []
        rows = torch.zeros(1, dtype=torch.int64, device=where)
        self.network(batch, torch.from_numpy(cells)[None].to(where), rows, looks)
        return torch.cat(looks).double().cpu().numpy()

    # ------------------------------------------------------------------- files

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write weights and architecture to a file.

        Parameters
        ----------
        path : str or Path
            New ``.safetensors`` file.
        half : bool, default False
            Keep 16 bits of each weight: half the size, nats change by about 1e-3.

        Raises
        ------
        ValueError
            If the suffix is another one.
        PermissionError
            If it cannot be written.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise ValueError(f"`path` must end in .safetensors; got {path.name!r}.")
        state = {
            name: (value.half() if half else value).detach().cpu().contiguous()
            for name, value in self.network.state_dict().items()
        }
        about = {
            "config": asdict(self.network.config),
            "max_fixations": self.max_fixations,
            "notes": list(self.notes),
        }
        write_bytes(path, save(state, {"oat": canonical_json(about)}))


def knowledge(config: OATConfig) -> str:
    """Tell what a network is told of the target.

    Parameters
    ----------
    config : OATConfig
        Architecture.

    Returns
    -------
    str
        One of `neurovis.core.object_scanpaths.KNOWLEDGE`.

    Examples
    --------
    >>> knowledge(OATConfig(target_position="true"))
    'position'
    """
    if config.target_position == "true":
        return "position"
    return "none" if config.appearance == "none" else "appearance"


def shipped_name(target_position: str) -> str:
    """Name the shipped weights for what the network is told.

    Parameters
    ----------
    target_position : {"none", "true"}
        Whether it is told where the target is.

    Returns
    -------
    str
        One of `SHIPPED`.

    Examples
    --------
    >>> shipped_name("none")
    'shelf-searcher'
    """
    check_option("target_position", target_position, TARGET_POSITIONS)
    return SHIPPED[TARGET_POSITIONS.index(target_position)]


def pad_cells(paths: Sequence[NDArray[np.int64]]) -> Tensor:
    """Write scanpaths below each other, zeros at their ends.

    Parameters
    ----------
    paths : sequence of ndarray of int64, shape (n_fixations,)
        Scanpaths.

    Returns
    -------
    Tensor of int64, shape (n_paths, longest)
        Objects.

    Examples
    --------
    >>> pad_cells([np.array([1, 2]), np.array([3])])
    tensor([[1, 2],
            [3, 0]])
    """
    padded = np.zeros((len(paths), max(len(path) for path in paths)), np.int64)
    for row, path in zip(padded, paths, strict=True):
        row[: len(path)] = path
    return torch.from_numpy(padded)


def load_oat(
    name: str = "oat",
    *,
    weights: str | Path = SHIPPED[0],
    sha256: str | None = None,
    greedy: bool = False,
    device: str = "auto",
    label: str | None = None,
) -> OAT:
    """Read a trained OAT.

    Parameters
    ----------
    name : str, default "oat"
        Name in tables.
    weights : str or Path, default "shelf-searcher"
        A file that `OAT.save` or ``neurovis fit oat`` wrote, or the name of the
        weights that come with the suite.
    sha256 : str, optional
        Hash that the file must have.
    greedy : bool, default False
        Take the most probable token always.
    device : str, default "auto"
        Where to compute.
    label : str, optional
        Name in tables instead of `name`.

    Returns
    -------
    OAT
        The observer.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the file is missing or damaged.
    ValueError
        If it holds something else.

    Examples
    --------
    >>> from neurovis.core.object_displays import regular_display
    >>> observer = load_oat(device="cpu")
    >>> observer.notes[0][:24]
    'Trained on simulated sea'
    """
    where = resolve(device)
    if str(weights) in SHIPPED:
        source = resources.files("neurovis.adapters") / f"oat_{weights}.safetensors"
        with resources.as_file(source) as path:
            observer = _read(path, sha256)
    else:
        observer = _read(check_path("weights", weights), sha256)
    observer.network.to(where)
    return replace(observer, name=label or name, greedy=greedy)


def _read(path: Path, sha256: str | None) -> OAT:
    def understand(about: dict[str, Any]) -> OAT:
        network = OATNetwork(OATConfig(**about["config"]))
        notes = tuple(str(note) for note in about["notes"])
        return OAT(network, about["max_fixations"], notes=notes)

    state, observer = read_described_weights(
        path,
        "oat",
        understand,
        what="an OAT",
        writer="`neurovis fit oat` or OAT.save",
        sha256=sha256,
    )
    network = observer.network
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    check_state_dict(state, expected, str(path))
    network.load_state_dict({name: value.float() for name, value in state.items()})
    return observer
