"""Spectra of crystals whose n and k were measured, in cells with measured lattice constants.

    python benchmarks/measured_crystals.py compute WORK_FOLDER
    python benchmarks/measured_crystals.py table WORK_FOLDER

The first computes with the project's GPAW engine, the cheapest crystal first; what is finished in
the work folder is skipped, and what was stopped goes on. Cells are not relaxed. Two atoms get 9 k
points per Å⁻¹, three get 7, larger cells 5.5; zinc blende, rock salt and fluorite are also computed
on 4.5, with the tetrahedra of the irreducible zone, as the GPAW campaign was, to tell what the mesh
does. The second puts the finished ones into ``benchmarks/data/measured_crystals.parquet``, in which
the rows of other crystals stay, and writes ``benchmarks/results/experiment/mesh.md``.

Lattice constants at room temperature. Zinc blende, wurtzite, MgO: O. Madelung, Semiconductors: Data
Handbook (3rd ed., Springer 2004). ZrO₂: the cubic cell without yttria, extrapolated. MoS₂:
B. Schönfeld, J. J. Huang and S. C. Moss, Acta Cryst. B 39, 404 (1983). MoSe₂: P. B. James and
M. T. Lavik, Acta Cryst. 16, 1183 (1963). WS₂: W. J. Schutte, J. L. de Boer and F. Jellinek,
J. Solid State Chem. 70, 207 (1987). TiO₂: J. K. Burdett et al., J. Am. Chem. Soc. 109, 3639 (1987).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Composition, Lattice, Structure

from opalign.dataset.schema import DIAGONAL, LevelInfo, ScalarInfo, TableSchema, spectrum_column
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.files import write_text
from opalign.firstprinciples.engine import RESULT_FILE, EngineResult
from opalign.firstprinciples.gpaw import GpawEngine, GpawSettings
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.similarity import similarity_coefficient

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "benchmarks" / "data" / "measured_crystals.parquet"
MESH = ROOT / "benchmarks" / "results" / "experiment" / "mesh.md"
NARROW = Broadening("gaussian", 0.1)

ZINC_BLENDE = {
    "CdSe": 6.0520,
    "ZnS": 5.4093,
    "ZnSe": 5.6676,
    "ZnTe": 6.1026,
    "CdTe": 6.4820,
}
"""a in Å."""
WURTZITE = {"CdS": (4.1367, 6.7161, 0.377), "CdSe": (4.2999, 7.0109, 0.376)}
"""a and c in Å, and the fractional height of the anion."""
LAYERED = {
    "MoS2": (3.1604, 12.295, 0.6214),
    "MoSe2": (3.288, 12.900, 0.621),
    "WS2": (3.1532, 12.323, 0.6225),
}
"""The same; 2H."""
DENSITIES = {2: 9.0, 3: 7.0}
"""Atoms of the primitive cell → k points per Å⁻¹."""
DENSITY = 5.5
"""Of larger cells."""
COARSE = GpawSettings(relax=False, optics_density=4.5, scheme="irreducible")
COARSE_ATOMS = 3
"""Cells of up to so many atoms are computed on the coarse mesh too."""


def cells() -> dict[str, Structure]:
    """Return formula and space group → primitive cell."""
    found = {
        f"{formula}-216": _made(216, Lattice.cubic(a), formula, [0, 0, 0], [0.25] * 3)
        for formula, a in ZINC_BLENDE.items()
    }
    third = [1 / 3, 2 / 3]
    for formula, (a, c, z) in WURTZITE.items():
        lattice = Lattice.hexagonal(a, c)
        found[f"{formula}-186"] = _made(186, lattice, formula, [*third, 0.0], [*third, z])
    for formula, (a, c, z) in LAYERED.items():
        lattice = Lattice.hexagonal(a, c)
        found[f"{formula}-194"] = _made(194, lattice, formula, [*third, 0.25], [*third, z])
    found["MgO-225"] = _made(225, Lattice.cubic(4.2112), "MgO", [0, 0, 0], [0.5] * 3)
    found["ZrO2-225"] = _made(225, Lattice.cubic(5.09), "ZrO2", [0, 0, 0], [0.25] * 3)
    anatase = Lattice.tetragonal(3.7845, 9.5143)
    found["TiO2-141"] = _made(141, anatase, "TiO2", [0, 0, 0], [0, 0, 0.2081])
    return found


def _made(
    group: int, lattice: Lattice, formula: str, cation: list[float], anion: list[float]
) -> Structure:
    elements = [element.symbol for element in Composition(formula)]
    cell = Structure.from_spacegroup(group, lattice, elements, [cation, anion])
    return cell.get_primitive_structure()


def tasks() -> Iterator[tuple[str, str, Structure, GpawSettings]]:
    """Yield name, folder, cell and settings: fine meshes, then coarse, the cheapest first."""
    found = []
    for name, cell in cells().items():
        density = DENSITIES.get(len(cell), DENSITY)
        fine = GpawSettings(relax=False, optics_density=density)
        found.append((name, f"fine/{name}", cell, fine))
        if len(cell) <= COARSE_ATOMS:
            found.append((name, f"coarse/{name}", cell, COARSE))

    def place(task: tuple[str, str, Structure, GpawSettings]) -> tuple[bool, float]:
        _, _, cell, settings = task
        return settings == COARSE, GpawEngine(settings).expected_seconds(cell)

    yield from sorted(found, key=place)


def compute(work: Path) -> None:
    """Compute what the work folder has not."""
    for name, folder, cell, settings in tasks():
        result = GpawEngine(settings).run(cell, work / folder)
        mesh = "×".join(map(str, result.provenance["mesh"]))
        seconds = sum(result.seconds.values())
        print(f"{name}, {mesh}: gap {result.band_gap:.3f} eV, {seconds:.0f} s", flush=True)


def finished(work: Path, kind: str) -> dict[str, EngineResult]:
    """Return the results of one kind, ``fine`` or ``coarse``, by name."""
    names = sorted(path.parent.name for path in (work / kind).glob(f"*/{RESULT_FILE}"))
    return {name: EngineResult.load(work / kind / name) for name in names}


def schema() -> TableSchema:
    """Return what the table holds."""

    def level(description: str) -> LevelInfo:
        return LevelInfo(
            broadening=Broadening("lorentzian", COARSE.eta),
            components=DIAGONAL,
            has_real=True,
            description=f"PBE, {description}; Im ε is zero below the direct gap",
        )

    return TableSchema(
        grid=COARSE.grid,
        levels={
            "ipa": level("independent particles, no local fields"),
            "rpa": level("random-phase approximation, with local fields"),
        },
        scalars={
            "band_gap_eV": ScalarInfo(unit="eV", description="PBE gap on the optics mesh"),
            "direct_gap_eV": ScalarInfo(unit="eV", description="PBE direct gap on the optics mesh"),
            "num_sites": ScalarInfo(description="atoms in the cell"),
            "spacegroup_number": ScalarInfo(),
        },
        licence="CC0 1.0",
        source="computed with GPAW for Opalign; cells with measured lattice constants",
    )


def table_rows(results: dict[str, EngineResult]) -> Iterator[dict[str, Any]]:
    """Yield the rows of results, and of the crystals that the table has besides."""
    rows = {name.lower(): _row(name, result) for name, result in results.items()}
    if TABLE.exists():
        rows = {row["material_id"]: row for row in SpectraTable.open(TABLE).rows()} | rows
    for name in sorted(rows):
        yield rows[name]


def _row(name: str, result: EngineResult) -> dict[str, Any]:
    used = result.provenance
    mesh = "×".join(map(str, used["mesh"]))
    row: dict[str, Any] = {
        "material_id": name.lower(),
        "structure": result.structure,
        "band_gap_eV": result.band_gap,
        "direct_gap_eV": result.direct_gap,
        "num_sites": float(len(result.structure)),
        "spacegroup_number": float(used["space_group"]),
        "provenance": f"GPAW {used['versions']['gpaw']}, PBE, {mesh} k points, "
        f"{used['bands']} bands, {used['integration']}; measured lattice constants",
    }
    for level in ("ipa", "rpa"):
        for axis, component in enumerate(DIAGONAL):
            diagonal = np.asarray(result.epsilon[level])[:, axis, axis]
            # Five digits are far beyond what a mesh gives, and store in half the space.
            row[spectrum_column(level, "re", component)] = np.round(diagonal.real, 5)
            row[spectrum_column(level, "im", component)] = np.round(diagonal.imag, 5)
    return row


def mesh_table(fine: dict[str, EngineResult], coarse: dict[str, EngineResult]) -> str:
    """Compare both meshes on the same cells, as Markdown."""
    lines = [
        "# What the mesh does\n",
        "RPA on the same cell, with measured lattice constants: the campaign's mesh (4.5 k points\n"
        "per Å⁻¹) and tetrahedra (of the irreducible zone, the position operator interpolated) →\n"
        "those used here. SC of Im ε with Gaussian σ = 0.1 eV, the fine one in the denominator,\n"
        "over 20 eV and up to 6 eV; ε₁ at 1.5 eV and the edge, α = 10⁴ cm⁻¹, are broadened too.\n",
        "| crystal | meshes | SC, 20 eV | SC, 6 eV | ε₁(0) | ε₁(1.5 eV) | gap / eV | edge / eV |",
        "|---|---|---|---|---|---|---|---|",
    ]
    integrations: dict[str, None] = {}
    for name in (name for name in coarse if name in fine):
        schemes = [results[name].provenance["integration"] for results in (coarse, fine)]
        integrations.setdefault(" → ".join(schemes))
        pair = [results[name] for results in (coarse, fine)]
        sharp = [result.spectrum("rpa").isotropic() for result in pair]
        broad = [spectrum.broadened(NARROW) for spectrum in sharp]
        grid = broad[0].grid
        low = grid.values <= 6.0
        imaginary = [spectrum.epsilon_imaginary for spectrum in broad]
        whole = similarity_coefficient(*imaginary, grid)
        part = 1.0 - (
            np.abs(imaginary[0] - imaginary[1])[low].sum() / np.abs(imaginary[1])[low].sum()
        )
        at = int(np.argmin(np.abs(grid.values - 1.5)))
        columns = [
            ["×".join(map(str, result.provenance["mesh"])) for result in pair],
            [f"{spectrum.static_dielectric:.2f}" for spectrum in sharp],
            [f"{spectrum.epsilon_real[at]:.2f}" for spectrum in broad],
            [f"{result.band_gap:.2f}" for result in pair],
            [f"{spectrum.onset_energy(4.0):.2f}" for spectrum in broad],
        ]
        meshes, *others = (" → ".join(texts) for texts in columns)
        lines.append(
            f"| {name.replace('-', ' (')}) | {meshes} | {float(whole):.2f} | {part:.2f} | "
            + " | ".join(others)
            + " |"
        )
    lines += ["", "Integration: " + "; ".join(integrations) + "."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("compute", "table"))
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "compute":
        compute(arguments.work)
        return
    fine, coarse = (finished(arguments.work, kind) for kind in ("fine", "coarse"))
    print(write_table(TABLE, schema(), list(table_rows(fine))))
    print(write_text(MESH, mesh_table(fine, coarse)))


if __name__ == "__main__":
    main()
