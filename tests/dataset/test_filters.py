import json

import numpy as np
import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from opalign.dataset.duplicates import find_duplicates
from opalign.dataset.filters import (
    FilterSettings,
    filter_rules,
    filter_table,
    gap_at_least,
    stable,
    unflagged,
)
from opalign.dataset.funnel import Rule, apply_rules
from opalign.dataset.schema import ListInfo, ScalarInfo, TableSchema
from opalign.dataset.stability import energies_above_hull
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.errors import DatasetError

REFERENCES = {"Mg": -1.0, "Ti": -7.0, "O": -4.0}


def cell(*species, a=4.0, seed=0):
    positions = np.random.default_rng(seed).permutation(64)[: len(species)]
    points = np.stack(np.unravel_index(positions, (4, 4, 4)), axis=1) / 4
    return Structure(Lattice.orthorhombic(a, 1.1 * a, 1.3 * a), list(species), points)


ROWS = [
    # Elements weigh −1 − 4 = −5 eV, so that formation takes −6 eV a formula unit, −3 an atom.
    ("MgO", cell("Mg", "O"), -11.0, 4.5, []),
    ("TiO2", cell("Ti", "O", "O"), -24.0, 1.8, None),
    # Between MgO and TiO2 lie −35 eV for five atoms.
    ("MgTiO3 stable", cell("Mg", "Ti", "O", "O", "O", seed=1), -35.5, 3.0, []),
    ("MgTiO3 unstable", cell("Mg", "Ti", "O", "O", "O", seed=2), -34.5, 3.0, []),
    ("narrow", cell("Mg", "Mg", "O", "O", seed=3), -22.0, 0.2, []),
    ("gap unknown", cell("Mg", "O", seed=4), -11.0, None, []),
    ("flagged", cell("Mg", "O", "O", seed=5), -15.0, 2.0, ["f-sum", "onset"]),
    ("no reference", cell("Zn", "O"), -9.0, 1.0, []),
    ("no energy", cell("Ti", "O", seed=6), None, 1.0, []),
    ("MgO again", cell("Mg", "O", a=4.05), -11.0, 4.6, []),
]


def write(path, rows=ROWS, unit="eV"):
    schema = TableSchema(
        scalars={"gap": ScalarInfo(unit="eV"), "energy": ScalarInfo(unit=unit)},
        lists={"flags": ListInfo(kind="string")},
    )
    return SpectraTable.open(
        write_table(
            path,
            schema,
            (
                {
                    "material_id": name,
                    "structure": structure,
                    "energy": energy / (len(structure) if unit == "eV/atom" else 1)
                    if energy is not None
                    else None,
                    "gap": gap,
                    "flags": flags,
                }
                for name, structure, energy, gap, flags in rows
            ),
        )
    )


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "table.parquet")


SETTINGS = FilterSettings(
    gap_column="gap",
    energy_column="energy",
    references=REFERENCES,
    unknown_stability="keep",
    flag_column="flags",
)


def by_name(table, values):
    return dict(zip(table.ids, values, strict=True))


@pytest.mark.parametrize("unit", ["eV", "eV/atom"])
def test_energy_above_hull_by_hand(tmp_path, unit):
    table = write(tmp_path / "units.parquet", unit=unit)
    above = by_name(table, energies_above_hull(table, "energy", REFERENCES))
    assert above["MgO"] == pytest.approx(0)
    assert above["narrow"] == pytest.approx(0)  # two formula units of MgO of the same energy
    assert above["TiO2"] == pytest.approx(0)
    assert above["MgTiO3 stable"] == pytest.approx(0)
    assert above["MgTiO3 unstable"] == pytest.approx(1.0 / 5)  # −34.5 against −35.5
    # MgO₂ against MgO and oxygen: −15 against −11 − 4.
    assert above["flagged"] == pytest.approx(0)
    assert np.isnan(above["no reference"])
    assert np.isnan(above["no energy"])


