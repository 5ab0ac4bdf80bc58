"""Layers of networks: named by module path, read by hooks, pooled as asked.

A request is ``path[@call][:choice[:order]]``, such as "layer4.1.conv2:gap",
"blocks.11:cls", "blocks.11:q.patches" or "layer1.0.relu@2:grid3". The choices:

- ``flat``: all values;
- of maps, ``gap``: mean over positions; ``gridK``: mean over K x K parts (adaptive
  average pooling), channel by channel;
- of tokens, ``cls``: the class token; ``patches``: all patch tokens; ``mean``: their
  mean; ``gridK``: mean over K x K parts of the picture, channel by channel;
- of attention, ``q``, ``k`` or ``v``: queries, keys or values, heads side by side, with
  bias and without scaling, and then ``.cls``, ``.patches``, ``.mean`` or ``.gridK``;
  ``q`` alone means ``q.patches``.

Nothing is pooled unasked: a layer with more than one value per feature needs a choice.
The order ``channels-first`` or ``channels-last`` is needed only for maps whose shape
does not tell it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from neurovis.adapters.feature_shapes import (
    ORDERS,
    Activation,
    InputLayout,
    as_map,
    find_activations,
    only_tensor,
)
from neurovis.core.checks import suggest

_CHOICE = re.compile(
    r"flat|gap|cls|patches|mean|grid[1-9]\d*|[qkv](\.(cls|patches|mean|grid[1-9]\d*))?"
)


@dataclass(frozen=True)
class LayerRequest:
    """What is asked for of one layer.

    Parameters
    ----------
    path : str
        Path of the module.
    call : int, optional
        Which run of a module that runs several times in a pass, from 1.
    choice : str, optional
        How its values become features; none for a vector.
    order : {"channels-first", "channels-last"}, optional
        Order of the axes of maps.
    """

    path: str
    call: int | None = None
    choice: str | None = None
    order: str | None = None


def parse_layer(text: str) -> LayerRequest:
    """Read a request.

    Parameters
    ----------
    text : str
        ``path[@call][:choice[:order]]``.

    Returns
    -------
    LayerRequest
        Its parts.

    Raises
    ------
    TypeError
        If `text` is no text.
    ValueError
        If it has another form.

    Examples
    --------
    >>> parse_layer("layer1.0.relu@2:grid3")
    LayerRequest(path='layer1.0.relu', call=2, choice='grid3', order=None)
    """
    if not isinstance(text, str):
        raise TypeError(f"A layer must be named by text; got {text!r}.")
    place, *rest = text.split(":")
    path, at, call = place.partition("@")
    problem = None
    if not path:
        problem = "the path of a module must come first"
    elif at and not re.fullmatch(r"[1-9]\d{0,3}", call):
        problem = f"after '@' comes a number from 1; got {call!r}"
    elif len(rest) > 2:
        problem = "there are too many colons"
    elif rest and not _CHOICE.fullmatch(rest[0]):
        words = ("flat", "gap", "grid3", "cls", "patches", "mean", "q", "k", "v")
        problem = (
            f"the choice {rest[0]!r} is none of flat, gap, gridK, cls, patches, mean, "
            f"q, k, v, q.cls and so on.{suggest(rest[0], words)}"
        )
    elif len(rest) == 2 and rest[1] not in ORDERS:
        problem = f"the order must be one of {ORDERS}; got {rest[1]!r}"
    if problem:
        raise ValueError(
            f"The layer {text!r} must look like 'path', 'path:choice' or "
            f"'path@call:choice:order': {problem}"
        )
    choice, order = (*rest, None, None)[:2]
    return LayerRequest(path, int(call) if at else None, choice, order)


# ------------------------------------------------------------------- attention


def attention_source(module: nn.Module, path: str) -> list[str]:
    """Return the modules at or below a path that make queries, keys and values.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    path : str
        Where to look.

    Returns
    -------
    list of str
        Paths of linear layers called ``qkv`` and of multi-head attentions.
    """
    start = module.get_submodule(path)
    return [name for name, m in start.named_modules(prefix=path) if _makes_qkv(name, m)]


def _makes_qkv(name: str, module: nn.Module) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return module.in_proj_weight is not None
    is_linear = isinstance(module, nn.Linear) and module.out_features % 3 == 0
    return is_linear and name.rpartition(".")[2] == "qkv"


def _part_of_attention(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    output: Any,
    n: int,
) -> Tensor:
    """Return queries (0), keys (1) or values (2)."""
    if not isinstance(module, nn.MultiheadAttention):
        third: Tensor = output.chunk(3, -1)[n]
        return third
    names = ("query", "key", "value")
    source: Tensor = args[n] if n < len(args) else kwargs[names[n]]
    weight = module.in_proj_weight.chunk(3)[n]
    bias = module.in_proj_bias
    return F.linear(source, weight, None if bias is None else bias.chunk(3)[n])


# --------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Reading:
    """A request together with the activation that answers it.

    Parameters
    ----------
    text : str
        The request as it was written.
    activation : Activation
        Where it is read.
    choice : str
        How it is pooled.
    part : int, optional
        0, 1 or 2 for queries, keys or values.
    """

    text: str
    activation: Activation
    choice: str
    part: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one picture's features before they are flattened."""
        return self.activation.result_shape(self.choice)

    @property
    def n_features(self) -> int:
        """Features per picture."""
        return math.prod(self.shape)

    @property
    def identity(self) -> dict[str, Any]:
        """What the features depend on besides network and pictures."""
        a = self.activation
        place = {"path": a.path, "call": a.call, "batch_axis": a.batch_axis}
        axes = {"kind": a.kind, "order": a.order, "prefix": a.prefix, "grid": a.grid}
        return place | axes | {"choice": self.choice, "part": self.part}


