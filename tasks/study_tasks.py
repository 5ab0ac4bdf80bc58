"""Experiments that a study can ask for, and how one job calls them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from types import NoneType
from typing import Any, Literal, get_args, get_type_hints

from neurovis.core.call_options import check_kinds
from neurovis.core.checks import check_option

MODEL_KEYS = ("name", "label", "backbone", "weights", "preprocessing")
"""Entries of a model that is given as a table, see `tasks.models.ModelSpec`."""
SIMULATED = "simulated"


@dataclass(frozen=True)
class SweepTask:
    """How an experiment is called for one cell of a grid.

    Parameters
    ----------
    place : str
        Its function, ``module:function``.
    models : str, optional
        Argument that takes models; None if the experiment has no models to choose.
    form : {"specs", "names", "loaded"}
        What that argument takes: a list of `tasks.models.ModelSpec` or names, a list of
        texts, or one model that `load` makes of a text.
    load : str, optional
        ``module:function`` that makes a model of a text and ``device=``.
    data : str, optional
        Argument that takes the data.
    settings : str, optional
        Argument that takes a dataclass, whose fields are options too.
    settings_class : str, optional
        ``module:class`` of it.
    memory_gib : float
        Memory of a job with the defaults of the experiment, an order of magnitude.
    minutes : float
        Time of such a job for one model on one core, an order of magnitude.
    disk_mib : float
        What it leaves, an order of magnitude.
    """

    place: str
    models: str | None = None
    form: Literal["specs", "names", "loaded"] = "names"
    load: str | None = None
    data: str | None = None
    settings: str | None = None
    settings_class: str | None = None
    memory_gib: float = 1.5
    minutes: float = 2.0
    disk_mib: float = 2.0

    @property
    def function(self) -> Callable[..., Any]:
        """The function of the experiment."""
        function: Callable[..., Any] = find(self.place)
        return function

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Its arguments."""
        return inspect.signature(self.function).parameters

    @property
    def needs_models(self) -> bool:
        """Whether the function must be told which models."""
        return self._is_required(self.models)

    @property
    def needs_data(self) -> bool:
        """Whether the function must be told which data."""
        return self._is_required(self.data)

    @property
    def takes_no_models(self) -> bool:
        """Whether the function may be told None, for a network of its own choice."""
        hint = get_type_hints(self.function).get(str(self.models))
        return not self.needs_models or NoneType in get_args(hint)

    def _is_required(self, argument: str | None) -> bool:
        parameter = self.parameters.get(str(argument))
        return parameter is not None and parameter.default is parameter.empty

    def has(self, argument: str) -> bool:
        """Return whether the function takes an argument of this name.

        Parameters
        ----------
        argument : str
            Name.

        Returns
        -------
        bool
            True if it does.
        """
        return argument in self.parameters

    def options(self) -> dict[str, Any]:
        """Return what a study may set, with its kind.

        Returns
        -------
        dict of str to type hint
            Arguments of the function that no axis of the grid fills, and fields of its
            settings.
        """
        filled = {self.models, self.data, self.settings, *_FILLED}
        hints = get_type_hints(self.function)
        found = {
            name: hints.get(name, Any)
            for name, parameter in self.parameters.items()
            if name not in filled and parameter.kind is not parameter.VAR_KEYWORD
        }
        if self.settings_class is not None:
            kind = find(self.settings_class)
            hints = get_type_hints(kind)
            names = {each.name for each in fields(kind)} - {"seed", self.models}
            found |= {name: hints[name] for name in sorted(names)}
        kinds = [parameter.kind for parameter in self.parameters.values()]
        return found | (_LOADING if inspect.Parameter.VAR_KEYWORD in kinds else {})


_FILLED = ("out", "seed", "device", "store", "subjects", "regions")
# Arguments that experiments hand on to `tasks.brain_sources.load_brain`.
_LOADING = {"space": str, "preparation": str, "memory_gib": float}
IMAGE_GENERATORS = "neurovis.adapters.image_generators:load_image_generator"

