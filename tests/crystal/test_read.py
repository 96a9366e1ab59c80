"""Reading structures: every format gives the same crystal, and every refusal says why and where."""

import gzip
import json
import sys

import ase.io
import numpy as np
import pytest
from ase import Atoms
from pymatgen.core import Lattice, Molecule, Structure

from opalign.crystal import formats, read
from opalign.crystal.read import iterate_structures, read_structure
from opalign.errors import StructureError

RUTILE = Structure(
    Lattice.tetragonal(4.594, 2.959),
    ["O", "Ti", "O", "Ti", "O", "O"],
    [
        [0.305, 0.305, 0],
        [0, 0, 0],
        [0.695, 0.695, 0],
        [0.5, 0.5, 0.5],
        [0.805, 0.195, 0.5],
        [0.195, 0.805, 0.5],
    ],
)
PLAIN_POSCAR = """TiO
1.0
4.2 0 0
0 4.2 0
0 0 4.2
Ti O
1 1
direct
0 0 0
0.5 0.5 0.5
"""


def to_ase(structure, **options):
    return Atoms(
        [site.specie.symbol for site in structure],
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        **{"pbc": True, **options},
    )


def to_jarvis(structure, cartesian=False):
    return {
        "lattice_mat": structure.lattice.matrix.tolist(),
        "coords": (structure.cart_coords if cartesian else structure.frac_coords).tolist(),
        "elements": [site.specie.symbol for site in structure],
        "cartesian": cartesian,
    }


def write_all_formats(folder):
    """One file of each format, with rutile in it."""
    poscar_order = RUTILE.get_sorted_structure()
    RUTILE.to(str(folder / "a.cif"))
    poscar_order.to(str(folder / "POSCAR"), fmt="poscar")
    poscar_order.to(str(folder / "b.vasp"), fmt="poscar")
    (folder / "c.json").write_text(json.dumps(RUTILE.as_dict()))
    (folder / "d.json").write_text(json.dumps(to_jarvis(RUTILE)))
    ase.io.write(folder / "e.extxyz", to_ase(RUTILE), format="extxyz")
    ase.io.write(folder / "f.xyz", to_ase(RUTILE), format="extxyz")
    ase.io.write(folder / "g.xsf", to_ase(RUTILE), format="xsf")
    ase.io.write(folder / "h.res", to_ase(RUTILE), format="res")
    ase.io.write(
        folder / "i.pwi",
        to_ase(RUTILE),
        format="espresso-in",
        pseudopotentials={"Ti": "a", "O": "b"},
    )
    (folder / "j.cif.gz").write_bytes(gzip.compress((folder / "a.cif").read_bytes()))


def assert_same_crystal(found, expected, ordered=True):
    assert found.composition == expected.composition
    assert found.volume == pytest.approx(expected.volume, rel=1e-4)
    if ordered:
        assert found.atomic_numbers == expected.atomic_numbers
        # Formats write at least five digits.
        gaps = found.frac_coords - expected.frac_coords
        np.testing.assert_allclose(gaps, np.rint(gaps), atol=1e-4)
    assert np.sort(found.distance_matrix.ravel()) == pytest.approx(
        np.sort(expected.distance_matrix.ravel()), abs=1e-3
    )


def refusal(source) -> str:
    with pytest.raises(StructureError) as caught:
        read_structure(source)
    return str(caught.value)