def plan_readings(
    module: nn.Module, layout: InputLayout, layers: Sequence[str], name: str
) -> list[Reading]:
    """Check requests against a network.

    Parameters
    ----------
    module : torch.nn.Module
        Network in evaluation mode.
    layout : InputLayout
        Size of its input and kinds of its tokens.
    layers : sequence of str
        Requests.
    name : str
        Name of the network, for messages.

    Returns
    -------
    list of Reading
        One per request.

    Raises
    ------
    TypeError, ValueError
        If a request has no sense for this network; the message names what has.
    """
    if isinstance(layers, str):
        raise TypeError(f"`layers` must be a list of names; got the text {layers!r}.")
    if not layers:
        raise ValueError("`layers` is empty: name at least one layer.")
    if len(set(layers)) < len(layers):
        raise ValueError(f"`layers` names a layer twice: {list(layers)}.")
    requests = [parse_layer(text) for text in layers]
    paths = [path for path, _ in module.named_modules() if path]
    places = [
        _place(module, text, request, paths, name)
        for text, request in zip(layers, requests, strict=True)
    ]
    found = find_activations(module, layout, dict.fromkeys(places))
    return [
        _reading(text, request, found[place], place)
        for text, request, place in zip(layers, requests, places, strict=True)
    ]


def _place(
    module: nn.Module, text: str, request: LayerRequest, paths: list[str], name: str
) -> str:
    """Return the module to listen to."""
    if request.path not in paths:
        # What is right from the left on is taken as meant.
        parts = request.path.split(".")
        stems = (".".join(parts[:n]) + "." for n in range(len(parts) - 1, 0, -1))
        inside = ([p for p in paths if p.startswith(stem)] for stem in stems)
        near = next(filter(None, inside), paths)
        raise ValueError(
            f"{name} has no layer {request.path!r}.{suggest(request.path, near)} "
            "`list_layers` names all of them."
        )
    if request.choice is None or request.choice[0] not in "qkv":
        return request.path
    sources = attention_source(module, request.path)
    if len(sources) != 1:
        raise ValueError(
            f"{text!r} asks for attention, but {request.path!r} has "
            f"{len(sources) or 'no'} layers that make queries, keys and values"
            + (f": name one of {', '.join(sources[:4])}." if sources else ".")
        )
    return sources[0]


