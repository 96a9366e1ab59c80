import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opalign.dataset import spectra, write
from opalign.dataset import table as table_module
from opalign.dataset.schema import METADATA_KEY, LevelInfo, TableSchema, spectrum_column
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.errors import DatasetError
from opalign.spectrum.broadening import Broadening, broaden
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

SINGLE = 1e-6
"""Spectra are stored in single precision, to 6e-8 of their value; ε stays below 20 here."""


class ReadsCounted:
    """Stands for pq.ParquetFile and remembers the columns read through it."""

    def __init__(self, monkeypatch):
        self.columns = []
        real = pq.ParquetFile
        outer = self

        class Counting(real):
            def read(self, *args, columns=None, **kwargs):
                outer.columns += columns or ["all"]
                return super().read(*args, columns=columns, **kwargs)

            def read_row_group(self, *args, columns=None, **kwargs):
                outer.columns += columns or ["all"]
                return super().read_row_group(*args, columns=columns, **kwargs)

            def iter_batches(self, *args, columns=None, **kwargs):
                outer.columns += columns or ["all"]
                return super().iter_batches(*args, columns=columns, **kwargs)

        monkeypatch.setattr(pq, "ParquetFile", Counting)


def test_what_was_written_is_read(table, schema, rows):
    table.validate()
    assert len(table) == 4
    assert table.schema == schema
    assert table.grid == schema.grid
    assert dict(table.levels) == schema.levels
    assert (table.licence, table.source, table.citation) == ("CC0-1.0", "made up", "none")
    assert table.ids == [row["material_id"] for row in rows]
    np.testing.assert_array_equal(table.scalar("band_gap_eV"), [1.0, 2.0, np.nan, 4.0])
    assert table.list_value(0, "channels") == ["Mg-s", "O-p"]
    assert table.list_value(1, "channels") is None
    assert table.list_value(3, "mesh") == [4.0, 4.0, 3.0]


def test_structures_are_exact(table, rows):
    for index, (structure, row) in enumerate(zip(table.structures(), rows, strict=True)):
        arrays = table.arrays(index)
        np.testing.assert_array_equal(arrays.lattice, row["lattice"])
        np.testing.assert_array_equal(arrays.frac_coords.ravel(), row["frac_coords"])
        assert [site.specie.symbol for site in structure] == row["species"]
        assert [site.specie.Z for site in structure] == arrays.atomic_numbers.tolist()
        np.testing.assert_array_equal(structure.lattice.matrix, row["lattice"])


def test_opening_reads_no_column(table, monkeypatch):
    reads = ReadsCounted(monkeypatch)
    opened = SpectraTable.open(table.path)
    assert len(opened) == 4
    assert opened.grid.num == 201
    assert reads.columns == []
    opened.select(["mat-1"])
    assert set(reads.columns) == {"material_id"}
    opened.isotropic_imaginary("rpa")
    assert set(reads.columns) == {"material_id", "rpa_im_mean"}


def test_a_tensor_comes_with_its_labels(table, rows):
    spectrum = table.spectrum(1, "ipa")
    assert spectrum.is_tensor
    assert spectrum.level == "ipa"
    assert spectrum.material_id == "mat-1"
    assert spectrum.provenance == "run 1"
    assert spectrum.broadening == Broadening("gaussian", 0.1)
    for axis, name in enumerate(("xx", "yy", "zz")):
        expected = rows[1][f"ipa_re_{name}"] + 1j * rows[1][f"ipa_im_{name}"]
        np.testing.assert_allclose(spectrum.epsilon[:, axis, axis], expected, rtol=SINGLE)
    off_diagonal = spectrum.epsilon[:, ~np.eye(3, dtype=bool)]
    assert not off_diagonal.any()


