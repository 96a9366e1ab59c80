import copy
import json
import sys

import numpy as np
import pytest

from opalign.dataset.formats.optimate import GRID
from opalign.dataset.formats.optimetal import LEVEL, import_optimetal
from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError, MissingExtraError

E = GRID.values
LATTICE = 3.0 * np.eye(3)
POSITIONS = np.array([[0.0, 0.0, 0.0], [1.5, 1.5, 1.5]])


def along(strength: float) -> np.ndarray:
    return 1.0 + strength * 4.0 / (4.0 - E**2 - 0.5j * E)


AXES = np.stack([along(s) for s in (1.0, 2.0, 6.0)], axis=1)
MEAN = along(3.0)


def entry(material_id="agm1"):
    """An entry as optimetal's preprocess.py reads it; the first column of a spectrum is E."""
    sites = [
        {"species": [{"element": s, "occu": 1}], "abc": list(p / 3.0)}
        for s, p in zip(("Cu", "Zn"), POSITIONS, strict=True)
    ]
    return {
        "@class": "ComputedStructureEntry",
        "structure": {"lattice": {"matrix": LATTICE.tolist()}, "sites": sites},
        "data": {
            "mat_id": material_id,
            "e_above_hull": 0.02,
            "drude_freq": [3.0, 4.0, 5.0],
            "eps_inter_re": {"@class": "array", "data": np.column_stack([E, AXES.real]).tolist()},
            "eps_inter_im": {"@class": "array", "data": np.column_stack([E, AXES.imag]).tolist()},
        },
    }


def changed(path, value):
    made = copy.deepcopy(entry("bad"))
    at = made
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return made


def check(table: SpectraTable, row: int = 0) -> None:
    np.testing.assert_allclose(table.isotropic_imaginary(LEVEL)[row], MEAN.imag, rtol=1e-6)
    np.testing.assert_allclose(table.isotropic_real(LEVEL)[row], MEAN.real, rtol=1e-6, atol=1e-6)
    assert table.scalar("drude_frequency_eV")[row] == pytest.approx(np.sqrt(50.0 / 3.0))
    assert table.scalar("energy_above_hull_eV")[row] == pytest.approx(0.02)
    np.testing.assert_allclose(table.arrays(row).lattice, LATTICE, atol=1e-6)
    np.testing.assert_allclose(table.arrays(row).frac_coords, POSITIONS / 3.0, atol=1e-6)
    assert table.formulas[row] == "ZnCu"
    table.validate()


def test_json_entries_are_averaged_over_the_axes(tmp_path):
    folder = tmp_path / "database_nsite_2_part_1"
    folder.mkdir()
    (folder / "agm1.json").write_text(json.dumps(entry()))
    report = import_optimetal([tmp_path], tmp_path / "t.parquet", licence="theirs")
    table = SpectraTable.open(report.path)
    check(table)
    assert table.licence == "theirs"
    assert "interband part alone" in report.notes[0]
    assert "without the Drude part" in table.levels[LEVEL].description


SPECTRUM = np.column_stack([E, AXES.imag])


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["data", "eps_inter_im"], None, "missing"),
        (["data", "eps_inter_im"], SPECTRUM[:-1].tolist(), "2,000 values"),
        (["data", "eps_inter_im"], SPECTRUM[:, :1].tolist(), "no values beside the energies"),
        (["data", "eps_inter_im"], SPECTRUM[::-1].tolist(), "energies"),
        (["data", "eps_inter_im"], (SPECTRUM + np.array([0.005, 0, 0, 0])).tolist(), "energies"),
        (["data", "eps_inter_im"], (SPECTRUM * [1, 1, np.nan, 1]).tolist(), "NaN"),
        (["data", "eps_inter_im"], (SPECTRUM * [1, -1, -1, -1]).tolist(), "Im ε"),
        (["data", "eps_inter_im"], [[0.0, 1.0], [0.01]] * 1000 + [[20.0, 1.0]], "no array"),
        (["data", "drude_freq"], "3.0", "drude_freq"),
        (["structure", "sites"], [], "structure"),
    ],
)
def test_one_bad_entry_is_skipped_and_told(tmp_path, path, value, reason):
    (tmp_path / "all.json").write_text(json.dumps([entry("good"), changed(path, value)]))
    report = import_optimetal([tmp_path / "all.json"], tmp_path / "t.parquet")
    assert SpectraTable.open(report.path).ids == ["good"]
    ((place, told),) = report.skipped
    assert "entry 1" in place
    assert reason in told


