"""CSV files of spectra: exact round trips, files of others, and broken ones."""

import numpy as np
import pytest

from opalign.errors import SpectrumError, StorageError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

PROVENANCE = 'computed # with "care",\nin two lines = two'


@pytest.fixture
def spectrum(grid, lorentz):
    return OpticalSpectrum(
        grid, lorentz(grid.values), "rpa", Broadening("gaussian", 0.1), "mp-1 é", PROVENANCE
    )


def same(first, second):
    np.testing.assert_array_equal(first.epsilon, second.epsilon)
    for name in ("grid", "level", "broadening", "material_id", "provenance"):
        assert getattr(first, name) == getattr(second, name)


def test_round_trip_is_exact(spectrum, tmp_path):
    path = tmp_path / "new" / "spectrum.csv"
    spectrum.to_csv(path)
    same(OpticalSpectrum.from_csv(path), spectrum)


def test_round_trip_without_options_on_an_odd_grid(tmp_path):
    grid = EnergyGrid(0.1, 0.7, 38)
    spectrum = OpticalSpectrum(grid, np.full(38, 2.0 + 1e-17j), "experiment")
    spectrum.to_csv(tmp_path / "a.csv")
    same(OpticalSpectrum.from_csv(tmp_path / "a.csv"), spectrum)


def test_round_trip_of_a_tensor(grid, tmp_path):
    symmetric = np.random.default_rng(0).normal(size=(801, 3, 3))
    epsilon = symmetric + symmetric.swapaxes(1, 2) + 10j * np.eye(3)
    spectrum = OpticalSpectrum(grid, epsilon, "ipa")
    spectrum.to_csv(tmp_path / "a.csv")
    same(OpticalSpectrum.from_csv(tmp_path / "a.csv"), spectrum)


def test_frame_carries_every_quantity(spectrum):
    frame = spectrum.to_frame()
    assert list(frame) == [
        "energy_eV",
        "epsilon_real",
        "epsilon_imaginary",
        "n",
        "k",
        "absorption_per_cm",
        "reflectivity",
        "loss",
    ]
    assert len(frame) == 801
    np.testing.assert_array_equal(frame["absorption_per_cm"], spectrum.absorption_coefficient)
    np.testing.assert_array_equal(frame["loss"], spectrum.loss_function)


def test_header_says_what_the_numbers_are(spectrum, tmp_path):
    spectrum.to_csv(tmp_path / "a.csv")
    header = [x for x in (tmp_path / "a.csv").read_text().splitlines() if x.startswith("#")]
    text = "\n".join(header)
    for part in ('level = "rpa"', '"gaussian"', "0.1", "mp-1", "1/cm", "eV"):
        assert part in text


def test_file_of_another_program(tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text("energy_eV,epsilon_real,epsilon_imaginary\n0,4,0\n1,4,0.5\n2,3,1\n")
    spectrum = OpticalSpectrum.from_csv(path, level="experiment")
    assert spectrum.grid == EnergyGrid(0.0, 2.0, 3)
    assert spectrum.epsilon[1] == 4.0 + 0.5j
    with pytest.raises(SpectrumError, match="level"):
        OpticalSpectrum.from_csv(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("energy_eV,epsilon_real\n0,1\n1,1\n", "epsilon_imaginary is missing"),
        ("energy_eV,epsilon_real,epsilon_imaginary\n0,1,0\n1,1,0\n3,1,0\n", "evenly spaced"),
        ("energy_eV,epsilon_real,epsilon_imaginary\n0,1,0\n1,one,0\n", "epsilon_real"),
        ("energy_eV,epsilon_real,epsilon_imaginary\n0,1,0\n1,1,-3\n", "negative"),
        ("# level = ipa\nenergy_eV,epsilon_real,epsilon_imaginary\n0,1,0\n1,1,3\n", "line 1"),
        ('# broadening = {"shape": "box"}\nenergy_eV,epsilon_real,epsilon_imaginary\n0,1,0\n1,1,3',
         "header"),
        ("# broadening = 3\nenergy_eV,epsilon_real,epsilon_imaginary\n0,1,0\n1,1,3", "header"),
    ],
)  # fmt: skip
def test_broken_files_are_named(tmp_path, text, says):
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(SpectrumError, match=says) as caught:
        OpticalSpectrum.from_csv(path, level="ipa")
    assert "broken.csv" in str(caught.value) or says == "negative"


def test_missing_file(tmp_path):
    with pytest.raises(SpectrumError, match="could not be read"):
        OpticalSpectrum.from_csv(tmp_path / "absent.csv")


def test_unwritable_place(spectrum, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        spectrum.to_csv(tmp_path / "file" / "a.csv")
