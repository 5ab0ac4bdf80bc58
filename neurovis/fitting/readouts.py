"""Readouts: from the feature maps of a picture to the responses of many units.

Both are modules that a training loop can use (`neurovis.fitting.train.train`) on top
of a network or of stored maps; `neurovis.fitting.readouts_fit.fit_readout` is such a
loop. `GaussianReadout` reads the maps at one point per unit, `FactorisedReadout`
weighs pixels and channels separately.
"""

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from neurovis.core.checks import check_between, check_option
from neurovis.core.rng import torch_generator
from neurovis.fitting.readouts_parts import (
    by_units,
    centred_coordinates,
    check_positive,
    check_shape,
    check_sizes,
    make_bias,
    make_predictor,
    read_points,
)

COVARIANCES = ("full", "uncorrelated", "isotropic", "legacy")
"""How points scatter during training."""


class GaussianReadout(nn.Module):
    """Read maps at one point per unit, which is blurred by noise during training.

    ``y_n = sum_c a_nc x_c(location_n) + b_n``, with bilinear interpolation between the
    centres of pixels. In training mode the location is drawn anew for every picture,
    ``mu_n + Sigma_n epsilon`` with standard normal epsilon, so that its gradient sees
    more than the next pixels; in evaluation mode it is mu.

    Parameters
    ----------
    in_shape : tuple of int
        Channels, height and width of the maps.
    n_units : int
        Number of units, >= 1.
    covariance : {"full", "uncorrelated", "isotropic", "legacy"}
        Sigma of each unit: a 2 x 2 matrix, one number per axis, or one number.
        "legacy" is one number per axis that is kept >= 0, and other ranges.
    mu_range : float, optional
        mu starts uniform in ± this, in (0, 1]: 0.1, for "legacy" 0.5.
    init_sigma : float, optional
        Start of sigma, > 0: each entry of a "full" matrix is uniform in ± this, for
        "legacy" uniform from 0 to this, else equal to it. 1, for "legacy" 0.5.
    has_bias : bool, default True
        Whether there is a constant b.
    mean_response : array-like, shape (n_units,), optional
        Start of b; 0 by default.
    coordinates : array-like, shape (n_units, n_axes), optional
        Places of the units in the brain. If given, mu is no parameter but predicted
        from them, centred and divided by their largest absolute value.
    hidden : sequence of int, default ()
        Widths of the layers between coordinates and mu, with ELU; none: linear.
    has_tanh : bool, default True
        Whether tanh keeps the predicted mu inside of the maps.
    sample_per_image : bool, default True
        Whether every picture of a batch gets locations of its own.
    weight : float, default 1
        Factor of `regulariser`, >= 0.
    seed : int, default 0
        Seed of the initial values.

    Attributes
    ----------
    sigma : Parameter, shape (n_units, 2, 2), (n_units, 2) or (n_units, 1)
        Square root of the covariance.
    features : Parameter, shape (n_units, n_channels)
        Weights a; they start at 1 / n_channels.
    bias : Parameter, shape (n_units,), or None
        Constants b.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown, a number out of range, or a shape does not fit.

    Notes
    -----
    Locations are (x, y) from -1 (centre of the left, or upper, pixels) to 1 (right,
    or lower), and are clamped to that range; so is mu, at every call.

    Noise is drawn on the CPU, from `generator` or torch's default one (which
    `neurovis.fitting.train.train` seeds for every batch).

    References
    ----------
    Lurz et al. (2021), doi:10.1101/2020.10.05.326256.

    Examples
    --------
    >>> readout = GaussianReadout((3, 8, 8), 5).eval()
    >>> readout(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_units: int,
        *,
        covariance: str = "full",
        mu_range: float | None = None,
        init_sigma: float | None = None,
        has_bias: bool = True,
        mean_response: ArrayLike | None = None,
        coordinates: ArrayLike | None = None,
        hidden: Sequence[int] = (),
        has_tanh: bool = True,
        sample_per_image: bool = True,
        weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_option("covariance", covariance, COVARIANCES)
        is_legacy = covariance == "legacy"
        mu_range = (0.5 if is_legacy else 0.1) if mu_range is None else mu_range
        init_sigma = (0.5 if is_legacy else 1.0) if init_sigma is None else init_sigma
        check_positive("mu_range", mu_range, 1)
        check_positive("init_sigma", init_sigma)
        self.in_shape, self.n_units = check_sizes(in_shape, n_units)
        self.covariance, self.sample_per_image = covariance, sample_per_image
        self.has_tanh = has_tanh
        self.weight = float(check_between("weight", weight, low=0))
        draw = torch_generator(seed, "gaussian readout")
        self._mu: nn.Parameter | None = None
        self.predictor: nn.Module | None = None
        if coordinates is None:
            start = torch.empty(self.n_units, 2)
            self._mu = nn.Parameter(start.uniform_(-mu_range, mu_range, generator=draw))
        else:
            places = centred_coordinates(coordinates, self.n_units)
            self.register_buffer("coordinates", places)
            self.predictor = make_predictor(places.shape[1], hidden, has_tanh, seed)
        shapes = {"full": (2, 2), "isotropic": (1,)}
        sigma = torch.full((self.n_units, *shapes.get(covariance, (2,))), init_sigma)
        if covariance == "full":
            sigma.uniform_(-init_sigma, init_sigma, generator=draw)
        elif is_legacy:
            sigma.uniform_(0, init_sigma, generator=draw)
        self.sigma = nn.Parameter(sigma)
        n_channels = self.in_shape[0]
        self.features = nn.Parameter(
            torch.full((self.n_units, n_channels), 1 / n_channels)
        )
        self.bias = make_bias(has_bias, mean_response, self.n_units)

    @property
    def mu(self) -> Tensor:
        """Mean locations (x, y), shape (n_units, 2)."""
        if self._mu is not None:
            return self._mu
        assert self.predictor is not None
        predicted: Tensor = self.predictor(self.coordinates)
        return predicted

    def locations(
        self,
        n_images: int,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return where the maps are read.

        Parameters
        ----------
        n_images : int
            Pictures in the batch.
        noise : Tensor, shape (n_images or 1, n_units, 2), optional
            epsilon; drawn in training mode, 0 in evaluation mode by default.
        generator : torch.Generator, optional
            Where it is drawn from; on the CPU.

        Returns
        -------
        Tensor, shape (n_images or 1, n_units, 2)
            x and y within [-1, 1].

        Raises
        ------
        ValueError
            If `noise` has another shape.
        """
        # Projected, not clamped on the way: what lies outside could not come back.
        # On `data`, because a backward pass to come does not need the old values.
        if self._mu is not None:
            self._mu.data.clamp_(-1, 1)
        if self.covariance == "legacy":
            self.sigma.data.clamp_(min=0)
        n_draws = n_images if self.sample_per_image else 1
        if noise is None and self.training:
            noise = torch.randn(n_draws, self.n_units, 2, generator=generator)
        mu = self.mu[None]
        if noise is None:
            return mu.clamp(-1, 1)
        if noise.ndim != 3 or noise.shape[1:] != mu.shape[1:]:
            raise ValueError(
                f"`noise` must have shape ({n_images} or 1, {self.n_units}, 2); got "
                f"{tuple(noise.shape)}."
            )
        noise = noise.to(self.sigma)
        if self.covariance == "full":
            moved = torch.einsum("ncd,bnd->bnc", self.sigma, noise)
        else:
            moved = self.sigma * noise
        return (mu + moved).clamp(-1, 1)

    def forward(
        self,
        maps: Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Predict responses.

        Parameters
        ----------
        maps : Tensor, shape (n_images, n_channels, H, W)
            Feature maps.
        noise : Tensor, optional
            As `locations`.
        generator : torch.Generator, optional
            As `locations`.

        Returns
        -------
        Tensor, shape (n_images, n_units)
            Responses.

        Raises
        ------
        ValueError
            If a shape does not fit.
        """
        check_shape(maps, self.in_shape)
        n_images, n_channels, height, width = maps.shape
        places = self.locations(n_images, noise=noise, generator=generator)
        if len(places) not in (1, n_images):
            raise ValueError(
                f"`noise` must be for {n_images} pictures or for 1; got {len(places)}."
            )
        # Channels last, so that a point is one row.
        table = maps.permute(0, 2, 3, 1).reshape(-1, n_channels).to(places.dtype)

        def read(at: slice) -> Tensor:
            points = places[:, at].expand(n_images, -1, -1)
            return read_points(table, points, height, width, self.features[at])

        out = by_units(read, self.n_units, n_images * n_channels)
        return out if self.bias is None else out + self.bias

    def regulariser(self) -> Tensor:
        """Return ``weight`` times the sum of the absolute feature weights.

        Returns
        -------
        Tensor, shape ()
            To be added to a loss.
        """
        return self.weight * self.features.abs().sum()


class FactorisedReadout(nn.Module):
    """Weigh pixels with one mask per unit, and channels with one vector per unit.

    ``y_n = sum_c a_nc sum_hw x_chw s_nhw + b_n``; the mask s is the parameter, divided
    by its norm (+ 1e-6) where `normalise` says so.

    Parameters
    ----------
    in_shape : tuple of int
        Channels, height and width of the maps.
    n_units : int
        Number of units, >= 1.
    normalise : bool, default True
        Divide masks by their Euclidean norm.
    positive : {None, "clamp", "abs"}
        "clamp" sets negative entries of normalised masks to 0 (their gradient stays,
        so that they can come back) and keeps feature weights >= 0; "abs" takes the
        absolute values of masks.
    init_noise : float, default 1e-3
        Standard deviation of the initial values, > 0.
    has_bias : bool, default True
        Whether there is a constant b.
    mean_response : array-like, shape (n_units,), optional
        Start of b; 0 by default.
    l1 : {"intended", "published"}
        `regulariser`: for each unit the product of the L1 norms of mask and features,
        summed over units; or, as public code has it, the product of the two sums.
    weight : float, default 1
        Factor of `regulariser`, >= 0.
    seed : int, default 0
        Seed of the initial values.

    Attributes
    ----------
    spatial : Parameter, shape (n_units, H, W)
        Masks before normalisation.
    features : Parameter, shape (n_units, n_channels)
        Weights a.
    bias : Parameter, shape (n_units,), or None
        Constants b.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown, a number out of range, or a shape does not fit.

    References
    ----------
    Klindt et al. (2017), doi:10.48550/arXiv.1711.02653.

    Examples
    --------
    >>> readout = FactorisedReadout((3, 8, 8), 5)
    >>> readout(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_units: int,
        *,
        normalise: bool = True,
        positive: str | None = None,
        init_noise: float = 1e-3,
        has_bias: bool = True,
        mean_response: ArrayLike | None = None,
        l1: str = "intended",
        weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.in_shape, self.n_units = check_sizes(in_shape, n_units)
        self.normalise = normalise
        self.positive = check_option("positive", positive, (None, "clamp", "abs"))
        self.l1 = check_option("l1", l1, ("intended", "published"))
        self.weight = float(check_between("weight", weight, low=0))
        check_positive("init_noise", init_noise)
        draw = torch_generator(seed, "factorised readout")
        n_channels, height, width = self.in_shape
        masks = torch.empty(self.n_units, height, width)
        self.spatial = nn.Parameter(masks.normal_(0, init_noise, generator=draw))
        channels = torch.empty(self.n_units, n_channels)
        self.features = nn.Parameter(channels.normal_(0, init_noise, generator=draw))
        self.bias = make_bias(has_bias, mean_response, self.n_units)

    def masks(self) -> Tensor:
        """Return the masks that weigh pixels.

        Returns
        -------
        Tensor, shape (n_units, H, W)
            Normalised and positive, as the options say.
        """
        masks: Tensor = self.spatial
        if self.normalise:
            norms = torch.linalg.vector_norm(masks, dim=(1, 2), keepdim=True)
            masks = masks / (norms + 1e-6)
        if self.positive == "abs":
            return masks.abs()
        if self.positive == "clamp":
            return masks + (masks.clamp(min=0) - masks).detach()
        return masks

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
        if self.positive == "clamp":
            self.features.data.clamp_(min=0)
        n_images, n_channels = maps.shape[:2]
        masks = self.masks().flatten(1)
        flat = maps.flatten(2).to(masks.dtype)

        def read(at: slice) -> Tensor:
            pooled = functional.linear(flat, masks[at])
            return torch.einsum("bcn,nc->bn", pooled, self.features[at])

        out = by_units(read, self.n_units, n_images * n_channels)
        return out if self.bias is None else out + self.bias

    def regulariser(self) -> Tensor:
        """Return ``weight`` times the L1 penalty that `l1` names.

        Returns
        -------
        Tensor, shape ()
            To be added to a loss.
        """
        masks = self.masks().abs().sum((1, 2))
        features = self.features.abs().sum(1)
        if self.l1 == "intended":
            return self.weight * (masks * features).sum()
        return self.weight * masks.sum() * features.sum()
