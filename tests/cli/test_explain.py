"""`opalign explain`: reports from the command line, and mistakes told with exit status 2."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from opalign.cli.main import app
from opalign.dataset.schema import LevelInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.explain.config_file import explain_config
from opalign.explain.features import layers_of, sites_path
from opalign.explain.probes import probe
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(start=0.0, stop=15.0, num=151)
CRYSTALS = (
    ("MgO", 0.5, 4.21, 6.0),
    ("CaO", 0.5, 4.81, 5.5),
    ("BaS", 0.5, 6.39, 3.9),
    ("ZnS", 0.25, 5.41, 3.6),
    ("ZnSe", 0.25, 5.67, 2.7),
    ("CdS", 0.25, 5.83, 2.4),
)


def crystal(formula: str, place: float, a: float) -> Structure:
    group = "Fm-3m" if place == 0.5 else "F-43m"
    species, sites = [formula[:2], formula[2:]], [[0, 0, 0], [place] * 3]
    return Structure.from_spacegroup(
        group, Lattice.cubic(a), species, sites
    ).get_primitive_structure()


def spectra(path, crystals=CRYSTALS, *, equal=False):
    levels = {
        "rpa": LevelInfo(
            broadening=Broadening("gaussian", 0.1),
            components=("mean",),
            has_real=False,
            description="edges",
        )
    }
    schema = TableSchema(grid=GRID, levels=levels, licence="CC0", source="a rule")
    rows = [
        {
            "material_id": f"id-{formula}",
            "structure": crystal(formula, place, a),
            "rpa_im_mean": 4.0 * np.sqrt(np.clip(GRID.values - (3.0 if equal else gap), 0, None)),
        }
        for formula, place, a, gap in crystals
    ]
    return write_table(path, schema, rows)


def run(*arguments):
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """A table, the folder of its explanation, and what the command said."""
    folder = tmp_path_factory.mktemp("explain")
    table = spectra(folder / "table.parquet")
    out = folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        # Standard errors of probes, of which no test here takes a number.
        patch.setitem(probe.__kwdefaults__, "draws", 10)
        result = run("table", "alignn", table, "--out", out, "--groups", 2, "--set", "draws=2")
    assert result.exit_code == 0, result.output
    return table, out, result


@pytest.mark.slow
def test_a_table_is_explained_and_all_that_is_named_is_there(explained):
    _, out, result = explained
    assert "6 materials in 2 groups" in result.output
    named = [line.split()[0] for line in result.output.splitlines() if line.startswith("  ")]
    files = [
        name for name in named if name.endswith((".html", ".json", ".parquet", ".csv", ".yaml"))
    ]
    assert "report.html" in files
    assert all((out / name).is_file() for name in files)
    assert {path.suffix for path in (out / "figures").iterdir()} == {".png", ".svg"}


@pytest.mark.slow
def test_the_configuration_beside_the_results_is_the_one_that_was_used(explained):
    table, out, _ = explained
    config = explain_config(out / "config.yaml")
    assert (config.number, config.draws, config.table) == (2, 2, table)


@pytest.mark.slow
def test_a_material_is_put_into_the_group_of_its_like(explained, tmp_path):
    _, out, _ = explained
    structure = tmp_path / "cdse.cif"
    crystal("CdSe", 0.25, 6.08).to(str(structure))
    result = run(
        "material", structure, "--model", "alignn", "--explained", out, "--out", tmp_path / "m"
    )
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "m" / "material.json").read_text())
    assert set(found["placement"]["members"]) & {"ZnSe", "CdS"}
    total = np.array(found["sites"]["total"])
    parts = np.sum([site["contribution"] for site in found["sites"]["per_site"]], axis=0)
    np.testing.assert_allclose(parts + found["sites"]["rest"], total, atol=1e-4 * total.max())
    page = (tmp_path / "m" / "material.html").read_text()
    assert "CdSe" in page
    assert 'src="http' not in page


def test_features_are_written(tmp_path):
    table = spectra(tmp_path / "t.parquet", CRYSTALS[:2])
    out = tmp_path / "f.parquet"
    result = run("features", "alignn", table, "--out", out, "--layer", "alignn_1", "--per-site")
    assert result.exit_code == 0, result.output
    assert layers_of(out) == ("alignn_1",)
    assert pq.read_table(sites_path(out)).num_rows == 4


def mistake(*arguments):
    """Run a command that must fail cleanly; return what it said."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def test_a_layer_that_does_not_exist(tmp_path):
    table = spectra(tmp_path / "t.parquet", CRYSTALS[:2])
    said = mistake("table", "alignn", table, "--layer", "alinn_1", "--out", tmp_path)
    assert "did you mean alignn_1" in said
    said = mistake("features", "alignn", table, "--layer", "gcn1", "--out", tmp_path / "f.parquet")
    assert "did you mean gcn_1" in said


def test_a_checkpoint_that_is_none(tmp_path):
    table = spectra(tmp_path / "t.parquet", CRYSTALS[:2])
    assert "no checkpoint" in mistake("table", tmp_path, table, "--out", tmp_path / "o")
    assert "did you mean 'alignn'" in mistake("table", "aligm", table, "--out", tmp_path / "o")


def test_a_table_that_cannot_be_explained(tmp_path):
    def said(table, *more):
        return mistake("table", "alignn", table, "--out", tmp_path / "o", *more)

    assert "at least two materials" in said(spectra(tmp_path / "one.parquet", CRYSTALS[:1]))
    assert "are equal" in said(spectra(tmp_path / "equal.parquet", CRYSTALS[:3], equal=True))
    table = spectra(tmp_path / "three.parquet", CRYSTALS[:3])
    assert "9 groups of 3 materials" in said(table, "--groups", 9)
    bare = pq.read_table(table).drop_columns(["lattice", "species", "frac_coords"])
    pq.write_table(bare, tmp_path / "bare.parquet")
    assert "bare.parquet" in said(tmp_path / "bare.parquet")
    assert "no file" in said(tmp_path / "absent.parquet")


def test_features_that_are_not_numbers_name_the_material(tmp_path):
    table = spectra(tmp_path / "t.parquet", CRYSTALS[:3])
    out = tmp_path / "o"
    mistake("table", "alignn", table, "--groups", 9, "--out", out)
    (kept,) = [
        path for path in (out / "cache").glob("features_*.parquet") if "_sites" not in path.name
    ]
    features = pq.read_table(kept)
    place = features.column_names.index("alignn_1")
    column = features["alignn_1"].combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False).copy()
    values[len(values) // 3 + 1] = np.nan
    spoiled = pa.FixedSizeListArray.from_arrays(pa.array(values), column.type.list_size)
    pq.write_table(features.set_column(place, features.schema.field(place), spoiled), kept)
    assert "features of id-CaO are not finite" in mistake("table", "alignn", table, "--out", out)


def test_wrong_keys_and_options_are_told(tmp_path):
    table = spectra(tmp_path / "t.parquet", CRYSTALS[:2])
    said = mistake("table", "alignn", table, "--set", "drws=3", "--out", tmp_path)
    assert "did you mean 'draws'" in said
    assert "START:STOP" in mistake("table", "alignn", table, "--target", "dos", "--grid", "1-2")
    assert "MODEL:FOLDER" in mistake("table", "alignn", table, "--other-model", ":x")


def test_a_material_needs_an_explanation_of_its_model(tmp_path):
    structure = tmp_path / "mgo.cif"
    crystal("MgO", 0.5, 4.21).to(str(structure))
    said = mistake("material", structure, "--explained", tmp_path, "--out", tmp_path / "m")
    assert "holds no explanation" in said
