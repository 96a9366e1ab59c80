"""Everything that decides about a spectrum computed with VASP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from opalign.spectrum.grid import EnergyGrid

Step = Literal["relax", "static", "optics", "hybrid"]
IncarValue = bool | int | float | str | None

STUDY_HUBBARD_U = {
    **dict.fromkeys(("Ti", "V", "Cr", "Zr", "Nb", "Mo", "Pd", "Hf", "Ta", "W", "Re"), 3.0),
    **dict.fromkeys(("Pt", "Au"), 3.0),
    **dict.fromkeys(("Cu", "Zn", "Ag", "Ce"), 5.0),
}
"""U in eV, on d states and on f of Ce, of the elements that the reference study admits.

Defaults of vise (https://github.com/kumagai-group/vise), the program that wrote its inputs.
"""


class VaspSettings(BaseModel):
    """Settings of :class:`~opalign.firstprinciples.vasp.VaspEngine`; frozen.

    Energies are in eV, lengths in Å. Values out of range raise :class:`pydantic.ValidationError`.
    What is not named here is as in atomate2's input sets for Γ-centred meshes of insulators. The
    command that runs VASP and the folder of its potentials are no settings: they belong to the
    machine (``~/.atomate2.yaml``, ``~/.pmgrc.yaml``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    functional: Literal["PBE", "PBEsol"] = Field(
        default="PBE", description="of the ground state and the response"
    )
    hubbard_u: dict[str, float] = Field(
        default={},
        description='U in eV on d states (f of lanthanides and actinides) by element, {"Ti": 3.0}',
    )
    cutoff: float = Field(default=520.0, gt=0.0, description="plane waves (ENCUT), eV")
    scf_density: float = Field(
        default=3.0, gt=0.0, description="k points of ground state and hybrid per Å⁻¹"
    )
    optics_density: float = Field(
        default=5.5, gt=0.0, description="k points of the response per Å⁻¹"
    )
    band_density: float = Field(
        default=0.30, gt=0.0, description="empty bands per Å³; 0.3 reaches some 25 eV above the gap"
    )
    optics_points: int = Field(
        default=6000, ge=1000, le=100_000, description="energies of the response (NEDOS)"
    )
    complex_shift: float = Field(
        default=1e-5, ge=0.0, description="CSHIFT, eV; ε₁ is transformed from ε₂ anew in any case"
    )
    grid: EnergyGrid = EnergyGrid(0.0, 20.0, 801)
    relax: bool = Field(default=True, description="cell and positions, keeping the symmetry")
    relax_functional: Literal["PBE", "PBEsol"] = "PBEsol"
    relax_density: float = Field(
        default=2.5, gt=0.0, description="k points of the relaxation per Å⁻¹"
    )
    relax_force: float = Field(default=0.005, gt=0.0, description="largest force left, eV/Å")
    relax_steps: int = Field(default=99, ge=1, description="most steps of one relaxation (NSW)")
    relax_runs: int = Field(
        default=2,
        ge=1,
        le=5,
        description="relaxations in a row: the basis belongs to the cell that a run starts with",
    )
    spin_check: bool = Field(
        default=False, description="polarise ground states and refuse what is magnetic"
    )
    hybrid: bool = Field(
        default=True, description="gap and corrected spectrum of the non-self-consistent hybrid"
    )
    exchange_fraction: float | None = Field(
        default=None, gt=0.0, le=1.0, description="exact exchange; None for 1/ε∞ of the response"
    )
    potentials: str = Field(default="PBE_54", description="family of PAW potentials, as pymatgen's")
    smallest_gap: float = Field(default=0.1, ge=0.0, description="below it a material is a metal")
    incar: dict[Step, dict[str, IncarValue]] = Field(
        default={},
        description='INCAR by step, over all else: {"hybrid": {"NKRED": 2}}; None takes a tag out',
    )


def study_settings(elements: Iterable[str]) -> VaspSettings:
    """Return the reference study's protocol: PBEsol, U where it sets one, nothing magnetic."""
    chosen = {symbol: STUDY_HUBBARD_U[symbol] for symbol in elements if symbol in STUDY_HUBBARD_U}
    return VaspSettings(functional="PBEsol", hubbard_u=chosen, spin_check=True)
