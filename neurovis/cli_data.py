"""The verbs of `neurovis data`: list, check, describe, prepare, simulate, fetch."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from neurovis.cli_run import say, split_names

data_app = typer.Typer(
    help="Human and brain data.", no_args_is_help=True, rich_markup_mode=None
)
simulate_app = typer.Typer(
    help="Simulate brain data in the formats of the real ones.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
data_app.add_typer(simulate_app, name="simulate")


class Incomplete(StrEnum):
    """What becomes of units that are constant or undefined in a session."""

    drop = "drop"
    nan = "nan"
    zero = "zero"


_SPACES = "func1pt8mm, func1mm, fsaverage or nativesurface [func1pt8mm]."
_PREPARATIONS = "b1, b2, b3, or the name of the folder of betas [b3]."
_MEMORY = "Bound of memory in GiB [4]."

Where = Annotated[
    str, typer.Argument(help="Data set and folder, as NAME:PATH; see `data list`.")
]
Subject = Annotated[int | None, typer.Option(help="Subject, from 1 [all].")]
Regions = Annotated[
    str | None, typer.Option(help="Regions, separated by commas [all units].")
]
Pictures = Annotated[
    Path | None,
    typer.Option(help="Folder of pictures, categories as sub-folders [drawn ones]."),
]


@data_app.command("list")
def data_list() -> None:
    """List the data sets that the suite can read, and what ships with it."""
    from data_loaders.sources import SOURCES, describe_source

    for source in SOURCES.values():
        for line in describe_source(source):
            say(line)


@data_app.command("check")
def data_check(
    name: Annotated[
        str, typer.Argument(help="Data set, or NAME:PATH; see `neurovis data list`.")
    ],
    folder: Annotated[
        Path | None, typer.Argument(help="Where its files lie, if not in NAME:PATH.")
    ] = None,
) -> None:
    """Check a local folder of a data set and print counts."""
    from data_loaders.sources import SOURCES, check_source

    name, path = _split_where(name) if folder is None else (name, folder)
    if path is None and not (name in SOURCES and SOURCES[name].ships):
        raise ValueError(
            f"Where does {name} lie? Say `neurovis data check {name}:PATH`."
        )
    for line in check_source(name, path or Path()):
        say(line)


@data_app.command("describe")
def data_describe(
    where: Where,
    subject: Subject = None,
    space: Annotated[str | None, typer.Option(help=_SPACES)] = None,
    preparation: Annotated[str | None, typer.Option(help=_PREPARATIONS)] = None,
    memory_gib: Annotated[float | None, typer.Option(help=_MEMORY)] = None,
) -> None:
    """Tell trials, images, repeats, units per region, ceilings and memory needed."""
    name, path = _split_where(where)
    if path is None:
        raise ValueError(f"Expected NAME:PATH, such as nsd:/data/nsd; got {where!r}.")
    wishes = {"space": space, "preparation": preparation, "memory_gib": memory_gib}
    options = {key: value for key, value in wishes.items() if value is not None}
    if name == "nsd":
        from data_loaders.nsd import describe_nsd

        lines = describe_nsd(path, subject, **options)  # type: ignore[arg-type]
    else:
        from data_loaders.sources import check_source

        if options or subject is not None:
            raise ValueError(
                f"The options of `data describe` are for nsd; {name} takes none."
            )
        lines = check_source(name, path)
    for line in lines:
        say(line)


@data_app.command("prepare")
def data_prepare(
    where: Where,
    store: Annotated[Path, typer.Option(help="Where prepared betas are kept.")],
    subject: Annotated[int, typer.Option(help="Subject, from 1.")] = 1,
    space: Annotated[str, typer.Option(help=_SPACES)] = "func1pt8mm",
    preparation: Annotated[str, typer.Option(help=_PREPARATIONS)] = "b3",
    sessions: Annotated[
        str | None, typer.Option(help="Sessions, such as 1-3,5 [all there].")
    ] = None,
    regions: Regions = None,
    min_ncsnr: Annotated[
        float | None, typer.Option(help="Leave out units below this ncsnr.")
    ] = None,
    z_score: Annotated[bool, typer.Option(help="Standardise in each session.")] = True,
    average: Annotated[bool, typer.Option(help="Average trials of an image.")] = True,
    incomplete: Annotated[
        Incomplete, typer.Option(help="Units that are constant or undefined.")
    ] = Incomplete.drop,
    memory_gib: Annotated[float, typer.Option(help=_MEMORY)] = 4.0,
) -> None:
    """Standardise and average the betas of a subject; resumes where it stopped."""
    from data_loaders.nsd import load_nsd
    from neurovis.core.checks import check_option

    name, path = _split_where(where)
    check_option("data set", name, ("nsd",))
    responses = load_nsd(
        path or Path(),
        subject,
        space=space,
        preparation=preparation,
        sessions=None if sessions is None else _sessions(sessions),
        regions=None if regions is None else split_names(regions),
        min_ncsnr=min_ncsnr,
        z_score=z_score,
        average=average,
        incomplete=incomplete.value,
        memory_gib=memory_gib,
        store=store,
    )
    for line in responses.describe():
        say(line)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="Data set, see `neurovis data list`.")],
    to: Annotated[
        Path | None, typer.Option(help="Folder for its files [data/NAME].")
    ] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the terms of its files.")
    ] = False,
) -> None:
    """Download a data set, verified; what is there already is left as it is."""
    from data_loaders.sources import fetch_source

    folder = Path("data") / name if to is None else to
    for line in fetch_source(name, folder, accept_terms=accept_terms):
        say(line)


@simulate_app.command("nsd")
def simulate_nsd(
    out: Annotated[Path, typer.Option(help="New folder for the tree.")],
    subjects: Annotated[int, typer.Option(help="People.")] = 2,
    sessions: Annotated[int, typer.Option(help="Sessions of 750 trials.")] = 3,
    withheld: Annotated[int, typer.Option(help="Last sessions without files.")] = 0,
    shape: Annotated[str, typer.Option(help="Voxels along X, Y, Z.")] = "24,30,22",
    vertices: Annotated[int, typer.Option(help="Vertices of a hemisphere.")] = 2562,
    spaces: Annotated[
        str, typer.Option(help="func1pt8mm, func1mm, fsaverage, nativesurface.")
    ] = "func1pt8mm,fsaverage",
    formats: Annotated[
        str, typer.Option(help="Volumes: hdf5, nii.gz, nii, mat.")
    ] = "hdf5",
    preparations: Annotated[str, typer.Option(help="b1, b2, b3.")] = "b3",
    pictures: Pictures = None,
    picture_px: Annotated[int, typer.Option(help="Side of the pictures.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
) -> None:
    """Write a Natural Scenes Dataset with known truth: betas, regions, designs."""
    from data_loaders import synthetic

    images, labels = _pictures(pictures, synthetic.n_pictures(subjects, sessions), seed)
    folder = synthetic.simulate_nsd(
        out,
        images,
        labels,
        n_subjects=subjects,
        n_sessions=sessions,
        n_withheld=withheld,
        volume_shape=_whole("shape", shape, 3),
        n_vertices=(vertices, vertices),
        spaces=split_names(spaces),
        volume_formats=split_names(formats),
        preparations=split_names(preparations),
        picture_px=picture_px,
        seed=seed,
    )
    say(f"wrote {folder}; look at it with `neurovis data describe nsd:{folder}`")


@simulate_app.command("algonauts")
def simulate_algonauts(
    out: Annotated[Path, typer.Option(help="New folder for the tree.")],
    subjects: Annotated[int, typer.Option(help="People.")] = 1,
    sessions: Annotated[int, typer.Option(help="Sessions of 750 trials.")] = 6,
    vertices: Annotated[int, typer.Option(help="Vertices of a hemisphere.")] = 2562,
    pictures: Pictures = None,
    picture_px: Annotated[int, typer.Option(help="Side of the pictures.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
) -> None:
    """Write an Algonauts 2023 challenge with known truth."""
    from data_loaders import synthetic

    images, labels = _pictures(pictures, synthetic.n_pictures(subjects, sessions), seed)
    folder = synthetic.simulate_algonauts(
        out,
        images,
        labels,
        n_subjects=subjects,
        n_sessions=sessions,
        n_vertices=(vertices, vertices),
        picture_px=picture_px,
        seed=seed,
    )
    say(f"wrote {folder}; check it with `neurovis data check algonauts:{folder}`")


def _split_where(where: str) -> tuple[str, Path | None]:
    name, colon, path = where.partition(":")
    return name, Path(path).expanduser() if colon and path else None


def _whole(name: str, text: str, n: int) -> Any:
    try:
        numbers = tuple(int(part) for part in split_names(text))
    except ValueError:
        numbers = ()
    if len(numbers) != n:
        raise ValueError(
            f"`{name}` must be {n} whole numbers separated by commas; got {text!r}."
        )
    return numbers


def _sessions(text: str) -> list[int]:
    numbers: list[int] = []
    for part in split_names(text):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"`sessions` must be numbers such as 1-3,5; got {text!r}.")
        numbers += range(int(first), int(last if dash else first) + 1)
    return numbers


def _pictures(folder: Path | None, n_needed: int, seed: int) -> tuple[Any, Any]:
    if folder is None:
        from stimuli.category_pictures import make_category_pictures

        drawn = make_category_pictures(n_needed, seed=seed)
        return drawn.images, drawn.table
    from data_loaders.picture_folder import open_picture_folder
    from neurovis.core.rng import generator

    images, labels = open_picture_folder(folder)
    if (labels["category"] == "").all():
        # Without categories regions of the cortex would have nothing to prefer.
        from stimuli.category_pictures import CATEGORIES

        say("the folder has no sub-folders: categories are drawn at random")
        draw = generator(seed, "categories of a flat folder")
        labels["category"] = draw.choice(np.array(CATEGORIES), len(labels))
    return images, labels
