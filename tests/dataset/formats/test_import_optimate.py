"""Files of the documented layout, written here: computed entries as HT_IPA and HT_RPA do."""

import copy
import json
import math

import numpy as np
import pytest

from opalign.dataset.formats.optimate import GRID, import_optimate
from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError

CUBIC = {"matrix": (4.2 * np.eye(3)).tolist()}
TETRAGONAL = {"matrix": np.diag([4.6, 4.6, 3.0]).tolist()}
ORTHORHOMBIC = {"matrix": np.diag([3.0, 4.0, 5.0]).tolist()}


def lorentz(strength: float, energy: float) -> np.ndarray:
    e = GRID.values
    return 1.0 + strength * energy**2 / (energy**2 - e**2 - 0.6j * e)


def structure(lattice, species=("Cs", "Cl")):
    places = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
    sites = [
        {"species": [{"element": s, "occu": 1}], "abc": p, "properties": {}, "label": s}
        for s, p in zip(species, places, strict=True)
    ]
    return {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "lattice": lattice,
        "sites": sites,
    }


def monty(values) -> dict:
    """An array as pymatgen's entries write it."""
    return {"@module": "numpy", "@class": "array", "dtype": "float64", "data": list(values)}


def entry(material_id="agm1", axes=(2.0, 2.0, 2.0), lattice=CUBIC, wrap=monty, width=0.3):
    data = {
        "mat_id": material_id,
        "ipa_indirect_gap": 1.5,
        "ipa_direct_gap": 2.0,
        "e_above_hull": 0.01,
    }
    for number, strength in enumerate(axes):
        if strength is not None:
            epsilon = lorentz(strength, 5.0)
            data[f"ipa_epsI_{number}"] = wrap(epsilon.imag)
            data[f"ipa_epsR_{number}"] = wrap(epsilon.real)
    parameters = {"ipa_broad": width, "ipa_eps_kppa": 4500, "ipa_nbands": 30}
    return {
        "@module": "pymatgen.entries.computed_entries",
        "@class": "ComputedStructureEntry",
        "energy": -1.0,
        "composition": {"Cs": 1, "Cl": 1},
        "parameters": parameters,
        "data": data,
        "structure": structure(lattice),
    }


def rpa_entry(material_id="agm1", lattice=CUBIC, axes=("xx",)):
    made = entry(material_id, lattice=lattice)
    for level, strength in (("ipa", 3.0), ("rpa", 2.5)):
        epsilon = lorentz(strength, 6.0)
        made["data"][f"{level}_epsI"] = {axis: monty(epsilon.imag) for axis in axes}
        made["data"][f"{level}_epsR"] = {axis: monty(epsilon.real) for axis in axes}
    made["parameters"] |= {"rpa_broad": 0.1, "rpa_kppa": 3000, "rpa_G": {"xx": 4000}}
    return made


@pytest.fixture
def bring(tmp_path):
    """Write entries, one a file unless ``as_list``, and import them."""

    def run(*entries, as_list=False, **options):
        folder = tmp_path / "database"
        folder.mkdir()
        if as_list:
            (folder / "all.json").write_text(json.dumps(entries))
        else:
            for number, made in enumerate(entries):
                text = made if isinstance(made, str) else json.dumps(made)
                (folder / f"{number:03}.json").write_text(text)
        report = import_optimate([folder], tmp_path / "t.parquet", **options)
        return report, SpectraTable.open(report.path)

    return run


@pytest.mark.parametrize("as_list", [False, True])
def test_the_average_over_the_axes(bring, as_list):
    made = [
        entry("agm1", axes=(1.0, 2.0, 3.0)),
        entry("agm2", axes=(2.0, None, 5.0), lattice=TETRAGONAL, wrap=list),
        entry("agm3", axes=(4.0, None, None)),
    ]
    report, table = bring(*made, as_list=as_list, licence="CC BY 4.0", citation="them")
    assert (report.rows, report.skipped, report.notes) == (3, (), ())
    assert table.ids == ["agm1", "agm2", "agm3"]
    expected = np.array([lorentz(s, 5.0) for s in (2.0, 3.0, 4.0)])
    # The table holds single precision.
    np.testing.assert_allclose(
        table.isotropic_imaginary("ipa"), expected.imag, rtol=1e-6, atol=1e-7
    )
    np.testing.assert_allclose(table.isotropic_real("ipa"), expected.real, rtol=1e-6, atol=1e-7)
    assert table.grid == GRID
    line = table.levels["ipa"].broadening
    assert (line.shape, line.width) == ("lorentzian", 0.3)
    assert (table.licence, table.citation) == ("CC BY 4.0", "them")
    np.testing.assert_allclose(table.scalar("band_gap_eV"), 1.5)
    np.testing.assert_allclose(table.scalar("direct_gap_eV"), 2.0)
    assert table.formulas == ["CsCl"] * 3
    assert "ipa_nbands 30" in table.spectrum(0, "ipa").provenance
    table.validate()


