import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from opalign.prediction.inputs import Source, UniqueIds, read_sources
from opalign.prediction.result import Failure

MGO = Structure(Lattice.cubic(3.0), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@given(st.lists(st.text(max_size=80), max_size=30))
def test_ids_are_distinct_and_fit_for_files(names):
    unique = UniqueIds()
    ids = [unique(name) for name in names]
    assert len({one.lower() for one in ids}) == len(ids)
    for one in ids:
        assert one
        assert not one.startswith(".")
        assert not set(one) & set('/\\:*?"<>|\0\n ')
        assert len(f".{one}-x_rpa.csv".encode()) <= 255


def test_a_long_name_still_fits_a_file_system():
    (first, second) = map(UniqueIds(), ["漢" * 200, "漢" * 200])
    assert first != second
    assert len(f"{second}_rpa.csv".encode()) <= 255


def test_ids_that_differ_by_case_alone_are_told_apart():
    unique = UniqueIds()
    assert [unique(name) for name in ("CO", "Co", "CO", "mp-1/POSCAR")] == [
        "CO",
        "Co-2",
        "CO-3",
        "mp-1_POSCAR",
    ]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    MGO.to(filename=tmp_path / "MgO.cif")
    MGO.to(filename=tmp_path / "deep" / "POSCAR", fmt="poscar")
    (tmp_path / "broken.cif").write_text("nonsense")
    bulk("MgO", "rocksalt", 4.2).write(tmp_path / "two.extxyz")
    bulk("CaO", "rocksalt", 4.8).write(tmp_path / "two.extxyz", append=True)
    return tmp_path


def test_a_folder_says_which_file_each_came_from(folder):
    found = list(read_sources(folder))
    assert {(one.id, one.file) for one in found if isinstance(one, Source)} == {
        ("MgO", str(folder / "MgO.cif")),
        ("deep_POSCAR", str(folder / "deep" / "POSCAR")),
        ("two#1", str(folder / "two.extxyz")),
        ("two#2", str(folder / "two.extxyz")),
    }
    (failure,) = (one for one in found if isinstance(one, Failure))
    assert failure.file == str(folder / "broken.cif")
    assert "\n" not in failure.reason


def test_any_mix(folder):
    sources = [folder / "MgO.cif", str(folder / "MgO.cif"), MGO, bulk("CaO", "rocksalt", 4.8)]
    sources += [MGO.as_dict()]
    ids = [one.id for one in read_sources(sources)]
    assert ids == ["MgO", "MgO-2", "MgO-3", "CaO", "MgO-4"]


@pytest.mark.parametrize("kind", ["path", "text", "structure", "atoms", "dict"])
def test_one_alone_needs_no_list(folder, kind):
    one = {
        "path": folder / "MgO.cif",
        "text": str(folder / "MgO.cif"),
        "structure": MGO,
        "atoms": bulk("MgO", "rocksalt", 4.2),
        "dict": MGO.as_dict(),
    }[kind]
    (source,) = read_sources(one)
    assert source.structure.reduced_formula == "MgO"


def test_a_missing_file_and_an_empty_folder_are_failures(tmp_path):
    (tmp_path / "empty").mkdir()
    missing, empty = read_sources([tmp_path / "absent.cif", tmp_path / "empty"])
    assert "does not exist" in missing.reason
    assert "no structure files" in empty.reason


def test_a_bad_structure_in_memory_is_a_failure():
    disordered = Structure(Lattice.cubic(3.0), [{"Mg": 0.5, "Ca": 0.5}, "O"], MGO.frac_coords)
    bad, good = read_sources([disordered, MGO])
    assert isinstance(bad, Failure)
    assert good.id == "MgO"
