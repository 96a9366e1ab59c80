"""`opalign dataset filter`: leave out what should not be learned from."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from opalign.cli.common import output_console
from opalign.errors import ConfigurationError


class UnknownStability(StrEnum):
    """What becomes of a material of which the stability cannot be told."""

    refuse = "refuse"
    keep = "keep"
    drop = "drop"


def filter_rows(
    table: Annotated[Path, typer.Argument(help="Table to read.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Argument(help="Table to write; without it they are only counted."),
    ] = None,
    smallest_gap: Annotated[
        float | None, typer.Option(min=0.0, help="eV; smaller gaps, and unknown ones, go.")
    ] = None,
    gap_column: Annotated[str, typer.Option(help="Scalar with the gap, eV.")] = "band_gap_eV",
    references: Annotated[
        Path | None,
        typer.Option(help="Energies of the elements, from `opalign dataset references`."),
    ] = None,
    energy_above_hull: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="eV per atom above the hull of the table and the elements that is allowed; "
            "needs --references.  [default with it: 0]",
        ),
    ] = None,
    energy_column: Annotated[
        str, typer.Option(help="Scalar with the total energy, eV or eV/atom.")
    ] = "total_energy_eV",
    unknown_stability: Annotated[
        UnknownStability,
        typer.Option(help="Rows without energy, or with an element without reference."),
    ] = UnknownStability.refuse,
    no_duplicates: Annotated[
        bool, typer.Option("--no-duplicates", help="Of equal crystals keep the first.")
    ] = False,
    no_flagged: Annotated[
        bool, typer.Option("--no-flagged", help="Leave out what failed a check of quality.")
    ] = False,
    flag_column: Annotated[
        str, typer.Option(help="List with the checks that a row failed.")
    ] = "quality_flags",
    tolerate: Annotated[
        list[str] | None, typer.Option(metavar="FLAG", help="A check that may fail; repeatable.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="JSON to write: counts, and why which row went.")
    ] = None,
) -> None:
    """Filter a table by quality, gap, stability and duplicates, and count what each filter leaves.

    Only the filters that are named are applied. The hull is that of the table itself and the
    elements: zero means that nothing in the table is more stable.
    """
    from opalign.dataset.filters import FilterSettings, filter_table
    from opalign.dataset.references import References
    from opalign.dataset.table import SpectraTable
    from opalign.files import write_text
    from opalign.firstprinciples.references import check_method

    stability = references is not None or energy_above_hull is not None
    if not (smallest_gap is not None or stability or no_duplicates or no_flagged):
        raise ConfigurationError(
            "no filter is named",
            expected="--smallest-gap, --references, --no-duplicates or --no-flagged",
        )
    if tolerate and not no_flagged:
        raise ConfigurationError(
            "--tolerate makes an exception of --no-flagged", cure="add --no-flagged"
        )
    if stability and references is None:
        raise ConfigurationError(
            "--energy-above-hull needs energies of the elements",
            cure=f"opalign dataset references {table} --out references.json, "
            "then --references references.json",
        )
    if out is not None and out.exists() and table.exists() and out.samefile(table):
        raise ConfigurationError("would be overwritten by what is left of it", where=str(table))
    opened = SpectraTable.open(table)
    energies: dict[str, float] = {}
    if references is not None:
        loaded = References.load(references)
        check_method(opened, loaded)
        energies = loaded.energies
    settings = FilterSettings(
        gap_column=gap_column if smallest_gap is not None else None,
        minimum_gap=smallest_gap or 0.0,
        energy_column=energy_column if stability else None,
        references=energies,
        maximum_hull_energy=energy_above_hull or 0.0,
        unknown_stability=unknown_stability.value,
        flag_column=flag_column if no_flagged else None,
        tolerated_flags=frozenset(tolerate or ()),
        unique=no_duplicates,
    )
    funnel = filter_table(opened, out, settings)
    console = output_console()
    console.print(str(funnel), markup=False)
    if report is not None:
        text = json.dumps(funnel.to_dict(), indent=1, ensure_ascii=False)
        console.print(f"wrote {write_text(report, text + chr(10))}", markup=False)
    if out is not None:
        console.print(f"wrote {out}: {len(funnel.kept)} of {len(opened)} materials", markup=False)
