"""Several networks of one configuration: their runs, their mean predictions, their checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.errors import ConfigurationError
from opalign.model.ensemble import MOST_MEMBERS
from opalign.training.config import TrainingConfig


def member_configs(name: str, config: TrainingConfig, members: int) -> dict[str, TrainingConfig]:
    """Return the configurations of an ensemble's networks, which differ in their seeds, by name.

    The first is ``config`` itself under ``name``, so that its runs serve alone as well.
    """
    if not 1 <= members <= MOST_MEMBERS:
        raise ConfigurationError(
            f"an ensemble of {members} networks", expected=f"1 to {MOST_MEMBERS}"
        )
    seeds = range(config.seed, config.seed + members)
    return {
        name if seed == config.seed else f"{name}-seed{seed}": config.model_copy(
            update={"seed": seed}
        )
        for seed in seeds
    }


def ensemble_name(name: str) -> str:
    """Name under which the mean of a method's members is scored."""
    return f"{name}-ensemble"


def expand(
    configs: Mapping[str, TrainingConfig], members: int
) -> tuple[dict[str, TrainingConfig], dict[str, tuple[str, ...]]]:
    """Return the configurations of all members, and the names of the members of each ensemble.

    Raises
    ------
    ConfigurationError
        A configuration has the name of another one's member.
    """
    all_configs: dict[str, TrainingConfig] = {}
    ensembles: dict[str, tuple[str, ...]] = {}
    for name, config in configs.items():
        found = member_configs(name, config, members)
        if len(found) > 1:
            ensembles[ensemble_name(name)] = tuple(found)
        taken = (found.keys() | {ensemble_name(name)}) & (all_configs.keys() | configs.keys())
        if taken - {name}:
            raise ConfigurationError(
                f"a member of the ensemble {name!r} would be called {min(taken - {name})!r}, as "
                "another configuration is",
                cure="rename that configuration's file",
            )
        all_configs |= found
    return all_configs, ensembles


def average_predictions(path: Path, tables: Sequence[SpectraTable]) -> Path:
    """Write the mean of several tables of predictions of the same materials and levels.

    Raises
    ------
    ConfigurationError
        The tables differ in materials, grid or levels.
    """
    first = tables[0]
    for table in tables[1:]:
        if (table.ids, table.grid, table.levels) != (first.ids, first.grid, first.levels):
            raise ConfigurationError(
                "the predictions of an ensemble's members do not match",
                where=f"{first.path}, {table.path}",
                cure="delete both and repeat the command",
            )
    averaged = [*first.schema.spectrum_columns(), *first.schema.scalars]

    def rows() -> Iterator[dict[str, Any]]:
        for together in zip(*(table.rows() for table in tables), strict=True):
            row = dict(together[0])
            for column in averaged:
                row[column] = np.mean([np.asarray(one[column], dtype=float) for one in together], 0)
            yield row

    return write_table(path, first.schema, rows())
