import numpy as np
import pytest

from opalign.errors import SpectrumError
from opalign.spectrum.measured import read_measurement


def test_wavelengths_in_any_unit_and_order_are_energies(tmp_path):
    files = {
        "nm.csv": "# measured\nwavelength_nm,n,k\n1239.84198,2.0,0.1\n619.92099,2.2,0.3\n",
        "um.csv": "wavelength_um, n, k\n0.61992099,2.2,0.3\n1.23984198,2.0,0.1\n",
        "ev.csv": "energy_eV,refractive_index,extinction_coefficient\n1.0,2.0,0.1\n2.0,2.2,0.3\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        samples = read_measurement(tmp_path / name, "ZnS", 216).samples[0]
        assert samples.energies == pytest.approx([1.0, 2.0], rel=1e-8)
        assert samples.index.tolist() == [2.0, 2.2]
        assert samples.extinction.tolist() == [0.1, 0.3]


def test_k_may_be_missing_as_a_column_or_a_cell(tmp_path):
    (tmp_path / "n.csv").write_text("energy_eV,n\n1,2\n2,3\n")
    (tmp_path / "gap.csv").write_text("energy_eV,n,k\n1,2,\n2,3,0.5\n")
    assert np.isnan(read_measurement(tmp_path / "n.csv", "ZnS").samples[0].extinction).all()
    assert np.isnan(read_measurement(tmp_path / "gap.csv", "ZnS").samples[0].extinction[0])


def test_an_extraordinary_ray_makes_an_average(tmp_path):
    (tmp_path / "o.csv").write_text("energy_eV,n,k\n1,3,0\n1.2,3,0\n")
    (tmp_path / "e.csv").write_text("energy_eV,n,k\n1,2,0\n1.2,2,0\n")
    measurement = read_measurement(
        tmp_path / "o.csv", "CdS", 186, extraordinary=tmp_path / "e.csv", orientation="parallel"
    )
    assert measurement.orientation == "mean"
    assert measurement.permittivity_at(np.array([1.1]))[0] == pytest.approx((2 * 9 + 4) / 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n,k\n1,2\n", "expected: energy_eV"),
        ("energy_eV,k\n1,2\n", "no column 'n'"),
        ("energy_eV,n\n1,two\n2,3\n", "not a number"),
        ("wavelength_nm,n\n0,2\n500,3\n", "not positive"),
        ("", "cannot be read"),
        ("energy_eV,n\n1,2\n", "two samples"),
    ],
)
def test_files_that_are_none_are_named(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(SpectrumError, match=message) as caught:
        read_measurement(path, "ZnS")
    assert "bad.csv" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SpectrumError, match=r"absent\.csv"):
        read_measurement(tmp_path / "absent.csv", "ZnS")
