from dataclasses import replace

import numpy as np
import pytest

from opalign.spectrum.experiment import compare, compare_statics, static_rows, table_rows
from opalign.spectrum.experiment.comparison import scissored, sufficient_range
from opalign.spectrum.measured import Measurement, Samples


def test_the_scissor_with_the_measured_gap_mends_the_spectrum(crystal, experiment, gap):
    (result,) = compare([crystal], [experiment], gaps=[gap])
    assert result.shift == pytest.approx(1.5)
    assert result.score.similarity < 0.5
    assert result.corrected_score.similarity > 0.95
    assert result.score.onset_shift == pytest.approx(-1.5, abs=0.05)
    assert result.corrected_score.onset_shift == pytest.approx(0.0, abs=0.05)
    assert result.corrected.level == "rpa + scissor"
    assert result.sufficient


def test_the_rigid_shift_keeps_more_strength(crystal, experiment, gap):
    """This experiment was made with the factor (E − Δ)/E, so without it too much is left."""
    (result,) = compare([crystal], [experiment], gaps=[gap])
    sums = [
        spectrum.epsilon_imaginary.sum()
        for spectrum in (crystal.spectrum, result.corrected, result.rigid)
    ]
    assert sums[1] < 0.9 * sums[0]
    assert sums[2] == pytest.approx(sums[0], rel=0.02)
    assert result.score.similarity < result.rigid_score.similarity
    assert result.rigid_score.similarity < result.corrected_score.similarity
    assert result.rigid_score.onset_shift == pytest.approx(0.0, abs=0.05)


def test_another_phase_or_formula_is_not_compared(crystal, experiment, gap):
    others = [replace(crystal, spacegroup=186), replace(crystal, formula="ZnSe")]
    assert compare(others, [experiment], gaps=[gap]) == []


def test_gaps_are_compared_with_those_of_their_kind(crystal, gap):
    indirect = replace(crystal, band_gap=2.0)
    assert scissored(indirect, gap)[1] == pytest.approx(2.5)
    assert scissored(indirect, replace(gap, kind="optical"))[1] == pytest.approx(1.5)
    predicted = replace(crystal, band_gap=None)
    assert scissored(predicted, gap)[1] == pytest.approx(1.5)
    spectrum, shift, note = scissored(predicted, replace(gap, transition="indirect"))
    assert spectrum is shift is None
    assert "unknown" in note
    assert scissored(crystal, None)[2] == "no measured gap in the table"


def test_a_shift_that_closes_the_gap_is_told(crystal, gap):
    spectrum, shift, note = scissored(replace(crystal, direct_gap=1.0), replace(gap, gap=0.5))
    assert spectrum is shift is None
    assert note


def test_the_measured_range_is_judged_from_gap_to_two_electronvolts_beyond(experiment):
    (samples,) = experiment.samples

    def part(lower, upper):
        inside = (samples.energies >= lower) & (samples.energies <= upper)
        cut = Samples(*(values[inside] for values in (
            samples.energies, samples.index, samples.extinction)))  # fmt: skip
        return Measurement("ZnS", 216, (cut,))

    assert sufficient_range(part(1.0, 6.6), 4.5)[0]
    enough, reason = sufficient_range(part(1.0, 6.0), 4.5)
    assert not enough
    assert "beyond the onset" in reason
    enough, reason = sufficient_range(part(5.0, 9.0), 4.5)
    assert not enough
    assert "not below the gap" in reason
    enough, reason = sufficient_range(part(5.0, 9.0), None)
    assert not enough
    assert "no measured gap" in reason


def test_static_values_before_and_after(crystal, static, gap):
    (result,) = compare_statics([crystal], statics=[static], gaps=[gap])
    assert result.computed == pytest.approx(crystal.spectrum.static_dielectric)
    assert result.corrected < result.rigid < result.computed
    assert result.rigid_error == pytest.approx(result.rigid / 2.2 - 1.0)
    assert result.error == pytest.approx(result.computed / 2.2 - 1.0)
    across = replace(static, orientation="perpendicular")
    assert compare_statics([crystal], statics=[across], gaps=[gap]) == []


def test_rows_are_plain_and_say_nothing_of_what_is_undefined(crystal, experiment, gap, static):
    opaque = replace(
        experiment, samples=(Samples(
            experiment.samples[0].energies,
            experiment.samples[0].index,
            experiment.samples[0].extinction + 0.05,
        ),),
    )  # fmt: skip
    rows = table_rows(compare([crystal], [opaque], gaps=[gap]))
    assert [row["scissor_eV"] for row in rows] == [None, *[pytest.approx(1.5)] * 2]
    assert [row["scissor_power"] for row in rows] == [None, 1.0, 0.0]
    assert rows[0]["onset_measured_eV"] is None
    assert rows[0]["onset_shift_eV"] is None
    assert "throughout" in rows[0]["onset_note"]
    values = [
        *rows[0].values(),
        *static_rows(compare_statics([crystal], statics=[static]))[0].values(),
    ]
    assert all(value is None or isinstance(value, float | int | str | bool) for value in values)
    assert not any(isinstance(value, float) and np.isnan(value) for value in values)
