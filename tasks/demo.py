"""Embedded defaults: each capability on small inputs, offline, in minutes."""

from collections.abc import Callable
from pathlib import Path

from data_loaders.synthetic import n_pictures, simulate_nsd
from neurovis.adapters.image_generators import load_image_generator
from stimuli.category_pictures import make_category_pictures
from tasks.braindive_experiment import DiveSettings, run_braindive
from tasks.braindive_report import finish_braindive
from tasks.encoding import fit_encoding
from tasks.encoding_report import finish_encoding
from tasks.foveation import run_foveation
from tasks.foveation_design import FoveationDesign
from tasks.foveation_report import finish_foveation
from tasks.foveation_training import compact_recipe
from tasks.models import ModelSpec
from tasks.object_search import run_object_search
from tasks.object_search_report import finish_object_search
from tasks.search_asymmetry import run_search_asymmetry
from tasks.search_asymmetry_report import finish_search_run
from tasks.simulated_search import SimulatedSearch

# What a network is worth shows beside the same network before its training.
UNTRAINED = ModelSpec(
    "eccnet", label="eccnet before training", backbone="compact_vgg", weights="seeded:0"
)


def demo_search(out: Path) -> list[str]:
    """Search asymmetry: eccNET on the shipped network, ablations, baselines, people.

    Parameters
    ----------
    out : Path
        Folder for tables, figures and the report.

    Returns
    -------
    list of str
        The main figures, and where the report lies.
    """
    networks = [ModelSpec(name) for name in ("eccnet", "eccnet-noecc")]
    baselines = [ModelSpec(name) for name in ("chance", "pixel-match", "saliency")]
    models = [*networks, UNTRAINED, *baselines]
    run_search_asymmetry(models, out, trials=2, seed=0)
    return finish_search_run(out)


def demo_scanpaths(out: Path) -> list[str]:
    """Object search: OAT as it comes, and heuristics, with simulated observers.

    Parameters
    ----------
    out : Path
        Folder for tables, figures and the report.

    Returns
    -------
    list of str
        The main figures, and where the report lies.
    """
    run_object_search(
        SimulatedSearch(n_shelves=20, targets_per_shelf=1, n_observers=4),
        out,
        models=("baselines", "oat-shipped", "oat-shipped-greedy"),
        appearance="synthetic",
        n_samples=5,
        n_bootstrap=200,
    )
    return finish_object_search(out)


def demo_encoding(out: Path) -> list[str]:
    """Compare hand-made, trained and untrained features with a simulated brain.

    Parameters
    ----------
    out : Path
        Folder for the simulated data, tables, figures, models and the report.

    Returns
    -------
    list of str
        The main figures, and where the report lies.
    """
    data = out / "simulated-nsd"
    if not data.exists():
        drawn = make_category_pictures(n_pictures(1, 2), size_px=64, seed=0)
        simulate_nsd(
            data,
            drawn.images,
            drawn.table,
            n_subjects=1,
            n_sessions=2,
            n_shared=100,
            volume_shape=(20, 24, 18),
            spaces=("fsaverage",),
            picture_px=64,
            seed=0,
        )
    fit_encoding(
        f"nsd:{data}",
        [
            "control:gabor",
            "control:colour",
            "compact_vgg:stage2:grid3,stage3:grid3,stage4:grid3,stage5:grid3",
            "compact_vgg@seeded:0:stage2:grid3,stage3:grid3,stage4:grid3,stage5:grid3",
        ],
        out / "fit",
        regions=["prf-visualrois", "floc-faces", "floc-places"],
        space="fsaverage",
        n_permutations=200,
        n_bootstrap=200,
        device="auto",
    )
    return finish_encoding(out / "fit")


def demo_foveation(out: Path) -> list[str]:
    """Train two small systems on drawings, seen as they are and as texture.

    Parameters
    ----------
    out : Path
        Folder for pictures, networks, tables, figures and the report.

    Returns
    -------
    list of str
        The main figures, and where the report lies.
    """
    design = FoveationDesign(
        systems=("reference", "texture"),
        experiments=("generalisation", "window-conflict"),
        architecture="timm:resnet10t",
        architecture_options={"channels": [16, 16, 32, 32], "stem_type": ""},
        recipe=compact_recipe(5),
        n_runs=3,
        render_px=64,
        size_px=64,
        n_calibration=8,
        n_bootstrap=200,
    )
    run_foveation("drawings:40", out, design)
    return finish_foveation(out)


def demo_braindive(out: Path) -> list[str]:
    """Drive regions of a simulated brain with the shipped generator of drawings.

    Parameters
    ----------
    out : Path
        Folder for images, networks, tables, figures and the report.

    Returns
    -------
    list of str
        The main figures, and where the report lies.
    """
    run_braindive(
        load_image_generator("sketch:latent"),
        out,
        settings=DiveSettings(
            n_images=24,
            n_controls=8,
            scales=(3.0, 1e6),
            n_drawn=2000,
            n_candidates=400,
            epochs=6,
        ),
        n_bootstrap=500,
    )
    return finish_braindive(out)


DEMOS: dict[str, Callable[[Path], list[str]]] = {
    "search": demo_search,
    "scanpaths": demo_scanpaths,
    "encoding": demo_encoding,
    "foveation": demo_foveation,
}

FURTHER_DEMOS: dict[str, Callable[[Path], list[str]]] = {"braindive": demo_braindive}
"""Demos that need more packages than the suite itself: not part of "all"."""
