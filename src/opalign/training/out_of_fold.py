"""What ensembles of a cross-validation say of the materials that they have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError
from opalign.model.checkpoint import load_checkpoint
from opalign.model.config import ModelConfig, PhysicalHeadConfig
from opalign.model.ensemble import EnsembleModel, members_of
from opalign.model.familiarity import Familiarity, ingredients
from opalign.model.nearest import NearestMaterials
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.similarity import similarity_coefficient
from opalign.training.data import Materials, build_graphs
from opalign.training.predictions import predict_materials
from opalign.training.spectra import join, read_spectra

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions of all members for every material, by members that have not seen its formula.

    ``real`` and ``imaginary`` are (rows, K, L, n), references (rows, L, n), ``ingredients``
    (rows, L, 5), and ``folds`` (rows,) names the fold that each material was left out in.
    """

    grid: EnergyGrid
    levels: tuple[str, ...]
    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    folds: NDArray[np.int64]
    real: Array
    imaginary: Array
    reference_real: Array
    reference_imaginary: Array
    ingredients: Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def members(self) -> int:
        """Networks that predicted each material."""
        return int(self.real.shape[1])

    @property
    def errors(self) -> Array:
        """1 − SC of the mean prediction's Im ε, (rows, L)."""
        similarity = similarity_coefficient(
            self.imaginary.mean(axis=1), self.reference_imaginary, self.grid
        )
        return 1.0 - np.asarray(similarity)

    def similarity_of_levels(self, cheap: str, costly: str) -> tuple[Array, Array]:
        """SC[costly; cheap] of predicted and of true spectra, (rows,) each."""
        places = [self.levels.index(level) for level in (cheap, costly)]
        found = []
        for spectra in (self.imaginary.mean(axis=1), self.reference_imaginary):
            low, high = (spectra[:, place] for place in places)
            found.append(np.asarray(similarity_coefficient(low, high, self.grid)))
        return found[0], found[1]


def read_out_of_fold(
    checkpoints: Sequence[Sequence[Path]], tables: Sequence[SpectraTable]
) -> OutOfFold:
    """Let the networks of every fold predict the test materials of their own split.

    Parameters
    ----------
    checkpoints
        For every fold the checkpoints of its members, the one whose features count first.
    tables
        With the true spectra.

    Raises
    ------
    ConfigurationError
        The networks predict no dielectric function, or their folds overlap.
    """
    parts: list[dict[str, Array]] = []
    ids: list[str] = []
    folds: list[int] = []
    for fold, folders in enumerate(checkpoints, start=1):
        loaded = [load_checkpoint(folder) for folder in folders]
        first = loaded[0]
        if not isinstance(first.config.head, PhysicalHeadConfig) or first.reference is None:
            raise ConfigurationError(
                "bands need networks that predict a dielectric function and a gap",
                where=str(first.folder),
                expected="model.head.kind: physical",
            )
        model = EnsembleModel(member for one in loaded for member in members_of(one.model))
        test = [str(material_id) for material_id in first.splits["test"]]
        materials = _materials(tables, test, first.config)
        output = predict_materials(model, materials)
        reference = first.reference
        familiarity = Familiarity(
            NearestMaterials(reference.ids, reference.formulas, reference.features)
        )
        atoms = [graph.atomic_numbers for graph in materials.graphs]
        imaginary = output["member_epsilon_imaginary"]
        described = [
            ingredients(
                familiarity,
                output["features"],
                atoms,
                imaginary[:, :, place],
                output["member_band_gap"],
            )
            for place in range(len(first.config.levels))
        ]
        parts.append(
            {
                "real": output["member_epsilon_real"],
                "imaginary": imaginary,
                "ingredients": np.stack(described, axis=1),
            }
        )
        ids += test
        folds += [fold] * len(test)
    if len(set(ids)) < len(ids):
        raise ConfigurationError("the folds of this cross-validation overlap")
    config = first.config
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    true = [
        join([read_spectra(t, level, config.broadening, config.grid) for t in tables]).select(ids)
        for level in config.levels
    ]
    return OutOfFold(
        grid=config.grid,
        levels=config.levels,
        ids=tuple(ids),
        formulas=true[0].formulas,
        folds=np.array(folds),
        reference_real=np.stack([spectra.real for spectra in true], axis=1),
        reference_imaginary=np.stack([spectra.imaginary for spectra in true], axis=1),
        **found,
    )


def _materials(
    tables: Sequence[SpectraTable], ids: Sequence[str], config: ModelConfig
) -> Materials:
    """Graphs of these materials, in the order given, without targets."""
    wanted = set(ids)
    chosen = [table.select([one for one in table.ids if one in wanted]) for table in tables]
    chosen = [table for table in chosen if len(table)]
    graphs = build_graphs(chosen, config.graph, None)
    found = tuple(material_id for table in chosen for material_id in table.ids)
    formulas = tuple(formula for table in chosen for formula in table.formulas)
    return Materials(found, formulas, graphs, {}).select(ids)
