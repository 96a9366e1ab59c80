"""Checkpoints: a folder that holds a network and everything needed to use and to judge it.

``config.json``
    Format version, :class:`ModelConfig`, elements seen in training, what the training says of
    itself, and size and SHA-256 of every other file.
``model.safetensors``
    Weights and buffers; of all members, where the checkpoint is an ensemble.
``metrics.json``, ``splits.json``
    Figures of merit; material ids of the training, validation and test sets.
``reference.parquet``
    Optional: ids, formulas and pooled features of the training materials.
``calibration.json``
    Optional: what turns the spread of an ensemble into bands (:mod:`opalign.model.calibration`).
``README.md``
    The model card.
``advice``
    Optional: a folder with a checkpoint of its own, which says how much the choice of the level of
    theory changes the spectrum.

Nothing is pickled, and a folder from a stranger is read with care: sizes, hashes and shapes are
checked before memory is given to what they promise.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from opalign.errors import CheckpointError, StorageError
from opalign.model.calibration import Calibration, read_calibration
from opalign.model.config import AlignnConfig, ModelConfig
from opalign.model.elements import supported_elements
from opalign.model.ensemble import EnsembleModel, Network, members_of
from opalign.model.manifest import (
    ADVICE,
    CALIBRATION,
    CARD,
    CONFIG,
    METRICS,
    REFERENCE,
    SPLITS,
    WEIGHTS,
    Manifest,
    plain,
    read_json,
    read_manifest,
    record_files,
    write_json,
    write_manifest,
)
from opalign.model.network import SpectrumModel
from opalign.model.reference import Reference, read_reference, write_reference
from opalign.model.weights import DTYPES, check_finite, check_shapes, common_dtype

#: Energies beyond which a grid is a mistake: the operators on it are dense matrices.
_LARGEST_GRID = 20_001
#: Features or basis functions beyond which a configuration is a mistake, or worse.
_LARGEST_SIZE = 1 << 16


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network read from a checkpoint folder, in evaluation mode, on the CPU."""

    folder: Path
    identifier: str
    """Twelve hexadecimal digits of the SHA-256 of network and weights: of what predicts."""
    model: Network
    """One network, or an ensemble of several."""
    config: ModelConfig
    elements: tuple[int, ...]
    """Atomic numbers seen in training, ascending."""
    metrics: dict[str, Any]
    splits: dict[str, Any]
    reference: Reference | None
    training: dict[str, Any]
    """What the training says of itself: data sources, licence, settings."""
    card: str
    opalign_version: str
    dtype: torch.dtype
    members: int = 1
    """Number of networks."""
    calibration: Calibration | None = None
    """None where the model was not calibrated: it then predicts without bands."""

    @property
    def advice(self) -> Path | None:
        """Folder of the model that advises on levels of theory, None where there is none."""
        folder = self.folder / ADVICE
        return folder if (folder / CONFIG).is_file() else None


def build_model(config: ModelConfig, dtype: torch.dtype = torch.float32) -> SpectrumModel:
    """Return a new network whose weights *and* fixed tables have this ``dtype``.

    ``SpectrumModel(config).double()`` would keep tables that were rounded to single precision.
    """
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return SpectrumModel(config)
    finally:
        torch.set_default_dtype(previous)


def copy_model(model: Network, dtype: torch.dtype) -> Network:
    """Return the same network, or ensemble, with weights and fixed tables of this ``dtype``."""
    members = [build_model(model.config, dtype) for _ in members_of(model)]
    copy = members[0] if isinstance(model, SpectrumModel) else EnsembleModel(members)
    copy.load_state_dict(model.state_dict())
    return copy


