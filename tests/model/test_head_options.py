"""Options of the physical head: laws hold with each, and each does what it is for."""

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.crystal.settings import GraphSettings
from opalign.model.checkpoint import build_model
from opalign.model.config import ModelConfig, OptimateConfig, PhysicalHeadConfig
from opalign.model.heads import PhysicalHead, cubic_weights
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(0.0, 20.0, 201)
OPTIONS = {
    "plain": {},
    "context": {"context": True},
    "composition": {"composition": "all"},
    "composition for the gap": {"composition": "gap"},
    "attention": {"gap_pooling": "attention"},
    "spline": {"basis": "spline", "basis_step": 0.5},
    "components": {"components": 5},
    "all": {
        "context": True, "composition": "all", "gap_pooling": "attention", "basis": "spline",
        "components": 4, "level_embedding": 3,
    },
}  # fmt: skip
LATTICE = np.array([[3.9, 0.0, 0.0], [1.1, 4.4, 0.0], [-0.7, 0.9, 5.2]])
POSITIONS = np.array([[0.03, 0.11, 0.2], [0.52, 0.47, 0.81], [0.21, 0.78, 0.44]])
SETTINGS = GraphSettings(kind="radius", cutoff=5.0, angles=False)


def crystal(repeat=1):
    lattice = LATTICE * np.array([[repeat], [1], [1]])
    shifts = np.arange(repeat)[:, None, None] * LATTICE[0]
    cartesian = (POSITIONS @ LATTICE + shifts).reshape(-1, 3)
    return build_graph_from_arrays(lattice, cartesian, [20, 16, 34] * repeat, SETTINGS)


def network(option, seed=0):
    torch.manual_seed(seed)
    config = ModelConfig(
        encoder=OptimateConfig(
            node_features=(8,), attention_features=(8,), element_table="group_period"
        ),
        head=PhysicalHeadConfig(hidden_features=(16,), **OPTIONS[option]),
        graph=SETTINGS,
        grid=GRID,
        levels=("rpa", "ipa"),
        broadening=Broadening("gaussian", 0.1),
    )
    return build_model(config, torch.float64).eval()


@pytest.mark.parametrize("option", OPTIONS)
def test_laws_hold(option):
    """Positive, an exact mean over sites, the same for a supercell, nothing below the gap."""
    model = network(option)
    with torch.inference_mode():
        batch = collate([crystal(), crystal(2)], torch.float64)
        found = model(batch, per_site=True)
    imaginary = found["epsilon_imaginary"]
    assert (imaginary >= -1e-12).all()
    torch.testing.assert_close(imaginary[0], imaginary[1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found["band_gap"][0], found["band_gap"][1], rtol=1e-9, atol=0.0)
    sites = found["site_epsilon_imaginary"]
    torch.testing.assert_close(sites[:3].mean(0), imaginary[0], rtol=1e-9, atol=1e-12)
    below = torch.tensor(GRID.values) < found["band_gap"][0] - 0.7  # seven σ
    assert imaginary[0, :, below].abs().max() < 1e-9 if below.any() else True
    assert imaginary[0].max() > 0.0


@pytest.mark.parametrize("option", OPTIONS)
def test_every_parameter_learns(option):
    model = network(option)
    output = model(collate([crystal()], torch.float64))
    (
        output["epsilon_imaginary"].sum() + output["epsilon_real"].sum() + output["band_gap"].sum()
    ).backward()
    dead = [n for n, p in model.head.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_cubic_weights_are_the_b_spline():
    fraction = torch.linspace(0, 1, 11, dtype=torch.float64)
    first, weights = cubic_weights(fraction)
    spline = BSpline.basis_element(np.arange(5.0) - 2.0, extrapolate=False)
    for number, weight in enumerate(weights):
        expected = np.nan_to_num(spline(fraction.numpy() - (first + number)))
        np.testing.assert_allclose(weight, expected, atol=1e-12)


def test_splines_of_equal_coefficients_are_flat():
    head = network("spline").head
    coefficients = torch.full((1, 2, head.nodes), 0.7, dtype=torch.float64)
    values = head._spectrum(coefficients, torch.tensor([3.0], dtype=torch.float64))
    inside = (torch.tensor(GRID.values) > 4.0) & (torch.tensor(GRID.values) < 19.0)
    torch.testing.assert_close(values[..., inside], torch.full_like(values[..., inside], 0.7))


def test_context_and_composition_reach_a_site_from_its_crystal_alone():
    sizes = {}
    for option in ("context", "composition", "composition for the gap"):
        head = network(option).head
        assert isinstance(head, PhysicalHead)
        batch = collate([crystal()], torch.float64)
        sites = torch.randn(3, 32, dtype=torch.float64)
        of_spectrum, of_gap = head._with_crystal(sites, batch)
        for seen in (of_spectrum, of_gap):
            assert torch.equal(seen[:, :32], sites)
            assert torch.equal(seen[0, 32:], seen[2, 32:])
        sizes[option] = of_spectrum.shape[1] - 32, of_gap.shape[1] - 32
    assert sizes == {"context": (32, 32), "composition": (34, 34),
                     "composition for the gap": (0, 34)}  # fmt: skip


def test_attention_lets_one_site_decide():
    head = network("attention").head
    batch = collate([crystal()], torch.float64)
    with torch.no_grad():
        head.gap_gate.weight.zero_()
        sites = torch.randn(3, 32, dtype=torch.float64)
        values = head.gap_network(sites).squeeze(-1)
        structure, counts = batch["atom_structure"], batch["num_atoms"]
        # Equal weights are the mean.
        assert head._pooled_gap(sites, structure, counts).item() == pytest.approx(
            values.mean().item()
        )
        head.gap_gate.weight.copy_(1e3 * sites[1:2] / sites[1].norm() ** 2)
        assert head._pooled_gap(sites, structure, counts).item() == pytest.approx(values[1].item())
