"""A chunk of structures in, the same rows with their quantities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opalign.crystal.compiled import WORTHWHILE, load_kernels
from opalign.crystal.graph import CrystalGraph
from opalign.crystal.many import CrystalArrays, build_graphs
from opalign.errors import ConfigurationError, OpalignError, StructureError
from opalign.model.config import VectorHeadConfig
from opalign.model.elements import supported_elements
from opalign.prediction.applicability import require_describable
from opalign.prediction.arrays import BatchArrays, batch_arrays
from opalign.prediction.batches import cut_batches
from opalign.prediction.inputs import failure_of
from opalign.prediction.output import require_spectra
from opalign.prediction.predictor import LARGEST_GRAPH, Predictor
from opalign.screening.config import ScreenConfig
from opalign.screening.quantities import (
    Abilities,
    Quantity,
    checked_quantities,
    quantity,
    standard_quantities,
)
from opalign.screening.results import Layout, Status
from opalign.screening.spectra import SpectraRows
from opalign.screening.structures import Formulas, StructureFilter
from opalign.spectrum.levels import highest

#: Atoms of a cell beyond which not even its neighbours are looked for.
MOST_ATOMS = 20_000
#: Bonds and angles of one batch. Small enough for the caches of a core; a GPU is not filled by more
#: than a hundred times as many.
CPU_BUDGET, GPU_BUDGET = 60_000, 6_000_000
#: Structures of one batch, which bounds the memory of the spectra.
CPU_BATCH, GPU_BATCH = 64, 1024


@dataclass
class _Row:
    """A row on its way: what it is, and either a graph or the reason why it needs none."""

    status: Status = "ok"
    reason: str | None = None
    formula: str | None = None
    num_sites: int | None = None
    graph: CrystalGraph | None = None

    def fail(self, error: OpalignError) -> None:
        """Take an error for the reason why there is no spectrum."""
        problem = StructureError(error.problem, expected=error.expected, cure=error.cure)
        self.status, self.reason = "failed", failure_of(problem, "").reason


class Screener:
    """A model and a configuration, ready for chunks; knows no files.

    Raises ConfigurationError if a level or quantity of the configuration is none of the model's.
    """

    def __init__(self, config: ScreenConfig, predictor: Predictor) -> None:
        self.config, self.predictor = config, predictor
        self.level = _level(config, predictor)
        self.abilities = abilities_of(predictor)
        self.quantities = wanted_quantities(config, self.abilities)
        self.layout = Layout.of(config, predictor, self.level, self.quantities)
        self._condition = config.condition
        self._filter, self._formula = StructureFilter(config), Formulas()
        self._elements = predictor.config.encoder.element_table
        self._describable = frozenset(supported_elements(self._elements))
        #: Structures so far: compiled loops are loaded once that pays.
        self._seen = 0
        on_cpu = predictor.device == "cpu"
        self._budget, self._batch = (CPU_BUDGET, CPU_BATCH) if on_cpu else (GPU_BUDGET, GPU_BATCH)

    def screen(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """Return one row of :attr:`layout` for each row of ``chunk``, in its order.

        ``chunk`` is of :data:`opalign.screening.chunk.CHUNK`.
        """
        rows = self._read(chunk)
        outcome = _Outcome(len(rows), self.layout)
        waiting = [place for place, row in enumerate(rows) if row.graph is not None]
        # Of like size together, so that a batch is filled by its budget.
        waiting.sort(key=lambda place: _size(rows[place].graph))
        for places in self._batches(waiting, rows):
            self._evaluate(places, rows, outcome)
        return outcome.table(chunk, rows)

    def _read(self, chunk: pa.RecordBatch) -> list[_Row]:
        """Return the rows of a chunk, with a graph wherever the network is to be asked."""
        rows = [
            _Row() if problem is None else _Row("failed", problem)
            for problem in chunk.column("problem").to_pylist()
        ]
        columns = [_rows_of(chunk.column(name)) for name in ("lattice", "numbers", "coordinates")]
        waiting: list[_Row] = []
        crystals: list[CrystalArrays] = []
        for row, lattice, numbers, coordinates in zip(rows, *columns, strict=True):
            if row.status == "ok" and self._wanted(row, numbers):
                vectors = lattice.reshape(3, 3)
                waiting.append(row)
                crystals.append(
                    CrystalArrays(vectors, coordinates.reshape(-1, 3) @ vectors, numbers)
                )
        self._seen += len(crystals)
        if self._seen >= WORTHWHILE:
            load_kernels()
        graphs = build_graphs(crystals, self.predictor.config.graph)
        for row, graph in zip(waiting, graphs, strict=True):
            if isinstance(graph, StructureError):
                row.fail(graph)
            elif graph.size > LARGEST_GRAPH:
                row.fail(
                    StructureError(
                        f"{graph.num_atoms} atoms with {graph.num_bonds} bonds are too many",
                        expected=f"at most {LARGEST_GRAPH} bonds and angles",
                    )
                )
            else:
                row.graph = graph
        return rows

    def _wanted(self, row: _Row, numbers: NDArray[np.int32]) -> bool:
        """Tell whether the network is to be asked; write down what is known, and why not."""
        row.num_sites = len(numbers)
        try:
            row.formula = self._formula(numbers)
            if reason := self._filter.refusal(numbers):
                row.status, row.reason = "filtered", reason
                return False
            if len(numbers) > MOST_ATOMS:
                raise StructureError(
                    f"{len(numbers)} atoms are too many", expected=f"at most {MOST_ATOMS}"
                )
            if not self._describable.issuperset(present := numbers.tolist()):
                require_describable(present, self._elements, "structure")
        except OpalignError as error:
            row.fail(error)
            return False
        return True

    def _batches(self, waiting: Sequence[int], rows: Sequence[_Row]) -> list[list[int]]:
        sizes = [_size(rows[place].graph) for place in waiting]
        batches = cut_batches(sizes, self._budget, self._batch)
        return [[waiting[number] for number in batch] for batch in batches]

    def _evaluate(self, places: list[int], rows: list[_Row], outcome: _Outcome) -> None:
        graphs = [graph for place in places if (graph := rows[place].graph) is not None]
        output = self.predictor.run(graphs)
        found = batch_arrays(self.predictor.config, output, self.level)
        for place, finite in zip(places, found.finite, strict=True):
            rows[place].graph = None
            if not finite:
                rows[place].status = "failed"
                rows[
                    place
                ].reason = "the network gave no valid spectrum: its numbers are not finite"
        good = np.flatnonzero(found.finite)
        if not len(good):
            return
        values = self._quantities(found, output, graphs, good)
        kept = np.array(places)[good]
        outcome.keep(kept, values, found, good)
        if self._condition is not None:
            for place in kept[~self._condition.holds(values)]:
                rows[place].status, rows[place].reason = "filtered", "does not meet the condition"

    def _quantities(
        self,
        found: BatchArrays,
        output: Mapping[str, Any],
        graphs: Sequence[CrystalGraph],
        good: NDArray[np.int64],
    ) -> dict[str, NDArray[np.float64]]:
        seen = frozenset(self.predictor.checkpoint.elements)
        numbers = [graph.atomic_numbers for graph in graphs]
        unseen = [len(set(numbers[k].tolist()) - seen) for k in good]
        asked = {one.name for one in self.quantities}
        distances = errors = None
        if "expected_error" in asked:
            errors = self._expected_errors(output, numbers)
        if "relative_distance" in asked:
            distances = self.predictor.materials.relative_distances(found.features[good])
        spectra = SpectraRows(
            grid=self.predictor.config.grid,
            epsilon_real=found.epsilon_real[good],
            epsilon_imaginary=found.epsilon_imaginary[good],
            band_gap=None if found.band_gap is None else found.band_gap[good],
            relative_distance=distances,
            unseen_elements=np.array(unseen, dtype=np.float64),
            expected_error=None if errors is None else errors[good],
        )
        return {one.name: np.asarray(one.evaluate(spectra)) for one in self.quantities}

    def _expected_errors(
        self, output: Mapping[str, Any], numbers: Sequence[NDArray[np.int64]]
    ) -> NDArray[np.float64] | None:
        return self.predictor.uncertainty.expected_errors(output, numbers, self.level)


class _Outcome:
    """Columns of a chunk's results, filled batch by batch."""

    def __init__(self, count: int, layout: Layout) -> None:
        self.layout = layout
        self.values = {name: np.full(count, np.nan) for name in layout.quantities}
        self.lists: dict[str, list[Any]] = {name: [None] * count for name in layout.lists}

    def keep(
        self,
        places: NDArray[np.int64],
        values: dict[str, NDArray[np.float64]],
        found: BatchArrays,
        good: NDArray[np.int64],
    ) -> None:
        for name, column in values.items():
            self.values[name][places] = column
        sources = self.layout.lists
        for name, attribute in sources.items():
            rows = np.asarray(getattr(found, attribute)[good], dtype=np.float32)
            for place, row in zip(places, rows, strict=True):
                self.lists[name][place] = row

    def table(self, chunk: pa.RecordBatch, rows: Sequence[_Row]) -> pa.RecordBatch:
        columns: dict[str, pa.Array] = {
            "row": chunk.column("row"),
            "material_id": chunk.column("material_id"),
            "formula": pa.array([row.formula for row in rows], pa.string()),
            "num_sites": pa.array([row.num_sites for row in rows], pa.int32()),
            "status": pa.array([row.status for row in rows], pa.string()),
            "reason": pa.array([row.reason for row in rows], pa.string()),
        }
        for name, values in self.values.items():
            # What is not a number does not exist for this material: null, as in our tables.
            columns[name] = pa.array(values, from_pandas=True)
        for name, lists in self.lists.items():
            columns[name] = pa.array(lists, pa.list_(pa.float32()))
        schema = self.layout.schema
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def load_predictor(config: ScreenConfig, device: str = "auto") -> Predictor:
    """Load the model of a configuration in the precision that it asks for; compiled on a GPU."""
    predictor = Predictor.load(config.model, device, config.precision)
    if predictor.device.startswith("cuda"):
        predictor.compile()
    return predictor


