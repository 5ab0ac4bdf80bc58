"""The factorised rival of the transformer brain encoder: masks that do not move.

Each query weighs the places of a feature map by a learned mask, the same for every
picture; units are linear in what their queries found. The transformer differs only in
that its queries look where the picture tells them to.

References
----------
Adeli, Sun & Kriegeskorte (2025). Transformer brain encoders explain human high-level
visual responses. NeurIPS. doi:10.48550/arXiv.2505.17329.
Klindt et al. (2017). Neural system identification for large populations separating
"what" and "where". NeurIPS. (masks and features apart)
"""

import torch
from torch import Tensor, nn

from neurovis.adapters.brain_encoder_layers import TokenReadout, flatten_maps, in_blocks
from neurovis.adapters.unit_queries import UnitQueries
from neurovis.core.checks import check_whole
from neurovis.core.rng import torch_generator

_MASK_START = 1e-3
_QUERIES_AT_ONCE = 4096


class MaskEncoder(nn.Module):
    """Predict responses of units from a feature map, by one fixed mask per query.

    ``t_q = sum_s softmax(S_q)_s F_s`` over places s of the map F; a unit reads the sum
    of the tokens t of its queries, as in `neurovis.adapters.brain_encoder`.

    Parameters
    ----------
    in_shape : tuple of int
        Channels, height and width of the maps.
    queries : UnitQueries
        Queries, and the units that they drive.
    width : int, optional
        Width of tokens. If given, a 1 x 1 convolution brings the maps to it, as
        published for CNNs; None: maps are used as they are.
    queries_at_once : int, default 4096
        With one query per unit: so many are read at once, and in training computed
        again in the backward pass, which saves memory.
    seed : int, default 0
        Seed of the initial weights.

    Attributes
    ----------
    masks : Parameter, shape (n_queries, H * W)
        S, row by row.
    readout : TokenReadout
        Weights of units.

    Raises
    ------
    TypeError, ValueError
        If a size does not fit.

    Notes
    -----
    Of the start of S only its kind is known, a learned array: here it is normal with
    standard deviation 0.001, so that masks start even.

    Examples
    --------
    >>> queries = UnitQueries(("V1", "FFA"), 3, [[1, 1, 0], [0, 1, 1]])
    >>> encoder = MaskEncoder((16, 5, 5), queries)
    >>> maps = torch.zeros(2, 16, 5, 5)
    >>> encoder(maps).shape, encoder.attention(maps).shape
    (torch.Size([2, 3]), torch.Size([1, 2, 2, 5, 5]))
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        queries: UnitQueries,
        *,
        width: int | None = None,
        queries_at_once: int = _QUERIES_AT_ONCE,
        seed: int = 0,
    ) -> None:
        super().__init__()
        n_channels, height, width_px = (
            check_whole("in_shape", n, low=1) for n in in_shape
        )
        self.in_shape, self.queries = (n_channels, height, width_px), queries
        self.n_units = queries.n_units
        self.queries_at_once = check_whole("queries_at_once", queries_at_once, low=1)
        self.masks = nn.Parameter(torch.empty(queries.n_queries, height * width_px))
        self.input_proj = None
        if width is not None:
            check_whole("width", width, low=1)
            # It draws weights when it is made: not from the caller's stream.
            with torch.random.fork_rng(devices=[]):
                self.input_proj = nn.Conv2d(n_channels, width, 1)
        self.readout = TokenReadout(queries, width or n_channels)
        draw = torch_generator(seed, "mask encoder")
        with torch.no_grad():
            self.masks.normal_(std=_MASK_START, generator=draw)
            parts: list[tuple[nn.Module, int]] = [(self.readout, width or n_channels)]
            if self.input_proj is not None:
                parts.append((self.input_proj, n_channels))
            for part, n_inputs in parts:
                bound = n_inputs**-0.5
                for parameter in part.parameters():
                    parameter.uniform_(-bound, bound, generator=draw)

    def tokens(self, maps: Tensor) -> Tensor:
        """Return what each query found.

        Parameters
        ----------
        maps : Tensor, shape (B, n_channels, H, W)
            Feature maps.

        Returns
        -------
        Tensor, shape (B, n_queries, width)
            From these the units are read.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        patches = flatten_maps(maps, self.in_shape, self.input_proj)
        return self.masks.softmax(dim=-1) @ patches

    def forward(self, maps: Tensor) -> Tensor:
        """Predict responses.

        Parameters
        ----------
        maps : Tensor, shape (B, n_channels, H, W)
            Feature maps.

        Returns
        -------
        Tensor, shape (B, n_units)
            Responses.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        if self.queries.mask is not None:
            found: Tensor = self.readout(self.tokens(maps))
            return found
        patches = flatten_maps(maps, self.in_shape, self.input_proj)

        def read(masks: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            tokens = masks.softmax(dim=-1) @ patches
            return (tokens * weight).sum(dim=-1) + bias

        parts = self.masks, self.readout.weight, self.readout.bias
        return in_blocks(read, parts, self.queries_at_once, is_trained=self.training)

    @torch.no_grad()
    def attention(self, maps: Tensor) -> Tensor:
        """Return where queries look, which is the same in every picture.

        Parameters
        ----------
        maps : Tensor, shape (B, n_channels, H, W)
            Feature maps.

        Returns
        -------
        Tensor of float32, shape (1, B, n_queries, H, W)
            Each map sums to 1. Map i belongs to query i of ``queries.names``. Pictures
            share memory.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        flatten_maps(maps, self.in_shape)
        shares = self.masks.float().softmax(dim=-1)
        shares = shares.view(1, 1, -1, *self.in_shape[1:])
        return shares.expand(-1, len(maps), -1, -1, -1)
