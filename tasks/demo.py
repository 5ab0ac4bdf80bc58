"""Embedded defaults: each capability on small inputs, offline, in minutes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from data_loaders.synthetic import n_pictures, simulate_nsd
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.captioner import load_captioner
from neurovis.adapters.image_generators import load_image_generator
from neurovis.core.pictures import write_png
from neurovis.generation.sampling import SamplingSettings
from stimuli.category_pictures import make_category_pictures
from tasks.bank_build import build_bank
from tasks.braindive_experiment import DiveSettings, run_braindive
from tasks.braindive_report import finish_braindive
from tasks.brainscuba_experiment import ScubaSettings, run_brainscuba
from tasks.brainscuba_report import finish_brainscuba
from tasks.caption_images import CaptionImageSettings, draw_captions
from tasks.caption_images_report import finish_caption_images
from tasks.clip_encoder import fit_clip_encoder
from tasks.clip_encoder_recipe import published_recipe
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
from tasks.voxel_captions import CaptionSettings, caption_voxels
from tasks.voxel_captions_report import finish_captions

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


def demo_brainscuba(out: Path) -> list[str]:
    """Say in words what simulated voxels prefer, and draw what was said.

    Parameters
    ----------
    out : Path
        Folder for the simulated data, drawings, encoder, bank, tables, figures, images
        and the reports.

    Returns
    -------
    list of str
        The main figures, and where the reports lie.
    """
    network = load_backbone("sketch_clip")
    run_brainscuba(
        network,
        load_captioner("sketch"),
        out / "concepts",
        settings=ScubaSettings(
            noise_sds=(0.3, 3.0), inverse_temperatures=(10.0, 150.0), n_brains=1
        ),
        n_bootstrap=500,
    )
    data, pictures = out / "simulated-nsd", out / "pictures"
    if not data.exists():
        drawn = make_category_pictures(n_pictures(1, 4), size_px=64, seed=0)
        simulate_nsd(
            data,
            drawn.images,
            drawn.table,
            n_subjects=1,
            n_sessions=4,
            n_shared=100,
            volume_shape=(20, 24, 18),
            spaces=("fsaverage",),
            picture_px=64,
            seed=0,
        )
    recipe = replace(
        published_recipe("brainscuba"),
        gain=0.0,
        shift_px=0,
        noise_sd=0.0,
        epochs=30,
        learning_rate=3e-3,
        name="brainscuba, for few drawings",
    )
    fit_clip_encoder(
        f"nsd:{data}",
        "sketch_clip",
        out / "fit",
        recipe=recipe,
        regions=["floc-faces", "floc-bodies", "floc-places", "floc-words"],
        space="fsaverage",
        n_permutations=100,
        n_bootstrap=100,
    )
    others = make_category_pictures(1500, size_px=64, seed=1)
    for name, picture in zip(others.table["stimulus_id"], others.images, strict=True):
        if not (pictures / f"{name}.png").exists():
            write_png(pictures / f"{name}.png", picture)
    bank = build_bank(pictures, out / "bank", backbone=network)
    encoder = out / "fit" / "models" / "subj01" / "sketch_clip" / "output"
    caption_voxels(
        encoder,
        bank,
        "sketch",
        out / "captions",
        settings=CaptionSettings(n_repeats=3),
        n_permutations=200,
        n_bootstrap=200,
    )
    draw_captions(
        out / "captions",
        encoder,
        "sketch:latent",
        out / "images",
        regions=["OFA", "EBA", "PPA", "VWFA-1"],
        bank=bank,
        settings=CaptionImageSettings(3, 4, sampling=SamplingSettings(25, "ddim")),
    )
    return [
        *finish_brainscuba(out / "concepts"),
        *finish_captions(out / "captions"),
        *finish_caption_images(out / "images"),
    ]


DEMOS: dict[str, Callable[[Path], list[str]]] = {
    "search": demo_search,
    "scanpaths": demo_scanpaths,
    "encoding": demo_encoding,
    "foveation": demo_foveation,
}

FURTHER_DEMOS: dict[str, Callable[[Path], list[str]]] = {
    "braindive": demo_braindive,
    "brainscuba": demo_brainscuba,
}
"""Demos that need more packages than the suite itself: not part of "all"."""
