import csv

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from opalign.dataset.formats.alignn import export_alignn, import_alignn
from opalign.dataset.formats.alignn_folder import SIDECAR_NAME
from opalign.dataset.schema import ScalarInfo, TableSchema
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.errors import DatasetError, StorageError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(0.0, 20.0, 201)


@pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")
@pytest.mark.parametrize("structure_format", ["poscar", "cif"])
@pytest.mark.parametrize("target", ["log_absorption", "epsilon_imaginary"])
def test_out_and_in_again(tmp_path, table, target, structure_format):
    extra = Broadening("gaussian", 0.3)
    report = export_alignn(
        table,
        tmp_path / "folder",
        level="ipa",
        target=target,
        broadening=extra,
        structure_format=structure_format,
    )
    assert (report.rows, report.skipped) == (4, ())
    again = SpectraTable.open(import_alignn(tmp_path / "folder", tmp_path / "again.parquet").path)
    again.validate()
    assert again.ids == table.ids
    assert again.formulas == table.formulas
    assert (again.grid, again.licence, again.source) == (table.grid, table.licence, table.source)
    # 0.1 eV stands in the table, 0.3 eV came on top: variances add.
    assert again.levels["ipa"].broadening.shape == "gaussian"
    assert again.levels["ipa"].broadening.width == pytest.approx(np.hypot(0.1, 0.3))
    if target == "log_absorption":
        written = table.log_absorption("ipa", extra, dtype=np.float32)
        read = again.log_absorption("ipa")
        assert again.levels["ipa"].floor == 2.0
    else:
        written = table.isotropic_imaginary("ipa", extra, dtype=np.float32)
        read = again.isotropic_imaginary("ipa")
    np.testing.assert_array_equal(read, written)
    for old, new in zip(table.structures(), again.structures(), strict=True):
        np.testing.assert_allclose(new.lattice.parameters, old.lattice.parameters, atol=1e-9)
        if structure_format == "poscar":
            assert [s.specie for s in new] == [s.specie for s in old]
            np.testing.assert_allclose(new.lattice.matrix, old.lattice.matrix, atol=1e-14)
            np.testing.assert_allclose(new.frac_coords, old.frac_coords, atol=1e-14)
        else:
            # Readers of CIF move atoms near special positions there and order the sites anew.
            assert StructureMatcher(stol=1e-3, scale=False).fit(new, old)


def test_a_scalar_out_and_in_again(tmp_path, table):
    report = export_alignn(table, tmp_path / "folder", level="band_gap_eV", target="scalar")
    assert report.skipped == (("mat-2", "no band_gap_eV"),)
    again = SpectraTable.open(import_alignn(tmp_path / "folder", tmp_path / "again.parquet").path)
    assert again.ids == ["mat-0", "mat-1", "mat-3"]
    np.testing.assert_array_equal(again.scalar("band_gap_eV"), [1.0, 2.0, 4.0])
    assert again.schema.scalars["band_gap_eV"].unit == "eV"


@pytest.mark.parametrize("structure_format", ["poscar", "cif"])
def test_alignn_reads_the_folder(tmp_path, table, structure_format):
    """As alignn.train_alignn.train_for_folder does: rows of the CSV, then Atoms by file name."""
    atoms = pytest.importorskip("jarvis.core.atoms", reason="jarvis-tools, ALIGNN's reader").Atoms
    folder = tmp_path / "folder"
    export_alignn(table, folder, level="ipa", structure_format=structure_format)
    # ALIGNN prefers these to the CSV.
    assert not (folder / "id_prop.json").exists()
    assert not (folder / "id_prop.json.zip").exists()
    with (folder / "id_prop.csv").open() as stream:
        lines = list(csv.reader(stream))
    assert len(lines) == 4
    read = atoms.from_poscar if structure_format == "poscar" else atoms.from_cif
    for index, (name, *values) in enumerate(lines):
        np.testing.assert_allclose(
            [float(v) for v in values], table.log_absorption("ipa")[index], rtol=1e-6
        )
        structure, found = table.structure(index), read(str(folder / name))
        assert sorted(found.elements) == sorted(s.specie.symbol for s in structure)
        # JARVIS rounds the cell of a CIF.
        exact = 1e-12 if structure_format == "poscar" else 1e-5
        assert found.volume == pytest.approx(structure.volume, rel=exact)
        if structure_format == "poscar":
            np.testing.assert_allclose(found.frac_coords, structure.frac_coords, atol=1e-12)


def test_export_does_not_touch_what_is_there(tmp_path, table):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "id_prop.json").write_text("[]")
    with pytest.raises(DatasetError, match="not an empty folder"):
        export_alignn(table, tmp_path / "full", level="ipa")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["id_prop.json"]
    (tmp_path / "empty").mkdir()
    assert export_alignn(table, tmp_path / "empty", level="ipa").rows == 4


