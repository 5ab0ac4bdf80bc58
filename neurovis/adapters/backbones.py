"""Networks whose layers are read: timm, torchvision, open_clip, and small files.

Every network comes with the preprocessing that it was trained with, and with the hash
of its weights. Nothing is downloaded unless published weights are asked for.
"""

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from neurovis.adapters.compact_vgg import compact_vgg, load_compact
from neurovis.adapters.control_features import load_control
from neurovis.adapters.feature_inputs import (
    RESIZE_RULES,
    Preprocessing,
    ResizeRule,
    to_format,
)
from neurovis.adapters.feature_models import Backbone, list_layers
from neurovis.adapters.feature_networks import load_small_network
from neurovis.adapters.open_clip_models import (
    create_open_clip,
    import_open_clip,
    match_open_clip,
    published_config,
)
from neurovis.adapters.sketch_clip import load_sketch_clip
from neurovis.adapters.transformers_clip import load_clip_tower
from neurovis.adapters.trunks import INPUT_FORMATS
from neurovis.adapters.weights import (
    check_state_dict,
    hub_file,
    read_state_dict,
    timm_state_dict,
)
from neurovis.core.checks import check_option, check_path, check_whole, suggest
from neurovis.core.rng import own_torch_stream

__all__ = ["Backbone", "list_layers", "load_backbone", "load_open_clip"]

SOURCES = ("timm", "torchvision", "open_clip", "transformers", "control")
# Pixel format and side of the input.
SMALL_NETWORKS = {
    "compact_vgg": ("imagenet", 128),
    "sketch_clip": ("imagenet", 32),
    "squeezenet1_0": ("squeezenet", 227),
    "darknet_tiny": ("unit", 224),
}
# What timm and open_clip call the ways to come to a size.
_RULES: dict[str, ResizeRule] = {
    "center": "crop",
    "shortest": "crop",
    "squash": "squash",
    "border": "pad",
    "longest": "pad",
}


def load_backbone(
    name: str = "compact_vgg",
    weights: str | Path | None = None,
    *,
    size_px: int | tuple[int, int] | None = None,
    resize: ResizeRule | None = None,
) -> Backbone:
    """Build a network and load its weights.

    Parameters
    ----------
    name : str, default "compact_vgg"
        ``"timm:NAME"`` (with or without the tag of its weights),
        ``"torchvision:NAME"`` or ``"torchvision:NAME.WEIGHTS"`` (such as
        "torchvision:resnet50.IMAGENET1K_V1"), ``"open_clip:NAME"`` or
        ``"open_clip:NAME.TAG"`` (the vision tower), ``"transformers:NAME"`` (the vision
        tower of CLIP, from a folder or the cache of the hub; see
        `neurovis.adapters.transformers_clip`), ``"compact_vgg"`` (which comes with
        weights), ``"sketch_clip"`` (so does this, for drawings of 32 x 32 pixels),
        ``"squeezenet1_0"``, ``"darknet_tiny"``; or ``"control:gabor"``,
        ``"control:pyramid"`` and ``"control:colour"``, which have no weights (see
        `neurovis.adapters.control_features`).
    weights : str or Path, optional
        The path of a ``.safetensors`` (or weights-only ``.pt``, ``.pth``) file, or of
        a folder for transformers; ``"seeded:N"`` for the random weights that the
        architecture starts from; by default those published for timm and torchvision,
        from the cache on disk or the hub.
    size_px : int or (int, int), optional
        Side, or height and width, of the input; by default what the network was
        trained with. Vision transformers adapt their positions when weights are
        loaded (timm only).
    resize : {"crop", "squash", "pad", "none"}, optional
        How pictures come to that size (see `Preprocessing`); by default the network's
        own rule. "squash" keeps all of the picture.

    Returns
    -------
    Backbone
        On the CPU, in evaluation mode.

    Raises
    ------
    ValueError
        If the name is unknown (the nearest one is suggested), or weights or size do
        not fit.
    FileNotFoundError
        If a file is missing or a hub cannot be reached.
    DataCorruptError
        If a file is damaged.
    MissingDependencyError
        If open_clip or transformers is needed and not installed.

    Examples
    --------
    >>> backbone = load_backbone("timm:test_vit", "seeded:0", resize="squash")
    >>> backbone.preprocessing.size_px
    (160, 160)
    >>> backbone.notes
    ('timm:test_vit: untrained weights (seeded:0)',)
    """
    source, colon, model = name.partition(":")
    if not colon and name not in SMALL_NETWORKS:
        hint = suggest(name, SMALL_NETWORKS)
        raise ValueError(
            "`name` must be 'timm:...', 'torchvision:...', 'open_clip:...', "
            "'transformers:...', 'control:...', 'compact_vgg', 'sketch_clip', "
            f"'squeezenet1_0' or 'darknet_tiny'; got {name!r}.{hint}"
        )
    if resize is not None:
        check_option("resize", resize, RESIZE_RULES)
    sides = (size_px, size_px) if isinstance(size_px, int) else size_px
    for side in sides or ():
        check_whole("size_px", side, low=1)
    if not colon:
        backbone = _load_small(name, weights)
    else:
        check_option("source of the network", source, SOURCES)
        if source == "control":
            if weights is not None:
                raise ValueError(f"{name!r} has no weights; got {str(weights)!r}.")
            size = 128 if sides is None else sides[0]
            if sides is not None and sides[0] != sides[1]:
                raise ValueError(f"{name!r} needs a square `size_px`; got {sides}.")
            return load_control(model, size_px=size, resize=resize or "crop")
        if sides is not None and source in ("open_clip", "transformers"):
            raise ValueError(
                f"`size_px` of the networks of {source} cannot be changed."
            )
        if source == "open_clip":
            backbone = _open_clip(model, weights, whole=False)[1]
        elif source == "transformers":
            backbone = load_clip_tower(model, weights, seed=_seed(weights))
        else:
            load = _load_timm if source == "timm" else _load_torchvision
            backbone = load(model, weights, sides)
    rule = _resized(backbone.preprocessing, sides, resize)
    return replace(backbone, preprocessing=rule)


