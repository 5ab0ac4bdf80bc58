"""A map on the cortical surface as a page in which the brain can be turned.

The page holds all it needs and asks nothing of the network; its content security policy
forbids that. Colours are those of `analysis.surface.plot_cortex_map`.
"""

import base64
from collections.abc import Mapping
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.colors import Colormap, to_hex
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from analysis.brain_colours import cortex_colours, make_colour_scale
from analysis.surface_mesh import N_VERTICES, Cortex, check_cortex_maps, load_cortex
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_option
from neurovis.core.files import write_text

_TEMPLATES = Path(__file__).parent / "templates"
_N_STOPS = 64
_REACH_MM = 4.0


def write_cortex_html(
    path: str | Path,
    maps: Mapping[str, ArrayLike],
    *,
    surface: str = "inflated",
    regions: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    symmetric: bool = False,
    threshold: float = 0.0,
    label: str = "",
    title: str = "",
    note: str = "",
    cortex: Cortex | None = None,
) -> Path:
    """Write a map on both hemispheres as one interactive HTML file, atomically.

    The brain is turned by mouse, finger or arrow keys and zoomed by the wheel;
    hemispheres can be hidden. Under the pointer stand vertex, value and regions. The
    file has about 1 MB; the browser needs WebGL.

    Parameters
    ----------
    path : str or Path
        File to write or replace; the suffix must be ``.html``.
    maps : mapping of str to array_like of float, shape (10242,)
        Values of "lh" and "rh", see `analysis.surface_mesh.to_fsaverage5`; NaN is
        undefined and shows the cortex.
    surface : {"inflated", "pial", "white"}, default "inflated"
        Shape of the cortex; inflated hemispheres are moved apart.
    regions : mapping of str to mapping of str to array_like of bool, optional
        Regions to be named under the pointer, as `region_outlines` returns them.
    cmap : str or Colormap, optional
        As in `plot_cortex_map`.
    vmin, vmax : float, optional
        As in `plot_cortex_map`.
    symmetric : bool, default False
        As in `plot_cortex_map`.
    threshold : float, default 0
        As in `plot_cortex_map`.
    label : str, optional
        What the values are, with unit; beside the colour bar.
    title : str, optional
        Heading.
    note : str, optional
        What must not be overlooked, such as "simulated data"; framed.
    cortex : Cortex, optional
        Already loaded surfaces.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If a shape, an option or the suffix is wrong.
    """
    path = Path(path)
    check_option("suffix of the page", path.suffix, (".html",))
    check_option("surface", surface, ("inflated", "pial", "white"))
    sides = check_cortex_maps("maps", maps, HEMISPHERES)
    members = {}
    for name, masks in (regions or {}).items():
        checked = check_cortex_maps(f"regions[{name!r}]", masks, HEMISPHERES)
        inside = np.concatenate([checked[h] for h in HEMISPHERES]) > 0
        members[name] = np.flatnonzero(inside).tolist()
    values = np.concatenate([sides[h] for h in HEMISPHERES])
    scale = make_colour_scale(
        values,
        cmap=cmap,
        vmin=vmin,
        vmax=vmax,
        symmetric=symmetric,
        threshold=threshold,
    )
    cortex = cortex or load_cortex()
    depths = np.concatenate([cortex[h].sulcal_depth for h in HEMISPHERES])
    faces = np.concatenate([cortex.lh.faces, cortex.rh.faces + N_VERTICES])
    places = _both_hemispheres(cortex, surface)
    hidden = f" or nearer to 0 than {threshold:g}" if threshold else ""
    grey = f"grey: undefined{hidden}" if not scale.shown(values).all() else ""
    data = {
        "n_vertices": N_VERTICES,
        "radius": float(np.linalg.norm(places, axis=1).max()),
        "reach": _REACH_MM,
        "coordinates": _encode(places, "<f4"),
        "faces": _encode(faces, "<u2"),
        "colours": _encode(np.round(255 * cortex_colours(scale, values, depths)), "u1"),
        "values": _encode(values, "<f4"),
        "regions": members,
        "grey": grey,
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    low, high = float(scale.norm.vmin or 0), float(scale.norm.vmax or 0)
    marks = [t for t in MaxNLocator(5).tick_values(low, high) if low <= t <= high]
    page = environment.get_template("cortex.html").render(
        title=title,
        label=label,
        note=note,
        grey=grey,
        data=data,
        gradient=", ".join(
            to_hex(scale.cmap(share)) for share in np.linspace(0, 1, _N_STOPS)
        ),
        ticks=[
            {
                "percent": f"{100 * (mark - low) / (high - low):.2f}",
                "text": f"{mark + 0.0:.6g}".replace("-", "−"),
            }
            for mark in marks
        ],
    )
    write_text(path, page)
    return path


def _both_hemispheres(cortex: Cortex, surface: str) -> NDArray[np.float64]:
    """Return the coordinates of both hemispheres about their middle."""
    left, right = (cortex[h].surfaces[surface].astype(float) for h in HEMISPHERES)
    if surface == "inflated":
        left[:, 0] -= left[:, 0].max() + 1
        right[:, 0] -= right[:, 0].min() - 1
    both = np.concatenate([left, right])
    middle: NDArray[np.float64] = (both.min(axis=0) + both.max(axis=0)) / 2
    return both - middle


def _encode(array: NDArray[np.generic], dtype: str) -> str:
    return base64.b64encode(array.astype(dtype).tobytes()).decode("ascii")
