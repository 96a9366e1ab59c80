"""Published weights of other packages, as networks of this one.

Two layouts are read. **alignn** (``ALIGNN`` with batch norm; ``ALIGNNAtomWise`` and
``ALIGNNAtomWisePure`` with layer norm), whose four products with the nodes are one matrix product
here. **OPTIMATE** as composed of torch_geometric's ``GATv2Conv``, whose names the caller may give.

Every tensor of a file is used, or dropped knowingly and named in the result, or refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from opalign.crystal.settings import GraphSettings
from opalign.errors import CheckpointError, ConfigurationError
from opalign.model.config import (
    AlignnConfig,
    ModelConfig,
    OptimateConfig,
    SpectralTarget,
    VectorHeadConfig,
)
from opalign.model.transfer import Converted, Transfer, WeightSource, read_tensors
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

#: Options of alignn that change its output in ways not offered here, and the value that does not.
_REFUSED_OPTIONS = {
    "link": "identity",
    "classification": False,
    "zero_inflated": False,
    "extra_features": 0,
    "use_cutoff_function": False,
    "conv_type": "alignn",
}
_SIZES = (
    "alignn_layers",
    "gcn_layers",
    "atom_input_features",
    "edge_input_features",
    "triplet_input_features",
    "embedding_features",
    "hidden_features",
    "output_features",
)
#: Rows of the joint projection, in order.
_PROJECTIONS = ("src_gate", "dst_update", "dst_gate", "src_update")


@dataclass(frozen=True)
class OptimateNames:
    """Where the parts of an OPTIMATE network stand in a state dict.

    Attributes
    ----------
    node_network, output_network
        Prefix of a perceptron; its linear layers are all ``{prefix}.….weight`` and ``.bias``,
        ordered by the numbers in their names.
    attention
        Prefix under which the ``GATv2Conv`` layers are numbered, or one prefix for each.
    gate
        Prefix of the linear layer that gives the logits of the attention pooling.
    basis
        Prefix of torch_geometric's ``GaussianSmearing``, of which only ``offset`` is stored; a
        file without it has the basis of the configuration.
    """

    node_network: str = "node_network"
    attention: str | tuple[str, ...] = "attention"
    gate: str = "gate"
    output_network: str = "output_network"
    basis: str = "basis"

    def attention_prefix(self, layer: int) -> str:
        """Prefix of one attention layer, counted from 0."""
        if isinstance(self.attention, str):
            return f"{self.attention}.{layer}"
        return self.attention[layer]


def read_alignn_config(
    content: Mapping[str, Any],
    *,
    grid: EnergyGrid,
    target: SpectralTarget = "epsilon_imaginary",
    levels: tuple[str, ...] = ("ipa",),
    broadening: Broadening | None = None,
) -> ModelConfig:
    """Return the configuration that answers to alignn's ``config.json``.

    Parameters
    ----------
    content
        The file's content: training settings with a section ``model``.
    grid, target, levels, broadening
        What the output vector means, on which alignn's file is silent.

    Raises
    ------
    ConfigurationError
        If the file asks for something that this package does not have, or the grid does not fit.
    """
    section = content.get("model")
    if not isinstance(section, Mapping):
        raise ConfigurationError(
            "the section 'model' is missing", expected="the config.json that alignn writes"
        )
    name = section.get("name")
    if name not in ("alignn", "alignn_atomwise", "alignn_atomwise_pure"):
        raise ConfigurationError(
            f"the model is {name!r}",
            where="model.name",
            expected="alignn, alignn_atomwise or alignn_atomwise_pure",
        )
    for option, neutral in _REFUSED_OPTIONS.items():
        if section.get(option, neutral) != neutral:
            raise ConfigurationError(
                f"{section[option]!r} is not supported",
                where=f"model.{option}",
                expected=f"{neutral!r}",
            )
    missing = [size for size in _SIZES if size not in section]
    if missing:
        raise ConfigurationError(f"{', '.join(missing)} is missing", where="model")
    if content.get("atom_features", "cgcnn") != "cgcnn" or section["atom_input_features"] != 92:
        raise ConfigurationError(
            f"atoms are described by {content.get('atom_features')!r}, "
            f"{section['atom_input_features']} numbers",
            where="atom_features",
            expected="'cgcnn', 92 numbers",
        )
    outputs = len(levels) * grid.num
    if section["output_features"] != outputs:
        raise ConfigurationError(
            f"the model has {section['output_features']} outputs",
            where="model.output_features",
            expected=f"{outputs}: {len(levels)} spectra on {grid}",
        )
    encoder = AlignnConfig(
        alignn_layers=section["alignn_layers"],
        gcn_layers=section["gcn_layers"],
        hidden_features=section["hidden_features"],
        embedding_features=section["embedding_features"],
        bond_basis_size=section["edge_input_features"],
        angle_basis_size=section["triplet_input_features"],
        norm="batch" if name == "alignn" else "layer",
    )
    return ModelConfig(
        encoder=encoder,
        head=VectorHeadConfig(target=target),
        graph=_alignn_graph(content),
        grid=grid,
        levels=levels,
        broadening=broadening or Broadening(),
    )


def load_alignn_weights(source: WeightSource, config: ModelConfig) -> Converted:
    """Read weights of alignn's ``ALIGNN``, ``ALIGNNAtomWise`` or ``ALIGNNAtomWisePure``.

    The result has the precision of the weights, and γ of the radial basis to double precision if
    they have: alignn derives it from the centres as they were when the network was made.

    Parameters
    ----------
    source
        ``.pt`` (read with ``weights_only=True``) or ``.safetensors`` file, or a state dict.
    config
        From :func:`read_alignn_config`.

    Raises
    ------
    CheckpointError
        If tensors are missing, unknown, or of the wrong shape.
    """
    tensors, where = read_tensors(source)
    encoder = config.encoder
    if not isinstance(encoder, AlignnConfig):
        raise CheckpointError("the configuration is not of an ALIGNN", where=where)
    transfer = Transfer(tensors, config, where)
    embeddings = [("atom_embedding.layer", "atom_embedding")]
    for theirs, ours in (("edge", "bond"), ("angle", "angle")):
        transfer.give(f"encoder.{ours}_embedding.0.centers", f"{theirs}_embedding.0.centers")
        transfer.give(
            f"encoder.{ours}_embedding.0.gamma",
            f"{theirs}_embedding.0.centers",
            convert=_alignn_gamma,
        )
        embeddings += [
            (f"{theirs}_embedding.{layer}.layer", f"{ours}_embedding.{layer}") for layer in (1, 2)
        ]
    for theirs, ours in embeddings:
        transfer.linear(f"encoder.{ours}.0", f"{theirs}.0")
        transfer.norm(f"encoder.{ours}.1", f"{theirs}.1", encoder.norm)
    convolutions = [
        (f"alignn_layers.{layer}.{theirs}", f"alignn_{ours}_convolutions.{layer}")
        for layer in range(encoder.alignn_layers)
        for theirs, ours in (("node_update", "bond"), ("edge_update", "angle"))
    ]
    convolutions += [
        (f"gcn_layers.{layer}", f"graph_convolutions.{layer}")
        for layer in range(encoder.gcn_layers)
    ]
    for theirs, ours in convolutions:
        transfer.linear(
            f"encoder.{ours}.node_projection", *(f"{theirs}.{part}" for part in _PROJECTIONS)
        )
        transfer.linear(f"encoder.{ours}.edge_gate", f"{theirs}.edge_gate")
        for part in ("node", "edge"):
            transfer.norm(f"encoder.{ours}.{part}_norm", f"{theirs}.bn_{part}s", encoder.norm)
    transfer.linear("head.network.0", "fc")
    # A copy of the element table, and heads for forces, charges and the like beside the spectrum.
    transfer.drop("_species_table", "fc_atomwise.", "fc_additional_output.")
    return transfer.finish()


def load_optimate_weights(
    source: WeightSource, config: ModelConfig, names: OptimateNames | None = None
) -> Converted:
    """Read weights of OPTIMATE in the layout of torch_geometric.

    Parameters
    ----------
    source
        As in :func:`load_alignn_weights`.
    config
        An OPTIMATE encoder with a vector head.
    names
        Where the parts stand in the state dict.

    Raises
    ------
    CheckpointError
        If tensors are missing, unknown, or of the wrong shape.
    """
    tensors, where = read_tensors(source)
    encoder, names = config.encoder, names or OptimateNames()
    if not isinstance(encoder, OptimateConfig):
        raise CheckpointError("the configuration is not of an OPTIMATE", where=where)
    depth = len(encoder.attention_features)
    if not isinstance(names.attention, str) and len(names.attention) != depth:
        raise CheckpointError(
            f"attention has {len(names.attention)} names",
            where=where,
            expected=f"{depth}, one for each configured layer",
        )
    transfer = Transfer(tensors, config, where)
    basis = f"{names.basis}.offset"
    if basis in tensors:
        transfer.give("encoder.bond_basis.centers", basis)
        transfer.give("encoder.bond_basis.gamma", basis, convert=_smearing_gamma)
    transfer.perceptron("encoder.node_network", names.node_network)
    for layer in range(depth):
        ours = f"encoder.attention_layers.{layer}"
        theirs = names.attention_prefix(layer)
        transfer.linear(f"{ours}.source", f"{theirs}.lin_l")
        transfer.linear(f"{ours}.target", f"{theirs}.lin_r")
        transfer.give(f"{ours}.edge.weight", f"{theirs}.lin_edge.weight")
        transfer.give(f"{ours}.attention", f"{theirs}.att", convert=_without_first_axis)
        transfer.give(f"{ours}.bias", f"{theirs}.bias")
    transfer.perceptron("encoder.pooling.gate", names.gate)
    transfer.perceptron("head.network", names.output_network)
    return transfer.finish()


def _alignn_gamma(centers: Tensor) -> Tensor:
    """γ as alignn's RBFExpansion derives it: one over the mean spacing.

    It does so when the network is made, usually in single precision; converting the network later
    changes the centres' type but not γ. Centres that fit into single precision were made in it.
    """
    made = centers.numpy()
    if np.array_equal(made.astype(np.float32), made):
        made = made.astype(np.float32)
    return centers.new_tensor(1.0 / float(np.diff(made).mean()))


def _smearing_gamma(offset: Tensor) -> Tensor:
    """γ as torch_geometric's GaussianSmearing derives it: one over twice the squared spacing."""
    return offset.new_tensor(0.5 / float(offset[1] - offset[0]) ** 2)


def _without_first_axis(tensor: Tensor) -> Tensor:
    return tensor.squeeze(0)


def _alignn_graph(content: Mapping[str, Any]) -> GraphSettings:
    strategy = content.get("neighbor_strategy", "k-nearest")
    if strategy == "k-nearest":
        return GraphSettings(kind="k_nearest", neighbors=content.get("max_neighbors", 12))
    if strategy == "radius_graph":
        return GraphSettings(kind="radius", cutoff=content.get("cutoff", 5.0))
    raise ConfigurationError(
        f"the neighbour strategy is {strategy!r}",
        where="neighbor_strategy",
        expected="k-nearest or radius_graph",
    )