def _resized(
    rule: Preprocessing, sides: tuple[int, int] | None, resize: ResizeRule | None
) -> Preprocessing:
    scaled = rule.scaled_px
    if sides is not None and sides != rule.size_px:
        # The share that is cut away stays as it was.
        height, width = rule.size_px
        scaled = (scaled[0] * sides[0] // height, scaled[1] * sides[1] // width)
        rule = replace(rule, size_px=sides, resize_px=scaled)
    if resize is not None and resize != rule.resize:
        # Asked for the whole picture: nothing is cut away.
        whole = rule.size_px if resize != "crop" else scaled
        rule = replace(rule, resize=resize, resize_px=whole)
    return rule


def _seed(weights: str | Path | None) -> int | None:
    if weights is None or not str(weights).startswith("seeded:"):
        return None
    found = re.fullmatch(r"seeded:(\d{1,9})", str(weights), re.ASCII)
    if found is None:
        raise ValueError(f"`weights` must look like 'seeded:0'; got {weights!r}.")
    return int(found[1])


def _told(weights: str | Path | None) -> str:
    if weights is None:
        return "published"
    text = str(weights)
    return text if text.startswith("seeded:") else Path(text).name


def _build(make: Callable[[], nn.Module], seed: int | None) -> nn.Module:
    with own_torch_stream(seed or 0, "weights"):
        return make().eval()


def _fill(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    needed = {name: tuple(v.shape) for name, v in module.state_dict().items()}
    check_state_dict(state, needed, source)
    module.load_state_dict(dict(state))


# --------------------------------------------------------------------- sources


def _load_compact(weights: str | Path | None) -> Backbone:
    weights = "shipped" if weights is None else weights
    found = load_compact(weights)
    pixels, side = SMALL_NETWORKS["compact_vgg"]
    rule = Preprocessing((side, side), pixels=INPUT_FORMATS[pixels])
    module = compact_vgg(found.state, found.about["widths"])
    told = "shipped" if weights == "shipped" else _told(weights)
    return Backbone(
        *("compact_vgg", module, rule, "compact_vgg", told),
        trained=found.trained,
        order="channels-first",
        remarks=found.notes,
    )


def _load_sketch_clip(weights: str | Path | None) -> Backbone:
    weights = "shipped" if weights is None else weights
    module = load_sketch_clip(weights)
    pixels, side = SMALL_NETWORKS["sketch_clip"]
    rule = Preprocessing((side, side), "squash", pixels=INPUT_FORMATS[pixels])
    told = "shipped" if weights == "shipped" else _told(weights)
    return Backbone(
        *("sketch_clip", module, rule, "sketch_clip", told),
        trained=module.trained,
        order="channels-first",
        remarks=module.notes,
    )


def _load_small(name: str, weights: str | Path | None) -> Backbone:
    if name == "compact_vgg":
        return _load_compact(weights)
    if name == "sketch_clip":
        return _load_sketch_clip(weights)
    if weights is None:
        raise ValueError(
            f"`weights` of {name} must be 'seeded:N' or the path of a .safetensors "
            "file; none were given."
        )
    seed = _seed(weights)
    pixels, side = SMALL_NETWORKS[name]
    rule = Preprocessing((side, side), "crop", (256, 256))
    rule = replace(rule, pixels=INPUT_FORMATS[pixels])
    module = _build(lambda: load_small_network(name, str(weights)), seed)
    return Backbone(
        *(name, module, rule, name, _told(weights)),
        trained=seed is None,
        order="channels-first",
    )


def _load_timm(
    name: str, weights: str | Path | None, sides: tuple[int, int] | None
) -> Backbone:
    # Slow to import, and needed here only.
    import timm
    from timm.data.config import resolve_model_data_config

    if not timm.is_model(name):
        hint = suggest(name, timm.list_models())
        raise ValueError(f"`name` must be a model of timm; got {name!r}.{hint}")
    seed = _seed(weights)
    config = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {}
    if sides is not None and config is not None and config.fixed_input_size:
        options["img_size"] = sides
    if seed is not None:
        module = _build(lambda: timm.create_model(name, **options), seed)
    elif weights is None:
        module = _fill_timm(name, timm_state_dict(name), f"timm's {name}", options)
    else:
        module = _fill_timm(name, read_state_dict(weights), str(weights), options)
    data = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    height, width = data["input_size"][1:]
    share = data["crop_pct"]
    scaled = (math.floor(height / share), math.floor(width / share))
    red, green, blue = (round(255 * m) for m in data["mean"])
    rule = Preprocessing(
        (height, width),
        _RULES[data["crop_mode"]],
        scaled,
        data["interpolation"],
        to_format(data["mean"], data["std"]),
        (red, green, blue),
    )
    prefix, has_class = _token_layout(module)
    return Backbone(
        f"timm:{name}",
        module,
        rule,
        f"timm:{name.partition('.')[0]}",
        _told(weights),
        trained=seed is None,
        prefix_tokens=prefix,
        class_token=has_class,
        order="channels-last" if getattr(module, "output_fmt", "") == "NHWC" else None,
    )


def _fill_timm(
    name: str, state: dict[str, Tensor], source: str, options: dict[str, Any]
) -> nn.Module:
    import timm

    config = timm.get_pretrained_cfg(name)
    classifier = None if config is None else config.classifier
    given: dict[str, Any] = {"state_dict": dict(state)}
    if isinstance(classifier, str):
        # A head for other classes, or none, is as good.
        head = state.get(f"{classifier}.weight")
        given["num_classes"] = options["num_classes"] = 0 if head is None else len(head)
    try:
        # timm renames and resamples the tensors of older and differently sized files.
        module = _build(
            lambda: timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay=given, **options
            ),
            None,
        )
    except (RuntimeError, LookupError) as error:
        fresh = _build(lambda: timm.create_model(name, **options), None)
        needed = {key: tuple(v.shape) for key, v in fresh.state_dict().items()}
        check_state_dict(state, needed, source)
        raise ValueError(f"The weights from {source} do not fit: {error}") from error
    settings: Any = module.pretrained_cfg
    settings.pop("state_dict")  # one copy is enough
    return module


def _token_layout(module: nn.Module) -> tuple[int, bool]:
    """Return the number of tokens before the patches, and whether one is for class."""
    trunk = getattr(module, "trunk", None)
    if isinstance(trunk, nn.Module):  # a timm model inside open_clip
        return _token_layout(trunk)
    names = ("cls_token", "class_token", "class_embedding")
    has_class = any(isinstance(getattr(module, n, None), Tensor) for n in names)
    return int(getattr(module, "num_prefix_tokens", has_class)), has_class


def _load_torchvision(
    name: str, weights: str | Path | None, sides: tuple[int, int] | None
) -> Backbone:
    from torchvision import models

    name, _, tag = name.partition(".")
    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            f"`name` must be an image network of torchvision; got {name!r}."
            f"{suggest(name, known)}"
        )
    published = models.get_model_weights(name)
    tags = list(published.__members__)
    if tag:
        check_option(f"weights of torchvision's {name}", tag, tags)
    entry = published[tag] if tag else published.DEFAULT
    seed = _seed(weights)
    options: dict[str, Any] = {}
    if sides is not None and name.startswith("vit_"):
        options["image_size"] = sides[0]

    def make() -> nn.Module:
        with warnings.catch_warnings():
            # Two old networks say that their initial weights will change.
            warnings.simplefilter("ignore", FutureWarning)
            network: nn.Module = models.get_model(name, weights=None, **options)
        return network

    module = _build(make, seed)
    if seed is None:
        if weights is None:
            filename = entry.url.rpartition("/")[2]
            mark = re.search(r"-([0-9a-f]{8,64})\.", filename)
            if mark is None:
                raise ValueError(f"{entry.url} tells no hash: give a file.")
            purpose = f"torchvision's {name} ({entry.name})"
            weights_file: str | Path = hub_file(entry.url, filename, mark[1], purpose)
        else:
            weights_file = weights
        _fill(module, read_state_dict(weights_file), str(weights_file))
        if hasattr(module, "transform_input"):
            # Published weights of these were ported from TensorFlow's pixel format.
            module.transform_input = True  # type: ignore[assignment]
    preset = entry.transforms()
    side, scaled = preset.crop_size[0], preset.resize_size[0]
    rule = Preprocessing(
        (side, side),
        "crop",
        (scaled, scaled),
        preset.interpolation.value,
        to_format(preset.mean, preset.std),
    )
    prefix, has_class = _token_layout(module)
    return Backbone(
        f"torchvision:{name}" + (f".{tag}" if tag else ""),
        module,
        rule,
        f"torchvision:{name}",
        _told(weights) if weights is not None else entry.name,
        trained=seed is None,
        prefix_tokens=prefix,
        class_token=has_class,
    )


