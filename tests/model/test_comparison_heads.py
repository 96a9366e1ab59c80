"""From one level of theory to another, and how far they lie apart."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.crystal.settings import GraphSettings
from opalign.errors import ConfigurationError
from opalign.model.checkpoint import build_model, load_checkpoint, save_checkpoint
from opalign.model.comparison_heads import BASE_IMAGINARY
from opalign.model.config import (
    DeltaHeadConfig,
    ModelConfig,
    OptimateConfig,
    PhysicalHeadConfig,
    ScalarHeadConfig,
)
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import kramers_kronig_matrix

GRID = EnergyGrid(0.0, 20.0, 201)
GRAPH = GraphSettings(kind="radius", cutoff=4.0, angles=False)
ENCODER = OptimateConfig(
    node_features=(8,), attention_features=(6,), element_table="group_period", attention_heads=2
)
FCC = 2.1 * (np.ones((3, 3)) - np.eye(3))
ROCK_SALT = [
    (FCC, np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]) @ FCC, [metal, 8]) for metal in (12, 20)
]


def model(head, levels=("rpa",), seed=3, disturbed=True):
    torch.manual_seed(seed)
    config = ModelConfig(
        encoder=ENCODER, head=head, graph=GRAPH, grid=GRID, levels=levels,
        broadening=Broadening("gaussian", 0.1),
    )  # fmt: skip
    network = build_model(config, torch.float64)
    with torch.no_grad():
        for parameter in network.parameters() if disturbed else ():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return network.eval()


def batch(base=None):
    graphs = [build_graph_from_arrays(*crystal, GRAPH) for crystal in ROCK_SALT]
    tensors = collate(graphs, torch.float64)
    return tensors if base is None else {**tensors, BASE_IMAGINARY: torch.tensor(base)}


@pytest.fixture
def base():
    """Two spectra that begin at 4 and 6 eV."""
    energies = GRID.values
    spectra = [
        np.where(energies > start, 5 * np.exp(-((energies - center) ** 2) / 8), 0.0)
        for start, center in ((4.0, 8.0), (6.0, 9.0))
    ]
    return np.array(spectra)


def test_an_untrained_difference_is_the_cheap_level_as_it_is(base):
    network = model(DeltaHeadConfig(hidden_features=(8,), largest_shift=2.0), disturbed=False)
    found = network(batch(base))["epsilon_imaginary"][:, 0]
    torch.testing.assert_close(found, torch.tensor(base))


def test_a_reshaped_spectrum_stays_positive_bounded_and_causal(base):
    network = model(DeltaHeadConfig(hidden_features=(8,), largest_factor=3.0))
    with torch.no_grad():
        found = network(batch(base))
    imaginary = found["epsilon_imaginary"][:, 0].numpy()
    assert (imaginary >= 0.0).all()
    assert np.abs(imaginary - base).max() > 0.1, "the weights do nothing"
    inside = base > 0.0
    assert (imaginary[~inside] == 0.0).all(), "the onset of the cheap level was left"
    factor = imaginary[inside] / base[inside]
    assert (factor < 3.0 + 1e-9).all()
    assert (factor > 1 / 3.0 - 1e-9).all()
    # Kramers–Kronig: what ε₁ has beyond that of ε₂ is one oscillator above the window, which is
    # smooth and rises with the energy.
    transform = imaginary @ kramers_kronig_matrix(GRID).T
    rest = found["epsilon_real"][:, 0].numpy() - 1.0 - transform
    assert (np.diff(rest[:, :150], axis=1) > 0.0).all()
    assert np.abs(np.diff(rest[:, :150], 2, axis=1)).max() < 1e-2


def test_a_shift_moves_the_onset_by_no_more_than_allowed(base):
    network = model(DeltaHeadConfig(hidden_features=(8,), largest_shift=1.5))
    with torch.no_grad():
        imaginary = network(batch(base))["epsilon_imaginary"][:, 0].numpy()
    onsets = np.array([GRID.values[row > 0][0] for row in imaginary])
    moved = np.abs(onsets - np.array([GRID.values[row > 0][0] for row in base]))
    assert 0.0 < moved.max() <= 1.5 + GRID.step


def test_gradients_reach_the_encoder(base):
    network = model(DeltaHeadConfig(hidden_features=(8,), largest_shift=1.5))
    network(batch(base))["epsilon_imaginary"].sum().backward()
    gradient = network.encoder.node_network[0].weight.grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0.0


def test_without_the_cheap_spectrum_it_says_what_it_needs():
    with pytest.raises(ConfigurationError, match="needs the ipa spectrum"):
        model(DeltaHeadConfig())(batch())


@pytest.mark.parametrize("levels", [("ipa",), ("rpa", "hybrid")])
def test_a_difference_goes_to_one_other_level(levels):
    with pytest.raises(ValidationError, match="delta head goes from ipa"):
        model(DeltaHeadConfig(base_level="ipa"), levels)


@pytest.mark.parametrize("kernel_points", [0, 3])
def test_similarity_is_below_one_and_survives_a_checkpoint(tmp_path, kernel_points):
    network = model(ScalarHeadConfig(hidden_features=(8,), kernel_points=kernel_points))
    if kernel_points:
        kernel = network.head.kernel
        size = kernel.points.shape[1]
        # A mean above 1, which no similarity is.
        kernel.set_to(torch.rand(3, size), torch.rand(3), torch.ones(size), 20.0, 1.5)
    with torch.no_grad():
        found = network(batch())["similarity"]
        # Whatever the pooled features are.
        pooled = torch.randn(500, 2, network.encoder.feature_size).double() * 1e3
        extreme = torch.cat([network.head(one, batch())["similarity"] for one in pooled])
    assert found.shape == (2,)
    assert (extreme <= 1.0).all()
    assert extreme.min() < 0.0, "SC is negative where levels differ that much"

    save_checkpoint(
        tmp_path / "sc", network, elements={8, 12, 20}, metrics={}, splits={}, card="# SC\n"
    )
    again = load_checkpoint(tmp_path / "sc")
    assert (again.config.head.cheap, again.config.head.costly) == ("ipa", "rpa")
    with torch.no_grad():
        torch.testing.assert_close(again.model(batch())["similarity"], found)


@pytest.mark.parametrize("levels", [("ipa", "rpa"), ("ipa", "rpa", "hybrid")])
def test_levels_share_one_network_through_their_vectors(levels):
    head = PhysicalHeadConfig(hidden_features=(8,), basis_step=0.5, level_embedding=4)
    network = model(head, levels)
    assert network.head.level_vectors.shape == (len(levels), 4)
    size = sum(p.numel() for p in network.head.parameters())
    smaller = sum(p.numel() for p in model(head, ("ipa",)).head.parameters())
    assert size - smaller == 4 * (len(levels) - 1), "levels have weights of their own"
    with torch.no_grad():
        found = network(batch(), per_site=True)
        assert found["epsilon_imaginary"].shape == (2, len(levels), GRID.num)
        assert not torch.allclose(
            found["epsilon_imaginary"][:, 0], found["epsilon_imaginary"][:, 1]
        )
        # Two levels with one vector are one level.
        network.head.level_vectors[1] = network.head.level_vectors[0]
        same = network(batch())
    for name in ("epsilon_imaginary", "epsilon_real"):
        torch.testing.assert_close(same[name][:, 0], same[name][:, 1])
    sites = found["site_epsilon_imaginary"].unflatten(0, (2, 2)).mean(1)
    torch.testing.assert_close(sites, found["epsilon_imaginary"])
    assert (found["epsilon_imaginary"] >= 0.0).all()
