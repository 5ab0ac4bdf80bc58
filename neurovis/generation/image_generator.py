"""A diffusion model as all verbs see it: what it denoises, and how that is shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.generation.noise_levels import PREDICTIONS


@dataclass(frozen=True, eq=False)
class ImageGenerator:
    """A denoising network with its decoder and the noise that it was trained with.

    Parameters
    ----------
    name : str
        Name in tables and figures.
    denoiser : torch.nn.Module
        Called as ``denoiser(x, step)`` or, with a `condition`, as
        ``denoiser(x, step, condition)``; what it returns has an attribute `sample`.
    decoder : torch.nn.Module or None
        From what is denoised, divided by `scaling`, to pictures of -1..1; None for
        networks that denoise the pictures themselves.
    shape : tuple of int
        Channels, height and width of what is denoised.
    scheduler : mapping
        Noise of the training, as the schedulers of diffusers take it.
    scaling : float, default 1
        What latents are divided by before they are decoded.
    condition : Tensor or None, shape (1, n_tokens, n_features)
        Embedding of the empty text, for networks that look at one.
    clean_limit : float or None, default None
        Values of a clean sample lie within ± this; predictions are cut there.
    size_px : tuple of int, default (0, 0)
        Height and width of its pictures.
    trained : bool, default True
        False for random weights.
    notes : tuple of str, default ()
        What a reader of results must know.
    fingerprint : str, default ""
        SHA-256 over all weights, and over the prompt.
    prompt : Tensor or None, shape (1, n_tokens, n_features), default None
        Embedding of a text that images are to show, for networks with a `condition`.
    prompt_scale : float, default 1
        Strength of classifier-free guidance by the prompt: 0 leaves it out, 1 predicts
        under the prompt alone, more overdoes the difference that it makes.

    Raises
    ------
    TypeError, ValueError
        If the shape, the predicted quantity or the scale cannot be, or the prompt does
        not fit the condition.

    References
    ----------
    Ho and Salimans (2022). Classifier-free diffusion guidance. arXiv:2207.12598.
    """

    name: str
    denoiser: nn.Module
    decoder: nn.Module | None
    shape: tuple[int, int, int]
    scheduler: Mapping[str, Any]
    scaling: float = 1.0
    condition: Tensor | None = None
    clean_limit: float | None = None
    size_px: tuple[int, int] = (0, 0)
    trained: bool = True
    notes: tuple[str, ...] = field(default=())
    fingerprint: str = ""
    prompt: Tensor | None = None
    prompt_scale: float = 1.0

    def __post_init__(self) -> None:
        for number in self.shape:
            check_whole("shape", number, low=1)
        check_option("prediction_type", self.prediction, PREDICTIONS)
        check_between("prompt_scale", self.prompt_scale)
        if self.prompt is None:
            return
        if self.condition is None:
            raise ValueError(f"`prompt` does not fit: {self.name} looks at no text.")
        if self.prompt.shape != self.condition.shape:
            raise ValueError(
                "`prompt` must have the shape of `condition`, "
                f"{tuple(self.condition.shape)}; got {tuple(self.prompt.shape)}."
            )

    @property
    def prediction(self) -> str:
        """What the network predicts."""
        return str(self.scheduler.get("prediction_type", "epsilon"))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights of the network."""
        return next(self.denoiser.parameters()).dtype

    def to(self, device: str | torch.device) -> "ImageGenerator":
        """Move the networks, in place.

        Parameters
        ----------
        device : str or torch.device
            Where to.

        Returns
        -------
        ImageGenerator
            Itself, with condition and prompt there too.
        """
        self.denoiser.to(device)
        if self.decoder is not None:
            self.decoder.to(device)
        if self.condition is None:
            return self
        prompt = None if self.prompt is None else self.prompt.to(device)
        return replace(self, condition=self.condition.to(device), prompt=prompt)

    def denoise(self, x: Tensor, step: Tensor | int) -> Tensor:
        """Return what the network predicts; gradients can flow.

        Parameters
        ----------
        x : Tensor of float32, shape (n, C, h, w)
            Noisy samples.
        step : Tensor or int
            Step of the noise.

        Returns
        -------
        Tensor of float32, shape (n, C, h, w)
            `prediction` of each, guided by the prompt if there is one.
        """
        if self.condition is None:
            return self._predict(x, step)
        if self.prompt is None or self.prompt_scale == 0:
            return self._predict(x, step, self.condition)
        if self.prompt_scale == 1:
            return self._predict(x, step, self.prompt)
        # The halves of one batch.
        each = [part.expand(len(x), -1, -1) for part in (self.condition, self.prompt)]
        both = self._predict(torch.cat([x, x]), step, torch.cat(each))
        plain, prompted = both.chunk(2)
        return plain + self.prompt_scale * (prompted - plain)

    def _predict(
        self, x: Tensor, step: Tensor | int, condition: Tensor | None = None
    ) -> Tensor:
        given = x.to(self.dtype)
        if condition is None:
            return self.denoiser(given, step).sample.float()
        each = condition.to(self.dtype).expand(len(x), -1, -1)
        return self.denoiser(given, step, each).sample.float()

    def decode(self, clean: Tensor) -> Tensor:
        """Return pictures; gradients can flow.

        Parameters
        ----------
        clean : Tensor of float32, shape (n, C, h, w)
            Samples without noise.

        Returns
        -------
        Tensor of float32, shape (n, 3, H, W)
            About 0..1: not cut.
        """
        if self.decoder is None:
            return clean / 2 + 0.5
        own = next(self.decoder.parameters(), clean).dtype
        found = self.decoder((clean / self.scaling).to(own))
        shown = found if isinstance(found, Tensor) else found.sample
        return shown.float() / 2 + 0.5
