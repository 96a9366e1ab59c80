import numpy as np
import pytest
import torch

from opalign.crystal import keys
from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.crystal.settings import GraphSettings
from opalign.training.augmentation import perturb, traceless_strain
from opalign.training.config import AugmentationConfig
from opalign.training.run import train

LATTICE = np.array([[3.9, 0.0, 0.0], [1.1, 4.4, 0.0], [-0.7, 0.9, 5.2]])
POSITIONS = np.array([[0.03, 0.11, 0.2], [0.52, 0.47, 0.81], [0.21, 0.78, 0.44]])


@pytest.fixture(scope="module")
def batch():
    graphs = [
        build_graph_from_arrays(scale * LATTICE, POSITIONS @ (scale * LATTICE), [20, 16, 34],
                                GraphSettings(neighbors=8))
        for scale in (1.0, 1.1)
    ]  # fmt: skip
    return collate(graphs, torch.float64)


def test_nothing_changes_without_amplitudes(batch):
    assert perturb(batch, None, 0, 0) is batch
    assert perturb(batch, AugmentationConfig(), 0, 0) is batch


def test_only_geometry_changes_and_the_given_batch_does_not(batch):
    before = {name: value.clone() for name, value in batch.items()}
    changed = perturb(batch, AugmentationConfig(strain=0.01, rattle=0.02), 0, 0)
    geometry = {keys.BOND_VECTOR, keys.BOND_LENGTH, keys.ANGLE_COSINE}
    for name, value in batch.items():
        assert torch.equal(value, before[name])
        assert torch.equal(changed[name], value) == (name not in geometry), name


def test_lengths_and_angles_are_those_of_the_changed_vectors(batch):
    changed = perturb(batch, AugmentationConfig(strain=0.02, rattle=0.05), 3, 7)
    vectors = changed[keys.BOND_VECTOR].numpy()
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(changed[keys.BOND_LENGTH], lengths, rtol=1e-12)
    first, second = changed[keys.ANGLE_INDEX].numpy()
    cosine = -(vectors[first] * vectors[second]).sum(1) / lengths[first] / lengths[second]
    np.testing.assert_allclose(changed[keys.ANGLE_COSINE], cosine, atol=1e-12)


def test_the_changed_batch_is_that_of_a_changed_crystal(batch):
    """All vectors follow from one strain and one displacement an atom: 9 + 3 (N − 1) numbers."""
    changed = perturb(batch, AugmentationConfig(strain=0.01, rattle=0.05), 1, 2)
    source, target = batch[keys.BOND_INDEX].numpy()
    own = source < 3
    old, new = batch[keys.BOND_VECTOR].numpy()[own], changed[keys.BOND_VECTOR].numpy()[own]
    atoms = np.eye(3)[target[own]] - np.eye(3)[source[own]]
    design = np.hstack([old, atoms])
    solution, *_ = np.linalg.lstsq(design, new, rcond=None)
    np.testing.assert_allclose(design @ solution, new, atol=1e-10)
    strain = solution[:3] - np.eye(3)
    np.testing.assert_allclose(strain, strain.T, atol=1e-10)
    assert np.trace(strain) == pytest.approx(0.0, abs=1e-10)
    assert 0.0 < np.abs(strain).max() < 0.05


def test_it_follows_from_seed_and_step_alone(batch):
    config = AugmentationConfig(strain=0.01, rattle=0.02)
    state = torch.get_rng_state()
    first = perturb(batch, config, 1, 5)[keys.BOND_LENGTH]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, perturb(batch, config, 1, 5)[keys.BOND_LENGTH])
    assert not torch.equal(first, perturb(batch, config, 1, 6)[keys.BOND_LENGTH])
    assert not torch.equal(first, perturb(batch, config, 2, 5)[keys.BOND_LENGTH])


def test_amplitudes_are_standard_deviations(batch):
    strain = traceless_strain(20000, 0.01, torch.Generator().manual_seed(0), torch.float64)
    off_diagonal = strain[:, [0, 0, 1], [1, 2, 2]]
    # 60,000 numbers: their deviation is known to 0.3 %.
    assert off_diagonal.std().item() == pytest.approx(0.01, rel=0.01)
    moved = [
        perturb(batch, AugmentationConfig(rattle=0.05), 0, step)[keys.BOND_VECTOR]
        for step in range(200)
    ]
    source, target = batch[keys.BOND_INDEX]
    change = (torch.stack(moved) - batch[keys.BOND_VECTOR])[:, source != target]
    # The difference of two displacements; 200 draws of 6 atoms and 3 axes: 2 %.
    assert change.std().item() == pytest.approx(0.05 * 2**0.5, rel=0.06)
    assert not (torch.stack(moved) - batch[keys.BOND_VECTOR])[:, source == target].any()


def test_what_moves_is_computed_atom_by_atom(tiny, tmp_path, silent, monkeypatch):
    """Nothing is alike any more, so training leaves the symmetry-reduced graphs."""
    sizes = []

    def step(graph, config, seed, step):
        sizes.append("bond_multiplicity" in graph)
        return perturb(graph, config, seed, step)

    monkeypatch.setattr("opalign.training.task.perturb", step)
    for strain, reduced in ((0.01, False), (0.0, True)):
        sizes.clear()
        config = tiny(epochs=1, augmentation={"strain": strain, "rattle": 0.0})
        train(config, tmp_path / str(strain), console=silent)
        assert sizes
        assert set(sizes) == {reduced}
