"""The flow as built, stored and run, and the engine, with a fake VASP in the place of the real."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.errors import ConfigurationError
from opalign.firstprinciples.campaign import plan_campaign
from opalign.firstprinciples.campaign_config import parse_campaign
from opalign.firstprinciples.campaign_run import run_campaign
from opalign.firstprinciples.engine import EngineFailure, EngineResult
from opalign.firstprinciples.job_state import load_result, read_state
from opalign.firstprinciples.vasp import VaspEngine, VaspSettings, vasp_flow
from opalign.firstprinciples.vasp_flow import (
    campaign_vasp_flows,
    exchange_fraction,
    result_document,
    result_from_document,
)

from . import fake_vasp

pytest.importorskip("atomate2", reason="the extra hpc is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

COMMAND = f"{sys.executable} {fake_vasp.__file__}"
ALL_JOBS = [
    "relax 1",
    "relax 2",
    "static",
    "check",
    "optics",
    "exchange fraction",
    "hybrid",
    "collect",
]
FEWEST = {"relax": False, "hybrid": False, "optics_points": 2001}
# A header that pymatgen reads; potentials themselves may not be given away.
POTCAR = """ PAW_PBE {0} 01Jan2000
   4.00000000000000
 parameters from PSCTR are:
   VRHFIN ={0}: fake
   LEXCH  = PE
   TITEL  = PAW_PBE {0} 01Jan2000
   ENMAX  =  200.000; ENMIN  =  100.000 eV
   ZVAL   =    4.000    mass and valenz
 END of PSCTR-controll parameters
 local part
 1.0 2.0 3.0
 End of Dataset
"""


@pytest.fixture(scope="module")
def crystal():
    return Structure.from_spacegroup(
        "F-43m", Lattice.cubic(6.0), ["Mg", "Se"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A machine with VASP and its potentials; returns the journal of its runs."""
    import pymatgen.core

    folder = tmp_path_factory.mktemp("machine")
    for symbol in ("Mg", "Se"):
        place = folder / "potentials" / "POT_GGA_PAW_PBE_54" / symbol
        place.mkdir(parents=True)
        (place / "POTCAR").write_text(POTCAR.format(symbol))
    with pytest.MonkeyPatch.context() as patch:
        # Of this process, which has read its environment, and of those that it starts.
        patch.setitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", str(folder / "potentials"))
        patch.setenv("PMG_VASP_PSP_DIR", str(folder / "potentials"))
        patch.setenv("ATOMATE2_VASP_CMD", COMMAND)
        patch.setenv("FAKE_VASP_JOURNAL", str(folder / "journal"))
        yield folder / "journal"


