"""Vision towers of CLIP as the package transformers keeps them.

What such a tower returns is the projected embedding before it is divided by its length:
lengths tell something (`neurovis.generation.bank_projection`), and can be divided by
later.

References
----------
Radford et al. (2021). Learning transferable visual models from natural language
supervision. ICML. arXiv:2103.00020.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from neurovis.adapters.feature_inputs import Preprocessing, ResizeRule, to_format
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.hub_folders import (
    describe,
    find_hub_folder,
    import_generate,
    is_hub_name,
    loader_errors,
    unfit,
    weights_variant,
)
from neurovis.adapters.weights import check_state_dict, read_state_dict
from neurovis.core.checks import check_option
from neurovis.core.errors import DataCorruptError
from neurovis.core.rng import own_torch_stream

LAYOUT = """\
CLIP of transformers is a folder of
  config.json               of a CLIPModel or a CLIPVisionModelWithProjection
  model.safetensors         or several files and model.safetensors.index.json
  preprocessor_config.json  or processor_config.json"""
"""Files of a model."""

_WHAT = "Networks of transformers"
_STEM = "model"
_WANTED = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    f"{_STEM}.safetensors*",
    f"{_STEM}-0*.safetensors",
)
_KINDS = ("clip", "clip_vision_model")
_TOWER = ("vision_model.", "visual_projection.")

# Numbers of Pillow, as files of preprocessing tell them.
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# What all models of CLIP have, where old files are silent.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")


class ClipVisionTower(nn.Module):
    """A vision tower and its projection.

    Parameters
    ----------
    model : transformers.CLIPVisionModelWithProjection
        Whose parts it takes.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        self.visual_projection = model.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed pictures.

        Parameters
        ----------
        pixels : Tensor of float32, shape (n, 3, h, w)
            Normalised, of the size of its input.

        Returns
        -------
        Tensor of float32, shape (n, n_features)
            Projected embeddings, not of length 1.
        """
        pooled = self.vision_model(pixel_values=pixels).pooler_output
        embedded: Tensor = self.visual_projection(pooled)
        return embedded


def load_clip_tower(
    name: str, weights: str | Path | None = None, *, seed: int | None = None
) -> Backbone:
    """Load the vision tower of a model.

    Parameters
    ----------
    name : str
        A folder (`LAYOUT`), or a name on the Hugging Face hub, "owner/name", that is
        in the cache on disk; nothing is downloaded.
    weights : str or Path, optional
        Folder of the model, where it is not in the cache; `name` is then only what it
        is called.
    seed : int, optional
        Take random weights of that seed, and only the description of the model.

    Returns
    -------
    Backbone
        On the CPU, in evaluation mode. Its output is the projected embedding, not
        divided by its length.

    Raises
    ------
    ValueError
        If the folder holds another kind of model, its pictures are prepared in a way
        that is not supported, or weights do not fit.
    FileNotFoundError
        If the model or a part of it is missing.
    DataCorruptError
        If a file is damaged.
    MissingDependencyError
        If transformers is not installed.
    """
    own = None if seed is not None else weights
    folder = _find(name, own)
    _check_whole(folder, with_weights=seed is None)
    kind = describe(folder / "config.json").get("model_type")
    check_option(f"model_type of {folder / 'config.json'}", kind, _KINDS)
    rule = read_preprocessing(folder)
    transformers = import_generate("transformers", _WHAT)
    try:
        config = _read_config(transformers, folder, str(kind))
        with own_torch_stream(seed or 0, "weights"):
            model = transformers.CLIPVisionModelWithProjection(config)
    except loader_errors() as error:
        raise unfit(folder / "config.json", "a CLIPConfig", error) from error
    if rule.size_px != (config.image_size, config.image_size):
        raise ValueError(
            f"{folder} is a network for pictures of {config.image_size} pixels, but "
            f"its preprocessing makes {rule.size_px}: they belong to different models."
        )
    module = ClipVisionTower(model.float()).eval()
    if seed is None:
        _fill(module, folder)
    return Backbone(
        f"transformers:{name}",
        module,
        rule,
        f"transformers:CLIP with {config.num_attention_heads} heads, "
        f"{config.hidden_act}, {config.layer_norm_eps:g}",
        f"seeded:{seed}" if seed is not None else Path(weights or name).resolve().name,
        trained=seed is None,
        prefix_tokens=1,
        class_token=True,
    )


def read_preprocessing(folder: Path) -> Preprocessing:
    """Return how the pictures of a model are prepared.

    Parameters
    ----------
    folder : Path
        With ``preprocessor_config.json``, or ``processor_config.json`` of transformers
        5, in any form that these had.

    Returns
    -------
    Preprocessing
        Size, interpolation, mean and standard deviation as the file tells them.

    Raises
    ------
    ValueError
        If pictures are prepared in a way that is not supported.
    DataCorruptError
        If the file is damaged.

    Notes
    -----
    The centre is cut out as by torchvision, with which CLIP was trained and tested.
    Where an odd number of pixels is cut off, transformers always leaves the larger
    part at the end, torchvision half of the time: then the cut is one pixel apart.
    """
    path = folder / "preprocessor_config.json"
    told = describe(path)
    if not told:
        path = folder / "processor_config.json"
        told = describe(path).get("image_processor") or {}
    try:
        skipped = [step for step in _STEPS if not told.get(step, True)]
        scaled = _resize_size(told.get("size", 224))
        size = _sides(told.get("crop_size", 224))
        interpolation = _INTERPOLATIONS[told.get("resample", 3)]
        format_ = to_format(
            told.get("image_mean") or _MEAN, told.get("image_std") or _STD
        )
        factor = 255 * float(told.get("rescale_factor", 1 / 255))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} describes no preprocessing of CLIP, which scales the short side, "
            f"cuts out the centre and normalises; it tells {told!r}."
        ) from error
    if skipped or abs(factor - 1) > 1e-6:
        what = ", ".join(skipped) or f"another rescale_factor, {factor / 255:g}"
        raise ValueError(
            f"{path} is not supported: it switches off or changes {what}. Pictures "
            "must be resized, cut, divided by 255 and normalised."
        )
    resize: ResizeRule = "crop" if isinstance(scaled, int) else "squash"
    sides = (scaled, scaled) if isinstance(scaled, int) else scaled
    return Preprocessing(size, resize, sides, interpolation, format_)


def _resize_size(told: Any) -> int | tuple[int, int]:
    """Return the short side, or height and width."""
    if isinstance(told, int):
        return told
    return int(told["shortest_edge"]) if "shortest_edge" in told else _sides(told)


def _sides(told: Any) -> tuple[int, int]:
    if isinstance(told, int):
        return told, told
    return int(told["height"]), int(told["width"])


# ------------------------------------------------------------------------ files


def _find(name: str, weights: str | Path | None) -> Path:
    path = Path(name if weights is None else weights)
    if path.is_dir():
        return path
    if weights is not None or not is_hub_name(name):
        what = "`weights`" if weights is not None else "'transformers:NAME'"
        raise FileNotFoundError(
            f"{what} must be the folder of a model, 'transformers:owner/name' one in "
            f"the cache of the Hugging Face hub; {path} is no folder.\n{LAYOUT}"
        )
    return find_hub_folder(name, _WANTED, LAYOUT, what=_WHAT)


def _check_whole(folder: Path, *, with_weights: bool) -> None:
    lacking = []
    if not (folder / "config.json").is_file():
        lacking.append("config.json")
    if with_weights and weights_variant(folder, _STEM) != "":
        lacking.append(f"{_STEM}.safetensors")
    names = ("preprocessor_config.json", "processor_config.json")
    if not any((folder / name).is_file() for name in names):
        lacking.append(names[0])
    if not lacking:
        return
    advice = ""
    if any(folder.glob("*.bin")):
        advice = (
            " Weights in .bin files could run code and are not read: convert them, "
            "where you trust them, with the save_pretrained of transformers."
        )
    raise FileNotFoundError(
        f"{folder} is no whole model: it lacks {', '.join(lacking)}.{advice}\n{LAYOUT}"
    )


def _read_config(transformers: Any, folder: Path, kind: str) -> Any:
    if kind == "clip_vision_model":
        load = transformers.CLIPVisionConfig.from_pretrained
        return load(folder, local_files_only=True)
    both = transformers.CLIPConfig.from_pretrained(folder, local_files_only=True)
    # Whole models project to the size that they tell themselves.
    both.vision_config.projection_dim = both.projection_dim
    return both.vision_config


def _fill(module: nn.Module, folder: Path) -> None:
    state: dict[str, Tensor] = {}
    for path in _weights_files(folder):
        state |= {n: v for n, v in read_state_dict(path).items() if _is_of_tower(n)}
    needed = {name: tuple(v.shape) for name, v in module.state_dict().items()}
    check_state_dict(state, needed, str(folder))
    module.load_state_dict(state)


def _is_of_tower(name: str) -> bool:
    # Old files number the positions, too.
    return name.startswith(_TOWER) and not name.endswith(".position_ids")


def _weights_files(folder: Path) -> list[Path]:
    whole = folder / f"{_STEM}.safetensors"
    if whole.is_file():
        return [whole]
    index = whole.with_name(f"{whole.name}.index.json")
    told = describe(index).get("weight_map")
    if not isinstance(told, Mapping) or not told:
        raise DataCorruptError(f"{index} names no files. Get the folder again.")
    names = sorted({str(file) for name, file in told.items() if _is_of_tower(name)})
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise DataCorruptError(
            f"{index} names {outside[0]!r}, which is no file beside it."
        )
    return [folder / name for name in names]
