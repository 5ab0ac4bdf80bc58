"""Block figures: cubes joined face to face, written as strings of directions.

A string of nine letters is a walk over ten cubes: l and r go to -x and +x, d and u to
-y and +y, b and f to -z and +z. Cubes have sides of 2, their centres are 2 apart, and
the centroid of the centres is the origin. A string read backwards with opposite letters
is the same object; b and f exchanged give its mirror image in the plane z = 0.

An object whose mirror image can be turned into it is achiral: nobody can tell the two
apart, so only chiral objects make a task. Mirror images belong together: whoever has
learnt one of a pair has seen the other.

References
----------
Shepard and Metzler (1971). Mental rotation of three-dimensional objects. Science 171,
701-703. doi:10.1126/science.171.3972.701
"""

import itertools
from functools import cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Key = tuple[tuple[int, int, int], ...]

CUBE_SIDE = 2.0
"""Side of a cube, and distance of neighbouring centres."""

LETTERS = "lrdubf"
"""Left, right, down, up, back and front."""

STEPS = np.array(
    [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], np.int64
)
"""Where each letter goes, (x, y, z) in cells."""
_OPPOSITE = str.maketrans("lrdubf", "rludfb")
_MIRRORED = str.maketrans("bf", "fb")
_MOST_CUBES = 64


def check_shape(name: str, shape: str) -> str:
    """Return a string of directions if it is one of an object.

    Parameters
    ----------
    name : str
        Argument name for the message.
    shape : str
        What came.

    Returns
    -------
    str
        `shape`, unchanged.

    Raises
    ------
    TypeError
        If it is no text.
    ValueError
        If it is empty or long, has another letter, or enters a cell twice.

    Examples
    --------
    >>> check_shape("shape", "uuubbrrrd")
    'uuubbrrrd'
    """
    _check_letters(name, shape)
    if crosses_itself(shape):
        raise ValueError(
            f"`{name}` {shape!r} enters a cell twice: two cubes cannot be in one place."
        )
    return shape


def cube_cells(shape: str) -> IntArray:
    """Return the cells of a walk that starts in cell (0, 0, 0).

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    ndarray of int64, shape (n_cubes, 3)
        Cells (x, y, z), in the order of the walk.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions.

    Examples
    --------
    >>> cube_cells("rub").tolist()
    [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, -1]]
    """
    _check_letters("shape", shape)
    steps = STEPS[[LETTERS.index(letter) for letter in shape]]
    return np.vstack([np.zeros((1, 3), np.int64), np.cumsum(steps, axis=0)])


def cube_centres(shape: str) -> FloatArray:
    """Return the centres of the cubes of an object.

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    ndarray of float64, shape (n_cubes, 3)
        Centres (x, y, z), `CUBE_SIDE` apart, in the order of the walk; their mean is
        the origin.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions.

    Examples
    --------
    >>> cube_centres("rr").tolist()
    [[-2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]
    """
    cells = cube_cells(shape)
    # Whole numbers until the end: no rounding beyond that of one division.
    return CUBE_SIDE * (cells * len(cells) - cells.sum(axis=0)) / len(cells)


def shape_extent(shape: str) -> FloatArray:
    """Return how far the centres of an object reach along each axis.

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    ndarray of float64, shape (3,)
        Largest minus smallest x, y and z; cubes reach `CUBE_SIDE` further.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions.

    Examples
    --------
    >>> shape_extent("uuubbrrrd").tolist()
    [6.0, 6.0, 4.0]
    """
    return CUBE_SIDE * np.ptp(cube_cells(shape), axis=0).astype(np.float64)


def bounding_radius(shape: str) -> float:
    """Return the radius of the sphere about the origin that holds an object.

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    float
        Distance of the farthest corner of a cube.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions.

    Examples
    --------
    >>> round(bounding_radius("rr"), 3)  # (3, 1, 1)
    3.317
    """
    corners = np.abs(cube_centres(shape)) + CUBE_SIDE / 2
    return float(np.sqrt((corners**2).sum(axis=1).max()))


