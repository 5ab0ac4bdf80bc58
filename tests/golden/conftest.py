"""Find golden families; one test per file or case, unknown files fail."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden(request):
    """Folder of golden families."""
    return request.config.getoption("--golden")


def pytest_generate_tests(metafunc):
    root = metafunc.config.getoption("--golden")
    if "golden_case" in metafunc.fixturenames:
        find = metafunc.module.find_cases
        folder = Path(root) / metafunc.module.FAMILY if root else None
        there = folder is not None and folder.is_dir()
        cases = find(folder) if there else []
        if there and not cases:
            cases = [("empty family", metafunc.module.check_unknown, (folder,))]
        metafunc.parametrize("golden_case", cases, ids=[case[0] for case in cases])
    if "golden_family" in metafunc.fixturenames:
        folder = Path(root) if root else None
        found = sorted(p.name for p in folder.iterdir()) if folder else []
        metafunc.parametrize("golden_family", [n for n in found if n != "README.md"])
