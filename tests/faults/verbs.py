"""A tiny call of every verb of `neurovis`: simulated data, seeded or shipped networks.

Calls of a group run in their order in one folder: later ones read what earlier ones
left.
"""

import shlex
from dataclasses import dataclass
from functools import partial

import numpy as np

# Verbs that no call stands for.
WITHOUT_A_CALL = {
    "demo": "takes minutes; it runs functions of verbs that have a call",
    "stimuli export jspsych": "asks npm for jsPsych; tests in a browser stand for it",
    "data import jspsych": "reads what such a browser leaves; so do the same tests",
}
# Options whose folder a command may write into.
OUTPUTS = ("--out", "--store", "--to", "--networks")
# Two conditions whose difference is an index of asymmetry.
PAIR = ["top_down", "left_right"]
FEW = "--bootstrap 9 --permutations 9 --device cpu"
NSD = "--subjects 1 --sessions 1 --shape 9,11,9 --vertices 162 --picture-px 32 --seed 3"
CLIP = "clip/models/subj01/sketch_clip/output"
TINY_NETWORK = """'{{"channels": [8, 8, 8, 8], "stem_type": ""}}'"""


@dataclass(frozen=True)
class Verb:
    """A command line; `{made}` is the folder of inputs, `{out}` that of results.

    `writes` are places into which it may write beside those of `OUTPUTS`.
    """

    name: str
    options: str
    group: str
    writes: tuple[str, ...] = ()

    def line(self, place):
        """Words of the command, and the places into which it may write."""
        known = {name: place / name for name in ("made", "out", "here", "caches")}
        words = [*self.name.split(), *shlex.split(self.options)]
        words = [word.format(**known) for word in words]
        given = [words[i + 1] for i, word in enumerate(words) if word in OUTPUTS]
        return words, given + [text.format(**known) for text in self.writes]


