import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from opalign.dataset.formats.gpaw import import_gpaw
from opalign.dataset.split import kfold_by_formula
from opalign.dataset.table import SpectraTable
from opalign.spectrum.broadening import Broadening
from opalign.training.baselines import (
    as_level,
    baselines,
    composition_features,
    mean_weights,
    mixture,
    nearest_weights,
    tree_weights,
)
from opalign.training.metrics import per_material
from opalign.training.spectra import join, read_spectra


@pytest.fixture(scope="module")
def table(spectra_path):
    return SpectraTable.open(spectra_path)


@pytest.fixture(scope="module")
def spectra(table):
    return read_spectra(table, "rpa", band_gap_column="direct_gap_eV")


def test_features_are_fractions_and_volume_per_atom(table):
    features = composition_features([table])
    row = table.ids.index("cscl-MgO")
    assert features[row, 12 - 1] == features[row, 8 - 1] == 0.5
    assert features[row, :-1].sum() == pytest.approx(1.0)
    assert features[row, -1] == pytest.approx(2.66**3 / 2)


def test_mean_spectrum(spectra):
    training, test = spectra.rows(range(6)), spectra.rows([6, 7])
    predicted = mixture(training, mean_weights(np.zeros((6, 1)), np.zeros((2, 1))), test)
    assert predicted.ids == test.ids
    np.testing.assert_allclose(predicted.imaginary[1], training.imaginary.mean(axis=0))
    np.testing.assert_allclose(predicted.band_gap, training.band_gap.mean())


def test_nearest_composition_ignores_the_volume(table, spectra):
    """The polymorph of the same formula is nearest, whatever its volume."""
    features = composition_features([table])
    training, test = list(range(6)), [6, 7]
    weights = nearest_weights(features[training], features[test])
    assert [table.formulas[row] for row in weights.argmax(axis=1)] == ["MgO", "CaS"]
    predicted = mixture(spectra.rows(training), weights, spectra.rows(test))
    np.testing.assert_array_equal(predicted.real[0], spectra.real[0])


def test_tree_weights_give_the_forest_exactly(spectra):
    rng = np.random.default_rng(3)
    training, test = rng.normal(size=(40, 4)), rng.normal(size=(7, 4))
    targets = rng.normal(size=(40, 9))
    weights = tree_weights(training, test, targets, trees=20, seed=4)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    forest = ExtraTreesRegressor(20, random_state=4).fit(training, targets)
    np.testing.assert_allclose(weights @ targets, forest.predict(test), atol=1e-12)


def test_an_unknown_gap_does_not_count(spectra):
    gaps = spectra.band_gap.copy()
    gaps[0] = np.nan
    training = type(spectra)(**{**vars(spectra), "band_gap": gaps})
    predicted = mixture(training, np.eye(8)[:2] * 0.5 + np.eye(8)[1] * 0.5, spectra.rows([0, 1]))
    np.testing.assert_allclose(predicted.band_gap, gaps[1])


def test_a_level_taken_for_another_has_no_gap_of_its_own(table, spectra):
    cheaper = as_level(read_spectra(table, "ipa", band_gap_column="direct_gap_eV"), "rpa")
    frame = per_material(cheaper, spectra)
    assert "band_gap_eV_error" not in frame
    assert (frame["similarity"] < 1.0).all()


def test_figures_on_first_principles_data(opalign_data, tmp_path):
    """Median SC at 0.1 eV of the project's 71 materials lie where an independent script put them:
    mean .42, nearest .50, trees .59, IPA for RPA .71; folds differ by some hundredths."""
    source = opalign_data / "gpaw_pbe" / "spectra.parquet"
    if not source.is_file():
        pytest.skip(f"{source} is absent")
    table = SpectraTable.open(import_gpaw(source, tmp_path / "table.parquet").path)
    narrow = Broadening("gaussian", 0.1)
    reference = read_spectra(table, "rpa", narrow)
    features = composition_features([table])
    found: dict[str, list] = {}
    for split in kfold_by_formula(table.ids, table.formulas, 2, 0, 0.0):
        train, test = ([table.ids.index(m) for m in part] for part in (split.train, split.test))
        predictions = baselines(
            reference.rows(train), reference.rows(test), features[train], features[test], trees=100
        )
        for name, spectra in predictions.items():
            found.setdefault(name, []).append(spectra)
    found["ipa"] = [as_level(read_spectra(table, "ipa", narrow), "rpa")]
    median = {}
    for name, parts in found.items():
        predicted = join(parts).select(reference.ids)
        median[name] = per_material(predicted, reference)["similarity"].median()
    assert median["mean spectrum"] == pytest.approx(0.42, abs=0.05)
    assert median["nearest composition"] == pytest.approx(0.50, abs=0.08)
    assert median["randomised trees"] == pytest.approx(0.59, abs=0.06)
    assert median["ipa"] == pytest.approx(0.71, abs=0.01)
