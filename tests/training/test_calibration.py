"""Calibration on made-up out-of-fold predictions whose errors are known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from opalign.errors import CheckpointError, ConfigurationError
from opalign.model.calibration import Calibration, read_calibration
from opalign.model.familiarity import INGREDIENTS
from opalign.spectrum.grid import EnergyGrid
from opalign.training.calibration import calibrate, fit_error, held_out, prepare
from opalign.training.calibration_report import write_calibration
from opalign.training.out_of_fold import OutOfFold

GRID = EnergyGrid(0.0, 20.0, 81)
LEVELS = ("rpa", "ipa")


def made_up(rows=60, members=3, seed=0, informative=True):
    """Peaks whose heights the members get wrong, by more for materials that are less familiar."""
    random = np.random.default_rng(seed)
    energies = GRID.values
    difficulty = np.exp(random.normal(-2.0, 0.7, rows))
    center = random.uniform(5.0, 12.0, (rows, 1, 1))
    height = random.uniform(1.0, 20.0, (rows, 1, 1))
    strength = np.array([1.0, 1.3])[None, :, None]
    peak = np.exp(-0.5 * ((energies - center) / 1.5) ** 2)
    truth = height * strength * peak
    size = (difficulty if informative else np.median(difficulty) * np.ones(rows))[:, None, None]
    wrong = truth * (1.0 + size * random.normal(size=(rows, 1, 1)))
    wrong += 0.3 * size * height * random.normal(size=(rows, 1, 1)) * np.roll(peak, 4, axis=-1)
    each = wrong[:, None] * (1 + size[:, None] * random.normal(size=(rows, members, 1, 1)))
    ingredients = random.normal(size=(rows, 2, len(INGREDIENTS)))
    ingredients[:, :, 0] = np.log(difficulty)[:, None] + 0.3 * ingredients[:, :, 0]
    return OutOfFold(
        grid=GRID,
        levels=LEVELS,
        ids=tuple(f"mp-{row}" for row in range(rows)),
        formulas=tuple(f"A{row + 1}O" for row in range(rows)),
        folds=np.arange(rows) % 5 + 1,
        real=2.0 + 0.1 * each,
        imaginary=np.maximum(each, 0.0),
        reference_real=2.0 + 0.1 * truth,
        reference_imaginary=truth,
        ingredients=ingredients,
    )


@pytest.fixture(scope="module")
def data():
    return made_up()


@pytest.fixture(scope="module")
def calibrated(data):
    return calibrate(data)


def test_bands_hold_on_folds_that_they_were_not_made_from():
    """Mean over draws: one of 60 materials has a standard error of 0.03 by itself."""
    found = [
        held_out(d, "rpa", prepare(d, "rpa", "epsilon_imaginary")).coverage.mean()
        for d in (made_up(seed=seed) for seed in range(8))
    ]
    assert np.mean(found) == pytest.approx(0.9, abs=0.03)


def test_a_lower_target_makes_narrower_bands_that_hold_less(data):
    prepared = prepare(data, "rpa", "epsilon_imaginary")
    wide, narrow = (held_out(data, "rpa", prepared, target) for target in (0.9, 0.5))
    assert narrow.sharpness.mean() < 0.7 * wide.sharpness.mean()
    assert narrow.coverage.mean() == pytest.approx(0.5, abs=0.12)


def test_a_fold_has_no_say_in_its_own_bands(data):
    """Absurd truths in one fold change the bands of the others, and not its own."""
    prepared = prepare(data, "rpa", "epsilon_imaginary")
    inside = data.folds == 2
    truth = np.where(inside[:, None], 30.0 * prepared.truth, prepared.truth)
    spoiled = replace(prepared, truth=truth)
    before, after = (held_out(data, "rpa", one) for one in (prepared, spoiled))
    np.testing.assert_array_equal(after.upper[inside], before.upper[inside])
    assert (after.upper[~inside].max(axis=1) > 1.5 * before.upper[~inside].max(axis=1)).all()


def test_bands_are_wide_where_the_members_disagree(data, calibrated):
    _, measured = calibrated
    found = measured["rpa"]
    spread = np.exp(data.ingredients[:, 0, 0])
    unsure = spread > np.median(spread)
    assert found.sharpness[unsure].mean() > 1.5 * found.sharpness[~unsure].mean()


def test_expected_errors_rank_true_ones(calibrated):
    calibration, measured = calibrated
    for level in LEVELS:
        figures = calibration.levels[level].measured
        assert figures.rank_correlation > 0.5
        assert figures.error_coverage == pytest.approx(0.9, abs=0.1)
        assert figures.coverage == measured[level].coverage.mean()
        assert (measured[level].lower >= 0.0).all()


def test_what_tells_nothing_gets_no_rank():
    found = [
        calibrate(made_up(seed=seed, informative=False))[0].levels["rpa"].measured.rank_correlation
        for seed in range(4)
    ]
    assert abs(np.mean(found)) < 0.25


def test_no_ingredient_makes_a_prediction_look_better():
    random = np.random.default_rng(1)
    ingredients = random.normal(size=(80, len(INGREDIENTS)))
    # The third one falls with the error: against sense, so it gets no weight.
    errors = np.exp(0.8 * ingredients[:, 1] - 0.8 * ingredients[:, 2] - 2.0)
    found = fit_error(ingredients, errors, np.arange(80) % 5)
    assert found.weights[1] == pytest.approx(0.8, abs=0.2)
    assert found.weights[2] == 0.0
    assert found.lower_factor < 1.0 < found.upper_factor


def test_too_few_materials_are_told_so():
    with pytest.raises(ConfigurationError, match="too few to calibrate"):
        calibrate(made_up(rows=10))


def test_advice_is_measured_against_the_mean(data, calibrated):
    advice = calibrated[0].advice
    predicted, true = data.similarity_of_levels("ipa", "rpa")
    assert (advice.cheap, advice.costly) == ("ipa", "rpa")
    assert advice.mean_absolute_error == pytest.approx(np.abs(predicted - true).mean())
    # By construction the true spectra differ by 0.3 of the area of the costly one.
    np.testing.assert_allclose(true, 0.7, atol=1e-6)
    assert advice.mean_predictor_error == pytest.approx(0.0, abs=1e-9)


def test_one_member_can_be_calibrated_too():
    calibration, _ = calibrate(made_up(members=1))
    assert calibration.members == 1
    assert calibration.levels["rpa"].bands["epsilon_imaginary"].rest.spread == 0.0


def test_what_is_written_reads_back(data, tmp_path):
    report = write_calibration(data, tmp_path, "mine")
    assert [path.name for path in report.files] == [
        "calibration_mine.json",
        "uncertainty_mine.md",
        "uncertainty_mine.csv",
        "uncertainty_mine.png",
    ]
    assert read_calibration(report.files[0], LEVELS) == report.calibration
    with pytest.raises(CheckpointError, match="of levels rpa, ipa"):
        read_calibration(report.files[0], ("rpa",))
    assert len(report.per_material) == 2 * len(data)
    text = report.files[1].read_text(encoding="utf-8")
    assert "| rpa | bands, calibrated | 0." in text
    assert "SC[rpa; ipa]" in text


@pytest.mark.parametrize(
    "change",
    [
        {"coverage": 1.5},
        {"members": 0},
        {"version": 2},
        {"levels": {}},
        {"surprise": 1},
    ],
)
def test_a_calibration_that_makes_no_sense(calibrated, tmp_path, change):
    content = json.loads(calibrated[0].model_dump_json()) | change
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="does not validate"):
        read_calibration(path, LEVELS)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1.0", "1e400", '"wide"'])
def test_numbers_that_make_no_band(calibrated, tmp_path, value):
    band = calibrated[0].levels["rpa"].bands["epsilon_imaginary"]
    text = calibrated[0].model_dump_json()
    path = tmp_path / "calibration.json"
    path.write_text(text.replace(f'"quantile":{band.rest.quantile!r}', f'"quantile":{value}'))
    assert path.read_text() != text
    with pytest.raises(CheckpointError, match="quantile"):
        read_calibration(path, LEVELS)


def test_negative_weights_and_unknown_ingredients_are_refused(calibrated):
    content = json.loads(calibrated[0].model_dump_json())
    error = content["levels"]["rpa"]["error"]
    for key, value in (("weights", [-1.0] * 5), ("ingredients", ["a"] * 5), ("centers", [0.0])):
        kept, error[key] = error[key], value
        with pytest.raises(ValueError, match=r"weights|ingredients|centers"):
            Calibration.model_validate(content)
        error[key] = kept


def test_nothing_is_expected_to_be_better_known_than_the_best_known():
    random = np.random.default_rng(2)
    ingredients = random.normal(size=(60, len(INGREDIENTS)))
    found = fit_error(ingredients, np.exp(ingredients[:, 0] - 2.0), np.arange(60) % 5)
    best = ingredients.min(axis=0)
    assert found.expected(best - 3.0) == found.expected(best)
    assert found.expected(best + 9.0) > found.expected(best)
