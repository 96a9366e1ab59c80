"""Spectra to test against: analytic, and from first principles where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from opalign.spectrum.grid import EnergyGrid


@pytest.fixture
def grid():
    return EnergyGrid(0.0, 20.0, 801)


@pytest.fixture
def lorentz():
    """ε of one Lorentz oscillator, 1 + S/(E₀² − E² − iΓE): its f-sum is πS/2, ε₁(0) = 1 + S/E₀²."""

    def epsilon(energies, resonance=6.0, width=0.5, strength=30.0):
        return 1.0 + strength / (resonance**2 - energies**2 - 1j * width * energies)

    return epsilon


@pytest.fixture(scope="session")
def first_principles():
    """Tensors of ε, material id → level → (801, 3, 3), of some computed spectra, 0–20 eV."""
    folder = os.environ.get("OPALIGN_DATA")
    if not folder:
        pytest.skip("OPALIGN_DATA is not set")
    path = Path(folder) / "gpaw_pbe" / "spectra.parquet"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    import pyarrow.parquet as parquet

    columns = ["material_id"] + [
        f"{level}_{part}_{axis}"
        for level in ("ipa", "rpa")
        for part in ("re", "im")
        for axis in ("xx", "yy", "zz")
    ]
    spectra = {}
    for row in parquet.read_table(path, columns=columns).to_pylist()[::6]:
        levels = {}
        for level in ("ipa", "rpa"):
            tensor = np.zeros((801, 3, 3), dtype=complex)
            for index, axis in enumerate(("xx", "yy", "zz")):
                real, imaginary = (np.array(row[f"{level}_{part}_{axis}"]) for part in ("re", "im"))
                tensor[:, index, index] = real + 1j * imaginary
            levels[level] = tensor
        spectra[row["material_id"]] = levels
    return spectra
