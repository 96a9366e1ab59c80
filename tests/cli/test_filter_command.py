import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from opalign.cli.main import app
from opalign.dataset.schema import ListInfo, ScalarInfo, TableSchema
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table

REFERENCES = {"Mg": -1.0, "Ti": -7.0, "O": -4.0}


def cell(*species, seed=0):
    positions = np.random.default_rng(seed).permutation(64)[: len(species)]
    points = np.stack(np.unravel_index(positions, (4, 4, 4)), axis=1) / 4
    return Structure(Lattice.orthorhombic(4.0, 4.4, 5.2), list(species), points)


ROWS = [
    # Elements weigh −5 eV: −3 eV an atom to form. TiO₂ likewise.
    ("MgO", cell("Mg", "O"), -11.0, 4.5, []),
    ("TiO2", cell("Ti", "O", "O"), -24.0, 1.8, []),
    # MgO and TiO₂ together: −35.
    ("stable", cell("Mg", "Ti", "O", "O", "O", seed=1), -35.5, 3.0, []),
    ("metastable", cell("Mg", "Ti", "O", "O", "O", seed=2), -35.25, 3.0, []),
    ("unstable", cell("Mg", "Ti", "O", "O", "O", seed=3), -34.5, 3.0, []),
    ("narrow", cell("Mg", "Mg", "O", "O", seed=4), -22.0, 0.2, []),
    ("flagged", cell("Mg", "Mg", "O", "O", seed=5), -22.0, 4.0, ["ipa_onset"]),
    ("MgO again", cell("Mg", "O"), -11.0, 4.6, []),
]


def write(path, rows=ROWS, provenance=None):
    schema = TableSchema(
        scalars={"band_gap_eV": ScalarInfo(unit="eV"), "total_energy_eV": ScalarInfo(unit="eV")},
        lists={"quality_flags": ListInfo(kind="string")},
    )
    told = {} if provenance is None else {"provenance": json.dumps(provenance)}
    names = ("material_id", "structure", "total_energy_eV", "band_gap_eV", "quality_flags")
    return write_table(path, schema, [dict(zip(names, row, strict=True)) | told for row in rows])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "set.parquet")
    (tmp_path / "references.json").write_text(json.dumps(REFERENCES))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["dataset", "filter", *map(str, arguments)])


def left(path="out.parquet"):
    table = SpectraTable.open(path)
    table.validate()
    return table.ids


STABILITY = ("--references", "references.json")


def test_all_filters_with_a_count_after_each(here):
    result = run(
        *("set.parquet", "out.parquet", "--smallest-gap", 0.3, *STABILITY),
        *("--no-duplicates", "--no-flagged", "--report", "why.json"),
    )
    assert result.exit_code == 0, result.output
    counts = [line.split()[:2] for line in result.stdout.splitlines()[:5]]
    assert counts == [
        ["candidates", "8"],
        ["quality", "7"],
        ["gap", "6"],
        ["stability", "4"],
        ["duplicates", "3"],
    ]
    assert "wrote out.parquet: 3 of 8 materials" in result.stdout
    assert left() == ["MgO", "TiO2", "stable"]
    rejections = json.loads((here / "why.json").read_text())["rejections"]
    why = {each["id"]: each["reason"] for each in rejections}
    assert why == {
        "flagged": "ipa_onset",
        "narrow": "gap 0.20 eV",
        "metastable": "0.050 eV/atom above the hull",
        "unstable": "0.200 eV/atom above the hull",
        "MgO again": "same crystal as MgO",
    }


def test_the_hull_by_hand(here):
    """0.25 eV of five atoms above the stable one, and 1 eV: 0.05 and 0.2 eV/atom."""
    gone = {0.0: 2, 0.049: 2, 0.051: 1, 0.199: 1, 0.201: 0}
    for limit, count in gone.items():
        result = run("set.parquet", *STABILITY, "--energy-above-hull", limit)
        assert result.exit_code == 0, result.output
        assert f"(−{count}) at most {limit:g} eV/atom" in result.stdout


