"""`opalign explain`: what a network has learned of a table, or of one material."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opalign.cli.common import LOG_INTERVAL, counting_progress, message_console, output_console
from opalign.errors import ConfigurationError

if TYPE_CHECKING:
    from opalign.explain.explanation import Explanation
    from opalign.explain.material import MaterialExplanation
    from opalign.prediction.result import Failure

app = typer.Typer(
    help="What a network has learned: groups of materials, one prediction, hidden features.",
    no_args_is_help=True,
)

#: Lines on the terminal; the files have all of them.
LINES_SHOWN = 12
#: Targets that are no columns of the table.
TARGETS = ("absorption", "pdos")


class Method(StrEnum):
    """Ways to make groups."""

    ward = "ward"
    hdbscan = "hdbscan"


class Criterion(StrEnum):
    """Ways to choose their number."""

    silhouette = "silhouette"
    gap = "gap"
    stability = "stability"
    study = "study"


@app.command("table")
def explain_table_command(
    checkpoint: Annotated[
        str | None,
        typer.Argument(help="Name of a model or path of its folder.", show_default=False),
    ] = None,
    table: Annotated[
        Path | None, typer.Argument(help="Spectra table (Parquet).", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path(
        "explanation"
    ),
    layer: Annotated[
        str | None, typer.Option(help="Layer that groups are made of.", show_default="the first")
    ] = None,
    groups: Annotated[
        int | None, typer.Option(help="Number of groups.", show_default="by the criterion")
    ] = None,
    distance: Annotated[
        float | None, typer.Option(help="Cut Ward's dendrogram at this distance instead.")
    ] = None,
    criterion: Annotated[
        Criterion | None,
        typer.Option(help="What chooses the number of groups.", show_default="silhouette"),
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="How groups are made.", show_default="ward")
    ] = None,
    cross_validation: Annotated[
        Path | None,
        typer.Option(
            help="Folder of `opalign crossvalidate` on this table: spectra are tested with "
            "networks that have not seen them. Without it they are described only."
        ),
    ] = None,
    other_model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL[:FOLDER]",
            help="A further model for the validity table, with the folder of its "
            "cross-validation; may be repeated.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="What spectra to explain: absorption, pdos, or a list column of the table.",
            show_default="absorption",
        ),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(help="START:STOP of the grid, for a list column.", metavar="START:STOP"),
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Level of theory.", show_default="the model's first")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration (YAML), such as an earlier config.yaml.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any key of the configuration, as in --set draws=50; may be repeated.",
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes for the chemistry.", show_default="1")
    ] = None,
) -> None:
    """Group the materials of a table by what a network makes of them; say what the groups are.

    Writes a report in one HTML file, figures, and all numbers. What took long is kept in the
    folder's cache, so that a second run with other groups is quick.
    """
    given: dict[str, Any] = {
        "model": checkpoint,
        "table": None if table is None else str(table),
        "layer": layer,
        "number": groups,
        "distance": distance,
        "criterion": None if criterion is None else criterion.value,
        "method": None if method is None else method.value,
        "cross_validation": None if cross_validation is None else str(cross_validation),
        "other_models": [_other_model(text) for text in other_model or ()] or None,
        "target": _target(target, grid, level) or None,
        "processes": processes,
    }
    from opalign.explain.config_file import explain_config

    chosen = explain_config(
        config, {key: value for key, value in given.items() if value is not None}, settings or ()
    )
    if not chosen.table.is_file():
        raise ConfigurationError("is no file", where=str(chosen.table), expected="a spectra table")
    from opalign.explain.report import write_report
    from opalign.explain.table import explain_table

    with _steps() as progress:
        explanation = explain_table(chosen, out, progress)
        progress("report")
        written = write_report(explanation, out)
    _print_groups(explanation)
    _print_table_written(out, explanation, written)


@app.command("material")
def explain_material_command(
    structure: Annotated[Path, typer.Argument(help="Structure: CIF, POSCAR, …")],
    model: Annotated[str, typer.Option(help="Name of a model or path of its folder.")] = "alignn",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path(
        "material"
    ),
    explained: Annotated[
        Path | None,
        typer.Option(help="Folder of `opalign explain table` with this model, for its groups."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Table with the training materials, for their spectra.",
            show_default="the one that was explained",
        ),
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Level of theory.", show_default="the model's highest")
    ] = None,
) -> None:
    """Say what the prediction for one material rests on, and whether to trust it."""
    from opalign.explain.material import explain_material
    from opalign.explain.report import write_material_report

    with message_console().status("Explaining"):
        found = explain_material(structure, model, explained=explained, table=table, level=level)
        written = write_material_report(found, out)
    _print_material(found)
    output_console().print("Written:", *(f"  {path}" for path in written), sep="\n", markup=False)


@app.command("features")
def features_command(
    checkpoint: Annotated[str, typer.Argument(help="Name of a model or path of its folder.")],
    table: Annotated[Path, typer.Argument(help="Spectra table (Parquet).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write.")],
    layer: Annotated[
        list[str] | None, typer.Option(help="A layer; may be repeated.", show_default="all")
    ] = None,
    per_site: Annotated[
        bool, typer.Option("--per-site", help="Write the features of every site, too.")
    ] = False,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Structures at a time; changes speed, not results.")
    ] = 32,
) -> None:
    """Write the features of a network's layers for every material of a table."""
    from opalign.dataset.table import SpectraTable
    from opalign.explain.features import extract_features, layers_of, sites_path

    failures: list[Failure] = []
    with counting_progress("Features") as progress:
        extract_features(
            checkpoint,
            SpectraTable.open(table),
            out,
            layers=layer,
            per_site=per_site,
            batch_size=batch_size,
            on_failure=failures.append,
            on_done=progress,
        )
    console = output_console()
    _print_skipped([(failure.file, failure.reason) for failure in failures])
    lines = [f"  {out}  one row a material; layers {', '.join(layers_of(out))}"]
    if per_site:
        lines.append(f"  {sites_path(out)}  one row a site")
    console.print("Written:", *lines, sep="\n", markup=False)