def written(folder, name, text) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_every_format_gives_the_same_crystal(tmp_path):
    write_all_formats(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 11
    for name in names:
        # A POSCAR groups its sites by element, and so does pymatgen those of a CIF.
        keeps_order = not name.startswith(("POSCAR", "b.")) and "cif" not in name
        assert_same_crystal(read_structure(tmp_path / name), RUTILE, ordered=keeps_order)


@pytest.mark.parametrize(
    "source",
    [
        RUTILE,
        to_ase(RUTILE),
        to_jarvis(RUTILE),
        to_jarvis(RUTILE, cartesian=True),
        RUTILE.as_dict(),
        json.loads(json.dumps(RUTILE.as_dict())),
    ],
    ids=["pymatgen", "ase", "jarvis", "jarvis-cartesian", "dict", "json"],
)
def test_every_object_gives_the_same_crystal(source):
    assert_same_crystal(read_structure(source), RUTILE)


def test_path_as_text_and_as_path_are_the_same(tmp_path):
    path = written(tmp_path, "POSCAR", PLAIN_POSCAR)
    assert read_structure(path) == read_structure(tmp_path / "POSCAR")


def test_source_is_not_changed_and_result_is_not_shared():
    before = RUTILE.copy()
    result = read_structure(RUTILE)
    result.translate_sites([0], [0.1, 0, 0])
    assert before == RUTILE


def test_oxidation_states_isotopes_and_properties_are_dropped():
    structure = Structure(
        Lattice.cubic(4.2),
        ["D+", "Ni2+"],
        [[0.5] * 3, [0] * 3],
        site_properties={"magmom": [0.0, 2.0]},
    )
    result = read_structure(structure)
    assert [str(site.specie) for site in result] == ["H", "Ni"]
    assert result.site_properties == {}


def test_atoms_outside_the_cell_stay_there():
    structure = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[-1.25, 0, 0], [1.25, 2.5, 0.5]])
    np.testing.assert_allclose(read_structure(structure).frac_coords, structure.frac_coords)


def test_left_handed_lattice_is_legal():
    matrix = np.diag([4.2, 4.2, -4.2])
    result = read_structure(Structure(Lattice(matrix), ["Mg", "O"], [[0] * 3, [0.5] * 3]))
    np.testing.assert_array_equal(result.lattice.matrix, matrix)
    assert result.volume == pytest.approx(4.2**3)


def test_slab_of_ase_becomes_periodic_in_three_directions():
    slab = to_ase(RUTILE, pbc=[True, True, False])
    slab.cell[2, 2] = 30.0
    assert all(read_structure(slab).lattice.pbc)


def test_deuterium_in_a_cif_is_hydrogen(tmp_path):
    Structure(Lattice.cubic(4), ["D", "Li"], [[0] * 3, [0.5] * 3]).to(str(tmp_path / "LiD.cif"))
    assert read_structure(tmp_path / "LiD.cif").formula == "Li1 H1"


# Refusals of files


def test_missing_file(tmp_path):
    assert "nowhere.cif: does not exist" in refusal(tmp_path / "nowhere.cif")


def test_folder_where_a_file_is_expected(tmp_path):
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["a.cif", "POSCAR", "a.json", "a.xyz"])
def test_empty_file(tmp_path, name):
    assert refusal(written(tmp_path, name, "")).startswith(f"{tmp_path / name}: is empty")


