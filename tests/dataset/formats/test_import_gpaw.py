import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opalign.dataset.formats.gpaw import CLIP_TOLERANCE, clip_negative, import_gpaw
from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError
from opalign.spectrum.broadening import Broadening

NUM = 81


def campaign(**changes):
    columns = {
        "material_id": ["mp-1", "mp-2"],
        "lattice": [[4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0]] * 2,
        "species": [["Mg", "O"], ["Zn", "Zn", "O", "O"]],
        "frac_coords": [[0, 0, 0, 0.5, 0.5, 0.5], list(np.arange(12) / 12)],
        "band_gap_eV": [4.4, 0.7],
        "direct_gap_eV": [4.4, 0.7],
        "pbe0_shift_eV": [2.0, None],
        "num_electrons": [8, 36],
        "num_bands": [20, 40],
        "num_sites": [2, 4],
        "spacegroup_number": [225, 186],
        "k_grid": [[8, 8, 8], [8, 8, 6]],
        "pdos_channels": [["Mg-s"], ["Zn-d"]],
        "pdos_per_eV": [[0.0, 1.0], [2.0, 3.0]],
    }
    for level, scale in (("ipa", 2.0), ("rpa", 1.0)):
        for part in ("re", "im"):
            for axis in ("xx", "yy", "zz"):
                columns[f"{level}_{part}_{axis}"] = [np.full(NUM, scale), np.full(NUM, scale + 1)]
    return {**columns, **changes}


@pytest.fixture
def write(tmp_path):
    def written(**changes):
        columns = {k: v for k, v in campaign(**changes).items() if v is not None}
        pq.write_table(pa.table(columns), tmp_path / "spectra.parquet")
        return tmp_path / "spectra.parquet"

    return written


def test_a_campaign_becomes_a_table(tmp_path, write):
    report = import_gpaw(write(), tmp_path / "t.parquet")
    assert (report.rows, report.skipped, report.notes) == (2, (), ())
    table = SpectraTable.open(report.path)
    table.validate()
    assert (table.grid.start, table.grid.stop, table.grid.num) == (0.0, 20.0, NUM)
    assert set(table.levels) == {"ipa", "rpa"}
    assert table.levels["rpa"].broadening == Broadening("lorentzian", 0.002)
    assert table.levels["rpa"].has_real
    assert table.formulas == ["MgO", "ZnO"]
    np.testing.assert_array_equal(table.scalar("pbe0_shift_eV"), [2.0, np.nan])
    np.testing.assert_array_equal(table.isotropic_imaginary("ipa")[:, 0], [2.0, 3.0])
    spectrum = table.spectrum(1, "rpa")
    assert spectrum.provenance == "GPAW, PBE, 8×8×6 k points, 40 bands"
    np.testing.assert_array_equal(spectrum.epsilon[5], (2.0 + 2.0j) * np.eye(3))
    assert table.list_value(0, "pdos_channels") == ["Mg-s"]
    assert table.list_value(1, "pdos_per_eV") == [2.0, 3.0]


def test_noise_below_zero_is_clipped_and_reported(tmp_path, write):
    noisy = np.full(NUM, 0.5)
    noisy[3:5] = -0.5 * CLIP_TOLERANCE
    report = import_gpaw(write(rpa_im_yy=[np.ones(NUM), noisy]), tmp_path / "t.parquet")
    assert len(report.notes) == 1
    assert "mp-2 rpa_im_yy (2 values)" in report.notes[0]
    table = SpectraTable.open(report.path)
    table.validate()
    assert table.spectrum(1, "rpa").epsilon_imaginary[3, 1, 1] == 0.0
    # The real part may be negative, and is left alone.
    report = import_gpaw(write(rpa_re_yy=[-np.ones(NUM)] * 2), tmp_path / "t.parquet")
    assert not report.notes
    assert SpectraTable.open(report.path).isotropic_real("rpa")[0, 0] == pytest.approx(1 / 3)


def test_negative_absorption_beyond_noise_is_refused(tmp_path, write):
    wrong = np.full(NUM, -0.1)
    with pytest.raises(DatasetError, match=r"row 1 \(mp-2\), column 'ipa_im_xx': Im ε reaches"):
        import_gpaw(write(ipa_im_xx=[np.ones(NUM), wrong]), tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()


def test_clipping_counts_and_keeps_the_rest():
    values, changed = clip_negative(np.array([1.0, -1e-4, 0.0]), "here")
    np.testing.assert_array_equal(values, [1.0, 0.0, 0.0])
    assert changed == 1


def test_a_missing_column_and_an_empty_file_are_refused(tmp_path, write):
    with pytest.raises(DatasetError, match="column 'rpa_im_zz', 'k_grid' is missing"):
        import_gpaw(write(rpa_im_zz=None, k_grid=None), tmp_path / "t.parquet")
    path = write()
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(DatasetError, match="no rows"):
        import_gpaw(path, tmp_path / "t.parquet")


def test_damage_in_the_source_is_not_blamed_on_the_target(tmp_path, write):
    path = write()
    meta = pq.ParquetFile(path).metadata.row_group(0)
    names = [meta.column(k).path_in_schema.split(".")[0] for k in range(meta.num_columns)]
    chunk = meta.column(names.index("rpa_im_xx"))
    content = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=r"spectra\.parquet: cannot be read"):
        import_gpaw(path, tmp_path / "t.parquet")


def test_the_projects_campaign(tmp_path, opalign_data):
    source = opalign_data / "gpaw_pbe" / "spectra.parquet"
    if not source.is_file():
        pytest.skip(f"{source} is absent")
    report = import_gpaw(source, tmp_path / "t.parquet")
    table = SpectraTable.open(report.path)
    table.validate()
    original = pq.read_table(source)
    assert report.notes == ()
    assert len(table) == report.rows == len(original)
    assert table.formulas == original["formula"].to_pylist()
    assert table.grid.step == pytest.approx(0.025)
    zz = np.stack([table.spectrum(i, "rpa").epsilon[:, 2, 2] for i in range(len(table))])
    np.testing.assert_array_equal(zz.imag, np.array(original["rpa_im_zz"].to_pylist()))
    np.testing.assert_array_equal(zz.real, np.array(original["rpa_re_zz"].to_pylist()))
    # Nothing absorbs below the direct gap.
    below = table.grid.values[None, :] < table.scalar("direct_gap_eV")[:, None] - 0.05
    assert table.isotropic_imaginary("ipa")[below].max() == 0.0
