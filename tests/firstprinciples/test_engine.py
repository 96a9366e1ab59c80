import json
import pickle
import sys
import types

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict
from pymatgen.core import Lattice, Structure

from opalign.errors import ConfigurationError, OpalignError
from opalign.firstprinciples import engine as engine_module
from opalign.firstprinciples.engine import (
    ARRAYS_FILE,
    RESULT_FILE,
    EngineFailure,
    EngineResult,
    engine_from_settings,
)
from opalign.spectrum import EnergyGrid

GRID = EnergyGrid(0.0, 1.0, 5)


def make_result(**changes):
    rng = np.random.default_rng(3)
    symmetric = rng.normal(size=(5, 3, 3)) + 1j * rng.random((5, 3, 3))
    fields = {
        "structure": Structure(Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "grid": GRID,
        "epsilon": {"ipa": symmetric + symmetric.swapaxes(1, 2), "rpa": np.eye(3) + 0j * symmetric},
        "band_gap": 4.5,
        "direct_gap": 4.75,
        "total_energy": -11.5,
        "pdos_energies": np.linspace(-1, 1, 4),
        "pdos": {"O-p": rng.random(4), "Mg-s": rng.random(4)},
        "scalars": {"pbe0_shift_eV": 2.5},
        "seconds": {"bands": 12.0},
        "provenance": {"code": "test", "mesh": [4, 4, 4]},
    }
    return EngineResult(**(fields | changes))


def test_round_trip_is_exact(tmp_path):
    result = make_result()
    path = result.save(tmp_path / "job")
    assert path == tmp_path / "job" / RESULT_FILE
    again = EngineResult.load(tmp_path / "job")
    assert again.structure == result.structure
    assert again.grid == result.grid
    for name in ("band_gap", "direct_gap", "total_energy", "scalars", "seconds", "provenance"):
        assert getattr(again, name) == getattr(result, name)
    assert list(again.epsilon) == ["ipa", "rpa"]
    for level, epsilon in result.epsilon.items():
        np.testing.assert_array_equal(again.epsilon[level], epsilon)
    np.testing.assert_array_equal(again.pdos_energies, result.pdos_energies)
    for channel, density in result.pdos.items():
        np.testing.assert_array_equal(again.pdos[channel], density)


def test_it_is_told_in_a_line():
    assert repr(make_result()) == "EngineResult(MgO, ipa, rpa, gap 4.500 eV, 5 energies)"


def test_saving_leaves_nothing_else_behind(tmp_path):
    make_result().save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ARRAYS_FILE, RESULT_FILE])


def test_spectrum_is_one_level():
    epsilon = np.broadcast_to(np.eye(3) * (2 + 0.5j), (5, 3, 3))
    spectrum = make_result(epsilon={"rpa": epsilon}).spectrum("rpa", "mgo")
    assert (spectrum.level, spectrum.material_id) == ("rpa", "mgo")
    np.testing.assert_array_equal(spectrum.epsilon, epsilon)


def damage_json(folder):
    (folder / RESULT_FILE).write_text((folder / RESULT_FILE).read_text()[:100])


def other_arrays(folder):
    np.savez(folder / ARRAYS_FILE, pdos_energies=np.zeros(3))


def other_version(folder):
    content = json.loads((folder / RESULT_FILE).read_text())
    (folder / RESULT_FILE).write_text(json.dumps(content | {"version": 99}))


def missing_key(folder):
    content = json.loads((folder / RESULT_FILE).read_text())
    del content["band_gap_eV"]
    (folder / RESULT_FILE).write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage",
    [
        damage_json,
        other_arrays,
        other_version,
        missing_key,
        lambda folder: (folder / ARRAYS_FILE).unlink(),
        lambda folder: (folder / RESULT_FILE).unlink(),
    ],
)
def test_damaged_results_are_bad_output(tmp_path, damage):
    make_result().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(EngineFailure) as caught:
        EngineResult.load(tmp_path)
    assert caught.value.reason == "bad output"
    assert RESULT_FILE in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": {}},
        {"epsilon": {"ipa": np.ones(5, dtype=complex)}},
        {"epsilon": {"ipa": np.full((5, 3, 3), np.nan + 0j)}},
        {"pdos": {"O-p": np.ones(3)}},
        {"pdos_energies": np.ones((2, 2))},
        {"band_gap": float("nan")},
        {"total_energy": float("inf")},
    ],
)
def test_nonsense_is_no_result(changes):
    with pytest.raises(EngineFailure) as caught:
        make_result(**changes)
    assert caught.value.reason == "bad output"


def test_failure_carries_its_reason_and_survives_another_process():
    failure = EngineFailure("metal", "gap 0.01 eV", where="mp-1", cure="leave it")
    assert isinstance(failure, OpalignError)
    again = pickle.loads(pickle.dumps(failure))
    assert (again.reason, again.detail, again.where, again.cure) == (
        "metal",
        "gap 0.01 eV",
        "mp-1",
        "leave it",
    )
    assert str(again) == str(failure) == "mp-1: metal: gap 0.01 eV\n  try: leave it"


def test_reasons_are_few():
    with pytest.raises(ConfigurationError, match="not converged"):
        EngineFailure("bored")


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    cutoff: float = 1.0


class FakeEngine:
    name = "fake"

    def __init__(self, settings):
        self.settings = settings


@pytest.fixture
def fake(monkeypatch):
    module = types.ModuleType("opalign.firstprinciples.fake_engine")
    module.FakeEngine, module.Settings = FakeEngine, Settings
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(engine_module.ENGINES, "fake", ("fake_engine", "FakeEngine", "Settings"))


@pytest.mark.usefixtures("fake")
def test_engine_by_name():
    assert engine_from_settings("fake", {"cutoff": 2.0}).settings == Settings(cutoff=2.0)
    assert engine_from_settings("fake").settings == Settings()


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("settings", [{"cutof": 2.0}, {"cutoff": "many"}])
def test_wrong_settings_name_the_key(settings):
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        engine_from_settings("fake", settings)


def test_unknown_engine_is_refused_with_a_suggestion():
    with pytest.raises(ConfigurationError, match="did you mean 'gpaw'"):
        engine_from_settings("GPAW")
    with pytest.raises(ConfigurationError, match="there is no engine 'siesta'"):
        engine_from_settings("siesta")
