import runpy
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Composition

from opalign.crystal.read import read_structure

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted((EXAMPLES / "structures").iterdir())

# Shortest bond, Å, as textbooks give it: a slip in a lattice parameter or a coordinate shows here.
BOND_LENGTHS = {
    "BaZrO3": 2.10,
    "CaS": 2.85,
    "CdSe_zinc_blende": 2.62,
    "Cu2O": 1.85,
    "CuAlO2": 1.86,
    "HfS2": 2.55,
    "MgO": 2.11,
    "Na2O": 2.40,
    "SnS2": 2.56,
    "SrTiO3": 1.95,
    "TiO2_rutile": 1.95,
    "ZnO_wurtzite": 1.98,
}


def test_there_is_an_example_of_every_format():
    assert {path.suffix for path in FILES} == {".cif", ".vasp", ".extxyz", ".json"}
    assert {path.stem for path in FILES} == set(BOND_LENGTHS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_example_is_read_as_the_crystal_it_names(path):
    structure = read_structure(path)
    assert structure.composition.reduced_composition == Composition(path.stem.partition("_")[0])
    shortest = min(
        neighbor.nn_distance
        for atom in structure
        for neighbor in structure.get_neighbors(atom, 4.0)
    )
    assert shortest == pytest.approx(BOND_LENGTHS[path.stem], rel=0.01)


def test_the_script_writes_what_is_here(tmp_path):
    script = runpy.run_path(str(EXAMPLES / "make_structures.py"))
    written = script["write_examples"](tmp_path / "structures")
    assert sorted(path.name for path in written) == [path.name for path in FILES]
    for path in FILES:
        here, again = read_structure(path), read_structure(tmp_path / "structures" / path.name)
        assert [site.species_string for site in here] == [site.species_string for site in again]
        # Files keep at least eight digits; another version of a library may round the last.
        np.testing.assert_allclose(here.lattice.matrix, again.lattice.matrix, atol=1e-6)
        np.testing.assert_allclose(here.frac_coords, again.frac_coords, atol=1e-6)
