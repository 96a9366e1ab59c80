"""Yambo, GPAW and Quantum ESPRESSO: layouts, levels, pairs of files, assumed widths."""

import numpy as np
import pytest

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats import read_file, read_spectra

from .conftest import ENERGIES, YAMBO_4, YAMBO_5, samples, yambo_text

YAMBO_3 = "#  E/ev[1]  EPS/Im[2]  EPS/Re[3]  EPSo/Im[4]  EPSo/Re[5]\n"
HAYDOCK = """#   Haydock|Accuracy (requested) [o/o]:  0.02000
#    E/ev[1]      EPS-Im[2]    EPS-Re[3]    EPSo-Im[4]   EPSo-Re[5]   EPS`-Im[6]   EPS`-Re[7]
"""


@pytest.fixture
def scalar(tensor):
    return np.trace(tensor, axis1=1, axis2=2) / 3.0


@pytest.mark.parametrize("header", [YAMBO_3, YAMBO_4, YAMBO_5])
@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("o-job.eps_q1_inv_rpa_dyson", "rpa"),
        ("o.eps_q1_haydock_bse", "bse"),
        ("o-3D_BSE.eps_q1_inv_alda_dyson", "tddft alda"),
        ("o-x.y.eps_q1_inv_LRC_dyson", "tddft lrc"),
    ],
)
def test_yambo_headers_and_levels(tmp_path, scalar, header, name, level):
    path = tmp_path / name
    other = scalar + 0.5 + 0.25j
    path.write_text(yambo_text(header, [scalar.imag, scalar.real, other.imag, other.real]))
    found = read_file(path)
    assert found.levels == (level, "ipa")
    np.testing.assert_allclose(found.spectra[0].epsilon, scalar, atol=1e-6)
    np.testing.assert_allclose(found.spectra[1].epsilon, other, atol=1e-6)
    np.testing.assert_array_equal(found.spectra[0].energies, ENERGIES)
    assert found.spectra[0].broadening == Broadening("lorentzian", 0.1)
    assert any("default" in note for note in found.notes)


def test_yambo_independent_particles_alone(tmp_path, scalar):
    path = tmp_path / "o-a.eps_q1_ip"
    path.write_text(yambo_text("# E[1] [eV]   Im(eps)   Re(eps)\n", [scalar.imag, scalar.real]))
    assert read_file(path).levels == ("ipa",)
    path.write_text(yambo_text(YAMBO_5, [scalar.imag, scalar.real] * 2))
    assert read_file(path).levels == ("ipa",)  # the same twice


def test_yambo_previous_iteration_is_not_read(tmp_path, scalar):
    path = tmp_path / "o.eps_q1_haydock_bse"
    columns = [scalar.imag, scalar.real, scalar.imag + 1, scalar.real, scalar.imag + 9, scalar.real]
    path.write_text(yambo_text(HAYDOCK, columns))
    found = read_file(path)
    assert found.levels == ("bse", "ipa")
    np.testing.assert_allclose(found.spectra[0].epsilon, scalar, atol=1e-6)
    np.testing.assert_allclose(found.spectra[1].epsilon, scalar + 1j, atol=1e-6)


def test_yambo_units_damping_version_and_direction(tmp_path, scalar):
    path = tmp_path / "o-job.eps_q1_inv_rpa_dyson"
    damping = "# % DmRngeXd\n#   0.05000 | 0.05000 |  eV    # [Xd] Damping range\n# %\n"
    header = damping + YAMBO_4.replace("E/ev[1]", "E/Ha[1]")
    columns = [scalar.imag, scalar.real, scalar.imag, scalar.real]
    path.write_text(yambo_text(header, columns, ENERGIES / 27.211386245988))
    found = read_file(path)
    np.testing.assert_allclose(found.spectra[0].energies, ENERGIES, atol=2e-5)
    assert found.spectra[0].broadening == Broadening("lorentzian", 0.05)
    assert not found.notes
    assert found.metadata["version"].startswith("4.4.0")
    assert found.metadata["direction"] == [7.071e-6, 7.071e-6, 0.0]
    assert found.spectra[0].material_id == "job"
    width = Broadening("lorentzian", 0.3)
    assert read_spectra(path, broadening=width)[0].broadening == width


@pytest.mark.parametrize(
    ("name", "header", "says"),
    [
        ("o-a.eps_q3_ip", YAMBO_5, "momentum number 3"),
        ("o-a.eps_q1_ip", "# nothing\n", "no names"),
        ("o-a.eps_q1_ip", YAMBO_5.replace("Re(eps_o)", ""), "names 4 columns"),
        ("o-a.eps_q1_ip", YAMBO_5.replace("[eV]", "[fs]"), "unit of energy"),
        ("o-a.eps", YAMBO_5, "level of theory"),
    ],
)
def test_yambo_refusals(tmp_path, scalar, name, header, says):
    path = tmp_path / name
    path.write_text(yambo_text(header, [scalar.imag, scalar.real] * 2))
    with pytest.raises(SpectrumError, match=says):
        read_spectra(path)


