import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opalign.dataset.formats.dielectric import import_dielectric
from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError

TENSOR = [4.0, 0.1, 0.2, 0.1, 5.0, 0.3, 0.2, 0.3, 6.0]


@pytest.fixture
def write(tmp_path):
    def written(**changes):
        columns = {
            "material_id": ["mp-1"],
            "lattice": [[4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0]],
            "species": [["Mg", "O"]],
            "frac_coords": [[0, 0, 0, 0.5, 0.5, 0.5]],
            "band_gap_eV": [4.4],
            "is_direct": [True],
            "spacegroup_number": [225],
            "epsilon_electronic": [TENSOR],
            "epsilon_ionic": [[10.0 * x for x in TENSOR]],
            **changes,
        }
        columns = {k: v for k, v in columns.items() if v is not None}
        pq.write_table(pa.table(columns), tmp_path / "source.parquet")
        return tmp_path / "source.parquet"

    return written


def test_tensors_become_scalars(tmp_path, write):
    table = SpectraTable.open(import_dielectric(write(), tmp_path / "t.parquet").path)
    table.validate()
    assert not table.levels
    values = {name: table.scalar(name)[0] for name in table.schema.scalars}
    assert values["dielectric_electronic"] == pytest.approx(5.0)
    assert values["dielectric_ionic"] == pytest.approx(50.0)
    components = ("xx", "yy", "zz", "xy", "yz", "xz")
    found = [values[f"dielectric_electronic_{name}"] for name in components]
    assert found == [4.0, 5.0, 6.0, 0.1, 0.3, 0.2]
    assert (values["band_gap_eV"], values["is_direct"], values["spacegroup_number"]) == (
        4.4,
        1,
        225,
    )


def test_a_tensor_that_is_not_there_is_null(tmp_path, write):
    source = write(epsilon_ionic=pa.array([None], type=pa.list_(pa.float64())))
    table = SpectraTable.open(import_dielectric(source, tmp_path / "t.parquet").path)
    assert np.isnan(table.scalar("dielectric_ionic")[0])


def test_slight_asymmetry_is_averaged_and_reported(tmp_path, write):
    tensor = [4.0, 0.1, 0.2, 0.12, 5.0, 0.3, 0.2, 0.3, 6.0]
    report = import_dielectric(write(epsilon_electronic=[tensor]), tmp_path / "t.parquet")
    assert "row 0 (mp-1), column 'epsilon_electronic': symmetric to 0.003 only" in report.notes[0]
    table = SpectraTable.open(report.path)
    assert table.scalar("dielectric_electronic_xy")[0] == pytest.approx(0.11)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ([4.0, 0.1, 0.2, 0.9, 5.0, 0.3, 0.2, 0.3, 6.0], "not symmetric"),
        ([float("nan")] * 9, "not symmetric"),
        ([4.0, 5.0, 6.0], "has 3 numbers"),
    ],
)
def test_what_is_no_tensor_is_refused(tmp_path, write, tensor, message):
    with pytest.raises(DatasetError, match=message):
        import_dielectric(write(epsilon_electronic=[tensor]), tmp_path / "t.parquet")


def test_a_missing_column_is_named(tmp_path, write):
    with pytest.raises(DatasetError, match="'epsilon_ionic' is missing"):
        import_dielectric(write(epsilon_ionic=None), tmp_path / "t.parquet")


def test_the_published_table(tmp_path, opalign_data):
    source = opalign_data / "oxide_dielectric.parquet"
    if not source.is_file():
        pytest.skip(f"{source} is absent")
    report = import_dielectric(source, tmp_path / "t.parquet")
    table = SpectraTable.open(report.path)
    table.validate()
    original = pq.read_table(source)
    assert len(table) == len(original) == 1278
    tensors = np.array(original["epsilon_electronic"].to_pylist()).reshape(-1, 3, 3)
    trace = np.trace(tensors, axis1=1, axis2=2) / 3
    np.testing.assert_allclose(table.scalar("dielectric_electronic"), trace)
    assert len(report.notes) == 1
    assert "mp-1079050" in report.notes[0]
