"""The network of OAT: an encoder of objects, a decoder of fixations, a pointer.

References
----------
Fang, Yu, Zhang, van der Lans & Shi (2024). Oat: Object-level attention transformer for
gaze scanpath prediction. ECCV.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from neurovis.adapters.oat_appearance import (
    APPEARANCES,
    AppearanceCNN,
    FeatureMap,
    display_appearance,
)
from neurovis.adapters.oat_layers import (
    DecoderLayer,
    EncodedDisplays,
    EncoderLayer,
    ObjectAttention,
    sinusoids,
)
from neurovis.adapters.oat_positions import position_codes
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.object_displays import Display, ObjectDisplay
from neurovis.core.rng import torch_generator

TARGET_POSITIONS = ("none", "true")


@dataclass(frozen=True)
class OATConfig:
    """Architecture of OAT; the defaults are the published ones.

    Parameters
    ----------
    appearance : {"crops", "features", "none"}
        What the network sees of objects: pictures through its own small
        convolutional network, features through a linear map, or nothing.
    n_features : int, default 0
        Number of features, for "features".
    target_position : {"none", "true"}
        "none": the network gets the look of the target and has to find it. "true":
        it is also told where the target is, as published: no model of search.
    appearance_width, position_width : int, default 256
        Their sum is the width of tokens.
    n_heads, feedforward : int, default 4 and 512
        Heads, and width between the linear maps of a layer.
    n_encoder_layers, n_decoder_layers : int, default 4
        Layers.
    n_pointer_heads : int, default 2
        Heads of the attention that points at the next object.
    dropout : float, default 0.1
        Share that is dropped in training.
    raw_pixels : bool, default False
        Pictures enter as blue, green, red from 0 to 255, as published for the book
        covers, instead of red, green, blue from 0 to 1.

    Raises
    ------
    ValueError
        If numbers do not fit together.

    Examples
    --------
    >>> OATConfig().width
    512
    """

    appearance: str = "crops"
    n_features: int = 0
    target_position: str = "none"
    appearance_width: int = 256
    position_width: int = 256
    n_heads: int = 4
    feedforward: int = 512
    n_encoder_layers: int = 4
    n_decoder_layers: int = 4
    n_pointer_heads: int = 2
    dropout: float = 0.1
    raw_pixels: bool = False

    def __post_init__(self) -> None:
        check_option("appearance", self.appearance, APPEARANCES)
        check_option("target_position", self.target_position, TARGET_POSITIONS)
        for field in fields(self):
            if field.type in (int, "int") and field.name != "n_features":
                # Row, column and flag need a number each.
                low = 3 if field.name == "position_width" else 1
                check_whole(field.name, getattr(self, field.name), low=low)
        needs = self.appearance == "features"
        check_whole("n_features", self.n_features, low=1 if needs else 0)
        check_between("dropout", self.dropout, low=0.0, high=0.99)
        if self.width % self.n_heads or self.width % 2:
            raise ValueError(
                f"The width of tokens, {self.width}, must be even and a multiple of "
                f"`n_heads`, {self.n_heads}."
            )

    @property
    def width(self) -> int:
        """Width of tokens."""
        return self.appearance_width + self.position_width


@dataclass(frozen=True)
class ObjectBatch:
    """Displays as tensors, padded to the largest number of objects.

    Parameters
    ----------
    looks : Tensor or None, shape (n_displays, n_objects, ...)
        Pictures (3, 150, 93), or features.
    codes : Tensor, shape (n_displays, n_objects + 3, position_width)
        Position codes of the objects; then of the target token, of the start, and of
        the target as a fixated object.
    target, n_cells : Tensor of int64, shape (n_displays,)
        The target, and how many objects there are.
    """

    looks: Tensor | None
    codes: Tensor
    target: Tensor
    n_cells: Tensor

    @property
    def n_objects(self) -> int:
        """The largest number of objects."""
        return self.codes.shape[1] - 3

    @property
    def mask(self) -> Tensor | None:
        """True where an object or the target token is; None if it is everywhere."""
        n = self.n_objects
        if bool((self.n_cells == n).all()):
            return None
        place = torch.arange(n + 1, device=self.n_cells.device)
        return place <= self.n_cells[:, None]

    def to(self, device: torch.device) -> "ObjectBatch":
        """Move all tensors.

        Parameters
        ----------
        device : torch.device
            Where to.

        Returns
        -------
        ObjectBatch
            The same there.
        """
        looks = None if self.looks is None else self.looks.to(device)
        codes, target = self.codes.to(device), self.target.to(device)
        return ObjectBatch(looks, codes, target, self.n_cells.to(device))


def object_batch(displays: Sequence[Display], config: OATConfig) -> ObjectBatch:
    """Turn displays into tensors.

    Parameters
    ----------
    displays : sequence of ObjectDisplay or FreeDisplay
        At least one, with the appearance that the network needs.
    config : OATConfig
        Architecture.

    Returns
    -------
    ObjectBatch
        On the CPU, float32.

    Raises
    ------
    ValueError
        If there is no display, or one lacks the appearance, has another one, or more
        rows or columns than the position codes have places.
    """
    if not len(displays):
        raise ValueError("`displays` is empty: at least one is needed.")
    n = max(display.n_cells for display in displays)
    codes = np.zeros((len(displays), n + 3, config.position_width), np.float32)
    looks = []
    for row, display in enumerate(displays):
        own = display.n_cells
        places, flags = _places(display, config)
        made = position_codes(places, flags, width=config.position_width)
        codes[row, :own], codes[row, n:] = made[:own], made[own:]
        if config.target_position == "none":
            # Equal to the last bit, or the target would differ from the others.
            codes[row, n + 2] = made[display.target_cell]
        if config.appearance != "none":
            look = display_appearance(display, config.appearance, config.n_features)
            if config.raw_pixels and config.appearance == "crops":
                look = 255.0 * look.flip(1)
            looks.append(look)
    if looks:
        stacked = torch.zeros(len(looks), n, *looks[0].shape[1:])
        for row, look in enumerate(looks):
            stacked[row, : len(look)] = look
    return ObjectBatch(
        stacked if looks else None,
        torch.from_numpy(codes),
        torch.tensor([display.target_cell for display in displays]),
        torch.tensor([display.n_cells for display in displays]),
    )


def _places(display: Display, config: OATConfig) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and flags: objects, target token, start, target when fixated."""
    objects = display.coordinates
    if isinstance(display, ObjectDisplay):
        middle = np.array([display.rows // 2, display.cols // 2], np.float64)
    else:
        size = np.array([display.height_px, display.width_px])
        middle = np.maximum(size / display.pitch_px / 2 - 0.5, 0.0)
    known = config.target_position == "true"
    target = objects[display.target_cell]
    places = np.vstack([objects, target if known else middle, middle, target])
    flags = np.zeros(len(places), np.int64)
    # The target token is always marked; what is fixated only if its place is told.
    flags[len(objects)], flags[-1] = 1, int(known)
    return places, flags


class OATNetwork(nn.Module):
    """OAT: tokens of objects in, logits of the next fixation out.

    Parameters
    ----------
    config : OATConfig
        Architecture.
    seed : int, default 0
        Seed of the weights.
    """

    def __init__(self, config: OATConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        # Layers of torch draw weights when they are made: not from the caller's stream.
        with torch.random.fork_rng(devices=[]):
            self._build(config)
        self._initialise(seed)

    def _build(self, config: OATConfig) -> None:
        shape = config.width, config.n_heads, config.feedforward, config.dropout
        self.appearance: nn.Module | None = None
        if config.appearance == "crops":
            self.appearance = AppearanceCNN(config.appearance_width)
        elif config.appearance == "features":
            self.appearance = FeatureMap(config.n_features, config.appearance_width)
        self.encoder = nn.ModuleList(
            EncoderLayer(*shape) for _ in range(config.n_encoder_layers)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(*shape) for _ in range(config.n_decoder_layers)
        )
        self.pointer = ObjectAttention(config.width, config.n_pointer_heads)
        self.dropout = nn.Dropout(config.dropout)

    def _initialise(self, seed: int) -> None:
        draw = torch_generator(seed, "OAT weights")
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter, generator=draw)
        for module in self.modules():
            # As torch does, but from the stream of the seed.
            if isinstance(module, nn.Linear | nn.Conv2d):
                fan_in = module.weight[0].numel()
                assert module.bias is not None
                bound = fan_in**-0.5
                nn.init.uniform_(module.bias, -bound, bound, generator=draw)
        for name, parameter in self.named_parameters():
            if name.endswith(("in_proj_bias", "out_proj.bias")):
                nn.init.zeros_(parameter)

    # ------------------------------------------------------------------ tokens

    def _look(self, batch: ObjectBatch) -> tuple[Tensor, Tensor]:
        """Appearance of objects, (n_displays, n_objects, ...), and of the start."""
        width = self.config.appearance_width
        if self.appearance is None or batch.looks is None:
            none = batch.codes.new_zeros(*batch.codes.shape[:2], width)
            return none[:, : batch.n_objects], none[0, 0]
        blank = torch.ones_like(batch.looks[0, :1])
        flat = torch.cat([batch.looks.flatten(0, 1), blank])
        seen = self.appearance(flat)
        return seen[:-1].unflatten(0, batch.looks.shape[:2]), seen[-1]

    def embed(self, batch: ObjectBatch) -> tuple[Tensor, Tensor]:
        """Make tokens of objects.

        Parameters
        ----------
        batch : ObjectBatch
            Displays.

        Returns
        -------
        objects : Tensor, shape (n_displays, n_objects + 1, width)
            Input of the encoder: objects, and after the last one the target token.
        fixated : Tensor, shape (n_displays, n_objects + 1, width)
            Inputs of the decoder: each object as a fixation, the start at the end.
        """
        n, rows = batch.n_objects, torch.arange(len(batch.target))
        rows = rows.to(batch.target.device)
        look, start_look = self._look(batch)
        shelf = torch.cat([look, batch.codes[:, :n].to(look.dtype)], dim=-1)
        target_look = look[rows, batch.target]
        target, start, found = (
            torch.cat([part, batch.codes[:, n + k].to(look.dtype)], dim=-1)
            for k, part in enumerate(
                (target_look, start_look.expand_as(target_look), target_look)
            )
        )
        blank = shelf.new_zeros(len(rows), 1, shelf.shape[-1])
        objects = torch.cat([shelf, blank], dim=1)
        objects = objects.index_put((rows, batch.n_cells), target)
        fixated = torch.cat([shelf, start[:, None]], dim=1)
        return objects, fixated.index_put((rows, batch.target), found)

    def encode(self, batch: ObjectBatch) -> EncodedDisplays:
        """Encode displays, once for all scanpaths on them.

        Parameters
        ----------
        batch : ObjectBatch
            Displays.

        Returns
        -------
        EncodedDisplays
            What the decoder needs.
        """
        tokens, fixated = self.embed(batch)
        mask = batch.mask
        seen = None if mask is None else mask[:, None, None]
        for layer in self.encoder:
            tokens = layer(tokens, seen)
        keys = []
        for layer in self.decoder:
            attention = cast(DecoderLayer, layer).multihead_attn
            first, second = attention.project(tokens, 1, 2)
            keys.append((first, second))
        return EncodedDisplays(fixated, keys, self.pointer.project(tokens), mask)

    def fixation_tokens(self, fixated: Tensor, cells: Tensor) -> Tensor:
        """Return inputs of the decoder: fixated objects with their order.

        Parameters
        ----------
        fixated : Tensor, shape (n_sequences, n_objects + 1, width)
            From `embed`.
        cells : Tensor of int64, shape (n_sequences, n_tokens)
            Objects, from the start on; n_objects for the start.

        Returns
        -------
        Tensor, shape (n_sequences, n_tokens, width)
            Tokens.
        """
        rows = torch.arange(len(cells), device=cells.device)[:, None]
        order = sinusoids(0, cells.shape[1], self.config.width)
        return cast(Tensor, self.dropout(fixated[rows, cells] + order.to(fixated)))

    def forward(
        self,
        batch: ObjectBatch,
        cells: Tensor,
        display: Tensor,
        looks: list[Tensor] | None = None,
    ) -> Tensor:
        """Score every token of scanpaths after those before it.

        Parameters
        ----------
        batch : ObjectBatch
            Displays.
        cells : Tensor of int64, shape (n_sequences, n_fixations)
            Scanpaths, padded with anything at their ends.
        display : Tensor of int64, shape (n_sequences,)
            Which display each is on.
        looks : list, optional
            Gets the attention to objects of each decoder layer.

        Returns
        -------
        Tensor, shape (n_sequences, n_fixations + 1, n_objects + 2)
            Logits of the objects; of the end, at the number of objects of the
            display; of padding, last. Places without an object have -inf.
        """
        return self.decode(self.encode(batch).take(display), cells, looks)

    def decode(
        self,
        encoded: EncodedDisplays,
        cells: Tensor,
        looks: list[Tensor] | None = None,
    ) -> Tensor:
        """Score every token of scanpaths on displays that were encoded.

        Parameters
        ----------
        encoded : EncodedDisplays
            The display of every scanpath.
        cells : Tensor of int64, shape (n_sequences, n_fixations)
            Scanpaths, padded with anything at their ends.
        looks : list, optional
            As in `forward`.

        Returns
        -------
        Tensor, shape (n_sequences, n_fixations + 1, n_objects + 2)
            As `forward`.
        """
        n_objects = encoded.fixated.shape[1] - 1
        cells = cells.clamp(0, n_objects - 1)
        start = cells.new_full((len(cells), 1), n_objects)
        tokens = self.fixation_tokens(encoded.fixated, torch.cat([start, cells], 1))
        mask = None if encoded.mask is None else encoded.mask[:, None, None]
        for layer, objects in zip(self.decoder, encoded.keys, strict=True):
            tokens = layer(tokens, objects, mask, looks=looks)
        return cast(Tensor, self.pointer(tokens, encoded.pointed, encoded.mask))


def published_config(**changes: str | int | float | bool) -> OATConfig:
    """Return the published architecture, with changes.

    Parameters
    ----------
    **changes : object
        Fields of `OATConfig`.

    Returns
    -------
    OATConfig
        The architecture.

    Examples
    --------
    >>> network = OATNetwork(published_config())
    >>> sum(p.numel() for p in network.parameters())
    18255843
    """
    return replace(OATConfig(), **changes)  # type: ignore[arg-type]


def small_config(**changes: str | int | float | bool) -> OATConfig:
    """Return an architecture for some hundred scanpaths, with changes.

    Parameters
    ----------
    **changes : object
        Fields of `OATConfig`.

    Returns
    -------
    OATConfig
        Tokens of width 128, two layers of the encoder, three of the decoder.

    Examples
    --------
    >>> small_config(appearance="none").width
    128
    """
    small = OATConfig(
        appearance_width=64,
        position_width=64,
        feedforward=256,
        n_encoder_layers=2,
        n_decoder_layers=3,
    )
    return replace(small, **changes)  # type: ignore[arg-type]
