"""Two ways to cut the Brillouin zone into tetrahedra: how equal they are, and on which mesh.

    python benchmarks/engine_schemes.py $OPALIGN_DATA WORK_FOLDER

On cells that admit both, the tetrahedra that fill the reciprocal cell (``periodic``, the engine's)
are compared with GPAW's own in the irreducible zone (``irreducible``), on one mesh; then meshes of
the first with its densest. BaO₂, body-centred, is computed in its primitive cell, of three atoms,
and compared with the independent script's conventional cell, of six. Writes
``benchmarks/results/engine_schemes.md``; work in WORK_FOLDER is kept and gone on with.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from opalign.dataset.formats.gpaw import import_gpaw
from opalign.dataset.table import SpectraTable
from opalign.files import write_text
from opalign.firstprinciples.gpaw import GpawEngine, GpawSettings
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.similarity import similarity_coefficient

RESULT = Path(__file__).resolve().parent / "results" / "engine_schemes.md"
BOTH = ("MgO", "BeS", "ZnO", "SnS2")
SERIES = {"MgO": (3.5, 4.5, 5.5, 6.5), "ZnO": (3.5, 4.5, 5.5)}
NARROW = Broadening("gaussian", 0.1)


@dataclass
class Cases:
    """Crystals of a table, computed where they have not been."""

    table: SpectraTable
    work: Path

    def spectra(self, formula: str, **changes: object) -> tuple[dict[str, OpticalSpectrum], dict]:
        row = self.table.formulas.index(formula)
        settings = GpawSettings.model_validate({"relax": False} | changes)
        name = "-".join([formula, *(f"{key}={value}" for key, value in changes.items())])
        folder = self.work / name.replace(" ", "")
        result = GpawEngine(settings).run(self.table.structure(row), folder)
        spectra = {level: result.spectrum(level).isotropic() for level in ("ipa", "rpa")}
        numbers = {
            "mesh": "×".join(str(n) for n in result.provenance["mesh"]),
            "points": result.provenance["irreducible_points"],
            "seconds": {name.split("-")[0]: value for name, value in result.seconds.items()},
            "gap": result.band_gap,
        }
        return spectra, numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    imported = arguments.work / "reference.parquet"
    import_gpaw(arguments.data / "gpaw_pbe" / "spectra.parquet", imported)
    cases = Cases(SpectraTable.open(imported), arguments.work)
    blocks = [
        "# Two ways to cut the zone into tetrahedra\n",
        "SC is that of Im ε̄ as it is, and with Gaussian σ = 0.1 eV; Δ onset (RPA, 0.1 eV) in eV;\n"
        "seconds of the response, bands excluded.\n",
        one_mesh(cases),
        series(cases),
        body_centred(cases),
    ]
    write_text(RESULT, "\n".join(blocks))
    print("\n".join(blocks))


def one_mesh(cases: Cases) -> str:
    lines = [
        "## One mesh, both schemes (reference: irreducible)\n",
        "| crystal | mesh | SC IPA | SC RPA | SC IPA, 0.1 eV | SC RPA, 0.1 eV | Δ onset "
        "| ε∞ periodic | ε∞ irreducible | s periodic | s irreducible |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for formula in BOTH:
        mesh = tuple(
            round(n) for n in cases.table.list_value(cases.table.formulas.index(formula), "k_grid")
        )
        ours, numbers = cases.spectra(formula, scheme="periodic", optics_mesh=mesh)
        theirs, their_numbers = cases.spectra(formula, scheme="irreducible", optics_mesh=mesh)
        lines.append(
            f"| {formula} | {numbers['mesh']} | {compared(ours, theirs)} | {statics(ours, theirs)} "
            f"| {numbers['seconds']['response']:.1f} "
            f"| {their_numbers['seconds']['response']:.1f} |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def series(cases: Cases) -> str:
    lines = [
        "## Meshes of the periodic scheme (reference: the densest mesh of the table above)\n",
        "| crystal | points per Å⁻¹ | mesh | irreducible points | SC IPA | SC RPA "
        "| SC IPA, 0.1 eV | SC RPA, 0.1 eV | Δ onset | ε∞ | ε∞ densest | s in all |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for formula, densities in SERIES.items():
        mesh = tuple(
            round(n) for n in cases.table.list_value(cases.table.formulas.index(formula), "k_grid")
        )
        densest, _ = cases.spectra(formula, scheme="periodic", optics_mesh=mesh)
        for density in densities:
            spectra, numbers = cases.spectra(formula, optics_density=density)
            lines.append(
                f"| {formula} | {density} | {numbers['mesh']} | {numbers['points']} "
                f"| {compared(spectra, densest)} | {statics(spectra, densest)} "
                f"| {sum(numbers['seconds'].values()):.0f} |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def body_centred(cases: Cases) -> str:
    lines = [
        "## A body-centred crystal: primitive cell against the script's conventional cell\n",
        "| crystal | mesh | SC IPA | SC RPA | SC IPA, 0.1 eV | SC RPA, 0.1 eV | Δ onset "
        "| ε∞ | its ε∞ | gap | its gap |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    row = cases.table.formulas.index("BaO2")
    theirs = {
        level: replace(cases.table.spectrum(row, level).isotropic(), broadening=Broadening())
        for level in ("ipa", "rpa")
    }
    ours, numbers = cases.spectra("BaO2")
    lines.append(
        f"| BaO2 | {numbers['mesh']} | {compared(ours, theirs)} | {statics(ours, theirs)} "
        f"| {numbers['gap']:.3f} | {cases.table.scalar('band_gap_eV')[row]:.3f} |"
    )
    return "\n".join(lines) + "\n"


def compared(ours: dict[str, OpticalSpectrum], theirs: dict[str, OpticalSpectrum]) -> str:
    cells = [f"{similarity(ours[level], theirs[level]):.3f}" for level in ours]
    narrow = [
        {level: spectrum.broadened(NARROW) for level, spectrum in spectra.items()}
        for spectra in (ours, theirs)
    ]
    cells += [f"{similarity(narrow[0][level], narrow[1][level]):.3f}" for level in ours]
    onsets = [spectra["rpa"].onset_energy() for spectra in narrow]
    return " | ".join([*cells, f"{onsets[0] - onsets[1]:+.3f}"])


def statics(ours: dict[str, OpticalSpectrum], theirs: dict[str, OpticalSpectrum]) -> str:
    return " | ".join(f"{spectra['rpa'].epsilon_real[0]:.3f}" for spectra in (ours, theirs))


def similarity(computed: OpticalSpectrum, reference: OpticalSpectrum) -> float:
    return float(
        similarity_coefficient(
            computed.epsilon_imaginary, reference.epsilon_imaginary, reference.grid
        )
    )


if __name__ == "__main__":
    main()
