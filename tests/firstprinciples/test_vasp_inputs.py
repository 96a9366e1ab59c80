"""What atomate2 writes for our settings, and settings themselves."""

import sys

import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from opalign.errors import ConfigurationError, MissingExtraError
from opalign.firstprinciples import vasp_failures
from opalign.firstprinciples.engine import engine_from_settings
from opalign.firstprinciples.gpaw_structure import standard_cell
from opalign.firstprinciples.vasp import VaspEngine, VaspSettings, study_settings, vasp_flow

pytest.importorskip("atomate2", reason="the extra hpc is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = ("relax", "static", "optics", "hybrid")


@pytest.fixture(scope="module")
def rutile():
    parameters = Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    return Structure.from_spacegroup("P4_2/mnm", *parameters)


def inputs(structure, **settings):
    """Return INCAR and KPOINTS of every step, without POTCAR, which nobody may give away."""
    from opalign.firstprinciples.vasp_inputs import makers

    cell = standard_cell(structure)
    chosen = makers(cell, VaspSettings(**settings))
    found = {}
    for step in STEPS:
        generator = getattr(chosen, step).input_set_generator
        found[step] = generator.get_input_set(cell.structure, potcar_spec=True)
    return found


def test_every_step_does_its_own(rutile):
    sets = inputs(rutile)
    relax, static, optics, hybrid = (sets[step].incar for step in STEPS)
    assert (relax["GGA"].upper(), static["GGA"].upper()) == ("PS", "PE")
    assert (relax["ISIF"], relax["NSW"], relax["EDIFFG"]) == (3, 99, -0.005)
    for incar in (static, optics, hybrid):
        assert incar["NSW"] == 0
        assert incar["IBRION"] == -1
    # The density goes to the response, the orbitals to the hybrid.
    assert static["LCHARG"] is True
    assert static["LWAVE"] is True
    assert optics["ICHARG"] == 11
    assert optics["LOPTICS"] is True
    assert optics["ISMEAR"] == -5
    assert optics["NEDOS"] == 6000
    assert optics["CSHIFT"] == 1e-5
    assert optics["LORBIT"] == 11
    assert hybrid["LHFCALC"] is True
    assert hybrid["ALGO"].upper() == "EIGENVAL"
    assert hybrid["NELM"] == 1
    # Not screened at long range: 1/ε∞ everywhere.
    assert hybrid["HFSCREEN"] == 0.0
    assert hybrid["AEXX"] == 0.25
    for incar in (relax, static, optics, hybrid):
        assert incar["ENCUT"] == 520.0
        assert incar["ISPIN"] == 1
        assert "MAGMOM" not in incar
        assert not incar.get("LDAU", False)
        assert incar["LASPH"] is True
        assert incar["LREAL"] is False
        assert "KSPACING" not in incar


def test_hybrid_and_ground_state_share_their_mesh(rutile):
    sets = inputs(rutile, scf_density=2.0, optics_density=4.0)
    meshes = {step: sets[step].kpoints.kpts[0] for step in STEPS}
    assert meshes["hybrid"] == meshes["static"]
    assert all(more > fewer for more, fewer in zip(meshes["optics"], meshes["static"], strict=True))
    for found in sets.values():
        assert found.kpoints.style.name == "Gamma"
        # As the tetragonal cell is, and longer where the cell is short.
        assert found.kpoints.kpts[0][0] == found.kpoints.kpts[0][1]
        assert found.kpoints.kpts[0][2] >= found.kpoints.kpts[0][0]


def test_u_is_on_the_right_shell_and_not_in_the_hybrid(rutile):
    sets = inputs(rutile, functional="PBEsol", hubbard_u={"Ti": 3.0, "Ce": 5.0})
    for step in ("relax", "static", "optics"):
        incar, symbols = sets[step].incar, sets[step].poscar.site_symbols
        assert incar["LDAU"] is True
        assert dict(zip(symbols, incar["LDAUU"], strict=True)) == {"Ti": 3.0, "O": 0.0}
        assert dict(zip(symbols, incar["LDAUL"], strict=True)) == {"Ti": 2, "O": -1}
        assert set(incar["LDAUJ"]) == {0.0}
        assert incar["GGA"].upper() == "PS"
    assert sets["hybrid"].incar["LDAU"] is False
    assert not any(name.startswith("LDAUU") for name in sets["hybrid"].incar)


def test_u_of_cerium_is_on_f():
    fluorite = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.41), ["Ce", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    static = inputs(fluorite, hubbard_u={"Ce": 5.0})["static"]
    shells = dict(zip(static.poscar.site_symbols, static.incar["LDAUL"], strict=True))
    assert shells == {"Ce": 3, "O": -1}
    assert static.incar["LMAXMIX"] == 6


def test_atomate2s_own_u_stays_out():
    oxide = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.9), ["W", "O"], [[0, 0, 0], [0.5, 0, 0]]
    )
    assert not inputs(oxide)["static"].incar.get("LDAU", False)


