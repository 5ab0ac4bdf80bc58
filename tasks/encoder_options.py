"""What a trained encoder is, and how it is trained: options, and their defaults."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from neurovis.adapters.brain_encoder import BrainEncoderConfig
from neurovis.adapters.unit_queries import KINDS as QUERY_KINDS
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.files import plain
from neurovis.fitting.readouts import COVARIANCES
from neurovis.fitting.settings import TrainSettings

QUERIED = ("transformer", "masks")
"""Readouts with queries that stand for regions."""

TRAINED = (
    *QUERIED,
    *("factorised", "gaussian", "semantic-spatial", "linear", "vector"),
)
"""Readouts that are trained by gradients."""

CORES = ("small", "rotation", "published")
"""Networks that are trained together with a readout, from pictures."""

SCALES = ("channels", "none")
_LOSSES = {"transformer": "mean", "masks": "mean"}
_NARROW, _WIDE = 512, 1024
# Penalties of the absolute weights per picture, next to the summed squared error.
_PENALTIES: Mapping[str, tuple[float, ...]] = {
    "factorised": (0.003, 0.01, 0.03),
    "gaussian": (0.003, 0.01, 0.03),
    "semantic-spatial": (0.003, 0.01, 0.03),
    "linear": (1.0,),
}


@dataclass(frozen=True)
class EncoderOptions:
    """What a trained encoder is, and how it is trained.

    Parameters
    ----------
    readout : str
        One of `TRAINED`.
    config : BrainEncoderConfig, optional
        Architecture of the transformer; `default_architecture` of the maps if it is
        not given.
    changes : mapping, optional
        Fields of the architecture that are other than that.
    queries : {"regions", "hemispheres", "units"}
        What its queries (and the masks of "masks") stand for.
    query_regions : tuple of str, optional
        Regions with a query; all by default, and for ("published",) those of
        `neurovis.adapters.unit_queries.PUBLISHED_REGIONS`.
    core : {"small", "rotation", "published"}
        Network that is trained with the readout where pictures are the features.
    covariance : str, default "full"
        As `neurovis.fitting.readouts.GaussianReadout`.
    scale : {"channels", "none"}
        Whether each channel of the maps gets mean 0 and standard deviation 1 over the
        training pictures, or maps stay as they are, as published.
    penalties : tuple of float, optional
        Penalties to choose from by the validation pictures; not for "transformer",
        "masks" and "vector", which have none.
    loss : {"mean", "mean+ccc", "sum"}, optional
        As `neurovis.fitting.network_fit.fit_network`; that of the readout by default.
    validation : float, default 0.1
        Share of training stimuli that decide when to stop, and which penalty.
    batch_size : int, default 16
        Pictures per batch.
    n_runs : int, default 1
        Networks with different first weights and validation stimuli; predictions are
        averaged.
    settings : TrainSettings, optional
        How to train; `default_settings` of the readout if it is not given.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or a number out of range.
    """

    readout: str
    config: BrainEncoderConfig | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    queries: str = "regions"
    query_regions: tuple[str, ...] | None = None
    core: str = "small"
    covariance: str = "full"
    scale: str = "channels"
    penalties: tuple[float, ...] | None = None
    loss: str | None = None
    validation: float = 0.1
    batch_size: int = 16
    n_runs: int = 1
    settings: TrainSettings | None = None

    def __post_init__(self) -> None:
        check_option("readout", self.readout, TRAINED)
        known = tuple(f.name for f in fields(BrainEncoderConfig))
        for name in self.changes:
            check_option("changes", name, known)
        self.architecture(1)  # raises where a value is out of range
        check_option("queries", self.queries, QUERY_KINDS)
        check_option("core", self.core, CORES)
        check_option("covariance", self.covariance, COVARIANCES)
        check_option("scale", self.scale, SCALES)
        if self.loss is not None:
            check_option("loss", self.loss, ("mean", "mean+ccc", "sum"))
        for value in self.penalties or ():
            check_between("penalties", value, low=0)
        if self.penalties is not None and not self.penalties:
            raise ValueError("`penalties` is empty: give at least one, such as 0.")
        if not 0 < check_between("validation", self.validation) < 1:
            raise ValueError(
                f"`validation` must be above 0 and below 1; got {self.validation!r}."
            )
        check_whole("batch_size", self.batch_size, low=1)
        check_whole("n_runs", self.n_runs, low=1)

    @property
    def region_names(self) -> tuple[str, ...] | str | None:
        """Regions as `neurovis.adapters.unit_queries.make_queries` takes them."""
        names = self.query_regions
        return names[0] if names == ("published",) else names

    def architecture(self, n_channels: int) -> BrainEncoderConfig:
        """Return the architecture for maps.

        Parameters
        ----------
        n_channels : int
            Channels of the maps.

        Returns
        -------
        BrainEncoderConfig
            With the changes.
        """
        config = self.config or default_architecture(n_channels)
        return replace(config, **self.changes)

    @property
    def tried(self) -> tuple[float, ...]:
        """Penalties to choose from: 0 where there is nothing to punish."""
        if self.readout not in _PENALTIES:
            return (0.0,)
        return self.penalties or _PENALTIES[self.readout]

    @property
    def loss_name(self) -> str:
        """What is made small."""
        return self.loss or _LOSSES.get(self.readout, "sum")

    @property
    def training(self) -> TrainSettings:
        """How it is trained."""
        return self.settings or default_settings(self.readout)

    def identity(self) -> dict[str, Any]:
        """Return what fits depend on.

        Returns
        -------
        dict
            JSON values.
        """
        settings = asdict(self.training)
        # When checkpoints are written changes nothing.
        del settings["checkpoint_every"], settings["checkpoint_s"]
        facts = {
            **{k: v for k, v in vars(self).items() if k not in ("settings", "config")},
            "config": None if self.config is None else asdict(self.config),
            "settings": settings,
            "penalties": self.tried,
            "loss": self.loss_name,
        }
        found: dict[str, Any] = plain(facts)
        return found


def default_architecture(n_channels: int) -> BrainEncoderConfig:
    """Return an architecture that suits maps.

    Parameters
    ----------
    n_channels : int
        Channels of the maps.

    Returns
    -------
    BrainEncoderConfig
        From 513 channels on the published one: 16 heads, maps as they are up to 1024
        channels and else projected to 768. For narrower maps one for hundreds of
        pictures: tokens of 64, 4 heads, 128 between the linear maps, dropout 0.2. There
        codes of places need room beside the channels: on simulated receptive fields
        and maps of 32 channels, tokens of 32 had an r of .55, tokens of 64 had .82.

    Examples
    --------
    >>> default_architecture(768).width, default_architecture(256).width
    (None, 64)
    """
    if n_channels <= _NARROW:
        return BrainEncoderConfig(width=64, n_heads=4, feedforward=128, dropout=0.2)
    fits = n_channels <= _WIDE and n_channels % 32 == 0
    return BrainEncoderConfig(width=None if fits else 768)


def default_settings(readout: str, **changes: Any) -> TrainSettings:
    """Return how a readout is trained.

    Parameters
    ----------
    readout : str
        One of `TRAINED`.
    **changes : object
        Other values for fields of `neurovis.fitting.settings.TrainSettings`.

    Returns
    -------
    TrainSettings
        100 epochs at most, and an end after 15 without improvement; the weights of the
        epoch with the best mean r of validation pictures are kept. Optimiser, learning
        rate, decay and clipping of "transformer" and "masks" are the published ones.

    Examples
    --------
    >>> default_settings("transformer").learning_rate
    0.0005
    """
    common = TrainSettings(
        max_epochs=100,
        patience=15,
        monitor="r",
        more_is_better=True,
        learning_rate=1e-3,
        clip_norm=None,
    )
    if readout in QUERIED:
        common = replace(
            common,
            optimiser="adamw",
            learning_rate=5e-4,
            weight_decay=1e-4,
            clip_norm=0.1,
        )
    return replace(common, **changes)


def options_of(
    readout: str, options: EncoderOptions, settings: Mapping[str, Any] | None = None
) -> EncoderOptions:
    """Return the options of one of several readouts.

    Parameters
    ----------
    readout : str
        One of `TRAINED`.
    options : EncoderOptions
        What all have in common.
    settings : mapping, optional
        Fields of `neurovis.fitting.settings.TrainSettings` that are other than the
        defaults of the readout.

    Returns
    -------
    EncoderOptions
        For this readout.

    Raises
    ------
    TypeError, ValueError
        If a field is unknown or a value out of range.
    """
    own = replace(options, readout=readout)
    if not settings:
        return own
    known = {f.name for f in fields(TrainSettings)}
    for name in settings:
        check_option("settings", name, tuple(sorted(known)))
    changes = dict(settings)
    if "monitor" in changes:
        check_option("settings['monitor']", changes["monitor"], ("r", "loss"))
        changes.setdefault("more_is_better", changes["monitor"] == "r")
    return replace(own, settings=replace(own.training, **changes))


def has_context(readout: str) -> bool:
    """Tell whether a readout looks at a second map, which moves its fields.

    Parameters
    ----------
    readout : str
        One of `TRAINED`.

    Returns
    -------
    bool
        True for "semantic-spatial".
    """
    return readout == "semantic-spatial"


def fits_layer(readout: str, shape: tuple[int, int, int]) -> bool:
    """Tell whether a readout can read a layer.

    Parameters
    ----------
    readout : str
        One of `TRAINED`.
    shape : tuple of int
        Channels, height and width.

    Returns
    -------
    bool
        "vector" reads vectors (one place), the others maps.
    """
    return (shape[1] * shape[2] == 1) == (readout == "vector")
