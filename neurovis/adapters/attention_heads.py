"""Attention heads of vision transformers: their maps, and what happens without them.

Works on networks in the manner of timm's vision transformers: every attention sees all
tokens of the picture, its softmax map passes through a module ``attn_drop``, and one
linear layer mixes the outputs of the heads. Tokens before the patches (class token,
distillation token, registers) come first in every map.

Nothing stays behind in a network: hooks are removed and the fused kernels, which never
form a map, are put back, also after an error.

References
----------
Michel, Levy and Neubig (2019). Are sixteen heads really better than one? NeurIPS.
arXiv:1905.10650
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.feature_stream import check_batches, placed
from neurovis.adapters.head_layers import (
    attention_layers,
    listening,
    unfused,
    weighing,
)
from neurovis.core.checks import check_array, check_option
from neurovis.core.device import exact_float32, in_batches

Images = NDArray[np.uint8]
Heads = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class HeadOutputs:
    """What a network says about pictures.

    Parameters
    ----------
    logits : ndarray of float32, shape (n_images, n_classes), or None
        None for a network without classes.
    cls : ndarray of float32, shape (n_images, width), or None
        The class token after the last block and normalisation; None without one.
    """

    logits: NDArray[np.float32] | None
    cls: NDArray[np.float32] | None


def prepare_images(backbone: Backbone, pictures: Sequence[NDArray[np.uint8]]) -> Images:
    """Bring pictures to the size of the input of a network.

    Parameters
    ----------
    backbone : Backbone
        Network.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures of any sizes.

    Returns
    -------
    ndarray of uint8, shape (n_images, h, w, 3)
        What the other functions of this module take.

    Raises
    ------
    TypeError, ValueError
        If there is no picture, or one is none.
    """
    if len(pictures) == 0:
        raise ValueError("`pictures` is empty: give at least one picture.")
    return np.stack([backbone.preprocessing.prepare(picture) for picture in pictures])


def stream_attention(
    backbone: Backbone,
    images: Images,
    *,
    device: torch.device | None = None,
    batch_size: int | str = "auto",
) -> Iterator[Heads]:
    """Yield the attention maps of one picture after the other.

    Parameters
    ----------
    backbone : Backbone
        Network.
    images : ndarray of uint8, shape (n_images, h, w, 3)
        From `prepare_images`.
    device : torch.device, optional
        Where the network runs; the CPU by default.
    batch_size : int or "auto"
        Pictures at once; halved when memory is short.

    Yields
    ------
    dict of str to ndarray of float32, shape (n_heads, n_tokens, n_tokens)
        By path of the attention. Entry (i, j) is what token i takes from token j: rows
        add up to 1.

    Raises
    ------
    TypeError, ValueError
        If `images` or the network do not fit.

    Examples
    --------
    >>> from neurovis.adapters.backbones import load_backbone
    >>> network = load_backbone("timm:test_vit", "seeded:0")
    >>> grey = prepare_images(network, [np.full((32, 32, 3), 128, np.uint8)])
    >>> next(stream_attention(network, grey))["blocks.0.attn"].shape
    (2, 101, 101)
    """
    place = device or torch.device("cpu")
    size = _check_images(backbone, images, batch_size)
    layers = attention_layers(backbone)
    attentions = {one.path: backbone.module.get_submodule(one.path) for one in layers}

    def forward(some: Sequence[Any]) -> list[Heads]:
        maps: dict[str, NDArray[np.float32]] = {}

        def keep(path: str, attention: Tensor) -> None:
            maps[path] = attention.float().cpu().numpy()

        with torch.inference_mode(), exact_float32(), listening(attentions, keep):
            backbone.module(_to_input(backbone, np.stack(some), place))
        return [{p: a[i] for p, a in maps.items()} for i in range(len(some))]

    with placed(backbone.module, place):
        for start in range(0, len(images), size):
            batch = list(images[start : start + size])
            yield from in_batches(forward, batch, size, device=place)


def head_outputs(
    backbone: Backbone,
    images: Images,
    *,
    kept: Mapping[str, ArrayLike] | None = None,
    device: torch.device | None = None,
    batch_size: int | str = "auto",
) -> HeadOutputs:
    """Return what a network says about pictures, with some of its heads put to zero.

    Parameters
    ----------
    backbone : Backbone
        Vision transformer of timm.
    images : ndarray of uint8, shape (n_images, h, w, 3)
        From `prepare_images`.
    kept : mapping of str to array-like of bool, shape (n_heads,), optional
        By path of the attention, which heads stay; layers that are not named stay as
        they are. The output of a head that does not stay is 0 before the output
        projection; the bias of the projection remains.
    device : torch.device, optional
        Where the network runs; the CPU by default.
    batch_size : int or "auto"
        Pictures at once; halved when memory is short.

    Returns
    -------
    HeadOutputs
        Logits and class tokens.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit the network.

    Examples
    --------
    >>> from neurovis.adapters.backbones import load_backbone
    >>> network = load_backbone("timm:test_vit", "seeded:0")
    >>> grey = prepare_images(network, [np.full((32, 32, 3), 128, np.uint8)])
    >>> head_outputs(network, grey, kept={"blocks.0.attn": [True, False]}).cls.shape
    (1, 64)
    """
    place = device or torch.device("cpu")
    size = _check_images(backbone, images, batch_size)
    module = _check_classifier(backbone)
    known = {layer.path: layer for layer in attention_layers(backbone)} if kept else {}
    weights = {}
    for path, which in (kept or {}).items():
        check_option("layer of `kept`", path, tuple(known))
        shape = (known[path].n_heads,)
        stay = check_array(f"kept[{path!r}]", which, shape=shape, dtype=bool)
        weights[path] = torch.from_numpy(stay.astype(np.float32))
    chosen = [known[path] for path in weights]

    def forward(some: Sequence[Any]) -> list[tuple[Any, Any]]:
        with (
            torch.inference_mode(),
            exact_float32(),
            weighing(module, chosen, weights),
        ):
            x = _to_input(backbone, np.stack(some), place)
            tokens = module.forward_features(x)
            cls = tokens[:, 0].float().cpu().numpy() if backbone.class_token else None
            logits = None
            if module.num_classes > 0:
                logits = module.forward_head(tokens).float().cpu().numpy()
        n = len(some)
        return list(
            zip([None] * n if logits is None else logits,
                [None] * n if cls is None else cls, strict=True)
        )  # fmt: skip

    with placed(backbone.module, place):
        rows = in_batches(forward, list(images), size, device=place)
    logits, cls = zip(*rows, strict=True)
    return HeadOutputs(
        None if logits[0] is None else np.stack(logits),
        None if cls[0] is None else np.stack(cls),
    )


def head_gradients(
    backbone: Backbone,
    images: Images,
    targets: ArrayLike | None = None,
    *,
    device: torch.device | None = None,
    batch_size: int | str = "auto",
) -> Heads:
    """Return how the loss of each picture changes with a factor at each head.

    Parameters
    ----------
    backbone : Backbone
        Vision transformer of timm with classes.
    images : ndarray of uint8, shape (n_images, h, w, 3)
        From `prepare_images`.
    targets : array-like of int, shape (n_images,), optional
        Class of each picture, 0-based; by default what the network says.
    device : torch.device, optional
        Where the network runs; the CPU by default.
    batch_size : int or "auto"
        Pictures at once; halved when memory is short.

    Returns
    -------
    dict of str to ndarray of float32, shape (n_images, n_heads)
        By path of the attention: dL/dm at m = 1, where m multiplies the output of the
        head before the output projection and L is the cross-entropy of the picture in
        nats. The mean of absolute values over pictures stands for importance.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the network has no classes.

    References
    ----------
    Michel, Levy and Neubig (2019). Are sixteen heads really better than one? NeurIPS.
    arXiv:1905.10650
    """
    place = device or torch.device("cpu")
    size = _check_images(backbone, images, batch_size)
    module = _check_classifier(backbone)
    n_classes = int(module.num_classes)
    if n_classes < 1:
        raise ValueError(
            f"{backbone.name} has no classes, so no loss: use weights with a head."
        )
    wanted = None if targets is None else check_array(
        "targets", targets, shape=(len(images),)
    )  # fmt: skip
    if wanted is not None and (
        not np.issubdtype(wanted.dtype, np.integer)
        or wanted.min() < 0
        or wanted.max() >= n_classes
    ):
        raise ValueError(
            f"`targets` must be whole numbers from 0 to {n_classes - 1}; got "
            f"{wanted.dtype} from {wanted.min()} to {wanted.max()}."
        )
    layers = attention_layers(backbone)
    attentions = {one.path: module.get_submodule(one.path) for one in layers}

    def forward(some: Sequence[Any]) -> list[Heads]:
        factors = {
            one.path: torch.ones(
                len(some), one.n_heads, device=place, requires_grad=True
            )
            for one in layers
        }
        # Without fused kernels gradients have the same bits every time.
        with (
            torch.enable_grad(),
            exact_float32(),
            unfused(attentions.values()),
            weighing(module, layers, factors),
        ):
            x = _to_input(backbone, images[list(some)], place)
            logits = module.forward_head(module.forward_features(x)).float()
            target = logits.argmax(dim=1)
            if wanted is not None:
                target = torch.from_numpy(wanted[list(some)].astype(np.int64))
            losses = -logits.log_softmax(dim=1).gather(1, target.to(place)[:, None])
            found = torch.autograd.grad(losses.sum(), list(factors.values()))
        values = {p: g.cpu().numpy() for p, g in zip(factors, found, strict=True)}
        return [{p: g[i] for p, g in values.items()} for i in range(len(some))]

    with placed(backbone.module, place):
        rows = in_batches(forward, range(len(images)), size, device=place)
    return {one.path: np.stack([row[one.path] for row in rows]) for one in layers}


# --------------------------------------------------------------------------- the input


def _check_images(backbone: Backbone, images: Images, batch_size: int | str) -> int:
    size = backbone.preprocessing.size_px
    check_array("images", images, shape=(None, *size, 3), dtype=np.uint8)
    return check_batches(images, batch_size, "float32")  # type: ignore[arg-type]


def _check_classifier(backbone: Backbone) -> Any:
    module = backbone.module
    needed = ("forward_features", "forward_head", "num_classes")
    if not all(hasattr(module, name) for name in needed):
        raise ValueError(
            f"{backbone.name} has no `forward_features` and `forward_head`: outputs "
            "can be read from vision transformers of timm ('timm:NAME')."
        )
    return module


def _to_input(backbone: Backbone, images: Images, device: torch.device) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return backbone.preprocessing.normalise(pixels)
