import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.dataset.references import EnergyMethod, References
from opalign.dataset.schema import ScalarInfo, TableSchema
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.errors import ConfigurationError, DatasetError, MissingExtraError
from opalign.firstprinciples import references
from opalign.firstprinciples.element_states import element_state
from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.references import (
    check_method,
    compute_references,
    element_energy,
    reference_energies,
    settings_of,
)

ENERGIES = {"Li": -1.9, "Mg": -1.5, "O": -3.4}
SETTINGS = GpawSettings()


@pytest.fixture
def computed(monkeypatch):
    """Energies from a list in place of GPAW, and the names of those that were asked for."""
    asked = []

    def energy(state, settings, log):
        symbol = state.atoms.get_chemical_symbols()[0]
        asked.append(symbol)
        if symbol not in ENERGIES:
            raise EngineFailure("not converged", "energy: 250 iterations")
        log.write_text("of GPAW")
        return {"energy_eV_per_atom": ENERGIES[symbol]}

    monkeypatch.setattr(references, "element_energy", energy)
    monkeypatch.setattr(references, "require_gpaw", lambda: None)
    return asked


def test_each_element_is_computed_once_for_the_same_settings(computed, tmp_path):
    told = {}
    found = reference_energies(["Mg", "O", "Mg"], tmp_path, report=told.__setitem__)
    assert found == told == {"Mg": -1.5, "O": -3.4}
    assert computed == ["Mg", "O"]
    assert reference_energies(["Li", "O"], tmp_path, SETTINGS) == {"Li": -1.9, "O": -3.4}
    assert computed == ["Mg", "O", "Li"]
    # What the elements don't depend on makes no difference.
    other = SETTINGS.model_copy(update={"response_cutoff": 60.0, "optics_density": 7.0})
    reference_energies(["Mg"], tmp_path, other)
    assert computed == ["Mg", "O", "Li"]


@pytest.mark.parametrize(
    "change", [{"functional": "PBEsol"}, {"cutoff": 500.0}, {"scf_density": 4.0}]
)
def test_other_settings_are_other_energies_and_the_first_are_kept(computed, tmp_path, change):
    reference_energies(["Mg"], tmp_path)
    reference_energies(["Mg"], tmp_path, SETTINGS.model_copy(update=change))
    assert computed == ["Mg", "Mg"]
    reference_energies(["Mg"], tmp_path)
    assert computed == ["Mg", "Mg"]


def test_a_damaged_step_is_computed_again(computed, tmp_path):
    reference_energies(["Mg"], tmp_path)
    (step,) = tmp_path.glob("Mg-*/step-energy.json")
    step.write_text(step.read_text()[:20])
    assert reference_energies(["Mg"], tmp_path) == {"Mg": -1.5}
    assert computed == ["Mg", "Mg"]


def test_failures_name_the_element_and_stop_no_other(computed, tmp_path):
    with pytest.raises(EngineFailure, match=r"element W: not converged: energy: 250") as caught:
        reference_energies(["W", "Mg"], tmp_path)
    assert caught.value.reason == "not converged"
    assert computed == ["W", "Mg"]
    with pytest.raises(EngineFailure) as caught:
        reference_energies(["W", "Mg", "Ta"], tmp_path)
    assert "element W: energy" in str(caught.value)
    assert "element Ta: energy" in str(caught.value)
    assert computed == ["W", "Mg", "W", "Ta"]


def test_what_is_unsupported_is_refused_before_anything_is_computed(computed, tmp_path):
    with pytest.raises(EngineFailure) as caught:
        reference_energies(["Mg", "Mn", "P"], tmp_path)
    assert caught.value.reason == "unsupported"
    assert "element Mn" in str(caught.value)
    assert "element P" in str(caught.value)
    assert computed == []


def test_no_element_with_a_u(computed, tmp_path):
    settings = GpawSettings(hubbard_u={"Ti": 4.0})
    assert reference_energies(["O"], tmp_path, settings) == {"O": -3.4}
    with pytest.raises(ConfigurationError, match="a U on Ti"):
        reference_energies(["Ti", "O"], tmp_path, settings)


def test_gpaw_absent(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "gpaw", None)
    with pytest.raises(MissingExtraError, match="opalign\\[dft\\]"):
        reference_energies(["Mg"], tmp_path)


