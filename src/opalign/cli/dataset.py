"""`opalign dataset`: fetch public sets, bring tables in, hand them on, look at them, check them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opalign.cli.fetch import fetch_set, show_catalog
from opalign.cli.filter import filter_rows
from opalign.cli.references import make_references

if TYPE_CHECKING:
    from opalign.dataset.formats.report import TransferReport
    from opalign.spectrum.broadening import Broadening
    from opalign.spectrum.grid import EnergyGrid

app = typer.Typer(
    help="Tables of structures and spectra: public sets, import, export, info, check, filter.",
    no_args_is_help=True,
)


class SourceFormat(StrEnum):
    """Formats of others that can be imported."""

    gpaw = "gpaw"
    dielectric = "dielectric"
    alignn = "alignn"
    optimate = "optimate"
    optimetal = "optimetal"
    oxi_diel_db = "oxi_diel_db"
    outputs = "outputs"


class TargetQuantity(StrEnum):
    """Quantities that an ALIGNN folder can hold."""

    log_absorption = "log_absorption"
    epsilon_imaginary = "epsilon_imaginary"
    scalar = "scalar"


class StructureFile(StrEnum):
    """Formats of structure files in an ALIGNN folder."""

    poscar = "poscar"
    cif = "cif"


GridOption = Annotated[
    str | None, typer.Option("--grid", help="Energies of the spectra: START:STOP:NUMBER, in eV.")
]
BroadeningOption = Annotated[
    str | None,
    typer.Option("--broadening", help="gaussian:σ or lorentzian:HALF-WIDTH, in eV."),
]


app.command("catalog")(show_catalog)
app.command("fetch")(fetch_set)


@app.command("import")
def import_table(
    source_format: Annotated[SourceFormat, typer.Argument(help="Format of the source.")],
    source: Annotated[Path, typer.Argument(help="File or folder to read.")],
    out: Annotated[Path, typer.Argument(help="Table (.parquet) to write.")],
    target: Annotated[
        TargetQuantity | None, typer.Option(help="alignn: what the values are.")
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            help="alignn: level of theory, or name of the scalar; optimate: ipa, rpa or ipa,rpa; "
            "outputs: levels to take."
        ),
    ] = None,
    grid: GridOption = None,
    broadening: BroadeningOption = None,
    floor: Annotated[
        float | None, typer.Option(help="alignn: floor of log₁₀(α/cm⁻¹) in the source.")
    ] = None,
    unit: Annotated[str, typer.Option(help="alignn: unit of the scalar.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the data.")] = "",
    citation: Annotated[str, typer.Option(help="What to cite.")] = "",
    structure_format: Annotated[
        StructureFile | None, typer.Option(help="alignn: format of the structure files.")
    ] = None,
) -> None:
    """Write a table out of files of others: one of the formats, recognised by nothing but its name.

    outputs: a folder with a VASP, Yambo, Quantum ESPRESSO or GPAW output of each material.

    A set of the catalogue comes in with `opalign dataset fetch`, which knows what its files hold.
    """
    if source_format is SourceFormat.gpaw:
        from opalign.dataset.formats.gpaw import import_gpaw

        report = import_gpaw(source, out)
    elif source_format is SourceFormat.dielectric:
        from opalign.dataset.formats.dielectric import import_dielectric

        report = import_dielectric(source, out)
    elif source_format is SourceFormat.oxi_diel_db:
        from opalign.dataset.formats.oxi_diel_db import import_oxi_diel_db

        report = import_oxi_diel_db(source, out)
    elif source_format is SourceFormat.optimetal:
        from opalign.dataset.formats.optimetal import import_optimetal

        report = import_optimetal([source], out, licence=licence, citation=citation)
    elif source_format is SourceFormat.optimate:
        from opalign.dataset.formats.optimate import import_optimate

        line = _broadening(broadening)
        report = import_optimate(
            [source],
            out,
            levels=(level or "ipa").split(","),
            width=None if line is None else _lorentzian_width(line),
            licence=licence,
            citation=citation,
        )
    elif source_format is SourceFormat.outputs:
        from opalign.cli.common import counting_progress
        from opalign.dataset.formats.outputs import import_outputs

        with counting_progress("Reading") as progress:
            report = import_outputs(
                source,
                out,
                levels=level.split(",") if level else (),
                grid=_grid(grid),
                broadening=_broadening(broadening),
                licence=licence,
                citation=citation,
                done=progress,
            )
    else:
        from opalign.dataset.formats.alignn import import_alignn

        report = import_alignn(
            source,
            out,
            target=None if target is None else target.value,
            level=level,
            grid=_grid(grid),
            broadening=_broadening(broadening),
            floor=floor,
            unit=unit,
            licence=licence,
            citation=citation,
            structure_format=None if structure_format is None else structure_format.value,
        )
    _print_report(report)
    typer.echo(f"Next: opalign dataset info {report.path}")


@app.command("export")
def export_table(
    table: Annotated[Path, typer.Argument(help="Table to read.")],
    folder: Annotated[Path, typer.Argument(help="New folder to write, for ALIGNN.")],
    level: Annotated[str, typer.Option(help="Level of theory, or name of the scalar.")],
    target: Annotated[
        TargetQuantity, typer.Option(help="What to write.")
    ] = TargetQuantity.log_absorption,
    broadening: BroadeningOption = None,
    floor: Annotated[float, typer.Option(help="Floor of log₁₀(α/cm⁻¹).")] = 2.0,
    structure_format: Annotated[
        StructureFile, typer.Option(help="Format of the structure files.")
    ] = StructureFile.poscar,
) -> None:
    """Write id_prop.csv and structure files, as ALIGNN's train_alignn.py takes them."""
    from opalign.dataset.formats.alignn import export_alignn
    from opalign.dataset.table import SpectraTable

    report = export_alignn(
        SpectraTable.open(table),
        folder,
        level=level,
        target=target.value,
        broadening=_broadening(broadening),
        floor=floor,
        structure_format=structure_format.value,
    )
    _print_report(report)


