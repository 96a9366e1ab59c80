"""Checks on named tensors from a file before they become the weights of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from opalign.errors import CheckpointError

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def common_dtype(tensors: Mapping[str, Tensor], where: str) -> str:
    """Name of the one dtype, float32 or float64, of all tensors that hold real numbers."""
    names = {str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.is_floating_point()}
    if len(names) != 1 or not names <= set(DTYPES):
        raise CheckpointError(
            f"the weights are {', '.join(sorted(names)) or 'no real numbers'}",
            where=where,
            expected=f"one of {', '.join(DTYPES)}, the same for all",
        )
    return names.pop()


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise CheckpointError where a tensor holds NaN or infinity."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{name} holds numbers that are not finite",
                where=where,
                cure="the training has diverged: train again with a lower learning rate",
            )


def check_shapes(
    found: Mapping[str, Sequence[int]], expected: Mapping[str, Tensor], where: str
) -> None:
    """Raise CheckpointError unless names and shapes are those of the ``expected`` tensors."""
    for kind, names in (
        ("missing", expected.keys() - found.keys()),
        ("unexpected", found.keys() - expected.keys()),
    ):
        if names:
            listed = ", ".join(sorted(names)[:5]) + (", …" if len(names) > 5 else "")
            raise CheckpointError(
                f"{len(names)} tensors are {kind}: {listed}",
                where=where,
                expected="the tensors of the configured network",
            )
    for name, tensor in expected.items():
        if tuple(found[name]) != tuple(tensor.shape):
            raise CheckpointError(
                f"{name} has shape {tuple(found[name])}",
                where=where,
                expected=f"{tuple(tensor.shape)}, as the configuration says",
            )