def test_rpa_comes_with_the_ipa_of_the_same_mesh(bring):
    report, table = bring(
        rpa_entry("agm1"),
        rpa_entry("agm2", lattice=ORTHORHOMBIC, axes=("xx", "yy", "zz")),
        entry("agm3"),
        levels=("ipa", "rpa"),
    )
    assert table.ids == ["agm1", "agm2"]
    np.testing.assert_allclose(
        table.isotropic_imaginary("rpa")[1], lorentz(2.5, 6.0).imag, rtol=1e-6, atol=1e-7
    )
    # Not that of ipa_epsI_0, which has another line and perhaps another mesh.
    np.testing.assert_allclose(
        table.isotropic_imaginary("ipa")[0], lorentz(3.0, 6.0).imag, rtol=1e-6, atol=1e-7
    )
    assert table.levels["rpa"].broadening.width == table.levels["ipa"].broadening.width == 0.1
    ((place, reason),) = report.skipped
    assert "002.json" in place
    assert "has no ipa_epsI" in reason
    assert report.notes == ()


def test_one_line_a_table(bring):
    made = [entry("agm1", width=0.1), entry("agm1"), entry("agm2")]
    report, table = bring(*made, width=0.3)
    assert table.ids == ["agm1", "agm2"]
    assert report.skipped == ()
    assert report.notes == ("1 entries of 0.1 eV broadening were passed over: a table has one",)


def test_the_first_entry_sets_the_line(bring):
    report, table = bring(entry("agm1", width=0.1), entry("agm2"))
    assert table.ids == ["agm1"]
    assert table.levels["ipa"].broadening.width == 0.1
    assert "0.3 eV" in report.notes[0]


def test_a_line_that_is_nowhere_stated_has_to_be_given(bring, tmp_path):
    made = entry("agm1")
    del made["parameters"]["ipa_broad"]
    with pytest.raises(DatasetError, match="broadening"):
        bring(made)
    report = import_optimate([tmp_path / "database"], tmp_path / "u.parquet", width=0.3)
    assert report.notes == ("1 entries do not state their broadening: taken as given",)


def test_what_the_authors_leave_out(bring):
    report, table = bring(entry("agm1"), entry("agm2"), excluded={"agm1": "left out: an error"})
    assert table.ids == ["agm2"]
    assert "agm1 is left out: an error" in report.skipped[0][1]


def changed(path, value):
    """An entry with one value changed, or removed with ``...``."""
    made = copy.deepcopy(entry("bad"))
    at = made
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made