def _other_model(text: str) -> dict[str, Any]:
    model, separator, folder = text.partition(":")
    if not model or (separator and not folder):
        raise ConfigurationError(
            f"{text!r} names no model",
            expected="MODEL or MODEL:FOLDER, the folder being that of its cross-validation",
        )
    return {"model": model} | ({"cross_validation": folder} if folder else {})


def _target(target: str | None, grid: str | None, level: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if level is None else {"level": level}
    if target in TARGETS:
        found["kind"] = target
    elif target is not None:
        found |= {"kind": "list", "column": target, "label": target}
    if grid is not None:
        try:
            start, stop = map(float, grid.split(":"))
        except ValueError as error:
            raise ConfigurationError(
                f"{grid!r} is no grid", where="--grid", expected="START:STOP, as in 0:20"
            ) from error
        found |= {"start": start, "stop": stop}
    return found


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """Show the step at work: redrawn on a terminal; in a log a line for each, and now and then."""
    console = message_console()
    started = time.monotonic()
    if console.is_terminal:
        with console.status("Starting") as status:
            yield status.update
        return
    last, step = started, ""

    def log(text: str) -> None:
        nonlocal last, step
        now = time.monotonic()
        name = text.partition(":")[0]
        if name != step or now - last >= LOG_INTERVAL:
            console.print(f"{now - started:6.1f} s  {text}", markup=False)
            last, step = now, name

    yield log


def _print_groups(explanation: Explanation) -> None:
    console = output_console()
    for note in explanation.notes:
        message_console().print(f"! {note}", markup=False)
    _print_skipped(explanation.skipped)
    count = explanation.groups.number
    console.print(
        f"{len(explanation.ids)} materials in {count} groups, by layer "
        f"{explanation.features.layer} of {explanation.model}",
        style="bold",
        markup=False,
    )
    for group in range(min(count, LINES_SHOWN)):
        sentences = explanation.sentences.get(group, [])
        text = " ".join(sentence.text for sentence in sentences[:2])
        console.print(f"  {group + 1:>3}  {text}", markup=False)
    if count > LINES_SHOWN:
        console.print(f"  … and {count - LINES_SHOWN} more in the report", markup=False)


def _print_table_written(out: Path, explanation: Explanation, written: list[Path]) -> None:
    figures = sum(path.parent.name == "figures" for path in written)
    lines = {
        "report.html": "open this: map, groups, validity, layers, outliers; needs no network",
        "figures/": f"{figures} files, PNG and SVG",
        "explanation.json": "groups with their sentences, and how they came about",
        "materials.parquet": "one row a material: group, map, chemistry, numbers of its spectrum",
        "enrichments.parquet": "every comparison of a group with the others",
        "validity.csv": "every layer and the controls as a basis for groups",
        "probes.csv": "what each layer knows of its sites",
        "config.yaml": "the configuration; run it again with --config",
    }
    if any(path.name == "chemiscope.json" for path in written):
        lines["chemiscope.json"] = "for the viewer chemiscope"
    console = output_console()
    console.print(f"\nWritten to {out}", style="bold", markup=False)
    for name, what in lines.items():
        console.print(f"  {name:<20} {what}", markup=False)
    console.print(
        f"\nNext: opalign explain material STRUCTURE --model {explanation.config.model} "
        f"--explained {out}",
        markup=False,
    )


def _print_skipped(skipped: list[tuple[str, str]]) -> None:
    console = message_console()
    for name, reason in skipped[:LINES_SHOWN]:
        console.print(f"skipped {name}: {reason}", markup=False)
    if (more := len(skipped) - LINES_SHOWN) > 0:
        console.print(f"… and {more} more", markup=False)


def _print_material(found: MaterialExplanation) -> None:
    console = output_console()
    prediction = found.prediction
    console.print(f"{prediction.formula} ({prediction.id})", style="bold", markup=False)
    if found.placement is not None:
        placement = found.placement
        shown = ", ".join(placement.members[:6])
        console.print(f"  group {placement.group + 1}, with {shown}", markup=False)
        for sentence in placement.sentences:
            console.print(f"    {sentence}", markup=False)
    if found.nearest:
        text = ", ".join(
            f"{item.formula} ({item.id}, {item.relative_distance:.1f})" for item in found.nearest
        )
        console.print(f"  nearest training materials: {text}", markup=False)
    if found.bonds:
        text = ", ".join(f"{item.name} ({item.importance:.2f})" for item in found.bonds[:3])
        console.print(f"  rests most on the bonds: {text}", markup=False)
    for doubt in found.doubts:
        message_console().print(f"! {doubt}", markup=False)
    if not found.doubts:
        console.print("  nothing about it lies outside what the network has seen", markup=False)
