"""Bands, expected errors and advice beside predictions, from ensemble to file."""

import csv
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from opalign.crystal.graph import build_graph, collate
from opalign.dataset.table import SpectraTable
from opalign.errors import CheckpointError
from opalign.model.calibration import (
    AdviceCalibration,
    BandCalibration,
    Calibration,
    ErrorCalibration,
    LevelCalibration,
    Measured,
    RegionCalibration,
)
from opalign.model.checkpoint import build_model, load_checkpoint, save_checkpoint
from opalign.model.config import (
    AlignnConfig,
    ModelConfig,
    PhysicalHeadConfig,
    ScalarHeadConfig,
)
from opalign.model.ensemble import EnsembleModel
from opalign.model.familiarity import INGREDIENTS
from opalign.model.reference import Reference
from opalign.prediction import Predictor, write_predictions
from opalign.prediction.advice import FROM_MODEL, FROM_SPECTRA
from opalign.spectrum.bands import QUANTITIES
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.similarity import similarity_coefficient

LEVELS = ("rpa", "ipa")
ENCODER = AlignnConfig(alignn_layers=1, gcn_layers=1, hidden_features=8, embedding_features=8)
PHYSICAL = PhysicalHeadConfig(hidden_features=(8,))


def level_calibration(quantile=2.0):
    weights = {"spread": 1.0, "height": 0.2, "surroundings": 0.1}
    band = BandCalibration(
        rise=RegionCalibration(**weights, quantile=2 * quantile),
        rest=RegionCalibration(**weights, quantile=quantile),
    )
    return LevelCalibration(
        bands=dict.fromkeys(QUANTITIES, band),
        error=ErrorCalibration(
            centers=(0.0,) * len(INGREDIENTS),
            weights=(0.3, 0.0, 0.2, 0.1, 0.1),
            intercept=-1.0,
            lower_factor=0.5,
            upper_factor=2.0,
        ),
        measured=Measured(materials=30, coverage=0.9, sharpness=1.2, error_coverage=0.9),
    )


def calibration(**changes):
    content = {
        "members": 3,
        "materials": 30,
        "folds": 5,
        "levels": dict.fromkeys(LEVELS, level_calibration()),
        "advice": AdviceCalibration(
            cheap="ipa",
            costly="rpa",
            mean_absolute_error=0.05,
            median_absolute_error=0.04,
            upper_absolute_error=0.1,
            agreement=0.8,
            mean_predictor_error=0.1,
        ),
    }
    return Calibration(**content | changes)


def networks(count, head=PHYSICAL):
    config = ModelConfig(
        encoder=ENCODER,
        head=head,
        grid=EnergyGrid(0.0, 10.0, 101),
        levels=LEVELS,
        broadening=Broadening("gaussian", 0.1),
    )
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        found.append(build_model(config).eval())
    return found


def write(folder, model, structures, **content):
    batch = collate([build_graph(one, model.config.graph) for one in structures.values()])
    with torch.no_grad():
        features = model(batch)["features"].numpy()
    formulas = tuple(one.reduced_formula for one in structures.values())
    return save_checkpoint(
        folder,
        model,
        **{
            "elements": [8, 12, 16, 20],
            "metrics": {},
            "splits": {"train": list(structures), "validation": [], "test": []},
            "card": "# Several\n",
            "reference": Reference(tuple(structures), formulas, features),
            "calibration": calibration(),
            **content,
        },
    )


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory, training_structures):
    folder = tmp_path_factory.mktemp("ensembles") / "three"
    return write(folder, EnsembleModel(networks(3)), training_structures)


@pytest.fixture(scope="module")
def unsure(ensemble):
    return Predictor.load(ensemble, device="cpu")


def test_bands_hold_their_spectrum_and_obey_physics(unsure, crystals):
    for prediction in unsure.predict(crystals):
        assert set(prediction.bands) == set(LEVELS)
        for level, bands in prediction.bands.items():
            assert set(bands) == set(QUANTITIES)
            for quantity, (lower, upper) in bands.items():
                values = getattr(prediction.spectra[level], quantity)
                slack = 1e-6 * np.abs(values).max()
                assert (lower <= values + slack).all(), quantity
                assert (values <= upper + slack).all(), quantity
                assert (lower >= QUANTITIES[quantity]).all(), quantity


