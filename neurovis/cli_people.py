"""Experiments with people: `neurovis stimuli export` and `neurovis data import`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurovis.cli_run import say, split_names

export_app = typer.Typer(
    help="Write experiments for people from a saved set of stimuli.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
import_app = typer.Typer(
    help="Bring answers of people into the common table of trials.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Task(StrEnum):
    """What people do."""

    choice = "2afc"
    search = "search"
    odd = "odd-one-out"


class TimeUnit(StrEnum):
    """Unit of reaction times in a file."""

    ms = "ms"
    s = "s"


SavedSet = Annotated[
    Path, typer.Argument(help="Folder of a saved set of stimuli.", metavar="SET")
]
WhichTask = Annotated[Task, typer.Option(help="What people do.")]
AnswerColumn = Annotated[
    str | None,
    typer.Option(help="Column of the set with the right answer to one picture."),
]
Groups = Annotated[
    Path | None,
    typer.Option(
        help="Table of pairs or triplets: picture_1, picture_2, picture_3, answer."
    ),
]
Draw = Annotated[
    int | None, typer.Option(help="Draw so many triplets instead of --groups.")
]
Keys = Annotated[
    str | None,
    typer.Option(help="Answer or place and its key, such as absent=f,present=j."),
]
Repeats = Annotated[int, typer.Option(help="How often each trial comes.")]
Keep = Annotated[
    str | None, typer.Option(help="Factors in the results, by commas [all].")
]
Seed = Annotated[int, typer.Option(help="Seed of all draws.")]
Files = Annotated[list[Path], typer.Argument(help="Files of answers.")]
Shown = Annotated[
    Path | None, typer.Option(help="Saved set that was shown; pictures are checked.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="MEANING=NAME of a column; repeatable."),
]
Where = Annotated[
    list[str] | None, typer.Option(help="Keep rows with COLUMN=VALUE; repeatable.")
]
Encoding = Annotated[str, typer.Option(help="Encoding of the files.")]
Out = Annotated[Path, typer.Option(help="Table to write, .parquet or .csv.")]


@export_app.command("jspsych")
def export_jspsych_command(
    stimuli: SavedSet,
    task: WhichTask,
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    answer_column: AnswerColumn = None,
    groups: Groups = None,
    draw: Draw = None,
    keys: Keys = None,
    prompt: Annotated[
        str | None, typer.Option(help="Instructions [a sentence for the task].")
    ] = None,
    click: Annotated[
        bool | None,
        typer.Option(help="Clicks: choose a picture, or find the target [by task]."),
    ] = None,
    repeats: Repeats = 1,
    block_size: Annotated[int, typer.Option(help="Trials between pauses.")] = 40,
    practice: Annotated[int, typer.Option(help="Trials for practice.")] = 0,
    feedback: Annotated[
        bool, typer.Option("--feedback", help="Tell whether an answer was right.")
    ] = False,
    fixation_frames: Annotated[int, typer.Option(help="Frames of the cross.")] = 30,
    target_frames: Annotated[
        int | None, typer.Option(help="Frames of the target before a search [60].")
    ] = None,
    stimulus_frames: Annotated[
        int | None, typer.Option(help="Frames of the picture [until the answer].")
    ] = None,
    mask: Annotated[
        str | None, typer.Option(help="noise, or a picture that follows [none].")
    ] = None,
    mask_frames: Annotated[int, typer.Option(help="Frames of the mask.")] = 12,
    response_ms: Annotated[
        float | None, typer.Option(help="Longest time for an answer [no limit].")
    ] = None,
    refresh_hz: Annotated[
        float, typer.Option(help="Rate for which frames count; 0 keeps their number.")
    ] = 60.0,
    orders: Annotated[int, typer.Option(help="Random orders.")] = 20,
    keep: Keep = None,
    library: Annotated[
        Path | None, typer.Option(help="Folder with packed jsPsych [from npm].")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Write an experiment that runs in a browser from any static server."""
    from neurovis.core.pictures import read_image
    from stimuli.jspsych import export_jspsych
    from stimuli.save import load_stimuli

    shown = load_stimuli(stimuli)
    page = export_jspsych(
        shown,
        out,
        task=task.value,
        answer_column=answer_column,
        groups=_groups(shown, groups, draw, seed),
        keys=_pairs("keys", keys),
        prompt=prompt,
        click=click,
        n_repeats=repeats,
        block_size=block_size,
        practice=practice,
        feedback=feedback,
        fixation_frames=fixation_frames,
        target_frames=target_frames,
        stimulus_frames=stimulus_frames,
        mask=mask if mask in (None, "noise") else read_image(Path(mask)),
        mask_frames=mask_frames,
        response_ms=response_ms,
        refresh_hz=refresh_hz or None,
        n_orders=orders,
        keep=None if keep is None else split_names(keep),
        library=library,
        seed=seed,
    )
    say(f"{page}")
    say("Replace the texts in consent.html and debrief.html before you use it.")
    say(f"Try it: python -m http.server --directory {out}")


