"""Trained encoders as parts of a run: networks of a layer, and ensembles of layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.encoder_ensembles import combine_predictions
from neurovis.core.brain_space import describe_space
from neurovis.core.checks import check_option
from neurovis.core.files import plain, sha256_json
from tasks.encoder_model import ENCODER_FILE, FittedEncoder, read_card, save_encoder
from tasks.encoder_networks import resolved
from tasks.encoder_options import EncoderOptions, has_context
from tasks.encoder_training import Member, Trained, train_encoder
from tasks.encoding_data import HeldOut
from tasks.encoding_fits import LICENCE, Candidate, Fit


@dataclass(frozen=True, eq=False)
class NetworkFitter:
    """Trains encoders for one subject, alone or together with others.

    Parameters
    ----------
    options : EncoderOptions
        What is trained, and how.
    members : tuple of Member
        Subjects that are trained together.
    own : int
        Number of the subject that is predicted.
    seed : int
        Seed of the first run.
    device : str
        Where to train.
    shared : Path, optional
        Where trainings of several subjects are kept, so that the others find them.
    """

    options: EncoderOptions
    members: tuple[Member, ...]
    own: int = 0
    seed: int = 0
    device: str = "cpu"
    shared: Path | None = None

    @property
    def _with_core(self) -> bool:
        return self.members[self.own].maps.is_pictures

    def identity(self) -> dict[str, Any]:
        """Return what fits depend on.

        Returns
        -------
        dict
            JSON values.
        """
        facts = {"options": self.options.identity(), "seed": self.seed, "own": self.own}
        others = []
        for member in self.members:
            splits = [s.train.tolist() for s in member.held.splits]
            context = None if member.context is None else member.context.identity()
            others.append(
                [
                    member.held.data.name,
                    sha256_json(splits),
                    member.maps.identity(),
                    context,
                ]
            )
        found: dict[str, Any] = plain({**facts, "members": others})
        return found

    def fit(
        self,
        candidate: Candidate,
        held: HeldOut,
        *,
        keep_model: bool,
        key: str,
        folder: Path,
    ) -> Fit:
        """Train every split, predict what was left out, and keep an encoder.

        Parameters
        ----------
        candidate : Candidate
            Names.
        held : HeldOut
            Subject that is predicted.
        keep_model : bool
            Return an encoder: that of the split, or one of all rows if there are
            several.
        key : str
            Hash of all that the fit depends on, kept with the encoder.
        folder : Path
            Where a training that was killed is found again.

        Returns
        -------
        Fit
            `units` has also `validation_r`, shape (n_splits, n_units).
        """
        me = self.members[self.own]
        maps = me.maps.rows()
        looks_twice = has_context(self.options.readout)
        context = (me.context or me.maps).rows() if looks_twice else None
        n_units = held.data.responses.n_units
        predictions = np.full((len(held.table), n_units), np.nan, np.float32)
        chosen = []
        kept: FittedEncoder | None = None
        folder = folder if self.shared is None else self.shared
        for number, split in enumerate(held.splits):
            trained = self._train(number, folder, candidate)
            encoder = self._encoder(candidate, held, trained, key, number)
            at, rows = held.places(split)
            second = None if context is None else context.take(rows)
            predictions[at] = encoder.predict(
                maps.take(rows), second, device=self.device
            )
            r, r2 = trained.validation(self.own)
            chosen.append((r, r2, np.full(n_units, trained.penalty)))
            kept = encoder
            del trained  # it holds the responses
        if keep_model and len(held.splits) > 1:
            trained = self._train(None, folder, candidate)
            kept = self._encoder(candidate, held, trained, key, None)
        _, r2, penalty = np.mean(chosen, axis=0)
        nothing = np.full(n_units, np.nan)
        units = {
            "alpha": penalty,
            "cv_score": r2,
            "at_smallest": nothing,
            "at_largest": nothing,
            # Split by split: those of another one may be what this one predicts.
            "validation_r": np.stack([r for r, _, _ in chosen]),
        }
        return Fit(predictions, units, None, kept if keep_model else None)

    def save(self, home: Path, kept: FittedEncoder) -> None:
        """Write an encoder.

        Parameters
        ----------
        home : Path
            Folder.
        kept : FittedEncoder
            What `fit` kept.
        """
        save_encoder(home, kept)

    def saved_key(self, home: Path) -> str | None:
        """Return the key of a saved encoder.

        Parameters
        ----------
        home : Path
            Folder.

        Returns
        -------
        str or None
            None where there is none.
        """
        if not (home / ENCODER_FILE).is_file():
            return None
        return str(read_card(home)["training"]["key"])

    def _train(self, split: int | None, folder: Path, candidate: Candidate) -> Trained:
        return train_encoder(
            self.options,
            self.members,
            split,
            folder,
            with_core=self._with_core,
            seed=self.seed,
            device=self.device,
            description=f"{candidate.model} {candidate.layer}".strip(),
        )

    def _encoder(
        self,
        candidate: Candidate,
        held: HeldOut,
        trained: Trained,
        key: str,
        split: int | None,
    ) -> FittedEncoder:
        targets, own, me = trained.targets, self.own, self.members[self.own]
        responses = held.data.responses
        notes = [*candidate.notes, *held.data_notes]
        if split is None:
            notes.append(
                f"Trained on all rows; the scores beside it are those of "
                f"{len(held.splits)} encoders that did not see what they predict."
            )
        spaces = [me.maps.describe()]
        if len(trained.inputs) > 1:
            spaces.append((me.context or me.maps).describe())
        empty = (None, None)
        first = trained.scales[0] or empty
        second = (trained.scales[1] if len(trained.scales) > 1 else None) or empty
        curves = [fit.training for fit in trained.fits]
        training = plain(
            {
                "data": responses.name,
                "subject": held.data.subject,
                "together_with": [
                    m.held.data.subject for m in self.members if m is not me
                ],
                "response_unit": responses.response_unit,
                "families": responses.families,
                "space": describe_space(responses.space),
                "n_train": len(me.train_rows(split)),
                "n_outputs": targets.responses.shape[1],
                "fingerprints": dict(responses.fingerprints),
                "simulated": held.data.is_simulated,
                "penalty": trained.penalty,
                "best_epochs": [c.best_epoch for c in curves],
                "n_epochs": [c.n_epochs for c in curves],
                "seed": self.seed,
                "key": key,
            }
        )
        shapes = [tuple(given.shape[1:]) for given in trained.inputs]
        in_shape: Any = shapes[0]
        context_shape: Any = shapes[1] if len(shapes) > 1 else None
        return FittedEncoder(
            tuple(fit.module for fit in trained.fits),
            resolved(self.options, in_shape, self._with_core),
            in_shape,
            context_shape,
            self._with_core,
            trained.queries,
            channel_mean=first[0],
            channel_scale=first[1],
            context_mean=second[0],
            context_scale=second[1],
            units=responses.units,
            columns=targets.columns[own],
            unit_mean=targets.mean[own],
            unit_scale=np.nan_to_num(targets.scale[own], nan=1.0),
            curves=pd.concat(
                [c.curves.assign(run=run) for run, c in enumerate(curves)],
                ignore_index=True,
            ),
            features={"model": candidate.model, "spaces": spaces},
            training=training,
            notes=tuple(dict.fromkeys(notes)),
            licence=LICENCE,
        )


@dataclass(frozen=True, eq=False)
class EnsembleFitter:
    """Averages the predictions of the layers of a readout, unit by unit.

    Parameters
    ----------
    fits : tuple of Fit
        One per layer, with `validation_r` of each split.
    keys : tuple of str
        What each depends on.
    temperature : float
        Sharpness of the weights of layers.
    """

    fits: tuple[Fit, ...]
    keys: tuple[str, ...]
    temperature: float = 50.0

    def identity(self) -> dict[str, Any]:
        """Return what it depends on.

        Returns
        -------
        dict
            JSON values.
        """
        return {"members": list(self.keys), "temperature": self.temperature}

    def fit(
        self,
        candidate: Candidate,
        held: HeldOut,
        *,
        keep_model: bool,
        key: str,
        folder: Path,
    ) -> Fit:
        """Average predictions.

        Parameters
        ----------
        candidate : Candidate
            Not needed.
        held : HeldOut
            What the layers predict; each split has weights of its own.
        keep_model, key, folder : object
            Not needed.

        Returns
        -------
        Fit
            `cv_score` is that of the layers, weighted in the same way.
        """
        r = np.stack([fit.units["validation_r"] for fit in self.fits])
        joined = np.full(self.fits[0].predictions.shape, np.nan, np.float32)
        for number, split in enumerate(held.splits):
            at, _ = held.places(split)
            joined[at] = combine_predictions(
                [[fit.predictions[at]] for fit in self.fits],
                r[:, [number]],
                temperature=self.temperature,
            )
        scores = np.stack([fit.units["cv_score"] for fit in self.fits])
        score = combine_predictions(
            scores[:, None, None],
            np.mean(r, axis=1, keepdims=True),
            temperature=self.temperature,
        )[0]
        nothing = np.full(len(score), np.nan)
        units = {
            "alpha": nothing,
            "cv_score": score,
            "at_smallest": nothing,
            "at_largest": nothing,
            "validation_r": np.mean(r, axis=0),
        }
        return Fit(joined, units, None, None)

    def save(self, home: Path, kept: Any) -> None:
        """Keep nothing: the encoders of the layers are kept.

        Parameters
        ----------
        home, kept : object
            Not used.
        """

    def saved_key(self, home: Path) -> str | None:
        """Return None: nothing is kept.

        Parameters
        ----------
        home : Path
            Not used.

        Returns
        -------
        None
            Always.
        """
        return None


def check_readouts(readouts: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the readouts that are asked for, each once.

    Parameters
    ----------
    readouts : sequence of str
        Names.
    known : sequence of str
        Names that there are.

    Returns
    -------
    tuple of str
        In their order.

    Raises
    ------
    ValueError
        If there is none, one is unknown, or one is named twice.
    """
    names = [readouts] if isinstance(readouts, str) else list(readouts)
    if not names:
        raise ValueError(f"`readouts` is empty: name some of {', '.join(known)}.")
    for name in names:
        check_option("readouts", name, tuple(known))
        if names.count(name) > 1:
            raise ValueError(f"`readouts` names {name!r} twice.")
    return tuple(names)
