"""Options, folders and limits shared by all tests."""

import gc
import os
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.sync_api import sync_playwright

from tests.undrawn import figures_not_drawn

# No test measures time: a busy machine may be slow.
settings.register_profile("neurovis", deadline=None)
settings.load_profile("neurovis")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["NEUROVIS_PROGRESS"] = "0"


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for no garbage among what is imported and collected: it takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish():
    gc.unfreeze()


def pytest_addoption(parser):
    parser.addoption(
        "--golden",
        default=os.environ.get("NEUROVIS_GOLDEN"),
        help="folder of reference outputs, one sub-folder per family",
    )


def missing(reason):
    """Skip, or fail where data are required."""
    if os.environ.get("NEUROVIS_REQUIRE_DATA") == "1":
        pytest.fail(f"{reason} (NEUROVIS_REQUIRE_DATA=1)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data_folder():
    """Folder of real data sets, one sub-folder each."""
    folder = os.environ.get("NEUROVIS_DATA")
    if not folder:
        missing("NEUROVIS_DATA is not set: no folder of real data sets")
    if not Path(folder).is_dir():
        missing(f"NEUROVIS_DATA={folder} is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def chromium():
    """Path of a real Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((p for n in names if (p := shutil.which(n))), None)
    if found is None:
        missing("no Chromium on PATH: install the package `chromium`")
    return found


@pytest.fixture(scope="module")
def browser(chromium):
    """A real headless Chromium that asks nothing of the network."""
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def undrawn_figures():
    """Write every figure as one pixel: drawing is most of the time of a report."""
    with figures_not_drawn():
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk():
    """Leave writing to the disk to the system: no test cuts the power.

    A process that is killed loses nothing that it has written. Processes that tests
    start wait as users' do.
    """

    def written(handle):
        os.fstat(handle)  # a closed file is still an error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", written)
        yield


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Refuse connections beyond this machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and address[0] not in {
            "127.0.0.1",
            "localhost",
            "::1",
        }:
            raise OSError(f"tests must not reach the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
