"""Tensors of other packages under their own names, moved into a network of this one."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from opalign.errors import CheckpointError
from opalign.model.checkpoint import build_model
from opalign.model.config import ModelConfig
from opalign.model.layers import Normalization
from opalign.model.network import SpectrumModel
from opalign.model.weights import DTYPES, check_finite, check_shapes, common_dtype

WeightSource = str | os.PathLike[str] | Mapping[str, Tensor]

#: Bytes beyond which a file of weights cannot be what it claims to be.
_LARGEST_FILE = 2 << 30
#: Keys under which training scripts keep the weights beside optimiser states.
_WRAPPERS = ("model", "state_dict", "model_state_dict")
_CURE = "check that the configuration is the one these weights were trained with"


@dataclass(frozen=True, eq=False)
class Converted:
    """A network with the weights of another package, in evaluation mode."""

    model: SpectrumModel
    dropped: tuple[str, ...]
    """Names of tensors that were read and left out, since no spectrum depends on them."""


def read_tensors(source: WeightSource) -> tuple[dict[str, Tensor], str]:
    """Read named tensors, and say where from; a training script's wrapping is taken off.

    Raises
    ------
    CheckpointError
        If the file is missing, too large, or holds something else than tensors.
    """
    content: Any = source if isinstance(source, Mapping) else _read_file(Path(source))
    where = "state dict" if isinstance(source, Mapping) else str(source)
    for name in _WRAPPERS:
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError("this is not a mapping of names to tensors", where=where)
    # Prefix of torch's parallel wrappers.
    tensors = {str(k).removeprefix("module."): v.detach().cpu() for k, v in content.items()}
    check_finite(tensors, where)
    return tensors, where


def _read_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise CheckpointError("there is no such file", where=str(path))
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(member.file_size for member in archive.infolist()))
    if size > _LARGEST_FILE:
        raise CheckpointError(
            f"the file holds {size} bytes", where=str(path), expected=f"at most {_LARGEST_FILE}"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged or hostile file may provoke any error in torch's reader.
    except Exception as error:
        raise CheckpointError(
            f"the weights cannot be read: {str(error).strip().splitlines()[0]}",
            where=str(path),
            expected="a .safetensors file, or a .pt file of tensors alone",
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"the file holds a {type(content).__name__}", where=str(path), expected="a state dict"
        )
    return content


class Transfer:
    """Moves tensors of one layout into the names of another, and knows what is left."""

    def __init__(self, tensors: Mapping[str, Tensor], config: ModelConfig, where: str) -> None:
        self.tensors, self.where = tensors, where
        self.left = set(tensors)
        with torch.random.fork_rng(devices=[]):
            self.model = build_model(config, DTYPES[common_dtype(tensors, where)])
        self.expected = self.model.state_dict()
        self.state: dict[str, Tensor] = {}
        self.dropped: list[str] = []

    def give(
        self, ours: str, *theirs: str, convert: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Make ``ours`` of the concatenated ``theirs``; drop them if this network has no ``ours``.

        It has none where an update would be read by nobody.
        """
        missing = [name for name in theirs if name not in self.tensors]
        if missing:
            raise CheckpointError(
                f"{', '.join(missing)} is missing",
                where=self.where,
                cure=_CURE,
            )
        self.left.difference_update(theirs)
        if ours not in self.expected:
            self.dropped += theirs
            return
        tensor = (
            torch.cat([self.tensors[name] for name in theirs])
            if len(theirs) > 1
            else self.tensors[theirs[0]]
        )
        self.state[ours] = tensor if convert is None else convert(tensor)

    def linear(self, ours: str, *theirs: str) -> None:
        """Make one linear layer of several with the same input."""
        for part in ("weight", "bias"):
            self.give(f"{ours}.{part}", *(f"{name}.{part}" for name in theirs))

    def norm(self, ours: str, theirs: str, kind: Normalization) -> None:
        """Move a normalisation, running statistics included."""
        parts = ["weight", "bias"]
        if kind == "batch":
            parts += ["running_mean", "running_var", "num_batches_tracked"]
        for part in parts:
            self.give(f"{ours}.{part}", f"{theirs}.{part}")

    def perceptron(self, ours: str, theirs: str) -> None:
        """Pair the linear layers under two prefixes in the order of the numbers in their names."""
        wanted, found = (
            _linear_layers(names, prefix)
            for names, prefix in ((self.expected, ours), (self.tensors, theirs))
        )
        if len(wanted) != len(found):
            raise CheckpointError(
                f"there are {len(found)} linear layers under {theirs!r}",
                where=self.where,
                expected=f"{len(wanted)}, as the configuration says",
            )
        for target, source in zip(wanted, found, strict=True):
            self.linear(target, source)

    def drop(self, *prefixes: str) -> None:
        """Leave out what begins with one of the prefixes, if it is there."""
        known = sorted(name for name in self.left if name.startswith(prefixes))
        self.left.difference_update(known)
        self.dropped += known

    def finish(self) -> Converted:
        """Put the tensors into the network; raises CheckpointError if one is unknown or misfits."""
        if self.left:
            listed = ", ".join(sorted(self.left)[:5]) + (", …" if len(self.left) > 5 else "")
            raise CheckpointError(
                f"{len(self.left)} tensors are unknown: {listed}",
                where=self.where,
                cure=_CURE,
            )
        kept = {
            name: value
            for name, value in self.expected.items()
            if name.startswith("encoder.bond_basis.")
        }
        state = {**kept, **self.state}
        check_shapes(
            {name: value.shape for name, value in state.items()}, self.expected, self.where
        )
        self.model.load_state_dict(state)
        return Converted(self.model.eval(), tuple(dict.fromkeys(self.dropped)))


def _linear_layers(names: Iterable[str], prefix: str) -> list[str]:
    """Names, less ``.weight``, of the layers at or under a prefix, by the numbers in them."""
    layers = {
        name.removesuffix(".weight")
        for name in names
        if name.endswith(".weight") and name.startswith(f"{prefix}.")
    }
    return sorted(layers, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
