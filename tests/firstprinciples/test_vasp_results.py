"""Reading finished VASP runs: a real one, and those of a fake crystal known in closed form."""

import gzip
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from opalign.firstprinciples.engine import EngineFailure, EngineResult
from opalign.firstprinciples.quality import check_result
from opalign.firstprinciples.vasp_results import epsilon_infinity, result_from_folder
from opalign.firstprinciples.vasp_settings import VaspSettings
from opalign.spectrum.grid import EnergyGrid

from . import fake_vasp

POSCAR = """MgSe
1.0
0.0 3.0 3.0
3.0 0.0 3.0
3.0 3.0 0.0
Mg Se
1 1
direct
0.0 0.0 0.0
0.25 0.25 0.25
"""
INCARS = {
    "static": {"NSW": "0", "ISMEAR": "0", "NELM": "60", "LORBIT": "11"},
    "optics": {"LOPTICS": "True", "NEDOS": "4001", "ISMEAR": "-5", "ICHARG": "11", "LORBIT": "11"},
    "hybrid": {"LHFCALC": "True", "AEXX": "0.2", "ISMEAR": "0", "NELM": "1", "ALGO": "Eigenval"},
}


def run_fake(folder: Path, step: str, trouble: str = "", mesh: int = 4, **incar: str) -> Path:
    """Run the fake VASP in ``folder/step``."""
    place = folder / step
    place.mkdir(parents=True)
    settings = {"ENCUT": "520.0", **INCARS[step], **incar}
    (place / "INCAR").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
    (place / "KPOINTS").write_text(f"mesh\n0\nGamma\n{mesh} {mesh} {mesh}\n")
    (place / "POSCAR").write_text(POSCAR)
    (place / "WAVECAR").touch()
    (place / "CHGCAR").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("FAKE_VASP", f"{step}:{trouble}")
        fake_vasp.main()
    return place


@pytest.fixture
def runs(tmp_path):
    for step in INCARS:
        run_fake(tmp_path, step)
    return tmp_path


@pytest.fixture
def real_run(tmp_path):
    data = os.environ.get("OPALIGN_DATA")
    if not data:
        pytest.skip("OPALIGN_DATA is not set")
    folder = Path(data) / "vasp_mgse"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    for name in ("MgSe_absorption_vasprun.xml.gz", "MgSe_absorption_OUTCAR.gz"):
        shutil.copy(folder / name, tmp_path)
    return tmp_path


def exact_static() -> float:
    """ε₁(0) of the fake crystal by quadrature of the Kramers–Kronig integral."""
    integral, _ = quad(lambda e: fake_vasp.imaginary(e) / e, fake_vasp.GAP, fake_vasp.WINDOW)
    return 1.0 + 2.0 / math.pi * integral


def test_a_real_run_becomes_a_result(real_run):
    result = result_from_folder(real_run)
    assert result.structure.composition.reduced_formula == "MgSe"
    # The file has four decimals.
    assert result.band_gap == pytest.approx(2.529, abs=1e-4)
    assert result.direct_gap == pytest.approx(2.529, abs=1e-4)
    assert result.total_energy == pytest.approx(-7.49192264)
    assert result.provenance["mesh"] == [4, 4, 4]
    assert result.provenance["irreducible_points"] == 8
    assert result.provenance["electrons"] == 8
    assert result.provenance["integration"].startswith("linear tetrahedra")
    assert result.provenance["incar"]["CSHIFT"] == 0.01
    assert "settings" not in result.provenance
    # 36 cores for 2.607 s.
    assert result.seconds["optics"] == pytest.approx(36 * 2.607)
    # VASP's own transform of the same ε₂, with a shift of 0.01 eV.
    assert result.scalars["epsilon_infinity"] == pytest.approx(5.4311, rel=1e-3)
    assert result.provenance["static_dielectric_of_vasp"] == pytest.approx(5.4311, abs=1e-4)


