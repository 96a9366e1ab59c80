"""VASP: the real run against pymatgen and against itself, and what labels and settings mean."""

import warnings

import numpy as np
import pytest

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats import read_file, read_spectra

from .conftest import AXES, ENERGIES, component, outcar_text, vasprun_text

XML, OUTCAR, GAMMA = (
    f"MgSe_absorption_{name}.gz" for name in ("vasprun.xml", "OUTCAR", "OUTCAR_gamma")
)


@pytest.fixture
def reference(vasp_folder):
    from pymatgen.io.vasp.outputs import Vasprun

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Vasprun(vasp_folder / XML, parse_potcar_file=False)


def test_tensor_of_a_real_run_is_that_of_pymatgen(vasp_folder, reference):
    found = read_file(vasp_folder / XML)
    energies, real, imaginary = map(np.array, reference.dielectric)
    assert found.levels == ("ipa",)
    epsilon = found.spectrum("ipa").epsilon
    for place, name in enumerate(AXES):
        np.testing.assert_allclose(component(epsilon, name).real, real[:, place], atol=1e-12)
        np.testing.assert_allclose(component(epsilon, name).imag, imaginary[:, place], atol=1e-12)
    # The file has four decimals; the energies are evenly spaced behind them.
    np.testing.assert_allclose(found.spectra[0].energies, energies, atol=1.0e-4)


def test_structure_gap_and_settings_of_a_real_run(vasp_folder, reference):
    found = read_file(vasp_folder / XML)
    assert found.structure == reference.final_structure
    gap, *_ = reference.eigenvalue_band_properties
    assert found.metadata["band_gap"] == pytest.approx(gap, abs=1e-12)
    bands = reference.get_band_structure()
    assert found.metadata["direct_band_gap"] == pytest.approx(bands.get_direct_band_gap())
    assert found.metadata["CSHIFT"] == 0.01
    assert found.metadata["NEDOS"] == 4002
    assert found.metadata["LOPTICS"] is True
    assert found.metadata["ALGO"] == "Normal"
    spectrum = found.spectra[0]
    assert spectrum.broadening == Broadening("lorentzian", 0.01)
    assert spectrum.material_id == "MgSe"
    assert XML in spectrum.provenance
    assert "VASP 5.4.4" in spectrum.provenance


def test_absorption_of_a_real_run_is_that_of_pymatgen(vasp_folder, reference):
    from pymatgen.analysis.solar.slme import absorption_coefficient

    energies, alpha = absorption_coefficient(reference.dielectric)
    spectrum = read_spectra(vasp_folder / XML)[0].isotropic()
    absorbs = spectrum.epsilon_imaginary > 0.0
    assert absorbs.sum() > 2000
    # Per energy: pymatgen takes the energies as rounded to four decimals.
    ours = spectrum.absorption_coefficient[absorbs] / spectrum.energies[absorbs]
    theirs = alpha[absorbs] / energies[absorbs]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_vasprun_and_outcar_of_a_run_agree(vasp_folder):
    xml, text = (read_file(vasp_folder / name) for name in (XML, OUTCAR))
    # Half of the fourth decimal of the XML.
    difference = np.abs(xml.spectra[0].epsilon - text.spectra[0].epsilon)
    assert difference.max() < 0.51e-4 * np.sqrt(2.0)
    np.testing.assert_allclose(xml.spectra[0].energies, text.spectra[0].energies, atol=3e-5)
    assert text.spectra[0].broadening == xml.spectra[0].broadening
    for key in ("band_gap", "direct_band_gap"):
        assert text.metadata[key] == pytest.approx(xml.metadata[key], abs=1e-3)
    assert text.structure.matches(xml.structure)
    np.testing.assert_allclose(
        text.structure.lattice.matrix, xml.structure.lattice.matrix, atol=1e-7
    )


def test_tensors_that_cannot_be_are_left_out_with_a_reason(vasp_folder):
    # Im ε of the real current-current tensor falls to -2.3.
    found = read_file(vasp_folder / OUTCAR)
    assert found.levels == ("ipa",)
    assert any(
        "current-current" in note and "negative" in note and "-2.3" in note for note in found.notes
    )
    with pytest.raises(SpectrumError, match="negative"):
        found.spectrum("ipa current-current")
    # That of the XML was never computed.
    assert any("ε is 1" in note for note in read_file(vasp_folder / XML).notes)


def test_gamma_run_has_both_tensors(vasp_folder):
    found = read_file(vasp_folder / GAMMA)
    assert found.levels == ("ipa", "ipa current-current")
    density, current = found.spectra
    assert density.static_dielectric[0, 0] == pytest.approx(1.191923)
    assert current.static_dielectric[0, 0] == pytest.approx(1.205797)
    assert found.structure.formula == "He1"


