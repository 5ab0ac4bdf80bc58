"""The book of faults: what happened, and what the user saw.

Each test here says so by `told`, and `pytest tests/faults --reliability FILE` writes it
down: docs/reliability.md is that file.
"""

import re
from pathlib import Path

import pytest

from tests.faults.page import Fault, write_page


def pytest_addoption(parser):
    parser.addoption("--reliability", help="write what the tests told to this page")


def pytest_configure(config):
    page = config.getoption("--reliability", None)
    # Processes of pytest-xdist tell the one that started them.
    if page and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Book(Path(page)))


class _Book:
    def __init__(self, page):
        self.page = page
        self.faults = []

    def pytest_runtest_logreport(self, report):
        told = [value for name, value in report.user_properties if name == "fault"]
        if report.when == "call" and report.passed:
            self.faults += [Fault(report.nodeid, *each) for each in told]

    def pytest_sessionfinish(self, exitstatus):
        if exitstatus == 0:
            write_page(self.page, self.faults)


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or not report.passed
    return report


@pytest.fixture
def told(request, record_property, tmp_path):
    """Note what happened and what the user saw."""
    count = 0

    def tell(happened, saw):
        nonlocal count
        count += 1
        text = re.sub(r"\s+", " ", str(saw)).strip()
        for folder in (tmp_path, Path.cwd()):
            text = text.replace(f"{folder}/", "").replace(str(folder), "FOLDER")
        text = re.sub(r"/tmp/[^/\s]+/", "", text)  # other temporary folders
        record_property("fault", [happened, text])

    yield tell
    if not request.node.stash.get(_FAILED, False):
        assert count, "the test told nothing: call `told(happened, saw)`"
