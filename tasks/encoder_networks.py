"""What a trained encoder can be: a readout of maps, perhaps with a core before it."""

from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from neurovis.adapters.brain_encoder import BrainEncoder
from neurovis.adapters.mask_encoder import MaskEncoder
from neurovis.adapters.response_core import (
    CoreConfig,
    ResponseCore,
    published_core,
    small_core,
)
from neurovis.adapters.unit_queries import UnitQueries
from neurovis.core.checks import check_option
from neurovis.fitting.readouts import FactorisedReadout, GaussianReadout
from neurovis.fitting.semantic_readout import SemanticSpatialReadout
from neurovis.fitting.vector_readouts import LinearReadout, VectorReadout
from tasks.encoder_options import CORES, QUERIED, EncoderOptions


class CoreReadout(nn.Module):
    """A core and the readout of its maps, trained together.

    Parameters
    ----------
    core : torch.nn.Module
        From pictures to maps.
    readout : torch.nn.Module
        From maps to units.
    """

    def __init__(self, core: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.core, self.readout = core, readout

    def forward(self, pictures: Tensor, *context: Tensor) -> Tensor:
        """Predict responses.

        Parameters
        ----------
        pictures : Tensor, shape (B, 3, H, W)
            Pictures.
        *context : Tensor
            What the readout takes beside maps.

        Returns
        -------
        Tensor, shape (B, n_units)
            Responses.
        """
        return cast(Tensor, self.readout(self.core(pictures), *context))

    def regulariser(self) -> Tensor:
        """Return the penalty of the readout.

        Returns
        -------
        Tensor, shape ()
            To be added to a loss.
        """
        return cast(Tensor, self.readout.regulariser())  # type: ignore[operator]

    def attention(self, pictures: Tensor) -> Tensor:
        """Return where the queries of the readout look.

        Parameters
        ----------
        pictures : Tensor, shape (B, 3, H, W)
            Pictures.

        Returns
        -------
        Tensor, shape (n_layers, B, n_queries, h, w)
            On the grid of the core.
        """
        maps = self.core(pictures)
        return cast(Tensor, self.readout.attention(maps))  # type: ignore[operator]


def core_config(core: str) -> CoreConfig:
    """Return the architecture of a core.

    Parameters
    ----------
    core : {"small", "rotation", "published"}
        An ordinary small network, one that turns with the picture, or the published
        rotation-equivariant one.

    Returns
    -------
    CoreConfig
        Architecture.
    """
    check_option("core", core, CORES)
    if core == "published":
        return published_core()
    return small_core(32, 1) if core == "small" else small_core(8, 8)


def core_shape(
    config: CoreConfig, picture: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Return the shape of the maps of a core.

    Parameters
    ----------
    config : CoreConfig
        Architecture.
    picture : tuple of int
        Colours, height and width.

    Returns
    -------
    tuple of int
        Channels, height and width.

    Raises
    ------
    ValueError
        If the core cannot look at pictures of that size.
    """
    colours, height, width = picture
    step = config.reduction
    if colours != 3 or height % step or width % step:
        raise ValueError(
            f"A core looks at pictures of 3 colours whose sides are multiples of {step}"
            f" px; got {picture}. Ask for control:pixels:pixels:gridK with such a K."
        )
    return config.n_channels, height // step, width // step


def build_network(
    options: EncoderOptions,
    in_shape: tuple[int, int, int],
    queries: UnitQueries | None,
    n_units: int,
    *,
    context_shape: tuple[int, int, int] | None = None,
    with_core: bool = False,
    parts: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build an untrained encoder.

    Parameters
    ----------
    options : EncoderOptions
        What it is.
    in_shape : tuple of int
        Channels, height and width of the maps, or of the pictures if there is a core.
    queries : UnitQueries, optional
        For readouts of `QUERIED`.
    n_units : int
        Units.
    context_shape : tuple of int, optional
        Shape of the second map, where `has_context`.
    with_core : bool, default False
        Whether a core comes first.
    parts : ndarray of int64, shape (n_units,), optional
        Hemisphere of each unit, for the penalty of "linear".
    seed : int, default 0
        Seed of the initial weights.

    Returns
    -------
    torch.nn.Module
        ``module(maps)``, or ``module(maps, context)``, gives (B, n_units).

    Raises
    ------
    ValueError
        If sizes do not go together.
    """
    core = None
    if with_core:
        layers = core_config(options.core)
        core = ResponseCore(layers, seed=seed)
        in_shape = core_shape(layers, in_shape)
    readout: nn.Module
    name = options.readout
    if name in QUERIED:
        assert queries is not None
        if name == "masks":
            width = None if options.config is None else options.config.width
            width = options.changes.get("width", width)
            readout = MaskEncoder(in_shape, queries, width=width, seed=seed)
        else:
            config = options.architecture(in_shape[0])
            readout = BrainEncoder(in_shape, queries, config, seed=seed)
    elif name == "factorised":
        readout = FactorisedReadout(in_shape, n_units, init_noise=0.01, seed=seed)
    elif name == "gaussian":
        readout = GaussianReadout(
            in_shape, n_units, covariance=options.covariance, seed=seed
        )
    elif name == "semantic-spatial":
        assert context_shape is not None
        readout = SemanticSpatialReadout(
            in_shape, n_units, context_shape=context_shape, seed=seed
        )
    elif name == "linear":
        readout = LinearReadout(in_shape, n_units, parts=parts, seed=seed)
    else:
        readout = VectorReadout(in_shape[0], n_units, seed=seed)
    return readout if core is None else CoreReadout(core, readout)


def resolved(
    options: EncoderOptions, in_shape: tuple[int, int, int], with_core: bool
) -> EncoderOptions:
    """Return options that depend on no default, to be kept with an encoder.

    Parameters
    ----------
    options : EncoderOptions
        As they were given.
    in_shape : tuple of int
        Channels, height and width of the maps, or of pictures.
    with_core : bool
        Whether a core comes first.

    Returns
    -------
    EncoderOptions
        With the architecture of the transformer, if it is one.
    """
    if options.readout != "transformer":
        return options
    shape = core_shape(core_config(options.core), in_shape) if with_core else in_shape
    return replace(options, config=options.architecture(shape[0]), changes={})