@pytest.fixture(scope="module")
def computed(crystal, machine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("computed")
    return VaspEngine().run(crystal, folder), folder


def counted(journal: Path) -> Counter[str]:
    if not journal.exists():
        return Counter()
    return Counter(line.split()[0] for line in journal.read_text().splitlines())


def references(job):
    """Return argument → (uuid of the job it comes from, attributes)."""
    from jobflow import OutputReference

    found = {}
    for name, value in [*enumerate(job.function_args), *job.function_kwargs.items()]:
        if isinstance(value, OutputReference):
            found[name] = (value.uuid, value.attributes_formatted)
    return found


def test_jobs_are_linked_in_order(crystal):
    flow = vasp_flow(crystal)
    jobs = {job.name: job for job, _ in flow.iterflow()}
    assert list(jobs) == ALL_JOBS

    def links(name):
        origins = {job.uuid: title for title, job in jobs.items()}
        return {key: (origins[uuid], *path) for key, (uuid, path) in references(jobs[name]).items()}

    assert links("relax 1") == {}
    assert links("relax 2") == {0: ("relax 1", ".structure")}
    assert links("static") == {0: ("relax 2", ".structure")}
    assert links("check") == {0: ("static", ".dir_name")}
    # Nothing costly starts before the check has passed.
    assert links("optics")["prev_dir"] == ("check", "['folder']")
    assert links("exchange fraction") == {0: ("optics", ".dir_name")}
    assert links("hybrid") == {
        0: ("static", ".structure"),
        "prev_dir": ("check", "['folder']"),
        "exchange_fraction": ("exchange fraction", "['exchange_fraction']"),
    }
    assert set(jobs["collect"].input_uuids) == {
        jobs[name].uuid for name in ("relax 1", "relax 2", "static", "optics", "hybrid")
    }
    assert flow.output.uuid == jobs["collect"].uuid
    assert jobs["optics"].metadata["material_id"] == "MgSe"


def test_steps_may_be_left_out(crystal):
    flow = vasp_flow(crystal, VaspSettings(relax=False, hybrid=False))
    assert [job.name for job, _ in flow.iterflow()] == ["static", "check", "optics", "collect"]
    flow = vasp_flow(crystal, VaspSettings(relax_runs=1), name="mp-1")
    assert [job.name for job, _ in flow.iterflow()][:2] == ["relax 1", "static"]
    assert flow.name == "mp-1"


def test_a_flow_survives_a_document_store(crystal):
    from jobflow import Flow
    from monty.json import MontyDecoder, MontyEncoder

    settings = VaspSettings(hubbard_u={"Mg": 1.0}, incar={"static": {"NELM": 77}})
    flow = vasp_flow(crystal, settings)
    text = json.dumps(flow, cls=MontyEncoder)
    again = json.loads(text, cls=MontyDecoder)
    assert isinstance(again, Flow)
    for (job, parents), (other, others) in zip(flow.iterflow(), again.iterflow(), strict=True):
        assert (job.name, job.uuid, set(parents)) == (other.name, other.uuid, set(others))
        assert references(job) == references(other)
    static = next(job for job, _ in again.iterflow() if job.name == "static")
    maker = static.maker
    found = maker.input_set_generator.get_input_set(static_structure(again), potcar_spec=True)
    assert found.incar["NELM"] == 77
    assert found.incar["LDAUU"] == [1.0, 0]


def static_structure(flow):
    return next(job for job, _ in flow.iterflow() if job.name == "relax 1").function_args[0]


def test_odd_electrons_make_no_flow(crystal):
    odd = Structure(Lattice.cubic(4.0), ["Na", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(EngineFailure) as caught:
        vasp_flow(odd)
    assert caught.value.reason == "odd electron count"


@pytest.mark.slow
def test_the_engine_computes(computed, machine):
    result, folder = computed
    assert counted(machine) == {"relax": 2, "static": 1, "optics": 1, "hybrid": 1}
    assert result.band_gap == pytest.approx(fake_vasp.GAP, abs=1e-4)
    assert set(result.epsilon) == {"ipa", "ipa_corrected"}
    # The fraction that the hybrid ran with is that of the response.
    fraction = result.scalars["exchange_fraction"]
    assert fraction == pytest.approx(1.0 / result.scalars["epsilon_infinity"], abs=1e-6)
    shift = fake_vasp.SHIFT * fraction
    assert result.scalars["hybrid_shift_eV"] == pytest.approx(shift, abs=1e-4)
    assert result.scalars["corrected_gap_eV"] == pytest.approx(fake_vasp.GAP + shift, abs=2e-4)
    assert set(result.seconds) == {"relax 1", "relax 2", "static", "optics", "hybrid"}
    assert result.provenance["settings"] == VaspSettings().model_dump(mode="json")
    expected = [fake_vasp.imaginary(energy) for energy in result.grid.values]
    np.testing.assert_allclose(result.epsilon["ipa"][:, 2, 2].imag, expected, atol=0.01)
    # 54 Å³ at 0.3 bands per Å³, four occupied, four more.
    assert result.provenance["bands"] == 4 + 17 + 4
    kept = EngineResult.load(folder)
    assert kept.scalars == result.scalars


@pytest.mark.slow
def test_a_finished_job_is_not_computed_again(computed, crystal, machine):
    result, folder = computed
    before = counted(machine)
    again = VaspEngine().run(crystal, folder)
    assert counted(machine) == before
    np.testing.assert_array_equal(again.epsilon["ipa"], result.epsilon["ipa"])
    (folder / "result.json").unlink()
    rebuilt = VaspEngine().run(crystal, folder)
    assert counted(machine) == before
    np.testing.assert_array_equal(rebuilt.epsilon["ipa"], result.epsilon["ipa"])
    assert rebuilt.provenance["key"] == result.provenance["key"]


@pytest.mark.slow
def test_a_failed_step_is_run_again_and_no_other(crystal, machine, tmp_path, monkeypatch):
    engine = VaspEngine(VaspSettings(**FEWEST))
    before = counted(machine)
    monkeypatch.setenv("FAKE_VASP", "optics:crash")
    with pytest.raises(EngineFailure, match=r"optics: .*ZPOTRF failed") as caught:
        engine.run(crystal, tmp_path)
    assert caught.value.reason == "crashed"
    monkeypatch.delenv("FAKE_VASP")
    result = engine.run(crystal, tmp_path)
    assert set(result.epsilon) == {"ipa"}
    assert counted(machine)["static"] == before["static"] + 1
    assert counted(machine)["relax"] == before["relax"]
    assert counted(machine)["optics"] >= before["optics"] + 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("static:metal", "metal"),
        ("static:unconverged", "not converged"),
        ("optics:short window", "bad output"),
        ("static:cut off", "crashed"),
    ],
)
def test_failures_have_their_reason(crystal, machine, tmp_path, monkeypatch, trouble, reason):
    monkeypatch.setenv("FAKE_VASP", trouble)
    before = counted(machine)["optics"]
    with pytest.raises(EngineFailure) as caught:
        VaspEngine(VaspSettings(**FEWEST)).run(crystal, tmp_path)
    assert caught.value.reason == reason
    assert caught.value.detail
    if trouble.startswith("static"):
        assert counted(machine)["optics"] == before
    assert not (tmp_path / "result.json").exists()


@pytest.mark.slow
def test_magnets_are_refused(crystal, machine, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_VASP", "static:magnetic")
    with pytest.raises(EngineFailure, match="Bohr magnetons") as caught:
        VaspEngine(VaspSettings(spin_check=True, **FEWEST)).run(crystal, tmp_path)
    assert caught.value.reason == "magnetic"


def test_without_vasp_the_command_is_named(crystal, tmp_path, monkeypatch):
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "vasp_that_is_not_there -n 4")
    with pytest.raises(EngineFailure, match="vasp_that_is_not_there") as caught:
        VaspEngine().run(crystal, tmp_path)
    assert caught.value.reason == "unsupported"
    assert "ATOMATE2_VASP_CMD" in str(caught.value)


@pytest.mark.parametrize("folder", [None, "empty"])
def test_without_potentials_their_folder_is_named(crystal, tmp_path, monkeypatch, folder):
    import pymatgen.core

    monkeypatch.setenv("ATOMATE2_VASP_CMD", COMMAND)
    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    if folder is not None:
        (tmp_path / folder).mkdir()
        place = str(tmp_path / folder)
        monkeypatch.setitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", place)
    with pytest.raises(EngineFailure) as caught:
        VaspEngine().run(crystal, tmp_path / "work")
    assert caught.value.reason == "unsupported"
    assert "PMG_VASP_PSP_DIR" in str(caught.value)


@pytest.mark.slow
def test_the_document_is_the_result(computed):
    result, _ = computed
    document = json.loads(json.dumps(result_document(result)))
    again = result_from_document(document)
    assert again.structure == result.structure
    assert again.provenance == result.provenance
    for level, epsilon in result.epsilon.items():
        np.testing.assert_array_equal(again.epsilon[level], epsilon)
    assert again.pdos.keys() == result.pdos.keys()


@pytest.mark.slow
def test_a_given_fraction_needs_no_response(computed):
    _, folder = computed
    place = next((folder / "runs").glob("*/optics"))
    own = exchange_fraction(f"host:{place}", VaspSettings().model_dump(mode="json"))
    assert own["exchange_fraction"] == pytest.approx(1.0 / own["epsilon_infinity"])
    fixed = VaspSettings(exchange_fraction=0.25).model_dump(mode="json")
    assert exchange_fraction(str(place), fixed)["exchange_fraction"] == 0.25


def vasp_campaign(folder: Path, *crystals: Structure):
    (folder / "structures").mkdir(parents=True)
    for crystal in crystals:
        crystal.to(str(folder / "structures" / f"{crystal.reduced_formula}.cif"))
    config = {
        "source": {"kind": "folder", "path": str(folder / "structures")},
        "filters": {"study": False, "unique": False},
        "engine": "vasp",
        "settings": FEWEST,
        "workers": 1,
    }
    return plan_campaign(parse_campaign(config), folder / "campaign")


@pytest.mark.slow
def test_a_stored_flow_of_a_campaign_runs_anywhere(crystal, machine, tmp_path):
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore
    from monty.json import MontyDecoder, MontyEncoder

    campaign = vasp_campaign(tmp_path, crystal)
    (flow,) = campaign_vasp_flows(campaign)
    assert flow.name == "MgSe"
    for job, _ in flow.iterflow():
        if hasattr(job.maker, "run_vasp_kwargs"):
            # As the settings of atomate2 would have it where the jobs run.
            job.maker.run_vasp_kwargs |= {
                "vasp_cmd": COMMAND,
                "custodian_kwargs": {"polling_time_step": 0.2},
            }
    stored = json.loads(json.dumps(flow, cls=MontyEncoder), cls=MontyDecoder)
    store = JobStore(MemoryStore())
    run_locally(
        stored,
        store=store,
        root_dir=tmp_path,
        create_folders=True,
        ensure_success=True,
        log=False,
    )
    job = campaign.plan.jobs[0]
    assert read_state(campaign.job_folder(job)).status == "done"
    result = load_result(campaign.job_folder(job))
    document = store.get_output(stored.output.uuid)
    assert document["band_gap_eV"] == result.band_gap == pytest.approx(fake_vasp.GAP, abs=1e-4)
    # What is done makes no flow.
    assert campaign_vasp_flows(campaign) == []


@pytest.mark.slow
def test_a_campaign_runs_vasp_in_its_own_pool(crystal, machine, tmp_path):
    campaign = vasp_campaign(tmp_path, crystal)
    assert run_campaign(campaign) == 0
    folder = campaign.job_folder(campaign.plan.jobs[0])
    assert read_state(folder).status == "done", read_state(folder).detail
    assert load_result(folder).provenance["engine"] == "vasp"


def test_what_makes_no_flow_fails_alone(crystal, tmp_path):
    odd = crystal.copy()
    odd.replace_species({"Mg": "Na"})
    campaign = vasp_campaign(tmp_path, odd, crystal)
    jobs = {job.identifier: job for job in campaign.plan.jobs}
    content = crystal.as_dict()
    content["sites"][0]["species"][0]["occu"] = 0.5
    broken = replace(jobs["MgSe"], identifier="broken", structure=content)
    campaign = replace(
        campaign, plan=replace(campaign.plan, jobs=(jobs["NaSe"], broken, jobs["MgSe"]))
    )
    assert [flow.name for flow in campaign_vasp_flows(campaign)] == ["MgSe"]
    states = campaign.states()
    assert [(state.status, state.reason) for state in states] == [
        ("failed", "odd electron count"),
        ("failed", "unsupported"),
        ("waiting", None),
    ]
    assert "45 electrons" in states[0].detail
    assert len(states[0].attempts) == 1


def test_flows_are_made_of_campaigns_of_vasp_alone(crystal, tmp_path):
    campaign = vasp_campaign(tmp_path, crystal)
    changed = campaign.config.model_copy(update={"engine": "gpaw"})
    other = type(campaign)(campaign.folder, changed, campaign.plan)
    with pytest.raises(ConfigurationError, match="gpaw"):
        campaign_vasp_flows(other)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes end with their parent on Linux")
def test_vasp_ends_with_the_job_that_is_killed(crystal, machine, tmp_path):
    journal = tmp_path / "journal"

    def compute():
        os.environ |= {"FAKE_VASP": "static:hang", "FAKE_VASP_JOURNAL": str(journal)}
        VaspEngine(VaspSettings(relax=False)).run(crystal, tmp_path / "work")

    # Forked: atomate2 takes longer to import than all else here.
    process = multiprocessing.get_context("fork").Process(target=compute)
    process.start()
    try:
        wait_until(journal.exists, 120.0)
        wait_until(lambda: journal.read_text().endswith("\n"), 5.0)
    finally:
        process.kill()
        process.join()
    vasp = int(journal.read_text().split()[1])
    try:
        wait_until(lambda: not is_alive(vasp), 10.0)
    finally:
        if is_alive(vasp):
            os.kill(vasp, signal.SIGKILL)


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
