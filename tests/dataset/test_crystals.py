import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.dataset.crystals import crystals_of
from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.errors import ConfigurationError
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(0.0, 10.0, 101)


def write(path, scalars, rows, levels=("ipa", "rpa")):
    structure = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25] * 3]
    )
    schema = TableSchema(
        grid=GRID,
        levels={name: LevelInfo(components=("mean",), has_real=True) for name in levels},
        scalars={name: ScalarInfo() for name in scalars},
    )
    values = {
        f"{level}_{part}_mean": np.full(GRID.num, value)
        for level in levels
        for part, value in (("re", 4.0), ("im", 0.5))
    }
    write_table(
        path,
        schema,
        (
            {
                "material_id": f"m-{number}",
                "formula": "ZnS",
                "lattice": structure.lattice.matrix.ravel(),
                "species": [site.specie.symbol for site in structure],
                "frac_coords": structure.frac_coords.ravel(),
                **values,
                **row,
            }
            for number, row in enumerate(rows)
        ),
    )
    return SpectraTable.open(path)


def test_gaps_and_space_group_come_from_the_columns(tmp_path):
    names = ("band_gap_eV", "direct_gap_eV", "spacegroup_number")
    table = write(tmp_path / "t.parquet", names, [dict(zip(names, (1.0, 2.0, 216.0), strict=True))])
    ipa, rpa = crystals_of(table)
    assert [ipa.spectrum.level, rpa.spectrum.level] == ["ipa", "rpa"]
    assert (ipa.band_gap, ipa.direct_gap, ipa.spacegroup) == (1.0, 2.0, 216)


def test_corrected_levels_have_the_gaps_to_which_they_were_moved(tmp_path):
    scalars = {
        "band_gap_eV": 2.0,
        "direct_gap_eV": 2.1,
        "corrected_gap_eV": 3.5,
        "corrected_direct_gap_eV": 3.6,
    }
    table = write(tmp_path / "t.parquet", scalars, [scalars], levels=("rpa", "rpa_corrected"))
    found = {each.spectrum.level: (each.band_gap, each.direct_gap) for each in crystals_of(table)}
    assert found == {"rpa": (2.0, 2.1), "rpa_corrected": (3.5, 3.6)}
    bare = write(
        tmp_path / "b.parquet", ["band_gap_eV"], [{"band_gap_eV": 2.0}], levels=("x_corrected",)
    )
    (crystal,) = crystals_of(bare)
    assert (crystal.band_gap, crystal.direct_gap) == (None, None), "unknown, and not the other's"


def test_a_single_gap_is_where_absorption_begins_and_symmetry_is_found(tmp_path):
    table = write(tmp_path / "t.parquet", ("band_gap_eV",), [{"band_gap_eV": 1.0}])
    (crystal,) = crystals_of(table, ["rpa"])
    assert (crystal.band_gap, crystal.direct_gap, crystal.spacegroup) == (None, 1.0, 216)


def test_only_what_is_wanted_is_read_and_told_apart(tmp_path):
    names = ("spacegroup_number",)
    rows = [{"spacegroup_number": 216.0}, {"spacegroup_number": 186.0}, {"spacegroup_number": None}]
    table = write(tmp_path / "t.parquet", names, rows)
    found = list(
        crystals_of(
            table,
            ["rpa"],
            wanted=lambda formula, group: formula == "ZnS" and group in (None, 216),
            known=lambda material_id, formula: f"{material_id} of {formula}",
        )
    )
    assert [crystal.known for crystal in found] == ["m-0 of ZnS", "m-2 of ZnS"]


def test_a_level_that_is_not_there_is_named(tmp_path):
    table = write(tmp_path / "t.parquet", (), [{}])
    with pytest.raises(ConfigurationError, match="no level gw"):
        list(crystals_of(table, ["gw"]))