def save_checkpoint(
    folder: str | os.PathLike[str],
    model: Network,
    *,
    elements: Iterable[int],
    metrics: Mapping[str, Any],
    splits: Mapping[str, Any],
    card: str,
    reference: Reference | None = None,
    training: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
    advice: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a checkpoint; it stands at ``folder`` whole, or not at all.

    Parameters
    ----------
    model
        One network, or an ensemble.
    elements
        Atomic numbers seen in training.
    metrics, splits, training
        Mappings of what JSON can hold; numbers that are not finite become null.
    card
        Markdown: what the model is for, what it was trained on, how well it does.
    reference
        Training materials with features of the model's size, for nearest neighbours.
    calibration
        What turns the spread of the members into bands.
    advice
        Checkpoint of a model that advises on levels of theory; a copy of it goes into the folder.
    overwrite
        Replace the checkpoint at ``folder``, which stays until the new one is complete.

    Raises
    ------
    CheckpointError
        If something stands at ``folder`` already, or the content makes no checkpoint.
    StorageError
        If writing fails.
    """
    folder = Path(folder)
    _check_target(folder, overwrite)
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    check_finite(tensors, str(folder))
    if reference is not None:
        reference.check(model.encoder.feature_size, str(folder))
    if advice is not None:
        load_checkpoint(advice)  # what is broken is not copied
    manifest = {
        "members": len(model) if isinstance(model, EnsembleModel) else None,
        "dtype": common_dtype(tensors, str(folder)),
        "elements": _checked_elements(elements, model.config, str(folder)),
        "model": model.config,
        "training": plain(training or {}, "training"),
    }
    metrics, splits = plain(metrics, "metrics"), plain(splits, "splits")
    try:
        with _replacing(folder) as temporary:
            # Not save_file: its errors are not the system's, and its files nobody else may read.
            (temporary / WEIGHTS).write_bytes(save(tensors))
            write_json(temporary / METRICS, metrics)
            write_json(temporary / SPLITS, splits)
            (temporary / CARD).write_text(card, encoding="utf-8")
            if reference is not None:
                write_reference(temporary / REFERENCE, reference)
            if calibration is not None:
                write_json(temporary / CALIBRATION, calibration.model_dump(mode="json"))
            if advice is not None:
                _copy_checkpoint(Path(advice), temporary / ADVICE)
            write_manifest(temporary, Manifest(**manifest, files=record_files(temporary)))
    except OSError as error:
        raise StorageError(
            f"the checkpoint could not be written: {error.strerror or error}",
            where=str(folder),
            cure="free some space or choose another folder; what was there before is untouched",
        ) from error
    return folder


def load_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint and check it against its own record.

    Raises
    ------
    CheckpointError
        If a file is missing, changed or absurdly large, if the format is newer than this version
        of Opalign, or if configuration, weights and reference do not fit one another.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            "this is a file" if folder.exists() else "there is no such folder",
            where=str(folder),
            expected=f"a checkpoint: a folder with {CONFIG} and {WEIGHTS}",
        )
    manifest = read_manifest(folder)
    elements = _checked_elements(manifest.elements, manifest.model, str(folder / CONFIG))
    dtype = DTYPES[manifest.dtype]
    model = _read_model(folder / WEIGHTS, manifest.model, manifest.members, dtype)
    calibration = None
    if CALIBRATION in manifest.files:
        calibration = read_calibration(folder / CALIBRATION, manifest.model.levels)
    reference = None
    if REFERENCE in manifest.files:
        reference = read_reference(folder / REFERENCE, model.encoder.feature_size)
    return Checkpoint(
        folder=folder,
        identifier=manifest.identifier,
        model=model.eval(),
        config=manifest.model,
        elements=elements,
        metrics=read_json(folder / METRICS),
        splits=read_json(folder / SPLITS),
        reference=reference,
        training=manifest.training,
        card=(folder / CARD).read_text(encoding="utf-8", errors="replace"),
        opalign_version=manifest.opalign_version,
        dtype=dtype,
        members=manifest.members or 1,
        calibration=calibration,
    )


def _read_model(
    path: Path, config: ModelConfig, members: int | None, dtype: torch.dtype
) -> Network:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = set(file.keys())
            # Shapes come first: the sizes in a configuration may be anything.
            expected = _expected_tensors(config, members, len(names), str(path))
            shapes = {name: file.get_slice(name).get_shape() for name in names}
            check_shapes(shapes, expected, str(path))
            tensors = {name: file.get_tensor(name) for name in sorted(names)}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"the weights cannot be read: {error}", where=str(path), cure="copy the file again"
        ) from error
    check_finite(tensors, str(path))
    if DTYPES[common_dtype(tensors, str(path))] != dtype:
        raise CheckpointError("the weights are not of the recorded dtype", where=str(path))
    # Starting weights are drawn and thrown away; the caller's random numbers must not notice.
    with torch.random.fork_rng(devices=[]):
        networks = [build_model(config, dtype) for _ in range(members or 1)]
    model = networks[0] if members is None else EnsembleModel(networks)
    model.load_state_dict(tensors)
    return model


def _expected_tensors(
    config: ModelConfig, members: int | None, found: int, where: str
) -> dict[str, Tensor]:
    """Tensors of the configured network on the meta device, where they take no memory.

    Raises CheckpointError for a configuration that cannot belong to a file of ``found`` tensors.
    """
    encoder, head = config.encoder, config.head
    layers = len(head.hidden_features)
    if isinstance(encoder, AlignnConfig):
        layers += encoder.alignn_layers + encoder.gcn_layers
    else:
        layers += len(encoder.node_features) + len(encoder.attention_features)
    layers *= members or 1
    if layers > found:
        raise CheckpointError(f"{found} tensors cannot be those of {layers} layers", where=where)
    if config.grid.num > _LARGEST_GRID:
        raise CheckpointError(
            f"the energy grid has {config.grid.num} points",
            where=where,
            expected=f"at most {_LARGEST_GRID}",
        )
    largest = max(value for value in encoder.model_dump().values() if type(value) is int)
    if largest > _LARGEST_SIZE:
        raise CheckpointError(
            f"a size of {largest} is configured",
            where=where,
            expected=f"at most {_LARGEST_SIZE} in any direction",
        )
    try:
        with torch.device("meta"):
            of_one = SpectrumModel(config).state_dict()
    except (RuntimeError, OverflowError, TypeError) as error:
        raise CheckpointError(
            f"the configured network cannot be built: {str(error).splitlines()[0]}", where=where
        ) from error
    if members is None:
        return of_one
    return {
        f"members.{number}.{name}": tensor
        for number in range(members)
        for name, tensor in of_one.items()
    }


def _checked_elements(elements: Iterable[int], config: ModelConfig, where: str) -> tuple[int, ...]:
    seen = tuple(sorted({int(number) for number in elements}))
    unknown = set(seen) - supported_elements(config.encoder.element_table)
    if unknown or not seen:
        raise CheckpointError(
            f"elements with atomic number {', '.join(map(str, sorted(unknown)))} cannot have been "
            "in training"
            if unknown
            else "no element was seen in training",
            where=where,
            expected=f"elements of the {config.encoder.element_table} table",
        )
    return seen


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise CheckpointError(
            "something stands here already",
            where=str(folder),
            cure="choose another folder, or ask for overwriting",
        )
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            "this is no checkpoint, so it is not overwritten",
            where=str(folder),
            expected=f"a folder with {CONFIG}",
            cure="choose another folder",
        )


def _copy_checkpoint(source: Path, target: Path) -> None:
    """Copy the files that a checkpoint names, and nothing else that lies beside them."""
    target.mkdir()
    for name in (CONFIG, *read_manifest(source).files):
        shutil.copyfile(source / name, target / name)


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``folder``; move it there once the block has succeeded."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex[:12]
    temporary = folder.with_name(f".{folder.name}-{token}")
    previous = folder.with_name(f".{folder.name}-{token}-previous")
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                with path.open("rb+") as written:
                    os.fsync(written.fileno())
        if folder.exists():
            folder.replace(previous)
        try:
            temporary.replace(folder)
        except OSError:
            if previous.exists():
                previous.replace(folder)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(previous, ignore_errors=True)
