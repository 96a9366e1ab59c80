"""Why this prediction: one material, the group it falls into, and what its spectrum rests on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opalign.crystal.graph import build_graph
from opalign.dataset.table import SpectraTable
from opalign.errors import SpectrumError, StructureError
from opalign.explain.chemistry.structure import (
    StructureChemistry,
    describe_structure,
    equivalent_sites,
)
from opalign.explain.features import READOUT
from opalign.explain.occlusion import Occluded, important_angles, important_bonds
from opalign.explain.placement import Explained, Placement, read_explained
from opalign.explain.sites import SiteSpectra, site_spectra
from opalign.prediction import load_model
from opalign.prediction.predictor import Predictor
from opalign.prediction.result import Failure, Prediction

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from opalign.model.nearest import Neighbor
    from opalign.spectrum.optical import OpticalSpectrum

#: Training materials that are shown beside the structure.
NEIGHBORS_SHOWN = 5


@dataclass(frozen=True, eq=False)
class MaterialExplanation:
    """What can be said of one prediction."""

    model: str
    prediction: Prediction
    chemistry: StructureChemistry
    sites: SiteSpectra
    surroundings: tuple[str, ...]
    """(N,) element and coordination of each site, such as ``"Ti octahedral CN_6"``."""
    bonds: tuple[Occluded, ...]
    angles: tuple[Occluded, ...]
    nearest: tuple[Neighbor, ...]
    """Training materials, the nearest first, in the network's pooled features."""
    nearest_spectra: dict[str, OpticalSpectrum]
    """Those that the table has, by material id, as the prediction is broadened."""
    placement: Placement | None
    """Among the groups of an explained table, if one was given."""

    @property
    def level(self) -> str:
        """Level of theory that is explained."""
        return self.sites.level

    @property
    def spectrum(self) -> OpticalSpectrum:
        """The prediction at that level."""
        return self.prediction.spectra[self.level]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Sentences that say in what the material lies outside what the network has seen."""
        placed = () if self.placement is None else self.placement.doubts
        return (*self.prediction.warnings, *placed)

    def summary(self) -> dict[str, Any]:
        """Return all of it but the spectra of others, as JSON has it."""
        chemistry = self.chemistry
        return {
            "id": self.prediction.id,
            "formula": self.prediction.formula,
            "model": self.model,
            "level": self.level,
            "onset_eV": self.prediction.onset_energy,
            "band_gap_eV": self.prediction.band_gap,
            "static_dielectric": _finite(self.prediction.static_dielectric),
            "outside": list(self.doubts),
            "chemistry": {
                "space_group": chemistry.space_group,
                "prototype": chemistry.prototype,
                "oxidation_states": chemistry.oxidation_states,
                "sites": [
                    {
                        "element": site.element,
                        "multiplicity": site.multiplicity,
                        "coordination_number": site.coordination_number,
                        "motif": site.motif,
                        "bond_lengths": [round(length, 4) for length in site.bond_lengths],
                    }
                    for site in chemistry.sites
                ],
                "problems": list(chemistry.problems),
            },
            "nearest": [
                {
                    "id": item.id,
                    "formula": item.formula,
                    "distance": item.distance,
                    "relative_distance": _finite(item.relative_distance),
                }
                for item in self.nearest
            ],
            "placement": None if self.placement is None else self.placement.summary(),
            "bonds": [_occluded(item) for item in self.bonds],
            "angles": [_occluded(item) for item in self.angles],
            "sites": {
                "quantity": self.sites.quantity,
                "method": self.sites.method,
                "error": self.sites.error,
                "energies_eV": _rounded(self.sites.energies),
                "total": _rounded(self.sites.total),
                "rest": _rounded(self.sites.rest),
                "per_site": [
                    {"site": number, "label": label, "contribution": _rounded(values)}
                    for number, (label, values) in enumerate(
                        zip(self.surroundings, self.sites.contributions, strict=True)
                    )
                ],
            },
        }


def explain_material(
    structure: Any,
    model: Predictor | str | os.PathLike[str] | None = None,
    *,
    explained: str | os.PathLike[str] | None = None,
    table: str | os.PathLike[str] | SpectraTable | None = None,
    level: str | None = None,
) -> MaterialExplanation:
    """Explain the prediction for one structure.

    Parameters
    ----------
    structure
        Anything structure-like: a file, a pymatgen or ASE structure, a dict.
    explained
        Folder that ``opalign explain table`` wrote for the same model; without it the material is
        put into no group.
    table
        Spectra table with the training materials, for their spectra; by default the one that was
        explained, if it is at hand.
    level
        Of theory; by default that which a prediction shows.

    Raises
    ------
    StructureError
        If the structure cannot be read, or the network cannot describe it.
    ConfigurationError
        If the model does not predict the level, or ``explained`` is of another model.
    """
    predictor = model if isinstance(model, Predictor) else load_model(model)
    home = None if explained is None else read_explained(explained, predictor)
    prediction = _predicted(structure, predictor, level)
    crystal, level = prediction.structure, prediction.level
    output = predictor.run([build_graph(crystal, predictor.config.graph)])
    chemistry = describe_structure(crystal)
    nearest = predictor.materials.query(output["features"].cpu().numpy(), NEIGHBORS_SHOWN)[0]
    spectra = _table(table, home)
    return MaterialExplanation(
        model=predictor.name,
        prediction=prediction,
        chemistry=chemistry,
        sites=site_spectra(predictor, crystal, level),
        surroundings=surroundings(crystal, chemistry),
        bonds=tuple(important_bonds(predictor, crystal, level)),
        angles=tuple(important_angles(predictor, crystal, level)),
        nearest=nearest,
        nearest_spectra={}
        if spectra is None
        else nearest_spectra(spectra, [item.id for item in nearest], prediction.spectrum),
        placement=None
        if home is None
        else home.place(_layer(output, home.layer), prediction.formula, chemistry),
    )


def surroundings(structure: Structure, chemistry: StructureChemistry) -> tuple[str, ...]:
    """Name each site (N,) by its element and, for cations, its coordination."""
    names = {}
    for site in chemistry.sites:
        around = site.motif or f"{site.coordination_number}-coordinate"
        names[site.site] = f"{site.element} {around}"
    first = equivalent_sites(structure)
    return tuple(
        names.get(int(first[number]), specie.symbol)
        for number, specie in enumerate(structure.species)
    )


def nearest_spectra(
    table: SpectraTable, ids: Sequence[str], prediction: OpticalSpectrum
) -> dict[str, OpticalSpectrum]:
    """Return what a table has of these materials, at the level and broadening of a prediction.

    A spectrum that is broader already stays as it is.
    """
    if prediction.level not in table.levels:
        return {}
    known = set(table.ids)
    found = {}
    for material_id in ids:
        if material_id not in known:
            continue
        spectrum = table.select([material_id]).spectrum(0, prediction.level).isotropic()
        with contextlib.suppress(SpectrumError):
            spectrum = spectrum.broadened(prediction.broadening)
        found[material_id] = spectrum
    return found


def _predicted(structure: Any, predictor: Predictor, level: str | None) -> Prediction:
    failures: list[Failure] = []
    levels = None if level is None else (level,)
    found = list(predictor.predict(structure, levels=levels, on_failure=failures.append))
    if failures:
        raise StructureError(failures[0].reason, where=failures[0].file)
    if len(found) != 1:
        raise StructureError(
            f"{len(found)} structures where one is explained",
            where=found[0].file if found else None,
            cure="give a file of one structure",
        )
    return found[0]


def _layer(output: dict[str, Any], layer: str) -> NDArray[np.float64]:
    """Return the features (D,) of one material, averaged over its sites."""
    values = output["features"] if layer == READOUT else output["layers"][layer]
    return np.asarray(values.cpu().numpy(), dtype=float).mean(axis=0)


def _table(
    table: str | os.PathLike[str] | SpectraTable | None, home: Explained | None
) -> SpectraTable | None:
    if table is not None:
        return table if isinstance(table, SpectraTable) else SpectraTable.open(table)
    if home is not None and home.table.is_file():
        return SpectraTable.open(home.table)
    return None


def _occluded(item: Occluded) -> dict[str, Any]:
    return {
        "name": item.name,
        "value": item.value,
        "count": item.count,
        "importance": _finite(item.importance),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