def write_hdf5(path, *more):
    """Groups as optimetal's save_as_h5 writes them, then what ``more`` does to the file."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (extra hdf5)")
    with h5py.File(path, "w") as file:
        for material_id in ("agm1", "agm2"):
            group = file.create_group(material_id)
            values = {
                "mat_id": material_id,
                "e_above_hull": 0.02,
                "composition": "CuZn",
                "lattice": LATTICE.astype(np.float32),
                "atomic_number": np.array([29, 30], dtype=np.uint16),
                "position": POSITIONS.astype(np.float32),
                "drude": np.float32(np.sqrt(50.0 / 3.0)),
                "eps": MEAN.astype(np.complex64),
            }
            for key, value in values.items():
                group.create_dataset(key, data=value)
        for change in more:
            change(h5py, file)


def test_hdf5_groups(tmp_path):
    write_hdf5(tmp_path / "train.h5")
    report = import_optimetal([tmp_path], tmp_path / "t.parquet")
    table = SpectraTable.open(report.path)
    assert table.ids == ["agm1", "agm2"]
    assert report.skipped == ()
    check(table, row=1)


def replaced(key, **options):
    def change(h5py, file):
        del file["agm1"][key]
        file["agm1"].create_dataset(key, **options)

    return change


def link_out(h5py, file):
    file["agm1/eps"].file.require_group("agm1")
    del file["agm1"]["eps"]
    file["agm1"]["eps"] = h5py.ExternalLink("/etc/passwd", "/eps")


def soft_link(h5py, file):
    del file["agm1"]
    file["agm1"] = h5py.SoftLink("/agm2")


def removed(h5py, file):
    del file["agm1"]["drude"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replaced("eps", data=MEAN[:-1]), "shape (2000,)"),
        (replaced("eps", data=np.full(2001, np.nan)), "NaN"),
        (replaced("eps", data=-1j * np.ones(2001)), "Im ε"),
        # Claims 8 TB, and takes a few bytes in the file.
        (replaced("eps", shape=(10**12,), dtype="f8", chunks=(1000,)), "larger than it can be"),
        (replaced("atomic_number", data=[29, 300]), "atomic numbers"),
        (replaced("atomic_number", data=[29.0, 30.0]), "atomic numbers"),
        (replaced("position", data=POSITIONS * 0), "apart"),
        (replaced("mat_id", data="a\nb"), "no id"),
        (link_out, "link"),
        (soft_link, "link"),
        (removed, "no 'drude'"),
    ],
)
def test_one_bad_group_is_skipped_and_told(tmp_path, change, reason):
    write_hdf5(tmp_path / "val.h5", change)
    report = import_optimetal([tmp_path / "val.h5"], tmp_path / "t.parquet")
    assert SpectraTable.open(report.path).ids == ["agm2"]
    ((place, told),) = report.skipped
    assert "group 'agm1'" in place
    assert reason in told


def test_a_damaged_hdf5_file_is_told(tmp_path):
    write_hdf5(tmp_path / "train.h5")
    (tmp_path / "val.h5").write_bytes((tmp_path / "train.h5").read_bytes()[:300])
    (tmp_path / "test.h5").write_bytes(b"\x89HDF nothing")
    report = import_optimetal([tmp_path], tmp_path / "t.parquet")
    assert report.rows == 2
    assert [told for _, told in report.skipped] == [
        told for _, told in report.skipped if "cannot be read as HDF5" in told
    ]
    assert len(report.skipped) == 2


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "train.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"opalign\[hdf5\]"):
        import_optimetal([tmp_path], tmp_path / "t.parquet")


def test_pickles_are_refused(tmp_path):
    (tmp_path / "train.h5").write_bytes(b"\x80\x04.")
    with pytest.raises(DatasetError, match="pickle"):
        import_optimetal([tmp_path / "train.h5"], tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="gives no material"):
        import_optimetal([], tmp_path / "t.parquet")
