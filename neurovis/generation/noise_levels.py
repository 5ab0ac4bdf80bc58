"""What a noisy sample holds: the algebra of diffusion models.

A noisy sample is ``x = signal * clean + noise * eps`` with ``signal**2 + noise**2 = 1``
and standard normal `eps`. Networks predict `eps` ("epsilon"), the clean sample
("sample") or the velocity ``signal * eps - noise * clean`` ("v_prediction").
"""

import math
from dataclasses import dataclass

from torch import Tensor

from neurovis.core.checks import check_between, check_option

PREDICTIONS = ("epsilon", "v_prediction", "sample")
"""What a network can predict."""

LEAST_ALPHA_BAR = 1e-3
"""With less signal than this the clean sample is noise divided by almost nothing:
nothing can be guided by it."""

_LEAST_SIGNAL = 1e-4  # at the first step of some schedules there is none


@dataclass(frozen=True)
class NoiseLevel:
    """Shares of the clean sample and of the noise in a noisy one.

    Parameters
    ----------
    alpha_bar : float
        Cumulative alpha of the step, 0..1: the square of the signal.

    Raises
    ------
    TypeError, ValueError
        If it is out of range.

    Examples
    --------
    >>> level = NoiseLevel(0.25)
    >>> level.signal, round(level.noise, 7)
    (0.5, 0.8660254)
    """

    alpha_bar: float

    def __post_init__(self) -> None:
        check_between("alpha_bar", self.alpha_bar, low=0, high=1)

    @property
    def signal(self) -> float:
        """Factor of the clean sample."""
        return math.sqrt(self.alpha_bar)

    @property
    def noise(self) -> float:
        """Factor of the noise."""
        return math.sqrt(1 - self.alpha_bar)

    def clean(self, x: Tensor, eps: Tensor) -> Tensor:
        """Return the clean sample that noise leaves; where nothing is left, a bound.

        Parameters
        ----------
        x, eps : Tensor
            Noisy sample and predicted noise, of one shape.

        Returns
        -------
        Tensor
            ``(x - noise * eps) / signal``, with a signal of at least 1e-4.
        """
        return (x - self.noise * eps) / max(self.signal, _LEAST_SIGNAL)

    def eps(self, x: Tensor, clean: Tensor) -> Tensor:
        """Return the noise that a clean sample leaves.

        Parameters
        ----------
        x, clean : Tensor
            Noisy and clean sample, of one shape.

        Returns
        -------
        Tensor
            ``(x - signal * clean) / noise``.
        """
        return (x - self.signal * clean) / max(self.noise, _LEAST_SIGNAL)

    def read(self, output: Tensor, x: Tensor, prediction: str) -> tuple[Tensor, Tensor]:
        """Return noise and clean sample that a prediction stands for.

        Parameters
        ----------
        output : Tensor
            What the network returned.
        x : Tensor
            The noisy sample it looked at.
        prediction : {"epsilon", "v_prediction", "sample"}
            What it predicts.

        Returns
        -------
        eps, clean : Tensor
            Of the shape of `x`.

        Raises
        ------
        ValueError
            If `prediction` is unknown.
        """
        check_option("prediction", prediction, PREDICTIONS)
        if prediction == "epsilon":
            return output, self.clean(x, output)
        if prediction == "sample":
            return self.eps(x, output), output
        eps = self.signal * output + self.noise * x
        return eps, self.signal * x - self.noise * output

    def write(self, eps: Tensor, clean: Tensor, prediction: str) -> Tensor:
        """Return what a network would have returned.

        Parameters
        ----------
        eps, clean : Tensor
            Noise and clean sample, of one shape.
        prediction : {"epsilon", "v_prediction", "sample"}
            What the network predicts.

        Returns
        -------
        Tensor
            Of the same shape.

        Raises
        ------
        ValueError
            If `prediction` is unknown.
        """
        check_option("prediction", prediction, PREDICTIONS)
        if prediction == "epsilon":
            return eps
        if prediction == "sample":
            return clean
        return self.signal * eps - self.noise * clean
