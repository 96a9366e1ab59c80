"""The model that says which level a material needs, as a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opalign.ladder.data import LadderData
from opalign.ladder.jobs import Job
from opalign.ladder.store import read_weights
from opalign.ladder.strategies import similarity_model
from opalign.model.checkpoint import save_checkpoint
from opalign.model.ensemble import EnsembleModel
from opalign.model.network import SpectrumModel
from opalign.model.reference import Reference
from opalign.training.predictions import predict_materials

FOLDER = "similarity"


def save_advice(
    data: LadderData, out: Path, jobs: Sequence[Job], metrics: dict[str, Any]
) -> tuple[Path, NDArray[np.float64]]:
    """Write the networks trained on everything as one checkpoint.

    Returns
    -------
    tuple
        Its folder, and the pooled features (M, D) of all materials, in the order of the tables, as
        the first network sees them.
    """
    model = similarity_model(data, len(data.ids) if data.config.similarity.kernel_share else 0)
    members = []
    for job in jobs:
        network = SpectrumModel(model)
        network.load_state_dict(read_weights(job.path(out))[0])
        members.append(network.eval())
    materials = data.with_similarity(model, data.ids)
    features = predict_materials(members[0], materials)["features"]
    config = data.config
    folder = save_checkpoint(
        out / FOLDER,
        EnsembleModel(members) if len(members) > 1 else members[0],
        elements={int(z) for graph in materials.graphs for z in graph.atomic_numbers},
        metrics={"cross_validation": metrics},
        splits=data.split(0).model_dump(),
        card=_card(data, metrics, len(members)),
        reference=Reference(tuple(data.ids), tuple(data.formulas), features.astype(np.float32)),
        training={
            "cheap": config.cheap,
            "costly": config.costly,
            "tables": [
                {"name": t.path.name, "licence": t.licence, "source": t.source} for t in data.tables
            ],
            "config": config.model_dump(mode="json", exclude={"tables", "pretraining"}),
        },
        overwrite=(out / FOLDER).exists(),
    )
    return folder, features


def _card(data: LadderData, metrics: dict[str, Any], members: int) -> str:
    config = data.config
    share = config.similarity.kernel_share
    beside = f", a Gaussian process on the ions having {share:.0%} of the weight" if share else ""
    licences = "; ".join(dict.fromkeys(t.licence for t in data.tables if t.licence)) or "unknown"
    return "\n".join(
        [
            f"# SC[{config.cheap}; {config.costly}] from the structure",
            "",
            f"Predicts how similar the spectrum of {config.cheap} is to that of {config.costly} "
            f"(Im ε̄, {config.broadening}): 1 where the costly level changes nothing. Mean of "
            f"{members} networks{beside}, trained on {len(data.ids)} materials.",
            "",
            f"Cross-validated by reduced formula ({config.folds} folds): mean absolute error "
            f"{metrics['mae']:.3f}, that of predicting the mean {metrics['mae_of_the_mean']:.3f}, "
            f"Spearman correlation {metrics['spearman']:.2f}.",
            "",
            "It knows the chemistry of its training materials, not much beyond; data licence: "
            f"{licences}.",
            "",
        ]
    )
