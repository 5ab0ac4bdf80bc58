"""Protections that are taken away, one by one."""

import json
import os
import subprocess
import sys

import pytest

FAULTS = "tests/faults/test_"
# What is taken away: module, text, what stands instead; and the test that must fail.
MUTATIONS = {
    "the hash of weights": (
        ("neurovis.adapters.weights", "if sha256 is not None:", "if False:"),
        "checkpoints.py::test_a_changed_byte_where_the_hash_is_known",
    ),
    "the search for NaN in weights": (
        ("neurovis.core.tensors", "    if broken:", "    if False:"),
        "checkpoints.py::test_nan_in_weights_is_found_before_anything_is_computed",
    ),
    "the refusal of members outside the folder": (
        ("data_loaders.archives", "    if outside or (", "    if ("),
        "archives.py::test_a_member_outside_the_folder",
    ),
    "the name of the file on a full disk": (
        ("neurovis.core.disk_errors", "if error.errno in NO_ROOM:", "if False:"),
        "disk.py::test_a_full_disk_is_one_clear_error_and_costs_no_byte",
    ),
    "the orientation of photographs": (
        ("neurovis.core.pictures", "ImageOps.exif_transpose(image)", "image"),
        "pictures.py::test_a_photograph_is_read_upright_from_folders_and_zip_files",
    ),
    "the escaping of names in reports": (
        ("analysis.report", "autoescape=True", "autoescape=False"),
        "texts.py::test_names_in_a_report_are_text_and_nothing_else",
    ),
    "the care for infinite responses": (
        ("tasks.encoding_data", "values[np.isinf(values)] = np.nan", "pass"),
        "data_files.py::test_infinite_responses_are_undefined_and_nothing_else_changes",
    ),
    "the refusal of other source code": (
        ("tasks.sweep_jobs", "if source_fingerprint() != keyed", "if False and keyed"),
        "sweeps.py::test_a_worker_with_other_code_refuses_the_job",
    ),
    "the store of finished jobs": (
        ("neurovis.core.store", "if _hash_files(folder) != files:", "if True:"),
        "sweeps.py::test_a_job_that_is_finished_is_never_computed_again",
    ),
}


def outcome(test, mutation=None):
    """Run one test in a process of its own; return whether it passed."""
    plugin = ["-p", "tests.faults.mutate"] if mutation else []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *plugin, f"{FAULTS}{test}"],
        env={**os.environ, "NEUROVIS_MUTATION": json.dumps(mutation)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("protection", MUTATIONS)
def test_a_fault_shows_when_its_protection_is_gone(protection, told):
    mutation, test = MUTATIONS[protection]
    assert outcome(test)
    assert not outcome(test, mutation)
    told(
        f"{protection} was taken out of the source", "the test that is named here fails"
    )