PICTURES = (
    # It tries whether the working folder and that of caches can be written.
    ("doctor", "", ("{here}", "{caches}")),
    ("data list", ""),
    ("data check", "search-asymmetry"),
    ("data fetch", "search-asymmetry --to {out}/fetched"),
    ("data simulate nsd", f"--out {{out}}/nsd {NSD}"),
    ("data describe", "nsd:{out}/nsd"),
    ("data prepare", "nsd:{out}/nsd --regions streams --store {out}/betas"),
    (
        "data simulate algonauts",
        "--out {out}/algonauts --sessions 4 --vertices 162 --picture-px 32",
    ),
    (
        "stimuli search-asymmetry",
        "--trials 1 --conditions cross --set-sizes 3 --export psychopy --export bids "
        "--out {out}/asymmetry",
    ),
    (
        "stimuli search-slopes",
        "--tasks feature --trials 1 --set-sizes 3 --out {out}/slopes",
    ),
    ("stimuli shelves", "--shelves 2 --targets 1 --out {out}/shelves"),
    (
        "stimuli foveate",
        "{made}/three --fixation 10,10 --device cpu --out {out}/foveated",
    ),
    (
        "stimuli metamers",
        "{made}/three --scales 0.5,0.9 --model energy --steps 2 --size-px 32 "
        "--px-per-deg 2 --fovea-deg 2.5 --device cpu --out {out}/metamers",
    ),
    (
        "run metamers",
        "--stimuli {out}/metamers --observers 0.3,0.6 --bootstrap 9 --device cpu "
        "--out {out}/answers",
    ),
    (
        "weights convert-keras",
        "{made}/keras.h5 {out}/keras.safetensors",
        ("{out}/keras.safetensors",),
    ),
    (
        "weights convert-clipcap",
        "{made}/clipcap.pt {out}/clipcap --language-model {made}/gpt2",
        ("{out}/clipcap",),
    ),
)
OBSERVERS = (
    (
        "run search-asymmetry",
        "--models eccnet,ivsn,saliency,chance --weights seeded:0/8 --trials 1 "
        "--conditions left_right --config {made}/few.toml --device cpu "
        "--out {out}/asymmetry",
    ),
    (
        "run search-natural",
        "--data {made}/scenes --models ivsn,centre --weights seeded:0/8 "
        "--max-saccades 2 --config {made}/few.toml --device cpu --out {out}/natural",
    ),
    (
        "run search-slopes",
        "--data {made}/people --models chance,centre --tasks feature --trials 2 "
        "--config {made}/few.toml --device cpu --out {out}/slopes",
    ),
    ("run free-viewing", "--data {made}/osie --out {out}/viewing"),
    (
        "run object-search",
        "--data simulated --models chance_uniform,unigram_tokens --splits 1 "
        "--samples 1 --device cpu --out {out}/shelves",
    ),
    ("report", "{out}/natural", ("{out}/natural",)),
    # Its jobs are finished: workers are processes of their own.
    ("sweep run", "{made}/study.toml --engine local:1 --out {out}/swept"),
    ("sweep status", "{out}/swept"),
    ("sweep retry", "{out}/swept", ("{out}/swept",)),
    (
        "fit oat",
        "--data simulated --appearance none --target-position true --epochs 1 "
        "--fold 2 --device cpu --out {out}/oat",
    ),
    (
        "run foveation",
        "drawings:5 --systems reference,texture --experiments generalisation "
        "--architecture timm:resnet10t --recipe compact --epochs 1 --runs 1 "
        "--render-px 64 --size-px 32 --px-per-deg 3 --bootstrap 9 --device cpu "
        f"--architecture-options {TINY_NETWORK} --out {{out}}/foveation",
    ),
    (
        "train backbone",
        "--images {made}/classes --widths 3,6,12,16,24 --epochs 1 --batch-size 2 "
        "--device cpu --out {out}/backbone",
    ),
    (
        "run diet",
        "--images {made}/many --diets natural,lines --seeds 1 --trials 1 "
        "--bootstrap 9 --synthetic --networks {out}/grown --device cpu "
        "--out {out}/diet",
    ),
)
BRAINS = (
    (
        "fit encoding",
        "--data nsd:{made}/nsd --subject 1 --roi early --components 40 "
        f"--features control:gabor:low=cycles4:grid4 {FEW} --store {{out}}/store "
        "--out {out}/encoding",
    ),
    (
        "predict",
        "--model {out}/encoding/models/subj01/control_gabor/low "
        "--pictures {made}/three --device cpu --out {out}/predicted",
    ),
    (
        "fit brain-encoder",
        "--data nsd:{made}/nsd --subject 1 --roi early --heads 2 --epochs 2 --cv 3 "
        f"--features control:gabor:cycles4:grid4 {FEW} --out {{out}}/encoder",
    ),
    (
        "run rsa",
        "--data responses:{made}/units --features file:{made}/model.npz "
        f"{FEW} --out {{out}}/rsa",
    ),
    (
        "run brain-ranking",
        "--data responses:{made}/units --features file:{made}/model.npz "
        f"{FEW} --store {{out}}/store --out {{out}}/ranking",
    ),
    (
        "run localiser",
        "--model {out}/encoding --pictures {made}/localiser "
        f"{FEW} --out {{out}}/localiser",
    ),
    (
        "run probes",
        "--model compact_vgg:stage1:gap --model compact_vgg@seeded:0/8:stage1:gap "
        "--labelled drawn={made}/classes --no-tuning --bootstrap 9 --device cpu "
        "--out {out}/probes",
    ),
    (
        "fit clip-encoder",
        "--data nsd:{made}/nsd --backbone sketch_clip --no-augment --epochs 2 "
        f"--learning-rate 0.03 {FEW} --out {{out}}/clip",
    ),
    (
        "bank build",
        "{made}/many --backbone sketch_clip --shard 20 --device cpu --out {out}/bank",
    ),
    (
        "generate captions",
        f"--encoder {{out}}/{CLIP} --bank {{out}}/bank --regions streams:ventral "
        f"--repeats 2 --beam 2 --tokens 8 {FEW} --out {{out}}/captions",
    ),
)
PIXELS = "--models small=control:pixels:pixels:grid8 --bootstrap 9 --device cpu"
CHOICES = (
    ("stimuli list", ""),
    (
        "stimuli make",
        "gratings --set n_phases=1 --set orientations_deg=[0.0] --out {out}/gratings",
    ),
    ("stimuli show", "{out}/gratings --pictures 2 --out {out}/sheet.png"),
    (
        "stimuli export psychopy",
        "{made}/levels --task 2afc --answer-column answer --out {out}/psychopy",
    ),
    ("data import psychopy", "{made}/psychopy.csv --out {out}/people.parquet"),
    (
        "run recognition",
        "--experiments edge --bootstrap 9 --device cpu --out {out}/recognition",
    ),
    (
        "run decisions",
        f"--trials {{made}}/people.parquet --stimuli {{made}}/levels {PIXELS} "
        "--out {out}/decisions",
    ),
    ("run odd-one-out", "--bootstrap 9 --device cpu --out {out}/odd"),
    (
        "run level-triplets",
        "--set n_pictures=60 --bootstrap 9 --device cpu --out {out}/levels",
    ),
    (
        "run mental-rotation",
        f"{PIXELS} --readouts embedding,ideal --set n_objects=4 "
        "--set pairs_per_angle=4 --set training_pairs_per_angle=2 "
        "--set angles_deg=0.0,90.0,180.0 --out {out}/rotation",
    ),
    (
        "run gestalt",
        f"{PIXELS} --tests lower-region --set n_displays=2 --set n_permutations=9 "
        "--out {out}/gestalt",
    ),
    (
        "run disrt",
        f"{PIXELS} --distortions patch_shuffle --pictures 4 --set size_px=64 "
        "--out {out}/disrt",
    ),
    (
        "run letter-identification",
        f"{PIXELS} --tests navon --set n_train=5 --out {{out}}/letters",
    ),
    (
        "run object-binding",
        "--models compact_vgg@seeded:0:stage3 --set n_train=6 --set n_test=4 "
        "--set n_epochs=1 --set size_px=96 --bootstrap 9 --device cpu "
        "--out {out}/binding",
    ),
    (
        "run attentive-probing",
        "--models compact_vgg@seeded:0:stage4 --set n_pictures=24 --set n_epochs=1 "
        "--set n_queries=2 --set n_seeds=1 --set n_neighbours=3 --bootstrap 9 "
        "--device cpu --out {out}/probing",
    ),
    (
        "train latent-rotation",
        "--objects 1 --epochs 1 --device cpu --out {out}/latent",
    ),
    (
        "run attention-heads",
        "--set n_pictures=4 --bootstrap 9 --device cpu --out {out}/heads",
    ),
)
IMAGES = (
    (
        "generate from-captions",
        f"{{made}}/captions --encoder {{made}}/{CLIP} --generator sketch:latent "
        "--captions 2 --images 2 --steps 2 --sampler ddim --bootstrap 9 --device cpu "
        "--out {out}/drawn",
    ),
    (
        "generate braindive",
        f"--encoder {{made}}/{CLIP} --generator sketch:seeded:pixel:0 --region early "
        "--images 2 --steps 2 --scale 1 --relative --sampler ddim --bootstrap 9 "
        "--device cpu --out {out}/drive",
    ),
    ("generate pairs", "{out}/drive --out {out}/pairs"),
    (
        "generate anagram",
        "--generator sketch:seeded:pixel:0 --images 2 --steps 2 --device cpu "
        "--out {out}/anagrams",
    ),
    (
        "run braindive",
        "--generator sketch:seeded:pixel:0 --images 4 --controls 2 --scales 1 "
        "--steps 2 --bootstrap 9 --device cpu --out {out}/braindive",
    ),
    (
        "run brainscuba",
        "--brains 1 --noise 0.3 --temperatures 10,150 --voxels 2 --pictures 100 "
        "--bank 20 --repeats 2 --bootstrap 9 --device cpu --out {out}/brainscuba",
    ),
    (
        "train generator",
        "--kind pixel --pictures 100 --epochs 1 --device cpu --out {out}/generator",
    ),
    (
        "train captioner",
        "--pictures 130 --epochs 1 --device cpu --out {out}/captioner",
    ),
)
GROUPS = {
    "pictures": PICTURES,
    "observers": OBSERVERS,
    "brains": BRAINS,
    "images": IMAGES,
    "choices": CHOICES,
}
VERBS = [
    Verb(name, options, group, *writes)
    for group, calls in GROUPS.items()
    for name, options, *writes in calls
]


