"""Bonds and angles taken out of the graph: kinds by symmetry, and what each is worth."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.crystal.graph import build_graph
from opalign.errors import StructureError
from opalign.explain.occlusion import important_angles, important_bonds
from opalign.prediction import load_model


@pytest.fixture(scope="module")
def predictor():
    return load_model("alignn", device="cpu")


def zinc_blende() -> Structure:
    return Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    ).get_primitive_structure()


def test_kinds_of_bonds_are_the_shells(predictor):
    found = important_bonds(predictor, zinc_blende())
    graph = build_graph(zinc_blende(), predictor.config.graph)
    assert {item.name for item in found} == {"Zn–S 2.34 Å", "S–S 3.83 Å", "Zn–Zn 3.83 Å"}
    assert sum(item.count for item in found) == graph.num_bonds // 2
    by_name = {item.name: item for item in found}
    assert by_name["Zn–S 2.34 Å"].count == 4
    assert by_name["Zn–S 2.34 Å"].value == pytest.approx(5.41 * 3**0.5 / 4)
    importances = [item.importance for item in found]
    assert importances == sorted(importances, reverse=True)
    assert importances[-1] > 1e-3


def test_kinds_of_angles(predictor):
    found = important_angles(predictor, zinc_blende())
    names = {item.name for item in found}
    assert "S–Zn–S 109°" in names
    assert "Zn–S–Zn 109°" in names
    graph = build_graph(zinc_blende(), predictor.config.graph)
    assert sum(item.count for item in found) == graph.num_angles
    assert found[0].importance > 0


def test_a_supercell_and_a_rotation_change_nothing(predictor):
    one = {item.name: item for item in important_bonds(predictor, zinc_blende())}
    turned = zinc_blende()
    from pymatgen.core.operations import SymmOp

    turned.apply_operation(SymmOp.from_axis_angle_and_translation([1, 2, 3], 40))
    for other, times in ((zinc_blende() * [2, 1, 1], 2), (turned, 1)):
        found = {item.name: item for item in important_bonds(predictor, other)}
        assert found.keys() == one.keys()
        for name, item in found.items():
            assert item.count == times * one[name].count
            assert item.importance == pytest.approx(one[name].importance, rel=1e-6)


def test_a_network_without_angles_has_none():
    predictor = load_model("optimate", device="cpu")
    assert important_angles(predictor, zinc_blende()) == []
    found = important_bonds(predictor, zinc_blende())
    assert np.isfinite([item.importance for item in found]).all()


def test_what_the_network_cannot_describe(predictor):
    odd = Structure(Lattice.cubic(4.5), ["Lr", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(StructureError, match="Lr"):
        important_bonds(predictor, odd)
