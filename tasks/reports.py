"""The report of any run, found by the experiment that left it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from neurovis.core.checks import check_option
from tasks.runs import read_call

_REPORTS = {
    "search-asymmetry": ("tasks.search_asymmetry_report", "finish_search_run"),
    "search-natural": ("tasks.search_natural_report", "finish_natural_run"),
    "search-slopes": ("tasks.search_slopes_report", "finish_slopes_run"),
    "free-viewing": ("tasks.free_viewing_report", "finish_free_viewing"),
    "object-search": ("tasks.object_search_report", "finish_object_search"),
    "encoding": ("tasks.encoding_report", "finish_encoding"),
    "brain-encoder": ("tasks.brain_encoder_report", "finish_brain_encoder"),
    "localiser": ("tasks.localiser_report", "finish_localiser"),
    "rsa": ("tasks.rsa_report", "finish_rsa"),
    "brain-ranking": ("tasks.brain_ranking_report", "finish_ranking"),
    "foveation": ("tasks.foveation_report", "finish_foveation"),
    "metamers": ("tasks.metamers_report", "finish_metamers"),
    "probes": ("tasks.probes_report", "finish_probes"),
    "diet": ("tasks.diet_report", "finish_diet"),
    "braindive": ("tasks.braindive_report", "finish_braindive"),
    "braindive-drive": ("tasks.braindive_drive_report", "finish_drive"),
    "clip-encoder": ("tasks.clip_encoder_report", "finish_clip_encoder"),
    "brainscuba": ("tasks.brainscuba_report", "finish_brainscuba"),
    "voxel-captions": ("tasks.voxel_captions_report", "finish_captions"),
    "caption-images": ("tasks.caption_images_report", "finish_caption_images"),
    "recognition": ("tasks.recognition_report", "finish_recognition"),
    "decisions": ("tasks.decisions_report", "finish_decisions"),
    "odd-one-out": ("tasks.odd_one_out_report", "finish_odd_one_out"),
    "level-triplets": ("tasks.level_triplets_report", "finish_level_triplets"),
    "mental-rotation": ("tasks.mental_rotation_report", "finish_mental_rotation"),
    "gestalt": ("tasks.gestalt_report", "finish_gestalt"),
    "disrt": ("tasks.disrt_report", "finish_disrt"),
    "letter-identification": (
        "tasks.letter_identification_report",
        "finish_letter_identification",
    ),
    "object-binding": ("tasks.object_binding_report", "finish_object_binding"),
    "attentive-probing": ("tasks.attentive_probing_report", "finish_attentive_probing"),
    "attention-heads": ("tasks.attention_heads_report", "finish_attention_heads"),
    "anagrams": ("tasks.anagrams_report", "finish_anagrams"),
}


def finish_run(folder: str | Path) -> list[str]:
    """Write the report of a finished run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a run.

    Returns
    -------
    list of str
        Main figures, and the path of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no run, none that is finished, or a damaged one.
    ValueError
        If the run is of an experiment that this version does not know.
    """
    path = Path(folder)
    if not (path / "run.json").is_file():
        raise FileNotFoundError(
            f"{path} holds no finished run: run.json is missing. Run `neurovis run "
            f"<experiment> --out {path}` first."
        )
    task: Any = read_call(path).get("task")
    check_option(f"task of {path}", task, tuple(_REPORTS))
    module, name = _REPORTS[task]
    finish: Callable[[Path], list[str]] = getattr(import_module(module), name)
    return finish(path)
