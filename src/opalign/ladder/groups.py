"""Materials in groups of their composition and chemistry, and how a number differs between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opalign.dataset.table import SpectraTable
from opalign.ladder.scores import INTERVAL, REPLICATES

#: Formulas that make a group worth a line.
FEWEST = 3


def composition(table: SpectraTable) -> pd.DataFrame:
    """Elements of each material (tuple) and the most electronegative of them, by id."""
    from pymatgen.core.periodic_table import Element

    rows = []
    for row in range(len(table)):
        numbers = sorted({int(z) for z in table.arrays(row).atomic_numbers})
        elements = [Element.from_Z(z) for z in numbers]
        anion = max(elements, key=lambda element: float(np.nan_to_num(element.X)))
        rows.append(
            {"element": tuple(element.symbol for element in elements), "anion": anion.symbol}
        )
    return pd.DataFrame(rows, index=pd.Index(table.ids, name="material_id"))


def group_table(
    frame: pd.DataFrame, properties: Sequence[str], value: str = "similarity"
) -> pd.DataFrame:
    """Mean of ``value`` in each group and its difference to all others, the lowest first.

    One formula is one observation: its materials are averaged. The interval (95 %) is a bootstrap
    over formulas, within the group and within the others.

    Columns: ``property``, ``group``, ``formulas``, ``mean``, ``difference``, ``low``, ``high``.
    """
    rows = []
    for name in properties:
        members = pd.Series([_members(entry) for entry in frame[name]], index=frame.index)
        exploded = frame.assign(group=members).explode("group")
        exploded = exploded.dropna(subset=["group"])
        for group, part in exploded.groupby("group"):
            inside = part.groupby("formula")[value].mean()
            outside = frame[~frame["formula"].isin(inside.index)].groupby("formula")[value].mean()
            if len(inside) < FEWEST or len(outside) < FEWEST:
                continue
            low, high = _difference(inside.to_numpy(), outside.to_numpy())
            rows.append(
                {
                    "property": name,
                    "group": group,
                    "formulas": len(inside),
                    "mean": inside.mean(),
                    "difference": inside.mean() - outside.mean(),
                    "low": low,
                    "high": high,
                }
            )
    columns = ["property", "group", "formulas", "mean", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns).sort_values("difference", ignore_index=True)


def _members(entry: object) -> list[str]:
    """Return the groups that one entry names: each element of a tuple, once."""
    if isinstance(entry, Iterable) and not isinstance(entry, str):
        return sorted({str(item) for item in entry})
    return [] if entry is None or entry != entry else [str(entry)]


def _difference(
    inside: NDArray[np.float64], outside: NDArray[np.float64], seed: int = 0
) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    means = [
        values[generator.integers(0, len(values), (REPLICATES, len(values)))].mean(axis=1)
        for values in (inside, outside)
    ]
    low, high = np.quantile(means[0] - means[1], INTERVAL)
    return float(low), float(high)
