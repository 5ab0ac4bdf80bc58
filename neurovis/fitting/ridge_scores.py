"""Scores of held-out predictions, fold by fold."""

import torch
from torch import Tensor

SCORINGS = ("mse", "r2", "correlation")


def squared_norms(values: Tensor) -> Tensor:
    """Sum squares along rows in float64.

    Parameters
    ----------
    values : Tensor, shape (m, n)
        Rows.

    Returns
    -------
    Tensor of float64, shape (m,)
        Sum of squares of each row.

    Examples
    --------
    >>> squared_norms(torch.tensor([[3.0, 4.0]])).item()
    25.0
    """
    norms = torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)
    return norms.square_()


def error_score(measured: Tensor, error: Tensor, scoring: str) -> Tensor:
    """Score the errors of one fold.

    Parameters
    ----------
    measured : Tensor, shape (n_targets, n_held_out)
        Held-out values.
    error : Tensor, shape (n_targets, n_held_out)
        Measured minus predicted.
    scoring : {"mse", "r2"}
        "mse" is minus the mean squared error; "r2" one minus its ratio to the variance
        of the held-out values.

    Returns
    -------
    Tensor of float64, shape (n_targets,)
        Larger is better; NaN for "r2" where the held-out values are constant.

    Examples
    --------
    >>> y = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    >>> error_score(y, y / y, "mse").round(decimals=6).tolist()
    [-1.0, -1.0]
    >>> error_score(y, y / y, "r2").round(decimals=6).tolist()
    [0.0, nan]
    """
    rest = squared_norms(error)
    if scoring == "mse":
        return rest.div_(-error.shape[1])
    total = squared_norms(measured - measured.mean(1, keepdim=True))
    constant = (measured == measured[:, :1]).all(1)
    return (1 - rest / total).masked_fill_(constant, torch.nan)


def correlation_score(measured: Tensor, predicted: Tensor) -> Tensor:
    """Correlate measured and predicted values of one fold.

    Parameters
    ----------
    measured, predicted : Tensor, shape (n_targets, n_held_out)
        Held-out values and their predictions.

    Returns
    -------
    Tensor of float64, shape (n_targets,)
        Pearson's r; NaN where either is constant, the prediction up to rounding: that
        of sums of values as large as the measured ones.

    Examples
    --------
    >>> y = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    >>> [round(r, 6) for r in correlation_score(y, -2 * y).tolist()]
    [-1.0, nan]
    """
    x, y = measured.double(), predicted.double()
    scale = torch.maximum(x.norm(dim=1), y.norm(dim=1))
    rounding = 4 * torch.finfo(predicted.dtype).eps * scale
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    x_norm, y_norm = x.norm(dim=1), y.norm(dim=1)
    r = (x * y).sum(1) / (x_norm * y_norm)
    constant = (measured == measured[:, :1]).all(1) | (y_norm <= rounding)
    return r.masked_fill_(constant, torch.nan)
