"""Coordination, oxidation states and prototypes of structures that every chemist knows."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

pytest.importorskip("matminer", reason="coordination motifs need matminer (extra explain)")

from opalign.explain.chemistry.structure import anion_elements, describe_structure, motif_names

CUBIC = Lattice.cubic


def known() -> dict[str, Structure]:
    make = Structure.from_spacegroup
    return {
        "rock salt": make("Fm-3m", CUBIC(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "zinc blende": make("F-43m", CUBIC(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
        "wurtzite": make(
            "P6_3mc",
            Lattice.hexagonal(3.25, 5.2),
            ["Zn", "O"],
            [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]],
        ),
        "fluorite": make("Fm-3m", CUBIC(5.41), ["Ce", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
        "perovskite": make(
            "Pm-3m",
            CUBIC(3.905),
            ["Sr", "Ti", "O"],
            [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0]],
        ),
        # Li3VO4, enargite type; J. G. Tarte's cell, tetrahedra of V and of Li.
        "vanadate": make(
            "Pmn2_1",
            Lattice.orthorhombic(6.327, 5.449, 4.949),
            ["V", "Li", "Li", "O", "O", "O"],
            [
                [0.0, 0.833, 0.0],
                [0.5, 0.825, 0.0],
                [0.245, 0.332, 0.991],
                [0.225, 0.684, 0.891],
                [0.0, 0.125, 0.900],
                [0.5, 0.176, 0.815],
            ],
        ),
    }


@pytest.mark.parametrize(
    ("name", "cation", "number", "motif", "states"),
    [
        ("rock salt", "Mg", 6, "octahedral CN_6", {"Mg": [2], "O": [-2]}),
        ("zinc blende", "Zn", 4, "tetrahedral CN_4", {"Zn": [2], "S": [-2]}),
        ("wurtzite", "Zn", 4, "tetrahedral CN_4", {"Zn": [2], "O": [-2]}),
        ("fluorite", "Ce", 8, "body-centered cubic CN_8", {"Ce": [4], "O": [-2]}),
        ("perovskite", "Ti", 6, "octahedral CN_6", {"Sr": [2], "Ti": [4], "O": [-2]}),
        ("perovskite", "Sr", 12, "cuboctahedral CN_12", {"Sr": [2], "Ti": [4], "O": [-2]}),
        ("vanadate", "V", 4, "tetrahedral CN_4", {"Li": [1], "V": [5], "O": [-2]}),
    ],
)
def test_known_coordination_and_oxidation_states(name, cation, number, motif, states):
    found = describe_structure(known()[name])
    assert found.problems == ()
    assert found.oxidation_states == states
    site = next(site for site in found.sites if site.element == cation)
    assert site.coordination_number == number
    assert site.motif == motif
    assert site.motifs[motif] > 0.8
    assert len(site.bond_lengths) == number
    assert len(site.angles) == number * (number - 1) // 2


def test_bond_lengths_and_angles_of_rock_salt():
    (site,) = describe_structure(known()["rock salt"]).sites
    np.testing.assert_allclose(site.bond_lengths, 4.21 / 2)
    assert np.sort(np.round(site.angles)).tolist() == [90] * 12 + [180] * 3
    assert site.multiplicity == 4


def test_a_supercell_or_another_setting_changes_nothing_but_the_sites():
    cell = known()["perovskite"]
    moved = cell.copy()
    moved.translate_sites(range(len(moved)), [0.13, 0.27, 0.31])
    for other in (cell * [2, 1, 1], moved, Structure.from_sites(cell[::-1])):
        first, second = describe_structure(cell), describe_structure(other)
        assert first.prototype == second.prototype == "ABC3 221 1-1-3"
        assert first.oxidation_states == second.oxidation_states
        assert {s.element: s.motif for s in first.sites} == {
            s.element: s.motif for s in second.sites
        }
        assert second.volume_per_atom == pytest.approx(first.volume_per_atom)


def test_types_of_one_composition_differ_and_of_one_type_agree():
    structures = known()
    assert (
        describe_structure(structures["zinc blende"]).prototype
        != describe_structure(structures["rock salt"]).prototype
    )
    other = structures["rock salt"].copy()
    other.replace_species({"Mg": "Ca"})
    other.scale_lattice(4.81**3)
    assert (
        describe_structure(other).prototype == describe_structure(structures["rock salt"]).prototype
    )


def test_anions_by_charge_and_by_electronegativity():
    sulphate = Structure(CUBIC(6), ["S", "O", "Ca"], [[0, 0, 0], [0.25, 0, 0], [0.5, 0.5, 0.5]])
    assert anion_elements(sulphate) == {"O"}
    assert anion_elements(sulphate, [6, -2, 2]) == {"O"}
    mixed = Structure(CUBIC(6), ["S", "Se", "Cd"], [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0.5]])
    assert anion_elements(mixed) == {"S", "Se"}
    element = Structure(CUBIC(3), ["Se"], [[0, 0, 0]])
    assert anion_elements(element) == set()
    assert describe_structure(element).anion is None


def test_what_cannot_be_found_out_is_said():
    gold = Structure.from_spacegroup(
        "Pn-3m", CUBIC(5.02), ["Au", "S"], [[0.25, 0.25, 0.25], [0, 0, 0]]
    )
    found = describe_structure(gold)
    assert any("no oxidation states" in problem for problem in found.problems)
    assert found.oxidation_states == {}
    assert all(site.oxidation_state is None for site in found.sites)


def test_motifs_have_names_of_geometries_only():
    assert "tetrahedral CN_4" in motif_names()
    assert not any(name.startswith(("wt", "q")) for name in motif_names())