def _reading(
    text: str, request: LayerRequest, calls: list[Activation | str], place: str
) -> Reading:
    if not calls:
        raise ValueError(
            f"{text!r}: the module {place!r} does not run in a forward pass. Ask for a "
            "module around it."
        )
    if request.call is None and len(calls) > 1:
        raise ValueError(
            f"{text!r}: {place!r} runs {len(calls)} times in one pass. Write "
            f"'{request.path}@1' to '{request.path}@{len(calls)}' to say which."
        )
    if request.call is not None and request.call > len(calls):
        raise ValueError(
            f"{text!r}: there is no run {request.call} of {place!r} in one pass, which "
            f"has {len(calls)}."
        )
    activation = calls[(request.call or 1) - 1]
    if isinstance(activation, str):
        raise ValueError(f"{text!r}: {place!r} {activation}.")
    choice, part = request.choice, None
    if choice is not None and choice[0] in "qkv":
        part = "qkv".index(choice[0])
        choice = choice[2:] or "patches"
        activation = _third(activation)
    if request.order is not None:
        if activation.kind != "map":
            raise ValueError(
                f"{text!r}: {request.order} is for maps; the output is of shape "
                f"{activation.shape} per picture."
            )
        activation = as_map(activation, request.order)
    if choice is None and activation.kind == "vector":
        choice = "flat"
    if choice is None or not activation.allows(choice):
        raise ValueError(_unclear(text, request, activation, part))
    return Reading(text, activation, choice, part)


def _third(activation: Activation) -> Activation:
    *axes, width = activation.shape
    # Multi-head attention returns its output, which has the width of one part.
    width = width // 3 if activation.path.endswith("qkv") else width
    return replace(activation, shape=(*axes, width))


def _unclear(
    text: str, request: LayerRequest, activation: Activation, part: int | None
) -> str:
    start = request.path + (f"@{request.call}" if request.call else "") + ":"
    if part is not None:
        start += "qkv"[part] + "."
    choices = [c for c in activation.choices if part is None or c != "flat"]
    spans = (choice.replace("..", f"' to '{start}") for choice in choices)
    options = ", ".join(f"'{start}{span}'" for span in spans)
    kind = {"map": "a map", "tokens": "tokens", "vector": "a vector"}
    what = kind.get(activation.kind, "values")
    message = (
        f"The layer {text!r} gives {what} of shape {activation.shape} per picture: "
        f"write {options or 'the name of another layer'}."
    )
    if activation.kind == "map" and activation.order is None:
        message += (
            " The shape does not tell which axis holds the channels: for more, add "
            f"the order, such as '{start}gap:channels-first'."
        )
    return message


class _EnoughError(Exception):
    """All that was asked for has been read."""


def read_layers(
    module: nn.Module, inputs: Tensor, readings: Sequence[Reading]
) -> list[Tensor]:
    """Read layers in one forward pass, which ends after the last of them.

    Parameters
    ----------
    module : torch.nn.Module
        Network in evaluation mode.
    inputs : Tensor of float32, shape (B, 3, h, w)
        Preprocessed pictures on the device of the network.
    readings : sequence of Reading
        From `plan_readings`.

    Returns
    -------
    list of Tensor of float32, shape (B, n_features)
        One per reading.

    Raises
    ------
    RuntimeError
        If a layer did not run this time.
    """
    by_path: dict[str, list[int]] = {}
    for index, reading in enumerate(readings):
        by_path.setdefault(reading.activation.path, []).append(index)
    rows: dict[int, Tensor] = {}
    calls = dict.fromkeys(by_path, 0)

    def listen(path: str) -> Any:
        def hook(child: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            calls[path] += 1
            for index in by_path[path]:
                reading = readings[index]
                if reading.activation.call != calls[path]:
                    continue
                if reading.part is None:
                    value = only_tensor(output)
                    assert value is not None
                else:
                    value = _part_of_attention(
                        child, args, kwargs, output, reading.part
                    )
                rows[index] = reading.activation.pool(value, reading.choice)
            if len(rows) == len(readings):
                raise _EnoughError

        return hook

    with ExitStack() as hooks:
        for path in by_path:
            child = module.get_submodule(path)
            hooks.enter_context(
                child.register_forward_hook(listen(path), with_kwargs=True)
            )
        try:
            module(inputs)
        except _EnoughError:
            return [rows[index] for index in range(len(readings))]
    missing = [r.text for i, r in enumerate(readings) if i not in rows]
    raise RuntimeError(f"The layers {missing} did not run in this pass.")
