import pytest
from pymatgen.core import Lattice, Structure

from opalign.errors import StructureError
from opalign.model.nearest import NearestMaterials
from opalign.prediction.applicability import (
    applicability_warnings,
    require_describable,
    unseen_elements,
)

LINE = NearestMaterials(["a", "b", "c"], ["A", "B", "C"], [[0.0], [1.0], [2.0]])


def crystal(*symbols):
    positions = [[k / len(symbols)] * 3 for k in range(len(symbols))]
    return Structure(Lattice.cubic(6.0), symbols, positions)


def test_unseen_elements_are_named_in_order():
    assert unseen_elements(crystal("Zr", "Ti", "O"), [8]) == ["Ti", "Zr"]
    assert unseen_elements(crystal("Ti", "O"), [8, 22]) == []


def test_nothing_to_say_about_a_familiar_crystal():
    (nearest,) = LINE.query([0.5])
    assert applicability_warnings(crystal("Mg", "O"), (8, 12), nearest, LINE) == ()


def test_unseen_and_far():
    (nearest,) = LINE.query([4.5])
    warnings = applicability_warnings(crystal("Tc", "O"), (8, 12), nearest, LINE)
    assert len(warnings) == 2
    assert warnings[0].endswith(": Tc")
    assert "2.5 times the typical distance" in warnings[1]


def test_as_far_as_the_training_materials_from_each_other_is_not_far():
    (nearest,) = LINE.query([3.0])
    assert applicability_warnings(crystal("Mg", "O"), (8, 12), nearest, LINE) == ()


def test_no_verdict_on_distance_without_reference():
    empty = NearestMaterials((), (), LINE.features[:0])
    assert applicability_warnings(crystal("Mg", "O"), (8, 12), (), empty) == ()


def test_elements_outside_the_table_are_refused():
    require_describable(crystal("Zn", "O").atomic_numbers, "cgcnn", "x.cif")
    with pytest.raises(StructureError, match=r"x.cif: the model cannot describe Zn"):
        require_describable(crystal("Zn", "O").atomic_numbers, "main_group_period", "x.cif")
    with pytest.raises(StructureError, match="cannot describe Lr"):
        require_describable(crystal("Lr", "O").atomic_numbers, "cgcnn", "x.cif")
