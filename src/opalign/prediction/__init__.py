"""A checkpoint at work: spectra of structures, how near they are to the training set, reports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

if TYPE_CHECKING:
    from opalign.crystal.read import StructureLike
    from opalign.model.nearest import NearestMaterials, Neighbor
    from opalign.prediction.models import DEFAULT_MODEL, available_checkpoints, resolve_checkpoint
    from opalign.prediction.predictor import Precision, Predictor
    from opalign.prediction.report import Report, write_predictions
    from opalign.prediction.result import Failure, Prediction

__all__ = [
    "DEFAULT_MODEL",
    "Failure",
    "NearestMaterials",
    "Neighbor",
    "Prediction",
    "Predictor",
    "Report",
    "available_checkpoints",
    "load_model",
    "predict",
    "resolve_checkpoint",
    "write_predictions",
]

_HOMES = {
    "DEFAULT_MODEL": "models",
    "Failure": "result",
    "NearestMaterials": "applicability",
    "Neighbor": "applicability",
    "Prediction": "result",
    "Predictor": "predictor",
    "Report": "report",
    "available_checkpoints": "models",
    "resolve_checkpoint": "models",
    "write_predictions": "report",
}


def load_model(
    model: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    precision: Precision = "double",
) -> Predictor:
    """Load a trained model, ready to predict.

    Parameters
    ----------
    model
        Name of a model found by :func:`available_checkpoints`, or the path of a checkpoint folder;
        the default model if None.
    device
        ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"``: CUDA where there is some, else the CPU.
    precision
        ``"double"``, or ``"single"`` for screening; see :class:`Predictor`.

    Raises
    ------
    CheckpointError
        There is no such model, or its folder is incomplete or changed.
    ConfigurationError
        The device or the precision is not there.
    """
    from opalign.prediction.predictor import Predictor

    return Predictor.load(model, device, precision)


def predict(
    structures: StructureLike | Iterable[StructureLike],
    model: Predictor | str | os.PathLike[str] | None = None,
    *,
    levels: Iterable[str] | None = None,
    batch_size: int = 16,
    on_failure: Callable[[Failure], None] | None = None,
) -> Iterator[Prediction]:
    """Predict the spectra of structures; files, folders and structures in any mix.

    ``model`` is what :func:`load_model` returned, or what it takes. The rest is that of
    :meth:`Predictor.predict`, which says what is raised.
    """
    from opalign.prediction.predictor import Predictor

    predictor = model if isinstance(model, Predictor) else load_model(model)
    return predictor.predict(
        structures, levels=levels, batch_size=batch_size, on_failure=on_failure
    )


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
