"""Batches put together from arrays of the whole set: what the loader makes, filled up."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.model.network import SpectrumModel
from opalign.training.data import batch_of, load_materials, open_tables
from opalign.training.losses import training_loss
from opalign.training.resident import Capacity, ResidentMaterials, estimated_bytes
from opalign.training.run import build_model_config

ENCODERS = {
    "alignn": {"architecture": "alignn", "alignn_layers": 1, "gcn_layers": 1,
               "hidden_features": 8, "embedding_features": 8},
    "optimate": {"architecture": "optimate", "node_features": [8], "attention_features": [4],
                 "attention_heads": 2, "bond_basis_size": 8},
}  # fmt: skip


@pytest.fixture(params=[("alignn", True), ("alignn", False), ("optimate", True)], ids=str)
def prepared(request, tiny):
    encoder, reduced = request.param
    config = tiny()
    model = config.model.model_dump() | {"encoder": ENCODERS[encoder], "graph": None}
    data = config.data.model_dump() | {"symmetry_reduced": reduced}
    config = type(config).model_validate(config.model_dump() | {"model": model, "data": data})
    tables = open_tables(config.data.tables)
    described = build_model_config(config, tables)
    materials = load_materials(tables, described, config.data, config.loss)
    torch.manual_seed(3)
    # Double precision, so that only mistakes are seen.
    network = SpectrumModel(described).double().train()
    return network, training_loss(described, config.loss), materials


def doubled(batch):
    return {
        part: {k: v.double() if v.is_floating_point() else v for k, v in values.items()}
        for part, values in batch.items()
    }


def step(network, loss, batch):
    network.zero_grad(set_to_none=True)
    terms = loss(network(batch["graph"]), batch["targets"])
    terms["loss"].backward()
    return terms, {n: w.grad for n, w in network.named_parameters()}


@pytest.mark.parametrize("room", [1.0, 1.7])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [5, 2], [4]])
def test_losses_and_gradients_are_those_of_the_loader(prepared, rows, room):
    network, loss, materials = prepared
    resident = ResidentMaterials(materials, "cpu")
    capacity = resident.needed(rows, structures=4).enlarged(room)
    batch = resident.batch(resident.row_numbers(rows, capacity), capacity)
    # Sums run in another order; in single precision geometry they differ by no more.
    expected, wanted = step(network, loss, doubled(batch_of(materials, rows)))
    found, gradients = step(network, loss, doubled(batch))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)
    for name, gradient in wanted.items():
        if gradient is not None:
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-8, atol=1e-11, msg=name)


def test_shapes_follow_from_the_capacity(prepared):
    _, _, materials = prepared
    resident = ResidentMaterials(materials, "cpu")
    capacity = resident.needed([0, 1, 2], structures=3).enlarged(2.0)
    shapes = set()
    for rows in ([0, 1, 2], [1], [2, 0]):
        if not capacity.holds(resident.needed(rows, structures=3)):
            continue
        batch = resident.batch(resident.row_numbers(rows, capacity), capacity)
        shapes.add(tuple(tuple(v.shape) for part in batch.values() for v in part.values()))
        assert torch.isnan(batch["targets"]["band_gap"][len(rows) :]).all()
    assert len(shapes) == 1


def test_targets_lead_nowhere_beyond_the_batch(prepared):
    """What fills up is connected to nothing else: indices stay within the batch and are sorted."""
    _, _, materials = prepared
    resident = ResidentMaterials(materials, "cpu")
    capacity = resident.needed([3, 1]).enlarged(1.5)
    graph = resident.batch(resident.row_numbers([3, 1], capacity), capacity)["graph"]
    real = int((graph["atom_structure"] < 2).sum())
    inside = graph["bond_index"] < real
    assert torch.equal(inside[0], inside[1])
    for name, size in (("bond_index", capacity.atoms), ("angle_index", capacity.bonds)):
        if name in graph:
            assert (graph[name][1].diff() >= 0).all()
            assert int(graph[name].min()) >= 0
            assert int(graph[name].max()) < size


def test_bytes_are_estimated_from_above(prepared):
    _, _, materials = prepared
    resident = ResidentMaterials(materials, "cpu")
    held = sum(
        tensor.numel() * tensor.element_size()
        for group in (resident._graph, resident._targets)
        for tensor in group.values()
    )
    # Of tiny crystals atoms and bonds count for something, so half of it will do as a bound.
    assert estimated_bytes(materials) > 0.5 * held


@given(
    st.lists(st.integers(1, 100), min_size=4, max_size=4),
    st.lists(st.integers(1, 100), min_size=4, max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_a_capacity_holds_what_is_smaller(first, second):
    one, other = Capacity(*first), Capacity(*second)
    expected = first[0] == second[0] and all(np.array(first[1:]) >= np.array(second[1:]))
    assert one.holds(other) == expected