def test_supplied_energies_are_taken_and_not_computed(computed, tmp_path):
    supplied = References(energies={"Mn": -8.0, "O": -3.0})
    found = compute_references(["Mn", "O", "Mg"], tmp_path, supplied=supplied)
    assert found.energies == {"Mn": -8.0, "O": -3.0, "Mg": -1.5}
    assert found.method == EnergyMethod(engine="gpaw", functional="PBE", cutoff=400.0)
    assert found.states == {"Mn": "supplied", "O": "supplied", "Mg": "hcp"}
    assert computed == ["Mg"]


def test_supplied_energies_of_another_method_are_refused(computed, tmp_path):
    method = EnergyMethod(engine="gpaw", functional="PBE", cutoff=520.0)
    supplied = References(energies={"Mn": -8.0}, method=method)
    with pytest.raises(DatasetError, match="another method \\(gpaw, PBE, 520 eV\\)"):
        compute_references(["Mn", "Mg"], tmp_path, supplied=supplied)
    assert computed == []


def told_by(engine="gpaw", cutoff=400.0, **settings):
    calculation = {
        "engine": engine,
        "settings": GpawSettings(**settings).model_dump(mode="json"),
        "numerics": {"cutoff": cutoff},
    }
    return {"engine": engine, "key": "0" * 64, "calculation": calculation}


def table_of(path, *told):
    rows = []
    for number, provenance in enumerate(told):
        row = {
            "material_id": f"m{number}",
            "structure": Structure(Lattice.cubic(4.0 + number), ["Mg", "O"], [[0] * 3, [0.5] * 3]),
            "total_energy_eV": -10.0,
        }
        if provenance is not None:
            row["provenance"] = json.dumps(provenance)
        rows.append(row)
    schema = TableSchema(scalars={"total_energy_eV": ScalarInfo(unit="eV")})
    return SpectraTable.open(write_table(path / "table.parquet", schema, rows))


def test_a_table_tells_its_method(tmp_path):
    # A cutoff that was raised until spectra agreed is what counts.
    row = told_by(cutoff=480.0, functional="PBEsol", converge=True)
    found = settings_of(table_of(tmp_path, row, row))
    assert (found.functional, found.cutoff, found.converge) == ("PBEsol", 480.0, False)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([told_by(), None], r"row 1 \(m1\) does not tell"),
        ([told_by(engine="vasp")], "come from 'vasp'"),
        ([told_by(), told_by(cutoff=500.0)], "from 2 methods"),
        ([told_by(), told_by(hubbard_u={"Ti": 3.0})], "from 2 methods"),
        ([{"calculation": {"engine": "gpaw"}}], "settings that cannot be read"),
        ([{"calculation": {"engine": "gpaw", "settings": {"colour": 1}}}], "cannot be read"),
        ([{"calculation": 1}], "does not tell"),
    ],
)
def test_a_table_of_no_one_method_is_refused(tmp_path, told, said):
    with pytest.raises(DatasetError, match=said):
        settings_of(table_of(tmp_path, *told))


def test_references_of_another_method_are_refused(tmp_path):
    table = table_of(tmp_path, told_by(), None)

    def of(**changes):
        method = {"engine": "gpaw", "functional": "PBE", "cutoff": 400.0} | changes
        return References(energies={"O": -1.0}, method=EnergyMethod(**method))

    check_method(table, of())
    check_method(table, References(energies={"O": -1.0}))
    for changes in ({"engine": "vasp"}, {"functional": "PBEsol"}, {"cutoff": 520.0}):
        with pytest.raises(DatasetError, match=r"row 0 \(m0\) was computed by another method"):
            check_method(table, of(**changes))


@pytest.mark.slow
@pytest.mark.usefixtures("groups_checked_once")
def test_gpaw_computes_a_metal_and_a_triplet(tmp_path):
    """Of few k points; beryllium's energy hardly depends on them, and the moment is 2."""
    settings = GpawSettings(cutoff=250.0, scf_density=1.0)
    beryllium = element_energy(element_state("Be"), settings, tmp_path / "be.log")
    assert beryllium["atoms"] == 2
    # Cohesive energy, 3.7 eV in PBE, relative to the spherical atom.
    assert beryllium["energy_eV_per_atom"] == pytest.approx(-3.7, abs=0.3)
    oxygen = element_state("O")
    oxygen.atoms.center(vacuum=2.0)
    found = element_energy(oxygen, settings, tmp_path / "o.log")
    assert found["moment"] == pytest.approx(2.0, abs=1e-3)
    assert np.isfinite(found["energy_eV_per_atom"])