@pytest.mark.parametrize(
    ("comment", "level"),
    [
        ("density-density", "ipa"),
        ("current-current", "ipa current-current"),
        ("HEAD OF MICROSCOPIC DIELECTRIC TENSOR (INDEPENDENT PARTICLE)", "ipa"),
        (
            "INVERSE MACROSCOPIC DIELECTRIC TENSOR (including local field effects in RPA "
            "(Hartree))",
            "rpa",
        ),
        (
            "INVERSE MACROSCOPIC DIELECTRIC TENSOR (test charge-test charge, local field effects "
            "in DFT)",
            "tddft",
        ),
        ("time-propagation", "time-propagation"),
    ],
)
def test_labels_are_levels(tmp_path, tensor, comment, level):
    other = "1 + v P,  with REDUCIBLE POLARIZABILTY P=P_0 (1 -(v+f) P_0)^-1"
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun_text([(other, tensor * 2.0), (comment, tensor)]))
    found = read_file(path)
    assert found.levels == (level,)
    np.testing.assert_allclose(found.spectra[0].epsilon, tensor, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "levels"),
    [
        ("", ("ipa", "ipa current-current")),
        ('<i type="string" name="ALGO"> BSE </i>', ("bse",)),
        (
            '<i type="string" name="ALGO"> BSE </i><i type="logical" name="LADDER"> F </i>',
            ("rpa",),
        ),
        ('<i type="string" name="ALGO"> TDHF </i>', ("tdhf",)),
    ],
)
def test_tensors_without_labels(tmp_path, tensor, settings, levels):
    path = tmp_path / "vasprun.xml"
    blocks = [(None, tensor), (None, tensor + 0.1j * np.eye(3))][: len(levels)]
    path.write_text(vasprun_text(blocks, settings))
    found = read_file(path)
    assert found.levels == levels
    np.testing.assert_allclose(found.spectra[0].epsilon, tensor, atol=1e-4)


def test_both_files_give_every_component(tmp_path, tensor):
    blocks = [("density-density", tensor), ("current-current", tensor + 0.1j * np.eye(3))]
    (tmp_path / "vasprun.xml").write_text(vasprun_text(blocks))
    (tmp_path / "OUTCAR").write_text(outcar_text(blocks))
    for name, tolerance in (("vasprun.xml", 0.8e-4), ("OUTCAR", 0.8e-6)):
        found = read_file(tmp_path / name)
        assert found.levels == ("ipa", "ipa current-current")
        for spectrum, (_, epsilon) in zip(found.spectra, blocks, strict=True):
            np.testing.assert_allclose(spectrum.epsilon, epsilon, atol=tolerance)
            np.testing.assert_array_equal(spectrum.energies, ENERGIES)
            assert spectrum.broadening == Broadening("lorentzian", 0.1)
        # States of two k-points: 4.5 - 0 indirect, 5 direct.
        assert found.metadata["band_gap"] == pytest.approx(4.5)
        assert found.metadata["direct_band_gap"] == pytest.approx(5.0)
        assert found.structure.formula == "Mg1 O1"
        assert found.structure.volume == pytest.approx(2 * 2.1**3)
        assert not found.notes


def test_last_ionic_step_counts(tmp_path, tensor):
    text = vasprun_text([("density-density", tensor + 0.5 * np.eye(3))])
    start, end = text.index(" <calculation>"), text.index("</modeling>")
    last = vasprun_text([("density-density", tensor)])
    last = last[last.index(" <calculation>") : last.index("</modeling>")]
    path = tmp_path / "vasprun.xml"
    path.write_text(text[:start] + text[start:end] + last + text[end:])
    np.testing.assert_allclose(read_spectra(path)[0].epsilon, tensor, atol=1e-4)
    twice = outcar_text(
        [("density-density", tensor + 0.5 * np.eye(3)), ("density-density", tensor)]
    )
    (tmp_path / "OUTCAR").write_text(twice)
    np.testing.assert_allclose(read_spectra(tmp_path / "OUTCAR")[0].epsilon, tensor, atol=1e-6)


def test_moved_atoms_of_an_outcar(tmp_path, tensor):
    moved = """ POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.00000      0.00000      0.00000         0.000000      0.000000      0.000000
      2.10000      2.10000      2.00000         0.000000      0.000000      0.000000
 -----------------------------------------------------------------------------------
"""
    text = outcar_text([("density-density", tensor)])
    (tmp_path / "OUTCAR").write_text(text.replace(" E-fermi", moved + " E-fermi"))
    structure = read_file(tmp_path / "OUTCAR").structure
    np.testing.assert_allclose(structure.cart_coords[1], [2.1, 2.1, 2.0])


