import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure

from opalign.dataset.schema import TableSchema
from opalign.dataset.write import write_table
from opalign.errors import ConfigurationError, DatasetError, StructureError
from opalign.firstprinciples.candidates import TABLE_COLUMNS, Candidate, read_candidates
from opalign.firstprinciples.criteria import (
    EXCLUDED_ELEMENTS,
    filter_candidates,
    has_chalcogen,
    has_even_electrons,
    has_no_excluded_element,
    is_small,
    is_symmetric,
    is_unique,
    study_criteria,
)

ROCK_SALT = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def rock_salt(cation, anion, a=4.2, primitive=False):
    positions = np.array(ROCK_SALT)
    structure = Structure(
        Lattice.cubic(a), [cation] * 4 + [anion] * 4, np.vstack([positions, positions + 0.5])
    )
    return structure.get_primitive_structure() if primitive else structure


def candidate(identifier, structure):
    return Candidate(identifier, structure, "test")


def row(identifier, structure):
    return {
        "material_id": identifier,
        "lattice": structure.lattice.matrix.ravel().tolist(),
        "species": [site.specie.symbol for site in structure],
        "frac_coords": structure.frac_coords.ravel().tolist(),
    }


def bare_table(path, rows):
    """Structures alone, without a declared schema, as the Materials Project's are published."""
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_bare_table_and_spectra_table_and_folder_give_the_same_candidates(tmp_path):
    structures = {"mgo": rock_salt("Mg", "O"), "cas": rock_salt("Ca", "S", 5.7)}
    rows = [row(name, structure) for name, structure in structures.items()]
    bare = bare_table(tmp_path / "bare.parquet", rows)
    declared = write_table(tmp_path / "declared.parquet", TableSchema(), rows)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, structure in structures.items():
        structure.to(str(folder / f"{name}.vasp"), fmt="poscar")
    for source in (bare, declared, folder):
        found = {each.identifier: each for each in read_candidates(source)}
        assert set(found) == set(structures)
        for name, structure in structures.items():
            assert found[name].source == source.name
            assert found[name].structure.matches(structure)
            assert found[name].structure.volume == pytest.approx(structure.volume, rel=1e-6)


def test_positions_and_lattice_keep_their_axes(tmp_path):
    skew = Structure(
        Lattice.from_parameters(4, 5, 6, 75, 83, 97),
        ["Mg", "O"],
        [[0.1, 0.2, 0.3], [0.5, 0.6, 0.9]],
    )
    (found,) = read_candidates(bare_table(tmp_path / "skew.parquet", [row("skew", skew)]))
    np.testing.assert_allclose(found.structure.frac_coords, skew.frac_coords, atol=1e-12)
    np.testing.assert_allclose(found.structure.lattice.matrix, skew.lattice.matrix, atol=1e-12)


def test_broken_row_is_named_and_can_be_passed_over(tmp_path):
    rows = [row("good", rock_salt("Mg", "O")), row("bad", rock_salt("Ca", "O"))]
    rows[1]["frac_coords"] = rows[1]["frac_coords"][:-1]
    rows.append(row("close", rock_salt("Sr", "O", a=0.5)))
    path = bare_table(tmp_path / "rows.parquet", rows)
    with pytest.raises(StructureError, match="bad") as raised:
        list(read_candidates(path))
    assert "rows.parquet" in str(raised.value)
    failures = {}
    found = list(read_candidates(path, on_failure=failures.__setitem__))
    assert [each.identifier for each in found] == ["good"]
    assert set(failures) == {"bad", "close"}


def test_repeated_id_and_missing_column_are_refused(tmp_path):
    same = [row("mgo", rock_salt("Mg", "O")), row("mgo", rock_salt("Ca", "O", 4.8))]
    with pytest.raises(DatasetError, match="'mgo' occurs twice"):
        list(read_candidates(bare_table(tmp_path / "same.parquet", same)))
    lacking = [{name: each[name] for name in TABLE_COLUMNS[:-1]} for each in same]
    with pytest.raises(DatasetError, match="no column frac_coords"):
        list(read_candidates(bare_table(tmp_path / "lacking.parquet", lacking)))


def test_broken_table_and_absent_path_are_refused(tmp_path):
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"not parquet")
    with pytest.raises(DatasetError, match="Parquet"):
        list(read_candidates(broken))
    with pytest.raises(StructureError, match="does not exist"):
        list(read_candidates(tmp_path / "absent"))