def test_spectrum_of_a_real_run_is_its_own(real_run):
    from opalign.spectrum.formats import read_file

    result = result_from_folder(real_run, VaspSettings())
    given = read_file(next(real_run.glob("*vasprun*"))).spectrum("ipa").resampled(result.grid)
    ours = result.epsilon["ipa"]
    np.testing.assert_allclose(ours.imag, given.epsilon_imaginary, atol=1e-6)
    # VASP's ε₁ knows the fine grid of 0.01 eV, where ε₂ has cusps; ours 0.025 eV.
    difference = np.abs(ours.real - given.epsilon_real).mean()
    assert difference < 0.02 * np.abs(given.epsilon_real).mean()
    assert check_result(result).flags == ()
    assert result.provenance["settings"] == VaspSettings().model_dump(mode="json")


def test_densities_of_states_of_a_real_run(real_run):
    result = result_from_folder(real_run)
    assert sorted(result.pdos) == ["Mg-d", "Mg-p", "Mg-s", "Se-d", "Se-p", "Se-s"]
    energies = result.pdos_energies
    step = energies[1] - energies[0]
    top = (energies > -6.0) & (energies < 0.5)
    # Six electrons of Se-p make the top valence band; spheres hold most of them.
    electrons = {name: density[top].sum() * step for name, density in result.pdos.items()}
    assert 2.0 < electrons["Se-p"] < 6.0
    assert electrons["Se-p"] == max(electrons.values())
    gap = (energies > 0.5) & (energies < result.band_gap - 0.5)
    assert max(density[gap].max() for density in result.pdos.values()) < 1e-3


def test_all_runs_of_a_known_crystal(runs):
    result = result_from_folder(runs)
    assert result.band_gap == pytest.approx(fake_vasp.GAP, abs=1e-4)
    assert result.total_energy == pytest.approx(fake_vasp.ENERGY)
    # Four decimals, steps of 0.025 eV.
    expected = [fake_vasp.imaginary(energy) for energy in result.grid.values]
    for axis in range(3):
        found = result.epsilon["ipa"][:, axis, axis].imag
        np.testing.assert_allclose(found, expected, atol=0.01)
    assert result.scalars["epsilon_infinity"] == pytest.approx(exact_static(), rel=1e-3)
    assert result.scalars["exchange_fraction"] == pytest.approx(0.2)
    shift = fake_vasp.SHIFT * 0.2
    assert result.scalars["hybrid_shift_eV"] == pytest.approx(shift, abs=1e-4)
    assert result.scalars["corrected_gap_eV"] == pytest.approx(fake_vasp.GAP + shift, abs=2e-4)
    assert set(result.seconds) == {"static", "optics", "hybrid"}
    assert result.seconds["hybrid"] == pytest.approx(7.0)
    assert set(result.pdos) == {"Mg-s", "Mg-p", "Se-s", "Se-p"}


def test_the_real_part_of_the_file_is_not_used(runs):
    # It is 3 everywhere in the file, with which ε₂ does not agree.
    result = result_from_folder(runs)
    assert result.provenance["static_dielectric_of_vasp"] == pytest.approx(3.0)
    assert result.spectrum("ipa").isotropic().static_dielectric == pytest.approx(
        exact_static(), rel=1e-3
    )


def test_the_corrected_spectrum_begins_at_the_corrected_gap(runs):
    result = result_from_folder(runs)
    imaginary = result.epsilon["ipa_corrected"][:, 0, 0].imag
    begin = result.grid.values[np.flatnonzero(imaginary > 1e-6)[0]]
    assert begin == pytest.approx(result.scalars["corrected_gap_eV"], abs=2 * result.grid.step)
    # ε₂′(E) = ε₂(E − Δ)(E − Δ)/E
    energy, shift = 8.0, result.scalars["hybrid_shift_eV"]
    place = round(energy / result.grid.step)
    moved = fake_vasp.imaginary(energy - shift) * (energy - shift) / energy
    assert imaginary[place] == pytest.approx(moved, rel=0.01)