def test_a_less_stable_compound_decomposes_into_others_and_not_only_into_elements(tmp_path):
    """Without the stable MgTiO3 the other stands 0.1 eV/atom above MgO and TiO2."""
    rows = [row for row in ROWS if row[0] != "MgTiO3 stable"]
    table = write(tmp_path / "few.parquet", rows)
    above = by_name(table, energies_above_hull(table, "energy", REFERENCES))
    assert above["MgTiO3 unstable"] == pytest.approx(0.5 / 5)


def test_unstable_against_the_elements(tmp_path):
    table = write(tmp_path / "one.parquet", [("MgO", cell("Mg", "O"), -4.0, 1.0, [])])
    assert energies_above_hull(table, "energy", REFERENCES)[0] == pytest.approx(0.5)


def test_energy_of_another_unit_or_name_is_refused(tmp_path):
    table = write(tmp_path / "unit.parquet", unit="Ry")
    with pytest.raises(DatasetError, match="unit 'Ry'"):
        energies_above_hull(table, "energy", REFERENCES)
    with pytest.raises(DatasetError, match="no scalar 'enthalpy'"):
        energies_above_hull(table, "enthalpy", REFERENCES)


def test_funnel_counts_and_reasons_and_the_table_written(table, tmp_path):
    found = filter_table(table, tmp_path / "kept.parquet", SETTINGS)
    assert [(step.rule, step.passed) for step in found.steps] == [
        ("quality", 9),
        ("gap", 7),
        ("stability", 6),
        ("duplicates", 5),
    ]
    reasons = {each.identifier: each.reason for each in found.rejections}
    assert reasons == {
        "flagged": "f-sum, onset",
        "narrow": "gap 0.20 eV",
        "gap unknown": "no band gap known",
        "MgTiO3 unstable": "0.200 eV/atom above the hull",
        "MgO again": "same crystal as MgO",
    }
    written = SpectraTable.open(tmp_path / "kept.parquet")
    written.validate()
    assert written.ids == ["MgO", "TiO2", "MgTiO3 stable", "no reference", "no energy"]
    assert written.schema == table.schema
    assert written.structure(2) == table.structure(2)
    assert written.list_value(0, "flags") == []


def test_competing_phases_count_even_where_another_filter_drops_them(table):
    """The hull is that of the whole table: a phase of narrow gap still competes."""
    settings = SETTINGS.model_copy(update={"minimum_gap": 3.5})
    found = filter_table(table, None, settings)
    reasons = {each.identifier: each.rule for each in found.rejections}
    assert reasons["MgTiO3 stable"] == "gap"
    rule = stable(table, "energy", REFERENCES, unknown="keep")
    assert rule.reason(table.ids.index("MgTiO3 unstable")) == "0.200 eV/atom above the hull"


def test_tolerance_of_the_hull_and_what_is_unknown(table):
    metastable = SETTINGS.model_copy(
        update={"maximum_hull_energy": 0.25, "unknown_stability": "drop"}
    )
    found = filter_table(table, None, metastable)
    kept = {table.ids[row] for row in found.kept}
    assert "MgTiO3 unstable" in kept
    assert not {"no reference", "no energy"} & kept


def test_what_is_unknown_is_refused_unless_something_else_is_chosen(table):
    strict = SETTINGS.model_copy(update={"unknown_stability": "refuse"})
    with pytest.raises(DatasetError) as caught:
        filter_table(table, None, strict)
    said = str(caught.value)
    assert "the stability of 2 rows cannot be told" in said
    assert "no reference for Zn" in said
    assert "no energy of no energy" in said
    assert FilterSettings().unknown_stability == "refuse"


@pytest.mark.parametrize("fate", ["keep", "drop"])
def test_the_count_says_how_many_are_unknown(table, fate):
    found = filter_table(table, None, SETTINGS.model_copy(update={"unknown_stability": fate}))
    stability = next(step for step in found.steps if step.rule == "stability")
    assert "of 10 rows 2 of unknown stability" in stability.description
    assert {"keep": "kept", "drop": "dropped"}[fate] in stability.description