SWEEP_TASKS = {
    "search-asymmetry": SweepTask(
        "tasks.search_asymmetry:run_search_asymmetry",
        models="models",
        form="specs",
        minutes=5.0,
    ),
    "search-natural": SweepTask(
        "tasks.search_natural:run_search_natural",
        models="models",
        form="specs",
        data="data",
        minutes=5.0,
    ),
    "search-slopes": SweepTask(
        "tasks.search_slopes:run_search_slopes",
        models="models",
        form="specs",
        data="data",
        minutes=5.0,
    ),
    "free-viewing": SweepTask(
        "tasks.free_viewing:run_free_viewing", models="models", data="data", minutes=5.0
    ),
    "object-search": SweepTask(
        "tasks.object_search:run_object_search", models="models", data="data"
    ),
    "encoding": SweepTask(
        "tasks.encoding:fit_encoding",
        models="features",
        data="data",
        memory_gib=4.0,
        disk_mib=50.0,
    ),
    "brain-encoder": SweepTask(
        "tasks.brain_encoder:fit_brain_encoder",
        models="features",
        data="data",
        settings="options",
        settings_class="tasks.encoder_options:EncoderOptions",
        memory_gib=4.0,
        minutes=15.0,
        disk_mib=100.0,
    ),
    "clip-encoder": SweepTask(
        "tasks.clip_encoder:fit_clip_encoder",
        models="backbone",
        form="loaded",
        data="data",
        memory_gib=4.0,
        minutes=15.0,
        disk_mib=50.0,
    ),
    "rsa": SweepTask(
        "tasks.rsa:run_rsa", models="features", data="data", memory_gib=2.0
    ),
    "brain-ranking": SweepTask(
        "tasks.brain_ranking:run_brain_ranking",
        models="features",
        data="data",
        memory_gib=4.0,
        minutes=5.0,
    ),
    "localiser": SweepTask(
        "tasks.localiser:run_localiser", models="model", data="pictures"
    ),
    "probes": SweepTask("tasks.probes:run_probes", models="models", minutes=10.0),
    "metamers": SweepTask(
        "tasks.metamer_discrimination:run_metamers", data="responses"
    ),
    "foveation": SweepTask(
        "tasks.foveation:run_foveation",
        models="systems",
        data="data",
        settings="design",
        settings_class="tasks.foveation_design:FoveationDesign",
        minutes=30.0,
        disk_mib=100.0,
    ),
    "recognition": SweepTask(
        "tasks.recognition:run_recognition", models="models", data="data", minutes=4.0
    ),
    "mental-rotation": SweepTask(
        "tasks.mental_rotation:run_mental_rotation", models="models"
    ),
    "gestalt": SweepTask("tasks.gestalt:run_gestalt", models="models"),
    "disrt": SweepTask("tasks.disrt:run_disrt", models="models", data="images"),
    "letter-identification": SweepTask(
        "tasks.letter_identification:run_letter_identification", models="models"
    ),
    "object-binding": SweepTask(
        "tasks.object_binding:run_object_binding", models="models", data="data"
    ),
    "attentive-probing": SweepTask(
        "tasks.attentive_probing:run_attentive_probing", models="models", data="data"
    ),
    "diet": SweepTask(
        "tasks.diet:run_diet", models="diets", data="images", minutes=60.0
    ),
    "braindive": SweepTask(
        "tasks.braindive_experiment:run_braindive",
        models="image_generator",
        form="loaded",
        load=IMAGE_GENERATORS,
        settings="settings",
        settings_class="tasks.braindive_experiment:DiveSettings",
        minutes=15.0,
        disk_mib=50.0,
    ),
    "brainscuba": SweepTask(
        "tasks.brainscuba_experiment:run_brainscuba",
        models="network",
        form="loaded",
        load="neurovis.adapters.backbones:load_backbone",
        settings="settings",
        settings_class="tasks.brainscuba_experiment:ScubaSettings",
        minutes=5.0,
    ),
}
"""What a study can run; names are those of the command line."""


def find(place: str) -> Any:
    """Return what stands at a place.

    Parameters
    ----------
    place : str
        ``module:name``.

    Returns
    -------
    object
        Function or class.

    Examples
    --------
    >>> find("tasks.study_tasks:find") is find
    True
    """
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def check_options(task: str, options: Mapping[str, Any], where: str) -> None:
    """Check the names and kinds of the options of an experiment.

    Parameters
    ----------
    task : str
        One of `SWEEP_TASKS`.
    options : mapping
        Options as they came from a file.
    where : str
        For messages: which table of the file.

    Raises
    ------
    ValueError
        If one is unknown, or of another kind.

    Examples
    --------
    >>> check_options("search-asymmetry", {"trials": 2}, "study.toml")
    """
    check_kinds(options, SWEEP_TASKS[task].options(), of=task, where=where)


def check_model(task: str, model: Any, where: str) -> None:
    """Check a model of an experiment as far as that is possible without loading it.

    Parameters
    ----------
    task : str
        One of `SWEEP_TASKS`.
    model : str or dict
        Model as it came from a file.
    where : str
        For messages.

    Raises
    ------
    TypeError, ValueError, KeyError, FileNotFoundError
        If there can be no such model.
    """
    known = SWEEP_TASKS[task]
    if known.models is None:
        raise ValueError(f"{where}: {task} has no models to choose; remove `models`.")
    if known.form == "specs":
        model_spec(model, where)
        return
    if not isinstance(model, str) or not model:
        raise ValueError(f"{where}: a model of {task} must be text; got {model!r}.")
    if known.models == "features":
        from tasks.feature_specs import parse_features

        parse_features(model)


def model_spec(model: Any, where: str) -> Any:
    """Return the model of a search as its experiment takes it.

    Parameters
    ----------
    model : str or dict
        Name, or table with `MODEL_KEYS`.
    where : str
        For messages.

    Returns
    -------
    tasks.models.ModelSpec
        The model.

    Raises
    ------
    ValueError
        If there can be no such model.
    """
    from tasks.models import ModelSpec

    if isinstance(model, str):
        return ModelSpec(model)
    if not isinstance(model, dict) or "name" not in model:
        raise ValueError(
            f"{where}: a model must be a name, or a table with `name`; got {model!r}."
        )
    for key, value in model.items():
        check_option(f"entry of a model in {where}", key, MODEL_KEYS)
        if not isinstance(value, str):
            raise ValueError(f"{where}: `{key}` of a model cannot be {value!r}.")
    return ModelSpec(**model)
