"""Time reading scattered voxels of a session against reading the whole file.

Whole is what public code does: the HDF5 dataset of a session into memory, then the
voxels of a mask; `get_fdata` of nibabel for NIfTI and MGH. The files are as in the
Natural Scenes Dataset (int16 in chunks of one voxel, int16 NIfTI, big-endian float32
MGH), the voxels a thin shell of 5 percent, like cortex. Both run in this process on one
thread, interleaved, from a warm page cache; the values must agree.

    OMP_NUM_THREADS=1 python benchmarks/beta_reading.py [--grid 41 52 42] [--repeats 3]
    OMP_NUM_THREADS=1 python benchmarks/beta_reading.py --prepare 10 [--memory 4]
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd

from data_loaders.beta_files import open_beta_file
from data_loaders.beta_preparation import BetaPart, Recording, prepare_responses
from neurovis.core.brain_space import VolumeSpace
from neurovis.core.rng import generator

N_TRIALS = 750


def thin_shell(grid):
    """About 5 percent of the voxels, in one half of a sphere."""
    x, y, z = np.indices(grid)
    middle = [n / 2 for n in grid]
    radius = np.sqrt(
        sum(((a - m) / m) ** 2 for a, m in zip((x, y, z), middle, strict=True))
    )
    return (radius > 0.82) & (radius < 0.9) & (y < middle[1])


def write_hdf(path, values):
    with h5py.File(path, "w") as file:
        shape = values.shape[::-1]
        data = file.create_dataset("betas", shape, "i2", chunks=(N_TRIALS, 1, 1, 1))
        for z in range(shape[1]):
            data[:, z] = values[:, :, z].T


def write_nifti(path, values):
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)


def write_mgh(path, values):
    flat = values.reshape(-1, 1, 1, N_TRIALS, order="F").astype(np.float32)
    nib.save(nib.MGHImage(flat, np.eye(4)), path)


def whole_hdf(path, mask):
    with h5py.File(path) as file:
        betas = file["betas"][:]
    return betas[:, mask.T].astype(np.float32) / np.float32(300)


def whole_nifti(path, mask):
    betas = nib.load(path).get_fdata()
    flat = betas.reshape(-1, N_TRIALS, order="F")[mask.ravel(order="F")]
    return flat.T.astype(np.float32) / np.float32(300)


def whole_mgh(path, mask):
    with path.open("rb") as file:
        image = nib.MGHImage.from_stream(file)
        betas = image.get_fdata().reshape(-1, N_TRIALS)
    return betas[mask.ravel(order="F")].T.astype(np.float32)


FORMATS = {
    "HDF5": (".hdf5", write_hdf, whole_hdf),
    "NIfTI": (".nii", write_nifti, whole_nifti),
    "MGH": (".mgh", write_mgh, whole_mgh),
}


def seconds(function, *arguments):
    start, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return time.perf_counter() - start, time.process_time() - cpu, result


def compare(folder, grid, repeats):
    values = make_values(grid, 0)
    mask = thin_shell(grid)
    places = np.flatnonzero(mask.ravel(order="F"))
    print(f"{N_TRIALS} trials of {grid} voxels, of which {len(places)} are wanted")
    for name, (suffix, write, whole) in FORMATS.items():
        path = folder / f"betas{suffix}"
        write(path, values)
        file = open_beta_file(path)
        pairs = []
        for _ in range(repeats):
            ours = seconds(file.read, places)
            theirs = seconds(whole, path, mask)
            pairs.append((*ours[:2], *theirs[:2]))
        agree = np.array_equal(ours[2], theirs[2])
        wall, cpu, their_wall, their_cpu = map(
            statistics.median, zip(*pairs, strict=True)
        )
        size = path.stat().st_size
        print(
            f"{name}, {size / 1e6:.0f} MB: {wall:.3f} s (CPU {cpu:.3f}) against "
            f"{their_wall:.3f} s (CPU {their_cpu:.3f}) for the whole file: "
            f"{their_wall / wall:.1f}x (CPU {their_cpu / cpu:.1f}x); "
            f"{size / wall / 1e6:.0f} MB of file per second; "
            f"values {'agree' if agree else 'DIFFER'}"
        )
        path.unlink()


def make_values(grid, seed):
    rng = generator(0, "benchmark", seed)
    return rng.integers(-3000, 3000, (*grid, N_TRIALS), dtype=np.int16)


def prepare(folder, grid, n_sessions, memory_gib):
    """Z-score and average all voxels; the peak of memory is that of the process."""
    ids = generator(0, "order").permutation(n_sessions * N_TRIALS) // 3
    session = np.repeat(np.arange(n_sessions), N_TRIALS)
    table = {"session": session, "file": session}
    trials = pd.DataFrame({"stimulus_id": [f"{i:05d}" for i in ids], **table})
    trials["row"] = np.tile(np.arange(N_TRIALS), n_sessions)
    space = VolumeSpace("made", grid)
    places = np.arange(space.n_units)
    files = []
    for s in range(n_sessions):
        write_hdf(folder / f"betas{s:02d}.hdf5", make_values(grid, s))
        files.append(open_beta_file(folder / f"betas{s:02d}.hdf5"))
    part = BetaPart(tuple(files), places)
    units = space.locate(places)
    recording = Recording("made", "subj01", (part,), trials, units, space=space)
    n_bytes = sum(file.path.stat().st_size for file in files)
    call = {"memory_gib": memory_gib, "store": folder / "store"}
    wall, cpu, _ = seconds(lambda: prepare_responses(recording, **call))
    again, _, _ = seconds(lambda: prepare_responses(recording, **call))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{n_bytes / 1e9:.2f} GB of HDF5, {len(places)} voxels: {wall:.1f} s (CPU "
        f"{cpu:.1f}), {n_bytes / wall / 1e6:.0f} MB/s; again {again:.3f} s; peak "
        f"{peak:.2f} GiB where {memory_gib:g} were allowed"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=int, nargs=3, default=(41, 52, 42))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prepare", type=int, metavar="SESSIONS")
    parser.add_argument("--memory", type=float, default=4.0, metavar="GIB")
    arguments = parser.parse_args()
    grid = tuple(arguments.grid)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.prepare:
            prepare(Path(folder), grid, arguments.prepare, arguments.memory)
        else:
            compare(Path(folder), grid, arguments.repeats)


if __name__ == "__main__":
    main()