def test_off_diagonal_components_stand_where_they_belong(tmp_path, rows):
    grid = EnergyGrid(0.0, 1.0, 2)
    components = ("xx", "yy", "zz", "xy", "yz", "xz")
    level = LevelInfo(components=components)
    row = {key: rows[0][key] for key in ("material_id", "lattice", "species", "frac_coords")}
    for value, component in enumerate(components):
        # The off-diagonal ones are small, and of either sign, as absorption allows.
        size = 10.0 + value if component[0] == component[1] else (-1.0) ** value * value
        row[spectrum_column("ipa", "im", component)] = [0.0, size]
    schema = TableSchema(grid=grid, levels={"ipa": level})
    table = SpectraTable.open(write_table(tmp_path / "t.parquet", schema, [row]))
    table.validate()
    epsilon = table.spectrum(0, "ipa").epsilon
    expected = [[10.0, -3.0, -5.0], [-3.0, 11.0, 4.0], [-5.0, 4.0, 12.0]]
    np.testing.assert_array_equal(epsilon[1].imag, expected)
    # Re ε comes from Kramers–Kronig: 1 + K·Im ε on the diagonal, K·Im ε off it.
    response = (epsilon[0].real - np.eye(3)) / np.array(expected)
    np.testing.assert_allclose(response, response[0, 0], rtol=1e-9)
    np.testing.assert_allclose(table.isotropic_imaginary("ipa")[0], [0.0, 11.0])


def test_isotropic_spectra_agree_with_single_ones(table):
    for level in ("ipa", "rpa"):
        imaginary, real = table.isotropic_imaginary(level), table.isotropic_real(level)
        logarithm = table.log_absorption(level, floor=3.0)
        assert imaginary.shape == real.shape == logarithm.shape == (4, 201)
        assert logarithm.min() == 3.0
        for index in range(4):
            one = table.spectrum(index, level).isotropic()
            np.testing.assert_allclose(imaginary[index], one.epsilon_imaginary, atol=1e-12)
            np.testing.assert_allclose(real[index], one.epsilon_real, atol=1e-12)
            np.testing.assert_allclose(logarithm[index], one.log_absorption(3.0), atol=1e-9)


def test_real_part_by_kramers_kronig_where_none_is_stored(table):
    # One Lorentz oscillator of half width 0.25 eV on a grid of 0.1 eV: between its points a
    # straight line misses the peak by (0.1/0.25)²/4 of its height.
    e = table.grid.values
    expected = 1.0 + 49.0 / (49.0 - e**2 - 0.5j * e)
    np.testing.assert_allclose(
        table.isotropic_real("rpa")[0], expected.real, atol=0.04 * np.abs(expected).max()
    )


def test_broadening_comes_on_top(table):
    extra = Broadening("gaussian", 0.3)
    for plain, broadened, parity in (
        (table.isotropic_imaginary("ipa"), table.isotropic_imaginary("ipa", extra), "odd"),
        (table.isotropic_real("ipa"), table.isotropic_real("ipa", extra), "even"),
    ):
        np.testing.assert_allclose(broadened, broaden(plain, table.grid, extra, parity))
    assert not np.allclose(table.log_absorption("ipa", extra), table.log_absorption("ipa"))


def test_precision_of_arrays_is_as_asked(table):
    single = table.isotropic_imaginary("ipa", dtype=np.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, table.isotropic_imaginary("ipa"), rtol=SINGLE)


@pytest.fixture
def absorption(tmp_path, table, rows):
    """The table's ipa level as log₁₀ α alone."""
    level = LevelInfo(quantity="log_absorption", floor=2.0, broadening=Broadening("gaussian", 0.1))
    schema = TableSchema(grid=table.grid, levels={"ipa": level})
    keys = ("material_id", "lattice", "species", "frac_coords")
    logarithm = table.log_absorption("ipa")
    made = [
        {**{key: row[key] for key in keys}, "ipa_logalpha_mean": logarithm[index]}
        for index, row in enumerate(rows)
    ]
    return SpectraTable.open(write_table(tmp_path / "absorption.parquet", schema, made))