def test_bands_are_as_calibrated(unsure, ensemble, training_structures):
    """Im ε ± 2 (σ + 0.2 h + 0.1 w), and twice that on the rise, written out."""
    structure = training_structures["mp-1"]
    (prediction,) = unsure.predict(structure)
    checkpoint = load_checkpoint(ensemble)
    batch = collate([build_graph(structure, checkpoint.config.graph)])
    with torch.no_grad():
        each = checkpoint.model(batch)["member_epsilon_imaginary"][0, :, 0].numpy()
    from scipy.ndimage import gaussian_filter1d

    def local(square, width=0.6):
        return np.sqrt(gaussian_filter1d(square, width / 0.1, mode="nearest"))

    mean = each.mean(axis=0)
    height = local(mean**2)
    wide = local(mean**2, 1.0) + 1e-5 * height.max()
    width = 2.0 * (local(each.var(axis=0, ddof=1)) + 0.2 * height + 0.1 * wide)
    rise = np.cumsum(height > 0.5 * height.max()) == 0
    width *= 1.0 + gaussian_filter1d(rise.astype(float), 0.3 / 0.1, mode="nearest")
    lower, upper = prediction.bands["rpa"]["epsilon_imaginary"]
    np.testing.assert_allclose(upper, mean + width, atol=1e-4)
    np.testing.assert_allclose(lower, np.maximum(mean - width, 0.0), atol=1e-4)


def test_a_batch_changes_no_band(unsure, crystals):
    together = list(unsure.predict(crystals, batch_size=16))
    apart = list(unsure.predict(crystals, batch_size=1))
    for one, other in zip(together, apart, strict=True):
        for a, b in zip(one.bands["rpa"].values(), other.bands["rpa"].values(), strict=True):
            # α is kept to 0.001 cm⁻¹.
            np.testing.assert_allclose(a, b, atol=2e-3 if np.max(a) > 1e3 else 2e-9, rtol=0)
        assert one.error_estimate.expected == pytest.approx(other.error_estimate.expected)
        assert one.advice.similarity == pytest.approx(other.advice.similarity)


def test_the_expected_error_grows_with_the_distance(unsure, training_structures):
    known = training_structures["mp-1"]
    strange = known.copy()
    strange.replace_species({"Mg": "Ba"})
    strange.scale_lattice(strange.volume * 1.8)
    near, far = unsure.predict([known, strange])
    assert near.distance < 1e-3 < far.distance
    assert near.error_estimate.expected < far.error_estimate.expected
    for one in (near, far):
        error = one.error_estimate
        assert error.lower == pytest.approx(0.5 * error.expected)
        assert error.upper == pytest.approx(2.0 * error.expected)
        assert error.similarity == 1.0 - error.expected
        assert error.similarity_interval == (1.0 - error.upper, 1.0 - error.lower)


def test_a_model_that_was_not_calibrated_predicts_as_before(predictor, crystals):
    for prediction in predictor.predict(crystals):
        assert prediction.bands == {}
        assert prediction.error_estimate is None
        assert prediction.distance == prediction.nearest[0].relative_distance


def test_an_ensemble_of_one_predicts_what_the_network_does(tmp_path, training_structures, crystals):
    (network,) = networks(1)
    paths = [
        write(tmp_path / "alone", network, training_structures),
        write(tmp_path / "one", EnsembleModel([network]), training_structures),
    ]
    found = [list(Predictor.load(path, device="cpu").predict(crystals)) for path in paths]
    for alone, one in zip(*found, strict=True):
        np.testing.assert_array_equal(alone.spectrum.epsilon, one.spectrum.epsilon)
        for quantity, bounds in alone.bands["rpa"].items():
            np.testing.assert_array_equal(bounds, one.bands["rpa"][quantity])
        assert alone.error_estimate == one.error_estimate


def test_two_predicted_spectra_advise(unsure, crystals):
    for prediction in unsure.predict(crystals):
        advice = prediction.advice
        low, high = (prediction.spectra[level].epsilon_imaginary for level in ("ipa", "rpa"))
        expected = similarity_coefficient(low, high, unsure.config.grid)
        assert advice.similarity == pytest.approx(float(expected), abs=1e-6)
        assert advice.source == FROM_SPECTRA
        assert advice.error == 0.05
        assert advice.better_than_mean
        assert advice.level in ("ipa", "rpa")