@pytest.mark.parametrize("fate", ["refuse", "keep", "drop"])
def test_stability_without_references_never_passes_in_silence(table, fate):
    without = SETTINGS.model_copy(update={"references": {}, "unknown_stability": fate})
    with pytest.raises(DatasetError, match="without energies of the elements") as caught:
        filter_table(table, None, without)
    assert "opalign dataset references" in str(caught.value)


def test_duplicate_of_a_dropped_row_is_kept(tmp_path):
    """Of equals the first that passes everything else stays, not the first of all."""
    rows = [
        ("bad", cell("Mg", "O"), -11.0, 0.1, []),
        ("good", cell("Mg", "O"), -11.0, 4.0, []),
    ]
    table = write(tmp_path / "two.parquet", rows)
    found = filter_table(table, None, FilterSettings(gap_column="gap"))
    assert [table.ids[row] for row in found.kept] == ["good"]


def test_filters_that_are_not_wanted_are_left_out(table):
    nothing = FilterSettings(gap_column=None, unique=False)
    found = filter_table(table, None, nothing)
    assert len(found.kept) == len(ROWS)
    assert found.steps == ()


def test_tolerated_flags(table):
    row = table.ids.index("flagged")
    assert unflagged(table, "flags").reason(row) == "f-sum, onset"
    assert unflagged(table, "flags", frozenset({"onset"})).reason(row) == "f-sum"
    assert unflagged(table, "flags", frozenset({"onset", "f-sum"})).reason(row) is None


def test_gap_exactly_at_the_limit_passes(table):
    assert gap_at_least(table, "gap", 1.8).reason(table.ids.index("TiO2")) is None


def test_missing_columns_are_told_before_any_row_is_read(table):
    with pytest.raises(DatasetError, match="band_gap_eV"):
        filter_rules(table, FilterSettings())
    with pytest.raises(DatasetError, match="no list 'warnings'"):
        filter_rules(table, FilterSettings(gap_column=None, flag_column="warnings"))


def test_nothing_left_is_an_error_and_no_file(table, tmp_path):
    settings = FilterSettings(gap_column="gap", minimum_gap=50.0)
    with pytest.raises(DatasetError, match="no row passes"):
        filter_table(table, tmp_path / "none.parquet", settings)
    assert not (tmp_path / "none.parquet").exists()


@pytest.mark.parametrize("wrong", [{"minimum_gap": -1}, {"maximum_hull_energy": -0.1}, {"gap": 1}])
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        FilterSettings(**wrong)


def test_funnel_of_anything():
    rules = [
        Rule[int]("even", "divisible by two", lambda n: "odd" if n % 2 else None),
        Rule[int]("small", "below six", lambda n: "large" if n >= 6 else None),
    ]
    found = apply_rules(range(10), rules, str)
    assert found.kept == (0, 2, 4)
    assert [(step.entered, step.passed, step.rejected) for step in found.steps] == [
        (10, 5, 5),
        (5, 3, 2),
    ]
    assert found.reasons("even") == {"odd": 5}
    assert found.reasons("small") == {"large": 2}
    assert len(found.kept) + len(found.rejections) == 10
    assert json.loads(json.dumps(found.to_dict()))["steps"][1]["passed"] == 3
    lines = str(found).splitlines()
    assert "10" in lines[0]
    assert "(−5) divisible by two" in lines[1]


def test_funnel_without_items_or_rules():
    assert apply_rules([], [], str).kept == ()
    assert apply_rules([1, 2], [], str).kept == (1, 2)
    assert "2" in str(apply_rules([1, 2], [], str))


def test_polymorphs_are_no_duplicates_and_cells_of_one_crystal_are():
    rutile = Structure.from_spacegroup(
        136, Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
    anatase = Structure.from_spacegroup(
        141, Lattice.tetragonal(3.78, 9.51), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.208]]
    )
    tin = rutile.copy()
    tin.replace_species({"Ti": "Sn"})
    same = find_duplicates(
        [
            ("rutile", rutile),
            ("anatase", anatase),
            ("doubled", rutile * [1, 1, 2]),
            ("tin", tin),
            ("primitive anatase", anatase.get_primitive_structure()),
        ]
    )
    assert same == {"doubled": "rutile", "primitive anatase": "anatase"}
