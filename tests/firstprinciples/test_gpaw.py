import json
import shutil
import sys

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.errors import MissingExtraError
from opalign.firstprinciples import gpaw_bands, gpaw_relax, gpaw_response
from opalign.firstprinciples.engine import EngineFailure, EngineResult
from opalign.firstprinciples.gpaw import GpawEngine, GpawSettings
from opalign.firstprinciples.gpaw_failures import failures_named
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.similarity import similarity_coefficient

ROCKSALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.25), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
COARSE = GpawSettings(
    relax=False,
    cutoff=300.0,
    scf_density=1.5,
    optics_mesh=(6, 6, 6),
    response_cutoff=40.0,
    band_density=0.2,
    grid=EnergyGrid(0.0, 20.0, 201),
)


class KilledError(Exception):
    """A process that was killed, as far as one process can show it."""


@pytest.fixture
def fake(monkeypatch):
    """The steps of the engine in place of GPAW's work, and a list of those that were computed."""
    pytest.importorskip("gpaw", reason="GPAW is not installed")
    computed = []

    def ground_state(cell, settings, cutoff, path, log):
        computed.append("ground")
        path.write_text("density")
        return {"total_energy_eV": -12.0, "gap_eV": 4.5, "electrons": 16}

    def bands(cell, settings, numerics, ground, path, log):
        computed.append("bands")
        assert ground.exists()
        path.write_text("waves")
        pdos = {"O-p": [1.0] * len(gpaw_bands.PDOS_ENERGIES)}
        mesh = {"mesh": [4, 4, 4], "irreducible_points": 8, "bands": 18}
        return {"gap_eV": 4.4, "direct_gap_eV": 4.4, "pdos": pdos} | mesh

    def response(cell, settings, numerics, band_count, path, log):
        computed.append("response")
        assert path.exists()
        assert band_count == 18
        absorbs = settings.grid.values > 5.0
        epsilon = (2.0 + 1j * absorbs)[:, None, None] * np.eye(3)
        return {"ipa": epsilon, "rpa": epsilon}

    def relax(cell, settings, progress, log):
        computed.append("relax")
        relaxed = cell.structure.copy()
        relaxed.apply_strain(-0.01)
        return relaxed, {"steps": 3}

    monkeypatch.setattr(gpaw_bands, "ground_state", ground_state)
    monkeypatch.setattr(gpaw_bands, "bands", bands)
    monkeypatch.setattr(gpaw_response, "response", response)
    monkeypatch.setattr(gpaw_relax, "relax", relax)
    return computed


def test_result_holds_what_the_steps_gave(fake, tmp_path):
    settings = COARSE.model_copy(update={"relax": True})
    result = GpawEngine(settings).run(ROCKSALT, tmp_path)
    assert fake == ["relax", "ground", "bands", "response"]
    assert result.structure.volume == pytest.approx(ROCKSALT.volume / 4 * 0.99**3)
    assert (result.band_gap, result.direct_gap, result.total_energy) == (4.4, 4.4, -12.0)
    assert list(result.seconds) == ["relax", *list(result.seconds)[1:]]
    assert result.provenance["settings"] == settings.model_dump(mode="json")
    assert result.provenance["relaxation"] == {"steps": 3}
    assert result.provenance["versions"]["gpaw"]
    json.dumps(result.provenance)
    assert not list(tmp_path.glob("*.gpw"))
    assert EngineResult.load(tmp_path).structure == result.structure


def test_a_finished_folder_is_read_not_computed(fake, tmp_path):
    GpawEngine(COARSE).run(ROCKSALT, tmp_path)
    fake.clear()
    again = GpawEngine(COARSE).run(ROCKSALT, tmp_path)
    assert fake == []
    assert again.band_gap == 4.4


def test_a_stopped_run_goes_on(fake, tmp_path, monkeypatch):
    whole = gpaw_response.response

    def stopped(*arguments):
        raise KilledError

    monkeypatch.setattr(gpaw_response, "response", stopped)
    with pytest.raises(KilledError):
        GpawEngine(COARSE).run(ROCKSALT, tmp_path)
    assert fake == ["ground", "bands"]
    monkeypatch.setattr(gpaw_response, "response", whole)
    GpawEngine(COARSE).run(ROCKSALT, tmp_path)
    assert fake == ["ground", "bands", "response"]


def test_wave_functions_that_are_gone_are_computed_again(fake, tmp_path, monkeypatch):
    whole = gpaw_response.response

    def stopped(*arguments):
        raise KilledError

    monkeypatch.setattr(gpaw_response, "response", stopped)
    with pytest.raises(KilledError):
        GpawEngine(COARSE).run(ROCKSALT, tmp_path)
    for path in tmp_path.glob("*.gpw"):
        path.unlink()
    monkeypatch.setattr(gpaw_response, "response", whole)
    GpawEngine(COARSE).run(ROCKSALT, tmp_path)
    assert fake == ["ground", "bands", "ground", "bands", "response"]


def test_other_settings_in_the_same_folder_start_anew(fake, tmp_path):
    GpawEngine(COARSE).run(ROCKSALT, tmp_path)
    GpawEngine(COARSE.model_copy(update={"eta": 0.01})).run(ROCKSALT, tmp_path)
    assert fake == ["ground", "bands", "response"] * 2


