"""Which level of theory a material needs, said beside its spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.errors import CheckpointError
from opalign.model.checkpoint import Checkpoint, copy_model, load_checkpoint
from opalign.model.config import ScalarHeadConfig
from opalign.model.elements import supported_elements
from opalign.prediction.batches import BATCH_BUDGET, cut_batches
from opalign.spectrum.levels import advice_sentence, needed_level, rungs
from opalign.spectrum.similarity import similarity_coefficient

if TYPE_CHECKING:
    import torch
    from pymatgen.core.structure import Structure

    from opalign.crystal.graph import CrystalGraph

#: Where an SC between levels comes from.
FROM_MODEL, FROM_SPECTRA = "similarity model", "predicted spectra"


@dataclass(frozen=True)
class LevelAdvice:
    """How much a costly level of theory changes a material's spectrum, and what follows."""

    cheap: str
    costly: str
    similarity: float
    """Predicted SC[costly; cheap] of Im ε."""
    source: str
    """``"similarity model"`` or ``"predicted spectra"``."""
    error: float | None
    """Cross-validated mean absolute error of :attr:`similarity`; None where it is not known."""
    error_of_mean: float | None = None
    """The same of taking the mean of the training materials for every material."""

    @property
    def better_than_mean(self) -> bool | None:
        """Whether it says more than the mean of all materials does; None where not known."""
        if self.error is None or self.error_of_mean is None:
            return None
        return self.error < self.error_of_mean

    @property
    def level(self) -> str:
        """The level of theory that the material needs."""
        return needed_level(self.similarity, self.cheap, self.costly)

    @property
    def sentence(self) -> str:
        """The advice in words."""
        return advice_sentence(self.similarity, self.cheap, self.costly)


class LevelAdvisor:
    """Advises with the similarity model inside a checkpoint, else with its two predicted spectra.

    Raises
    ------
    CheckpointError
        If the folder ``advice`` holds no similarity model.
    """

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> None:
        self.pair = rungs(checkpoint.config.levels)
        self._places = {level: number for number, level in enumerate(checkpoint.config.levels)}
        self._grid = checkpoint.config.grid
        self._own_graph = checkpoint.config.graph
        self._device, self._dtype = device, dtype
        self._head: ScalarHeadConfig | None = None
        calibrated = checkpoint.calibration and checkpoint.calibration.advice
        self._error = calibrated.mean_absolute_error if calibrated else None
        self._error_of_mean = calibrated.mean_predictor_error if calibrated else None
        if checkpoint.advice is None:
            return
        model = load_checkpoint(checkpoint.advice)
        if not isinstance(model.config.head, ScalarHeadConfig):
            raise CheckpointError(
                f"this model has a {model.config.head.kind} head and advises on no level",
                where=str(checkpoint.advice),
                expected="a model with model.head.kind: scalar",
                cure="remove the folder, or put a model of `opalign ladder similarity` there",
            )
        self._head, self._graph = model.config.head, model.config.graph
        self._element_table = model.config.encoder.element_table
        self._model = copy_model(model.model, dtype).to(device).eval()
        self._error = _figure(model, "mae")
        self._error_of_mean = _figure(model, "mae_of_the_mean")

    def of_batch(
        self,
        structures: Sequence[Structure],
        graphs: Sequence[CrystalGraph],
        output: Mapping[str, Any],
    ) -> list[LevelAdvice | None]:
        """Advice for the structures of a batch; None where nothing can be said.

        Parameters
        ----------
        graphs, output
            Of the checkpoint's own network for these structures.
        """
        if self._head is not None:
            return self._from_model(structures, graphs, self._head)
        if self.pair is None or "epsilon_imaginary" not in output:
            return [None] * len(structures)
        cheap, costly = self.pair
        imaginary = output["epsilon_imaginary"].cpu().numpy().astype(np.float64)
        low, high = (imaginary[:, self._places[level]] for level in self.pair)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.asarray(similarity_coefficient(low, high, self._grid))
        return [
            LevelAdvice(cheap, costly, float(value), FROM_SPECTRA, self._error, self._error_of_mean)
            if np.isfinite(value)
            else None
            for value in found
        ]

    def _from_model(
        self,
        structures: Sequence[Structure],
        graphs: Sequence[CrystalGraph],
        head: ScalarHeadConfig,
    ) -> list[LevelAdvice | None]:
        import torch

        from opalign.crystal.graph import build_graph, collate

        advice: list[LevelAdvice | None] = [None] * len(structures)
        elements = supported_elements(self._element_table)
        known = [
            place
            for place, structure in enumerate(structures)
            if elements.issuperset(structure.atomic_numbers)
        ]
        if self._graph != self._own_graph:
            graphs = [build_graph(structure, self._graph) for structure in structures]
        for batch in cut_batches([graphs[place].size for place in known], BATCH_BUDGET):
            part = [known[number] for number in batch]
            tensors = collate([graphs[place] for place in part], dtype=self._dtype, reduced=True)
            moved = {name: value.to(self._device) for name, value in tensors.items()}
            with torch.inference_mode():
                values = self._model(moved)[head.name].cpu().tolist()
            for place, value in zip(part, values, strict=True):
                if np.isfinite(value):
                    advice[place] = LevelAdvice(
                        head.cheap, head.costly, value, FROM_MODEL, self._error, self._error_of_mean
                    )
        return advice


def _figure(checkpoint: Checkpoint, name: str) -> float | None:
    """Return a cross-validated figure of a similarity model, wherever in its metrics it stands."""
    for place in (checkpoint.metrics.get("cross_validation"), checkpoint.metrics):
        found = place.get(name) if isinstance(place, dict) else None
        if isinstance(found, int | float) and not isinstance(found, bool):
            return float(found)
    return None
