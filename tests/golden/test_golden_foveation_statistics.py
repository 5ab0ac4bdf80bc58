"""Steerable pyramid and texture statistics against reference code (see the README).

Tolerance: coefficients 1e-12 with the masks of the reference, 1e-5 with exact ones;
statistics relative 1e-5 + absolute 1e-7, and relative 1e-4 + absolute 2e-5, as
correlations near 0 are off by 1e-5.
"""

from fnmatch import fnmatch

import numpy as np
import pytest
import torch

from neurovis.foveation.portilla_simoncelli import PortillaSimoncelli
from neurovis.foveation.steerable_pyramid import SteerablePyramid
from neurovis.foveation.texture_statistics import TextureStatistics

FAMILY = "foveation"
PATTERNS = ("ps_stats*", "steerable*")


def find_cases(folder):
    """List (id, checker, arguments) for the files of this part."""
    cases = []
    for path in sorted(folder.iterdir()):
        if not any(fnmatch(path.name, pattern) for pattern in PATTERNS):
            continue
        checker = check_pyramid
        if path.name.startswith("ps_stats"):
            checker = check_statistics
        cases += [
            (f"{path.stem}-{masks}", checker, (path, masks))
            for masks in ("table", "exact")
        ]
    return cases


def check_unknown(path):
    pytest.fail(f"{path} holds no file like {' or '.join(PATTERNS)}")


def test_golden_file(golden_case):
    _, checker, arguments = golden_case
    checker(*arguments)


def read(path):
    with np.load(path) as file:
        return {name: file[name] for name in file}


def as_images(array):
    return torch.as_tensor(array, dtype=torch.float64)[None, None]


def check_pyramid(path, masks):
    content = read(path)
    image = as_images(content.pop("image"))
    n_scales, order = int(content.pop("height")), int(content.pop("order"))
    pyramid = SteerablePyramid(
        tuple(image.shape[2:]),
        n_scales=n_scales,
        n_orientations=order + 1,
        is_complex=bool(content.pop("is_complex")),
        tight_frame=bool(content.pop("tight_frame")),
        masks=masks,
        dtype=torch.float64,
    )
    found = pyramid.analyse(image)
    ours = {
        "coef_residual_highpass": found.highpass,
        "coef_residual_lowpass": found.lowpass,
        **{f"coef_{scale}": band for scale, band in enumerate(found.bands)},
    }
    tolerance = 1e-12 if masks == "table" else 1e-5
    # The reference goes back through single precision.
    recon = pyramid.synthesise(found)[0, 0]
    np.testing.assert_allclose(recon, content.pop("recon"), rtol=1e-5, atol=1e-5)
    assert set(content) == set(ours)
    for name, theirs in content.items():
        scale = max(np.abs(theirs).max(), 1)
        difference = np.abs(ours[name][0, 0].numpy() - theirs).max()
        assert difference <= tolerance * scale, (name, difference)


def check_statistics(path, masks):
    content = read(path)
    names = [str(name) for name in content.pop("stat_names")]
    scales, counts = (
        content.pop("representation_scales"),
        content.pop("necessary_counts"),
    )
    images = [
        name.removeprefix("image_") for name in content if name.startswith("image_")
    ]
    assert images
    some = content[f"stat_{images[0]}__magnitude_std"]
    width = content[f"stat_{images[0]}__auto_correlation_reconstructed"].shape[0]
    options = {
        "n_orientations": some.shape[0],
        "n_scales": some.shape[1],
        "neighbourhood": width,
    }
    rtol, atol = (1e-5, 1e-7) if masks == "table" else (1e-4, 2e-5)
    for image in images:
        picture = as_images(content.pop(f"image_{image}"))
        model = PortillaSimoncelli(
            tuple(picture.shape[2:]), masks=masks, dtype=torch.float64, **options
        )
        found = model(picture)
        vector, table = found.vector(), found.table
        theirs = content.pop(f"rep_{image}")
        np.testing.assert_allclose(vector[0, 0], theirs, rtol=rtol, atol=atol)
        np.testing.assert_array_equal(table["scale"].astype(str), scales.astype(str))
        number = table.groupby("statistic", sort=False).size()
        expected = dict(zip(names, counts.tolist(), strict=True))
        # Of a single scale there is nothing across scales.
        assert number.to_dict() == {k: n for k, n in expected.items() if n}
        again = TextureStatistics.from_vector(vector, **options).arrays()
        for name, array in found.arrays().items():
            theirs = content.pop(f"stat_{image}__{name}", np.empty(0))
            if array.numel() == 0 and theirs.size == 0:
                continue
            np.testing.assert_allclose(array[0, 0], theirs, rtol=rtol, atol=atol)
            torch.testing.assert_close(
                array, again[name], rtol=0, atol=0, equal_nan=True
            )
    assert not content, f"not compared: {sorted(content)}"
