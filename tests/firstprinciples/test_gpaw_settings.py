import pytest
from pydantic import ValidationError

from opalign.errors import ConfigurationError
from opalign.firstprinciples.engine import engine_from_settings
from opalign.firstprinciples.gpaw import GpawEngine
from opalign.firstprinciples.gpaw_bands import number_of_bands, setups
from opalign.firstprinciples.gpaw_settings import GpawSettings, Numerics
from opalign.spectrum.grid import EnergyGrid


def test_settings_are_frozen_and_survive_json():
    settings = GpawSettings(functional="PBEsol", hubbard_u={"Ti": 4.0}, optics_mesh=(4, 4, 2))
    assert GpawSettings.model_validate_json(settings.model_dump_json()) == settings
    with pytest.raises(ValidationError):
        settings.cutoff = 300.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"cutoff": -1.0},
        {"functional": "HSE06"},
        {"cutof": 300.0},
        {"grid": EnergyGrid(0.5, 10.0, 20)},
        {"converge": True, "optics_mesh": (4, 4, 4)},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        GpawSettings(**wrong)


def test_the_engine_comes_by_name_without_gpaw():
    engine = engine_from_settings("gpaw", {"cutoff": 300, "relax": False})
    assert isinstance(engine, GpawEngine)
    assert engine.name == "gpaw"
    assert engine.settings == GpawSettings(cutoff=300.0, relax=False)
    with pytest.raises(ConfigurationError, match="cutoff"):
        engine_from_settings("gpaw", {"cutoff": -1})


def test_hubbard_u_goes_into_the_setups():
    assert setups(GpawSettings(hubbard_u={"Ti": 4.0})) == {"Ti": ":d,4.0"}
    assert setups(GpawSettings()) == {}


def test_bands_follow_electrons_and_volume():
    assert number_of_bands(16, 18.7, 0.3) == 8 + 6 + 4


def test_names_of_steps_tell_settings_apart():
    numerics = Numerics.of(GpawSettings())
    names = {numerics.response_name}
    for name in Numerics.model_fields:
        other = numerics.model_copy(update={name: getattr(numerics, name) * 1.5})
        names.add(other.response_name)
        assert (other.bands_name == numerics.bands_name) == (name == "response_cutoff")
    assert len(names) == 5
