import pytest
from pydantic import BaseModel, ValidationError

from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import Oscillator


class Holder(BaseModel):
    broadening: Broadening = Broadening()
    grid: EnergyGrid | None = None


def test_fields_come_in_order_or_by_name():
    assert EnergyGrid(0.0, 20.0, 801) == EnergyGrid(start=0.0, stop=20.0, num=801)
    assert EnergyGrid(0.0, num=801, stop=20.0).stop == 20.0
    assert Broadening("gaussian", 0.1) == Broadening(width=0.1, shape="gaussian")
    assert Oscillator(25.0, 0.5).strength == 0.5


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"broadening": {"shape": "gaussian", "widht": 0.1}}, ("broadening", "widht")),
        ({"broadening": {"shape": "gaussian", " width": 0.1}}, ("broadening", " width")),
        ({"grid": {"start": 0.0, "stop": 20.0}}, ("grid", "num")),
    ],
)
def test_what_a_file_misspells_is_named(content, where):
    with pytest.raises(ValidationError) as failure:
        Holder.model_validate(content)
    assert where in [error["loc"] for error in failure.value.errors()]


def test_too_many_and_twice_are_mistakes_of_the_caller():
    with pytest.raises(TypeError, match="3 values for shape, width"):
        Broadening("gaussian", 0.1, 0.2)
    with pytest.raises(TypeError, match="width given twice"):
        Broadening("gaussian", 0.1, width=0.2)


def test_they_come_back_from_json():
    holder = Holder(broadening=Broadening("gaussian", 0.1), grid=EnergyGrid(0.0, 20.0, 801))
    assert Holder.model_validate_json(holder.model_dump_json()) == holder
    assert hash(EnergyGrid(0.0, 20.0, 801)) == hash(EnergyGrid(0, 20, 801))