def test_absorption_alone_gives_spectra(table, absorption):
    absorption.validate()
    np.testing.assert_allclose(
        absorption.log_absorption("ipa"), table.log_absorption("ipa"), rtol=SINGLE
    )
    one = absorption.spectrum(2, "ipa")
    assert one.broadening == Broadening("gaussian", 0.1)
    np.testing.assert_allclose(absorption.isotropic_imaginary("ipa")[2], one.epsilon_imaginary)
    np.testing.assert_allclose(absorption.isotropic_real("ipa")[2], one.epsilon_real)
    # k above 20 eV is only guessed at: ε to a few percent of its peak, see test_absorption.
    true = table.spectrum(2, "ipa").isotropic().epsilon
    assert np.median(np.abs(one.epsilon - true)) < 0.03 * np.abs(true).max()


def test_absorption_alone_can_be_broadened(absorption):
    extra = Broadening("gaussian", 0.3)
    epsilon = broaden(absorption.isotropic_real("ipa"), absorption.grid, extra, "even") + 1j * (
        broaden(absorption.isotropic_imaginary("ipa"), absorption.grid, extra, "odd")
    )
    expected = OpticalSpectrum(absorption.grid, epsilon[1], "ipa").log_absorption(2.0)
    np.testing.assert_allclose(absorption.log_absorption("ipa", extra)[1], expected)


@pytest.fixture
def long_table(tmp_path, monkeypatch, schema, rows):
    """Ten rows in groups of three, batches of four: neither fits into the other."""
    monkeypatch.setattr(write, "ROWS_PER_GROUP", 3)
    monkeypatch.setattr(spectra, "BATCH_ROWS", 4)
    made = []
    for number in range(10):
        row = {**rows[number % 4], "material_id": f"m{number}", "provenance": f"run {number}"}
        row["rpa_im_mean"] = row["rpa_im_mean"] * (1 + number)
        made.append(row)
    return SpectraTable.open(write_table(tmp_path / "long.parquet", schema, made))


@pytest.mark.parametrize("chosen", [[7, 0, 3], [9], [], [2, 1], list(range(10)), [5, 4, 8, 6]])
def test_selected_rows_keep_the_order_asked_for(long_table, chosen):
    part = long_table.select([f"m{number}" for number in chosen])
    assert part.ids == [f"m{number}" for number in chosen]
    assert len(part) == len(chosen)
    np.testing.assert_array_equal(
        part.isotropic_imaginary("rpa"), long_table.isotropic_imaginary("rpa")[chosen]
    )
    np.testing.assert_array_equal(
        part.scalar("band_gap_eV"), long_table.scalar("band_gap_eV")[chosen]
    )
    assert part.formulas == [long_table.formulas[number] for number in chosen]
    for position, number in enumerate(chosen):
        assert part.spectrum(position, "ipa").provenance == f"run {number}"
        np.testing.assert_array_equal(
            part.spectrum(position, "ipa").epsilon, long_table.spectrum(number, "ipa").epsilon
        )
        np.testing.assert_array_equal(
            part.arrays(position).frac_coords, long_table.arrays(number).frac_coords
        )
    assert [row["material_id"] for row in part.rows()] == part.ids


def test_a_selection_of_a_selection(long_table):
    part = long_table.select(["m8", "m2", "m5"]).select(["m5", "m8"])
    assert part.ids == ["m5", "m8"]
    np.testing.assert_array_equal(
        part.isotropic_imaginary("rpa"), long_table.isotropic_imaginary("rpa")[[5, 8]]
    )


def test_rows_are_written_again_as_they_were(tmp_path, long_table):
    copy = SpectraTable.open(
        write_table(tmp_path / "copy.parquet", long_table.schema, long_table.rows())
    )
    assert pq.read_table(copy.path).equals(pq.read_table(long_table.path), check_metadata=True)


def test_selecting_what_is_not_there(table):
    with pytest.raises(DatasetError, match=r"1 of the ids.*'mat-9'"):
        table.select(["mat-0", "mat-9"])
    with pytest.raises(DatasetError, match="asked for twice"):
        table.select(["mat-0", "mat-0"])


