"""The files of jsPsych, from the cache or once from npm."""

import pytest

from neurovis.core.errors import MissingDependencyError
from stimuli.jspsych_library import cache_folder, library_files


@pytest.fixture(scope="session")
def jspsych_library():
    """Folder of the packed files; npm runs in a process of its own."""
    try:
        library_files()
    except (MissingDependencyError, ConnectionError, PermissionError) as error:
        pytest.skip(f"no jsPsych here: {error}")
    return cache_folder()