def test_results_are_kept_whole(runs, tmp_path):
    result = result_from_folder(runs)
    result.save(tmp_path / "kept")
    again = EngineResult.load(tmp_path / "kept")
    assert again.provenance == result.provenance
    np.testing.assert_array_equal(again.epsilon["ipa_corrected"], result.epsilon["ipa_corrected"])


def test_compressed_runs_are_read(runs):
    expected = result_from_folder(runs)
    for path in [*runs.glob("*/vasprun.xml"), *runs.glob("*/OUTCAR")]:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    found = result_from_folder(runs)
    np.testing.assert_array_equal(found.epsilon["ipa"], expected.epsilon["ipa"])
    assert found.seconds == expected.seconds


def test_an_absent_outcar_costs_only_the_cost(runs):
    (runs / "optics" / "OUTCAR").unlink()
    assert set(result_from_folder(runs).seconds) == {"static", "hybrid"}


def test_what_lies_above_the_grid_counts_in_the_real_part(runs):
    narrow = VaspSettings(grid=EnergyGrid(0.0, 5.0, 201))
    found = result_from_folder(runs, narrow)
    assert found.grid.stop == 5.0
    assert found.spectrum("ipa").isotropic().static_dielectric == pytest.approx(
        exact_static(), rel=1e-3
    )
    assert epsilon_infinity(runs / "optics", narrow) == pytest.approx(exact_static(), rel=1e-3)


@pytest.mark.parametrize(
    ("step", "trouble", "incar", "reason", "said"),
    [
        ("optics", "metal", {}, "metal", "gap of 0.000 eV"),
        ("static", "metal", {}, "metal", "mesh of the ground state"),
        ("static", "unconverged", {}, "not converged", "60 electronic steps"),
        ("static", "magnetic", {"ISPIN": "2"}, "magnetic", "3.00 Bohr"),
        ("optics", "cut off", {}, "bad output", "cannot be read"),
        ("hybrid", "cut off", {}, "bad output", "cannot be read"),
        ("optics", "short window", {}, "bad output", "0–10 eV"),
    ],
)
def test_useless_runs_are_named(tmp_path, step, trouble, incar, reason, said):
    for each in INCARS:
        run_fake(tmp_path, each, trouble if each == step else "", **(incar if each == step else {}))
    with pytest.raises(EngineFailure, match=said) as caught:
        result_from_folder(tmp_path)
    assert caught.value.reason == reason


def test_polarised_ground_states_without_moments_pass(tmp_path):
    for each in INCARS:
        run_fake(tmp_path, each, **({"ISPIN": "2"} if each != "optics" else {}))
    result = result_from_folder(tmp_path)
    assert result.scalars["hybrid_shift_eV"] == pytest.approx(fake_vasp.SHIFT * 0.2, abs=1e-4)


def test_a_hybrid_on_another_mesh_is_refused(tmp_path):
    run_fake(tmp_path, "static")
    run_fake(tmp_path, "optics")
    run_fake(tmp_path, "hybrid", mesh=6)
    with pytest.raises(EngineFailure, match="k points"):
        result_from_folder(tmp_path)


def test_a_hybrid_without_exchange_is_refused(tmp_path):
    run_fake(tmp_path, "static")
    run_fake(tmp_path, "optics")
    shutil.copytree(tmp_path / "static", tmp_path / "hybrid")
    with pytest.raises(EngineFailure, match="no exact exchange"):
        result_from_folder(tmp_path)


def test_a_run_without_response_is_refused(tmp_path):
    place = run_fake(tmp_path, "static")
    with pytest.raises(EngineFailure, match="no dielectric function") as caught:
        result_from_folder(place)
    assert caught.value.reason == "bad output"


@pytest.mark.parametrize("names", [(), ("vasprun.xml", "other_vasprun.xml")])
def test_a_folder_has_one_run(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(EngineFailure, match=r"more than one|there is no vasprun") as caught:
        result_from_folder(tmp_path)
    assert caught.value.reason == "bad output"


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(EngineFailure, match="nowhere"):
        result_from_folder(tmp_path / "nowhere")