@pytest.mark.parametrize(
    "name",
    ["a.cif", "POSCAR", "a.json", "a.extxyz", "a.xyz", "a.xsf", "a.res", "a.pwi"],
)
@pytest.mark.parametrize("content", [b"hello\nworld\n", b"\x00\xff\xfe\x01" * 40, b"\n\n\n"])
def test_something_else_than_a_structure(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name).startswith(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.cif.gz", "a.json.gz"])
@pytest.mark.parametrize(
    "content",
    # Without the time of day in it: all processes of a test run must call a test the same.
    [b"no archive", gzip.compress(b"data_x\n" * 99, mtime=0)[:-9]],
    ids=["none", "truncated"],
)
def test_broken_archive(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name).startswith(str(tmp_path / name))


@pytest.mark.parametrize("name", ["notes.txt", "table.parquet", "noext"])
def test_unknown_name_lists_the_formats(tmp_path, name):
    message = refusal(written(tmp_path, name, "text"))
    assert name in message
    assert "CIF" in message
    assert "XYZ" in message


def test_large_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "huge.cif"
    with path.open("wb") as stream:
        stream.truncate(formats.MAXIMUM_SIZE + 1)
    monkeypatch.setattr(read, "open_text", lambda _: pytest.fail("was opened"))
    assert "is 50 MB large" in refusal(path)


@pytest.mark.parametrize("name", ["bomb.vasp.gz", "bomb.xyz.gz", "bomb.cif.gz"])
def test_small_archive_of_a_large_file_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(formats, "MAXIMUM_SIZE", 100_000)
    start = "30000\n" if "xyz" in name else "data_x\n"
    (tmp_path / name).write_bytes(gzip.compress((start + "H 0.0 0.0 0.0\n" * 30_001).encode()))
    assert "is larger than" in refusal(tmp_path / name)


def test_truncated_cif(tmp_path):
    RUTILE.to(str(tmp_path / "whole.cif"))
    text = (tmp_path / "whole.cif").read_text()
    assert refusal(written(tmp_path, "cut.cif", text[: len(text) // 3])).startswith(str(tmp_path))


def test_truncated_xyz_frame(tmp_path):
    ase.io.write(tmp_path / "a.xyz", to_ase(RUTILE), format="extxyz")
    lines = (tmp_path / "a.xyz").read_text().splitlines()
    message = refusal(written(tmp_path, "cut.xyz", "\n".join(lines[:-2])))
    assert "starts on line 1 ends after 4 of its 6 atoms" in message


def test_poscar_without_elements_is_not_given_hydrogen_and_helium(tmp_path):
    text = PLAIN_POSCAR.replace("Ti O\n", "").replace("TiO", "comment")
    message = refusal(written(tmp_path, "POSCAR", text))
    assert "line 6" in message
    assert "VASP 4" in message


def test_several_structures_in_one_file(tmp_path):
    ase.io.write(tmp_path / "two.extxyz", [to_ase(RUTILE)] * 2, format="extxyz")
    assert "holds several structures" in refusal(tmp_path / "two.extxyz")


# Refusals of what is in them


def test_molecules_have_no_lattice(tmp_path):
    text = "2\nmolecule\nH 0 0 0\nH 0 0 0.74\n"
    for source in (
        written(tmp_path, "h2.xyz", text),
        Molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.74]]),
        Molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.74]]).as_dict(),
        Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]]),
        Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]], cell=[9, 9, 9], pbc=False),
    ):
        assert "has no lattice" in refusal(source)


def test_two_atoms_on_one_site_are_both_named(tmp_path):
    text = PLAIN_POSCAR.replace("0.5 0.5 0.5", "0.98 0.02 0")
    message = refusal(written(tmp_path, "POSCAR", text))
    assert str(tmp_path / "POSCAR") in message
    assert "atom 1 (Ti) and atom 2 (O), in a neighbouring cell, are 0.119 Å apart" in message


def test_partial_occupancy_names_the_site(tmp_path):
    structure = Structure(Lattice.cubic(4.2), ["Mg", {"O": 0.75, "S": 0.25}], [[0] * 3, [0.5] * 3])
    structure.to(str(tmp_path / "mixed.cif"))
    message = refusal(tmp_path / "mixed.cif")
    assert "mixed.cif: atom 2 (" in message
    assert "partially occupied" in message
    assert "atom 2" in refusal(structure)
    assert "atom 2" in refusal(structure.as_dict())
    assert "partially occupied" in refusal(ase.io.read(tmp_path / "mixed.cif"))


def test_vacancies_are_partial_occupancy():
    structure = Structure(Lattice.cubic(4.2), ["Mg", {"O": 0.9}], [[0] * 3, [0.5] * 3])
    assert "atom 2 (O:0.9) is partially occupied" in refusal(structure)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(value):
    wrong = to_jarvis(RUTILE)
    wrong["coords"][3][1] = value
    assert "position of atom 4 (Ti) is not finite" in refusal(wrong)
    wrong = to_jarvis(RUTILE)
    wrong["lattice_mat"][2][2] = value
    assert "not finite" in refusal(wrong)


def test_nan_in_a_file(tmp_path):
    message = refusal(written(tmp_path, "POSCAR", PLAIN_POSCAR.replace("0.5 0.5 0.5", "nan 0 0")))
    assert "atom 2 (O) is not finite" in message


