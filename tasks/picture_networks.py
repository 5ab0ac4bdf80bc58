"""Networks as functions of pictures in torch: sized, read, and gradients flow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.feature_layers import Reading, plan_readings, read_layers
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.projections import (
    PrincipalComponents,
    Projection,
    SparseProjection,
)

OUTPUT = "output"
"""Request for what the network itself returns, such as the embedding of CLIP."""

TensorMap = Callable[[Tensor], Tensor]


def fit_to_input(
    images: Tensor, rule: Preprocessing, *, antialias: bool = True
) -> Tensor:
    """Bring images to the size of a network's input; gradients flow.

    Parameters
    ----------
    images : Tensor of float32, shape (n, 3, H, W), 0..1
        RGB.
    rule : Preprocessing
        What is scaled to which size, and what is cut off around it.
    antialias : bool, default True
        Whether a picture is blurred as far as it gets smaller. Enlarging knows no
        such blur.

    Returns
    -------
    Tensor of float32, shape (n, 3, h, w), 0..1
        Images of ``rule.size_px``. Where the size is right already, nothing is
        resampled.

    Raises
    ------
    ValueError
        If the rule takes pictures of its own size only, and they have another.

    Notes
    -----
    The geometry is that of `Preprocessing.prepare`. Resampling is bilinear and without
    rounding to 8 bits, whatever the interpolation of the rule: bicubic kernels leave
    0..1, and rounding has no gradient.

    Examples
    --------
    >>> fit_to_input(torch.rand(1, 3, 8, 16), Preprocessing((4, 4), "crop")).shape
    torch.Size([1, 3, 4, 4])
    """
    size = (int(images.shape[2]), int(images.shape[3]))
    if rule.resize == "none":
        if size != tuple(rule.size_px):
            raise ValueError(
                f"Images must have {tuple(rule.size_px)} pixels because `resize` of "
                f"the network is 'none'; got {size}."
            )
        return images
    scaled = rule.scaled_size(size)
    if scaled != size:
        images = _resample(images, scaled, antialias)
    return _centre(images, rule)


def _resample(images: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    # As products: the blurred one of torch has no deterministic gradient on a GPU.
    rows, columns = (
        _resampling(old, new, antialias).to(images)
        for old, new in zip(images.shape[2:], size, strict=True)
    )
    return rows @ images @ columns.T


def _resampling(old: int, new: int, antialias: bool) -> Tensor:
    """Return the weights of old rows in new ones, shape (new, old)."""
    each = torch.eye(old, dtype=torch.float64)[None, None]
    found = F.interpolate(
        each, (new, old), mode="bilinear", align_corners=False, antialias=antialias
    )
    return found[0, 0]


def _centre(images: Tensor, rule: Preprocessing) -> Tensor:
    """Cut out the centre; fill up where images are smaller."""
    height, width = rule.size_px
    rows, columns = images.shape[2:]
    if rows < height or columns < width:
        shape = (len(images), 3, max(height, rows), max(width, columns))
        fill = images.new_tensor(rule.fill)[:, None, None] / 255
        canvas = fill.expand(shape).clone()
        top, left = max(height - rows, 0) // 2, max(width - columns, 0) // 2
        canvas[:, :, top : top + rows, left : left + columns] = images
        images = canvas
    top = round((images.shape[2] - height) / 2)
    left = round((images.shape[3] - width) / 2)
    return images[:, :, top : top + height, left : left + width]


def prepare_pictures(
    pictures: Sequence[NDArray[np.uint8]], rule: Preprocessing
) -> Tensor:
    """Bring pictures to the size of a network's input, as for all fits.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        RGB, of any sizes.
    rule : Preprocessing
        How.

    Returns
    -------
    Tensor of uint8, shape (n, h, w, 3)
        Pictures of ``rule.size_px``.

    Raises
    ------
    TypeError, ValueError
        If there are none, or one is no picture.
    """
    if not len(pictures):
        raise ValueError("`pictures` is empty: give at least one picture.")
    found = np.empty((len(pictures), *rule.size_px, 3), np.uint8)
    for index in range(len(pictures)):
        try:
            found[index] = rule.prepare(pictures[index])
        except (TypeError, ValueError) as error:
            raise type(error)(f"`pictures[{index}]`: {error}") from error
    return torch.from_numpy(found)


@dataclass(frozen=True, eq=False)
class NetworkReader:
    """A frozen network and the layers that are read of it, planned once.

    Parameters
    ----------
    backbone : Backbone
        Network, on its device.
    readings : tuple of Reading
        Layers.
    sizes : mapping of str to int
        Features of each request.
    """

    backbone: Backbone
    readings: tuple[Reading, ...]
    sizes: Mapping[str, int]

    @property
    def rule(self) -> Preprocessing:
        """How pictures become its input."""
        return self.backbone.preprocessing

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Read the layers; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, h, w), 0..1
            RGB, of the size of the input, on the device of the network.

        Returns
        -------
        dict of str to Tensor of float32, shape (n, n_features)
            By request.
        """
        return self.read(255 * images.permute(0, 2, 3, 1))

    def read(self, pixels: Tensor) -> dict[str, Tensor]:
        """Read the layers of pictures with levels of 0..255.

        Parameters
        ----------
        pixels : Tensor of uint8 or float32, shape (n, h, w, 3)
            RGB, of the size of the input, on the device of the network.

        Returns
        -------
        dict of str to Tensor of float32, shape (n, n_features)
            By request.
        """
        module, inputs = self.backbone.module, self.rule.normalise(pixels)
        found: dict[str, Tensor] = {}
        if self.readings:
            rows = read_layers(module, inputs, self.readings)
            found = {r.text: row for r, row in zip(self.readings, rows, strict=True)}
        if OUTPUT in self.sizes:
            found[OUTPUT] = module(inputs).float()
        return found


