import numpy as np
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure

from opalign.dataset import write
from opalign.dataset.schema import ScalarInfo, TableSchema
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import concatenate, write_table
from opalign.errors import DatasetError


def test_formula_comes_from_the_species_whatever_the_row_says(tmp_path, schema, rows):
    rows[2]["formula"] = "Nonsense"
    table = SpectraTable.open(write_table(tmp_path / "t.parquet", schema, rows))
    assert table.formulas == ["MgO", "TiO2", "TiO2", "ZnS"]


def test_a_structure_stands_for_its_columns(tmp_path, schema, rows):
    structure = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for name in ("lattice", "species", "frac_coords"):
        del rows[0][name]
    rows[0]["structure"] = structure
    table = SpectraTable.open(write_table(tmp_path / "t.parquet", schema, rows[:1]))
    assert table.structure(0) == structure


def test_a_disordered_structure_is_refused(tmp_path):
    alloy = Structure(Lattice.cubic(4.2), [{"Mg": 0.5, "Zn": 0.5}], [[0, 0, 0]])
    row = {"material_id": "alloy", "structure": alloy}
    with pytest.raises(DatasetError, match=r"row 0 \(alloy\): the structure is disordered"):
        write_table(tmp_path / "t.parquet", TableSchema(), [row])


def test_many_rows_are_streamed_into_bounded_groups(tmp_path, monkeypatch, schema, rows):
    monkeypatch.setattr(write, "ROWS_PER_GROUP", 3)
    held = []

    def stream():
        for number in range(10):
            held.append(number)
            yield {**rows[number % 4], "material_id": f"m{number}"}

    path = write_table(tmp_path / "t.parquet", schema, stream())
    sizes = [pq.ParquetFile(path).metadata.row_group(k).num_rows for k in range(4)]
    assert sizes == [3, 3, 3, 1]
    assert SpectraTable.open(path).ids == [f"m{number}" for number in held]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ipa_im_xx", None, "'ipa_im_xx' is missing"),
        ("ipa_im_xx", np.zeros(5), "column 'ipa_im_xx': has 5 values, the grid has 201"),
        ("rpa_im_mean", np.full(201, np.nan), "column 'rpa_im_mean': is NaN or infinite at 0 eV"),
        ("rpa_im_mean", np.full(201, -1.0), "column 'rpa_im_mean': Im ε is negative: -1"),
        ("lattice", np.zeros(6), "column 'lattice': has 6 numbers, not 9"),
        ("lattice", np.ones(9), "column 'lattice': spans no volume"),
        ("frac_coords", np.zeros(4), "column 'frac_coords': has 4 numbers"),
        ("species", ["Mg", "Qq"], "no chemical formula"),
        ("species", [], "no chemical formula"),
        ("material_id", "mat-0", "stands in row 0 already"),
        ("material_id", "", "column 'material_id': is empty"),
        ("band_gap_eV", np.inf, "column 'band_gap_eV': is infinite"),
        ("band_gap_eV", "wide", "column 'band_gap_eV' of rows 0–3"),
        ("band_gab_eV", 1.0, "did you mean 'band_gap_eV'"),
    ],
)
def test_a_broken_row_is_named_and_nothing_is_written(tmp_path, schema, rows, key, value, message):
    rows[1][key] = value
    target = tmp_path / "new" / "t.parquet"
    with pytest.raises(DatasetError) as caught:
        write_table(target, schema, rows)
    assert message in str(caught.value)
    assert str(target) in str(caught.value)
    assert "row 1 (" in str(caught.value) or "rows 0–3" in str(caught.value)
    assert list(target.parent.iterdir()) == []


def test_a_failed_write_leaves_the_older_table(table, schema, rows):
    before = table.path.read_bytes()

    def stream():
        yield rows[0]
        raise RuntimeError("the source broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        write_table(table.path, schema, stream())
    assert table.path.read_bytes() == before
    assert [p.name for p in table.path.parent.iterdir()] == [table.path.name]


def test_concatenate(tmp_path, schema, rows):
    other = schema.model_copy(
        update={
            "scalars": {**schema.scalars, "mass": ScalarInfo(unit="u")},
            "licence": "CC BY 4.0",
            "citation": "",
        }
    )
    first = SpectraTable.open(write_table(tmp_path / "a.parquet", schema, rows[:2]))
    second = SpectraTable.open(
        write_table(tmp_path / "b.parquet", other, [{**row, "mass": 3.0} for row in rows[2:]])
    )
    joined = SpectraTable.open(concatenate(tmp_path / "c.parquet", [second, first]))
    joined.validate()
    assert joined.ids == second.ids + first.ids
    np.testing.assert_array_equal(joined.scalar("mass"), [3.0, 3.0, np.nan, np.nan])
    assert joined.licence == "CC BY 4.0; CC0-1.0"
    assert joined.citation == "none"
    np.testing.assert_array_equal(
        joined.isotropic_imaginary("ipa")[2:], first.isotropic_imaginary("ipa")
    )
    assert joined.list_value(2, "channels") == ["Mg-s", "O-p"]


def test_concatenate_refuses_what_does_not_fit(tmp_path, table, schema, rows):
    path = tmp_path / "c.parquet"
    with pytest.raises(DatasetError, match=r"mat-0.*stands in row 0 already"):
        concatenate(path, [table, table])
    with pytest.raises(DatasetError, match="no table"):
        concatenate(path, [])
    fewer = schema.model_copy(update={"levels": {"ipa": schema.levels["ipa"]}})
    for row in rows:
        del row["rpa_im_mean"]
    other = SpectraTable.open(write_table(tmp_path / "o.parquet", fewer, rows))
    with pytest.raises(DatasetError, match="other levels"):
        concatenate(path, [table, other])
    renamed = schema.model_copy(update={"scalars": {"band_gap_eV": ScalarInfo(unit="Ry")}})
    for row in rows:
        row["rpa_im_mean"] = np.zeros(201)
    third = SpectraTable.open(write_table(tmp_path / "r.parquet", renamed, rows))
    with pytest.raises(DatasetError, match="'band_gap_eV' means something else"):
        concatenate(path, [table, third])
    assert not path.exists()
