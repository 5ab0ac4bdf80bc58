"""A small CLIP, trained here: it compares drawings with captions.

One tower looks at drawings of 32 x 32 pixels, the other reads the words of a caption in
any order; both end in 64 values (Radford et al. 2021, arXiv:2103.00020). The direction
of an embedding tells what is shown; its length is left free and carries information
too. ``neurovis train captioner`` makes such a file.
"""

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from neurovis.adapters.described_weights import read_described_weights
from neurovis.adapters.trunks import INPUT_FORMATS
from neurovis.adapters.weights import check_state_dict
from neurovis.core.checks import check_option, check_path, suggest
from neurovis.core.files import canonical_json, write_bytes
from neurovis.core.rng import own_torch_stream
from neurovis.generation.sketch_networks import SIDE_PX

N_FEATURES = 64
"""Values of an embedding."""

PIXELS = INPUT_FORMATS["imagenet"]
"""Format of the pixels that `SketchClip.forward` takes."""

SHIPPED = "sketch_clip.safetensors"
"""File that comes with the suite."""

SHIPPED_SHA256 = "a88fedd2b4267ed9da75abfc0cf7aa87669ce366d54a50e59c3236db6015c8cd"

_WIDTHS = (16, 32, 64, 128)
_TEXT_WIDTH = 128
_START_SCALE = 2.66  # log of 1 / 0.07, as CLIP starts
_LARGEST_SCALE = 4.6  # log of 100, as CLIP limits it
_ABOUT = "sketch_clip"


class SketchClip(nn.Module):
    """Two towers that end in one space.

    Parameters
    ----------
    vocabulary : sequence of str
        Words that it can read, in lower case, all different.
    about : mapping, optional
        How its weights came about, as JSON values: `notes`, `recipe`, `seed`.
    trained : bool, default False
        False for random weights.

    Raises
    ------
    ValueError
        If there are none, or a word repeats.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        about: Mapping[str, Any] | None = None,
        *,
        trained: bool = False,
    ) -> None:
        super().__init__()
        if not vocabulary or len(set(vocabulary)) != len(vocabulary):
            raise ValueError(
                f"`vocabulary` must be different words; got {len(vocabulary)}, of "
                f"which {len(set(vocabulary))} are different."
            )
        self.vocabulary = tuple(vocabulary)
        self.about = dict(about or {})
        self.trained = trained
        self._numbers = {word: i for i, word in enumerate(self.vocabulary)}
        pairs = zip((3, *_WIDTHS[:-1]), _WIDTHS, strict=True)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        # Over drawings, not within one: how light and how colourful it is must stay.
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in _WIDTHS)
        self.image_head = nn.Linear(_WIDTHS[-1], N_FEATURES)
        self.words = nn.Embedding(len(self.vocabulary), _TEXT_WIDTH)
        self.text_hidden = nn.Linear(_TEXT_WIDTH, _TEXT_WIDTH)
        self.text_head = nn.Linear(_TEXT_WIDTH, N_FEATURES)
        self.log_scale = nn.Parameter(torch.tensor(_START_SCALE))

    def forward(self, images: Tensor) -> Tensor:
        """Embed images; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, 32, 32)
            Drawings, normalised as `PIXELS` says.

        Returns
        -------
        Tensor of float32, shape (n, 64)
            Embeddings, not of length 1.
        """
        x = images.contiguous(memory_format=torch.channels_last)
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = F.relu(norm(layer(x)))
            if i < len(_WIDTHS) - 1:
                x = F.avg_pool2d(x, 2)
        embedded: Tensor = self.image_head(x.mean((2, 3)))
        return embedded

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images of plain levels; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, 32, 32), 0..1
            Drawings.

        Returns
        -------
        Tensor of float32, shape (n, 64)
            Embeddings, not of length 1.

        Raises
        ------
        ValueError
            If the shape is another one.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, SIDE_PX, SIDE_PX):
            raise ValueError(
                f"`images` must have shape (n, 3, {SIDE_PX}, {SIDE_PX}); got "
                f"{tuple(images.shape)}."
            )
        mean, std = (
            images.new_tensor(values)[:, None, None] / 255
            for values in (PIXELS.mean, PIXELS.std)
        )
        embedded: Tensor = self((images - mean) / std)
        return embedded

    def embed_tokens(self, tokens: Tensor, counted: Tensor) -> Tensor:
        """Embed texts given as numbers of words; gradients flow.

        Parameters
        ----------
        tokens : Tensor of int64, shape (n, length)
            Numbers of words in the vocabulary.
        counted : Tensor of bool, shape (n, length)
            Which of them belong to the text, at least one in each row.

        Returns
        -------
        Tensor of float32, shape (n, 64)
            Embeddings, not of length 1.
        """
        share = counted / counted.sum(1, keepdim=True)
        mean = torch.einsum("nl,nlw->nw", share, self.words(tokens))
        embedded: Tensor = self.text_head(F.gelu(self.text_hidden(mean)))
        return embedded

    def read_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the words of texts as numbers.

        Parameters
        ----------
        texts : sequence of str
            Texts of any case; punctuation, and words that it cannot read, are left
            out.

        Returns
        -------
        tokens : Tensor of int64, shape (n, length)
            Numbers of words, on the CPU; filled up with 0.
        counted : Tensor of bool, shape (n, length)
            Which are words of the text.

        Raises
        ------
        TypeError
            If `texts` is one string.
        ValueError
            If none of the words of a text can be read.
        """
        if isinstance(texts, str):
            raise TypeError(f"`texts` must be a list of texts; got {texts!r}.")
        rows = []
        for text in texts:
            words = re.findall(r"\w+", text.lower())
            row = [self._numbers[word] for word in words if word in self._numbers]
            if not row:
                hint = suggest(words[0], self.vocabulary) if words else ""
                raise ValueError(
                    f"None of the words of {text!r} can be read: the network knows "
                    f"{len(self.vocabulary)} words of captions of drawings.{hint}"
                )
            rows.append(torch.tensor(row))
        if not rows:
            empty = torch.zeros(0, 1, dtype=torch.int64)
            return empty, empty.bool()
        filled = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        return filled.clamp(min=0), filled >= 0

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts; the order of words does not matter.

        Parameters
        ----------
        texts : sequence of str
            Texts of any case; punctuation, and words that it cannot read, are left
            out.

        Returns
        -------
        Tensor of float32, shape (n, 64)
            Embeddings on the device of the network, not of length 1.

        Raises
        ------
        TypeError
            If `texts` is one string.
        ValueError
            If none of the words of a text can be read.
        """
        tokens, counted = self.read_texts(texts)
        place = self.words.weight.device
        return self.embed_tokens(tokens.to(place), counted.to(place))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know."""
        return tuple(str(note) for note in self.about.get("notes", ()))

    @property
    def scale(self) -> Tensor:
        """Factor of cosines in the loss of training, at most 100."""
        return self.log_scale.clamp(max=_LARGEST_SCALE).exp()


