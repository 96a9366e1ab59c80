import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opalign.errors import DatasetError
from opalign.screening import tables
from opalign.screening.chunk import STRUCTURES
from opalign.screening.tables import TableSource


def read(path):
    return [row for batch in TableSource([path]).batches() for row in batch.to_pylist()]


def test_rows_are_those_of_the_table(write_rows, crystal_rows, many_crystals):
    found = read(write_rows(crystal_rows))
    assert TableSource([write_rows(crystal_rows)]).rows == len(crystal_rows)
    for row, crystal in zip(found, many_crystals, strict=True):
        assert row["problem"] is None
        np.testing.assert_array_equal(np.reshape(row["lattice"], (3, 3)), crystal.lattice.matrix)
        np.testing.assert_array_equal(np.reshape(row["coordinates"], (-1, 3)), crystal.frac_coords)
        assert row["numbers"] == list(crystal.atomic_numbers)


def nested(rows, inner):
    lattice = [np.reshape(row["lattice"], (3, 3)).tolist() for row in rows]
    places = [np.reshape(row["frac_coords"], (-1, 3)).tolist() for row in rows]
    return {
        "id": pa.array(range(len(rows))),
        "lattice": pa.array(lattice, pa.list_(inner)),
        "frac_coords": pa.array(places, pa.large_list(inner)),
    }


@pytest.mark.parametrize(
    "inner", [pa.list_(pa.float64()), pa.list_(pa.float64(), 3), pa.large_list(pa.float32())]
)
def test_layouts_of_others(tmp_path, write_rows, crystal_rows, inner):
    from ase.data import atomic_numbers

    columns = nested(crystal_rows, inner)
    columns["atomic_numbers"] = pa.array(
        [[atomic_numbers[one] for one in row["species"]] for row in crystal_rows],
        pa.list_(pa.int16()),
    )
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table(columns), path)
    tolerance = 1e-6 if "float" in str(inner) else 0.0
    for found, plain in zip(read(path), read(write_rows(crystal_rows)), strict=True):
        assert found["problem"] is None
        assert found["numbers"] == plain["numbers"]
        for name in ("lattice", "coordinates"):
            np.testing.assert_allclose(found[name], plain[name], rtol=tolerance)
    assert [row["material_id"] for row in read(path)] == [str(k) for k in range(len(crystal_rows))]


def test_dictionaries_of_symbols_and_slices_of_batches(tmp_path, crystal_rows, monkeypatch):
    # Batches that start within a row group have offsets that do not start at zero.
    monkeypatch.setattr(tables, "ROWS_READ", 5)
    table = pa.Table.from_pylist(crystal_rows)
    path = tmp_path / "sliced.parquet"
    pq.write_table(table.slice(3), path, row_group_size=7)
    found = read(path)
    assert [row["material_id"] for row in found] == [row["material_id"] for row in crystal_rows[3:]]
    assert [len(row["numbers"]) for row in found] == [
        len(row["species"]) for row in crystal_rows[3:]
    ]


def test_garbage_is_a_problem_of_its_row_alone(write_rows, garbage_rows, crystal_rows):
    rows = [crystal_rows[0], *(row for row, _ in garbage_rows), crystal_rows[1]]
    found = read(write_rows(rows))
    assert len(found) == len(rows)
    assert found[0]["problem"] is found[-1]["problem"] is None
    assert found[-1]["numbers"] == read(write_rows(crystal_rows))[1]["numbers"]
    for row, (_, reason) in zip(found[1:-1], garbage_rows, strict=True):
        # What only the geometry tells is told later.
        if row["problem"] is not None:
            assert reason in row["problem"]
            assert row["lattice"] is row["numbers"] is row["coordinates"] is None
        else:
            assert reason in {"no volume", "Å³ per atom", "Å apart", "cannot describe Lr"}


def test_isotopes_of_hydrogen(write_rows, crystal_rows):
    row = {**crystal_rows[0], "species": ["D", "T"]}
    assert read(write_rows([row]))[0]["numbers"] == [1, 1]


def test_rows_of_several_files_follow_one_another(write_rows, crystal_rows):
    first = write_rows(crystal_rows[:5], "a.parquet")
    second = write_rows(crystal_rows[5:], "b.parquet")
    source = TableSource([first, second])
    ids = [x for batch in source.batches() for x in batch.column("material_id").to_pylist()]
    assert ids == [row["material_id"] for row in crystal_rows]
    assert source.rows == len(crystal_rows)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"x": [1]}, "no column lattice, frac_coords, species"),
        ({"lattice": ["a"], "frac_coords": [[0.0]], "species": [["O"]]}, "'lattice' holds string"),
        ({"lattice": [[1.0]], "frac_coords": [["a"]], "species": [["O"]]}, "'frac_coords' holds"),
        ({"lattice": [[1.0]], "frac_coords": [[0.0]], "species": [[8]]}, "'species' holds list"),
        ({"lattice": [[1.0]], "frac_coords": [[0.0]], "species": ["O"]}, "'species' holds string"),
        ({"lattice": [[1.0]], "frac_coords": [[0.0]], "atomic_numbers": [["O"]]}, "atomic_numbers"),
    ],
)
def test_a_table_of_something_else_is_refused(tmp_path, columns, problem):
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DatasetError, match=r"other\.parquet") as caught:
        TableSource([path])
    assert problem in caught.value.problem


def test_a_bomb_is_refused_by_its_footer(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_ATOMS", 1000)
    path = tmp_path / "bomb.parquet"
    columns = {
        "lattice": [[1.0] * 9],
        "frac_coords": [np.zeros(3003)],
        "species": [["O"] * 1001],
    }
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DatasetError, match="claims 3003 coordinates"):
        TableSource([path])


def test_no_parquet_at_all(tmp_path):
    path = tmp_path / "no.parquet"
    path.write_bytes(b"PAR1 this is no table PAR1")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        TableSource([path])


def test_a_page_that_is_damaged_is_an_error_with_the_file(write_rows, crystal_rows):
    path = write_rows(crystal_rows * 200)
    content = bytearray(path.read_bytes())
    content[100 : len(content) // 2] = b"\xff" * (len(content) // 2 - 100)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"input\.parquet"):
        read(path)


def test_the_schema_is_kept(write_rows, garbage_rows):
    path = write_rows([row for row, _ in garbage_rows])
    assert all(batch.schema == STRUCTURES for batch in TableSource([path]).batches())
