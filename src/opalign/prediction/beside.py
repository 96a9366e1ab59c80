"""Computed spectra of the materials nearest to what is predicted, out of a table of spectra."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opalign.crystal.many import CrystalArrays, build_graphs
from opalign.errors import ConfigurationError, SpectrumError, StructureError
from opalign.model.elements import supported_elements
from opalign.model.nearest import NearestMaterials, Neighbor
from opalign.prediction.batches import BATCH_BUDGET, cut_batches

if TYPE_CHECKING:
    from opalign.dataset.table import SpectraTable
    from opalign.prediction.predictor import Predictor
    from opalign.prediction.result import Prediction
    from opalign.spectrum.optical import OpticalSpectrum

BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class Beside:
    """The computed material nearest to a predicted one."""

    neighbor: Neighbor
    spectrum: OpticalSpectrum | None
    """Isotropic, at the predicted level and broadening; None where the table has no such."""

    @property
    def label(self) -> str:
        """What the spectrum is, for the legend of a figure."""
        return f"computed: {self.neighbor.id}, the nearest"


class ComputedMaterials:
    """A table of computed spectra as a model sees it.

    Distances are those in the space of the model's pooled features; 1 is the typical distance
    between neighbours within the table.

    Parameters
    ----------
    predictor
        Its network describes the materials.
    table
        Rows whose elements or structures the model cannot describe are left out.

    Raises
    ------
    ConfigurationError
        None of the materials can be described.
    """

    def __init__(self, predictor: Predictor, table: SpectraTable) -> None:
        self.table = table
        elements = supported_elements(predictor.config.encoder.element_table)
        crystals = {
            row: arrays
            for row in range(len(table))
            if elements.issuperset((arrays := table.arrays(row)).atomic_numbers.tolist())
        }
        built = build_graphs(
            (
                CrystalArrays(lattice, positions @ lattice, numbers)
                for lattice, numbers, positions in crystals.values()
            ),
            predictor.config.graph,
        )
        found = {
            row: graph
            for row, graph in zip(crystals, built, strict=True)
            if not isinstance(graph, StructureError)
        }
        rows, graphs = list(found), list(found.values())
        if not rows:
            raise ConfigurationError(
                "the model can describe none of these materials",
                where=str(table.path),
                cure="give a table with structures of elements that the model knows",
            )
        features = [
            predictor.run([graphs[place] for place in batch])["features"].cpu().numpy()
            for batch in cut_batches([graph.size for graph in graphs], BATCH_BUDGET, BATCH_SIZE)
        ]
        self._rows = dict(zip((table.ids[row] for row in rows), rows, strict=True))
        self.materials = NearestMaterials(
            list(self._rows), [table.formulas[row] for row in rows], np.concatenate(features)
        )

    @classmethod
    def open(cls, predictor: Predictor, path: str | os.PathLike[str]) -> ComputedMaterials:
        """Open a table; raises DatasetError where it cannot be read."""
        from opalign.dataset.table import SpectraTable

        return cls(predictor, SpectraTable.open(path))

    def nearest(self, prediction: Prediction) -> Beside:
        """Return the nearest material of the table."""
        (found,) = self.materials.query(np.nan_to_num(prediction.features), 1)
        return Beside(found[0], self._spectrum(found[0].id, prediction.spectrum))

    def _spectrum(self, material_id: str, like: OpticalSpectrum) -> OpticalSpectrum | None:
        if like.level not in self.table.levels:
            return None
        computed = self.table.spectrum(self._rows[material_id], like.level).isotropic()
        try:
            return computed.broadened(like.broadening)
        except SpectrumError:
            # It is broader already, or by another shape: it would not show the same.
            return None