def test_a_failed_export_leaves_nothing(tmp_path, table, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("opalign.dataset.formats.alignn.structure_text", full)
    with pytest.raises(StorageError, match="No space left"):
        export_alignn(table, tmp_path / "new" / "folder", level="ipa")
    assert list((tmp_path / "new").iterdir()) == []


def test_an_id_that_is_no_file_name_is_refused(tmp_path, rows):
    row = {key: rows[0][key] for key in ("lattice", "species", "frac_coords", "band_gap_eV")}
    schema = TableSchema(scalars={"band_gap_eV": ScalarInfo(unit="eV")})
    path = write_table(tmp_path / "t.parquet", schema, [{**row, "material_id": "../secret"}])
    with pytest.raises(DatasetError, match="no file name"):
        export_alignn(
            SpectraTable.open(path), tmp_path / "folder", level="band_gap_eV", target="scalar"
        )
    assert not (tmp_path / "folder").exists()


def test_names_that_are_not_in_the_table(tmp_path, table):
    with pytest.raises(DatasetError, match="no level 'gw'"):
        export_alignn(table, tmp_path / "folder", level="gw")
    with pytest.raises(DatasetError, match="no scalar 'gap'"):
        export_alignn(table, tmp_path / "folder", level="gap", target="scalar")


@pytest.fixture
def foreign(tmp_path, table):
    """An ALIGNN folder as others make them: no sidecar."""
    folder = tmp_path / "foreign"
    export_alignn(table, folder, level="ipa")
    (folder / SIDECAR_NAME).unlink()
    return folder


def test_a_foreign_folder(tmp_path, table, foreign):
    report = import_alignn(
        foreign,
        tmp_path / "t.parquet",
        target="log_absorption",
        level="hybrid",
        grid=GRID,
        licence="CC BY 4.0",
        structure_format="poscar",
    )
    again = SpectraTable.open(report.path)
    assert set(again.levels) == {"hybrid"}
    assert again.licence == "CC BY 4.0"
    assert again.levels["hybrid"].broadening == Broadening()
    assert again.levels["hybrid"].floor is None
    np.testing.assert_array_equal(
        again.log_absorption("hybrid"), table.log_absorption("ipa", dtype=np.float32)
    )
    assert again.spectrum(0, "hybrid").level == "hybrid"


@pytest.mark.parametrize(
    ("missing", "message"),
    [("target", "give the target"), ("level", "give the level"), ("grid", "a grid belongs")],
)
def test_what_the_csv_does_not_say_must_be_given(tmp_path, foreign, missing, message):
    given = {"target": "log_absorption", "level": "ipa", "grid": GRID}
    del given[missing]
    with pytest.raises(DatasetError, match=message):
        import_alignn(foreign, tmp_path / "t.parquet", **given)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mat-0.vasp", "mat-0.vasp is listed before"),
        ("mat-9.vasp,1.0,2.0", "line 5 .*mat-9.vasp has 2 values"),
        ("id,energy", "line 5 .*a value is no number"),
    ],
)
def test_a_broken_line_is_named(tmp_path, foreign, line, message):
    with (foreign / "id_prop.csv").open("a") as stream:
        stream.write(line + "\n")
    if "," not in line:
        listing = (foreign / "id_prop.csv").read_text().splitlines()
        (foreign / "id_prop.csv").write_text("\n".join([*listing[:4], listing[0]]))
    with pytest.raises(DatasetError, match=f"(?s){message}"):
        import_alignn(
            foreign, tmp_path / "t.parquet", target="log_absorption", level="ipa", grid=GRID
        )
    assert not (tmp_path / "t.parquet").exists()


def test_not_a_number_is_refused(tmp_path, foreign):
    text = (foreign / "id_prop.csv").read_text()
    (foreign / "id_prop.csv").write_text(text.replace("2.0", "nan", 1))
    with pytest.raises(DatasetError, match=r"row 0 \(mat-0\).*is NaN"):
        import_alignn(
            foreign, tmp_path / "t.parquet", target="log_absorption", level="ipa", grid=GRID
        )


def test_a_bad_structure_is_skipped_and_reported(tmp_path, foreign):
    (foreign / "mat-1.vasp").write_text("no structure at all\n")
    (foreign / "mat-3.vasp").unlink()
    for chosen in ("poscar", None):
        report = import_alignn(
            foreign,
            tmp_path / "t.parquet",
            target="log_absorption",
            level="ipa",
            grid=GRID,
            structure_format=chosen,
        )
        assert report.rows == 2
        assert [name for name, _ in report.skipped] == ["mat-1.vasp", "mat-3.vasp"]
        assert "line 2 of" in report.skipped[0][1]
        assert SpectraTable.open(report.path).ids == ["mat-0", "mat-2"]


def test_a_folder_of_nothing_usable(tmp_path, foreign):
    for path in foreign.glob("*.vasp"):
        path.write_text("")
    with pytest.raises(DatasetError, match="no material that can be used"):
        import_alignn(
            foreign, tmp_path / "t.parquet", target="log_absorption", level="ipa", grid=GRID
        )
    with pytest.raises(DatasetError, match=r"has no id_prop\.csv"):
        import_alignn(tmp_path, tmp_path / "t.parquet", target="scalar", level="gap")


def test_ids_are_stems_that_keep_their_own_full_stops(tmp_path, table):
    folder = tmp_path / "folder"
    export_alignn(table, folder, level="band_gap_eV", target="scalar")
    (folder / "mat-0.vasp").rename(folder / "JVASP-1.5")
    text = (folder / "id_prop.csv").read_text().replace("mat-0.vasp", "JVASP-1.5")
    (folder / "id_prop.csv").write_text(text)
    report = import_alignn(folder, tmp_path / "t.parquet", structure_format="poscar")
    assert SpectraTable.open(report.path).ids == ["JVASP-1.5", "mat-1", "mat-3"]


def test_a_broken_sidecar_is_refused(tmp_path, table):
    export_alignn(table, tmp_path / "folder", level="ipa")
    (tmp_path / "folder" / SIDECAR_NAME).write_text('{"target": "colour"}')
    with pytest.raises(DatasetError, match=r"correct opalign\.json"):
        import_alignn(tmp_path / "folder", tmp_path / "t.parquet")
