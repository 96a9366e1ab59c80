"""Gaps before and after the nsc-dd hybrid against measured ones, at measured lattice constants.

    python benchmarks/hybrid_gaps.py --work FOLDER [--functional PBEsol] [--only MgO,CaO] [--report]

Every compound is computed by the engine (no relaxation), its ε∞ taken from the RPA, its gap
corrected. ``--work`` keeps the steps, so that a stopped run goes on; each finished compound is one
JSON file in ``benchmarks/results/hybrid_gaps/``. Then the table and the figure are made of what is
there; ``--report`` does that alone.

A measured optical gap is compared with the direct gap, a measured fundamental one with the
smallest.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure

from opalign.errors import OpalignError
from opalign.files import write_text
from opalign.firstprinciples.correction import correct_result
from opalign.firstprinciples.gpaw import GpawEngine, GpawSettings
from opalign.firstprinciples.hybrid import HybridSettings
from opalign.spectrum.measured.tables import measured_gap

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "hybrid_gaps"
FIGURE = ROOT / "docs" / "images" / "hybrid_gaps.png"
MESH_DENSITY = 4.0
"""Points per Å⁻¹: ε∞ is all that the response is computed for here."""
WYCKOFF = "R. W. G. Wyckoff, Crystal Structures, vol. 1 (2nd ed., Interscience 1963)"


@dataclass(frozen=True)
class Compound:
    """A crystal as measured: lattice constants in Å and free coordinates."""

    spacegroup: int
    lattice: tuple[float, ...]
    sites: Mapping[str, tuple[float, float, float]]
    source: str = WYCKOFF

    def structure(self) -> Structure:
        """Return the conventional cell."""
        if len(self.lattice) == 1:
            lattice = Lattice.cubic(*self.lattice)
        elif 143 <= self.spacegroup <= 194:
            lattice = Lattice.hexagonal(*self.lattice)
        else:
            lattice = Lattice.tetragonal(*self.lattice)
        return Structure.from_spacegroup(
            self.spacegroup, lattice, list(self.sites), list(self.sites.values())
        )


def rock_salt(constant: float, cation: str, anion: str) -> Compound:
    return Compound(225, (constant,), {cation: (0, 0, 0), anion: (0.5, 0.5, 0.5)})


def wurtzite(a: float, c: float, u: float, cation: str, anion: str) -> Compound:
    return Compound(186, (a, c), {cation: (1 / 3, 2 / 3, 0), anion: (1 / 3, 2 / 3, u)})


COMPOUNDS = {
    "MgO": rock_salt(4.212, "Mg", "O"),
    "CaO": rock_salt(4.811, "Ca", "O"),
    "MgS": rock_salt(5.203, "Mg", "S"),
    "SrO": rock_salt(5.160, "Sr", "O"),
    "ZnS": Compound(216, (5.409,), {"Zn": (0, 0, 0), "S": (0.25, 0.25, 0.25)}),
    "BeO": wurtzite(2.698, 4.377, 0.378, "Be", "O"),
    "ZnO": wurtzite(3.250, 5.207, 0.382, "Zn", "O"),
    "CdS": wurtzite(4.137, 6.716, 0.377, "Cd", "S"),
    "TiO2": Compound(
        136,
        (4.594, 2.959),
        {"Ti": (0, 0, 0), "O": (0.305, 0.305, 0)},
        "J. K. Burdett et al., J. Am. Chem. Soc. 109, 3639 (1987)",
    ),
    "Al2O3": Compound(
        167,
        (4.759, 12.991),
        {"Al": (0, 0, 0.3522), "O": (0.3063, 0, 0.25)},
        "R. E. Newnham and Y. M. de Haan, Z. Kristallogr. 117, 235 (1962)",
    ),
}

SUPPLEMENT = {
    "MgS": (
        5.28,
        "optical",
        "photoresponse of a film, edge at 235 nm: Y.-H. Lai et al., AIP Adv. 2, 012149 (2012)",
    ),
    "Al2O3": (
        8.8,
        "fundamental",
        "reflectance at 300 K: R. H. French, J. Am. Ceram. Soc. 73, 477 (1990)",
    ),
}
"""Measured gaps (eV) of crystals that the table of measured gaps lacks."""


def measured(name: str) -> tuple[float, str, str]:
    """Return gap in eV, kind and source."""
    found = measured_gap(name, COMPOUNDS[name].spacegroup)
    if found is None:
        return SUPPLEMENT[name]
    return found.gap, found.kind, f"{found.method}: {found.source}"


def compute(name: str, functional: str, work: Path) -> dict[str, Any]:
    """Compute one compound; goes on from what stands in ``work``."""
    compound = COMPOUNDS[name]
    settings = GpawSettings(
        functional=functional, relax=False, optics_density=MESH_DENSITY, scf_density=3.0
    )
    start = time.process_time()
    result = GpawEngine(settings).run(compound.structure(), work / "semilocal")
    corrected = correct_result(result, work / "hybrid", HybridSettings())
    gap, kind, source = measured(name)
    numbers = corrected.scalars
    optical = kind == "optical"
    return {
        "formula": name,
        "spacegroup": compound.spacegroup,
        "functional": functional,
        "lattice_angstrom": compound.lattice,
        "lattice_source": compound.source,
        "measured_eV": gap,
        "measured_kind": kind,
        "measured_source": source,
        "static_dielectric": 1.0 / numbers["exchange_fraction"],
        "fundamental_eV": result.band_gap,
        "direct_eV": result.direct_gap,
        "semilocal_eV": result.direct_gap if optical else result.band_gap,
        "shift_eV": numbers["hybrid_shift_eV"],
        "pbe0_shift_eV": numbers["pbe0_shift_eV"],
        "hybrid_eV": numbers["corrected_direct_gap_eV" if optical else "corrected_gap_eV"],
        "hybrid": corrected.provenance["hybrid"],
        "mesh": result.provenance["mesh"],
        "seconds": dict(corrected.seconds),
        "this_run_seconds": round(time.process_time() - start, 1),
    }


def collected(functional: str) -> list[dict[str, Any]]:
    """Return what is finished, in the order of ``COMPOUNDS``."""
    paths = [RESULTS / f"{name}-{functional}.json" for name in COMPOUNDS]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table in Markdown, with mean absolute errors."""
    functional = rows[0]["functional"]
    lines = [
        f"| | measured | {functional} | ε∞ (RPA) | 1/ε∞ | Δ | nsc-dd | Δ for 25 % | meshes of Δ |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        meshes = " → ".join("×".join(map(str, e["mesh"])) for e in row["hybrid"]["history"])
        kind = " (direct)" if row["measured_kind"] == "optical" else ""
        lines.append(
            f"| {row['formula']} | {row['measured_eV']:.2f}{kind} | {row['semilocal_eV']:.2f} "
            f"| {row['static_dielectric']:.2f} | {1 / row['static_dielectric']:.3f} "
            f"| {row['shift_eV']:.2f} | {row['hybrid_eV']:.2f} | {row['pbe0_shift_eV']:.2f} "
            f"| {meshes} |"
        )
    before, quarter, after = errors(rows)
    lines.append(
        f"| **mean absolute error** | | **{before:.2f}** | | | | **{after:.2f}** | "
        f"25 %: {quarter:.2f} | {len(rows)} crystals |"
    )
    return "\n".join(lines) + "\n"


def errors(rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Mean absolute errors in eV: semi-local, a quarter of exchange, nsc-dd."""
    known = np.array([row["measured_eV"] for row in rows])
    before = np.array([row["semilocal_eV"] for row in rows])
    quarter = before + [row["pbe0_shift_eV"] for row in rows]
    after = np.array([row["hybrid_eV"] for row in rows])
    return tuple(float(np.abs(found - known).mean()) for found in (before, quarter, after))


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw computed against measured gaps."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(5.4, 5.0), layout="constrained")
    axes = drawing.add_subplot()
    known = np.array([row["measured_eV"] for row in rows])
    before, _, after = errors(rows)
    series = (
        ("semilocal_eV", rows[0]["functional"], before, "s", "#bbbbbb"),
        ("hybrid_eV", "nsc-dd hybrid", after, "o", "#0072b2"),
    )
    end = max(12.0, known.max() + 1.0)
    axes.plot([0, end], [0, end], color="0.6", linewidth=0.8, zorder=0)
    for key, label, error, marker, colour in series:
        values = [row[key] for row in rows]
        text = f"{label}: mean error {error:.2f} eV"
        axes.scatter(known, values, marker=marker, color=colour, edgecolor="0.2", label=text)
    for row in rows:
        right = (other["measured_eV"] - row["measured_eV"] for other in rows)
        crowded = (
            any(0.0 < distance < 0.7 for distance in right) and known.min() < row["measured_eV"]
        )
        axes.plot(
            [row["measured_eV"]] * 2,
            [row["semilocal_eV"], row["hybrid_eV"]],
            color="0.8",
            linewidth=0.8,
            zorder=0,
        )
        axes.annotate(
            row["formula"].translate(str.maketrans("23", "₂₃")),
            (row["measured_eV"], row["semilocal_eV"]),
            xytext=(-6 if crowded else 6, -5),
            textcoords="offset points",
            horizontalalignment="right" if crowded else "left",
            fontsize=8,
        )
    axes.set(xlim=(0, end), ylim=(0, end), aspect="equal")
    axes.set_xlabel("measured gap (eV)")
    axes.set_ylabel("computed gap (eV)")
    axes.legend(frameon=False, fontsize=9)
    drawing.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("hybrid_gaps_work"))
    parser.add_argument("--functional", choices=("PBE", "PBEsol"), default="PBE")
    parser.add_argument("--only", default=",".join(COMPOUNDS))
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    for name in [] if arguments.report else arguments.only.split(","):
        path = RESULTS / f"{name}-{arguments.functional}.json"
        if path.exists():
            continue
        try:
            work = arguments.work / f"{name}-{arguments.functional}"
            row = compute(name, arguments.functional, work)
        except OpalignError as error:
            print(f"{name}: {error}", flush=True)
            continue
        write_text(path, json.dumps(row, indent=1, ensure_ascii=False) + "\n")
        print(f"{name}: {row['semilocal_eV']:.2f} → {row['hybrid_eV']:.2f} eV", flush=True)
    rows = collected(arguments.functional)
    if rows:
        suffix = "" if arguments.functional == "PBE" else f"_{arguments.functional.lower()}"
        write_text(RESULTS / f"table{suffix}.md", table(rows))
        figure(rows, FIGURE.with_stem(f"{FIGURE.stem}{suffix}"))
        print(table(rows))


if __name__ == "__main__":
    main()
