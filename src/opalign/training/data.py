"""From tables to batches: graphs built once, targets on the grid, a seeded order of every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from opalign.crystal import many
from opalign.crystal.cache import cached_graphs
from opalign.crystal.compiled import kernels_for
from opalign.crystal.graph import CrystalGraph, collate
from opalign.crystal.many import CrystalArrays
from opalign.crystal.packed import PackedGraphs
from opalign.crystal.settings import GraphSettings
from opalign.dataset.formula import reduced_formula
from opalign.dataset.split import Split, kfold_by_formula, read_ids, split_by_formula
from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError, DatasetError
from opalign.model.config import ModelConfig, SpectralTarget
from opalign.spectrum.grid import EnergyGrid
from opalign.training import distributed
from opalign.training.batches import EpochBatches, work_of
from opalign.training.config import (
    Batching,
    DataConfig,
    FileSplit,
    FoldSplit,
    LossConfig,
    PretrainingConfig,
    SplitConfig,
)
from opalign.training.spectra import effective_broadening, read_spectra, resample

BAND_GAP = "band_gap"
STATIC_DIELECTRIC = "static_dielectric"
SIMILARITY = "similarity"

Batch = dict[str, Any]
"""``graph``: tensors of the batch; ``targets``: name → tensor with one row per structure."""


@dataclass(frozen=True)
class Materials:
    """Graphs and targets of materials, row by row.

    ``targets``: ``epsilon_imaginary`` or ``log_absorption`` (rows, L, n), ``band_gap`` (rows,) in
    eV, ``static_dielectric`` (rows, L), ``similarity`` (rows,), with NaN where a value is unknown.
    ``inputs``: what a network is given beside the graph, rows first. ``reduced``: batches have what
    is alike in a crystal once.
    """

    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    graphs: Sequence[CrystalGraph]
    targets: dict[str, Tensor]
    inputs: dict[str, Tensor] = field(default_factory=dict)
    reduced: bool = True

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, ids: Iterable[str]) -> Materials:
        """Return the materials of these ids, in the order given."""
        place = {material_id: row for row, material_id in enumerate(self.ids)}
        rows = [place[material_id] for material_id in ids]
        return Materials(
            tuple(self.ids[row] for row in rows),
            tuple(self.formulas[row] for row in rows),
            _select(self.graphs, rows),
            {name: values[rows] for name, values in self.targets.items()},
            {name: values[rows] for name, values in self.inputs.items()},
            self.reduced,
        )


class _Rows(Dataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, row: int) -> int:
        return row


def batch_of(materials: Materials, rows: Sequence[int]) -> Batch:
    """Graphs and targets of some rows as one batch."""
    graph = collate([materials.graphs[row] for row in rows], reduced=materials.reduced)
    inputs = {name: values[list(rows)] for name, values in materials.inputs.items()}
    return {
        "graph": {**graph, **inputs},
        "targets": {name: values[list(rows)] for name, values in materials.targets.items()},
    }


def moved(batch: Batch, device: torch.device) -> Batch:
    """Return a batch on a device."""
    if device.type == "cpu":
        return batch
    return {
        part: {name: value.to(device) for name, value in values.items()}
        for part, values in batch.items()
    }


def loader(
    materials: Materials,
    batch_size: int,
    *,
    shuffle_seed: int | None = None,
    batching: Batching = "count",
    only_rows: bool = False,
) -> DataLoader[Any]:
    """Batches of all materials, none dropped; shuffled anew in every epoch if a seed is given.

    With ``only_rows`` a batch is ``{"rows": list of row numbers}``, for who has the materials.

    Shuffled ones are of ``batch_size`` over all processes, of which each gets its share.

    Collating small graphs takes about a millisecond, less than handing them between processes, so
    there are no worker processes.
    """
    rows, pin = _Rows(len(materials)), torch.cuda.is_available()

    def collate_rows(chosen: list[int]) -> Batch:
        if only_rows:
            return {"rows": chosen}
        if chosen[0] >= 0:
            return batch_of(materials, chosen)
        batch = batch_of(materials, [~row for row in chosen])
        # Nothing is known of them, so that they count for nothing.
        unknown = {name: value.fill_(torch.nan) for name, value in batch["targets"].items()}
        return {**batch, "targets": unknown}

    if shuffle_seed is None:
        return DataLoader(rows, batch_size, collate_fn=collate_rows, pin_memory=pin)
    even = batching == "angles"
    work = work_of(materials.graphs, reduced=materials.reduced) if even else None
    batches = EpochBatches(
        len(materials), batch_size, shuffle_seed, work, distributed.own(), distributed.count()
    )
    return DataLoader(rows, batch_sampler=batches, collate_fn=collate_rows, pin_memory=pin)


def open_tables(paths: Sequence[Path]) -> list[SpectraTable]:
    """Open tables; DatasetError if a row breaks its schema or an id stands in two of them."""
    tables = [SpectraTable.open(path) for path in paths]
    for table in tables:
        # Once a run, and cheap beside it: one NaN would spoil the weights without a word.
        table.validate()
    home: dict[str, Path] = {}
    for table in tables:
        for material_id in table.ids:
            if material_id in home:
                raise DatasetError(
                    f"{material_id!r} is also in {home[material_id]}",
                    where=str(table.path),
                    cure="an id names one material: leave it out of one of the tables",
                )
            home[material_id] = table.path
    return tables


def make_split(config: SplitConfig, ids: Sequence[str], formulas: Sequence[str]) -> Split:
    """Make the split that is asked for, and check it against the materials there are."""
    if isinstance(config, FileSplit):
        split = Split.load(config.file)
    elif isinstance(config, FoldSplit):
        folds = kfold_by_formula(
            ids, formulas, config.folds, config.seed, config.validation_fraction
        )
        split = folds[config.fold - 1]
    else:
        split = split_by_formula(ids, formulas, config.fractions, config.seed)
    split.check(ids, formulas)
    if not split.train:
        raise DatasetError("no material is left to train on", where="split")
    return split


def training_grid(grid: EnergyGrid | None, tables: Sequence[SpectraTable]) -> EnergyGrid:
    """Grid to train on: the one asked for, or that of the first table."""
    return tables[0].grid if grid is None else grid


@dataclass(frozen=True)
class _Crystals:
    """Lattice, positions and atomic numbers of all rows of all tables, as often as asked for."""

    tables: Sequence[SpectraTable]

    def __iter__(self) -> Iterator[CrystalArrays]:
        for table in self.tables:
            for row in range(len(table)):
                lattice, numbers, fractional = table.arrays(row)
                yield CrystalArrays(lattice, fractional @ lattice, numbers)


def build_graphs(
    tables: Sequence[SpectraTable], settings: GraphSettings, cache: Path | None
) -> Sequence[CrystalGraph]:
    """Graphs of all rows of all tables; a structure that makes none is named with its id.

    With a ``cache``, a folder, they lie in one file there, and in memory only while they are used.
    """
    labels = [f"{material_id} of {table.path}" for table in tables for material_id in table.ids]
    # Batches are made with the compiled loops as well, in every epoch.
    kernels_for(len(labels))
    crystals, threads = _Crystals(tables), torch.get_num_threads()
    if cache is not None:
        return cached_graphs(cache, crystals, settings, labels=labels, threads=threads)
    outcomes = many.build_graphs(crystals, settings, threads=threads)
    return tuple(many.require_graphs(outcomes, labels))


def load_materials(
    tables: Sequence[SpectraTable], model: ModelConfig, data: DataConfig, loss: LossConfig
) -> Materials:
    """Graphs and targets of all rows of the tables, as the loss wants them.

    Raises
    ------
    DatasetError, SpectrumError
        A table lacks a level or scalar, or has other spectra than asked for.
    """
    targets: dict[str, NDArray[np.float64]] = {
        loss.target: _over_tables(tables, model, _spectral_target(loss.target))
    }
    if loss.band_gap_weight:
        targets[BAND_GAP] = np.concatenate([t.scalar(loss.band_gap_column) for t in tables])
    if loss.static_dielectric_weight:
        targets[STATIC_DIELECTRIC] = _over_tables(tables, model, _static_dielectric)
    ids = tuple(material_id for table in tables for material_id in table.ids)
    for level, allowed in data.label_subset.items():
        unused = ~np.isin(ids, sorted(_label_ids(level, allowed, ids)))
        for name in (loss.target, STATIC_DIELECTRIC):
            if name in targets:
                targets[name][unused, model.levels.index(level)] = np.nan
    return Materials(
        ids=ids,
        formulas=tuple(formula for table in tables for formula in table.formulas),
        graphs=build_graphs(tables, model.graph, data.graph_cache),
        targets={name: _tensor(values) for name, values in targets.items()},
        reduced=data.symmetry_reduced and not model.trains_on_every_atom,
    )


def load_pretraining(
    config: PretrainingConfig,
    model: ModelConfig,
    held_out: Iterable[str],
    cache: Path | None,
    *,
    symmetry_reduced: bool = True,
) -> Materials:
    """Graphs and scalars of the pretraining table without the ``held_out`` reduced formulas."""
    (table,) = open_tables([config.table])
    excluded = {reduced_formula(formula) for formula in held_out}
    columns = {
        BAND_GAP: config.band_gap_column,
        STATIC_DIELECTRIC: config.static_dielectric_column,
    }
    values = {name: table.scalar(column) for name, column in columns.items() if column}
    known = ~np.all([np.isnan(column) for column in values.values()], axis=0)
    keep = [
        row
        for row, formula in enumerate(table.formulas)
        if known[row]
        and formula not in excluded
        and (config.max_sites is None or len(table.arrays(row).atomic_numbers) <= config.max_sites)
    ]
    if not keep:
        raise ConfigurationError(
            "no material is left for pretraining",
            where=str(config.table),
            cure="raise pretraining.max_sites, or give a table with other formulas than the test's",
        )
    ids = table.ids
    chosen = table.select([ids[row] for row in keep])
    targets = {name: _tensor(column[keep]) for name, column in values.items()}
    if STATIC_DIELECTRIC in targets:
        # One number for every level: what is known of a level is the same at this stage.
        targets[STATIC_DIELECTRIC] = targets[STATIC_DIELECTRIC].unsqueeze(1)
    return Materials(
        ids=tuple(chosen.ids),
        formulas=tuple(chosen.formulas),
        graphs=build_graphs([chosen], model.graph, cache),
        targets=targets,
        reduced=symmetry_reduced and not model.trains_on_every_atom,
    )


def _label_ids(level: str, allowed: Path | tuple[str, ...], ids: Sequence[str]) -> set[str]:
    """Ids whose spectrum of a level may be used; DatasetError if one is in no table."""
    where = str(allowed) if isinstance(allowed, Path) else f"data.label_subset.{level}"
    chosen = set(read_ids(allowed))
    if unknown := sorted(chosen - set(ids)):
        raise DatasetError(
            f"{len(unknown)} ids are in no table, the first is {unknown[0]!r}",
            where=where,
            cure="name materials of data.tables",
        )
    return chosen


def _select(graphs: Sequence[CrystalGraph], rows: Sequence[int]) -> Sequence[CrystalGraph]:
    """Return some graphs, those in a file without reading them."""
    if isinstance(graphs, PackedGraphs):
        return graphs.select(rows)
    return tuple(graphs[row] for row in rows)


def _over_tables(
    tables: Sequence[SpectraTable], model: ModelConfig, read: Any
) -> NDArray[np.float64]:
    """Stack ``read(table, level, model)`` over levels (axis 1) and tables (axis 0).

    NaN for a level that a table lacks, if another has it.
    """
    known = {level for table in tables for level in table.levels}

    def values(table: SpectraTable, level: str) -> NDArray[np.float64]:
        if level in table.levels or level not in known:
            return read(table, level, model)
        other = next(name for name in model.levels if name in table.levels)
        return np.full_like(read(table, other, model), np.nan)

    for table in tables:
        if not set(model.levels) & set(table.levels):
            raise DatasetError(
                f"has none of the levels {', '.join(model.levels)}",
                where=str(table.path),
                expected=", ".join(table.levels) or "a table with spectra",
            )
    return np.concatenate(
        [np.stack([values(table, level) for level in model.levels], axis=1) for table in tables]
    )


def _spectral_target(target: SpectralTarget) -> Any:
    def read(table: SpectraTable, level: str, model: ModelConfig) -> NDArray[np.float64]:
        if target == "epsilon_imaginary":
            return read_spectra(table, level, model.broadening, model.grid).imaginary
        info = table.levels.get(level)
        if info is not None and model.broadening in (
            info.broadening,
            effective_broadening(info.broadening, table.grid),
        ):
            values = np.asarray(table.log_absorption(level))
            return resample(values, table.grid, model.grid, str(table.path))
        return read_spectra(table, level, model.broadening, model.grid).log_absorption()

    return read


def _static_dielectric(table: SpectraTable, level: str, model: ModelConfig) -> NDArray[np.float64]:
    spectra = read_spectra(table, level, model.broadening, model.grid)
    if not spectra.real_known or spectra.grid.start > 0.0:
        raise DatasetError(
            f"level {level!r} has no ε₁(0) to learn",
            where=str(table.path),
            expected="Re ε on a grid from 0 eV",
            cure="set loss.static_dielectric_weight to 0",
        )
    return spectra.static_dielectric


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
