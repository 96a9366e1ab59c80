import json

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from opalign.cli.main import app
from opalign.dataset.schema import ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.firstprinciples import references
from opalign.firstprinciples.gpaw_settings import GpawSettings

ENERGIES = {"Mg": -1.0, "O": -4.0}


@pytest.fixture
def asked(monkeypatch):
    """GPAW's place taken by a list; what it was asked for."""
    made = []

    def energy(state, settings, log):
        symbol = state.atoms.get_chemical_symbols()[0]
        made.append((symbol, settings.functional, settings.cutoff))
        return {"energy_eV_per_atom": ENERGIES[symbol]}

    monkeypatch.setattr(references, "element_energy", energy)
    monkeypatch.setattr(references, "require_gpaw", lambda: None)
    return made


def run(*arguments):
    return CliRunner().invoke(app, ["dataset", "references", *map(str, arguments)])


def write(path, **settings):
    told = {"engine": "gpaw", "settings": GpawSettings(**settings).model_dump(mode="json")}
    row = {
        "material_id": "MgO",
        "structure": Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0] * 3, [0.5] * 3]),
        "total_energy_eV": -11.0,
        "provenance": json.dumps({"calculation": told}),
    }
    schema = TableSchema(scalars={"total_energy_eV": ScalarInfo(unit="eV")})
    return write_table(path, schema, [row])


def test_elements_and_method_of_a_table(asked, tmp_path):
    table = write(tmp_path / "set.parquet", functional="PBEsol", cutoff=450.0)
    out = tmp_path / "references.json"
    result = run(table, "--out", out)
    assert result.exit_code == 0, result.output
    assert asked == [("O", "PBEsol", 450.0), ("Mg", "PBEsol", 450.0)]
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["energies_eV_per_atom"] == ENERGIES
    assert written["method"] == {"engine": "gpaw", "functional": "PBEsol", "cutoff": 450.0}
    assert "O₂ molecule in a box, triplet" in result.stdout
    assert f"Next: opalign dataset filter {table} OUT --references {out}" in result.stdout
    out.unlink()
    assert run(table, "--out", out).exit_code == 0
    assert len(asked) == 2  # kept beside the file
    assert json.loads(out.read_text(encoding="utf-8")) == written


def test_symbols_with_options_and_what_is_supplied(asked, tmp_path):
    known, out = tmp_path / "known.json", tmp_path / "out.json"
    known.write_text('{"Mn": -8.5}')
    result = run("Mn", "Mg", "--out", out, "--cutoff", 500, "--supplied", known)
    assert result.exit_code == 0, result.output
    assert asked == [("Mg", "PBE", 500.0)]
    assert json.loads(out.read_text())["energies_eV_per_atom"] == {"Mg": -1.0, "Mn": -8.5}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Mg", "Mn"], "element Mn: unsupported"),
        (["Mgo"], "'Mgo' is no element"),
        (["set.parquet", "--cutoff", "300"], "--cutoff would differ"),
        (["set.parquet", "Mg"], "a table and more"),
        (["absent.parquet"], "absent.parquet"),
        (["Mg", "--functional", "LDA"], "functional"),
        (["Mg", "--cutoff", "-1"], "cutoff"),
        (["Mg", "--supplied", "absent.json"], "absent.json"),
    ],
)
def test_mistakes_end_with_2_and_no_file(asked, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "set.parquet")
    result = run(*arguments, "--out", "out.json")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not (tmp_path / "out.json").exists()
    assert asked == []
