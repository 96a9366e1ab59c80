"""`opalign compute`: campaigns of first-principles calculations, from plan to table."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from opalign.cli.common import INTERRUPTED, message_console, output_console
from opalign.cli.compute_progress import shown_progress
from opalign.errors import ConfigurationError

if TYPE_CHECKING:
    from opalign.firstprinciples.campaign import Campaign
    from opalign.firstprinciples.correction_run import Correction

app = typer.Typer(
    no_args_is_help=True,
    help="Compute spectra from first principles: plan, run, look on, export.",
)


@app.callback()
def require_processes() -> None:
    """Refuse where processes cannot be forked and limited, as on Windows."""
    if importlib.util.find_spec("fcntl") is None:
        raise ConfigurationError(
            "campaigns need a system with fork and file locks",
            expected="Linux or macOS",
            cure="on Windows use its subsystem for Linux",
        )


Folder = Annotated[Path, typer.Argument(help="Folder of the campaign.", show_default=False)]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="ID", help="This material; repeatable.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key, as in --set settings.optics_density=6; may be repeated.",
    ),
]


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(help="Campaign (YAML).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the campaign.")],
    settings: Settings = None,
    show: Annotated[int, typer.Option("--show", help="How many jobs to list.", min=0)] = 20,
) -> None:
    """Choose candidates, count them after each filter, and list the jobs with expected cost."""
    from opalign.firstprinciples.campaign import plan_campaign
    from opalign.firstprinciples.campaign_config import read_campaign

    campaign = plan_campaign(read_campaign(config, settings or ()), out)
    console = output_console()
    jobs, funnel = campaign.plan.jobs, campaign.plan.funnel
    steps = funnel["steps"]
    entered = steps[0]["entered"] if steps else len(jobs)
    console.print(f"{entered:7d}  candidates", markup=False)
    for step in steps:
        console.print(f"{step['passed']:7d}  {step['description']}", markup=False)
    if funnel["unreadable"]:
        console.print(f"{len(funnel['unreadable'])} structures cannot be used:", markup=False)
        for entry in funnel["unreadable"][:show]:
            console.print(f"  {entry['id']}: {entry['reason']}", markup=False)
    hours = sum(job.expected_seconds for job in jobs) / 3600.0
    console.print(f"{len(jobs)} jobs, {hours:.2f} core hours expected", markup=False)
    for job in jobs[:show]:
        console.print(
            f"  {job.identifier:32s} {job.num_sites:3d} atoms {job.expected_seconds:8.0f} s",
            markup=False,
        )
    if len(jobs) > show:
        console.print(f"  and {len(jobs) - show} more in {out / 'plan.json'}", markup=False)
    done = sum(state.status == "done" for state in campaign.states())
    if done:
        console.print(f"{done} of them are done already", markup=False)
    console.print("Next:", f"  opalign compute run {out}", sep="\n", markup=False)


@app.command()
def run(
    folder: Folder,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", min=1, help="Processes of one core each.")
    ] = None,
    retry: Annotated[
        str | None,
        typer.Option(
            "--retry",
            metavar="REASON",
            help='Compute again what failed for this reason, such as "time limit", or for "all".',
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="limits.KEY=VALUE for this run; with --retry also settings.KEY=VALUE.",
        ),
    ] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", min=0.0, help="Start no job after this time.")
    ] = None,
    only: Only = None,
) -> None:
    """Compute what is not computed yet; stop with Ctrl-C, go on with the same command."""
    from opalign.firstprinciples.campaign import open_campaign
    from opalign.firstprinciples.campaign_run import retry as let_retry
    from opalign.firstprinciples.campaign_run import run_campaign

    given = settings or []
    limits = [text for text in given if text.startswith("limits.")]
    others = [text for text in given if not text.startswith("limits.")]
    if retry is None:
        _require_limits(given)
    campaign = open_campaign(folder)
    _check_reason(retry)
    campaign.require(only or ())
    messages, chosen = message_console(), frozenset(only) if only else None
    if retry is not None:
        count = let_retry(campaign, retry, others, identifiers=chosen)
        messages.print(f"{count} failed jobs wait again", markup=False)
        campaign = open_campaign(folder)
    command = f"opalign compute run {folder}"
    with _stoppable(command), shown_progress(len(campaign.plan.jobs)) as report:
        left = run_campaign(
            campaign,
            workers=workers,
            limits=limits,
            hours=hours,
            identifiers=chosen,
            report=report,
            message=lambda text: messages.print(text, markup=False),
        )
    _print_status(campaign)
    if left:
        output_console().print(f"{left} jobs still wait: run the same command", markup=False)


@app.command()
def correct(
    folder: Folder,
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=1, help="Processes of one core each.")
    ] = 1,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try again where a correction failed before.")
    ] = False,
    limits: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="limits.KEY=VALUE for this run."),
    ] = None,
    only: Only = None,
) -> None:
    """Move finished spectra to the gaps of a hybrid; stop and go on with the same command.

    Each result gets the levels ipa_corrected and rpa_corrected beside its own, which export takes
    along.
    """
    from opalign.firstprinciples.correction_run import correct_campaign

    console = output_console()

    def told(correction: Correction) -> None:
        numbers = correction.scalars
        ended = (
            f"not corrected: {correction.failure}"
            if numbers is None
            else f"gap {numbers['corrected_gap_eV']:.2f} eV"
        )
        console.print(f"{correction.identifier}  {ended}", markup=False)

    _require_limits(limits or ())
    with _stoppable(f"opalign compute correct {folder}"):
        corrections = correct_campaign(
            folder,
            processes=workers,
            retry_failed=retry,
            identifiers=frozenset(only) if only else None,
            limits=limits or (),
            report=told,
        )
    failed = sum(correction.scalars is None for correction in corrections)
    console.print(f"{len(corrections) - failed} corrected, {failed} not", markup=False)
    console.print("Next:", f"  opalign compute export {folder} TABLE", sep="\n", markup=False)


@app.command()
def status(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with all failures.")] = False,
) -> None:
    """Say how many jobs are done, fail and wait, for what reasons, and the hours used and left."""
    from opalign.firstprinciples.campaign import open_campaign
    from opalign.firstprinciples.campaign_status import campaign_status

    campaign = open_campaign(folder)
    if as_json:
        content = campaign_status(campaign).to_dict()
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
        return
    _print_status(campaign)


@app.command()
def export(
    folder: Folder,
    table: Annotated[Path, typer.Argument(help="Table to write (Parquet).", show_default=False)],
    levels: Annotated[
        list[str] | None,
        typer.Option(
            "--level",
            help="Level that every row has to have; by default those of most results; repeatable.",
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option("--card", metavar="FOLDER", help="Also write a dataset card here."),
    ] = None,
    licence: Annotated[str, typer.Option("--licence", help="Of the table.")] = "CC BY 4.0",
    citation: Annotated[str, typer.Option("--citation", help="Of the table.")] = "",
) -> None:
    """Write all finished results into a table, with quality flags and provenance."""
    from opalign.firstprinciples.campaign import open_campaign
    from opalign.firstprinciples.export import export_campaign

    campaign = open_campaign(folder)
    written = export_campaign(campaign, table, levels=levels, licence=licence, citation=citation)
    console = output_console()
    for identifier, reason in written.left_out:
        console.print(f"left out: {identifier}: {reason}", markup=False)
    console.print(
        f"{written.path}  {written.rows} materials, levels {', '.join(written.levels)}",
        f"{written.flagged} with quality flags",
        *(f"  {number:5d} {flag}" for flag, number in written.flags.items()),
        sep="\n",
        markup=False,
    )
    if card is not None:
        from opalign.dataset.table import SpectraTable
        from opalign.firstprinciples.card import write_card

        path = write_card(SpectraTable.open(table), card, campaigns=[campaign], title=table.stem)
        console.print(f"{path}  the card, with figures", markup=False)


@app.command()
def card(
    table: Annotated[Path, typer.Argument(help="Exported table.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder of the card.", show_default=False)],
    campaigns: Annotated[
        list[Path] | None,
        typer.Option(
            "--campaign",
            metavar="FOLDER",
            help="Tells what failed, and the time spent; repeatable.",
        ),
    ] = None,
) -> None:
    """Write the card of a table, with figures: also of one joined from several campaigns."""
    from opalign.dataset.table import SpectraTable
    from opalign.firstprinciples.campaign import open_campaign
    from opalign.firstprinciples.card import write_card

    opened = [open_campaign(folder) for folder in campaigns or ()]
    path = write_card(SpectraTable.open(table), out, campaigns=opened, title=table.stem)
    output_console().print(f"{path}  the card, with figures", markup=False)


def _print_status(campaign: Campaign) -> None:
    from opalign.firstprinciples.campaign_status import campaign_status

    found, console = campaign_status(campaign), output_console()
    for problem in campaign.problems:
        console.print(problem, markup=False)
    counts = ", ".join(f"{number} {name}" for name, number in found.states.items())
    console.print(f"{found.total} jobs: {counts}", markup=False)
    for reason, number in found.reasons.items():
        console.print(f"  {number:5d} failed: {reason}", markup=False)
        examples = [each for each in found.failures if each.reason == reason]
        details = Counter(each.detail.split("\n")[0][:100] for each in examples)
        for detail, times in details.most_common(3):
            names = ", ".join(
                each.identifier for each in examples if each.detail.startswith(detail[:100])
            )
            shown = names if len(names) <= 60 else names[:57] + "..."
            console.print(f"        {times} × {detail or '-'} ({shown})", markup=False)
    if found.running:
        console.print(f"at work: {', '.join(found.running)}", markup=False)
    used = f"{found.core_hours:.2f} core hours used"
    if found.hours_left is not None and found.hours_left > 0.0:
        used += f", about {found.hours_left:.2f} hours of one worker to go"
    console.print(used, markup=False)


def _require_limits(given: Sequence[str]) -> None:
    others = [text for text in given if not text.startswith("limits.")]
    if others:
        raise ConfigurationError(
            f"{others[0]!r} would change what is computed",
            expected="limits.KEY=VALUE",
            cure="plan again with other settings, or name the failures to retry with run --retry",
        )


def _check_reason(reason: str | None) -> None:
    from typing import get_args

    from opalign.firstprinciples.engine import FailureReason

    known = (*get_args(FailureReason), "all")
    if reason is not None and reason not in known:
        raise ConfigurationError(
            f"nothing fails for the reason {reason!r}", expected=", ".join(known)
        )


@contextlib.contextmanager
def _stoppable(command: str) -> Iterator[None]:
    """Let SIGTERM stop as Ctrl-C does, and say with which command to go on."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        message_console().print(
            f"Stopped. What was reached is kept; go on with\n  {command}", markup=False
        )
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, earlier)