SPECTRUM = lorentz(2.0, 5.0).imag.tolist()
BROKEN = {
    "no object": ("[3]", "no 'data'"),
    "no data": (changed(["data"], ...), "no 'data'"),
    "data of another kind": (changed(["data"], "text"), "no 'data'"),
    "no id": (changed(["data", "mat_id"], ...), "no id"),
    "an id that is none": (changed(["data", "mat_id"], 7), "no id"),
    "control characters": (changed(["data", "mat_id"], "a\x1b[2Jb"), "no id"),
    "an endless id": (changed(["data", "mat_id"], "a" * 9999), "no id"),
    "no structure": (changed(["structure"], ...), "no 'structure'"),
    "half a structure": (changed(["structure", "sites"], ...), "structure"),
    "no lattice": (changed(["structure", "lattice", "matrix"], [[0.0] * 3] * 3), "lattice"),
    "no spectrum": (changed(["data", "ipa_epsI_0"], ...), "ipa_epsI"),
    "too short": (changed(["data", "ipa_epsI_0"], SPECTRUM[:-1]), "2,000 values"),
    "too long": (changed(["data", "ipa_epsI_0"], SPECTRUM * 2), "4,002 values"),
    "NaN in place of values": (changed(["data", "ipa_epsI_0"], math.nan), "NaN"),
    "one NaN": (changed(["data", "ipa_epsR_0"], [math.nan, *SPECTRUM[1:]]), "NaN or infinite"),
    "one infinity": (changed(["data", "ipa_epsI_0"], [*SPECTRUM[1:], math.inf]), "NaN or infinite"),
    "numbers as text": (changed(["data", "ipa_epsI_0"], [str(v) for v in SPECTRUM]), "no number"),
    "truth for numbers": (changed(["data", "ipa_epsI_0"], [True] * 2001), "no number"),
    "lists for numbers": (changed(["data", "ipa_epsI_0"], [[1.0]] * 2001), "no number"),
    "a number beyond doubles": (
        changed(["data", "ipa_epsI_0"], [10**400, *SPECTRUM[1:]]),
        "no array of numbers",
    ),
    "negative absorption": (changed(["data", "ipa_epsI_0"], [-1.0] * 2001), "Im ε"),
    "another class": (
        changed(["data", "ipa_epsI_0"], {"@module": "os", "@class": "system", "data": "true"}),
        "expected a list",
    ),
    "no width": (changed(["parameters", "ipa_broad"], 0.0), "broadening of 0 eV"),
    "the same id": (entry("good"), "already"),
    "no json": ('{"data": ', "ends in the middle"),
}


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN)
def test_one_bad_entry_is_skipped_and_told(bring, broken, reason):
    report, table = bring(entry("good"), broken, entry("last"))
    assert table.ids == ["good", "last"]
    ((place, told),) = report.skipped
    assert "001.json" in place
    assert reason in told


@pytest.mark.parametrize(
    ("axes", "lattice"),
    [
        ((2.0, None, None), TETRAGONAL),
        ((2.0, None, 2.0), ORTHORHOMBIC),
        ((2.0, 2.0, None), CUBIC),
    ],
)
def test_a_direction_that_symmetry_does_not_give_is_missed(bring, axes, lattice):
    report, table = bring(entry("good"), entry("bad", axes=axes, lattice=lattice))
    assert table.ids == ["good"]
    assert "lacks ipa_epsI along" in report.skipped[0][1]


def test_a_nan_where_pandas_had_nothing_counts_as_left_out(bring):
    made = entry("agm1", axes=(2.0, None, None))
    made["data"] |= {"ipa_epsI_1": math.nan, "ipa_epsR_1": math.nan, "ipa_epsI_2": None}
    _, table = bring(made)
    assert table.ids == ["agm1"]


def test_noise_below_zero_is_set_to_zero_and_noted(bring):
    values = np.array(SPECTRUM)
    values[3] = -2e-4
    made = entry("agm1", axes=(2.0, None, None))
    made["data"]["ipa_epsI_0"] = values.tolist()
    report, table = bring(made)
    assert table.isotropic_imaginary("ipa").min() == 0.0
    assert "agm1" in report.notes[0]


def test_what_a_structure_asks_to_import_is_not_imported(bring, tmp_path):
    made = entry("agm1")
    made["structure"]["@module"] = "os"
    made["structure"]["sites"][0]["properties"] = {
        "x": {"@module": "os", "@class": "system", "command": f"touch {tmp_path}/evil"}
    }
    bring(made)
    assert not (tmp_path / "evil").exists()


def test_nothing_usable(bring, tmp_path):
    with pytest.raises(DatasetError, match="first was left out because"):
        bring(entry("bad", axes=(None, None, None)))
    (tmp_path / "one.json").write_text(json.dumps(entry(width=0.1)))
    with pytest.raises(DatasetError, match=r"0\.1 eV"):
        import_optimate([tmp_path / "one.json"], tmp_path / "u.parquet", width=0.3)
    with pytest.raises(DatasetError, match="unknown levels"):
        import_optimate([tmp_path], tmp_path / "u.parquet", levels=("bse",))
    assert not (tmp_path / "u.parquet").exists()