@pytest.mark.parametrize("symbol", ["X", "Xx", "Vac", "", "Mg3", "mg", "7"])
def test_dummies_are_not_elements(symbol):
    wrong = to_jarvis(RUTILE)
    wrong["elements"][1] = symbol
    message = refusal(wrong)
    assert f"atom 2 ({symbol}) is not a chemical element" in message


def test_dummies_of_pymatgen_and_ase_are_refused():
    structure = Structure(Lattice.cubic(4), ["Mg", "X0+"], [[0] * 3, [0.5] * 3])
    assert "atom 2 (X" in refusal(structure)
    assert "atom 1 (X)" in refusal(Atoms("X", cell=[4, 4, 4], pbc=True))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"coords": [[0, 0, 0]]}, "2 atoms, but positions of shape (1, 3)"),
        ({"coords": [[0, 0], [1, 1]]}, "2 atoms, but positions of shape (2, 2)"),
        ({"coords": "text"}, "not arrays of numbers"),
        ({"coords": None}, "2 atoms, but positions of shape ()"),
        ({"coords": [[0, 0, 0], [0.5, 0.5]]}, "not arrays of numbers"),
        ({"lattice_mat": [[4, 0], [0, 4]]}, "the lattice has shape (2, 2)"),
        ({"elements": [], "coords": []}, "holds no atoms"),
    ],
)
def test_dict_of_wrong_shape(change, complaint):
    plain = {"lattice_mat": np.eye(3) * 4, "coords": [[0] * 3, [0.5] * 3], "elements": ["Mg", "O"]}
    assert complaint in refusal(plain | change)


def test_empty_structure():
    assert "holds no atoms" in refusal(Structure(Lattice.cubic(4), [], []))
    assert "holds no atoms" in refusal(Atoms(cell=[4, 4, 4], pbc=True))


@pytest.mark.parametrize("wrong", [{}, {"a": 1}, {"lattice": {}, "sites": []}, 7, None, [RUTILE]])
def test_other_objects(wrong):
    assert "structure" in refusal(wrong)