def test_magnetic_materials_are_refused(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(gpaw_bands, "magnetic_moment", lambda *arguments: 1.7)
    with pytest.raises(EngineFailure, match=r"1\.70") as caught:
        GpawEngine(COARSE.model_copy(update={"spin_check": True})).run(ROCKSALT, tmp_path)
    assert caught.value.reason == "magnetic"
    assert fake == []


def test_odd_electrons_cost_nothing(fake, tmp_path):
    odd = Structure(Lattice.cubic(2.7), ["Cu", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(EngineFailure) as caught:
        GpawEngine(COARSE).run(odd, tmp_path)
    assert caught.value.reason == "odd electron count"
    assert fake == []


def test_absence_of_gpaw_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gpaw", None)
    with pytest.raises(MissingExtraError, match=r"opalign\[dft\]"):
        GpawEngine(COARSE).run(ROCKSALT, tmp_path)


def convergence_error():
    from gpaw import KohnShamConvergenceError

    return KohnShamConvergenceError("120 iterations")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (convergence_error, "not converged"),
        (MemoryError, "out of memory"),
        (lambda: FileNotFoundError('Could not find required PAW dataset file "Xx.PBE"'),
         "unsupported"),
        (lambda: FileNotFoundError("ground.gpw"), "crashed"),
        (lambda: ZeroDivisionError("division by zero"), "crashed"),
        (lambda: EngineFailure("metal"), "metal"),
    ],
)  # fmt: skip
def test_failures_of_gpaw_have_few_reasons(make, reason):
    pytest.importorskip("gpaw", reason="GPAW is not installed")
    with pytest.raises(EngineFailure) as caught, failures_named("bands"):
        raise make()
    assert caught.value.reason == reason
    if reason != "metal":
        assert "bands: " in caught.value.detail


@pytest.mark.slow
@pytest.mark.usefixtures("groups_checked_once")
def test_gpaw_computes_magnesium_oxide(tmp_path, monkeypatch):
    pytest.importorskip("gpaw", reason="GPAW is not installed")
    # Both schemes begin with the same ground state.
    whole, kept, known = gpaw_bands.ground_state, tmp_path / "ground.gpw", {}

    def ground_state(cell, settings, cutoff, path, log):
        if known:
            shutil.copy(kept, path)
        else:
            known.update(whole(cell, settings, cutoff, path, log))
            shutil.copy(path, kept)
        return known

    monkeypatch.setattr(gpaw_bands, "ground_state", ground_state)
    # The high-pressure structure of MgO: a primitive lattice, whose corners are on a small mesh.
    caesium_chloride = Structure(Lattice.cubic(2.66), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    periodic = GpawEngine(COARSE).run(caesium_chloride, tmp_path / "periodic")
    own = COARSE.model_copy(update={"scheme": "irreducible"})
    irreducible = GpawEngine(own).run(caesium_chloride, tmp_path / "irreducible")
    assert periodic.band_gap == pytest.approx(irreducible.band_gap, abs=1e-3)
    assert 1.5 < periodic.band_gap < periodic.direct_gap < 6.0
    # Local fields screen less; ε∞ of rock salt is near 3, of this denser form more.
    static = {level: periodic.epsilon[level][0, 0, 0].real for level in ("ipa", "rpa")}
    assert 2.5 < static["rpa"] < static["ipa"] < 6.0
    # Cubic: isotropic, nothing below the gap, absorption above.
    np.testing.assert_allclose(
        periodic.epsilon["ipa"], periodic.epsilon["ipa"][:, :1, :1] * np.eye(3), atol=1e-9
    )
    spectrum = periodic.spectrum("rpa").isotropic()
    assert not spectrum.epsilon_imaginary[COARSE.grid.values < periodic.direct_gap].any()
    assert spectrum.epsilon_imaginary.max() > 3.0
    # On a coarse mesh the two differ: ours weigh all points alike and interpolate oscillator
    # strengths, GPAW's weigh them by the tetrahedra that meet there and interpolate dipoles.
    for level in ("ipa", "rpa"):
        theirs = irreducible.spectrum(level).isotropic().epsilon_imaginary
        ours = periodic.spectrum(level).isotropic().epsilon_imaginary
        assert similarity_coefficient(ours, theirs, COARSE.grid) > 0.7
        assert ours.sum() == pytest.approx(theirs.sum(), rel=0.15)
    assert {"Mg-s", "Mg-p", "O-s", "O-p"} <= set(periodic.pdos)
    assert not list(tmp_path.glob("*/*.gpw"))


def test_oscillator_strengths_are_interpolated():
    pytest.importorskip("gpaw", reason="GPAW is not installed")
    from opalign.firstprinciples.gpaw_tetrahedra import OscillatorHeadAndWings

    frequencies = np.linspace(0.1, 1.0, 10)
    weight = np.array([1.0, 2.0, 1.0])
    elements = np.array([[0.3, 0.1j, 0.2, 0.5, -0.4j]])
    output = np.zeros((10, 2, 3, 5), dtype=complex)
    deps = np.array([[0.4, 0.3, 0.5]])
    OscillatorHeadAndWings(frequencies).run(elements, deps, [weight], [2], [5], output)
    head = output[:, 0, :3, :3]
    # Σ ω·Im ε is that of the point alone: x²·Δε times the weights.
    np.testing.assert_allclose(
        np.einsum("w,wij->ij", frequencies, head),
        np.outer(elements[0, :3], elements[0, :3].conj()) * 0.4 * weight.sum(),
    )
    # |wing|² = head · body at every frequency: one vector made all three.
    body = np.abs(elements[0, 3]) ** 2 * weight
    wing = output[2:5, 0, 0, 3]
    np.testing.assert_allclose(np.abs(wing) ** 2, head[2:5, 0, 0].real * body)
    assert not output[[0, 1, 5, 9]].any()
