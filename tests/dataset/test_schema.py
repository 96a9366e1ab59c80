import pyarrow as pa
import pytest
from pydantic import ValidationError

from opalign.dataset.schema import (
    METADATA_KEY,
    SCHEMA_VERSION,
    LevelInfo,
    ScalarInfo,
    TableSchema,
    arrow_schema,
    declared_schema,
)
from opalign.errors import DatasetError, SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(start=0.0, stop=10.0, num=101)


def test_the_schema_survives_the_way_through_arrow(schema):
    assert declared_schema(arrow_schema(schema), "file") == schema


def test_columns_follow_from_levels(schema):
    names = arrow_schema(schema).names
    assert names[:5] == ["material_id", "formula", "lattice", "species", "frac_coords"]
    assert {"ipa_re_xx", "ipa_im_zz", "rpa_im_mean", "band_gap_eV", "mesh"} <= set(names)
    assert "rpa_re_mean" not in names


@pytest.mark.parametrize("components", [("xx", "yy"), ("mean", "xx", "yy", "zz"), ("xx",) * 3, ()])
def test_components_come_as_average_diagonal_or_tensor(components):
    with pytest.raises(ValidationError, match="components"):
        LevelInfo(components=components)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": "log_absorption", "has_real": True},
        {"quantity": "log_absorption", "components": ("xx", "yy", "zz")},
        {"floor": 2.0},
    ],
)
def test_log_absorption_is_an_average_alone(wrong):
    with pytest.raises(ValidationError):
        LevelInfo(**wrong)


def test_spectra_need_a_grid():
    with pytest.raises(ValidationError, match="needs a grid"):
        TableSchema(levels={"ipa": LevelInfo()})


def test_a_scalar_cannot_take_the_name_of_a_spectrum():
    with pytest.raises(ValidationError, match="ipa_im_mean"):
        TableSchema(grid=GRID, levels={"ipa": LevelInfo()}, scalars={"ipa_im_mean": ScalarInfo()})


def test_names_are_words():
    with pytest.raises(ValidationError, match="not a name"):
        TableSchema(scalars={"band gap": ScalarInfo()})


def test_a_newer_version_is_refused_before_its_fields_are_read(schema):
    later = f'{{"version": {SCHEMA_VERSION + 1}, "phonons": {{}}}}'.encode()
    with pytest.raises(DatasetError, match="update opalign"):
        declared_schema(arrow_schema(schema).with_metadata({METADATA_KEY: later}), "file")


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"version": 1, "grid": "wide"}'])
def test_broken_metadata_is_refused(schema, text):
    with pytest.raises(DatasetError, match="does not validate"):
        declared_schema(arrow_schema(schema).with_metadata({METADATA_KEY: text}), "file")


def test_other_widths_of_numbers_and_kinds_of_lists_are_taken(schema):
    declared = arrow_schema(schema)
    wide = pa.schema(
        [
            pa.field(f.name, pa.large_list(pa.float64())) if f.name.startswith("ipa") else f
            for f in declared
        ],
        metadata=declared.metadata,
    )
    assert declared_schema(wide, "file") == schema


def test_broadening_adds_up():
    gaussian = LevelInfo(broadening=Broadening("gaussian", 0.3))
    assert gaussian.broadening_after(None, GRID).width == 0.3
    assert gaussian.broadening_after(Broadening("gaussian", 0.4), GRID).width == pytest.approx(0.5)


def test_a_line_narrower_than_the_grid_does_not_stand_in_the_way_of_another_shape():
    extra = Broadening("gaussian", 0.3)
    narrow = LevelInfo(broadening=Broadening("lorentzian", 0.002))
    assert narrow.broadening_after(extra, GRID) == extra
    wide = LevelInfo(broadening=Broadening("lorentzian", 0.2))
    with pytest.raises(SpectrumError):
        wide.broadening_after(extra, GRID)