def test_spin_check_polarises_ground_state_and_hybrid_alone(rutile):
    sets = inputs(rutile, spin_check=True)
    polarised = {step: sets[step].incar["ISPIN"] for step in STEPS}
    assert polarised == {"relax": 1, "static": 2, "optics": 1, "hybrid": 2}


def test_incar_of_the_user_has_the_last_word(rutile):
    sets = inputs(
        rutile, incar={"hybrid": {"NKRED": 2}, "optics": {"ALGO": "Exact", "SIGMA": None}}
    )
    assert sets["hybrid"].incar["NKRED"] == 2
    assert sets["optics"].incar["ALGO"].upper() == "EXACT"
    assert "SIGMA" not in sets["optics"].incar
    assert "NKRED" not in sets["static"].incar


def test_bands_of_the_response_grow_with_the_cell(rutile):
    from types import SimpleNamespace

    from opalign.firstprinciples.vasp_inputs import HybridSetGenerator, OpticsSetGenerator

    before = SimpleNamespace(parameters={"NELECT": 48.0, "NBANDS": 32})
    optics = OpticsSetGenerator(band_density=0.3, optics=True)
    optics.structure = rutile
    assert "NBANDS" not in optics.incar_updates
    optics._get_nedos = lambda step: 1000
    optics.prev_vasprun = before
    assert optics.incar_updates["NBANDS"] == 24 + int(-(-0.3 * rutile.volume // 1)) + 4
    hybrid = HybridSetGenerator(exchange_fraction=0.18)
    hybrid.prev_vasprun = before
    assert hybrid.incar_updates["NBANDS"] == 32
    assert hybrid.incar_updates["AEXX"] == 0.18


def test_settings_of_the_study():
    settings = study_settings(["Ti", "Sr", "O"])
    assert settings.functional == "PBEsol"
    assert settings.hubbard_u == {"Ti": 3.0}
    assert settings.spin_check
    assert study_settings(["Mg", "O"]).hubbard_u == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"functional": "SCAN"},
        {"cutoff": -1.0},
        {"exchange_fraction": 1.5},
        {"relax_runs": 0},
        {"incar": {"bands": {}}},
        {"vasp_cmd": "vasp"},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        VaspSettings(**wrong)
    with pytest.raises(ConfigurationError, match="settings of vasp"):
        engine_from_settings("vasp", wrong)


def test_settings_are_frozen_json():
    settings = VaspSettings(hubbard_u={"Ti": 3.0}, incar={"static": {"NELM": 300}})
    assert VaspSettings.model_validate_json(settings.model_dump_json()) == settings
    with pytest.raises(ValidationError):
        settings.cutoff = 400.0


def test_the_engine_is_found_by_name():
    engine = engine_from_settings("vasp", {"cutoff": 450.0})
    assert isinstance(engine, VaspEngine)
    assert engine.name == "vasp"
    assert engine.settings.cutoff == 450.0


def test_dearer_settings_and_cells_are_expected_to_be_dearer(rutile):
    cheap = VaspEngine(VaspSettings(hybrid=False)).expected_seconds(rutile)
    assert cheap > 0.0
    assert VaspEngine().expected_seconds(rutile) > cheap
    assert (
        VaspEngine(VaspSettings(hybrid=False, optics_density=8.0)).expected_seconds(rutile) > cheap
    )
    double = rutile.make_supercell([1, 1, 2], in_place=False)
    double.translate_sites([0], [0.01, 0.02, 0.013])
    assert VaspEngine(VaspSettings(hybrid=False)).expected_seconds(double) > cheap


def test_without_atomate2_the_extra_is_named(rutile, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "atomate2", None)
    with pytest.raises(MissingExtraError, match=r"opalign\[hpc\]"):
        vasp_failures.require_atomate2()
    with pytest.raises(MissingExtraError):
        vasp_flow(rutile)
    with pytest.raises(MissingExtraError):
        VaspEngine().run(rutile, tmp_path)
