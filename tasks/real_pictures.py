"""Real pictures beside generated ones, with the responses that a brain gave to them.

The best of many pictures were lucky: whoever chooses by noisy responses and reports the
same responses finds a large effect in noise alone. So pictures are chosen by one half
of their trials, and what is reported was measured in the other half.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from data_loaders.nsd import load_nsd
from data_loaders.v4_images import load_v4_images
from neurovis.core.checks import check_array, check_whole, suggest
from neurovis.core.files import plain, sha256_file, sha256_json, write_table
from neurovis.core.pictures import write_png
from neurovis.core.rng import generator
from neurovis.core.unit_responses import UnitResponses
from tasks.brain_sources import split_source
from tasks.braindive_experiment import REAL, REAL_BEST
from tasks.encoder_predict import read_model_card
from tasks.encoding_run import load_encoding
from tasks.picture_gradients import GradientEncoder

FloatArray = NDArray[np.float64]

REAL_FILE = "real_pictures.csv"
REAL_FOLDERS = {REAL: "real-random", REAL_BEST: "real-best"}
"""Where the pictures of each condition lie, below ``images``."""

SOURCES_OF_TRIALS = ("nsd", "v4-images")
"""Data sets that have single trials and pictures."""

REAL_COLUMNS = (
    *("condition", "seed", "row", "stimulus_id", "n_chosen_by", "n_measured"),
    *("chosen_by", "measured_activation"),
)
"""Of a table of real pictures: `seed` is a number, 0 for the first; `chosen_by` is the
mean response in the trials that chose, `measured_activation` that in the others."""

_MAY_BE_SEEN = (
    "The encoder may have been fitted to the real pictures: what it predicts for them "
    "may be too good. What was measured is not concerned."
)


@dataclass(frozen=True, eq=False)
class MeasuredTrials:
    """Single trials of the brain that an encoder models, with their pictures.

    Parameters
    ----------
    responses : UnitResponses
        One row per trial.
    held_out : frozenset of str, optional
        Stimuli that the encoder was not fitted to: only these are chosen. By default
        that is not known, and all can be.

    Raises
    ------
    ValueError
        If rows are averages of trials, or there are no pictures.
    """

    responses: UnitResponses
    held_out: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if (self.responses.stimuli["n_repeats"] != 1).any():
            raise ValueError(
                f"`responses` of {self.name} are averages of several trials, but one "
                "half of the trials must choose what the other half measures. Load "
                "single trials."
            )
        if self.responses.pictures is None:
            raise ValueError(f"`responses` of {self.name} have no pictures to show.")

    @property
    def name(self) -> str:
        """Data set and subject, for messages."""
        return f"{self.responses.name} {self.responses.subject}"


@dataclass(frozen=True, eq=False)
class RealPictures:
    """Real pictures, chosen and measured.

    Parameters
    ----------
    trials : MeasuredTrials
        Where they come from.
    table : DataFrame
        One row per picture and condition: `REAL_COLUMNS`; `row` is a row of
        `trials.responses`.
    fingerprint : str
        SHA-256 of what they were chosen from: contrasts of trials and stimuli.
    notes : tuple of str
        What a reader must know.
    """

    trials: MeasuredTrials
    table: pd.DataFrame
    fingerprint: str
    notes: tuple[str, ...]


def load_measured_trials(
    data: str,
    encoder: str | Path,
    *,
    regions: tuple[str, ...] | None = None,
    store: str | Path | None = None,
) -> MeasuredTrials:
    """Load the single trials of the subject that an encoder was fitted to.

    Parameters
    ----------
    data : str
        ``NAME:PATH`` as for the fit; "nsd", or "v4-images" with the recording 210325.
    encoder : str or Path
        Folder of the fitted model.
    regions : tuple of str, optional
        Load the units of these regions only ("nsd", where all take long).
    store : str or Path, optional
        Where prepared responses are kept ("nsd").

    Returns
    -------
    MeasuredTrials
        With the pictures that the fit held out, where its folder tells.

    Raises
    ------
    TypeError, ValueError, KeyError
        If the data have no single trials with pictures, or not of this subject.
    FileNotFoundError, DataCorruptError
        If model or data are missing or damaged.
    """
    name, folder = split_source(data)
    subject = str(read_model_card(encoder).training["subject"])
    if name not in SOURCES_OF_TRIALS:
        raise ValueError(
            f"`real` needs single trials with their pictures, which {name} does not "
            f"have; {' and '.join(SOURCES_OF_TRIALS)} do."
        )
    if name == "nsd":
        responses = load_nsd(
            folder, subject, average=False, regions=regions, store=store
        )
    else:
        # Its fits are called by animal and recording.
        responses = load_v4_images(folder, subject.split()[-1], trials=True)
    return MeasuredTrials(responses, held_out_pictures(encoder))


def held_out_pictures(encoder: str | Path) -> frozenset[str] | None:
    """Return the pictures that a model was not fitted to.

    Parameters
    ----------
    encoder : str or Path
        Folder of one model, below ``models`` of a fit.

    Returns
    -------
    frozenset of str or None
        Identities of stimuli; None where the folder of the fit does not tell, or the
        model was fitted to all pictures because each was held out in turn.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If there is no model, or tables of the fit are damaged.
    """
    card = read_model_card(encoder)
    above = Path(encoder).resolve().parents
    if len(above) < 4 or above[2].name != "models":
        return None
    try:
        rows = load_encoding(above[3]).rows(str(card.training["subject"]))
    except FileNotFoundError:
        return None
    is_split = len(rows["split"].unique()) == 1
    return frozenset(rows["stimulus_id"]) if is_split else None


def find_real_pictures(
    trials: MeasuredTrials,
    encoder: GradientEncoder,
    weights: Tensor,
    *,
    n_pictures: int = 24,
    seed: int = 0,
) -> RealPictures:
    """Choose real pictures by the measured responses of what is driven.

    Parameters
    ----------
    trials : MeasuredTrials
        Of the brain that the encoder models.
    encoder : GradientEncoder
        Tells which units are driven; its predictions play no part.
    weights : Tensor of float32, shape (n_units,)
        Weights of the units of the encoder, see
        `neurovis.adapters.braindive.region_weights`.
    n_pictures : int, default 24
        Random ones, and as many of the best.
    seed : int, default 0
        Of halves and random pictures.

    Returns
    -------
    RealPictures
        See `choose_real_pictures`.

    Raises
    ------
    ValueError
        If trials are of another subject or in another unit, units are missing, or
        there are too few pictures.

    Notes
    -----
    Noise that the trials of a picture share, because they follow one another or lie in
    one session, is in both halves.
    """
    responses = trials.responses
    _check_same_brain(trials, encoder)
    contrasts = _trial_contrasts(trials, encoder, weights)
    ids = responses.stimuli["stimulus_id"].to_numpy(str)
    rows = np.flatnonzero(np.isfinite(contrasts))
    if trials.held_out is not None:
        rows = rows[np.isin(ids[rows], list(trials.held_out))]
        if not len(rows):
            raise ValueError(
                f"{trials.name} has none of the {len(trials.held_out)} pictures that "
                f"{encoder.name} was not fitted to: give the data of the fit."
            )
    table = choose_real_pictures(
        contrasts[rows], ids[rows], n_pictures=n_pictures, seed=seed
    )
    table["row"] = rows[table["row"]]
    counts = pd.Series(ids[rows]).value_counts()
    n_single = int((counts == 1).sum())
    notes = [f"{trials.name}: {note}" for note in responses.notes]
    if n_single:
        notes.append(
            f"{trials.name}: {n_single} of {len(counts)} pictures were shown once, and "
            "are not among the real ones."
        )
    if trials.held_out is None:
        notes.append(_MAY_BE_SEEN)
    mark = sha256_json(plain([contrasts[rows].tolist(), ids[rows].tolist(), seed]))
    return RealPictures(trials, table, mark, tuple(notes))


def choose_real_pictures(
    activation: ArrayLike,
    stimulus_id: ArrayLike,
    *,
    n_pictures: int,
    seed: int = 0,
) -> pd.DataFrame:
    """Choose pictures by half of their trials, and measure them by the other half.

    Parameters
    ----------
    activation : array-like of float, shape (n_trials,)
        Response of what is driven.
    stimulus_id : array-like of str, shape (n_trials,)
        Which picture was shown.
    n_pictures : int
        Random ones, and as many of the best; at most half of the pictures that were
        shown twice or more.
    seed : int, default 0
        Of halves and random pictures.

    Returns
    -------
    DataFrame
        `REAL_COLUMNS`: pictures of the condition "real, random" in random order, then
        those of "real, best measured", the best first. `row` is the first trial of the
        picture. With an odd number of trials the larger half measures.

    Raises
    ------
    TypeError, ValueError
        If there are too few pictures with two trials, or activations are undefined.

    Examples
    --------
    >>> table = choose_real_pictures([1, 1, 3, 3, 2], list("aabbc"), n_pictures=1)
    >>> table["stimulus_id"].tolist()[-1], table["measured_activation"].tolist()[-1]
    ('b', 3.0)
    """
    values = check_array(
        "activation", np.asarray(activation, np.float64), shape=(None,), finite=True
    )
    ids = np.asarray(stimulus_id).astype(str)
    check_whole("n_pictures", n_pictures, low=1)
    rng = generator(seed, "real pictures")
    # Half of the trials at random, so that no half has the earlier ones.
    drawn = pd.DataFrame({"stimulus_id": ids, "value": values, "row": range(len(ids))})
    drawn = drawn.iloc[rng.permutation(len(drawn))]
    trials = drawn.groupby("stimulus_id")
    n_trials = trials["value"].transform("size")
    chooses = trials.cumcount() < n_trials // 2
    found = pd.DataFrame({"row": trials["row"].min()})
    for part, number, mean in (
        (drawn[chooses], "n_chosen_by", "chosen_by"),
        (drawn[~chooses], "n_measured", "measured_activation"),
    ):
        halves = part.groupby("stimulus_id")["value"]
        found[number], found[mean] = halves.size(), halves.mean()
    found = found[found["chosen_by"].notna()].sort_values("row").reset_index()
    if n_pictures > len(found) // 2:
        raise ValueError(
            f"`n_pictures` {n_pictures} would be more than half of the {len(found)} "
            "pictures that were shown twice or more (others cannot be chosen by one "
            "trial and measured by another): ask for fewer, or give more trials."
        )
    random = found.iloc[rng.choice(len(found), n_pictures, replace=False)]
    order = np.argsort(-found["chosen_by"].to_numpy(), kind="stable")
    best = found.iloc[order[:n_pictures]]
    table = pd.concat(
        [
            part.assign(condition=name, seed=range(n_pictures))
            for name, part in ((REAL, random), (REAL_BEST, best))
        ],
        ignore_index=True,
    )
    return table.astype({"n_chosen_by": np.int64})[list(REAL_COLUMNS)]


def save_real_pictures(folder: Path, real: RealPictures, region: str) -> pd.DataFrame:
    """Write real pictures beside generated ones.

    Parameters
    ----------
    folder : Path
        Folder of the run: for ``images/real-random``, ``images/real-best`` and
        ``real_pictures.csv``.
    real : RealPictures
        What was chosen.
    region : str
        What is driven, for tables.

    Returns
    -------
    DataFrame
        `real.table` with `region`, `scale` (0), `file`, `sha256` and `saturated` (share
        of levels at an end of the scale), as manifests of generated images have them.

    Raises
    ------
    ValueError
        If pictures differ in size.
    """
    shown = real.trials.responses.pictures
    assert shown is not None  # checked when trials are made
    pictures = [np.asarray(shown[int(row)]) for row in real.table["row"]]
    sizes = {picture.shape for picture in pictures}
    if len(sizes) != 1:
        raise ValueError(
            f"Pictures of {real.trials.name} must have one size; got {sorted(sizes)}."
        )
    rows: list[dict[str, Any]] = []
    for row, picture in zip(real.table.to_dict("records"), pictures, strict=True):
        place = REAL_FOLDERS[str(row["condition"])]
        file = f"images/{place}/{int(row['seed']):012d}.png"
        write_png(folder / file, picture)
        ends = float(np.isin(picture, (0, 255)).mean())
        hashed = sha256_file(folder / file)
        rows.append({"file": file, "sha256": hashed, "saturated": ends})
    table = real.table.assign(region=region, scale=0.0).join(pd.DataFrame(rows))
    write_table(folder / REAL_FILE, table)
    return table


def _check_same_brain(trials: MeasuredTrials, encoder: GradientEncoder) -> None:
    responses = trials.responses
    if not encoder.name.startswith(f"{responses.subject} "):
        raise ValueError(
            f"Trials are those of {responses.subject}, but the encoder is "
            f"{encoder.name}: real pictures need responses of the brain that it models."
        )
    if encoder.response_unit and responses.response_unit != encoder.response_unit:
        raise ValueError(
            f"Trials are in {responses.response_unit!r}, but {encoder.name} was fitted "
            f"to {encoder.response_unit!r}: prepare them in the same way."
        )


def _trial_contrasts(
    trials: MeasuredTrials, encoder: GradientEncoder, weights: Tensor
) -> FloatArray:
    """Return what is driven, as it was measured in each trial."""
    known = check_array("weights", weights.numpy(), shape=(encoder.n_units,))
    driven = known != 0
    wanted = encoder.units["unit_id"].to_numpy(str)[driven]
    there = pd.Index(trials.responses.units["unit_id"].astype(str))
    columns = there.get_indexer(wanted)
    if (columns < 0).any():
        first = str(wanted[columns < 0][0])
        raise ValueError(
            f"{trials.name} lacks {int((columns < 0).sum())} of the {len(wanted)} "
            f"units that are driven, such as {first!r}.{suggest(first, there)} Give "
            "the data that the encoder was fitted to."
        )
    responses = np.asarray(trials.responses.betas[:, columns], np.float64)
    return np.asarray(responses @ known[driven].astype(np.float64))