def abilities_of(predictor: Predictor) -> Abilities:
    """Return what a model can tell, by its head and its checkpoint."""
    head = predictor.config.head
    return Abilities(
        grid=predictor.config.grid,
        broadening=predictor.config.broadening,
        band_gap=not isinstance(head, VectorHeadConfig),
        reference=len(predictor.materials.ids) > 1,
        uncertainty=predictor.checkpoint.calibration is not None,
    )


def wanted_quantities(config: ScreenConfig, abilities: Abilities) -> list[Quantity]:
    """Return the quantities asked for, and those that the condition and the ranking speak of.

    Raises ConfigurationError for one that does not exist or that the model cannot give.
    """
    names = list(config.quantities) or standard_quantities(abilities)
    if config.condition is not None:
        names += config.condition.names
    if config.rank_by is not None:
        names.append(config.rank_by)
    for name in names:
        quantity(name)
    return checked_quantities(names, abilities)


def _level(config: ScreenConfig, predictor: Predictor) -> str:
    require_spectra(predictor.config)
    levels = predictor.levels
    if config.level is None:
        return highest(levels)
    if config.level not in levels:
        raise ConfigurationError(
            f"the model does not predict level {config.level!r}",
            where=config.model,
            expected=", ".join(levels),
            cure="choose one of these, or a model trained on that level",
        )
    return config.level


def _rows_of(column: pa.Array) -> list[NDArray[Any]]:
    """Return the values of each list; nothing where it is null."""
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    values = column.flatten().to_numpy(zero_copy_only=False)
    return np.split(values, np.cumsum(lengths)[:-1]) if len(column) else []


def _size(graph: CrystalGraph | None) -> int:
    return 0 if graph is None else graph.size