def test_names_that_are_not_there_are_answered_with_those_that_are(table):
    for ask in (lambda: table.spectrum(0, "gw"), lambda: table.isotropic_imaginary("gw")):
        with pytest.raises(DatasetError, match="'gw'\n  expected: ipa, rpa"):
            ask()
    with pytest.raises(DatasetError, match="expected: band_gap_eV"):
        table.scalar("gap")
    with pytest.raises(DatasetError, match="expected: channels, mesh"):
        table.list_value(0, "dos")
    with pytest.raises(IndexError):
        table.structure(4)
    assert table.structure(-1) == table.structure(3)


def test_a_table_of_scalars(tmp_path, schema, rows):
    scalars = TableSchema(scalars=schema.scalars)
    keys = ("material_id", "lattice", "species", "frac_coords", "band_gap_eV")
    made = [{key: row[key] for key in keys} for row in rows]
    table = SpectraTable.open(write_table(tmp_path / "s.parquet", scalars, made))
    table.validate()
    assert table.scalar("band_gap_eV")[0] == 1.0
    assert not table.levels
    with pytest.raises(DatasetError, match="no energy grid"):
        _ = table.grid


def test_an_empty_table(tmp_path, schema):
    table = SpectraTable.open(write_table(tmp_path / "e.parquet", schema, []))
    table.validate()
    assert len(table) == 0
    assert table.isotropic_imaginary("ipa").shape == (0, 201)
    assert table.ids == []


# Files that are no table


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"PAR1", "cannot be read as Parquet"), (b"id,gap\n" * 9, "cannot be read")],
)
def test_a_file_that_is_no_parquet(tmp_path, content, message):
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        SpectraTable.open(path)
    assert str(path) in str(caught.value)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(DatasetError, match="cannot be opened"):
        SpectraTable.open(tmp_path / "absent.parquet")
    with pytest.raises(DatasetError, match="is a folder"):
        SpectraTable.open(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off(table, share):
    content = table.path.read_bytes()
    table.path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DatasetError, match="cut off"):
        SpectraTable.open(table.path)


def test_damage_within_the_file_shows_when_the_column_is_read(table):
    content = bytearray(table.path.read_bytes())
    where = pq.ParquetFile(table.path).metadata.row_group(0)
    names = [where.column(k).path_in_schema.split(".")[0] for k in range(where.num_columns)]
    chunk = where.column(names.index("rpa_im_mean"))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    table.path.write_bytes(bytes(content))
    opened = SpectraTable.open(table.path)
    assert opened.isotropic_imaginary("ipa").shape == (4, 201)
    with pytest.raises(DatasetError, match="damaged"):
        opened.isotropic_imaginary("rpa")
    with pytest.raises(DatasetError, match="damaged"):
        opened.validate()


@pytest.mark.parametrize("name", ["ipa_im_yy", "species", "band_gap_eV", "material_id"])
def test_a_missing_column_is_named(rewrite, name):
    path = rewrite(**{name: None})
    with pytest.raises(DatasetError, match=f"column '{name}' is missing") as caught:
        SpectraTable.open(path)
    assert str(path) in str(caught.value)
    assert "try:" in str(caught.value)


def test_provenance_may_be_missing(rewrite):
    table = SpectraTable.open(rewrite(provenance=None))
    table.validate()
    assert table.spectrum(0, "ipa").provenance is None
    assert len(list(table.rows())) == 4


def test_a_column_of_the_wrong_type_is_named(rewrite):
    path = rewrite(rpa_im_mean=pa.array(["a", "b", "c", "d"]))
    with pytest.raises(DatasetError, match="column 'rpa_im_mean' has type string"):
        SpectraTable.open(path)


def test_fixed_size_lists_and_double_precision_are_read(table, rewrite):
    before = table.isotropic_imaginary("rpa")
    kind = pa.list_(pa.float64(), 201)
    opened = SpectraTable.open(rewrite(rpa_im_mean=pa.array(list(before), type=kind)))
    opened.validate()
    np.testing.assert_array_equal(opened.isotropic_imaginary("rpa"), before)
    np.testing.assert_array_equal(opened.spectrum(2, "rpa").epsilon_imaginary, before[2])


def test_a_file_without_schema_is_no_table(rewrite):
    with pytest.raises(DatasetError, match="opalign dataset import"):
        SpectraTable.open(rewrite(metadata={}))