def make_small():
    """Make small what no option makes small: networks that a run trains and asks."""
    import tasks.anagrams
    import tasks.braindive_experiment
    import tasks.diet
    import tasks.diet_networks
    from tests.tasks.diet_examples import small_recipe

    tasks.diet_networks.diet_recipe = lambda mirrors: small_recipe()
    few = {"n_drawn": 100, "epochs": 1}
    for module, name, changes in (
        (tasks.anagrams, "AnagramSettings", few),
        (tasks.braindive_experiment, "DiveSettings", few | {"n_candidates": 60}),
        (tasks.diet, "run_diet", {"conditions": PAIR, "baselines": ["chance"]}),
    ):
        setattr(module, name, partial(getattr(module, name), **changes))


# ---------------------------------------------------------------- inputs


def make_inputs(place, group):
    """Leave what the calls of a group read in the folder `made`."""
    made = place / "made"
    made.mkdir()
    (place / "out").mkdir()
    draw_pictures(made)
    {
        "pictures": _weights,
        "observers": _people,
        "brains": _brains,
        "images": _captions,
        "choices": _choices,
    }[group](made)


def draw_pictures(made):
    """Three folders of drawings."""
    from neurovis.core.pictures import write_png
    from stimuli.category_pictures import make_category_pictures

    drawn = make_category_pictures(48, size_px=64, seed=1)
    for i in range(48):
        picture = drawn.load(i)
        write_png(made / "many" / f"{i:02d}.png", picture)
        if i < 3:
            write_png(made / "three" / f"{i}.png", picture)
        if i < 16:
            write_png(made / "classes" / ("sea", "land")[i % 2] / f"{i}.png", picture)