@app.command("join")
def join_tables(
    out: Annotated[Path, typer.Argument(help="Table to write (Parquet).", show_default=False)],
    tables: Annotated[
        list[Path],
        typer.Argument(help="Tables of equal grid and levels, no id twice.", show_default=False),
    ],
) -> None:
    """Join tables of one kind, such as parts of a set that were computed apart."""
    from opalign.dataset.table import SpectraTable, concatenate

    written = concatenate(out, [SpectraTable.open(path) for path in tables])
    rows = len(SpectraTable.open(written))
    typer.echo(f"{written}  {rows} materials of {len(tables)} tables")


@app.command("info")
def show_info(table: Annotated[Path, typer.Argument(help="Table to describe.")]) -> None:
    """Print what a table declares: rows, grid, levels, scalars, licence, source."""
    from opalign.dataset.table import SpectraTable

    opened = SpectraTable.open(table)
    schema = opened.schema
    typer.echo(f"{table}: {len(opened)} materials, {len(set(opened.formulas))} reduced formulas")
    if schema.grid is not None:
        grid = schema.grid
        typer.echo(f"grid: {grid.start:g} to {grid.stop:g} eV, {grid.num} points")
    for name, level in schema.levels.items():
        width = f" {level.broadening.width:g} eV" if level.broadening.shape != "none" else ""
        typer.echo(
            f"level {name}: {level.quantity} ({', '.join(level.parts)}; "
            f"{' '.join(level.components)}), broadening {level.broadening.shape}{width}"
            + (f"; {level.description}" if level.description else "")
        )
    for name, scalar in schema.scalars.items():
        unit = f" ({scalar.unit})" if scalar.unit else ""
        text = f": {scalar.description}" if scalar.description else ""
        typer.echo(f"scalar {name}{unit}{text}")
    for name, carried in schema.lists.items():
        typer.echo(f"list {name}" + (f": {carried.description}" if carried.description else ""))
    for label in ("licence", "source", "citation"):
        typer.echo(f"{label}: {getattr(schema, label) or 'not stated'}")


@app.command("check")
def check_table(table: Annotated[Path, typer.Argument(help="Table to check.")]) -> None:
    """Read every row and say which break the schema, with column, row and material id."""
    from opalign.dataset.table import SpectraTable

    opened = SpectraTable.open(table)
    opened.validate()
    typer.echo(f"{table}: {len(opened)} materials, all rows sound")


app.command("filter")(filter_rows)
app.command("references")(make_references)


def _print_report(report: TransferReport) -> None:
    for name, reason in report.skipped:
        typer.echo(f"left out {name}: {reason}", err=True)
    for note in report.notes:
        typer.echo(note, err=True)
    left_out = f", {len(report.skipped)} left out" if report.skipped else ""
    typer.echo(f"wrote {report.path}: {report.rows} materials{left_out}")


def _grid(text: str | None) -> EnergyGrid | None:
    if text is None:
        return None
    from opalign.spectrum.grid import EnergyGrid

    try:
        start, stop, num = text.split(":")
        return EnergyGrid(start=float(start), stop=float(stop), num=int(num))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not START:STOP:NUMBER, such as 0:15:1501 ({_reason(error)})",
            param_hint="--grid",
        ) from error


def _broadening(text: str | None) -> Broadening | None:
    if text is None:
        return None
    from opalign.spectrum.broadening import Broadening

    try:
        shape, width = text.split(":")
        return Broadening(shape, float(width))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not SHAPE:WIDTH, such as gaussian:0.1 ({_reason(error)})",
            param_hint="--broadening",
        ) from error


def _lorentzian_width(line: Broadening) -> float:
    if line.shape != "lorentzian":
        raise typer.BadParameter("Yambo broadens with Lorentzians", param_hint="--broadening")
    return line.width


def _reason(error: ValueError) -> str:
    """Return what is wrong in one line, without pydantic's frame around it."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return "; ".join(detail["msg"] for detail in error.errors())
    return str(error)
