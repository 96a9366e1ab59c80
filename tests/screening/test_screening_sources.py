import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule

from opalign.errors import DatasetError, StructureError
from opalign.screening import sources
from opalign.screening.sources import open_source
from opalign.screening.tables import TableSource


def read(path):
    return [row for batch in open_source(path).batches() for row in batch.to_pylist()]


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "crystals.db"
    with ase.db.connect(path) as stored:
        for k in range(7):
            stored.write(bulk("MgO", "rocksalt", 4.2 + 0.01 * k), material_id=f"x-{k}")
        stored.write(molecule("H2O"))
        stored.write(bulk("CaO", "rocksalt", 4.81))
    return path


def test_a_database_in_its_order_a_few_rows_at_a_time(database, monkeypatch):
    monkeypatch.setattr(sources, "ROWS_PER_BATCH", 2)
    found = read(database)
    assert open_source(database).rows == 9
    assert [row["material_id"] for row in found] == [*(f"x-{k}" for k in range(7)), "8", "9"]
    assert "is no crystal" in found[7]["problem"]
    for k, row in enumerate(found[:7]):
        expected = bulk("MgO", "rocksalt", 4.2 + 0.01 * k)
        lattice = np.reshape(row["lattice"], (3, 3))
        np.testing.assert_allclose(lattice, expected.cell.array, atol=1e-12)
        cartesian = np.reshape(row["coordinates"], (-1, 3)) @ lattice
        np.testing.assert_allclose(cartesian, expected.positions, atol=1e-12)
        assert row["numbers"] == [12, 8]


def test_rows_that_were_deleted_leave_no_gap(database, monkeypatch):
    monkeypatch.setattr(sources, "ROWS_PER_BATCH", 2)
    with ase.db.connect(database) as stored:
        stored.delete([2, 3, 4])
    assert [row["material_id"] for row in read(database)][:3] == ["x-0", "x-4", "x-5"]


def test_no_database(tmp_path):
    path = tmp_path / "no.db"
    with pytest.raises(StructureError, match="does not exist"):
        open_source(path)
    path.write_text("a letter")
    with pytest.raises(DatasetError, match="no SQLite file"):
        open_source(path)
    path.write_bytes(b"SQLite format 3\x00" + bytes(200))
    with pytest.raises(DatasetError, match="cannot be read"):
        open_source(path)


def test_frames_of_one_file(tmp_path):
    frames = [bulk("MgO", "rocksalt", 4.2), bulk("CaO", "rocksalt", 4.8), molecule("H2O")]
    ase.io.write(tmp_path / "many.extxyz", frames)
    found = read(tmp_path / "many.extxyz")
    assert [row["material_id"] for row in found] == ["many#1", "many#2", "many#3"]
    assert found[0]["numbers"] == [12, 8]
    assert "lattice" in found[2]["problem"]


def test_a_folder_of_files(tmp_path):
    ase.io.write(tmp_path / "b.cif", bulk("MgO", "rocksalt", 4.2))
    ase.io.write(tmp_path / "a.vasp", bulk("CaO", "rocksalt", 4.8))
    (tmp_path / "c.cif").write_text("no crystal")
    found = read(tmp_path)
    assert [row["material_id"] for row in found] == ["a", "b", "c"]
    assert [row["problem"] is None for row in found] == [True, True, False]
    assert len(open_source(tmp_path).files) == 3


def test_a_folder_of_tables(write_rows, crystal_rows):
    path = write_rows(crystal_rows[:3], "b.parquet")
    write_rows(crystal_rows[3:5], "a.parquet")
    source = open_source(path.parent)
    assert isinstance(source, TableSource)
    assert [row["material_id"] for row in read(path.parent)] == ["c-3", "c-4", "c-0", "c-1", "c-2"]


@pytest.mark.parametrize("name", ["absent.cif", "absent.parquet", "letter.txt", "."])
def test_nothing_to_screen(tmp_path, name):
    (tmp_path / "letter.txt").write_text("Dear reader")
    with pytest.raises((StructureError, DatasetError)):
        open_source(tmp_path / name)
