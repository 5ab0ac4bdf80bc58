"""Options of a run from a TOML file and flags."""

import tomllib
from pathlib import Path
from typing import Any

from neurovis.core.checks import check_option, check_path
from tasks.models import NETWORKS, ModelSpec

_NETWORKS_AND_CHANCE = "eccnet,ivsn,chance"
# Observers of each experiment when none are named.
DEFAULT_MODELS = {
    "search-asymmetry": _NETWORKS_AND_CHANCE,
    "search-natural": "eccnet,ivsn,saliency,centre,chance",
    "search-slopes": "eccnet,ivsn,saliency,chance",
}
_MODEL_OPTIONS = ("name", "label", "backbone", "weights", "preprocessing")
_Kinds = dict[str, type | tuple[type, ...]]
_COMMON: _Kinds = {"seed": int, "n_bootstrap": int}
_KINDS: dict[str, _Kinds] = {
    "search-asymmetry": {
        "conditions": (str, list),
        "trials": int,
        "rendering": str,
        "jpeg": bool,
        "stimuli": str,
        **_COMMON,
    },
    "search-natural": {
        "data": str,
        "layout": str,
        "dataset": str,
        "displays": int,
        "max_saccades": int,
        "px_per_deg": (int, float),
        **_COMMON,
    },
    "search-slopes": {
        "data": str,
        "tasks": (str, list),
        "trials": int,
        "quitting": str,
        **_COMMON,
    },
}


def run_options(
    task: str,
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
    task : str
        Experiment, one of `DEFAULT_MODELS`.
    config : str or Path, optional
        File with ``experiment = "<task>"``, any of the options of the experiment's
        function (such as `tasks.search_asymmetry.run_search_asymmetry`), and one
        ``[[models]]`` table per observer (name, label, backbone, weights,
        preprocessing).
    models : str, optional
        Names separated by commas.
    weights, backbone, preprocessing : str, optional
        For all networks among `models`.
    **flags : object
        Options; None is "not given".

    Returns
    -------
    dict
        Arguments of the experiment's function except `out` and `device`.

    Raises
    ------
    ValueError
        If the file is no TOML, or has an unknown or wrong entry.
    FileNotFoundError
        If there is no such file.
    """
    check_option("task", task, tuple(DEFAULT_MODELS))
    options = _read(task, Path(check_path("config", config))) if config else {}
    specs = options.pop("models", None)
    if models is not None or specs is None:
        names = (models or DEFAULT_MODELS[task]).split(",")
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
    for name in ("conditions", "tasks"):
        if isinstance(listed := options.get(name), str) and listed != "all":
            options[name] = [c.strip() for c in listed.split(",") if c.strip()]
    return options


def _read(task: str, path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}.") from error
    experiment = values.pop("experiment", task)
    check_option("experiment", experiment, (task,))
    kinds = _KINDS[task]
    for name, value in values.items():
        if name == "models":
            continue
        check_option(f"entry of {path}", name, ("experiment", "models", *kinds))
        kind = kinds[name]
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
