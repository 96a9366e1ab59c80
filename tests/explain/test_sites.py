"""Contributions of sites add up to the prediction, for every kind of head."""

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from opalign.crystal.graph import build_graph
from opalign.crystal.settings import GraphSettings
from opalign.errors import ConfigurationError, StructureError
from opalign.explain.sites import EXACT, INTEGRATED_GRADIENTS, site_spectra
from opalign.model.checkpoint import build_model, save_checkpoint
from opalign.model.config import (
    AlignnConfig,
    ModelConfig,
    OptimateConfig,
    PhysicalHeadConfig,
    VectorHeadConfig,
)
from opalign.prediction import load_model
from opalign.spectrum.grid import EnergyGrid

ALIGNN = AlignnConfig(hidden_features=8, embedding_features=8, alignn_layers=1, gcn_layers=1)
GRID = EnergyGrid(0.0, 10.0, 21)
RADIUS = GraphSettings(kind="radius", cutoff=4.0, angles=False)


def rutile() -> Structure:
    return Structure.from_spacegroup(
        "P4_2/mnm",
        Lattice.tetragonal(4.59, 2.96),
        ["Ti", "O"],
        [[0, 0, 0], [0.305, 0.305, 0]],
    )


def predictor_of(folder, head, encoder=ALIGNN, graph=None, seed=0):
    torch.manual_seed(seed)
    config = ModelConfig(
        encoder=encoder,
        head=head,
        graph=graph or GraphSettings(neighbors=6),
        grid=GRID,
        levels=("ipa", "rpa"),
    )
    model = build_model(config, torch.float32)
    save_checkpoint(folder / "model", model, elements=(8, 22), metrics={}, splits={}, card="a test")
    return load_model(folder / "model", device="cpu")


HEADS = {
    "physical": (PhysicalHeadConfig(hidden_features=(8,)), ALIGNN, None, EXACT),
    "linear": (VectorHeadConfig(target="log_absorption"), ALIGNN, None, EXACT),
    "deep": (VectorHeadConfig(hidden_features=(16, 16)), ALIGNN, None, INTEGRATED_GRADIENTS),
    "attention": (
        VectorHeadConfig(hidden_features=(16,), leaky_output=True),
        OptimateConfig(element_table="cgcnn_group_period"),
        RADIUS,
        INTEGRATED_GRADIENTS,
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_contributions_add_up_to_the_prediction(name, tmp_path):
    head, encoder, graph, method = HEADS[name]
    predictor = predictor_of(tmp_path, head, encoder, graph)
    for level in predictor.levels:
        found = site_spectra(predictor, rutile(), level)
        assert found.method == method
        output = predictor.run([build_graph(rutile(), predictor.config.graph)])
        key = "epsilon_imaginary" if name == "physical" else "target"
        expected = output[key][0, predictor.levels.index(level)].numpy()
        np.testing.assert_allclose(found.total, expected, rtol=1e-10, atol=1e-12)
        # A piecewise linear network has kinks on the path, where the rule converges slowly.
        assert found.error < (1e-10 if method == EXACT else 5e-3)
        assert found.contributions.shape == (6, GRID.num)


@pytest.mark.parametrize("name", HEADS)
def test_equivalent_sites_contribute_equally_and_others_do_not(name, tmp_path):
    head, encoder, graph, _ = HEADS[name]
    found = site_spectra(predictor_of(tmp_path, head, encoder, graph), rutile())
    titanium, oxygen = found.contributions[:2], found.contributions[2:]
    scale = np.abs(found.contributions).max()
    np.testing.assert_allclose(titanium[0], titanium[1], atol=1e-9 * scale)
    np.testing.assert_allclose(oxygen[0], oxygen[3], atol=1e-9 * scale)
    assert np.abs(titanium[0] - oxygen[0]).max() > 1e-3 * scale


def test_a_supercell_divides_every_contribution(tmp_path):
    predictor = predictor_of(tmp_path, HEADS["physical"][0])
    one = site_spectra(predictor, rutile())
    two = site_spectra(predictor, rutile() * [1, 1, 2])
    np.testing.assert_allclose(one.total, two.total, rtol=1e-9, atol=1e-12)
    for element, values in one.by_element().items():
        np.testing.assert_allclose(values, two.by_element()[element], rtol=1e-9, atol=1e-12)


def test_shares_add_up_to_one_and_elements_to_the_total(tmp_path):
    found = site_spectra(predictor_of(tmp_path, HEADS["physical"][0]), rutile())
    assert found.shares(6.0).sum() == pytest.approx(1.0)
    assert np.isnan(found.shares(0.0)).all()
    assert list(found.by_element()) == ["Ti", "O"]
    np.testing.assert_allclose(sum(found.by_element().values()) + found.rest, found.total)
    by_motif = found.by_label(["octahedral"] * 2 + ["O"] * 4)
    np.testing.assert_allclose(by_motif["octahedral"], found.by_element()["Ti"])


def test_what_cannot_be_divided_says_why(tmp_path):
    predictor = predictor_of(tmp_path, HEADS["physical"][0])
    with pytest.raises(ConfigurationError, match="level 'bse'"):
        site_spectra(predictor, rutile(), "bse")
    with pytest.raises(ConfigurationError, match="99 eV"):
        site_spectra(predictor, rutile()).shares(99.0)
    with pytest.raises(ConfigurationError, match="2 labels of 6 sites"):
        site_spectra(predictor, rutile()).by_label(["a", "b"])
    odd = Structure(Lattice.cubic(4.5), ["Lr", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(StructureError, match="Lr"):
        site_spectra(predictor, odd)