def arm_lengths(shape: str) -> list[int]:
    """Return the steps between the elbows of an object.

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    list of int
        Steps in one direction, from the start of the walk.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions.

    Examples
    --------
    >>> arm_lengths("uuubbrrrd")
    [3, 2, 3, 1]
    """
    _check_letters("shape", shape)
    return [len(list(run)) for _, run in itertools.groupby(shape)]


def reverse_shape(shape: str) -> str:
    """Return the string of the same object, walked from the other end.

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    str
        Read backwards, with opposite letters.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions.

    Examples
    --------
    >>> reverse_shape("uuubbrrrd")
    'ulllffddd'
    """
    return _check_letters("shape", shape)[::-1].translate(_OPPOSITE)


def mirror_shape(shape: str) -> str:
    """Return the mirror image of an object in the plane z = 0.

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    str
        With b and f exchanged.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions.

    Examples
    --------
    >>> mirror_shape("uuubbrrrd")
    'uuuffrrrd'
    """
    return _check_letters("shape", shape).translate(_MIRRORED)


def crosses_itself(shape: str) -> bool:
    """Return whether a walk enters a cell twice.

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    bool
        Whether two cubes would be in one place.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions.

    Examples
    --------
    >>> crosses_itself("urdl"), crosses_itself("urd")
    (True, False)
    """
    cells = cube_cells(shape)
    return len(np.unique(cells, axis=0)) < len(cells)


def canonical_key(shape: str) -> Key:
    """Return what all rotations and the reversal of an object have in common.

    Over the 24 rotations of a cube, cells are shifted to the smallest whole numbers
    and sorted; the smallest list is the key.

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    tuple of tuple of int
        Sorted cells (x, y, z), each axis from 0.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions, or enters a cell twice.

    Examples
    --------
    >>> canonical_key("uuubbrrrd") == canonical_key("ulllffddd")
    True
    """
    cells = cube_cells(check_shape("shape", shape))
    turned = np.einsum("rij,cj->rci", quarter_rotations(), cells)
    turned -= turned.min(axis=1, keepdims=True)
    lists = ([tuple(int(v) for v in cell) for cell in cube] for cube in turned)
    smallest = min(sorted(cells) for cells in lists)
    return tuple((x, y, z) for x, y, z in smallest)


def is_chiral(shape: str) -> bool:
    """Return whether an object differs from its mirror image however it is turned.

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    bool
        Whether the canonical keys of object and mirror image differ.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions, or enters a cell twice.

    Examples
    --------
    >>> is_chiral("uuubbrrrd"), is_chiral("ubbbbddff")
    (True, False)
    """
    return canonical_key(shape) != canonical_key(mirror_shape(shape))


def mirror_pair_key(shape: str) -> Key:
    """Return what an object and its mirror image have in common.

    Parameters
    ----------
    shape : str
        Directions, letters of "lrdubf".

    Returns
    -------
    tuple of tuple of int
        The smaller of the two canonical keys.

    Raises
    ------
    TypeError, ValueError
        If it is no string of directions, or enters a cell twice.

    Examples
    --------
    >>> mirror_pair_key("uuubbrrrd") == mirror_pair_key("uuuffrrrd")
    True
    """
    return min(canonical_key(shape), canonical_key(mirror_shape(shape)))


@cache
def quarter_rotations() -> IntArray:
    """Return the rotations that take a cube to itself.

    Returns
    -------
    ndarray of int64, shape (24, 3, 3)
        Signed permutation matrices with determinant 1.

    Examples
    --------
    >>> quarter_rotations().shape
    (24, 3, 3)
    """
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3), np.int64)
            matrix[range(3), order] = signs
            if round(float(np.linalg.det(matrix))) == 1:
                found.append(matrix)
    rotations = np.array(found)
    rotations.flags.writeable = False
    return rotations


def _check_letters(name: str, shape: str) -> str:
    if not isinstance(shape, str):
        raise TypeError(f"`{name}` must be a string of directions; got {shape!r}.")
    strange = sorted(set(shape) - set(LETTERS))
    if strange or not 1 <= len(shape) < _MOST_CUBES:
        raise ValueError(
            f"`{name}` must have 1 to {_MOST_CUBES - 1} letters of {LETTERS!r} (left, "
            f"right, down, up, back, front); got {shape!r}."
        )
    return shape
