import json

import pytest
from pydantic import ValidationError

from opalign.dataset.references import EnergyMethod, References, check_elements, elements_of
from opalign.errors import ConfigurationError, DatasetError

METHOD = EnergyMethod(engine="gpaw", functional="PBE", cutoff=400.0)


def test_a_file_comes_back_as_it_was_written(tmp_path):
    written = References(
        energies={"O": -3.4, "Mg": -1.5}, method=METHOD, states={"O": "O₂ molecule in a box"}
    )
    path = written.save(tmp_path / "deep" / "references.json")
    assert References.load(path) == written
    assert list(json.loads(path.read_text(encoding="utf-8"))["energies_eV_per_atom"]) == ["Mg", "O"]


def test_a_plain_mapping_is_read_and_tells_no_method(tmp_path):
    path = tmp_path / "plain.json"
    path.write_text('{"O": -3, "Mn": -8.5}')
    found = References.load(path)
    assert found.energies == {"O": -3.0, "Mn": -8.5}
    assert found.method is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("[1]", "no mapping"),
        ('{"O": "much"}', "energies.O: Input should be a valid number"),
        ('{"O": NaN}', "finite"),
        ('{"Xx": -1.0, "X": 0}', "no elements: X, Xx"),
        ('{"version": 2, "energies_eV_per_atom": {}}', "version 2, not 1"),
        ('{"version": 1}', "energies_eV_per_atom is missing"),
        ('{"version": 1, "energies_eV_per_atom": {"O": 1}, "energy": 1}', "energy: Extra inputs"),
        ('{"version": 1, "energies_eV_per_atom": {}, "method": {"engine": "gpaw"}}', "functional"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_another_file_is_refused_with_its_name(tmp_path, text, said):
    path = tmp_path / "references.json"
    path.write_text(text)
    with pytest.raises(DatasetError) as caught:
        References.load(path)
    assert caught.value.where == str(path)
    assert said in str(caught.value)
    assert "eV per atom" in caught.value.expected


def test_absent_or_huge_file(tmp_path):
    with pytest.raises(DatasetError, match="No such file"):
        References.load(tmp_path / "absent.json")
    (tmp_path / "huge.json").write_text(" " * (1 << 20) + "{}")
    with pytest.raises(DatasetError, match="bytes"):
        References.load(tmp_path / "huge.json")


def test_elements_of_a_table(table):
    assert elements_of(table) == ["O", "Mg", "S", "Ti", "Zn"]
    assert elements_of(table.select([table.ids[3]])) == ["S", "Zn"]


def test_symbols_are_checked():
    assert check_elements(["Mg", "O", "Mg"]) == ["Mg", "O"]
    with pytest.raises(ConfigurationError, match="'X', 'mg' is no element"):
        check_elements(["mg", "O", "X"])


def test_a_method_needs_a_cutoff():
    with pytest.raises(ValidationError):
        EnergyMethod(engine="gpaw", functional="PBE", cutoff=float("nan"))
    assert str(METHOD) == "gpaw, PBE, 400 eV"
