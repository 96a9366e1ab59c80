import copy
import json

import numpy as np
import pytest

from opalign.dataset.formats.oxi_diel_db import import_oxi_diel_db
from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError

# The layout of the repository's README and files, with made-up numbers.
ENTRY = {
    "mp_id": "mp-1",
    "formula": "MgO",
    "nelements": 2,
    "nsites": 2,
    "elements": ["Mg", "O"],
    "structure": {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": None,
        "lattice": {"matrix": [[0.0, 2.1, 2.1], [2.1, 0.0, 2.1], [2.1, 2.1, 0.0]]},
        "sites": [
            {"species": [{"element": "Mg", "occu": 1}], "abc": [0.0, 0.0, 0.0], "label": "Mg"},
            {"species": [{"element": "O", "occu": 1}], "abc": [0.5, 0.5, 0.5], "label": "O"},
        ],
    },
    "spacegroup": {"symbol": "Fm-3m", "number": 225},
    "band_gap": 4.7,
    "is_direct": True,
    "dielectric": {
        "epsilon_electronic": [[3.1, 0.0, 0.0], [0.0, 3.2, 0.1], [0.0, 0.1, 3.3]],
        "epsilon_ionic": [[7.0, 0.0, 0.0], [0.0, 7.0, 0.0], [0.0, 0.0, 7.0]],
    },
    "phonon": {"lowest_freq": -0.01, "frequency": [1.0]},
}


@pytest.fixture
def bring(tmp_path):
    def run(*entries):
        folder = tmp_path / "data"
        folder.mkdir()
        for number, made in enumerate(entries):
            (folder / f"mp-{number}.json").write_text(json.dumps(made, indent=4))
        report = import_oxi_diel_db(folder, tmp_path / "t.parquet")
        return report, SpectraTable.open(report.path)

    return run


def changed(path, value):
    made = copy.deepcopy(ENTRY) | {"mp_id": "mp-2"}
    at = made
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return made


def test_every_number_has_its_place(bring):
    report, table = bring(ENTRY)
    assert (report.rows, report.skipped, report.notes) == (1, (), ())
    assert table.ids == ["mp-1"]
    assert table.formulas == ["MgO"]
    expected = {
        "band_gap_eV": 4.7,
        "is_direct": 1.0,
        "spacegroup_number": 225.0,
        "dielectric_electronic": 3.2,
        "dielectric_electronic_xx": 3.1,
        "dielectric_electronic_yz": 0.1,
        "dielectric_ionic": 7.0,
    }
    assert {name: table.scalar(name)[0] for name in expected} == pytest.approx(expected)
    np.testing.assert_allclose(table.arrays(0).lattice, ENTRY["structure"]["lattice"]["matrix"])
    assert table.licence == "CC BY 4.0"
    assert "Phys. Rev. Mater. 4, 103801" in table.citation


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["mp_id"], None, "no id"),
        (["structure"], {}, "not a structure"),
        (["dielectric"], None, "no 'dielectric'"),
        (["dielectric", "epsilon_ionic"], [[1.0, 0.0, 0.0]] * 2, "has 2 values"),
        (["dielectric", "epsilon_ionic"], [[1.0, 0.0]] * 3, "has 2 values"),
        (["dielectric", "epsilon_ionic"], [[1.0, 5.0, 0.0], [0.0] * 3, [0.0] * 3], "not symmetric"),
        (["dielectric", "epsilon_ionic"], [[float("nan")] * 3] * 3, "NaN"),
        (["dielectric", "epsilon_ionic"], [["7.0"] * 3] * 3, "no number"),
    ],
)
def test_one_bad_file_is_skipped_and_told(bring, path, value, reason):
    report, table = bring(ENTRY, changed(path, value))
    assert table.ids == ["mp-1"]
    ((place, told),) = report.skipped
    assert "mp-1.json" in place
    assert reason in told


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        (["band_gap"], float("nan"), "band_gap_eV"),
        (["band_gap"], "4.7", "band_gap_eV"),
        (["is_direct"], None, "is_direct"),
        (["dielectric", "epsilon_ionic"], None, "dielectric_ionic"),
    ],
)
def test_what_is_not_known_is_null(bring, path, value, name):
    _, table = bring(changed(path, value))
    assert np.isnan(table.scalar(name)[0])


def test_nothing_usable(bring):
    with pytest.raises(DatasetError, match="first was left out because"):
        bring({"mp_id": "mp-1"})
