"""A first configuration need not know what a table lacks."""

import pytest

from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.errors import DatasetError
from opalign.training.absent import without_absent_terms
from opalign.training.config_file import parse_config
from opalign.training.run import train

from .conftest import GRID, crystals, lorentz, tiny_settings


def written(path, *, scalar=None, value=None, real=False):
    schema = TableSchema(
        grid=GRID,
        levels={"rpa": LevelInfo(has_real=real)},
        scalars={scalar: ScalarInfo(unit="eV")} if scalar else {},
    )
    rows = []
    for number, (material_id, structure) in enumerate(crystals()):
        epsilon = lorentz(7 + 0.5 * number, 2.0)
        row = {"material_id": material_id, "structure": structure, "rpa_im_mean": epsilon.imag}
        row |= {"rpa_re_mean": epsilon.real} if real else {}
        row |= {scalar: value} if scalar else {}
        rows.append(row)
    return write_table(path, schema, rows)


def test_what_a_table_lacks_is_left_out_and_said(tmp_path, silent):
    table = written(tmp_path / "mine.parquet")
    config = parse_config(tiny_settings(table, epochs=1))
    result = train(config, tmp_path / "run", console=silent)
    assert result.checkpoint.is_dir()
    said = silent.file.getvalue()
    assert "mine.parquet lacks a column 'direct_gap_eV' with gaps" in said
    assert "mine.parquet lacks Re ε from 0 eV on" in said
    # With and without the configuration, it is the run that stands there.
    for again in (config, None):
        assert train(again, tmp_path / "run", resume=True, console=silent).was_finished


def test_what_was_asked_for_and_is_not_there_is_an_error(tmp_path, silent):
    table = written(tmp_path / "mine.parquet")
    for changes, named in (
        ({"loss__band_gap_weight": 0.1}, "direct_gap_eV"),
        ({"loss__band_gap_column": "gap_eV"}, "gap_eV"),
        ({"loss__static_dielectric_weight": 0.1}, "ε₁"),
    ):
        config = parse_config(tiny_settings(table, **changes))
        with pytest.raises(DatasetError, match=named):
            train(config, tmp_path / "run", console=silent)


def test_columns_of_nothing_are_absent_and_those_with_values_are_learned(tmp_path, silent):
    def weights(table, **changes):
        loss = without_absent_terms(parse_config(tiny_settings(table, **changes)), silent).loss
        return loss.band_gap_weight, loss.static_dielectric_weight

    empty = written(tmp_path / "empty.parquet", scalar="direct_gap_eV", real=True)
    assert weights(empty) == (0.0, 0.1)
    full = written(tmp_path / "full.parquet", scalar="direct_gap_eV", value=3.0, real=True)
    assert weights(full) == (0.1, 0.1)
    assert weights(full, model__grid={"start": 1.0, "stop": 10.0, "num": 91}) == (0.1, 0.0)
    assert weights(tmp_path / "nowhere.parquet") == (0.1, 0.1)