def load_open_clip(name: str, weights: str | Path) -> tuple[nn.Module, Backbone]:
    """Load both towers of a model of open_clip, of which one reads texts.

    Parameters
    ----------
    name : str
        ``"open_clip:NAME"`` or ``"open_clip:NAME.TAG"``.
    weights : str or Path
        File of the whole model, or ``"seeded:N"``.

    Returns
    -------
    model : torch.nn.Module
        On the CPU, in evaluation mode.
    backbone : Backbone
        Its vision tower, as `load_backbone` gives it.

    Raises
    ------
    ValueError
        If the name is another one, or weights are those of a vision tower alone or of
        another model.
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    MissingDependencyError
        If open_clip is not installed.
    """
    source, _, model = name.partition(":")
    if source != "open_clip":
        raise ValueError(
            f"`name` must be 'open_clip:...', whose networks read texts; got {name!r}."
        )
    return _open_clip(model, weights, whole=True)


def _open_clip(
    name: str, weights: str | Path | None, *, whole: bool
) -> tuple[nn.Module, Backbone]:
    """Return a model and its vision tower; weights are those of both, or of one."""
    open_clip = import_open_clip()
    full, tag = f"open_clip:{name}", name.partition(".")[2]
    published, (name, config) = name, published_config(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    seed = _seed(weights)
    if weights is None or (seed is None and tags and not tag):
        some = ", ".join(tags[:8]) + (", ..." if len(tags) > 8 else "")
        hub = config.get("hf_hub", "").strip("/")
        where = f" It is published at https://huggingface.co/{hub}." if hub else ""
        raise ValueError(
            f"open_clip:{name} needs `weights`, 'seeded:N' or the path of a "
            f".safetensors file, and with a file a name such as "
            f"'open_clip:{name}.{tags[0] if tags else ''}', which tells the "
            f"preprocessing; got {weights!r}. Published are {some or 'none'}.{where}"
        )
    quick_gelu = bool(config.get("quick_gelu"))
    state = {} if seed is not None else read_state_dict(check_path("weights", weights))
    tower = {
        key.removeprefix("visual."): value
        for key, value in state.items()
        if key.startswith("visual.")
    }
    if whole and seed is None and not 0 < len(tower) < len(state):
        raise ValueError(
            f"{weights} holds one tower alone; what reads texts needs the whole model."
        )
    model: Any = _build(lambda: create_open_clip(published), seed)
    module: nn.Module = model.visual
    if seed is None and whole:
        _fill(model, match_open_clip(state, model), str(weights))
    elif seed is None:
        _fill(module, tower or state, str(weights))
    keys = ("size", "mean", "std", "interpolation", "resize_mode", "fill_color")
    defaults = open_clip.transform.PreprocessCfg()
    given = {key: getattr(defaults, key) for key in keys}
    own = getattr(module, "preprocess_cfg", {}) | config
    given |= {key: own[key] for key in keys if own.get(key) is not None}
    size = given["size"]
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    rule = Preprocessing(
        (height, width),
        _RULES[given["resize_mode"]],
        None,
        given["interpolation"],
        to_format(given["mean"], given["std"]),
        (given["fill_color"],) * 3,
    )
    prefix, has_class = _token_layout(module)
    return model, Backbone(
        full,
        module,
        rule,
        f"open_clip:{name}" + (" with quick GELU" if quick_gelu else ""),
        _told(weights),
        trained=seed is None,
        prefix_tokens=prefix,
        class_token=has_class,
    )
