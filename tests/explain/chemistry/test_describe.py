"""Chemistry of a whole table: rows, kept results, processes, and what fails."""

import json

import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

pytest.importorskip("matminer", reason="coordination motifs need matminer (extra explain)")

from opalign.dataset import SpectraTable
from opalign.dataset.schema import TableSchema
from opalign.dataset.write import write_table
from opalign.errors import DatasetError
from opalign.explain.chemistry import describe
from opalign.explain.chemistry.describe import (
    cation_family,
    describe_materials,
    state_name,
    structure_key,
)


def table_of(path, structures) -> SpectraTable:
    schema = TableSchema(levels={}, scalars={}, lists={}, licence="MIT", source="test", citation="")
    rows = [
        {
            "material_id": name,
            "formula": structure.reduced_formula,
            "lattice": structure.lattice.matrix.reshape(-1),
            "species": [site.specie.symbol for site in structure],
            "frac_coords": structure.frac_coords.reshape(-1),
        }
        for name, structure in structures.items()
    ]
    return SpectraTable.open(write_table(path, schema, rows))


def rock_salt(cation, anion, length):
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(length), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


@pytest.fixture
def table(tmp_path):
    blende = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    gold = Structure.from_spacegroup(
        "Pn-3m", Lattice.cubic(5.02), ["Au", "S"], [[0.25, 0.25, 0.25], [0, 0, 0]]
    )
    named = {"m": rock_salt("Mg", "O", 4.21), "z": blende, "g": gold}
    return table_of(tmp_path / "t.parquet", named)


def test_one_row_a_material_and_one_a_site(table):
    found = describe_materials(table)
    assert found.materials.index.tolist() == ["m", "z", "g"]
    row = found.materials.loc["m"]
    assert row["anion"] == "O"
    assert row["cation_families"] == ("alkaline earth",)
    assert row["cation_states"] == ("Mg2+",)
    assert row["coordination"] == (6,)
    assert row["motifs"] == ("octahedral CN_6",)
    assert row["motif: octahedral CN_6"] > 0.9 > 0.1 > row["motif: tetrahedral CN_4"]
    assert row["shortest_bond"] == pytest.approx(2.105)
    assert found.materials.loc["g", "cation_states"] is None
    assert found.sites["element"].tolist() == ["Mg", "Zn", "Au"]
    assert found.sites["coordination_number"].tolist() == [6, 4, 2]
    assert [name for name, _ in found.problems] == ["g"]


def test_kept_descriptions_are_used_and_damaged_ones_made_anew(table, tmp_path, monkeypatch):
    first = describe_materials(table, cache=tmp_path / "kept")
    files = sorted((tmp_path / "kept").iterdir())
    assert len(files) == 3
    files[0].write_text("{")
    files[1].write_text(json.dumps({"sites": 3}))
    calls = []
    original = describe.describe_structure
    monkeypatch.setattr(describe, "describe_structure", lambda s: calls.append(s) or original(s))
    second = describe_materials(table, cache=tmp_path / "kept")
    assert len(calls) == 2
    pd.testing.assert_frame_equal(first.materials, second.materials)
    pd.testing.assert_frame_equal(first.sites, second.sites)


def test_the_key_knows_the_structure_and_nothing_else():
    first = rock_salt("Mg", "O", 4.21)
    assert structure_key(first) == structure_key(first.copy())
    assert structure_key(first) != structure_key(rock_salt("Mg", "O", 4.22))
    assert structure_key(first) != structure_key(rock_salt("Ca", "O", 4.21))


@pytest.mark.slow
@pytest.mark.long
def test_processes_change_nothing(tmp_path):
    # As few as two processes are started for.
    structures = {
        cation: rock_salt(cation, "O", length).get_primitive_structure()
        for cation, length in (("Mg", 4.2), ("Ca", 4.8), ("Sr", 5.2), ("Ba", 5.5))
    }
    table = table_of(tmp_path / "t.parquet", structures)
    one, two = describe_materials(table), describe_materials(table, processes=2)
    pd.testing.assert_frame_equal(one.materials, two.materials)


def test_a_table_without_structures_says_so(tmp_path):
    table = table_of(tmp_path / "t.parquet", {})
    with pytest.raises(DatasetError, match="no structure that can be read"):
        describe_materials(table)


def test_names_of_families_and_states():
    assert [cation_family(name) for name in ("Na", "Ca", "V", "Cu", "La", "Sn")] == [
        "alkali",
        "alkaline earth",
        "group-5 metal",
        "coinage metal",
        "lanthanoid",
        "group-14 element",
    ]
    assert state_name("V", 5.0) == "V5+"
    assert state_name("Fe", 8 / 3) == "Fe2.67+"
    assert state_name("Na", 1.0) == "Na+"
    assert state_name("O", -2) == "O2−"