def build_sketch_clip(vocabulary: Sequence[str], seed: int) -> SketchClip:
    """Build the network with the random weights that a training starts from.

    Parameters
    ----------
    vocabulary : sequence of str
        Words that it can read.
    seed : int
        Seed of the weights, >= 0.

    Returns
    -------
    SketchClip
        In training mode.

    Raises
    ------
    TypeError, ValueError
        If the vocabulary or the seed is none.
    """
    note = f"A small CLIP of drawings with random weights (seed {seed})."
    with own_torch_stream(seed, "sketch clip"):
        return SketchClip(vocabulary, {"notes": [note], "seed": seed})


def save_sketch_clip(
    path: str | Path,
    state: Mapping[str, Tensor],
    vocabulary: Sequence[str],
    about: Mapping[str, Any],
) -> None:
    """Write weights; equal weights give equal bytes.

    Parameters
    ----------
    path : str or Path
        File that ends in ``.safetensors``.
    state : mapping of str to Tensor
        State dictionary of a `SketchClip` with that vocabulary.
    vocabulary : sequence of str
        Words that it can read.
    about : mapping
        JSON values: `notes`, and how the weights came about.

    Raises
    ------
    ValueError
        If the suffix is another one or names or shapes do not fit.
    """
    path = Path(path)
    check_option("suffix of path", path.suffix, (".safetensors",))
    check_state_dict(state, _shapes(vocabulary), "`state`")
    text = canonical_json({**about, "vocabulary": list(vocabulary)})
    kept = {name: state[name].detach().cpu().contiguous() for name in sorted(state)}
    write_bytes(path, save(kept, {_ABOUT: text}))


def _shapes(vocabulary: Sequence[str]) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        network = SketchClip(vocabulary)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def load_sketch_clip(
    weights: str | Path = "shipped", *, sha256: str | None = None
) -> SketchClip:
    """Read a network, or draw random weights.

    Parameters
    ----------
    weights : str or Path, default "shipped"
        ``"shipped"`` for the weights that come with the suite; ``"seeded:N"`` for the
        random ones that their training would start from; or a file that ``neurovis
        train captioner`` wrote.
    sha256 : str, optional
        Hash that the file must have; that of the shipped file is always checked.

    Returns
    -------
    SketchClip
        On the CPU, in evaluation mode, without gradients of its weights.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    DataCorruptError
        If it is damaged or has another hash.
    ValueError
        If it holds something else.

    Examples
    --------
    >>> network = load_sketch_clip()
    >>> images = torch.rand(2, 3, 32, 32)
    >>> network.embed_images(images).shape
    torch.Size([2, 64])
    >>> network.embed_texts(["a red fruit ."]).shape
    torch.Size([1, 64])
    """
    asked = str(weights)
    found = re.fullmatch(r"seeded:(\d{1,9})", asked, re.ASCII)
    if asked.startswith("seeded:") and found is None:
        raise ValueError(
            f"`weights` must look like 'seeded:0' (at most nine digits); got {asked!r}."
        )
    if asked != "shipped" and found is None:
        return _read(check_path("weights", weights), sha256)
    source = resources.files("neurovis.adapters") / SHIPPED
    with resources.as_file(source) as path:
        shipped = _read(path, SHIPPED_SHA256)
    if found is None:
        return shipped
    seeded = build_sketch_clip(shipped.vocabulary, int(found[1]))
    return seeded.eval().requires_grad_(False)


def _read(path: Path, sha256: str | None) -> SketchClip:
    def understand(about: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        return about, _shapes([str(word) for word in about["vocabulary"]])

    state, (about, shapes) = read_described_weights(
        path,
        _ABOUT,
        understand,
        what="a small CLIP",
        writer="`neurovis train captioner`",
        sha256=sha256,
    )
    vocabulary = [str(word) for word in about["vocabulary"]]
    check_state_dict(state, shapes, str(path))
    # What it draws is replaced; the caller's generator must not notice.
    with own_torch_stream(0, "not used"):
        network = SketchClip(vocabulary, about, trained=True)
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)
