"""Recognition of distorted and conflicting pictures: networks beside people.

People and networks choose one of 16 categories for each picture. Beside accuracies
stand error consistency (whether they err on the same pictures), shape bias (what
decides when shape and texture disagree), confusions, and how well people agree.

References
----------
Geirhos et al. (2018). NeurIPS 31. arXiv:1808.08750. Geirhos et al. (2019). ICLR.
arXiv:1811.12231. Geirhos, Meding and Wichmann (2020). NeurIPS 33. arXiv:2006.16736.
Geirhos et al. (2021). NeurIPS 34. arXiv:2106.07411.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.sixteen_classes import RULES
from data_loaders.model_vs_human import EXPERIMENTS, load_decisions_csv
from neurovis.adapters.sixteen_way import PROBABILITY_COLUMNS, SIZINGS, Sizing
from neurovis.core.checks import check_option, check_path, check_whole
from neurovis.core.device import deterministic, exact_float32, resolve
from neurovis.core.files import sha256_file, write_table
from neurovis.core.provenance import source_fingerprint
from neurovis.core.store import Store
from neurovis.core.types import HUMAN_MODEL, Score
from tasks.recognition_data import (
    check_recognition_names,
    decisions_hash,
    known_trials,
    load_recognition_data,
    network_trials,
    observers_of,
    pictures_to_show,
)
from tasks.recognition_models import (
    CUE_CONFLICT,
    DeciderSpec,
    decide_pictures,
    parse_decider,
)
from tasks.recognition_parts import (
    ALL,
    PEOPLE,
    Part,
    Settings,
    benchmark_scopes,
    keep_shared,
    picture_parts,
)
from tasks.recognition_scores import (
    TASK,
    benchmark_rows,
    mark_observers,
    score_part,
    score_scope,
)
from tasks.recognition_verdicts import recognition_directions
from tasks.runs import begin_run, check_same_run, run_provenance, save_run

TABLES = ("scores", "pairs", "confusion", "shape_bias", "benchmark")
_Job = Callable[[], dict[str, pd.DataFrame]]

# What the published decisions do not tell by their names.
_ABOUT = {
    "vgg": "vgg is VGG-16.",
    "resnet50-train-60-epochs": (
        "resnet50-train-60-epochs is a ResNet-50 trained on Stylized-ImageNet; all "
        "other published networks were trained on ImageNet."
    ),
}
_TRIAL_COLUMNS = (
    *("task", "trial", "experiment", "condition", "image_id", "stimulus_id"),
    *("truth", "texture", "response", "correct", "rt_or_cost", "rt_ms", "cost"),
    *("seed", "model", "subject", "kind", "is_human", "untrained", "simulated"),
    "excluded",
)


def run_recognition(
    data: str | Path | None,
    out: str | Path,
    *,
    images: str | Path | None = None,
    models: Sequence[DeciderSpec | str] = (),
    experiments: str | Sequence[str] = "all",
    decisions: Sequence[str | Path] = (),
    sizing: Sizing = "whole",
    rule: str = "mean",
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Compare networks with people in recognition, and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables. Without
    `data` and `images` people, one model and pictures are simulated (four experiments,
    six people; seconds), and everything is marked so.

    Parameters
    ----------
    data : str or Path or None
        Folder of `data_loaders.model_vs_human.load_model_vs_human`: decisions of people
        and of published networks. Without it those that come with `images`.
    out : str or Path
        Folder for the tables.
    images : str or Path, optional
        Folder of `data_loaders.texture_shape.load_texture_shape`: cue conflicts, edge
        drawings and silhouettes, which networks answer to.
    models : sequence of DeciderSpec or str, optional
        Networks of 1000 ImageNet classes, text as
        `tasks.recognition_models.parse_decider` reads it.
    experiments : str or sequence of str, default "all"
        Of `data_loaders.model_vs_human.EXPERIMENTS`.
    decisions : sequence of str or Path, optional
        Files of decisions of your own networks, see
        `data_loaders.model_vs_human.load_decisions_csv`; the name of a file begins
        with that of its experiment.
    sizing : {"whole", "published", "own"}, default "whole"
        How pictures come to the size of the input of a network, see
        `neurovis.adapters.sixteen_way.load_sixteen_way`.
    rule : {"mean", "sum", "max"}, default "mean"
        How probabilities of classes become those of the 16 categories.
    n_bootstrap : int, default 1000
        Resamples for intervals; 0 for none.
    seed : int, default 0
        Of all draws.
    device : str, default "auto"
        Where networks compute.

    Returns
    -------
    Score
        The table of ``scores.parquet``. `stimuli` is the experiment, `part` which of
        its pictures ("all", or such as "320 of 1280"), `condition` one condition or
        "all" (mean over those that count); `model` is "human" for people, with
        `subject` "people" for all of them. Metrics: `ood_accuracy` (pooled over the
        conditions that count), `accuracy`, `error_consistency`,
        `observed_consistency`, `expected_consistency` and `accuracy_difference` (means
        over people, or pairs of people), `shape_bias`, `fraction_shape`,
        `fraction_texture`, `response_entropy`, and under the condition "benchmark" the
        means over experiments and `mean_rank`. `ci_low` and `ci_high` are intervals
        over pictures (of the accuracy in one condition: Wilson's), `people_ci_low` and
        `people_ci_high` over people, `null_low` and `null_high` hold 95 % of what
        independent errors give. Ceilings are values of people with each other on the
        same pictures. Beside: `kind`, `untrained` and `simulated`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, somebody has no picture in common with people, or
        `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError
        If data or weights are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    The folder gets ``trials.parquet`` (people, networks, baselines; `rt_or_cost` is the
    reaction time in ms of people and 1 minus the margin between the two best of 16
    scores of networks), ``scores.parquet``, ``provenance.json``, ``pairs.parquet``
    (every pair of observers, with kappas of independent observers of these
    accuracies), ``benchmark.parquet`` (with ranks), ``shape_bias.parquet`` (by
    category), ``confusion.parquet``, ``directions.parquet``, ``observers.parquet``
    and, with `models`, ``probabilities.parquet`` (scores of the 16 categories).
    """
    settings = Settings(
        check_whole("n_bootstrap", n_bootstrap, low=0),
        check_whole("seed", seed, low=0),
    )
    check_option("sizing", sizing, SIZINGS)
    check_option("rule", rule, RULES)
    place = resolve(device)
    specs = _specs(models)
    wanted = _wanted(experiments)
    files = [check_path("decisions", path).resolve() for path in _listed(decisions)]
    arguments: dict[str, Any] = {
        "task": TASK,
        "data": None if data is None else str(Path(data).resolve()),
        "images": None if images is None else str(Path(images).resolve()),
        "models": [asdict(spec) for spec in specs],
        "experiments": wanted if isinstance(wanted, str) else list(wanted),
        "decisions": [str(path) for path in files],
        "sizing": sizing,
        "rule": rule,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    check_same_run(out, arguments)
    found = load_recognition_data(data, images, wanted, bool(specs), seed=seed)
    own = [load_decisions_csv(path).table for path in files]
    deciders = [
        spec.load(sizing=sizing, rule=rule, device=str(place)) for spec in specs
    ]
    check_recognition_names(found.decisions, deciders, own)
    table = known_trials(found, own, seed)
    pictures = pictures_to_show(found, bool(specs))
    # All that can go wrong with names of pictures goes wrong here.
    picture_parts(keep_shared(table)[0])
    folder = begin_run(out, arguments)
    if deciders:
        with deterministic(), exact_float32():
            answers = decide_pictures(
                deciders, pictures, task=TASK, store=Store(folder / "parts")
            )
        write_table(
            folder / "probabilities.parquet",
            answers[["subject", "experiment", "image_id", *PROBABILITY_COLUMNS]],
        )
        table = pd.concat([table, network_trials(answers)], ignore_index=True)
    trials, notes = keep_shared(table)
    observers = observers_of(trials, deciders, found.simulated)
    parts = picture_parts(trials)
    score_tables = _scored(parts, observers, settings, Store(folder / "parts"))
    for name in TABLES[1:]:
        write_table(folder / f"{name}.parquet", score_tables[name])
    write_table(folder / "observers.parquet", observers)
    write_table(
        folder / "directions.parquet",
        recognition_directions(parts, observers, settings),
    )
    marks = dict(found.fingerprints)
    marks |= {f"decisions {path.name}": sha256_file(path) for path in files}
    provenance = run_provenance(
        deciders,
        arguments,
        device=place if deciders else "cpu",
        fingerprints=marks,
        notes=[*found.notes, *notes, *_part_notes(parts, observers), *_about(trials)],
    )
    score = Score(score_tables["scores"], provenance)
    save_run(
        folder,
        trials=_trial_table(trials, observers, seed),
        score=score,
        fixations=None,
    )
    return score


# ------------------------------------------------------------------------ arguments


def _specs(models: Sequence[DeciderSpec | str]) -> list[DeciderSpec]:
    listed = [models] if isinstance(models, str | DeciderSpec) else list(models)
    return [m if isinstance(m, DeciderSpec) else parse_decider(m) for m in listed]


def _listed(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)


def _wanted(experiments: str | Sequence[str]) -> str | tuple[str, ...]:
    if experiments == "all":
        return "all"
    names = (experiments,) if isinstance(experiments, str) else tuple(experiments)
    if not names:
        raise ValueError("`experiments` is empty: name one, or 'all'.")
    for name in names:
        check_option("experiments", name, tuple(EXPERIMENTS))
    return names


# --------------------------------------------------------------------------- scores


def _scored(
    parts: list[Part], observers: pd.DataFrame, settings: Settings, store: Store
) -> dict[str, pd.DataFrame]:
    """Score every part and scope; finished ones are kept."""
    code = source_fingerprint()
    found: dict[str, list[pd.DataFrame]] = {}

    def keep(
        trials: pd.DataFrame, title: str, score: _Job, names: Sequence[str]
    ) -> None:
        computed: dict[str, pd.DataFrame] = {}

        def compute(name: str) -> pd.DataFrame:
            if not computed:
                computed.update(score())
            return computed[name]

        identity = {
            "task": TASK,
            "code": code,
            "title": title,
            "trials": decisions_hash(trials),
            "settings": asdict(settings),
        }
        for name in names:
            table = store.get_or_compute(
                {**identity, "table": name}, partial(compute, name)
            )
            found.setdefault(name, []).append(table)

    for part in parts:
        names = ["scores", "pairs", "confusion"]
        names += ["shape_bias"] if part.experiment == CUE_CONFLICT else []
        keep(part.trials, part.title, partial(score_part, part, settings), names)
    baselines = set(observers.loc[observers["kind"] == "baseline", "model"])
    makers = [n for n in observers["model"] if n != PEOPLE and n not in baselines]
    for scope in benchmark_scopes(parts, makers):
        keep(
            scope.trials,
            scope.title,
            partial(score_scope, scope, settings),
            ["benchmark"],
        )
    tables = {
        name: pd.concat(found[name], ignore_index=True) if name in found else _NOTHING
        for name in TABLES
    }
    scores = mark_observers(tables["scores"], observers)
    means = benchmark_rows(tables["benchmark"], observers, settings.seed)
    tables["scores"] = pd.concat([scores, means], ignore_index=True)
    return tables


_NOTHING = pd.DataFrame(columns=["model", "experiment", "part", "category"])


def _part_notes(parts: Sequence[Part], observers: pd.DataFrame) -> list[str]:
    networks = set(observers.loc[observers["kind"] == "network", "model"])
    return [
        f"{', '.join(m for m in part.makers if m in networks)}: in "
        f"{part.experiment} the pictures at hand are {part.label}; everybody is "
        "compared on these too."
        for part in parts
        if part.label != ALL and networks & set(part.makers)
    ]


def _about(trials: pd.DataFrame) -> list[str]:
    there = set(trials.loc[trials["kind"] == "published", "subject"])
    return [text for name, text in _ABOUT.items() if name in there]


def _trial_table(
    trials: pd.DataFrame, observers: pd.DataFrame, seed: int
) -> pd.DataFrame:
    table = trials.assign(
        task=TASK,
        seed=seed,
        model=trials["subject"].where(~trials["is_human"].astype(bool), HUMAN_MODEL),
    )
    if "cost" not in table:
        table["cost"] = np.nan
    known = observers.set_index("model")
    key = table["model"].replace({HUMAN_MODEL: PEOPLE})
    for name in ("untrained", "simulated"):
        table[name] = key.map(known[name]).to_numpy(bool)
    table["rt_or_cost"] = table["rt_ms"].where(table["rt_ms"].notna(), table["cost"])
    return table[list(_TRIAL_COLUMNS)]
