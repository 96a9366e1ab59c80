"""A trained network at work: structures in, spectra out, in batches and as a stream."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from opalign.crystal.compiled import kernels_for
from opalign.crystal.graph import CrystalGraph, build_graph, collate
from opalign.errors import ConfigurationError, SpectrumError, StructureError
from opalign.model.checkpoint import Checkpoint, copy_model, load_checkpoint
from opalign.model.nearest import NearestMaterials
from opalign.model.side_by_side import side_by_side
from opalign.prediction.advice import LevelAdvice, LevelAdvisor
from opalign.prediction.applicability import applicability_warnings, require_describable
from opalign.prediction.batches import BATCH_BUDGET
from opalign.prediction.inputs import Source, failure_of, read_sources
from opalign.prediction.models import resolve_checkpoint
from opalign.prediction.output import batch_spectra
from opalign.prediction.result import Failure, Prediction
from opalign.prediction.uncertainty import UncertaintyModel
from opalign.spectrum.levels import highest

if TYPE_CHECKING:
    from opalign.crystal.read import StructureLike
    from opalign.model.config import ModelConfig
    from opalign.model.ensemble import Network

#: Bonds and angles of one structure. A network of 64 features then takes some 10 GiB.
LARGEST_GRAPH = 10_000_000
NEIGHBORS_SHOWN = 3

Batch: TypeAlias = list[tuple[Source, CrystalGraph]]
Precision = Literal["double", "single", "half"]
"""Of graph, network and spectrum while they are computed; half: of the network's products alone."""