def test_funnel_counts_after_each_criterion_and_gives_every_reason():
    triclinic = Structure(
        Lattice.from_parameters(4, 5, 6, 75, 83, 97),
        ["Mg", "O", "O", "Ca"],
        [[0, 0, 0], [0.4, 0.3, 0.2], [0.1, 0.6, 0.7], [0.52, 0.48, 0.55]],
    )
    found = filter_candidates(
        [
            candidate("kept", rock_salt("Mg", "O")),
            candidate("no chalcogen", rock_salt("Mg", "Te")),
            candidate("halogen", Structure(Lattice.cubic(4), ["Cl", "O"], [[0] * 3, [0.5] * 3])),
            candidate("odd", rock_salt("Na", "O")),
            candidate("P1", triclinic),
        ]
    )
    assert [each.identifier for each in found.kept] == ["kept"]
    assert [(step.entered, step.passed) for step in found.steps] == [
        *((5, 4), (4, 3), (3, 2), (2, 1), (1, 1)),
    ]
    assert {each.identifier: each.reason for each in found.rejections} == {
        "no chalcogen": "none of O, S, Se",
        "halogen": "holds Cl",
        "odd": "19 electrons in the primitive cell",
        "P1": "space group P1",
    }
    assert "spin-polarised run decides" in str(found)


def test_electrons_are_counted_in_the_primitive_cell():
    """Four formula units of NaO have an even number, one has not."""
    rule = has_even_electrons()
    for primitive in (True, False):
        structure = rock_salt("Na", "O", primitive=primitive)
        assert rule.reason(candidate("nao", structure)) == "19 electrons in the primitive cell"
        assert rule.reason(candidate("mgo", rock_salt("Mg", "O", primitive=primitive))) is None


def test_size_is_that_of_the_primitive_cell():
    large = rock_salt("Mg", "O").make_supercell([2, 2, 1])
    assert len(large) == 32
    assert is_small(2).reason(candidate("mgo", large)) is None
    assert is_small(1).reason(candidate("mgo", large)) == "2 atoms in the primitive cell"


def test_senseless_settings_are_refused():
    with pytest.raises(ConfigurationError, match="positive"):
        is_small(0)
    with pytest.raises(ConfigurationError, match="positive"):
        is_symmetric(0.0)


def test_criteria_compose_and_can_be_changed():
    tellurides = [has_chalcogen(["Te"]), has_no_excluded_element(["Cd"])]
    pool = [candidate(f"{metal}Te", rock_salt(metal, "Te", 6.0)) for metal in ("Zn", "Cd", "Mg")]
    found = filter_candidates(pool, tellurides)
    assert [each.identifier for each in found.kept] == ["ZnTe", "MgTe"]
    rules = [rule.name for rule in study_criteria()]
    assert rules == ["chalcogen", "elements", "even electrons", "symmetry", "size"]


def test_excluded_elements_are_those_of_the_study():
    for kept in ("La", "Ce", "O", "S", "Se", "Te", "Cr", "Cu", "Pd", "Pt", "Re", "Bi", "Tl", "N"):
        assert kept not in EXCLUDED_ELEMENTS
    for gone in ("H", "F", "I", "Xe", "Mn", "Fe", "Co", "Ni", "Tc", "Rh", "Os", "Ir", "Po"):
        assert gone in EXCLUDED_ELEMENTS
    assert {"Pr", "Lu", "Ac", "U"} <= EXCLUDED_ELEMENTS


def test_duplicates_are_one_crystal_in_another_cell():
    pool = [
        candidate("first", rock_salt("Mg", "O")),
        candidate("again", rock_salt("Mg", "O", 4.25, primitive=True)),
        candidate("other", Structure(Lattice.cubic(2.6), ["Mg", "O"], [[0] * 3, [0.5] * 3])),
    ]
    found = filter_candidates(pool, [is_unique(pool)])
    assert [each.identifier for each in found.kept] == ["first", "other"]
    assert found.rejections[0].reason == "same crystal as first"


@pytest.mark.slow
@pytest.mark.long
def test_published_structures_pass_through_the_funnel():
    data = os.environ.get("OPALIGN_DATA")
    path = Path(data or "", "mp_oxides_chalcogenides.parquet")
    if not data or not path.exists():
        pytest.skip("OPALIGN_DATA does not hold mp_oxides_chalcogenides.parquet")
    found = filter_candidates(read_candidates(path))
    assert found.steps[0].entered == 4099
    assert found.steps[0].passed == 4099
    assert found.steps[1].passed == 3826
    assert 3500 < len(found.kept) < 3826
