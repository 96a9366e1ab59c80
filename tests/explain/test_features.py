"""Features by layer: streamed, averaged over sites, and refused where they cannot be used."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure

from opalign.dataset import SpectraTable
from opalign.dataset.schema import TableSchema
from opalign.dataset.write import write_table
from opalign.errors import ConfigurationError, DatasetError
from opalign.explain.features import (
    READOUT,
    extract_features,
    feature_layers,
    layers_of,
    read_features,
    read_site_features,
    sites_path,
)
from opalign.prediction import load_model


@pytest.fixture(scope="module")
def predictor():
    return load_model("alignn", device="cpu")


def structures() -> dict[str, Structure]:
    rock_salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    wurtzite = Structure.from_spacegroup(
        "P6_3mc",
        Lattice.hexagonal(3.25, 5.2),
        ["Zn", "O"],
        [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.38]],
    )
    return {
        "primitive": rock_salt.get_primitive_structure(),
        "cell": rock_salt,
        "wurtzite": wurtzite,
    }


def make_table(path, named) -> SpectraTable:
    schema = TableSchema(levels={}, scalars={}, lists={}, licence="MIT", source="test", citation="")
    rows = [
        {
            "material_id": name,
            "formula": structure.reduced_formula,
            "lattice": structure.lattice.matrix.reshape(-1),
            "species": [site.specie.symbol for site in structure],
            "frac_coords": structure.frac_coords.reshape(-1),
        }
        for name, structure in named.items()
    ]
    return SpectraTable.open(write_table(path, schema, rows))


def no_failure(failure):
    raise AssertionError(failure)


@pytest.fixture(scope="module")
def extracted(predictor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    table = make_table(folder / "table.parquet", structures())
    out = extract_features(
        predictor, table, folder / "f.parquet", per_site=True, batch_size=2, on_failure=no_failure
    )
    return table, out


def test_every_layer_is_there_in_order(predictor, extracted):
    assert layers_of(extracted[1]) == feature_layers(predictor) == (*predictor.layer_names, READOUT)


def test_a_supercell_has_the_features_of_its_primitive_cell(predictor, extracted):
    for layer in feature_layers(predictor):
        features = read_features(extracted[1], layer)
        primitive, cell, wurtzite = features.matrix
        # Single precision is what the file keeps.
        np.testing.assert_allclose(primitive, cell, rtol=0, atol=2e-6)
        assert np.abs(primitive - wurtzite).max() > 1e-2


def test_a_material_is_the_mean_of_its_sites(predictor, extracted):
    for layer in predictor.layer_names:
        features = read_features(extracted[1], layer)
        sites = read_site_features(extracted[1], layer)
        assert sites.sites.tolist() == [0, 1, *range(8), *range(4)]
        for material_id, mean in zip(features.ids, features.matrix, strict=True):
            own = sites.matrix[np.array(sites.ids) == material_id]
            np.testing.assert_allclose(own.mean(axis=0), mean, rtol=0, atol=2e-6)


def test_the_readout_is_what_the_predictor_compares_materials_by(predictor, extracted):
    readout = read_features(extracted[1], READOUT)
    latent = read_features(extracted[1], predictor.layer_names[-1])
    np.testing.assert_array_equal(readout.matrix, latent.matrix)


def test_no_file_of_sites_unless_asked_for(predictor, extracted, tmp_path):
    out = extract_features(predictor, extracted[0], tmp_path / "f.parquet", on_failure=no_failure)
    assert not sites_path(out).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.parquet"]


def test_what_cannot_be_described_is_reported_and_left_out(predictor, tmp_path):
    named = structures()
    named["lawrencium"] = Structure(Lattice.cubic(4.5), ["Lr", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    failures = []
    table = make_table(tmp_path / "t.parquet", named)
    out = extract_features(predictor, table, tmp_path / "f.parquet", on_failure=failures.append)
    assert [failure.file for failure in failures] == ["lawrencium"]
    assert "Lr" in failures[0].reason
    assert read_features(out, READOUT).ids == ("primitive", "cell", "wurtzite")


def test_a_table_without_a_describable_material(predictor, tmp_path):
    named = {"a": Structure(Lattice.cubic(4.5), ["Lr", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])}
    table = make_table(tmp_path / "t.parquet", named)
    with pytest.raises(DatasetError, match="no material of the table"):
        extract_features(predictor, table, tmp_path / "f.parquet", on_failure=lambda _: None)
    assert not (tmp_path / "f.parquet").exists()


def test_a_layer_that_is_not_there_says_which_was_meant(predictor, extracted, tmp_path):
    with pytest.raises(ConfigurationError, match=r"did you mean alignn_1\?"):
        extract_features(
            predictor, extracted[0], tmp_path / "f", layers=["ALIGNN1"], on_failure=no_failure
        )
    with pytest.raises(ConfigurationError, match="did you mean readout"):
        read_features(extracted[1], "readuot")


def test_features_that_are_not_finite_are_refused(extracted, tmp_path):
    table = pq.read_table(extracted[1])
    values = table["readout"].combine_chunks().flatten().to_numpy().copy()
    width = len(values) // len(table)
    values[width + 3] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), width)
    broken = table.set_column(table.schema.get_field_index("readout"), "readout", column)
    pq.write_table(broken.replace_schema_metadata(table.schema.metadata), tmp_path / "b.parquet")
    with pytest.raises(DatasetError, match="features of cell are not finite"):
        read_features(tmp_path / "b.parquet", "readout")


def test_another_parquet_file_is_no_file_of_features(extracted):
    with pytest.raises(DatasetError, match="is no file of features"):
        read_features(extracted[0].path, "readout")


def test_selecting_keeps_the_order_asked_for(extracted):
    features = read_features(extracted[1], READOUT)
    chosen = features.select(["wurtzite", "primitive"])
    assert chosen.formulas == ("ZnO", "MgO")
    np.testing.assert_array_equal(chosen.matrix, features.matrix[[2, 0]])
    with pytest.raises(DatasetError, match="'diamond'"):
        features.select(["diamond"])
