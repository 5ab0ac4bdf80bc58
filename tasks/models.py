"""Models as a user asks for them: a name, and where weights come from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neurovis.adapters import MODELS, load_model
from neurovis.core.checks import check_option
from neurovis.core.device import resolve

NETWORKS = tuple(name for name, (module, _) in MODELS.items() if "eccnet" in module)
# Names that stand for people in tables of scores.
HUMAN_NAMES = ("human", "human mean", "people")


@dataclass(frozen=True)
class ModelSpec:
    """A model as a user asks for it.

    Parameters
    ----------
    name : str
        One of `neurovis.adapters.MODELS`.
    label : str, optional
        Name in tables; the model's by default.
    backbone, weights, preprocessing : str, optional
        For networks, see `neurovis.adapters.trunk_weights.load_trunk`.

    Raises
    ------
    ValueError
        If the name is unknown, or a baseline gets options of a network.

    Examples
    --------
    >>> ModelSpec("saliency", label="Itti-style").load().name
    'Itti-style'
    """

    name: str
    label: str | None = None
    backbone: str | None = None
    weights: str | None = None
    preprocessing: str | None = None

    def __post_init__(self) -> None:
        check_option("models", self.name, tuple(MODELS))
        given = [
            k for k in ("backbone", "weights", "preprocessing") if getattr(self, k)
        ]
        if given and self.name not in NETWORKS:
            raise ValueError(
                f"`{self.name}` is no network and takes no {given[0]!r}; networks "
                f"are {', '.join(NETWORKS)}."
            )

    def load(self, device: str = "auto") -> Any:
        """Build the model.

        Parameters
        ----------
        device : str, default "auto"
            Where networks compute.

        Returns
        -------
        object
            The model; what it can do is told by the Protocols of
            `neurovis.core.observers`.
        """
        options = {k: v for k, v in asdict(self).items() if v and k != "name"}
        if self.name in NETWORKS:
            options["device"] = device
        return load_model(self.name, **options)


def model_specs(models: Sequence[ModelSpec | str]) -> list[ModelSpec]:
    """Return models as specifications.

    Parameters
    ----------
    models : sequence of ModelSpec or str
        A plain name takes the model's defaults (for networks the
        weights that come with the suite).

    Returns
    -------
    list of ModelSpec
        One per model.

    Raises
    ------
    ValueError
        If there is none, or a name is unknown.
    TypeError
        If `models` is a text.
    """
    if isinstance(models, str):
        raise TypeError(f"`models` must be a list of models; got the text {models!r}.")
    specs = [m if isinstance(m, ModelSpec) else ModelSpec(m) for m in models]
    if not specs:
        raise ValueError("`models` is empty: name at least one observer.")
    return specs


def used_device(specs: Sequence[ModelSpec], device: str) -> Any:
    """Return where models compute: networks on the device, the others on the CPU.

    Parameters
    ----------
    specs : sequence of ModelSpec
        Models of a run.
    device : str
        What was asked for.

    Returns
    -------
    torch.device or str
        "cpu" when no model is a network.
    """
    return resolve(device) if any(s.name in NETWORKS for s in specs) else "cpu"


def check_names(observers: Sequence[Any]) -> None:
    """Raise unless observers have names of their own.

    Parameters
    ----------
    observers : sequence of object with `name`
        Models.

    Raises
    ------
    ValueError
        If two share a name, or one has a name that stands for people.
    """
    names = [observer.name for observer in observers]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(
            f"Two models are called {sorted(repeated)[0]!r}: give each a `label`."
        )
    for name in HUMAN_NAMES:
        if name in names:
            raise ValueError(
                f"A model cannot be called {name!r}, which stands for people: give it "
                "another `label`."
            )
