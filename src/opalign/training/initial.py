"""Weights of an earlier run to start from, unless it has seen what is to be tested."""

from __future__ import annotations

from collections.abc import Mapping

from opalign.dataset.formula import reduced_formula
from opalign.errors import ConfigurationError, DatasetError
from opalign.model.checkpoint import load_checkpoint
from opalign.model.ensemble import EnsembleModel
from opalign.model.network import SpectrumModel
from opalign.training.config import InitialConfig


def load_initial(
    config: InitialConfig, network: SpectrumModel, held_out: Mapping[str, str]
) -> None:
    """Copy the weights of a checkpoint into ``network``.

    ``held_out`` are the reduced formulas, by id, of this run's validation and test materials.

    Raises
    ------
    DatasetError
        The checkpoint has seen ``held_out`` formulas in training, or may have, in its own first
        stage, on materials that it does not list.
    ConfigurationError
        Its network has other sizes.
    """
    checkpoint = load_checkpoint(config.checkpoint)
    where = str(config.checkpoint)
    if isinstance(checkpoint.model, EnsembleModel):
        raise ConfigurationError(
            f"the checkpoint is an ensemble of {checkpoint.members} networks, and training starts "
            "from one",
            where=where,
            cure="name the checkpoint of one of its members",
        )
    if not config.allow_seen:
        if checkpoint.reference is None:
            raise DatasetError(
                "the checkpoint does not say which materials it was trained on",
                where=where,
                cure="set initial.allow_seen, if you know that none of them is tested here",
            )
        seen = {reduced_formula(f) for f in checkpoint.reference.formulas}
        seen &= set(held_out.values())
        if seen:
            raise DatasetError(
                f"the checkpoint was trained on {len(seen)} formulas of this run's validation and "
                f"test materials, among them {min(seen)}",
                where=where,
                cure="use the same split (data.split.method: file) for both, or set "
                "initial.allow_seen",
            )
        # Materials of an earlier stage are not listed; what that run held out was kept from it.
        first_stage = checkpoint.training.get("config", {})
        kept = {m for part in ("validation", "test") for m in checkpoint.splits.get(part, ())}
        unsure = [material_id for material_id in held_out if material_id not in kept]
        if unsure and (first_stage.get("pretraining") or first_stage.get("initial")):
            raise DatasetError(
                f"the checkpoint had a first stage, which may have seen {len(unsure)} of this "
                f"run's validation and test materials, among them {min(unsure)}",
                where=where,
                cure="hold out here what was held out there (data.split.method: file), or set "
                "initial.allow_seen",
            )
    source = checkpoint.model if config.parts == "all" else checkpoint.model.encoder
    target = network if config.parts == "all" else network.encoder
    try:
        target.load_state_dict(source.state_dict())
    except RuntimeError as error:
        raise ConfigurationError(
            f"the weights do not fit this network: {str(error).splitlines()[-1].strip()}",
            where=where,
            cure="give this run that checkpoint's model section, or take initial.parts: encoder",
        ) from error