def test_gpaw_files_of_three_directions(data):
    found = read_file(data / "df_x.csv")
    assert found.levels == ("ipa", "rpa")
    columns = {axis: np.loadtxt(data / f"df_{axis}.csv", delimiter=",") for axis in "xyz"}
    ipa, rpa = found.spectra
    for place, axis in enumerate("xyz"):
        values = columns[axis]
        for spectrum, first in ((ipa, 1), (rpa, 3)):
            # Interpolation keeps the ends, and joins the points by straight lines.
            expected = np.interp(
                spectrum.energies, values[:, 0], values[:, first] + 1j * values[:, first + 1]
            )
            np.testing.assert_allclose(spectrum.epsilon[:, place, place], expected, atol=2e-6)
    assert ipa.grid.step <= np.diff(columns["x"][:, 0]).min() * (1 + 1e-9)
    assert ipa.grid.stop == columns["x"][-1, 0]
    assert "interpolated linearly from 77" in rpa.provenance
    # The cell is stretched along z: x and y are alike, z is not.
    static = ipa.static_dielectric
    assert static[0, 0] == pytest.approx(static[1, 1], abs=1e-4)
    assert abs(static[2, 2] - static[0, 0]) > 0.01
    assert rpa.static_dielectric[0, 0] < static[0, 0]
    assert ipa.broadening == Broadening("lorentzian", 0.2)
    assert any("η" in note for note in found.notes)


def test_gpaw_same_tensor_from_any_direction(data):
    width = Broadening("lorentzian", 0.1)
    first, second = (read_file(data / f"df_{axis}.csv", broadening=width) for axis in "xz")
    np.testing.assert_array_equal(first.spectra[1].epsilon, second.spectra[1].epsilon)
    assert first.spectra[1].broadening == width
    assert not any("η" in note for note in first.notes)


def test_gpaw_one_direction(data, tmp_path):
    (tmp_path / "df_z.csv").write_bytes((data / "df_z.csv").read_bytes())
    found = read_file(tmp_path / "df_z.csv", step=0.5)
    assert not found.spectra[0].is_tensor
    assert any("df_x.csv and df_y.csv" in note for note in found.notes)
    assert found.spectra[0].grid.step == pytest.approx(0.5, rel=0.02)
    assert found.metadata["directions"] == "z"


def test_gpaw_bse_and_other_responses(data, tmp_path):
    values = np.loadtxt(data / "df_x.csv", delimiter=",")[:, :3]
    np.savetxt(tmp_path / "df_bse.csv", values, fmt="%.6f", delimiter=", ")
    assert read_file(tmp_path / "df_bse.csv").levels == ("bse",)
    np.savetxt(tmp_path / "eels.csv", values, fmt="%.6f", delimiter=", ")
    with pytest.raises(SpectrumError, match="loss function"):
        read_file(tmp_path / "eels.csv")


def test_gpaw_directions_that_do_not_fit(data, tmp_path):
    for axis in "xyz":
        (tmp_path / f"df_{axis}.csv").write_bytes((data / f"df_{axis}.csv").read_bytes())
    text = (tmp_path / "df_y.csv").read_text()
    (tmp_path / "df_y.csv").write_text(text.replace("0.406739", "0.406740"))
    with pytest.raises(SpectrumError, match=r"df_y.csv: its columns or frequencies"):
        read_file(tmp_path / "df_x.csv")


@pytest.mark.parametrize("name", ["epsr", "epsi"])
def test_espresso_pairs(tmp_path, tensor, name):
    samples(tmp_path)
    diagonal = np.stack([tensor[:, axis, axis] for axis in range(3)], axis=-1)
    for other, values in (("eels", diagonal.imag), ("ieps", diagonal.real)):
        rows = np.column_stack([ENERGIES, values])
        np.savetxt(tmp_path / f"{other}_mgo.dat", rows, fmt="%15.9f", header="energy grid [eV]")
    found = read_file(tmp_path / f"{name}_mgo.dat")
    spectrum = found.spectrum("ipa")
    np.testing.assert_allclose(spectrum.epsilon, diagonal[:, :, None] * np.eye(3), atol=1e-9)
    assert spectrum.broadening == Broadening("lorentzian", 0.068)
    assert any("0.136" in note for note in found.notes)
    assert spectrum.material_id == "mgo"
    np.testing.assert_allclose(found.metadata["loss"], diagonal.imag, atol=1e-9)
    np.testing.assert_allclose(
        found.metadata["epsilon_on_imaginary_axis"], diagonal.real, atol=1e-9
    )


def test_espresso_full_tensor(tmp_path, tensor):
    for row, first in enumerate("xyz"):
        for column, second in enumerate("xyz"):
            values = tensor[:, row, column]
            np.savetxt(
                tmp_path / f"eps{first}{second}.dat",
                np.column_stack([ENERGIES, values.real, values.imag]),
                fmt="%15.6f",
                header=" energy grid [eV]     epsr     epsi",
            )
    found = read_file(tmp_path / "epszx.dat")
    np.testing.assert_allclose(found.spectra[0].epsilon, tensor, atol=1e-6)
    (tmp_path / "epsxy.dat").unlink()
    with pytest.raises(SpectrumError, match=r"epsxy.dat: is missing"):
        read_file(tmp_path / "epszx.dat")


def test_espresso_refusals(tmp_path):
    samples(tmp_path)
    partner = tmp_path / "epsr_mgo.dat"
    text = partner.read_text()
    partner.write_text(text.replace("   6.000000000", "   6.000000001", 1))
    with pytest.raises(SpectrumError, match="energies are not those"):
        read_file(tmp_path / "epsi_mgo.dat")
    partner.write_text(text.replace("6.000000000", "***************", 1))
    with pytest.raises(SpectrumError, match=r"line 15, column 1"):
        read_file(tmp_path / "epsi_mgo.dat")
    partner.unlink()
    with pytest.raises(SpectrumError, match=r"epsr_mgo.dat: is missing"):
        read_file(tmp_path / "epsi_mgo.dat")
    (tmp_path / "other.txt").write_text(text)
    with pytest.raises(SpectrumError, match="name does not tell"):
        read_file(tmp_path / "other.txt")