class Predictor:
    """A checkpoint on a device, in evaluation mode.

    Double precision so that a spectrum does not depend on which others share its batch, and so that
    an onset does not hang on rounding. Single precision (:data:`Precision`) is for screening: less
    time, half the memory, spectra within some 1e-5 of their largest value, and an onset that may
    move where absorption is next to nothing. Half precision is single with the products of the
    network in bfloat16: spectra within some 1e-2. It reads nothing but the checkpoint: the training
    table need not be at hand.

    Raises
    ------
    ConfigurationError
        The device or the precision is not there.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: str = "auto", precision: Precision = "double"
    ) -> None:
        import torch

        self.checkpoint = checkpoint
        self.device = _device(device)
        if precision not in get_args(Precision):
            raise ConfigurationError(
                f"there is no precision {precision!r}", expected=" or ".join(get_args(Precision))
            )
        # Apple's GPUs know single precision only.
        self.precision: Precision = "single" if self.device == "mps" else precision
        single = self.precision != "double"
        self._dtype = torch.float32 if single else torch.float64
        self._model = copy_model(checkpoint.model, self._dtype)
        self._model.to(self.device).eval()
        reference = checkpoint.reference
        self.materials = (
            NearestMaterials((), (), np.empty((0, 0)))
            if reference is None
            else NearestMaterials(reference.ids, reference.formulas, reference.features)
        )
        self.uncertainty = UncertaintyModel(
            checkpoint.config, checkpoint.calibration, self.materials
        )
        self.advisor = LevelAdvisor(checkpoint, self.device, self._dtype)

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
        precision: Precision = "double",
    ) -> Predictor:
        """Load a model by name or path; see :func:`opalign.prediction.load_model`."""
        return cls(load_checkpoint(resolve_checkpoint(model)), device, precision)

    @property
    def config(self) -> ModelConfig:
        """Configuration of the network."""
        return self.checkpoint.config

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels of theory that the model predicts."""
        return self.config.levels

    @property
    def network(self) -> Network:
        """Network or ensemble, in evaluation mode, of the predictor's precision and device."""
        return self._model

    def compile(self) -> None:
        """Have torch compile the convolutions of the network at its next batch.

        That takes some ten seconds and pays on a GPU and for tens of thousands of structures;
        where torch cannot compile, a warning says so and nothing else changes.
        """
        self._model.fuse()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Layers whose per-site features :meth:`run` gives, in their order."""
        return self._model.layer_names

    @property
    def name(self) -> str:
        """Name of the checkpoint's folder and its identifier: what predicted."""
        return f"{self.checkpoint.folder.name} {self.checkpoint.identifier}"

    def predict(
        self,
        structures: StructureLike | Iterable[StructureLike],
        *,
        levels: Iterable[str] | None = None,
        batch_size: int = 16,
        on_failure: Callable[[Failure], None] | None = None,
    ) -> Iterator[Prediction]:
        """Predict spectra, batch after batch, in the order of the structures.

        On a CPU as many batches are computed side by side as torch has threads; structures are read
        that far ahead of the spectra.

        Parameters
        ----------
        structures
            Files, folders and structures in any mix, or a single one.
        levels
            Some of :attr:`levels`; by default all.
        batch_size
            Structures at a time; fewer where cells are large. It changes no result (in single
            precision: none beyond rounding).
        on_failure
            Called for every structure that is skipped. By default a warning is issued instead.

        Raises
        ------
        ConfigurationError
            At once, if a level is not one of the model's or the batch size is not positive.
        """
        chosen = self._checked_levels(levels)
        if batch_size < 1:
            raise ConfigurationError(f"a batch of {batch_size} structures", expected="at least 1")
        return self._predict(structures, chosen, batch_size, on_failure or _warn)

    def run(self, graphs: Sequence[CrystalGraph], *, per_site: bool = False) -> dict[str, Any]:
        """Return what the network gives for a batch of graphs of :attr:`config`'s settings.

        Keys and shapes are those of :meth:`opalign.model.network.SpectrumModel.forward`, on the
        predictor's device; ``per_site`` asks for the sites' own spectra too.
        """
        import torch

        tensors = collate(graphs, dtype=self._dtype, reduced=True)
        batch = {name: value.to(self.device) for name, value in tensors.items()}
        kind = torch.device(self.device).type
        half = torch.autocast(kind, torch.bfloat16, enabled=self.precision == "half")
        with torch.inference_mode(), half:
            output: dict[str, Any] = self._model(batch, per_site=per_site)
        return {name: _at_least_single(value) for name, value in output.items()}

    def _predict(
        self,
        structures: StructureLike | Iterable[StructureLike],
        levels: tuple[str, ...],
        batch_size: int,
        on_failure: Callable[[Failure], None],
    ) -> Iterator[Prediction]:
        import torch

        # On a GPU batches would only wait for each other.
        threads = torch.get_num_threads() if self.device == "cpu" else 1
        batches = self._batches(structures, batch_size, BATCH_BUDGET // threads, on_failure)
        for batch, output, advice in side_by_side(self._run_batch, batches, threads):
            yield from self._predictions(batch, output, advice, levels, on_failure)

    def _batches(
        self,
        structures: StructureLike | Iterable[StructureLike],
        batch_size: int,
        budget: int,
        on_failure: Callable[[Failure], None],
    ) -> Iterator[Batch]:
        batch: Batch = []
        size = 0
        for number, source in enumerate(read_sources(structures)):
            # After so many that their start pays, the classes of the rest are found by these.
            kernels_for(number)
            if isinstance(source, Failure):
                on_failure(source)
                continue
            try:
                graph = self._graph(source)
            except StructureError as error:
                on_failure(failure_of(error, source.file))
                continue
            if batch and size + graph.size > budget:
                yield batch
                batch, size = [], 0
            batch.append((source, graph))
            size += graph.size
            if len(batch) == batch_size:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _graph(self, source: Source) -> CrystalGraph:
        require_describable(
            source.structure.atomic_numbers, self.config.encoder.element_table, source.file
        )
        graph = build_graph(source.structure, self.config.graph)
        if graph.size > LARGEST_GRAPH:
            raise StructureError(
                f"{graph.num_atoms} atoms with {graph.num_bonds} bonds are too many",
                expected=f"at most {LARGEST_GRAPH} bonds and angles",
                cure="give the primitive cell, if this is a supercell",
            )
        return graph

    def _run_batch(self, batch: Batch) -> tuple[Batch, dict[str, Any], list[LevelAdvice | None]]:
        graphs = [graph for _, graph in batch]
        output = self.run(graphs)
        return (
            batch,
            output,
            self.advisor.of_batch([one.structure for one, _ in batch], graphs, output),
        )

    def _predictions(
        self,
        batch: Batch,
        output: dict[str, Any],
        advice: list[LevelAdvice | None],
        levels: tuple[str, ...],
        on_failure: Callable[[Failure], None],
    ) -> Iterator[Prediction]:
        features = output["features"].cpu().numpy().astype(np.float64)
        gaps = output["band_gap"].cpu().tolist() if "band_gap" in output else [None] * len(batch)
        nearest = self.materials.query(np.nan_to_num(features), NEIGHBORS_SHOWN)
        epsilon = batch_spectra(self.config, output)
        unsure = self.uncertainty.of_batch(
            output, [source.structure.atomic_numbers for source, _ in batch], levels
        )
        for row, (source, _) in enumerate(batch):
            try:
                spectra = {
                    level: epsilon(row, level, source.id, f"predicted by {self.name}")
                    for level in levels
                }
            except SpectrumError as error:
                problem = StructureError(f"the network gave no valid spectrum: {error.problem}")
                on_failure(failure_of(problem, source.file))
                continue
            yield Prediction(
                id=source.id,
                file=source.file,
                structure=source.structure,
                spectra=spectra,
                level=highest(levels),
                band_gap=gaps[row],
                nearest=nearest[row],
                features=features[row],
                warnings=applicability_warnings(
                    source.structure, self.checkpoint.elements, nearest[row], self.materials
                ),
                bands=unsure[row].bands,
                error_estimates=unsure[row].errors,
                advice=advice[row],
            )

    def _checked_levels(self, levels: Iterable[str] | None) -> tuple[str, ...]:
        if levels is None:
            return self.levels
        chosen = (levels,) if isinstance(levels, str) else tuple(levels)
        for level in chosen:
            if level not in self.levels:
                raise ConfigurationError(
                    f"the model does not predict level {level!r}",
                    where=str(self.checkpoint.folder),
                    expected=", ".join(self.levels),
                    cure="choose one of these, or a model trained on that level",
                )
        if not chosen:
            raise ConfigurationError("no level was asked for", expected=", ".join(self.levels))
        return chosen


def _device(name: str) -> str:
    """Return a device of this machine; ``auto`` is CUDA where there is some, else the CPU."""
    import torch

    there = ["cpu"]
    if torch.cuda.is_available():
        there.append("cuda")
    if torch.backends.mps.is_available():
        there.append("mps")
    if name == "auto":
        return "cuda" if "cuda" in there else "cpu"
    kind, _, number = name.partition(":")
    known = kind in there and (not number or number.isdigit())
    if not known or (number and kind == "cuda" and int(number) >= torch.cuda.device_count()):
        raise ConfigurationError(
            f"there is no device {name!r} here",
            expected=f"auto, {', '.join(there)}",
            cure="leave the device at auto",
        )
    return name


def _at_least_single(value: Any) -> Any:
    """Return tensors of half precision, which NumPy does not know, in single."""
    import torch

    if isinstance(value, dict):
        return {name: _at_least_single(one) for name, one in value.items()}
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def _warn(failure: Failure) -> None:
    warnings.warn(f"skipped {failure.file}: {failure.reason}", stacklevel=2)