def test_classes_named_in_a_json_file_are_not_loaded(tmp_path, monkeypatch):
    """Properties in pymatgen's JSON may name any class of any module: they are not looked at."""
    written(tmp_path, "planted_module.py", "class Trap: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    content = RUTILE.as_dict()
    trap = {"@module": "planted_module", "@class": "Trap"}
    content["sites"][0]["properties"] = {"note": trap}
    content["properties"] = {"note": trap}
    path = written(tmp_path, "a.json", json.dumps(content))
    assert_same_crystal(read_structure(path), RUTILE)
    assert "planted_module" not in sys.modules


# Many structures


def test_folder_is_read_in_order_and_hides_nothing(tmp_path):
    RUTILE.to(str(tmp_path / "b.cif"))
    written(tmp_path, "a.vasp", PLAIN_POSCAR)
    written(tmp_path, "broken.cif", "data_nothing\n")
    written(tmp_path, "README.md", "words")
    written(tmp_path, ".hidden.cif", "words")
    (tmp_path / ".cache").mkdir()
    written(tmp_path / ".cache", "c.cif", "words")
    (tmp_path / "mp-1").mkdir()
    written(tmp_path / "mp-1", "POSCAR", PLAIN_POSCAR)
    written(tmp_path, "empty.xyz", "")
    found = list(iterate_structures(tmp_path))
    assert [identifier for identifier, _ in found] == ["a", "b", "broken", "empty", "mp-1/POSCAR"]
    kinds = [isinstance(outcome, StructureError) for _, outcome in found]
    assert kinds == [False, False, True, True, False]
    assert "broken.cif" in str(found[2][1])
    assert_same_crystal(found[1][1], RUTILE, ordered=False)


def test_files_with_one_stem_keep_their_suffix(tmp_path):
    for name in ("a.cif", "b.cif"):
        RUTILE.to(str(tmp_path / name))
    written(tmp_path, "a.vasp", PLAIN_POSCAR)
    written(tmp_path, "POSCAR.mp-5", PLAIN_POSCAR)
    written(tmp_path, "POSCAR.mp-6", PLAIN_POSCAR)
    identifiers = [identifier for identifier, _ in iterate_structures(tmp_path)]
    assert identifiers == ["POSCAR.mp-5", "POSCAR.mp-6", "a.cif", "a.vasp", "b"]


def test_bad_frame_is_reported_and_the_others_are_read(tmp_path):
    frames = [to_ase(RUTILE) for _ in range(3)]
    frames[1].positions[4] = frames[1].positions[1] + 0.1
    ase.io.write(tmp_path / "run.extxyz", frames, format="extxyz")
    text = (tmp_path / "run.extxyz").read_text()
    written(tmp_path, "run.extxyz", text + "1\nLattice=words\nO 0 0 0\n" + text + "words\n")
    found = dict(iterate_structures(tmp_path / "run.extxyz"))
    assert list(found) == [f"run#{number}" for number in range(1, 9)]
    good = [name for name, outcome in found.items() if isinstance(outcome, Structure)]
    assert good == ["run#1", "run#3", "run#5", "run#7"]
    assert "run.extxyz, structure 2: atom 2 (Ti) and atom 5 (O)" in str(found["run#2"])
    assert "line 52 should be a number of atoms, but is 'words'" in str(found["run#8"])


def test_long_file_is_read_frame_by_frame(tmp_path, monkeypatch):
    """The limit of size is one of a structure, not of a file of many."""
    ase.io.write(tmp_path / "many.xyz", [to_ase(RUTILE)] * 20, format="extxyz")
    monkeypatch.setattr(formats, "MAXIMUM_SIZE", 2000)
    monkeypatch.setattr(read, "MAXIMUM_SIZE", 2000)
    assert (tmp_path / "many.xyz").stat().st_size > 2000
    found = list(iterate_structures(tmp_path / "many.xyz"))
    assert len(found) == 20
    assert all(isinstance(outcome, Structure) for _, outcome in found)


@pytest.mark.filterwarnings("ignore:.*Defaulting to P1")
def test_cif_of_several_blocks(tmp_path):
    RUTILE.to(str(tmp_path / "one.cif"))
    block = (tmp_path / "one.cif").read_text()
    text = "data_global\n_publ_author 'A'\n" + block + "data_bad\n_atom_site_label\n" + block
    found = list(iterate_structures(written(tmp_path, "set.cif", text)))
    assert [identifier for identifier, _ in found] == ["set#1", "set#2", "set#3"]
    assert isinstance(found[1][1], StructureError)
    for number in (0, 2):
        assert_same_crystal(found[number][1], RUTILE, ordered=False)


def test_json_list(tmp_path):
    path = written(
        tmp_path, "set.json", json.dumps([to_jarvis(RUTILE), {"a": 1}, RUTILE.as_dict()])
    )
    kinds = [type(outcome) for _, outcome in iterate_structures(path)]
    assert kinds == [Structure, StructureError, Structure]


@pytest.mark.parametrize("text", ["[]", "  []"])
def test_file_of_no_structures_is_reported(tmp_path, text):
    path = written(tmp_path, "none.json", text)
    ((identifier, outcome),) = iterate_structures(path)
    assert identifier == "none"
    assert "holds no structure" in str(outcome)
    assert "holds no structure" in refusal(path)


def test_iterating_over_nothing_is_refused_at_once(tmp_path):
    with pytest.raises(StructureError, match="does not exist"):
        iterate_structures(tmp_path / "nowhere")
    written(tmp_path, "README.md", "words")
    with pytest.raises(StructureError, match="no structure files in this folder"):
        iterate_structures(tmp_path)
    with pytest.raises(StructureError, match="not known as a structure file"):
        iterate_structures(tmp_path / "README.md")


def test_a_path_that_cannot_be_reached_is_no_defect(tmp_path):
    name = "x" * 300 + ".cif"
    assert "File name too long" in refusal(tmp_path / name)
    with pytest.raises(StructureError, match="File name too long"):
        iterate_structures(tmp_path / name)
