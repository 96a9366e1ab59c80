"""Spectra that are only learned from: tables whose materials are never held out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from opalign.dataset.formula import reduced_formula
from opalign.dataset.table import SpectraTable
from opalign.model.config import ModelConfig
from opalign.training.config import DataConfig, LossConfig
from opalign.training.data import Materials, load_materials, open_tables


def open_further(data: DataConfig) -> list[SpectraTable]:
    """Open the tables that only train; DatasetError if an id stands in one of the others too."""
    return open_tables([*data.tables, *data.training_tables])[len(data.tables) :]


def with_further(
    training: Materials,
    data: DataConfig,
    model: ModelConfig,
    loss: LossConfig,
    held_out: Iterable[str],
) -> Materials:
    """Append the materials of ``data.training_tables`` without the ``held_out`` formulas.

    Raises
    ------
    DatasetError, SpectrumError
        A table lacks a level or scalar, or an id of it is taken.
    """
    if not data.training_tables:
        return training
    found = load_materials(open_further(data), model, data, loss)
    excluded = {reduced_formula(formula) for formula in held_out}
    more = found.select(
        material_id
        for material_id, formula in zip(found.ids, found.formulas, strict=True)
        if formula not in excluded
    )
    return Materials(
        training.ids + more.ids,
        training.formulas + more.formulas,
        (*training.graphs, *more.graphs),
        _joined(training.targets, more.targets),
        _joined(training.inputs, more.inputs),
        training.reduced,
    )


def _joined(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([values, second[name]]) for name, values in first.items()}
