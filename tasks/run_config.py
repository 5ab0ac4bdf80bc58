"""Options of a search run from a TOML file and flags."""

import tomllib
from pathlib import Path
from typing import Any

from neurovis.core.checks import check_option, check_path
from tasks.models import NETWORKS, ModelSpec
from tasks.search_asymmetry import TASK

DEFAULT_MODELS = "eccnet,ivsn,chance"
_MODEL_OPTIONS = ("name", "label", "backbone", "weights", "preprocessing")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "conditions": (str, list),
    "trials": int,
    "seed": int,
    "rendering": str,
    "jpeg": bool,
    "stimuli": str,
    "n_bootstrap": int,
}


def search_options(
    config: str | Path | None = None,
    *,
    models: str | None = None,
    weights: str | None = None,
    backbone: str | None = None,
    preprocessing: str | None = None,
    **flags: Any,
) -> dict[str, Any]:
    """Merge a TOML file and flags; flags win.

    Parameters
    ----------
    config : str or Path, optional
        File with ``experiment = "search-asymmetry"``, any of the options of
        `tasks.search_asymmetry.run_search_asymmetry`, and one ``[[models]]`` table per
        observer (name, label, backbone, weights, preprocessing).
    models : str, optional
        Names separated by commas.
    weights, backbone, preprocessing : str, optional
        For all networks among `models`.
    **flags : object
        Options; None is "not given".

    Returns
    -------
    dict
        Arguments of `tasks.search_asymmetry.run_search_asymmetry` except `out`.

    Raises
    ------
    ValueError
        If the file is no TOML, or has an unknown or wrong entry.
    FileNotFoundError
        If there is no such file.
    """
    options = _read(Path(check_path("config", config))) if config else {}
    specs = options.pop("models", None)
    if models is not None or specs is None:
        names = (models or DEFAULT_MODELS).split(",")
        specs = [{"name": name.strip()} for name in names if name.strip()]
    given = {
        name: value
        for name, value in (
            ("weights", weights),
            ("backbone", backbone),
            ("preprocessing", preprocessing),
        )
        if value
    }
    options["models"] = [
        ModelSpec(**(spec | (given if spec["name"] in NETWORKS else {})))
        for spec in specs
    ]
    options |= {k: v for k, v in flags.items() if v is not None}
    if isinstance(conditions := options.get("conditions"), str) and conditions != "all":
        options["conditions"] = [c.strip() for c in conditions.split(",") if c.strip()]
    return options


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}.") from error
    experiment = values.pop("experiment", TASK)
    check_option("experiment", experiment, (TASK,))
    for name, value in values.items():
        if name == "models":
            continue
        check_option(f"entry of {path}", name, ("experiment", "models", *_KINDS))
        kind = _KINDS[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError(f"{path}: `{name}` cannot be {value!r}.")
    specs = values.get("models", [])
    if not isinstance(specs, list) or not all(isinstance(s, dict) for s in specs):
        raise ValueError(f"{path}: `models` must be [[models]] tables.")
    for spec in specs:
        if "name" not in spec:
            raise ValueError(f"{path}: a [[models]] table lacks `name`.")
        for key, value in spec.items():
            check_option(f"[[models]] entry of {path}", key, _MODEL_OPTIONS)
            if not isinstance(value, str):
                raise ValueError(f"{path}: `{key}` of a model cannot be {value!r}.")
    return values