def test_advice_does_not_depend_on_the_levels_asked_for(unsure, crystals):
    (one,) = unsure.predict(crystals[0], levels=["ipa"])
    (both,) = unsure.predict(crystals[0])
    assert one.advice == both.advice
    assert set(one.bands) == {"ipa"}


def test_a_similarity_model_inside_the_folder_advises(ensemble, tmp_path, training_structures):
    (scalar,) = networks(1, ScalarHeadConfig(hidden_features=(4,)))
    metrics = {"cross_validation": {"mae": 0.03, "mae_of_the_mean": 0.08}}
    inside = write(tmp_path / "s", scalar, training_structures, calibration=None, metrics=metrics)
    folder = shutil.copytree(ensemble, tmp_path / "advised")
    shutil.copytree(inside, folder / "advice")
    structure = training_structures["mp-2"]
    (prediction,) = Predictor.load(folder, device="cpu").predict(structure)
    batch = collate([build_graph(structure, scalar.config.graph)])
    with torch.no_grad():
        expected = float(scalar(batch)["similarity"][0])
    assert prediction.advice.similarity == pytest.approx(expected, abs=1e-5)
    assert prediction.advice.source == FROM_MODEL
    assert (prediction.advice.error, prediction.advice.error_of_mean) == (0.03, 0.08)


def test_advice_of_a_model_that_gives_none_is_refused(ensemble, tmp_path):
    folder = shutil.copytree(ensemble, tmp_path / "advised")
    shutil.copytree(ensemble, folder / "advice")
    with pytest.raises(CheckpointError, match="advises on no level"):
        Predictor.load(folder, device="cpu")


def test_a_calibration_of_other_levels_is_refused(tmp_path, training_structures):
    (network,) = networks(1)
    other = calibration(levels={"rpa": level_calibration()}, advice=None)
    folder = write(tmp_path / "m", network, training_structures, calibration=other)
    with pytest.raises(CheckpointError, match="the calibration is of levels rpa"):
        load_checkpoint(folder)


def test_a_changed_calibration_is_noticed(ensemble, tmp_path):
    folder = shutil.copytree(ensemble, tmp_path / "changed")
    path = folder / "calibration.json"
    path.write_text(path.read_text().replace('"quantile": 2.0', '"quantile": 0.2'))
    with pytest.raises(CheckpointError, match=r"calibration\.json.*SHA-256"):
        load_checkpoint(folder)


def test_everything_is_on_disk(unsure, crystals, tmp_path):
    write_predictions(unsure, crystals[:2], tmp_path, plots=True)
    predictions = list(unsure.predict(crystals[:2]))
    with (tmp_path / "summary.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = SpectraTable.open(tmp_path / "spectra.parquet")
    table.validate()
    lists = pq.read_table(tmp_path / "spectra.parquet")
    for number, (row, one) in enumerate(zip(rows, predictions, strict=True)):
        error, advice = one.error_estimate, one.advice
        assert float(row["expected_similarity"]) == pytest.approx(error.similarity, rel=1e-4)
        assert float(row["similarity_lower"]) == pytest.approx(1 - error.upper, rel=1e-4)
        assert float(row["similarity_between_levels"]) == pytest.approx(advice.similarity, rel=1e-4)
        assert row["needed_level"] == advice.level
        assert row["advice"] == advice.sentence
        for level in LEVELS:
            path = tmp_path / "csv" / f"{one.id}_{level}.csv"
            assert np.array_equal(
                OpticalSpectrum.from_csv(path).epsilon, one.spectra[level].epsilon
            )
            lower, upper = one.bands[level]["epsilon_imaginary"]
            found = pd.read_csv(path, comment="#")
            np.testing.assert_allclose(found["epsilon_imaginary_lower"], lower)
            np.testing.assert_allclose(
                found["absorption_per_cm_upper"], one.bands[level]["absorption_coefficient"][1]
            )
            stored = lists.column(f"{level}_epsilon_imaginary_upper")[number].as_py()
            np.testing.assert_allclose(stored, upper, rtol=1e-5)
    assert len(list((tmp_path / "plots").iterdir())) == 2
