"""The design of a comparison of foveated systems."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.files import plain
from neurovis.foveation.transforms import CODECS, FoveationSettings
from tasks.foveation_stimuli import EXPERIMENTS, PAIRINGS
from tasks.foveation_systems import SYSTEMS
from tasks.foveation_training import (
    PUBLISHED,
    ClassifierRecipe,
    compact_recipe,
    published_recipe,
)


@dataclass(frozen=True)
class FoveationDesign:
    """What is compared, and how.

    Parameters
    ----------
    systems : sequence of str, default all
        First stages, some of `tasks.foveation_systems.SYSTEMS`.
    experiments : sequence of str, default all
        Some of `tasks.foveation_stimuli.EXPERIMENTS`.
    architecture : str, default "resnet18"
        Second stage, as `neurovis.adapters.scene_classifier.ClassifierSpec` has it.
    architecture_options : mapping
        Further arguments of its constructor.
    recipe : ClassifierRecipe or {"published", "compact"}, default "published"
        How it is trained; "published" knows "alexnet" and "resnet18".
    n_runs : int, default 10
        Repetitions; those of one number start from equal weights in all systems.
    first_run : int, default 0
        Number of the first repetition.
    epochs : sequence of int, default ()
        Epochs after which the networks are tested too, besides the last.
    render_px : int, default 512
        Side of the square pictures that enter the first stage.
    size_px : int, default 256
        Side of the pictures that leave it, which all tests change and networks see.
    texture : FoveationSettings
        Texture and viewing geometry, in pixels of `render_px`.
    sigma_px, factor : float, optional
        Widths of the two blurs instead of matched ones.
    n_calibration : int, default 32
        Pictures of the training set on which blurs are matched to the texture.
    pairing : {"balanced", "published"}
        Pairs of the cue conflicts.
    n_bootstrap : int, default 1000
        Resamples of runs and pictures, for intervals.
    seed : int, default 0
        Seed of everything.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    systems: Sequence[str] = SYSTEMS
    experiments: Sequence[str] = EXPERIMENTS
    architecture: str = "resnet18"
    architecture_options: Mapping[str, Any] = field(default_factory=dict)
    recipe: ClassifierRecipe | str = "published"
    n_runs: int = 10
    first_run: int = 0
    epochs: Sequence[int] = ()
    render_px: int = 512
    size_px: int = 256
    texture: FoveationSettings = field(default_factory=FoveationSettings)
    sigma_px: float | None = None
    factor: float | None = None
    n_calibration: int = 32
    pairing: str = "balanced"
    n_bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("systems", SYSTEMS), ("experiments", EXPERIMENTS)):
            values = tuple(getattr(self, name))
            for value in values:
                check_option(name, value, known)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"`{name}` must be distinct names; got {values}.")
            object.__setattr__(self, name, values)
        for name, low in (("n_runs", 1), ("first_run", 0), ("render_px", 32),
                          ("size_px", 16), ("n_calibration", 1), ("n_bootstrap", 1),
                          ("seed", 0)):  # fmt: skip
            check_whole(name, getattr(self, name), low=low)
        check_option("pairing", self.pairing, PAIRINGS)
        check_option(
            "transform of `texture`", self.texture.transform, ("texture", CODECS[0])
        )
        for name in ("sigma_px", "factor"):
            if getattr(self, name) is not None:
                check_between(name, getattr(self, name), low=0)
        if isinstance(self.recipe, str):
            check_option("recipe", self.recipe, ("published", "compact"))
            name = self.architecture.rpartition(":")[2]
            if self.recipe == "published" and name not in PUBLISHED:
                raise ValueError(
                    f"There is no published recipe for {self.architecture!r}, only for "
                    f"{' and '.join(PUBLISHED)}: give `recipe='compact'` or one of "
                    "your own."
                )
        settings = self.training.settings
        n_epochs = settings.max_epochs
        chosen = {check_whole("epochs", e, low=0, high=n_epochs) for e in self.epochs}
        if chosen - {n_epochs} and settings.patience is not None:
            raise ValueError(
                "`epochs` needs a recipe that trains to its end; this one has "
                f"patience={settings.patience}. Give it none."
            )
        object.__setattr__(self, "epochs", tuple(sorted({*chosen, n_epochs})))

    @property
    def training(self) -> ClassifierRecipe:
        """The recipe itself."""
        if isinstance(self.recipe, ClassifierRecipe):
            return self.recipe
        if self.recipe == "compact":
            return compact_recipe()
        return published_recipe(self.architecture.rpartition(":")[2])

    @property
    def parameters(self) -> dict[str, Any]:
        """The design as JSON values."""
        values: dict[str, Any] = plain(asdict(self))
        values["recipe"] = self.training.parameters
        values["texture"] = self.texture.parameters
        return values
