"""Linear readouts: of maps after a convolution, and of one vector per picture."""

from collections.abc import Iterator, Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from neurovis.core.checks import check_between, check_whole
from neurovis.fitting.network_parts import check_parts
from neurovis.fitting.readouts_parts import check_shape, check_sizes
from neurovis.fitting.steps import seeded


class LinearReadout(nn.Module):
    """Weigh all places and channels of maps, after a convolution makes them fewer.

    ``y = W flatten(conv(x)) + b``, without a nonlinearity between the two.

    Parameters
    ----------
    in_shape : tuple of int
        Channels, height and width of the maps.
    n_units : int
        Number of units, >= 1.
    width : int, default 256
        Channels after the 3 x 3 convolution (with one pixel of zeros around).
    stride : int, default 3
        Its stride. Published: 3 for 31 x 31 places (11 x 11 stay), 2 for 16 x 16, 1
        for the last stage of a ResNet.
    weight : float, default 0.02
        Factor of `regulariser`, >= 0.
    parts : array-like of int, shape (n_units,), optional
        Group of each unit, such as its hemisphere; only `regulariser` depends on it.
    seed : int, default 0
        Seed of the initial values.

    Attributes
    ----------
    convolution : Conv2d
        From the maps to `width` channels.
    linear : Linear
        From all their places to units.
    parts : Tensor of int64, shape (n_units,), or None
        Group of each unit, from 0.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or a shape does not fit.

    Notes
    -----
    There are ``width * n_places * n_units`` weights: 31,000 per unit for 11 x 11.

    References
    ----------
    Adeli, Sun & Kriegeskorte (2025), doi:10.48550/arXiv.2505.17329, "linear".

    Examples
    --------
    >>> readout = LinearReadout((3, 8, 8), 5, width=4)
    >>> readout(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_units: int,
        *,
        width: int = 256,
        stride: int = 3,
        weight: float = 0.02,
        parts: ArrayLike | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.in_shape, self.n_units = check_sizes(in_shape, n_units)
        self.width = check_whole("width", width, low=1)
        self.stride = check_whole("stride", stride, low=1)
        self.weight = float(check_between("weight", weight, low=0))
        self.parts: Tensor | None
        number = None if parts is None else check_parts(parts, self.n_units)
        self.register_buffer("parts", None if number is None else torch.tensor(number))
        n_channels, *sides = self.in_shape
        places = [(side - 1) // self.stride + 1 for side in sides]
        with seeded(torch.device("cpu"), seed, "linear readout"):
            self.convolution = nn.Conv2d(n_channels, self.width, 3, self.stride, 1)
            self.linear = nn.Linear(self.width * places[0] * places[1], self.n_units)

    def forward(self, maps: Tensor) -> Tensor:
        """Predict responses.

        Parameters
        ----------
        maps : Tensor, shape (n_images, n_channels, H, W)
            Feature maps.

        Returns
        -------
        Tensor, shape (n_images, n_units)
            Responses.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        check_shape(maps, self.in_shape)
        maps = maps.to(self.convolution.weight.dtype)
        out: Tensor = self.linear(self.convolution(maps).flatten(1))
        return out

    def regulariser(self) -> Tensor:
        """Return ``weight`` times the sum of the Euclidean norms of all parameters.

        Each weight and each bias counts with its norm, not squared. With `parts` the
        last layer counts as one layer per part.

        Returns
        -------
        Tensor, shape ()
            To be added to a loss.
        """
        norms = [torch.linalg.vector_norm(p) for p in self._penalised()]
        return self.weight * torch.stack(norms).sum()

    def _penalised(self) -> Iterator[Tensor]:
        if self.parts is None:
            yield from self.parameters()
            return
        yield from self.convolution.parameters()
        for k in range(int(self.parts.max()) + 1):
            yield self.linear.weight[self.parts == k]
            yield self.linear.bias[self.parts == k]


class VectorReadout(nn.Module):
    """Weigh the entries of one vector per picture, such as a class token.

    ``y = W x + b``, without a penalty of its own.

    Parameters
    ----------
    n_features : int
        Entries of the vector, >= 1.
    n_units : int
        Number of units, >= 1.
    seed : int, default 0
        Seed of the initial values.

    Attributes
    ----------
    linear : Linear
        The weights.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or below 1.

    References
    ----------
    Adeli, Sun & Kriegeskorte (2025), doi:10.48550/arXiv.2505.17329, "CLS".

    Examples
    --------
    >>> VectorReadout(3, 5)(torch.ones(2, 3, 1, 1)).shape
    torch.Size([2, 5])
    """

    def __init__(self, n_features: int, n_units: int, *, seed: int = 0) -> None:
        super().__init__()
        self.n_features = check_whole("n_features", n_features, low=1)
        self.n_units = check_whole("n_units", n_units, low=1)
        with seeded(torch.device("cpu"), seed, "vector readout"):
            self.linear = nn.Linear(self.n_features, self.n_units)

    def forward(self, vectors: Tensor) -> Tensor:
        """Predict responses.

        Parameters
        ----------
        vectors : Tensor, shape (n_images, n_features) or (n_images, n_features, 1, 1)
            One vector per picture.

        Returns
        -------
        Tensor, shape (n_images, n_units)
            Responses.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        if tuple(vectors.shape[1:]) not in (
            (self.n_features,),
            (self.n_features, 1, 1),
        ):
            raise ValueError(
                f"`vectors` must have shape (n_images, {self.n_features}), or with 1, "
                f"1 behind it; got {tuple(vectors.shape)}."
            )
        out: Tensor = self.linear(vectors.flatten(1).to(self.linear.weight.dtype))
        return out
