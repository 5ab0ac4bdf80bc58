"""The verbs of `neurovis stimuli`: one command per kind of stimulus set."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from neurovis.cli_run import Rendering, say, split_names
from neurovis.core.call_options import read_assignments

stimuli_app = typer.Typer(
    help="Make stimulus sets.", no_args_is_help=True, rich_markup_mode=None
)


class Export(StrEnum):
    """Forms in which a set of stimuli can be written besides the plain folder."""

    psychopy = "psychopy"
    bids = "bids"


class ShelfLayout(StrEnum):
    """How objects stand on shelves."""

    grid = "grid"
    free = "free"


Options = Annotated[
    list[str] | None,
    typer.Option("--set", help="An option of the family, NAME=VALUE; repeatable."),
]


@stimuli_app.command("list")
def stimuli_list(
    family: Annotated[
        str | None, typer.Argument(help="Tell the options of this family.")
    ] = None,
) -> None:
    """List the families of stimuli, or the options of one."""
    from stimuli.families import family_table, option_table

    if family is None:
        for row in family_table().itertuples(index=False):
            say(f"{row.family:<24}{row.what}")
        return
    for row in option_table(family).itertuples(index=False):
        say(f"{row.option} [{row.default}]")
        say(f"    {row.meaning}")


@stimuli_app.command("make")
def stimuli_make(
    family: Annotated[str, typer.Argument(help="See `neurovis stimuli list`.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write [results/stimuli/FAMILY].")
    ] = None,
    options: Options = None,
    export: Annotated[
        list[Export] | None, typer.Option(help="Also write this form; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace another set in the folder.")
    ] = False,
) -> None:
    """Make a set of stimuli of a family."""
    from stimuli.families import make_family

    stimuli = make_family(family, read_assignments(options or []))
    _save_stimuli(stimuli, out or Path("results/stimuli") / family, export, overwrite)


@stimuli_app.command("show")
def stimuli_show(
    what: Annotated[str, typer.Argument(help="A family, or the folder of a set.")],
    out: Annotated[
        Path | None, typer.Option(help="Picture to write [NAME.png].")
    ] = None,
    options: Options = None,
    pictures: Annotated[int, typer.Option(help="Most pictures on the sheet.")] = 24,
    captions: Annotated[
        str, typer.Option(help="Columns of the table below each picture.")
    ] = "stimulus_id",
) -> None:
    """Draw a contact sheet of a family or of a saved set."""
    from neurovis.core.pictures import write_png
    from stimuli.contact_sheet import contact_sheet
    from stimuli.families import FAMILIES, make_family
    from stimuli.save import load_stimuli

    is_folder = what not in FAMILIES and Path(what).is_dir()
    if is_folder and options:
        raise ValueError(f"`--set` is for families; {what} is a set that is made.")
    stimuli = (
        load_stimuli(what)
        if is_folder
        else make_family(what, read_assignments(options or []))
    )
    path = out or Path(f"{Path(what).name}.png")
    sheet = contact_sheet(stimuli, n_pictures=pictures, captions=split_names(captions))
    write_png(path, sheet)
    say(f"{min(pictures, len(stimuli))} of {len(stimuli)} pictures in {path}")


@stimuli_app.command("search-asymmetry")
def stimuli_search_asymmetry(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path(
        "results/stimuli/search-asymmetry"
    ),
    conditions: Annotated[
        str, typer.Option(help="Conditions, separated by commas, or all.")
    ] = "all",
    trials: Annotated[
        int | None, typer.Option(help="Trials per set size [published number].")
    ] = None,
    set_sizes: Annotated[
        str | None, typer.Option(help="Numbers of items, separated by commas.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    rendering: Annotated[
        Rendering, typer.Option(help="As published, or anti-aliased.")
    ] = Rendering.published,
    jpeg: Annotated[
        bool, typer.Option(help="Pass pictures through JPEG, as published.")
    ] = False,
    px_per_deg: Annotated[
        float, typer.Option(help="Pixels per degree (smooth rendering).")
    ] = 30.0,
    item_deg: Annotated[
        float | None, typer.Option(help="Side of an item in degrees (smooth).")
    ] = None,
    eccentricity_deg: Annotated[
        float | None, typer.Option(help="Items on a ring of this radius (smooth).")
    ] = None,
    jitter_deg: Annotated[
        float | None, typer.Option(help="Random shift of items in degrees.")
    ] = None,
    foreground: Annotated[
        str | None, typer.Option(help="Grey level 0..255 or #rrggbb (smooth).")
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="Grey level 0..255 or #rrggbb (smooth).")
    ] = None,
    export: Annotated[
        list[Export] | None, typer.Option(help="Also write this form; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace another set in the folder.")
    ] = False,
) -> None:
    """Draw the six search-asymmetry paradigms, or variants of them."""
    from stimuli.search_arrays import make_search_arrays

    stimuli = make_search_arrays(
        "all" if conditions == "all" else split_names(conditions),
        set_sizes=_numbers("set_sizes", set_sizes),
        trials=trials,
        seed=seed,
        rendering=rendering.value,
        jpeg=jpeg,
        px_per_deg=px_per_deg,
        item_deg=item_deg,
        eccentricity_deg=eccentricity_deg,
        jitter_deg=jitter_deg,
        foreground=_colour("foreground", foreground),
        background=_colour("background", background),
    )
    _save_stimuli(stimuli, out, export, overwrite)


@stimuli_app.command("search-slopes")
def stimuli_search_slopes(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path(
        "results/stimuli/search-slopes"
    ),
    tasks: Annotated[
        str,
        typer.Option(help="feature, conjunction, spatial_configuration, or all."),
    ] = "all",
    trials: Annotated[
        int, typer.Option(help="Displays per task, set size and presence.")
    ] = 40,
    set_sizes: Annotated[
        str | None, typer.Option(help="Numbers of items, separated by commas.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    px_per_deg: Annotated[float, typer.Option(help="Pixels per degree.")] = 30.0,
    equal_luminance: Annotated[
        bool, typer.Option("--equal-luminance", help="Red and green of one luminance.")
    ] = False,
    export: Annotated[
        list[Export] | None, typer.Option(help="Also write this form; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace another set in the folder.")
    ] = False,
) -> None:
    """Draw feature, conjunction and 2-among-5 displays, with and without a target."""
    from stimuli.slope_arrays import SET_SIZES, make_slope_arrays

    stimuli = make_slope_arrays(
        "all" if tasks == "all" else split_names(tasks),
        set_sizes=_numbers("set_sizes", set_sizes) or SET_SIZES,
        trials=trials,
        seed=seed,
        px_per_deg=px_per_deg,
        equal_luminance=equal_luminance,
    )
    _save_stimuli(stimuli, out, export, overwrite)


@stimuli_app.command("shelves")
def stimuli_shelves(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path(
        "results/stimuli/shelves"
    ),
    shelves: Annotated[int, typer.Option(help="Shelves.")] = 20,
    rows: Annotated[
        str, typer.Option(help="Boards: a number, or the range LOW,HIGH.")
    ] = "3,6",
    cols: Annotated[
        str, typer.Option(help="Objects on a board: a number, or LOW,HIGH.")
    ] = "7,14",
    targets: Annotated[
        int, typer.Option(help="Objects searched for on each shelf.")
    ] = 4,
    products: Annotated[
        int | None, typer.Option(help="Different products of a shelf [as needed].")
    ] = None,
    facings: Annotated[
        str, typer.Option(help="Neighbours that show one product, or LOW,HIGH.")
    ] = "1",
    layout: Annotated[
        ShelfLayout, typer.Option(help="Equal cells, or objects of varying size.")
    ] = ShelfLayout.grid,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    export: Annotated[
        list[Export] | None, typer.Option(help="Also write this form; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace another set in the folder.")
    ] = False,
) -> None:
    """Draw shelves of products, each searched for several of them in turn."""
    from stimuli.shelf_displays import make_shelves

    stimuli = make_shelves(
        shelves,
        rows=_range("rows", rows),
        cols=_range("cols", cols),
        targets_per_shelf=targets,
        n_products=products,
        facings=_range("facings", facings),
        layout=layout.value,
        seed=seed,
    )
    _save_stimuli(stimuli, out, export, overwrite)


def _save_stimuli(
    stimuli: Any, out: Path, export: list[Export] | None, overwrite: bool
) -> None:
    """Write a set in its plain form and in those asked for."""
    from stimuli.export import export_bids, export_psychopy
    from stimuli.save import save_stimuli

    save_stimuli(stimuli, out, overwrite=overwrite)
    writers: dict[Export, Callable[..., Any]] = {
        Export.psychopy: export_psychopy,
        Export.bids: export_bids,
    }
    for form in export or []:
        folder = out / form.value
        # An interrupted call may have left this one, which is whole then.
        if not folder.exists():
            writers[form](stimuli, folder)
        elif not _is_export(writers[form], stimuli, folder):
            raise FileExistsError(
                f"{folder} exists already. Remove it or choose another folder."
            )
    say(f"{len(stimuli)} stimuli in {out}")
    say(f"fingerprint {stimuli.fingerprint}")


def _is_export(write: Callable[..., Any], stimuli: Any, folder: Path) -> bool:
    """Return whether a folder holds what would be written, byte for byte."""
    with TemporaryDirectory() as temporary:
        again = Path(temporary) / folder.name
        write(stimuli, again)
        return _contents(again) == _contents(folder)


def _contents(folder: Path) -> dict[Path, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def _colour(name: str, text: str | None) -> int | tuple[int, int, int] | None:
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    try:
        red, green, blue = bytes.fromhex(text.removeprefix("#"))
    except ValueError:
        raise ValueError(
            f"`{name}` must be a grey level 0..255 or #rrggbb; got {text!r}."
        ) from None
    return red, green, blue


def _range(name: str, text: str) -> int | tuple[int, int]:
    numbers = _numbers(name, text) or []
    if len(numbers) not in (1, 2):
        raise ValueError(f"`{name}` must be one number, or LOW,HIGH; got {text!r}.")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _numbers(name: str, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in split_names(text)]
    except ValueError:
        raise ValueError(
            f"`{name}` must be whole numbers separated by commas; got {text!r}."
        ) from None
