"""Captions of the small drawings, by template: what can be seen on them, in words.

A caption tells what kind of thing is drawn and, where they can be seen at 32 pixels,
its colour and size. Each names its own category by `CONCEPT_WORDS`, and no other. Faces
are women and men, by their hair alone; "person" is a word for bodies.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from neurovis.adapters.hub_folders import import_generate
from neurovis.core.checks import check_columns, check_option, check_whole
from neurovis.core.rng import generator
from neurovis.generation.sketch_networks import SIDE_PX

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONCEPT_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "face": ("face", "portrait", "head", "woman", "man"),
        "place": ("room", "street", "houses", "buildings", "landscape", "hills"),
        "body": ("body", "person", "figure", "runner"),
        "word": ("word", "words", "text", "letters"),
        "food": ("fruit", "pizza", "burger", "cake"),
    }
)
"""Nouns that name a category; none names two."""

KIND_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "long_hair": ("long",),
        "short_hair": ("short",),
        "hat": ("hat",),
        "room": ("room",),
        "street": ("street", "road"),
        "landscape": ("landscape", "hills"),
        "standing": ("standing", "stands"),
        "running": ("running", "runs", "runner"),
        "reaching": ("reaching", "reaches", "raised"),
        "one_line": ("one", "single"),
        "two_lines": ("two",),
        "fruit": ("fruit",),
        "pizza": ("pizza",),
        "burger": ("burger",),
        "cake": ("cake",),
    }
)
"""Words that tell what kind of thing is drawn; none tells two."""

COLOUR_WORDS = (
    "red",
    "orange",
    "yellow",
    "green",
    "turquoise",
    "blue",
    "purple",
    "pink",
    "brown",
)

SIZE_WORDS = ("small", "large")

PAD, UNKNOWN, STOP = "<pad>", "<unk>", "."
"""What begins the vocabulary: filling, any word that is not in it, and the end."""

# What stands in brackets is left out where a word in braces has nothing to say.
_TEMPLATES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "face": {
        "long_hair": (
            "a woman with long hair [in a {colour} shirt] .",
            "a [{size}] portrait of a woman with long hair [in a {colour} shirt] .",
            "the [{size}] face of a woman with long hair [over a {colour} shirt] .",
            "long hair around the [{size}] face of a woman [in a {colour} shirt] .",
        ),
        "short_hair": (
            "a man with short hair [in a {colour} shirt] .",
            "a [{size}] portrait of a man with short hair [in a {colour} shirt] .",
            "the [{size}] face of a man with short hair [over a {colour} shirt] .",
            "short hair above the [{size}] face of a man [in a {colour} shirt] .",
        ),
        "hat": (
            "a [{size}] head with a [{colour}] hat .",
            "a [{size}] face under a [{colour}] hat .",
            "a [{size}] portrait with a [{colour}] hat .",
            "a [{colour}] hat on a [{size}] head .",
        ),
    },
    "place": {
        "room": (
            "a room with a wooden floor .",
            "an empty room with a picture on the wall .",
            "the inside of a room .",
            "a view into a room with bare walls .",
        ),
        "street": (
            "a street between tall houses .",
            "houses on both sides of a road .",
            "a street with buildings under the sky .",
            "tall buildings along a wide road .",
        ),
        "landscape": (
            "a landscape with [{colour}] hills and trees .",
            "trees on [{colour}] hills under the sky .",
            "a view over [{colour}] hills with trees .",
            "a wide landscape of [{colour}] hills .",
        ),
    },
    "body": {
        "standing": (
            "a [{size}] person standing in a [{colour}] shirt .",
            "a [{size}] person in a [{colour}] shirt stands still .",
            "a [{size}] standing figure in a [{colour}] shirt .",
            "the [{size}] body of someone standing in a [{colour}] shirt .",
        ),
        "running": (
            "a [{size}] person running in a [{colour}] shirt .",
            "a [{size}] runner in a [{colour}] shirt .",
            "a [{size}] running figure in a [{colour}] shirt .",
            "a [{size}] person in a [{colour}] shirt runs fast .",
        ),
        "reaching": (
            "a [{size}] person reaching up in a [{colour}] shirt .",
            "a [{size}] person with raised arms in a [{colour}] shirt .",
            "a [{size}] figure in a [{colour}] shirt with both arms raised .",
            "a [{size}] person in a [{colour}] shirt reaches up .",
        ),
    },
    "word": {
        "one_line": (
            "one [{size}] word in capital letters .",
            "a single [{size}] line of letters .",
            "one [{size}] line of text .",
            "a single [{size}] printed word .",
        ),
        "two_lines": (
            "two [{size}] words in capital letters .",
            "two [{size}] lines of letters .",
            "two [{size}] lines of text .",
            "two [{size}] printed words .",
        ),
    },
    "food": {
        "fruit": (
            "a [{size}] [{colour}] fruit .",
            "a [{size}] [{colour}] fruit with a leaf and a stem .",
            "a [{size}] round [{colour}] fruit with a leaf .",
            "some fresh [{size}] [{colour}] fruit .",
        ),
        "pizza": (
            "a [{size}] pizza from above .",
            "a [{size}] round pizza cut into slices .",
            "a [{size}] pizza with toppings .",
            "a whole [{size}] pizza .",
        ),
        "burger": (
            "a [{size}] burger with cheese .",
            "a [{size}] burger in a bun .",
            "a [{size}] burger with many layers .",
            "a whole [{size}] burger .",
        ),
        "cake": (
            "a [{size}] piece of [{colour}] cake .",
            "a [{size}] slice of [{colour}] cake with a cherry .",
            "a [{size}] piece of cake with [{colour}] cream .",
            "some [{size}] [{colour}] cake with a cherry on top .",
        ),
    },
}

# Where a colour begins, in degrees of hue.
_HUES = (
    (0, "red"),
    (14, "orange"),
    (40, "yellow"),
    (68, "green"),
    (160, "turquoise"),
    (192, "blue"),
    (255, "purple"),
    (290, "pink"),
    (345, "red"),
)
# Hills in front are dark and turned by so much.
_HILL_TURN_DEG = 50
_HILL_NAMES = {"orange": "brown", "yellow": "brown", "pink": "purple"}

# Rooms are nearly grey, streets of many colours, words dark or pale; of a burger or a
# pizza the colour is that of a part too small to be seen.
_COLOURED = (
    *("long_hair", "short_hair", "hat", "standing", "running", "reaching"),
    *("landscape", "fruit", "cake"),
)

_SMALL, _LARGE = 0.58, 0.76
"""Width as a share of the picture below and above which the size is told."""

_SHIRT_FROM = 1.05
"""Half heights of a face below its centre at which a shirt is seen well."""


def describe_drawings(table: pd.DataFrame, *, size_px: int = SIDE_PX) -> pd.DataFrame:
    """Tell what can be seen on drawings.

    Parameters
    ----------
    table : DataFrame
        One row per drawing, as `tasks.sketch_training.draw_sketches` gives it.
    size_px : int, default 32
        Width of the drawings.

    Returns
    -------
    DataFrame
        One row per drawing: `category`, `kind`, `colour` (one of `COLOUR_WORDS`) and
        `size` (one of `SIZE_WORDS`); the last two are empty where they cannot be seen
        or are neither.

    Raises
    ------
    ValueError
        If a column is missing or a kind is unknown.
    """
    needed = ["category", "kind", "hue_deg", "y_px", "width_px", "grey"]
    check_columns("table", table.columns, needed)
    size_px = check_whole("size_px", size_px, low=1)
    kinds = {kind: name for name, some in _TEMPLATES.items() for kind in some}
    for kind, category in table[["kind", "category"]].drop_duplicates().to_numpy():
        check_option("kind of a drawing", kind, tuple(kinds))
        check_option(f"category of {kind!r}", category, (kinds[kind],))
    rows = [_describe(row, size_px) for row in table[needed].to_dict("records")]
    return pd.DataFrame(rows, columns=["category", "kind", "colour", "size"])


def _describe(row: Mapping[Any, Any], size_px: int) -> tuple[str, str, str, str]:
    kind = str(row["kind"])
    is_coloured = kind in _COLOURED and not row["grey"]
    if kind in ("long_hair", "short_hair"):
        shirt_px = row["y_px"] + _SHIRT_FROM * row["width_px"] / 2
        is_coloured = is_coloured and shirt_px < size_px
    is_hill = kind == "landscape"
    colour = _colour(float(row["hue_deg"]), is_hill=is_hill) if is_coloured else ""
    share = row["width_px"] / size_px
    size = "small" if share < _SMALL else "large" if _LARGE < share < 1 else ""
    return str(row["category"]), kind, colour, size


def _colour(hue_deg: float, *, is_hill: bool) -> str:
    hue_deg = (hue_deg + _HILL_TURN_DEG * is_hill) % 360
    name = [word for start, word in _HUES if start <= hue_deg][-1]
    return _HILL_NAMES.get(name, name) if is_hill else name


def caption_drawings(table: pd.DataFrame, *, seed: int = 0) -> list[str]:
    """Write a caption for each drawing.

    Parameters
    ----------
    table : DataFrame
        One row per drawing, as `tasks.sketch_training.draw_sketches` gives it.
    seed : int, default 0
        Seed of the wording, >= 0. That of a drawing depends on the seed and its
        `stimulus_id`.

    Returns
    -------
    list of str
        Lower case; words and the final " ." are parted by single spaces.

    Raises
    ------
    ValueError
        If a column is missing or a kind is unknown.

    Examples
    --------
    >>> from tasks.sketch_training import draw_sketches
    >>> _, table = draw_sketches(5, seed=3)
    >>> caption_drawings(table)[4]
    'a green fruit .'
    """
    check_columns("table", table.columns, ["stimulus_id"])
    seen = describe_drawings(table)
    captions = []
    for name, row in zip(
        table["stimulus_id"], seen.itertuples(index=False), strict=True
    ):
        templates = _TEMPLATES[str(row.category)][str(row.kind)]
        wording = int(generator(seed, "caption", str(name)).integers(len(templates)))
        captions.append(_fill(templates[wording], str(row.colour), str(row.size)))
    return captions


def _fill(template: str, colour: str, size: str) -> str:
    words = {"colour": colour, "size": size}

    def kept(part: re.Match[str]) -> str:
        slots = re.findall(r"{(\w+)}", part[1])
        return part[1].format(**words) if all(words[slot] for slot in slots) else ""

    text = " ".join(re.sub(r"\[(.*?)\]", kept, template).split())
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def all_captions(kind: str, *, colour: str = "", size: str = "") -> tuple[str, ...]:
    """Return every wording for a kind of drawing.

    Parameters
    ----------
    kind : str
        Key of `KIND_WORDS`.
    colour : str, default ""
        One of `COLOUR_WORDS`, or nothing.
    size : str, default ""
        One of `SIZE_WORDS`, or nothing.

    Returns
    -------
    tuple of str
        Captions.

    Raises
    ------
    ValueError
        If a word is none of those.

    Examples
    --------
    >>> all_captions("fruit", colour="orange")[0]
    'an orange fruit .'
    """
    check_option("kind", kind, tuple(KIND_WORDS))
    check_option("colour", colour, ("", *COLOUR_WORDS))
    check_option("size", size, ("", *SIZE_WORDS))
    found = next(kinds[kind] for kinds in _TEMPLATES.values() if kind in kinds)
    return tuple(_fill(template, colour, size) for template in found)


def kind_captions() -> dict[str, tuple[str, ...]]:
    """Return all captions of each kind of drawing, in every colour and size.

    Returns
    -------
    dict of str to tuple of str
        By kind: texts that stand for it in zero-shot classification.
    """
    found = {}
    for kind in KIND_WORDS:
        texts = [
            text
            for colour in ("", *COLOUR_WORDS)
            for size in ("", *SIZE_WORDS)
            for text in all_captions(kind, colour=colour, size=size)
        ]
        found[kind] = tuple(dict.fromkeys(texts))
    return found


def category_captions() -> dict[str, tuple[str, ...]]:
    """Return all captions of each category, in every colour and size.

    Returns
    -------
    dict of str to tuple of str
        By category: texts that stand for it in zero-shot classification.
    """
    texts = kind_captions()
    return {
        category: tuple(text for kind in kinds for text in texts[kind])
        for category, kinds in _TEMPLATES.items()
    }


def _vocabulary() -> tuple[str, ...]:
    texts = (text for some in kind_captions().values() for text in some)
    words = {word for text in texts for word in text.split()}
    return (PAD, UNKNOWN, STOP, *sorted(words - {STOP}))


VOCABULARY = _vocabulary()
"""`PAD`, `UNKNOWN`, `STOP`, and all words of captions in alphabetical order."""


def caption_tokenizer() -> "Tokenizer":
    """Return a tokenizer of the words of captions.

    Returns
    -------
    tokenizers.Tokenizer
        One token per word or sign of punctuation, with its number in `VOCABULARY`;
        words are made lower case.

    Raises
    ------
    MissingDependencyError
        If tokenizers is not installed.
    """
    tokenizers = import_generate("tokenizers", "Captions")
    numbers = {word: i for i, word in enumerate(VOCABULARY)}
    words = tokenizers.models.WordLevel(numbers, unk_token=UNKNOWN)
    tokenizer: Tokenizer = tokenizers.Tokenizer(words)
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return tokenizer
