"""Held-out errors of every fold from one eigendecomposition of the Gram matrix.

With ``X X' = Q diag(l) Q'``, the matrix that takes targets to their residuals is
``R = a Q diag(1 / (l + a)) Q'``. With an intercept X and y are centred, and so are the
columns of Q: that takes ``1 1' / n`` from R, whatever rounding did to the eigenvalue 0
of the constant vector. A model fitted without the rows f has the errors
``inv(R_ff) (R y)_f`` on them, its own intercept included.
"""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from neurovis.fitting.ridge_eigen import Eigen, rotate
from neurovis.fitting.ridge_linalg import add_symmetric_product, inverse, product

_N_RECENT, _RECENT_BYTES = 4, 2**28

Chosen = Tensor | slice
"""Targets as row numbers or as a slice."""


class DualTargets:
    """A batch of targets in the basis of the Gram matrix.

    Parameters
    ----------
    eigen : Eigen
        Decomposition of the Gram matrix, rows sorted by fold.
    folds : list of slice, or None
        Held-out rows of each fold; None leaves out one row at a time.
    y : Tensor, shape (n_targets, n_samples)
        Targets, rows of X sorted by fold, centred with an intercept.
    """

    def __init__(self, eigen: Eigen, folds: list[slice] | None, y: Tensor) -> None:
        self.eigen, self.folds, self.y = eigen, folds, y
        self._recent: dict[float, list[Tensor]] = {}
        self.n_samples = y.shape[1]

    @cached_property
    def z(self) -> Tensor:
        """Targets in the basis of eigenvectors, shape (n_targets, n_samples)."""
        return rotate(self.eigen, self.y)

    @property
    def held_out(self) -> list[slice]:
        """Rows that are scored together."""
        return [slice(0, self.n_samples)] if self.folds is None else self.folds

    @property
    def gives_dual(self) -> bool:
        """Whether held-out errors tell the coefficients: each row is held out."""
        return self.folds is None or self.folds[-1].stop == self.n_samples

    def gcv(self, alphas: Tensor, rows: slice) -> Tensor:
        """Compute generalised cross-validation errors.

        Parameters
        ----------
        alphas : Tensor of float64, shape (n_alphas,)
            Penalties.
        rows : slice
            Targets.

        Returns
        -------
        Tensor of float64, shape (n_alphas, n_targets)
            ``n RSS / trace(R)**2``.
        """
        return self.gcv_of(self.z[rows], alphas)

    def gcv_of(self, z: Tensor, alphas: Tensor) -> Tensor:
        """Compute them for rotated targets.

        Parameters
        ----------
        z : Tensor, shape (n_targets, n_samples)
            Targets in the basis of eigenvectors.
        alphas : Tensor of float64, shape (n_alphas,)
            Penalties.

        Returns
        -------
        Tensor of float64, shape (n_alphas, n_targets)
            ``n RSS / trace(R)**2``.
        """
        kept = alphas[:, None] / (self.eigen.values + alphas[:, None])
        freedom = (kept * self.eigen.norms).sum(1)
        rest = (z.square() @ kept.square().to(z.dtype).T).T.double()
        return self.n_samples * rest / freedom.square()[:, None]

    def step(self, alpha: float, n_targets: int) -> "Blocks | Rotated | LeaveOneOut":
        """Return what computes held-out errors for one alpha.

        Parameters
        ----------
        alpha : float
            Penalty.
        n_targets : int
            For how many targets: many pay for a larger preparation.

        Returns
        -------
        object
            With the methods `errors` and `dual`.
        """
        if self.folds is None:
            return LeaveOneOut(self, alpha)
        n = self.n_samples
        in_blocks = sum((fold.stop - fold.start) ** 2 for fold in self.folds)
        if 4 * in_blocks * n_targets > 1.2 * n**3:
            return Blocks(self, alpha, self.folds)
        return Rotated(self, alpha, self.folds)

    def inverses(self, alpha: float, folds: list[slice]) -> list[Tensor]:
        """Return ``inv(R_ff)`` of each fold; the last few are kept.

        Parameters
        ----------
        alpha : float
            Penalty.
        folds : list of slice
            Held-out rows of each fold.

        Returns
        -------
        list of Tensor, each of shape (n_held_out, n_held_out)
            Symmetric matrices.
        """
        if alpha not in self._recent:
            blocks = []
            for fold in folds:
                rows = self.eigen.vectors[fold]
                block = torch.zeros(len(rows), len(rows)).to(rows)
                weighted = rows * self.kept(alpha).to(rows.dtype)
                add_symmetric_product(block, weighted, rows)
                blocks.append(inverse(block, _name(alpha)))
            self.remember(alpha, blocks)
        return self._recent[alpha]

    def remember(self, alpha: float, inverses: list[Tensor]) -> None:
        """Keep what `inverses` gives for one alpha, and forget the oldest.

        Parameters
        ----------
        alpha : float
            Penalty.
        inverses : list of Tensor
            Of each fold.
        """
        self._recent[alpha] = inverses
        n_bytes = sum(block.numel() * block.itemsize for block in inverses)
        if len(self._recent) > max(_N_RECENT, _RECENT_BYTES // n_bytes):
            del self._recent[next(iter(self._recent))]

    def kept(self, alpha: float) -> Tensor:
        """Return the share of each component that is left over.

        Parameters
        ----------
        alpha : float
            Penalty a.

        Returns
        -------
        Tensor of float64, shape (n_samples,)
            ``a / (l + a)``.
        """
        return alpha / (self.eigen.values + alpha)

    def refit(self, alphas: Tensor) -> Tensor:
        """Compute dual coefficients on all rows.

        Parameters
        ----------
        alphas : Tensor of float64, shape (n_targets,)
            Penalty of each target.

        Returns
        -------
        Tensor, shape (n_targets, n_samples)
            ``inv(X X' + a) y``.
        """
        out = torch.empty_like(self.y)
        for rows in chunks(len(self.y), self.y):
            weights = 1 / (self.eigen.values + alphas[rows, None])
            scaled = self.z[rows] * weights.to(self.y.dtype)
            out[rows] = product(scaled, self.eigen.vectors)
        self.refine(out, alphas)
        return out

    def refine(self, dual: Tensor, alphas: Tensor) -> None:
        """Repair what rounding did along the largest eigenvectors, in place.

        Dual coefficients are about y / alpha, and predictions multiply them by
        eigenvalues. Along the largest of these coefficients nearly cancel: that is
        where rounding tells. One step of iterative refinement there costs little.

        Parameters
        ----------
        dual : Tensor, shape (n_targets, n_samples)
            Coefficients.
        alphas : Tensor of float64, shape (n_targets,)
            Penalty of each target.
        """
        images = self.eigen.images
        vectors = self.eigen.vectors[:, -images.shape[1] :]
        values = self.eigen.values[-images.shape[1] :]
        for rows in chunks(len(dual), dual):
            alpha = alphas[rows, None]
            rest = self.y[rows] - dual[rows] * alpha.to(dual.dtype)
            missing = (rest @ vectors - dual[rows] @ images).double()
            step = (missing / (values + alpha)).to(dual.dtype)
            dual[rows] += step @ vectors.T


def chunks(n_targets: int, like: Tensor) -> Iterator[slice]:
    """Cut targets so that one piece stays near the cache.

    Parameters
    ----------
    n_targets : int
        Number of targets.
    like : Tensor
        Where they are.

    Yields
    ------
    slice
        Consecutive targets.

    Examples
    --------
    >>> [chunk.stop for chunk in chunks(1500, torch.zeros(1))]
    [1024, 1500]
    """
    step = 1024 if like.device.type == "cpu" else 8192
    for start in range(0, n_targets, step):
        yield slice(start, min(start + step, n_targets))


class LeaveOneOut:
    """Errors of each row when it alone is left out: ``(R y)_i / R_ii``.

    Parameters
    ----------
    targets : DualTargets
        A batch of targets.
    alpha : float
        Penalty.
    """

    def __init__(self, targets: DualTargets, alpha: float) -> None:
        self.targets, self.alpha = targets, alpha
        vectors, kept = targets.eigen.vectors, targets.kept(alpha)
        self.kept = kept.to(vectors.dtype)
        self.diagonal = vectors.square() @ self.kept

    def errors(self, rows: Chosen) -> list[Tensor]:
        """Return errors of all rows as one fold.

        Parameters
        ----------
        rows : slice or Tensor of int
            Targets.

        Returns
        -------
        list of Tensor, each of shape (n_targets, n_held_out)
            Measured minus predicted; one entry.
        """
        rest = product(self.targets.z[rows] * self.kept, self.targets.eigen.vectors)
        return [rest.div_(self.diagonal)]

    def dual(self, errors: list[Tensor], better: Tensor) -> Tensor:
        """Return the dual coefficients of some targets.

        Parameters
        ----------
        errors : list of Tensor
            Of the last call of `errors`.
        better : Tensor of int
            Which of its targets.

        Returns
        -------
        Tensor, shape (n_better, n_samples)
            Coefficients.
        """
        return errors[0][better] * (self.diagonal / self.alpha)


class Rotated:
    """Errors of each fold from the residuals of all rows; for few targets.

    Parameters
    ----------
    targets : DualTargets
        A batch of targets.
    alpha : float
        Penalty.
    folds : list of slice
        Held-out rows of each fold.
    """

    def __init__(self, targets: DualTargets, alpha: float, folds: list[slice]) -> None:
        self.targets, self.alpha, self.folds = targets, alpha, folds
        vectors, kept = targets.eigen.vectors, targets.kept(alpha)
        self.kept = kept.to(vectors.dtype)
        self.inverses = targets.inverses(alpha, folds)
        self.rest = vectors.new_empty(0)

    def errors(self, rows: Chosen) -> list[Tensor]:
        """Return errors of each fold.

        Parameters
        ----------
        rows : slice or Tensor of int
            Targets.

        Returns
        -------
        list of Tensor, each of shape (n_targets, n_held_out)
            Measured minus predicted.
        """
        vectors = self.targets.eigen.vectors
        self.rest = product(self.targets.z[rows] * self.kept, vectors)
        pairs = zip(self.folds, self.inverses, strict=True)
        return [product(self.rest[:, fold], matrix) for fold, matrix in pairs]

    def dual(self, errors: list[Tensor], better: Tensor) -> Tensor:
        """Return the dual coefficients of some targets.

        Parameters
        ----------
        errors : list of Tensor
            Of the last call of `errors`.
        better : Tensor of int
            Which of its targets.

        Returns
        -------
        Tensor, shape (n_better, n_samples)
            Coefficients.
        """
        return self.rest[better] / self.alpha


def _name(alpha: float) -> str:
    return f"The residual matrix of a fold at alpha = {alpha:.3g}"


class Blocks:
    """Predictions of each fold from the training rows; for many targets.

    ``inv(R_ff) (R y)_f = y_f + inv(R_ff) R_ft y_t``, t the training rows: a product
    that is shorter by the held-out rows and needs no rotated targets.

    Parameters
    ----------
    targets : DualTargets
        A batch of targets.
    alpha : float
        Penalty.
    folds : list of slice
        Held-out rows of each fold.
    """

    def __init__(self, targets: DualTargets, alpha: float, folds: list[slice]) -> None:
        self.targets, self.alpha, self.folds = targets, alpha, folds
        residual = residual_matrix(targets, alpha)
        self.diagonal = [residual[fold, fold].contiguous() for fold in folds]
        inverses = [inverse(block, _name(alpha)) for block in self.diagonal]
        targets.remember(alpha, inverses)
        self.weights = []
        for fold, block in zip(folds, inverses, strict=True):
            minus = -block
            sides = (slice(0, fold.start), slice(fold.stop, targets.n_samples))
            self.weights.append(
                [
                    (side, product(minus, residual[side, fold].contiguous()))
                    for side in sides
                    if side.start < side.stop
                ]
            )

    def predictions(self, rows: Chosen) -> list[Tensor]:
        """Return predictions of each fold.

        Parameters
        ----------
        rows : slice or Tensor of int
            Targets.

        Returns
        -------
        list of Tensor, each of shape (n_targets, n_held_out)
            Predicted from the rows that are not held out.
        """
        y = self.targets.y[rows]
        found = []
        for sides in self.weights:
            first, *others = (product(y[:, side], w) for side, w in sides)
            for other in others:
                first += other
            found.append(first)
        return found

    def errors(self, rows: Chosen) -> list[Tensor]:
        """Return errors of each fold.

        Parameters
        ----------
        rows : slice or Tensor of int
            Targets.

        Returns
        -------
        list of Tensor, each of shape (n_targets, n_held_out)
            Measured minus predicted.
        """
        y = self.targets.y[rows]
        pairs = zip(self.folds, self.predictions(rows), strict=True)
        return [torch.sub(y[:, fold], p, out=p) for fold, p in pairs]

    def dual(self, errors: list[Tensor], better: Tensor) -> Tensor:
        """Return the dual coefficients of some targets.

        Parameters
        ----------
        errors : list of Tensor
            Of the last call of `errors`.
        better : Tensor of int
            Which of its targets.

        Returns
        -------
        Tensor, shape (n_better, n_samples)
            Coefficients.
        """
        pairs = zip(errors, self.diagonal, strict=True)
        return torch.cat([product(e[better], d) for e, d in pairs], 1).div_(self.alpha)


def residual_matrix(targets: DualTargets, alpha: float) -> Tensor:
    """Compute the matrix R that takes targets to their residuals.

    Parameters
    ----------
    targets : DualTargets
        A problem.
    alpha : float
        Penalty.

    Returns
    -------
    Tensor, shape (n_samples, n_samples)
        Symmetric, with eigenvalues between 0 and 1.

    Examples
    --------
    >>> from neurovis.fitting.ridge_eigen import decompose
    >>> eigen = decompose(torch.eye(2), torch.float32)
    >>> targets = DualTargets(eigen, None, torch.zeros(1, 2))
    >>> residual_matrix(targets, 1.0).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    vectors, kept = targets.eigen.vectors, targets.kept(alpha)
    # What all weights have in common adds only to the diagonal, as eigenvectors are
    # orthogonal. Without it the rest of R is exact also where it is small.
    common = float(kept.median())
    out = torch.zeros_like(vectors)
    weighted = vectors * (kept - common).to(vectors.dtype)
    add_symmetric_product(out, weighted, vectors)
    out.diagonal().add_(common)
    if targets.eigen.is_centred:
        out -= common / targets.n_samples
    return out
