"""Where the items of a search display stand: in cells of a grid, or on a ring."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_whole
from neurovis.core.types import Viewing
from stimuli.canvas import cos_sin
from stimuli.search_conditions import SearchCondition
from stimuli.search_items import Colour

PUBLISHED_PX_PER_DEG = 30.0


@dataclass(frozen=True)
class SearchLayout:
    """What all displays of a condition share.

    Parameters
    ----------
    viewing : Viewing
        Size, scale and grey level of the display.
    foreground, background : tuple of 3 int
        RGB levels 0..255.
    item_deg : float
        Side of the square box of an item in degrees.
    item_px : int
        The same in whole pixels, rounded up.
    jitter_px : int
        On a grid the shift is 0..jitter_px - 1 pixels, on a ring -jitter_px..jitter_px.
    grid, cell_px : int
        Cells per side and their side in pixels; 0 on a ring.
    eccentricity_deg : float
        Radius of the ring in degrees; NaN on a grid.
    """

    viewing: Viewing
    foreground: Colour
    background: Colour
    item_deg: float
    item_px: int
    jitter_px: int
    grid: int
    cell_px: int
    eccentricity_deg: float

    @property
    def is_grid(self) -> bool:
        """Whether items stand in cells of a grid."""
        return self.grid > 0

    @property
    def has_colour(self) -> bool:
        """Whether foreground or background is not grey."""
        return len(set(self.foreground)) > 1 or len(set(self.background)) > 1

    def check_set_size(self, set_size: int) -> None:
        """Raise unless `set_size` items fit without touching.

        Parameters
        ----------
        set_size : int
            Number of items, >= 1.

        Raises
        ------
        ValueError
            If there are too few cells, or neighbours on the ring are too close.
        """
        if self.is_grid:
            if set_size > self.grid**2:
                raise ValueError(
                    f"`set_sizes` has {set_size}, but a grid of {self.grid} x "
                    f"{self.grid} has {self.grid**2} cells. Use fewer items or, with "
                    "`rendering='smooth'`, a larger `grid` and smaller `item_deg`."
                )
            return
        # Two upright boxes are apart when their centres differ by a side along x or
        # y. In any direction, sqrt(2) sides are enough; one pixel is for rounding.
        needed = math.sqrt(2) * (self.item_px + 2 * self.jitter_px + 1)
        radius = self.viewing.size_px(self.eccentricity_deg)
        if set_size > 1 and 2 * radius * math.sin(math.pi / set_size) < needed:
            least = self.viewing.size_deg(needed / (2 * math.sin(math.pi / set_size)))
            raise ValueError(
                f"`set_sizes` has {set_size}: boxes of {self.item_deg:.3g} deg could "
                f"touch on a ring of radius {self.eccentricity_deg:.3g} deg. Use "
                f"`eccentricity_deg` >= {math.ceil(100 * least) / 100}, fewer items, "
                "or smaller `item_deg` or `jitter_deg`."
            )

    def draw_origins(
        self, set_size: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Choose cells, or turn the ring.

        Parameters
        ----------
        set_size : int
            Number of items.
        rng : Generator
            Source of random numbers.

        Returns
        -------
        ndarray of int64, shape (set_size, 2)
            Top and left edge of each box in pixels, before its shift, in order of
            placement.
        """
        if self.is_grid:
            cells = rng.choice(self.grid**2, size=set_size, replace=False)
            row_column = np.stack(np.divmod(cells, self.grid), axis=1)
            # The range of shifts is centred in the cell; 0 as published.
            margin = (self.cell_px - self.item_px - self.jitter_px) // 2
            return row_column * self.cell_px + margin
        turn_deg = 360 * rng.random()
        centres = []
        for i in range(set_size):
            cos, sin = cos_sin(turn_deg + 360 * i / set_size)
            x_px, y_px = self.viewing.to_px(
                self.eccentricity_deg * cos, self.eccentricity_deg * sin
            )
            centres.append((y_px, x_px))
        corners = np.array(centres) - self.item_px / 2
        return np.floor(corners + 0.5).astype(np.int64)

    def draw_shifts(self, set_size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the random shifts.

        Parameters
        ----------
        set_size : int
            Number of items.
        rng : Generator
            Source of random numbers.

        Returns
        -------
        ndarray of int64, shape (set_size, 2)
            Shift down and right in pixels, in order of placement.
        """
        if self.is_grid:
            return rng.integers(0, max(self.jitter_px, 1), size=(set_size, 2))
        return rng.integers(-self.jitter_px, self.jitter_px + 1, size=(set_size, 2))


def plan_layout(
    condition: SearchCondition,
    px_per_deg: float = PUBLISHED_PX_PER_DEG,
    *,
    view_deg: float | None = None,
    grid: int | None = None,
    item_deg: float | None = None,
    eccentricity_deg: float | None = None,
    jitter_deg: float | None = None,
    foreground: int | Sequence[int] | None = None,
    background: int | Sequence[int] | None = None,
) -> SearchLayout:
    """Turn degrees into whole pixels and check that single items fit.

    Parameters
    ----------
    condition : SearchCondition
        Gives what is None below.
    px_per_deg : float, default 30
        Pixels per degree.
    view_deg : float, optional
        Side of the display in degrees.
    grid : int, optional
        Cells per side.
    item_deg : float, optional
        Side of the box of an item in degrees.
    eccentricity_deg : float, optional
        Radius of a ring in degrees; without it items stand on a grid.
    jitter_deg : float, optional
        Range of the shift on a grid, largest shift on a ring.
    foreground, background : int or sequence of 3 int, optional
        Grey or RGB levels, 0..255.

    Returns
    -------
    SearchLayout
        Sizes in pixels.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or an item does not fit.

    Examples
    --------
    >>> from stimuli.search_conditions import SEARCH_CONDITIONS
    >>> layout = plan_layout(SEARCH_CONDITIONS["cross"], 60)
    >>> layout.viewing.width_px, layout.cell_px, layout.item_px, layout.jitter_px
    (1230, 410, 354, 54)
    """
    view_deg = condition.view_deg if view_deg is None else view_deg
    check_between("view_deg", view_deg, low=0.1, high=180)
    if item_deg is None:
        item_deg = condition.item_px / PUBLISHED_PX_PER_DEG
    check_between("item_deg", item_deg, low=0.01, high=180)
    if jitter_deg is not None:
        check_between("jitter_deg", jitter_deg, low=0, high=180)
    ink = check_colour(
        "foreground", condition.foreground if foreground is None else foreground
    )
    ground = check_colour(
        "background", condition.background if background is None else background
    )
    if ink == ground:
        raise ValueError(
            f"`foreground` and `background` are both {ink} in condition "
            f"{condition.name!r}: nothing would be visible. Give both."
        )
    side = math.floor(view_deg * px_per_deg + 0.5)
    red, green, blue = ground
    luma = (299 * red + 587 * green + 114 * blue + 500) // 1000
    viewing = Viewing(px_per_deg, side, side, luma)
    # The tolerance keeps 69.0000001 px at 69.
    item_px = math.ceil(viewing.size_px(item_deg) - 1e-6)
    if item_px < 2:
        raise ValueError(
            f"`item_deg`={item_deg} at `px_per_deg`={px_per_deg} gives items of "
            f"{item_px} px; at least 2 are needed."
        )

    if eccentricity_deg is not None:
        if grid is not None:
            raise ValueError(
                "`grid` and `eccentricity_deg` exclude each other: items stand on a "
                "grid or on a ring."
            )
        jitter_px = math.floor(viewing.size_px(jitter_deg or 0))
        reach = viewing.size_deg(side / 2 - item_px / 2 - jitter_px - 1)
        if reach < 0:
            raise ValueError(
                f"An item of {item_deg:.3g} deg with its jitter does not fit into a "
                f"display of {view_deg:.3g} deg. Use a larger `view_deg`."
            )
        check_between("eccentricity_deg", eccentricity_deg, low=0, high=reach)
        radius = float(eccentricity_deg)
        return SearchLayout(
            viewing, ink, ground, item_deg, item_px, jitter_px, 0, 0, radius
        )

    grid = condition.grid if grid is None else check_whole("grid", grid, low=1)
    cell_px = side // grid
    room_px = cell_px - item_px
    if jitter_deg is None:
        published_px = viewing.size_px(condition.jitter_px / PUBLISHED_PX_PER_DEG)
        jitter_px = min(max(room_px, 0), math.floor(published_px + 1e-6))
    else:
        jitter_px = math.floor(viewing.size_px(jitter_deg))
    if jitter_px > room_px:
        raise ValueError(
            f"Cells of {viewing.size_deg(cell_px):.3g} deg (`view_deg` / `grid`) have "
            f"no room for items of {item_deg:.3g} deg with a jitter of "
            f"{jitter_deg or 0:.3g} deg. Use a larger `view_deg`, or a smaller `grid`, "
            "`item_deg` or `jitter_deg`."
        )
    return SearchLayout(
        viewing, ink, ground, item_deg, item_px, jitter_px, grid, cell_px, math.nan
    )


def check_colour(name: str, value: int | Sequence[int]) -> Colour:
    """Return a grey or RGB level as three levels.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : int or sequence of 3 int
        Levels, 0..255.

    Returns
    -------
    tuple of 3 int
        Red, green, blue.

    Raises
    ------
    TypeError, ValueError
        If it is no such level.

    Examples
    --------
    >>> check_colour("background", 27)
    (27, 27, 27)
    """
    levels = list(value) if isinstance(value, Sequence | np.ndarray) else [value] * 3
    if len(levels) != 3:
        raise ValueError(
            f"`{name}` must be a grey level or three RGB levels; got {value!r}."
        )
    red, green, blue = (check_whole(name, v, low=0, high=255) for v in levels)
    return red, green, blue
