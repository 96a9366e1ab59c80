"""`opalign dataset references`: energies of the elements, for the stability of a set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opalign.cli.common import message_console, output_console
from opalign.errors import ConfigurationError

if TYPE_CHECKING:
    from opalign.firstprinciples.gpaw_settings import GpawSettings

TABLE_SUFFIX = ".parquet"


def make_references(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLE|ELEMENTS",
            help="A table, whose elements and method count; or symbols, such as Mg O.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File (JSON) to write.")],
    functional: Annotated[
        str | None, typer.Option(help="PBE or PBEsol; with symbols only.  [default: PBE]")
    ] = None,
    cutoff: Annotated[
        float | None,
        typer.Option(help="Plane waves, eV; with symbols only.  [default: that of a campaign]"),
    ] = None,
    supplied: Annotated[
        Path | None,
        typer.Option(help="JSON with energies that are known, eV per atom; not computed."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--work", help="Keeps each energy.  [default: OUT with -work]"),
    ] = None,
) -> None:
    """Compute the energies of the elements with GPAW, by the method of a table's energies.

    Stopped, it goes on where it was when called again.
    """
    from opalign.dataset.references import References
    from opalign.firstprinciples.references import compute_references

    if out.is_dir():
        raise ConfigurationError("is a folder", where=str(out), expected="a file to write")
    elements, settings = _asked(sources, functional, cutoff)
    known = None if supplied is None else References.load(supplied)
    messages = message_console()
    messages.print(
        f"{len(elements)} elements, {settings.functional}, {settings.cutoff:g} eV", markup=False
    )
    references = compute_references(
        elements,
        folder or out.with_name(f"{out.stem}-work"),
        settings,
        supplied=known,
        report=lambda symbol, energy: messages.print(f"{symbol:2} {energy:12.5f}", markup=False),
    )
    written = references.save(out)
    console = output_console()
    for symbol, energy in references.energies.items():
        console.print(f"{symbol:2} {energy:12.5f} eV/atom  {references.states[symbol]}")
    console.print(f"wrote {written}: {len(references.energies)} elements", markup=False)
    table = sources[0] if sources[0].endswith(TABLE_SUFFIX) else "TABLE"
    console.print(f"Next: opalign dataset filter {table} OUT --references {written}", markup=False)


def _asked(
    sources: list[str], functional: str | None, cutoff: float | None
) -> tuple[list[str], GpawSettings]:
    from opalign.dataset.references import check_elements, elements_of
    from opalign.dataset.table import SpectraTable
    from opalign.firstprinciples.gpaw_settings import GpawSettings
    from opalign.firstprinciples.references import settings_of

    tables = [source for source in sources if source.endswith(TABLE_SUFFIX)]
    chosen = {"functional": functional, "cutoff": cutoff}
    given = {name: value for name, value in chosen.items() if value is not None}
    if not tables:
        return check_elements(sources), GpawSettings.model_validate(given)
    if len(sources) > 1:
        raise ConfigurationError(
            "a table and more are named", expected="one table, or symbols of elements"
        )
    if given:
        raise ConfigurationError(
            f"--{' and --'.join(given)} would differ from what the energies of the table are",
            where=tables[0],
            cure="leave the option out, or name the elements in place of the table",
        )
    table = SpectraTable.open(tables[0])
    return elements_of(table), settings_of(table)