def _weights(made):
    """Checkpoints of others, in small."""
    import h5py
    import torch

    from tests.adapters.test_clipcap import (
        make_clipcap,
        old_state,
        write_language_model,
    )

    draw = np.random.default_rng(0)
    channels = 3
    with h5py.File(made / "keras.h5", "w") as file:
        for block, n in enumerate((2, 2, 3, 3, 3), 1):
            for layer in range(1, n + 1):
                group = file.create_group(f"block{block}_conv{layer}")
                group["kernel"] = draw.normal(size=(3, 3, channels, 4))
                group["bias"] = np.zeros(4)
                channels = 4
    model = make_clipcap()
    torch.save(old_state(model), made / "clipcap.pt")
    write_language_model(made / "gpt2", model.gpt)


def _people(made):
    """Three data sets of people."""
    from tests.tasks.test_free_viewing import write_osie
    from tests.test_cli import write_scenes, write_slopes

    write_scenes(made / "scenes")
    write_slopes(made / "people")
    write_osie(made / "osie")
    (made / "few.toml").write_text("n_bootstrap = 5\n")
    _finish_sweep(made / "study.toml", made.parent / "out" / "swept")


def _finish_sweep(file, folder):
    from tasks.study import read_study
    from tasks.sweep_jobs import run_job
    from tasks.sweep_keys import key_jobs

    file.write_text(
        'name = "two models"\n[[experiments]]\nrun = "search-asymmetry"\n'
        'models = ["chance", "saliency"]\n'
        'options = {conditions = ["left_right"], trials = 1, n_bootstrap = 5}\n'
    )
    for keyed in key_jobs(read_study(file)):
        assert run_job(str(folder), keyed).state == "finished"


def _choices(made):
    """A set of pictures with answers, and what people answered."""
    from neurovis.core.files import write_table
    from stimuli.save import save_stimuli
    from tests.tasks.test_decisions import bright_and_dark, people_of

    shown = bright_and_dark()
    save_stimuli(shown, made / "levels", progress=False)
    write_table(made / "people.parquet", people_of(shown))
    (made / "psychopy.csv").write_text(
        "participant,stimulus_id,key_resp.keys,key_resp.rt,key_resp.corr\n"
        "s1,p00,left,0.51,1\ns1,p01,right,0.62,0\n"
    )


def _brains(made):
    """Responses of units with features that explain them, of a brain, a localiser."""
    import pandas as pd

    from neurovis.core.pictures import write_png
    from neurovis.core.unit_responses import UnitResponses, save_responses

    draw = np.random.default_rng(0)
    features = draw.normal(size=(40, 6)).astype("f4")
    betas = features @ draw.normal(size=(6, 8)) + draw.normal(size=(40, 8))
    ids = [f"p{i:02d}" for i in range(40)]
    stimuli = pd.DataFrame({"stimulus_id": ids, "n_repeats": 1})
    units = pd.DataFrame({"unit_id": [f"u{i}" for i in range(8)]})
    responses = UnitResponses("tiny", "s1", betas.astype("f4"), stimuli, units)
    save_responses(made / "units", responses)
    np.savez(made / "model.npz", stimulus_id=np.array(ids), layer=features)
    rows = ["file,category,domain"]
    for i in range(18):
        shown = draw.integers(0, 256, (32, 32, 3), np.uint8)
        write_png(made / "localiser" / f"{i}.png", shown)
        rows.append(f"{i}.png," + ("adult,face", "child,face", "house,place")[i % 3])
    (made / "localiser" / "stimuli.csv").write_text("\n".join(rows) + "\n")
    _run("data", "simulate", "nsd", "--out", str(made / "nsd"), *NSD.split())


def _captions(made):
    """An encoder of embeddings, a bank, and captions of the units."""
    _brains(made)
    for verb in VERBS:
        if verb.name in ("fit clip-encoder", "bank build", "generate captions"):
            words, _ = verb.line(made.parent)
            _run(*(word.replace(str(made.parent / "out"), str(made)) for word in words))


def _run(*words):
    from tests.faults.watch import call

    code, _, errors = call(words)
    assert code == 0, errors
