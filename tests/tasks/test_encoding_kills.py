"""A fit that is killed again and again ends with the tables of one that was not."""

import os
import signal
import subprocess
import sys

import pytest

# Every attempt is killed after so many files were synchronised to the disk.
PROGRAM = """
import os, signal, sys
from pathlib import Path

from tasks.encoding import fit_encoding

root, out, n_syncs = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
sync, calls = os.fsync, []


def counted(handle):
    calls.append(handle)
    if len(calls) == n_syncs:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(handle)


os.fsync = counted
fit_encoding(
    f"nsd:{root}",
    ["control:gabor:a=cycles4:grid4,b=cycles8:grid4", "control:colour"],
    out,
    regions=["V1"],
    n_components=12,
    n_permutations=20,
    n_bootstrap=20,
    device="cpu",
)
print(len(calls))
"""
SIMULATE = """
import sys

from data_loaders.synthetic import simulate_nsd
from stimuli.category_pictures import make_category_pictures

drawn = make_category_pictures(250, size_px=32)
simulate_nsd(
    sys.argv[1], list(drawn.images), drawn.table, n_subjects=1, n_sessions=1,
    volume_shape=(10, 12, 10), n_vertices=(162, 162), picture_px=32,
)
"""
TABLES = ("units", "regions", "layers", "scores")


def run(program, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NEUROVIS_PROGRESS": "0"}
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_fits_end_with_equal_tables(tmp_path):
    root = tmp_path / "nsd"
    assert run(SIMULATE, root).returncode == 0
    whole = run(PROGRAM, root, tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr
    n_syncs = int(whole.stdout)
    assert n_syncs > 40
    killed = 0
    for n in (3, 9, 16, 23, 30, 38):
        done = run(PROGRAM, root, tmp_path / "parts", n)
        killed += done.returncode == -signal.SIGKILL
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
    assert killed >= 4
    done = run(PROGRAM, root, tmp_path / "parts", 0)
    assert done.returncode == 0, done.stderr
    for name in TABLES:
        parts, entire = (
            (tmp_path / folder / f"{name}.parquet").read_bytes()
            for folder in ("parts", "whole")
        )
        assert parts == entire, name
    models = sorted((tmp_path / "whole" / "models").rglob("*.safetensors"))
    assert len(models) >= 4
    for path in models:
        other = tmp_path / "parts" / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes()
    left = [p for p in (tmp_path / "parts").rglob("*.part-*") if p.is_file()]
    assert len(left) <= killed
