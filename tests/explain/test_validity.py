"""The validity table tells representations that know something from those that don't."""

import numpy as np
import pytest

from opalign.errors import DatasetError
from opalign.explain.features import LayerFeatures
from opalign.explain.validity import (
    Representation,
    Truth,
    composition_features,
    spectra_features,
    validity_table,
)

KINDS = np.repeat(np.arange(4), 15)
IDS = tuple(f"m{row}" for row in range(60))
FORMULAS = tuple(f"F{row}" for row in range(60))


def features(seed, strength, order=KINDS, name="layer"):
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(100).normal(size=(4, 6)) * strength
    return LayerFeatures(IDS, FORMULAS, name, "m", centres[order] + generator.normal(size=(60, 6)))


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(0)
    energies = np.linspace(0, 10, 50)
    onsets = 2.0 + 1.5 * KINDS + 0.2 * generator.normal(size=60)
    spectra = np.clip(energies - onsets[:, None], 0, None)
    truth = Truth(
        IDS,
        FORMULAS,
        {"imaginary": spectra},
        {"onset_eV": onsets},
        {"anion": [["O", "S", "Se", "Te"][kind] for kind in KINDS]},
    )
    good, noise = features(1, 10.0), features(2, 0.0)
    rows = [
        Representation("good", good, unseen=good, compared={"seed": features(3, 10.0)}),
        Representation("noise", noise, unseen=noise, compared={"seed": features(4, 0.0)}),
        Representation("spectra", spectra_features(IDS, FORMULAS, spectra, "s"), "control"),
    ]
    return truth, validity_table(rows, truth, 4).set_index("representation")


def test_a_good_representation_scores_well_everywhere(table):
    good = table[1].loc["good"]
    assert good["distance_ratio_imaginary"] < 0.2
    assert good["distance_ratio_imaginary_unseen"] == good["distance_ratio_imaginary"]
    assert good["spread_onset_eV"] < 0.2
    assert good["nmi_anion"] == pytest.approx(1.0)
    assert good["purity_anion"] == 1.0
    assert good["ari_bootstrap"] == 1.0
    assert good["ari_seed"] == 1.0
    assert good["ari_unseen"] == 1.0


def test_noise_is_as_good_as_random_groups(table):
    noise, random = table[1].loc["noise"], table[1].loc["random groups"]
    for column in ("distance_ratio_imaginary", "spread_onset_eV", "purity_anion"):
        assert noise[column] == pytest.approx(random[column], abs=0.2)
    assert abs(noise["ami_anion"]) < 0.15
    assert abs(noise["ari_seed"]) < 0.15
    assert random["distance_ratio_imaginary"] == pytest.approx(1.0, abs=0.05)
    assert random["spread_onset_eV"] == pytest.approx(1.0, abs=0.05)


def test_what_does_not_apply_is_left_open(table):
    assert np.isnan(table[1].loc["spectra", "ari_seed"])
    assert np.isnan(table[1].loc["random groups", "ari_bootstrap"])
    assert table[1].loc["spectra", "kind"] == "control"


def test_other_materials_are_refused(table):
    other = LayerFeatures(IDS[:50], FORMULAS[:50], "layer", "m", np.eye(50))
    with pytest.raises(DatasetError, match="other materials than the table"):
        validity_table([Representation("other", other)], table[0], 4)


def test_compositions_are_fractions():
    compositions = [{"Mg": 2, "O": 2}, {"Al": 2, "O": 3}]
    found = composition_features(("a", "b"), ("MgO", "Al2O3"), compositions)
    np.testing.assert_allclose(found.matrix, [[0, 0.5, 0.5], [0.4, 0, 0.6]])
