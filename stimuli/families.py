"""The stimulus families: what can be made, by name, and with which options."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, get_type_hints

import numpy as np
import pandas as pd

from neurovis.core.call_options import check_kinds
from neurovis.core.checks import check_option
from neurovis.core.types import StimulusSet


@dataclass(frozen=True)
class Family:
    """A family of stimuli.

    Parameters
    ----------
    place : str
        Function that makes a set, ``module:function``; all its arguments have defaults.
    what : str
        What it shows, in a few words.
    """

    place: str
    what: str

    @property
    def function(self) -> Callable[..., StimulusSet]:
        """The function that makes a set."""
        module, _, name = self.place.partition(":")
        made: Callable[..., StimulusSet] = getattr(import_module(module), name)
        return made

    def options(self) -> dict[str, Any]:
        """Return the kinds of the options.

        Returns
        -------
        dict of str to type hint
            In the order of the function.
        """
        hints = get_type_hints(self.function)
        return {name: hints.get(name, Any) for name in self.defaults()}

    def defaults(self) -> dict[str, Any]:
        """Return the defaults of the options.

        Returns
        -------
        dict of str to object
            In the order of the function.
        """
        parameters = inspect.signature(self.function).parameters
        return {name: one.default for name, one in parameters.items()}


FAMILIES: Mapping[str, Family] = {
    "kanizsa": Family(
        "stimuli.illusory_contours:make_illusory_contours",
        "illusory figures of pacmen, line ends or arcs, fat and thin, with controls",
    ),
    "line-contours": Family(
        "stimuli.line_contours:make_line_contours",
        "illusory edges of abutting gratings, and Ehrenstein figures",
    ),
    "block-figures": Family(
        "stimuli.block_sets:make_block_figures",
        "chains of ten cubes, rendered from any side",
    ),
    "rotation-pairs": Family(
        "stimuli.block_sets:make_rotation_pairs",
        "block figures in pairs, the same or mirrored, turned in depth or plane",
    ),
    "textures": Family(
        "stimuli.texture_segmentation:make_textures",
        "fields of +, L, T, X or bars with an area that differs",
    ),
    "crowding": Family(
        "stimuli.crowding:make_crowded_letters",
        "letters in the periphery between flankers",
    ),
    "vernier": Family(
        "stimuli.vernier_flankers:make_vernier_flankers",
        "verniers among squares and other shapes: crowding and uncrowding",
    ),
    "navon": Family(
        "stimuli.navon:make_navon",
        "large letters made of small letters",
    ),
    "cue-conflict": Family(
        "stimuli.shape_texture:make_shape_texture_set",
        "shapes filled with the texture of another category; silhouettes; edges",
    ),
    "items": Family(
        "stimuli.item_arrays:make_item_arrays",
        "search for a feature, a conjunction, T among L, 2 among 5, Q among O, a tilt",
    ),
    "motion": Family(
        "stimuli.dot_motion:make_dot_motion",
        "frames of random dots of which some move together",
    ),
    "contours": Family(
        "stimuli.gabor_fields:make_contour_fields",
        "paths of Gabor patches hidden among others",
    ),
    "lattices": Family(
        "stimuli.dot_lattices:make_dot_lattices",
        "lattices of dots that group by proximity or similarity",
    ),
    "brackets": Family(
        "stimuli.bracket_search:make_bracket_search",
        "brackets that close to figures, or stay open, for search",
    ),
    "convexity": Family(
        "stimuli.convex_regions:make_convex_regions",
        "convex and concave regions side by side",
    ),
    "lower-region": Family(
        "stimuli.figure_ground:make_lower_regions",
        "two regions with a wavy border, one above the other",
    ),
    "border-ownership": Family(
        "stimuli.figure_ground:make_owned_edges",
        "the same edge, owned by a figure on either side",
    ),
    "manipulated": Family(
        "stimuli.picture_families:make_manipulated_pictures",
        "pictures in the twelve manipulations: contrast, filters, noise, phases, ...",
    ),
    "eidolons": Family(
        "stimuli.picture_families:make_eidolons",
        "pictures whose parts are displaced, scale by scale",
    ),
    "shuffled": Family(
        "stimuli.picture_families:make_shuffled_pictures",
        "pictures whose patches are exchanged: texture without global shape",
    ),
    "search-asymmetry": Family(
        "stimuli.search_arrays:make_search_arrays",
        "the twelve displays of the search asymmetry experiments",
    ),
    "search-slopes": Family(
        "stimuli.slope_arrays:make_slope_arrays",
        "feature, conjunction and 2-among-5 displays on black ground",
    ),
    "shelves": Family(
        "stimuli.shelf_displays:make_shelves",
        "shelves of products",
    ),
    "gratings": Family(
        "stimuli.gratings:make_gratings",
        "sinusoidal gratings of all orientations, frequencies and phases",
    ),
    "drawn-pictures": Family(
        "stimuli.picture_families:make_drawn_pictures",
        "faces, bodies, places and things, drawn by rule",
    ),
}
"""Names of the command line."""


def make_family(name: str, options: Mapping[str, Any] | None = None) -> StimulusSet:
    """Make a set of a family.

    Parameters
    ----------
    name : str
        One of `FAMILIES`.
    options : mapping of str to object, optional
        Arguments of its function, as a file or the command line gives them.

    Returns
    -------
    StimulusSet
        Pictures are drawn when they are asked for.

    Raises
    ------
    ValueError
        If the name, an option or a value is unknown or of another kind.
    """
    family = FAMILIES[check_option("family", name, tuple(FAMILIES))]
    given = dict(options or {})
    check_kinds(given, family.options(), of=name, where="the options")
    # TOML has lists where functions take tuples.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return family.function(**values)


def family_table() -> pd.DataFrame:
    """List the families.

    Returns
    -------
    DataFrame
        `family`, `what` and `function`.
    """
    rows = [(name, one.what, one.place) for name, one in FAMILIES.items()]
    return pd.DataFrame(rows, columns=["family", "what", "function"])


def option_table(name: str) -> pd.DataFrame:
    """List the options of a family.

    Parameters
    ----------
    name : str
        One of `FAMILIES`.

    Returns
    -------
    DataFrame
        `option`, `default` (as text) and `meaning`, the first lines of its
        documentation.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    family = FAMILIES[check_option("family", name, tuple(FAMILIES))]
    meanings = _documented(inspect.getdoc(family.function) or "")
    rows = [
        (option, _text(default), meanings.get(option, ""))
        for option, default in family.defaults().items()
    ]
    return pd.DataFrame(rows, columns=["option", "default", "meaning"])


def _text(default: Any) -> str:
    if isinstance(default, tuple | list | np.ndarray):
        return ",".join(_text(value) for value in default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def _documented(text: str) -> dict[str, str]:
    """Return what numpydoc says of each parameter."""
    section = text.partition("Parameters\n----------\n")[2]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line.startswith("----"):
            for name in names:  # the heading of the next section
                found.pop(name, None)
            break
        if line and not line.startswith(" "):
            names = [part.strip() for part in line.partition(" : ")[0].split(",")]
            found |= dict.fromkeys(names, "")
        elif line.strip():
            for name in names:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return found
