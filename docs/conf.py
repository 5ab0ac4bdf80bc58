"""Configuration of the documentation."""

import os
from pathlib import Path

import sphinx
from typer.testing import CliRunner

import neurovis
from neurovis.cli import app

# Small networks run fastest on one thread, and the example's numbers stay the same.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NEUROVIS_PROGRESS"] = "0"

project = "neurovis"
author = "The neurovis developers"
project_copyright = author
version = release = neurovis.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_parser",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "py:obj"
nitpicky = False

autosummary_generate = True
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "ignore-module-all": True,
}
autodoc_typehints = "none"
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "min_reported_time": 0,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"neurovis {release}"
html_static_path = ["_static"]
html_css_files = ["neurovis.css"]
html_show_sourcelink = False
# Pages without a section of their own have nothing to list beside them.
html_sidebars = {page: [] for page in ("getting_started", "troubleshooting")}
html_context = {"default_mode": "auto"}
html_copy_source = False
html_theme_options = {
    "article_header_start": [],
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}

COMMANDS = (
    "stimuli list",
    "stimuli make",
    "stimuli show",
    "stimuli search-asymmetry",
    "stimuli search-slopes",
    "stimuli shelves",
    "stimuli foveate",
    "stimuli metamers",
    "stimuli export jspsych",
    "stimuli export psychopy",
    "run search-asymmetry",
    "run search-natural",
    "run search-slopes",
    "run free-viewing",
    "run object-search",
    "run rsa",
    "run brain-ranking",
    "run localiser",
    "run recognition",
    "run decisions",
    "run odd-one-out",
    "run level-triplets",
    "run mental-rotation",
    "run gestalt",
    "run disrt",
    "run letter-identification",
    "run object-binding",
    "run attentive-probing",
    "run attention-heads",
    "run foveation",
    "run metamers",
    "run probes",
    "run diet",
    "run braindive",
    "run brainscuba",
    "sweep run",
    "sweep status",
    "sweep retry",
    "fit oat",
    "fit encoding",
    "fit brain-encoder",
    "fit clip-encoder",
    "train backbone",
    "train generator",
    "train captioner",
    "train latent-rotation",
    "generate braindive",
    "generate pairs",
    "generate anagram",
    "generate captions",
    "generate from-captions",
    "bank build",
    "predict",
    "report",
    "demo",
    "data list",
    "data fetch",
    "data check",
    "data describe",
    "data prepare",
    "data import jspsych",
    "data import psychopy",
    "data simulate nsd",
    "data simulate algonauts",
    "weights convert-keras",
    "weights convert-clipcap",
    "doctor",
)


def write_help(sphinx_app: sphinx.application.Sphinx) -> None:
    """Write the help of every command, so that the page cannot grow old."""
    folder = Path(sphinx_app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    for command in ("", *COMMANDS):
        words = [*command.split(), "--help"]
        done = CliRunner().invoke(
            app, words, prog_name="neurovis", env={"COLUMNS": "88"}
        )
        name = command.replace(" ", "-") or "neurovis"
        (folder / f"{name}.txt").write_text(done.stdout, encoding="utf-8")


def leave_out_routing(
    _app: object, _kind: str, name: str, _obj: object, skip: bool, _options: object
) -> bool:
    """Leave out what scikit-learn adds to estimators to pass groups around."""
    return skip or name.endswith(("_fit_request", "_predict_request", "_score_request"))


def setup(sphinx_app: sphinx.application.Sphinx) -> None:
    """Connect what is done before pages are read."""
    sphinx_app.connect("builder-inited", write_help)
    sphinx_app.connect("autodoc-skip-member", leave_out_routing)
