"""Models of object search by name."""

from collections.abc import Sequence
from pathlib import Path

from neurovis.adapters.oat_network import TARGET_POSITIONS
from neurovis.adapters.object_baselines import OBJECT_BASELINES, ObjectBaseline
from neurovis.adapters.object_tokens import TOKEN_BASELINES, TokenBaseline
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import resolve
from neurovis.core.object_scanpaths import KNOWLEDGE, ObjectScanpathModel
from tasks.models import check_names
from tasks.oat_looks import APPEARANCES
from tasks.oat_model import GREEDY, OAT_MODELS, oat_model
from tasks.object_search_scores import LEAVE_ONE_OUT, LEAVE_ONE_OUT_RAW

MODELS = (*OBJECT_BASELINES, *TOKEN_BASELINES)
"""Heuristics and simple models of tokens: they need no training to speak of."""
BASELINES = "baselines"
"""Stands for all of `MODELS`."""
ALL_MODELS = (*MODELS, *OAT_MODELS, *(name + GREEDY for name in OAT_MODELS))


def object_models(
    models: Sequence[ObjectScanpathModel | str],
    *,
    appearance: str = "none",
    target_position: str = "none",
    folder: str | Path | None = None,
    device: str = "cpu",
    epochs: int | None = None,
) -> list[ObjectScanpathModel]:
    """Return models, those named by text built.

    Parameters
    ----------
    models : sequence of ObjectScanpathModel or str
        Models, or names of `ALL_MODELS`; "baselines" for all of `MODELS`.
    appearance : {"none", "synthetic"}
        What the displays look like, for OAT.
    target_position : {"none", "true"}
        Whether OAT is told where the target is.
    folder : str or Path, optional
        Where trained weights are kept.
    device : str, default "cpu"
        Where OAT is trained and run.
    epochs : int, optional
        The most epochs of training of OAT.

    Returns
    -------
    list of ObjectScanpathModel
        With distinct names.

    Raises
    ------
    TypeError, ValueError
        If there is none, a name is unknown or stands for people, two are equal, or an
        option is out of range; without OAT too.
    """
    check_option("appearance", appearance, APPEARANCES)
    check_option("target_position", target_position, TARGET_POSITIONS)
    resolve(device)
    if epochs is not None:
        check_whole("epochs", epochs, low=1)
    built: list[ObjectScanpathModel] = []
    for model in models:
        if not isinstance(model, str):
            built.append(model)
        elif model == BASELINES:
            built += [_baseline(name) for name in MODELS]
        elif check_option("models", model, (BASELINES, *ALL_MODELS)) in MODELS:
            built.append(_baseline(model))
        else:
            built.append(
                oat_model(
                    model,
                    appearance=appearance,
                    target_position=target_position,
                    folder=folder,
                    device=device,
                    epochs=epochs,
                )
            )
    if not built:
        raise ValueError("`models` is empty: name at least one.")
    check_names(built)
    for each in built:
        if each.name in (LEAVE_ONE_OUT, LEAVE_ONE_OUT_RAW):
            raise ValueError(f"A model cannot be called {each.name!r}: that is people.")
        check_option(f"knows of {each.name}", each.knows, KNOWLEDGE)
    return built


def _baseline(name: str) -> ObjectScanpathModel:
    if name in TOKEN_BASELINES:
        return TokenBaseline(name)
    return ObjectBaseline(name)
