"""Everything that decides about a spectrum computed with GPAW."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opalign.spectrum.grid import EnergyGrid


class GpawSettings(BaseModel):
    """Settings of :class:`~opalign.firstprinciples.gpaw.GpawEngine`; frozen.

    Energies are in eV, lengths in Å. Values out of range raise :class:`pydantic.ValidationError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    functional: Literal["PBE", "PBEsol"] = Field(
        default="PBE", description="of the bands and the response"
    )
    cutoff: float = Field(default=400.0, gt=0.0, description="plane waves of the bands, eV")
    scf_density: float = Field(
        default=3.0, gt=0.0, description="k points of the ground state per Å⁻¹"
    )
    optics_density: float = Field(
        default=5.5,
        gt=0.0,
        description="k points of the response per Å⁻¹; not used with converge, which tries its own",
    )
    optics_mesh: tuple[int, int, int] | None = Field(
        default=None, description="Γ-centred mesh of the response in place of one by density"
    )
    response_cutoff: float = Field(
        default=40.0, gt=0.0, description="plane waves of the local fields, eV"
    )
    band_density: float = Field(
        default=0.30, gt=0.0, description="empty bands per Å³; 0.3 reaches some 25 eV above the gap"
    )
    eta: float = Field(
        default=0.002, gt=0.0, description="Lorentzian half width of the tetrahedra, eV"
    )
    scheme: Literal["periodic", "irreducible"] = Field(
        default="periodic",
        description="tetrahedra that fill the reciprocal cell, which serve every lattice; or "
        "GPAW's own, which need a mesh with all corners of the irreducible zone",
    )
    grid: EnergyGrid = EnergyGrid(0.0, 20.0, 801)
    relax: bool = Field(default=True, description="cell and positions, keeping the symmetry")
    relax_functional: Literal["PBE", "PBEsol"] = "PBEsol"
    relax_cutoff: float = Field(
        default=520.0, gt=0.0, description="plane waves of the relaxation, eV: stress needs more"
    )
    relax_density: float = Field(
        default=2.5, gt=0.0, description="k points of the relaxation per Å⁻¹"
    )
    relax_force: float = Field(default=0.03, gt=0.0, description="largest force left, eV/Å")
    relax_steps: int = Field(default=40, ge=1, description="most steps of a relaxation")
    hubbard_u: dict[str, float] = Field(
        default={}, description='U on d states, eV, by element, such as {"Ti": 4.0}'
    )
    spin_check: bool = Field(
        default=False, description="refuse what a spin-polarised run finds magnetic"
    )
    converge: bool = Field(
        default=False,
        description="raise bands and cutoffs from those given, and the mesh from 3.5 points per "
        "Å⁻¹, until spectra agree",
    )
    convergence_target: float = Field(
        default=0.95,
        gt=0.0,
        lt=1.0,
        description="least similarity of successive spectra: SC of Im ε, Gaussian σ = 0.1 eV",
    )
    smallest_gap: float = Field(default=0.1, ge=0.0, description="below it a material is a metal")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.grid.start != 0.0:
            raise ValueError("the grid has to start at 0 eV: ε∞ is read there")
        if self.converge and self.optics_mesh is not None:
            raise ValueError("optics_mesh fixes the mesh that converge would choose: drop one")
        return self


class Numerics(BaseModel):
    """The settings that are raised until spectra agree; see :class:`GpawSettings`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    optics_density: float
    band_density: float
    cutoff: float
    response_cutoff: float

    @classmethod
    def of(cls, settings: GpawSettings) -> Numerics:
        """Those that the settings name."""
        return cls(**{name: getattr(settings, name) for name in cls.model_fields})

    @property
    def bands_name(self) -> str:
        """Name of the bands that belong to it."""
        return f"bands-k{self.optics_density:g}-n{self.band_density:g}-c{self.cutoff:g}"

    @property
    def response_name(self) -> str:
        """Name of the response that belongs to it."""
        return f"response-{self.bands_name.removeprefix('bands-')}-r{self.response_cutoff:g}"