def read_network(
    backbone: Backbone,
    requests: Sequence[str],
    device: str | torch.device = "cpu",
) -> NetworkReader:
    """Move a network to a device, freeze it, and plan what is read of it.

    Parameters
    ----------
    backbone : Backbone
        Network; its module is moved, and its weights need no gradient from then on.
    requests : sequence of str
        Layers as `neurovis.adapters.feature_layers` names them, and `OUTPUT`.
    device : str or torch.device, default "cpu"
        Where it will run.

    Returns
    -------
    NetworkReader
        Ready for pictures.

    Raises
    ------
    TypeError, ValueError
        If a layer does not exist or needs a choice, or the output is no vector.
    """
    backbone.module.requires_grad_(False).to(device)
    names = list(dict.fromkeys(requests))
    layers = [name for name in names if name != OUTPUT]
    readings = []
    if layers:
        readings = plan_readings(
            backbone.module, backbone.layout, layers, backbone.name
        )
    sizes = {reading.text: reading.n_features for reading in readings}
    if OUTPUT in names:
        sizes[OUTPUT] = _output_size(backbone, device)
    return NetworkReader(backbone, tuple(readings), sizes)


def _output_size(backbone: Backbone, device: str | torch.device) -> int:
    rule = backbone.preprocessing
    with torch.no_grad():
        blank = torch.zeros(2, *rule.size_px, 3, device=device)
        found = backbone.module(rule.normalise(blank))
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2:
        what = tuple(found.shape[1:]) if isinstance(found, Tensor) else type(found)
        raise ValueError(
            f"The output of {backbone.name} is no vector but {what} per picture: name "
            "a layer that gives one, such as 'LAYER:gap' or 'LAYER:cls'."
        )
    return int(found.shape[1])


def project_rows(projection: Projection, device: str | torch.device) -> TensorMap:
    """Return a projection as a function of tensors; gradients flow.

    Parameters
    ----------
    projection : SparseProjection or PrincipalComponents
        Fitted map from many features to few.
    device : str or torch.device
        Where the rows will be.

    Returns
    -------
    callable
        From rows, float32 (n, n_features), to (n, n_components).

    Raises
    ------
    TypeError
        If it is another kind of projection.
    """
    if isinstance(projection, PrincipalComponents):
        mean = torch.from_numpy(projection.mean).to(device)
        components = torch.from_numpy(projection.components).to(device).T
        return lambda rows: (rows - mean) @ components
    if not isinstance(projection, SparseProjection):
        raise TypeError(
            "A projection must be a SparseProjection or PrincipalComponents; got "
            f"{type(projection).__name__}."
        )
    k = projection.n_components
    numbers = np.repeat(np.arange(k), np.diff(projection.starts))
    places = np.stack([numbers, projection.columns.astype(np.int64)])
    scale = 1 / np.sqrt(projection.density * k)
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(places),
        torch.from_numpy((projection.signs * scale).astype(np.float32)),
        (k, projection.n_features),
        check_invariants=True,
    ).to(device)
    return lambda rows: torch.sparse.mm(matrix, rows.T).T
