"""One implementation for NumPy arrays and torch tensors: dispatch and cached linear operators."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.grid import EnergyGrid

ArrayT = TypeVar("ArrayT")
"""A NumPy array or a torch tensor; what comes in is what goes out."""


def is_tensor(values: object) -> bool:
    """Whether ``values`` is a torch tensor; never imports torch, since a tensor proves it is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def namespace(*values: object) -> Any:
    """Return the module, ``torch`` or ``numpy``, whose functions take all ``values``."""
    return sys.modules["torch"] if any(is_tensor(value) for value in values) else np


def require_grid_length(values: Any, grid: EnergyGrid, name: str = "values") -> None:
    """Raise :class:`SpectrumError` unless the last axis of ``values`` runs over ``grid``."""
    shape = tuple(np.shape(values))
    if not shape or shape[-1] != grid.num:
        raise SpectrumError(
            f"{name} of shape {shape} do not lie on the energy grid",
            expected=f"a last axis of {grid.num} points ({grid})",
        )


@lru_cache(maxsize=64)
def _operator_tensor(
    factory: Callable[..., np.ndarray], arguments: tuple[Hashable, ...], dtype: Any, device: Any
) -> Any:
    import torch

    # A tensor born in inference mode could never enter a later training step.
    with torch.inference_mode(False):
        return torch.tensor(factory(*arguments), dtype=dtype, device=device)


def constant_like(values: Any, factory: Callable[..., np.ndarray], *arguments: Hashable) -> Any:
    """Return ``factory(*arguments)`` as a tensor of the dtype and on the device of ``values``.

    Made once and kept: copied to a GPU in every step, it would make the GPU wait for the host.
    """
    return _operator_tensor(factory, arguments, values.dtype, values.device)


def trapezoidal_weights(grid: EnergyGrid) -> np.ndarray:
    """Weights of the trapezoidal rule on ``grid`` (n,) in eV, for :func:`constant_like`."""
    return grid.weights


def integrate(values: Any, grid: EnergyGrid) -> Any:
    """Integrate ``values`` (..., n) over ``grid`` by the trapezoidal rule: (...)."""
    if is_tensor(values):
        return (values * constant_like(values, trapezoidal_weights, grid)).sum(-1)
    return np.asarray(values) @ grid.weights


def apply_operator(
    values: ArrayT, factory: Callable[..., np.ndarray], *arguments: Hashable
) -> ArrayT:
    """Apply the matrix ``factory(*arguments)`` (n, n) along the last axis of ``values`` (..., n).

    ``factory`` is expected to cache its matrix; for tensors a copy per dtype and device is kept
    here. Half-precision tensors are taken up to float32, in and out of autocast, because the
    matrices hold differences that half precision cannot carry.
    """
    if not is_tensor(values):
        return cast(ArrayT, np.asarray(values) @ factory(*arguments).T)
    import torch

    tensor = cast(torch.Tensor, values)
    with torch.autocast(device_type=tensor.device.type, enabled=False):
        if tensor.dtype not in (torch.float32, torch.float64):
            tensor = tensor.to(torch.float32)
        matrix = _operator_tensor(factory, arguments, tensor.dtype, tensor.device)
        return cast(ArrayT, tensor @ matrix.T)