def test_a_filter_that_is_not_named_is_not_applied(here):
    result = run("set.parquet", "out.parquet", "--smallest-gap", 4.0)
    assert result.exit_code == 0, result.output
    assert left() == ["MgO", "flagged", "MgO again"]
    assert "stability" not in result.stdout
    assert run("set.parquet", "out.parquet", "--no-flagged").exit_code == 0
    assert len(left()) == 7
    tolerant = run("set.parquet", "out.parquet", "--no-flagged", "--tolerate", "ipa_onset")
    assert tolerant.exit_code == 0
    assert len(left()) == 8


def test_without_a_second_file_it_only_counts(here):
    before = sorted(path.name for path in here.iterdir())
    result = run("set.parquet", "--no-duplicates")
    assert result.exit_code == 0, result.output
    assert "(−1) no crystal twice" in result.stdout
    assert sorted(path.name for path in here.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no filter is named"),
        (["--energy-above-hull", "0.1"], "needs energies of the elements"),
        (["--references", "absent.json"], "absent.json"),
        (["--references", "few.json"], "no reference for Ti"),
        (["--references", "empty.json"], "without energies of the elements"),
        (["--energy-above-hull", "-1", *STABILITY], "energy-above-hull"),
        (["--energy-column", "enthalpy", *STABILITY], "enthalpy"),
        (["--smallest-gap", "1", "--gap-column", "gap"], "gap"),
        (["--no-flagged", "--flag-column", "flags"], "no list 'flags'"),
        (["--tolerate", "ipa_onset", "--smallest-gap", "1"], "--no-flagged"),
        (["--smallest-gap", "50"], "no row passes"),
        (["--unknown-stability", "guess", *STABILITY], "guess"),
    ],
)
def test_mistakes_end_with_2_and_no_table(here, arguments, said):
    (here / "few.json").write_text('{"Mg": -1.0, "O": -4.0}')
    (here / "empty.json").write_text("{}")
    result = run("set.parquet", "out.parquet", *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not (here / "out.parquet").exists()


def test_elements_without_reference_can_be_kept_or_dropped(here):
    (here / "few.json").write_text('{"Mg": -1.0, "O": -4.0}')
    arguments = ("set.parquet", "out.parquet", "--references", "few.json", "--unknown-stability")
    result = run(*arguments, "keep")
    assert result.exit_code == 0, result.output
    assert "4 of unknown stability, kept" in result.stdout
    assert len(left()) == 8
    result = run(*arguments, "drop")
    assert result.exit_code == 0, result.output
    assert left() == ["MgO", "narrow", "flagged", "MgO again"]


def test_references_of_another_method_are_refused(here):
    told = {"engine": "gpaw", "settings": {"functional": "PBE", "cutoff": 400.0}}
    write(here / "set.parquet", provenance={"calculation": told})
    content = {"version": 1, "energies_eV_per_atom": REFERENCES, "states": {}}
    method = {"engine": "gpaw", "functional": "PBEsol", "cutoff": 400.0}
    (here / "references.json").write_text(json.dumps(content | {"method": method}))
    result = run("set.parquet", "out.parquet", *STABILITY)
    assert result.exit_code == 2
    assert "computed by another method (gpaw, PBE, 400 eV)" in result.stderr
    method["functional"] = "PBE"
    (here / "references.json").write_text(json.dumps(content | {"method": method}))
    assert run("set.parquet", "out.parquet", *STABILITY).exit_code == 0


def test_a_table_is_not_written_over_itself(here):
    before = (here / "set.parquet").read_bytes()
    result = run("set.parquet", "./set.parquet", "--no-duplicates")
    assert result.exit_code == 2
    assert "overwritten" in result.stderr
    assert (here / "set.parquet").read_bytes() == before
