"""A study of more than sixty jobs over three experiments, on simulated data."""

from typer.testing import CliRunner

from neurovis.cli import app

STUDY = """
name = "three experiments"
seeds = [0, 1, 2, 3]

[resources]
memory_gib = 1.5

[[experiments]]
run = "search-asymmetry"
models = ["chance", "saliency"]
[experiments.options]
conditions = ["curve_in_lines"]
trials = 1
n_bootstrap = 20

[[experiments]]
run = "encoding"
data = "nsd:nsd"
models = ["compact_vgg:stage1:gap", "compact_vgg@seeded:1:stage1:gap"]
subjects = [1, 2]
regions = ["V1v", "FFA-1", "OPA"]
[experiments.options]
test = "every-5"
n_permutations = 20
n_bootstrap = 20

[[experiments]]
run = "object-search"
data = "simulated"
models = ["chance_uniform", "centre_gaussian"]
[experiments.options]
n_splits = 1
n_samples = 1
n_bootstrap = 20
"""


def write_study(folder, text=STUDY):
    """Write a study beside the data that it needs; return its file."""
    words = ["data", "simulate", "nsd", "--out", str(folder / "nsd"), "--seed", "3"]
    size = "--subjects 2 --sessions 1 --shape 10,12,10 --picture-px 32"
    done = CliRunner().invoke(app, [*words, *size.split(), "--spaces", "func1pt8mm"])
    assert done.exit_code == 0, done.output
    file = folder / "study.toml"
    file.write_text(text)
    return file
