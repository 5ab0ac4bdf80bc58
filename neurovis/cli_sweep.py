"""The verb `neurovis sweep`: a study on this machine, or on a cluster."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from neurovis.cli_run import say


class _StudyFirst(TyperGroup):
    """Commands by name; anything else is the file of a study."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["run", *args]
        return super().resolve_command(ctx, args)


sweep_app = typer.Typer(
    help="Run a study: a grid of models, subjects, regions and seeds.",
    cls=_StudyFirst,
    subcommand_metavar="STUDY.toml | COMMAND [ARGS]...",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Engine = Annotated[
    str,
    typer.Option(
        help="local:N processes, dask:tcp://HOST:PORT, or slurm:PROFILE (a table "
        "[slurm.PROFILE] of the study, or a TOML file)."
    ),
]
Sweep = Annotated[Path, typer.Argument(help="Folder of a sweep.")]


@sweep_app.command("run")
def sweep_run(
    study: Annotated[Path, typer.Argument(help="TOML file of the study.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder that all workers see [results/NAME].")
    ] = None,
    engine: Engine = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and estimate; compute nothing.")
    ] = False,
    rehearsal: Annotated[
        bool,
        typer.Option(help="First open data and load networks once, as jobs will."),
    ] = True,
) -> None:
    """Compute what is not finished of a study; `run` may be left out."""
    from tasks.study import read_study

    read = read_study(study)
    folder = out or Path("results") / study.stem
    if rehearsal:
        from tasks.study_rehearsal import rehearse

        rehearse(read, store=None if dry_run else folder.absolute() / "features")
    if dry_run:
        _tell_estimate(read, folder, engine)
        return
    _sweep(read, folder, engine, again=False)


@sweep_app.command("status")
def sweep_status(out: Sweep) -> None:
    """Tell how the jobs of a sweep stand; nothing is computed."""
    from tasks.study_estimate import estimate_sweep
    from tasks.sweep_keys import key_jobs
    from tasks.sweep_records import STATES, count_others, read_sweep

    folder, study, _ = read_sweep(out)
    keyed = key_jobs(study)
    states = {each.name: folder.state(each) for each in keyed}
    counts = [(state, [*states.values()].count(state)) for state in STATES]
    say(f"{study.name}: {len(keyed)} jobs: " + ", ".join(f"{n} {s}" for s, n in counts))
    for name, state in states.items():
        if state in ("running", "failed"):
            last = folder.attempts(name)[-1:]
            place = f" on {last[0].host} since {last[0].started}" if last else ""
            error = f": {last[0].error}" if state == "failed" and last else place
            say(f"{state}: {name}{error}")
    if n_others := count_others(folder, keyed):
        say(f"{n_others} further results are of other jobs, data or source code")
    for line in estimate_sweep(keyed, folder, n_workers=1).lines()[-1:]:
        say(line)
    if "failed" in states.values():
        say(f"logs: {folder.root / 'jobs'}; try again: neurovis sweep retry {out}")


@sweep_app.command("retry")
def sweep_retry(
    out: Sweep,
    engine: Annotated[
        str | None, typer.Option(help="Where to compute [where it did before].")
    ] = None,
) -> None:
    """Try failed jobs again, and compute what is not finished."""
    from tasks.sweep_records import read_sweep

    folder, study, before = read_sweep(out)
    _sweep(study, folder.root, engine or before, again=True)


def _tell_estimate(study: Any, folder: Path, engine: str) -> None:
    from tasks.engines import parse_engine
    from tasks.slurm_profile import job_script, read_profile
    from tasks.study_estimate import estimate_sweep, free_disk_mib
    from tasks.sweep import needs_of
    from tasks.sweep_keys import key_jobs
    from tasks.sweep_records import SweepFolder

    spec = parse_engine(engine)
    n_workers = spec.n_workers or 1
    if spec.profile:
        profile = read_profile(spec.profile, study.profiles)
        n_workers = profile.workers
        say(job_script(profile, needs_of(study.jobs), folder.absolute()))
    estimate = estimate_sweep(
        key_jobs(study), SweepFolder(folder.absolute()), n_workers=n_workers
    )
    for line in estimate.lines():
        say(line)
    free = free_disk_mib(folder)
    if estimate.disk_mib > free:
        say(f"too little disk: {free / 1024:.3g} GiB are free below {folder}")
    say("nothing was computed (--dry-run)")


def _sweep(study: Any, folder: Path, engine: str, *, again: bool) -> None:
    from tasks.leaderboard_report import report_results
    from tasks.sweep import run_sweep

    folder = folder.absolute()
    result = run_sweep(study, folder, engine=engine, again=again, on_event=say)
    say(
        f"{study.name}: {result.n_jobs} jobs: {result.n_found} finished before, "
        f"{result.n_computed} now, {len(result.failed)} failed"
    )
    for name, error in result.failed:
        say(f"failed: {name}: {error}")
    if result.n_found + result.n_computed:
        try:
            lines = report_results([folder], folder / "leaderboard")
        except ValueError as error:  # jobs that do not belong on one leaderboard
            lines = [f"no leaderboard: {error}"]
        for line in lines:
            say(line)
    if result.failed:
        say(f"logs: {folder / 'jobs'}; try again: neurovis sweep retry {folder}")
        raise typer.Exit(1)