@export_app.command("psychopy")
def export_psychopy_command(
    stimuli: SavedSet,
    task: WhichTask,
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    answer_column: AnswerColumn = None,
    groups: Groups = None,
    draw: Draw = None,
    keys: Keys = None,
    repeats: Repeats = 1,
    keep: Keep = None,
    seed: Seed = 0,
) -> None:
    """Write pictures and a conditions file for PsychoPy."""
    from stimuli.export import export_psychopy_choices
    from stimuli.save import load_stimuli

    shown = load_stimuli(stimuli)
    path = export_psychopy_choices(
        shown,
        out,
        task=task.value,
        answer_column=answer_column,
        groups=_groups(shown, groups, draw, seed),
        keys=_pairs("keys", keys),
        n_repeats=repeats,
        keep=None if keep is None else split_names(keep),
        seed=seed,
    )
    say(f"{path}")


@import_app.command("jspsych")
def import_jspsych_command(
    files: Files,
    out: Out,
    stimuli: Shown = None,
    practice: Annotated[
        bool, typer.Option("--practice", help="Keep trials for practice.")
    ] = False,
    column: Columns = None,
    where: Where = None,
    time_unit: Annotated[
        TimeUnit, typer.Option(help="Of plain jsPsych files.")
    ] = TimeUnit.ms,
    encoding: Encoding = "utf-8",
) -> None:
    """Read results of exported experiments, or of any jsPsych experiment."""
    from data_loaders.jspsych_results import load_jspsych
    from stimuli.save import load_stimuli

    responses = load_jspsych(
        files,
        None if stimuli is None else load_stimuli(stimuli),
        practice=practice,
        columns=_assignments("column", column),
        where=_assignments("where", where),
        time_unit=time_unit.value,
        encoding=encoding,
    )
    _write_trials(responses.table, out)


@import_app.command("psychopy")
def import_psychopy_command(
    files: Files,
    out: Out,
    stimuli: Shown = None,
    component: Annotated[
        str | None, typer.Option(help="Keyboard component with the answer [the one].")
    ] = None,
    loop: Annotated[
        str | None, typer.Option(help="Loop of the trials [the one].")
    ] = None,
    answers: Annotated[
        str | None, typer.Option(help="What keys mean, such as f=absent,j=present.")
    ] = None,
    column: Columns = None,
    where: Where = None,
    time_unit: Annotated[TimeUnit, typer.Option(help="Of `.rt`.")] = TimeUnit.s,
    encoding: Encoding = "utf-8",
) -> None:
    """Read the wide CSV files of PsychoPy."""
    from data_loaders.psychopy_results import load_psychopy
    from stimuli.save import load_stimuli

    responses = load_psychopy(
        files,
        None if stimuli is None else load_stimuli(stimuli),
        component=component,
        loop=loop,
        answers=_pairs("answers", answers),
        columns=_assignments("column", column),
        where=_assignments("where", where),
        time_unit=time_unit.value,
        encoding=encoding,
    )
    _write_trials(responses.table, out)


def _groups(shown: Any, path: Path | None, draw: int | None, seed: int) -> Any:
    """Return the pairs or triplets of a file, or drawn ones."""
    from neurovis.core.files import read_table
    from stimuli.choice_trials import draw_triplets

    if path is not None and draw is not None:
        raise ValueError(
            "`groups` and `draw` both tell the triplets. Drop one of them."
        )
    if draw is not None:
        return draw_triplets(shown.table["stimulus_id"].tolist(), draw, seed=seed)
    return None if path is None else read_table(path)


def _pairs(name: str, text: str | None) -> dict[str, str] | None:
    return None if text is None else _assignments(name, split_names(text))


def _assignments(name: str, texts: list[str] | None) -> dict[str, str] | None:
    if not texts:
        return None
    found = {}
    for text in texts:
        left, sign, right = text.partition("=")
        if not (left and sign and right):
            raise ValueError(f"`{name}` must be NAME=VALUE; got {text!r}.")
        found[left] = right
    return found


def _write_trials(table: Any, out: Path) -> None:
    from neurovis.core.files import write_table

    write_table(out, table)
    people = table.groupby("subject", sort=False)
    for subject, rows in people:
        known = rows["correct"].dropna().astype(float)
        right = "no truth" if known.empty else f"{known.mean():.1%} right"
        rt = rows["rt_ms"].median()
        say(f"{subject}: {len(rows)} trials, {right}, median {rt:.0f} ms")
    say(f"{len(table)} trials of {people.ngroups} participants in {out}")