def test_uneven_energies_are_interpolated_and_said_so(tmp_path):
    energies = np.concatenate([np.arange(0.0, 3.0, 0.25), np.arange(3.0, 13.0, 0.5)])
    epsilon = np.eye(3) * (2.0 + 1j * energies / 10.0)[:, None, None]
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun_text([("density-density", epsilon)], energies=energies))
    spectrum = read_spectra(path)[0]
    assert spectrum.grid.step == pytest.approx(0.25)
    assert "interpolated" in spectrum.provenance
    np.testing.assert_allclose(spectrum.epsilon[:, 0, 0].imag, spectrum.energies / 10.0, atol=1e-4)


@pytest.mark.parametrize("name", ["vasprun.xml", "OUTCAR"])
@pytest.mark.parametrize(
    ("value", "says"),
    [("**********", "too large"), ("NaN", "not a finite"), ("Infinity", "not a finite")],
)
def test_overflow_is_named_with_its_line(tmp_path, tensor, name, value, says):
    write = vasprun_text if name == "vasprun.xml" else outcar_text
    lines = write([("density-density", tensor)]).split("\n")
    at = next(
        i
        for i, line in enumerate(lines)
        if line.split()[:1] == ["6.000000"] or line.startswith("<r>     6.0000")
    )
    fields = lines[at].split()
    fields[3] = value
    lines[at] = " ".join(fields)
    (tmp_path / name).write_text("\n".join(lines))
    with pytest.raises(SpectrumError, match=says) as caught:
        read_spectra(tmp_path / name)
    assert f"line {at + 1}" in str(caught.value)


@pytest.mark.parametrize("name", ["vasprun.xml", "OUTCAR"])
def test_negative_absorption(tmp_path, tensor, name):
    write = vasprun_text if name == "vasprun.xml" else outcar_text
    (tmp_path / name).write_text(write([("density-density", tensor.conj())]))
    with pytest.raises(SpectrumError, match="Im ε is negative"):
        read_spectra(tmp_path / name)
    # Noise is set to zero, and said so.
    noisy = tensor.copy()
    noisy[3] = tensor[3].real - 1e-3j * np.eye(3)
    (tmp_path / name).write_text(write([("density-density", noisy)]))
    found = read_file(tmp_path / name)
    assert np.linalg.eigvalsh(found.spectra[0].epsilon.imag).min() > -1e-12
    assert "set to zero" in found.spectra[0].provenance
    assert any("set to zero" in note for note in found.notes)


@pytest.mark.parametrize("name", ["vasprun.xml", "OUTCAR"])
def test_energies_that_fall(tmp_path, tensor, name):
    write = vasprun_text if name == "vasprun.xml" else outcar_text
    energies = ENERGIES.copy()
    energies[[4, 5]] = energies[[5, 4]]
    (tmp_path / name).write_text(write([("density-density", tensor)], energies=energies))
    with pytest.raises(SpectrumError, match=r"line \d+: the energy does not increase"):
        read_spectra(tmp_path / name)


def test_header_that_claims_too_much(tmp_path, tensor):
    text = vasprun_text([("density-density", tensor)])
    (tmp_path / "vasprun.xml").write_text(
        text.replace('name="NEDOS"> 25<', 'name="NEDOS"> 1300000000<')
    )
    (tmp_path / "OUTCAR").write_text(
        outcar_text([("density-density", tensor)]).replace("NEDOS =     25", "NEDOS = 1300000000")
    )
    for name in ("vasprun.xml", "OUTCAR"):
        with pytest.raises(SpectrumError, match="claims NEDOS = 1300000000"):
            read_spectra(tmp_path / name)


def test_runs_without_optics(tmp_path):
    (tmp_path / "vasprun.xml").write_text(vasprun_text([]))
    (tmp_path / "OUTCAR").write_text(outcar_text([]))
    for name in ("vasprun.xml", "OUTCAR"):
        with pytest.raises(SpectrumError, match=r"no dielectric function\n.*LOPTICS"):
            read_spectra(tmp_path / name)


def test_parts_that_do_not_fit(tmp_path, tensor):
    text = outcar_text([("density-density", tensor)])
    path = tmp_path / "OUTCAR"
    path.write_text(text[: text.index("  frequency dependent      REAL")] + "\n")
    with pytest.raises(SpectrumError, match="no real part"):
        read_spectra(path)
    path.write_text(text[: text.rindex("9.500000")])
    with pytest.raises(SpectrumError, match="ends within"):
        read_spectra(path)
