"""Band structures along the standard path, semi-local and of the nsc-dd hybrid.

The path is that of ASE for the Bravais lattice, after W. Setyawan and S. Curtarolo, Comput. Mater.
Sci. 49, 299 (2010). The hybrid is either *evaluated* at every point of the path (diagonal, not
self-consistent) or a *rigid* shift of the empty bands by Δ, which costs nothing more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from opalign.errors import ConfigurationError, StorageError
from opalign.files import write_atomically, write_text
from opalign.firstprinciples.gpaw_exchange import exchange_difference, occupied_on, states_at
from opalign.firstprinciples.gpaw_failures import failures_named, require_gpaw
from opalign.firstprinciples.gpaw_semilocal import SemilocalRun
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.gpaw_setups import setups_for
from opalign.firstprinciples.hybrid import HybridGap

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pymatgen.core.structure import Structure

Scheme = Literal["rigid", "evaluated"]

CHUNK = 12
"""Points of the path that are evaluated, and kept, at a time."""
SAME_PLACE = 1e-9
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True, eq=False)
class BandStructure:
    """Bands along a path through the Brillouin zone.

    Parameters
    ----------
    formula, lattice
        Reduced formula, and the name of the Bravais lattice that the path belongs to.
    points
        (k, 3) fractional k points.
    distances
        (k,) length along the path, 1/Å, the factor 2π included.
    corners
        Name and length of every corner, in order; where the path jumps, two share a length.
    energies
        ``"semilocal"`` and ``"hybrid"`` → (k, bands), eV, each from its valence-band maximum.
    gaps
        Of both, eV; the edges count even where they lie beside the path.
    occupied
        Number of occupied bands among them.
    functional, fraction, scheme
        Semi-local functional, share of exact exchange, and how the hybrid's bands were made.
    """

    formula: str
    lattice: str
    points: np.ndarray
    distances: np.ndarray
    corners: tuple[tuple[str, float], ...]
    energies: Mapping[str, np.ndarray]
    gaps: Mapping[str, float]
    occupied: int
    functional: str
    fraction: float
    scheme: Scheme

    def save(self, path: str | Path) -> Path:
        """Write JSON, atomically."""
        content = {
            "formula": self.formula,
            "lattice": self.lattice,
            "points": np.round(self.points, 8).tolist(),
            "distances_per_angstrom": np.round(self.distances, 8).tolist(),
            "corners": [list(corner) for corner in self.corners],
            "energies_eV": {
                level: np.round(bands, 5).tolist() for level, bands in self.energies.items()
            },
            "gaps_eV": dict(self.gaps),
            "occupied": self.occupied,
            "functional": self.functional,
            "exchange_fraction": self.fraction,
            "hybrid_scheme": self.scheme,
        }
        return write_text(path, json.dumps(content, ensure_ascii=False))

    @classmethod
    def load(cls, path: str | Path) -> BandStructure:
        """Read what :meth:`save` wrote; raises StorageError for anything else."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(
                formula=content["formula"],
                lattice=content["lattice"],
                points=np.array(content["points"]),
                distances=np.array(content["distances_per_angstrom"]),
                corners=tuple((name, place) for name, place in content["corners"]),
                energies={
                    level: np.array(bands) for level, bands in content["energies_eV"].items()
                },
                gaps=content["gaps_eV"],
                occupied=content["occupied"],
                functional=content["functional"],
                fraction=content["exchange_fraction"],
                scheme=content["hybrid_scheme"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"is no band structure ({type(error).__name__}: {error})",
                where=str(path),
                expected="a file written by BandStructure.save",
            ) from error


def band_structure(
    structure: Structure,
    folder: str | Path,
    hybrid: HybridGap,
    fraction: float,
    *,
    scheme: Scheme = "rigid",
    num_points: int = 60,
    empty: int = 6,
    semilocal: GpawSettings | None = None,
) -> BandStructure:
    """Compute bands along the standard path; finished parts stay in ``folder``.

    Parameters
    ----------
    hybrid, fraction
        Of :func:`~opalign.firstprinciples.hybrid.hybrid_gap`, and the share of exact exchange. The
        mesh of the exchange is the last one of ``hybrid``.
    num_points
        Points of the whole path, its corners among them.
    empty
        Number of empty bands.

    Raises
    ------
    ConfigurationError
        The hybrid is of another functional, or there are too few points.
    EngineFailure
        What befell GPAW.
    """
    require_gpaw()
    semilocal = semilocal or GpawSettings(functional=hybrid.functional)  # type: ignore[arg-type]
    if semilocal.functional != hybrid.functional:
        raise ConfigurationError(
            f"the hybrid's orbitals are of {hybrid.functional}", expected=semilocal.functional
        )
    if empty < 1:
        raise ConfigurationError(f"{empty} empty bands are none", expected="1 or more")
    with setups_for(semilocal.functional, structure.symbol_set):
        run = SemilocalRun(structure, Path(folder), semilocal)
        path = _path(run, num_points)
        # The edges come last: they need not lie on the path, but energies count from them.
        points = np.vstack([path.kpts, hybrid.valence_point, hybrid.conduction_point])
        size = hybrid.history[-1]["mesh"] if scheme == "evaluated" else None
        exchanged = cache(lambda: occupied_on(run.ground, size or (), run.occupied))
        parts = [
            _part(run, points[first : first + CHUNK], empty, size, exchanged)
            for first in range(0, len(points), CHUNK)
        ]
        run.tidy()
    occupied = parts[0]["occupied"]
    below = np.concatenate([part["energies"] for part in parts])
    if scheme == "evaluated":
        change = np.concatenate([part["exchange"] for part in parts]) * fraction
        moved = below + change - np.concatenate([part["hubbard"] for part in parts])
        # States are numbered by their semi-local energies, which the exchange may reorder.
        moved = np.hstack([np.sort(moved[:, :occupied]), np.sort(moved[:, occupied:])])
    else:
        moved = below.copy()
        moved[:, occupied:] += hybrid.shift(fraction)
    energies = {
        name: bands - bands[:, :occupied].max()
        for name, bands in (("semilocal", below), ("hybrid", moved))
    }
    distances, places, names = path.get_linear_kpoint_axis()
    return BandStructure(
        formula=run.cell.structure.composition.reduced_formula,
        lattice=path.cell.get_bravais_lattice().longname,
        points=np.asarray(path.kpts),
        distances=np.asarray(distances),
        corners=tuple((str(name), float(place)) for name, place in zip(names, places, strict=True)),
        energies={name: bands[: len(path.kpts)] for name, bands in energies.items()},
        gaps={name: float(bands[:, occupied:].min()) for name, bands in energies.items()},
        occupied=occupied,
        functional=semilocal.functional,
        fraction=fraction,
        scheme=scheme,
    )