def test_a_newer_table_is_refused(rewrite):
    with pytest.raises(DatasetError, match="update opalign"):
        SpectraTable.open(rewrite(metadata={METADATA_KEY: b'{"version": 99}'}))


# Rows that break the schema


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("ipa_im_xx", lambda v: [*v[:7], np.nan, *v[8:]], "is NaN or infinite at 0.7 eV"),
        ("ipa_re_xx", lambda v: [*v[:7], np.inf, *v[8:]], "is NaN or infinite at 0.7 eV"),
        ("rpa_im_mean", lambda v: [*v[:30], -0.01, *v[31:]], "Im ε is negative: -0.01 at 3 eV"),
        ("ipa_im_zz", lambda v: v[:-1], "has 200 values, the grid has 201"),
        ("ipa_im_zz", lambda v: None, "has no values, the grid has 201"),
        ("lattice", lambda v: v[:6], "has 6 numbers, not 9"),
        ("lattice", lambda v: [0.0] * 9, "spans no volume"),
        ("lattice", lambda v: [np.nan] * 9, "NaN"),
        ("frac_coords", lambda v: v[:-1], "has 17 numbers, not 3 for each of 6 atoms"),
        ("frac_coords", lambda v: [np.nan, *v[1:]], "NaN"),
        ("species", lambda v: ["Qq", *v[1:]], "unknown: Qq"),
        ("species", lambda v: [], "is empty"),
        ("formula", lambda v: "ZnO", "is ZnO, but the species make TiO2"),
        ("formula", lambda v: "?", "no chemical formula"),
        ("material_id", lambda v: "mat-1", "stands in row 1 already"),
        ("band_gap_eV", lambda v: np.inf, "is infinite"),
    ],
)
def test_validation_names_column_row_and_id(rewrite, column, name, damage, message):
    values = column(name)
    values[2] = damage(values[2])
    kept = "mat-1" if name == "material_id" else "mat-2"
    opened = SpectraTable.open(rewrite(**{name: values}))
    with pytest.raises(DatasetError) as caught:
        opened.validate()
    assert f"row 2 ({kept}), column '{name}': " in str(caught.value)
    assert message in str(caught.value)
    (problem,) = [p for p in opened.problems() if p.column == name]
    assert (problem.row, problem.material_id) == (2, kept)


def test_rounding_below_zero_is_no_problem(rewrite, column):
    values = column("rpa_im_mean")
    values[1][5] = -5e-7
    table = SpectraTable.open(rewrite(rpa_im_mean=values))
    table.validate()
    assert table.spectrum(1, "rpa").epsilon_imaginary.min() == 0.0


def test_many_problems_are_counted(rewrite, column, monkeypatch):
    monkeypatch.setattr(table_module, "PROBLEMS_SHOWN", 2)
    values = [[np.nan] * 201 for _ in column("rpa_im_mean")]
    with pytest.raises(DatasetError, match=r"row 0(?s:.*)row 1(?s:.*)and 2 more"):
        SpectraTable.open(rewrite(rpa_im_mean=values)).validate()


def test_a_list_of_the_wrong_length_is_not_read_as_a_spectrum(rewrite, column):
    values = column("rpa_im_mean")
    # Together they have the right number of values, which must not hide it.
    values[0], values[1] = values[0] + values[1][:1], values[1][1:]
    table = SpectraTable.open(rewrite(rpa_im_mean=values))
    with pytest.raises(DatasetError, match="of row 0 has not the 201 values"):
        table.isotropic_imaginary("rpa")
    with pytest.raises(DatasetError, match="has not the 201 values"):
        table.spectrum(1, "rpa")


def test_a_broken_structure_is_refused(rewrite, column):
    values = column("frac_coords")
    values[1] = values[1][:5]
    table = SpectraTable.open(rewrite(frac_coords=values))
    with pytest.raises(DatasetError, match=r"row 1 \(mat-1\)"):
        table.structure(1)


def test_the_table_starts_without_heavy_packages():
    code = (
        "import sys, opalign.dataset.table\n"
        "print(sorted({'torch', 'pymatgen', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
