"""The six components of a symmetric tensor by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

COMPONENTS = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "xy": (0, 1), "yz": (1, 2), "xz": (0, 2)}
"""Name → row and column."""


def tensor_from_components(components: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the complex symmetric tensor (n, 3, 3) of its six components (n,)."""
    tensor = np.empty((len(components["xx"]), 3, 3), dtype=complex)
    for name, (row, column) in COMPONENTS.items():
        tensor[:, row, column] = tensor[:, column, row] = components[name]
    return tensor