def plot_band_structure(
    bands: BandStructure,
    path: str | Path | None = None,
    *,
    window: tuple[float, float] | None = None,
) -> Figure:
    """Draw semi-local bands in grey and the hybrid's in colour; write a file if ``path`` is given.

    ``window`` is the range of energies in eV about the highest occupied state.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    names = {
        "semilocal": f"{bands.functional}, gap {bands.gaps['semilocal']:.2f} eV",
        "hybrid": f"nsc-dd hybrid ({bands.fraction:.1%} exchange, "
        f"{'rigid shift' if bands.scheme == 'rigid' else 'every point evaluated'}), "
        f"gap {bands.gaps['hybrid']:.2f} eV",
    }
    styles: dict[str, tuple[str, float, Literal["-", "--"]]] = {
        "semilocal": ("0.65", 1.0, "--"),
        "hybrid": ("#0072b2", 1.4, "-"),
    }
    handles = []
    # Where the path jumps, two points have one distance: no line joins them.
    jumps = 1 + np.flatnonzero(np.diff(bands.distances) < SAME_PLACE)
    for level, (colour, width, line) in styles.items():
        for stretch in np.split(np.arange(len(bands.distances)), jumps):
            axes.plot(
                bands.distances[stretch],
                bands.energies[level][stretch],
                color=colour,
                linewidth=width,
                linestyle=line,
            )
        handles.append(Line2D([], [], color=colour, linewidth=width, linestyle=line))
    labels: dict[float, str] = {}
    for name, place in bands.corners:
        shown = "Γ" if name == "G" else name
        at = next((known for known in labels if abs(known - place) < SAME_PLACE), place)
        labels[at] = f"{labels[at]}|{shown}" if at in labels else shown
    for place in labels:
        axes.axvline(place, color="0.85", linewidth=0.8, zorder=0)
    axes.set_xticks(list(labels), list(labels.values()))
    low, high = window or (-8.0, bands.gaps["hybrid"] + 8.0)
    axes.set(xlim=(bands.distances[0], bands.distances[-1]), ylim=(low, high))
    axes.set_ylabel("energy from the valence-band maximum (eV)")
    axes.set_title(f"{bands.formula.translate(SUBSCRIPTS)}, {bands.lattice}", fontsize=11)
    figure.legend(
        handles, [names[level] for level in styles], loc="outside lower center", frameon=False
    )
    if path is not None:
        write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150))
    return figure


def _path(run: SemilocalRun, num_points: int) -> Any:
    path = run.cell.atoms().cell.bandpath(npoints=num_points)
    corners = len(path.get_linear_kpoint_axis()[2])
    if num_points < 2 * corners:
        raise ConfigurationError(
            f"{num_points} points are too few for the {corners} corners of the path",
            expected=f"{2 * corners} or more",
        )
    return path


def _part(
    run: SemilocalRun,
    chosen: np.ndarray,
    empty: int,
    size: list[int] | None,
    exchanged: Callable[[], Any],
) -> dict[str, Any]:
    """Compute or read the bands at ``chosen`` points, with exchange if there is a mesh for it."""

    def compute() -> dict[str, Any]:
        with failures_named("band structure"):
            occupied = run.occupied
            count = occupied + empty
            states = states_at(run.ground, chosen, count)
            if size is None:
                energies = [states.get_eigenvalues(kpt=k)[:count] for k in range(len(chosen))]
                return {"occupied": occupied, "energies": np.array(energies).tolist()}
            functional = run.settings.functional
            found = exchange_difference(
                exchanged(), size, functional, states, len(chosen), 0, count
            )
        return {
            "occupied": occupied,
            "energies": found.energies.tolist(),
            "exchange": found.exchange.tolist(),
            "hubbard": found.hubbard.tolist(),
        }

    # Other points of the same number, or another mesh, are another step.
    what = json.dumps([chosen.round(8).tolist(), empty, size])
    name = hashlib.sha256(what.encode()).hexdigest()[:12]
    return run.steps.run(f"path-{name}", compute)
