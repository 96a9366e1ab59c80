import json
from dataclasses import replace

import numpy as np
import pytest

from opalign.crystal.convert import to_structure
from opalign.dataset.filters import FilterSettings, filter_table
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.errors import ConfigurationError
from opalign.firstprinciples.export import export_campaign
from opalign.firstprinciples.job_state import (
    Attempt,
    JobState,
    load_result,
    read_state,
    write_state,
)
from opalign.firstprinciples.jobs import write_job
from opalign.spectrum.grid import EnergyGrid

from .conftest import planned
from .engines.fake_engine import result_of

pytestmark = pytest.mark.usefixtures("fake_engine")

STATE = JobState(
    "done", attempts=(Attempt("", 9.0, "failed", "time limit", "", 8.0), Attempt("", 3.0, "done"))
)


def finished(folder, results):
    """A campaign with these results, made without running it; None for one that waits."""
    campaign = planned(folder, count=len(results))
    for job, make in zip(campaign.plan.jobs, results, strict=True):
        if make is None:
            continue
        place = campaign.job_folder(job)
        write_job(place, job)
        make(to_structure(job.structure, "test")).save(place / "result")
        write_state(place, STATE)
    return campaign


def test_a_table_of_all_finished_results(tmp_path):
    campaign = finished(tmp_path, [result_of, None, result_of])
    export = export_campaign(campaign, tmp_path / "t.parquet", citation="of ours")
    assert (export.rows, export.levels, export.left_out) == (2, ("ipa", "rpa"), ())
    assert (export.flags, export.flagged) == ({}, 0)

    table = SpectraTable.open(tmp_path / "t.parquet")
    table.validate()
    assert table.ids == ["m0", "m2"]
    assert table.licence == "CC BY 4.0"
    assert table.citation == "of ours"
    assert "fake_engine:make" in table.source
    result = load_result(campaign.job_folder(campaign.plan.jobs[2]))
    spectrum = table.spectrum(1, "rpa")
    # Spectra are stored in single precision.
    assert np.allclose(spectrum.epsilon, result.epsilon["rpa"], rtol=1e-6)
    assert table.structure(1).lattice.a == pytest.approx(4.002)
    assert table.scalar("band_gap_eV").tolist() == [3.5, 3.5]
    assert table.scalar("pbe0_shift_eV").tolist() == [2.0, 2.0]
    assert table.scalar("core_seconds").tolist() == [8.0, 8.0]
    assert table.scalar("spacegroup_number").tolist() == [221.0, 221.0]
    assert table.scalar("rpa_onset_eV")[0] == pytest.approx(4.0, abs=0.06)
    assert table.list_value(0, "quality_flags") == []


def test_provenance_of_a_row_is_json(tmp_path):
    campaign = finished(tmp_path, [result_of])
    export_campaign(campaign, tmp_path / "t.parquet")
    told = json.loads(SpectraTable.open(tmp_path / "t.parquet").spectrum(0, "ipa").provenance)
    job = campaign.plan.jobs[0]
    assert told["key"] == job.key
    assert told["engine"] == "fake_engine:make"
    assert told["settings"] == job.settings
    assert told["structure_source"] == "in.parquet"
    assert told["calculation"] == {"code": "fake", "electrons": 8.0}
    assert told["seconds"] == {"all": 1.0}


def test_densities_lie_on_the_grid_of_the_reference_set(tmp_path):
    def sloped(structure):
        result = result_of(structure)
        return replace(result, pdos={"O-p": result.pdos_energies + 20.0, "Mg-s": np.ones(241)})

    export_campaign(finished(tmp_path, [sloped]), tmp_path / "t.parquet")
    table = SpectraTable.open(tmp_path / "t.parquet")
    assert table.list_value(0, "pdos_channels") == ["Mg-s", "O-p"]
    densities = np.reshape(table.list_value(0, "pdos_per_eV"), (2, 401))
    assert np.allclose(densities[0], 1.0)
    assert np.allclose(densities[1], np.linspace(10.0, 30.0, 401), atol=1e-4)


def test_flags_are_listed_and_counted(tmp_path):
    def unsound(structure):
        result = result_of(structure)
        return replace(result, epsilon={**result.epsilon, "rpa": result.epsilon["rpa"] * 1.5})

    export = export_campaign(finished(tmp_path, [result_of, unsound]), tmp_path / "t.parquet")
    table = SpectraTable.open(tmp_path / "t.parquet")
    assert table.list_value(0, "quality_flags") == []
    assert set(table.list_value(1, "quality_flags")) == set(export.flags)
    assert set(export.flags.values()) == {1}
    assert export.flagged == 1
    assert "rpa_f_sum" in export.flags


def test_the_filters_of_tables_understand_the_flags(tmp_path):
    def unsound(structure):
        result = result_of(structure)
        return replace(result, epsilon={**result.epsilon, "rpa": result.epsilon["rpa"] * 1.5})

    export_campaign(finished(tmp_path, [result_of, unsound]), tmp_path / "t.parquet")
    settings = FilterSettings(flag_column="quality_flags", unique=False)
    funnel = filter_table(SpectraTable.open(tmp_path / "t.parquet"), None, settings)
    assert funnel.kept == (0,)


def test_negative_absorption_is_flagged_and_stored_as_none(tmp_path):
    def negative(structure):
        result = result_of(structure)
        epsilon = result.epsilon["ipa"] - 0.3j * np.eye(3)
        return replace(result, epsilon={"ipa": epsilon})

    export_campaign(finished(tmp_path, [negative]), tmp_path / "t.parquet")
    table = SpectraTable.open(tmp_path / "t.parquet")
    table.validate()
    assert "ipa_negative" in table.list_value(0, "quality_flags")
    assert table.scalar("ipa_lowest_imaginary")[0] == pytest.approx(-0.3)
    assert table.isotropic_imaginary("ipa").min() == 0.0


def test_off_diagonal_components_are_kept_where_there_are_any(tmp_path):
    def tilted(structure):
        result = result_of(structure)
        mix = np.array([[1.0, 0.2, 0.0], [0.2, 1.0, 0.0], [0.0, 0.0, 1.0]])
        return replace(result, epsilon={"rpa": result.epsilon["rpa"][:, :1, :1] * mix})

    export_campaign(finished(tmp_path, [tilted]), tmp_path / "t.parquet")
    table = SpectraTable.open(tmp_path / "t.parquet")
    assert table.levels["rpa"].components == ("xx", "yy", "zz", "xy", "yz", "xz")
    epsilon = table.spectrum(0, "rpa").epsilon
    assert np.allclose(epsilon[:, 0, 1], 0.2 * epsilon[:, 0, 0], rtol=1e-5)
    assert np.array_equal(epsilon[:, 1, 0], epsilon[:, 0, 1])
    export_campaign(finished(tmp_path / "", [result_of]), tmp_path / "d.parquet")
    assert SpectraTable.open(tmp_path / "d.parquet").levels["rpa"].components == ("xx", "yy", "zz")


def with_corrected(structure):
    result = result_of(structure)
    return replace(result, epsilon={**result.epsilon, "rpa_corrected": result.epsilon["rpa"]})


def test_levels_of_most_results_make_the_table(tmp_path):
    results = [with_corrected, with_corrected, result_of]
    export = export_campaign(finished(tmp_path, results), tmp_path / "t.parquet")
    assert export.levels == ("ipa", "rpa", "rpa_corrected")
    assert export.rows == 2
    assert export.left_out == (("m2", "has no level rpa_corrected"),)

    campaign = finished(tmp_path, [with_corrected, result_of, result_of])
    export = export_campaign(campaign, tmp_path / "t.parquet")
    assert (export.levels, export.rows) == (("ipa", "rpa"), 3)
    export = export_campaign(campaign, tmp_path / "t.parquet", levels=["rpa_corrected"])
    assert export.rows == 1
    with pytest.raises(ConfigurationError, match="no result has the level 'gw'"):
        export_campaign(campaign, tmp_path / "t.parquet", levels=["gw"])


def correct(campaign, job, energy=-10.0, gap=3.5):
    """Put a corrected result beside that of a job, as the hybrid does."""
    place = campaign.job_folder(job)
    result = load_result(place)
    corrected = replace(
        result,
        total_energy=energy,
        epsilon={**result.epsilon, "rpa_corrected": result.epsilon["rpa"]},
        scalars={**result.scalars, "corrected_gap_eV": gap},
        seconds={**result.seconds, "hybrid-exchange": 7.0},
        provenance={**result.provenance, "hybrid": {"key": ""}},
    )
    corrected.save(place / "corrected")


def test_corrected_spectra_are_exported_where_there_are_any(tmp_path):
    campaign = finished(tmp_path, [result_of, result_of])
    for job, energy in zip(campaign.plan.jobs, (-10.0, -11.0), strict=True):
        correct(campaign, job, energy)
    export = export_campaign(campaign, tmp_path / "t.parquet")
    # The second correction is one of another result.
    assert export.rows == 1
    assert export.left_out == (("m1", "has no level rpa_corrected"),)
    table = SpectraTable.open(tmp_path / "t.parquet")
    assert list(table.levels) == ["ipa", "rpa", "rpa_corrected"]
    assert table.scalar("corrected_gap_eV").tolist() == [3.5]
    assert table.scalar("core_seconds").tolist() == [15.0]


@pytest.fixture
def beside(monkeypatch):
    """Something that another process does between the first look and the rows."""

    def do(action):
        def written(path, schema, rows):
            action()
            return write_table(path, schema, rows)

        monkeypatch.setattr("opalign.firstprinciples.export.write_table", written)

    return do


def test_what_is_corrected_beside_an_export_waits_for_the_next(tmp_path, beside):
    campaign = finished(tmp_path, [result_of, result_of])
    beside(lambda: correct(campaign, campaign.plan.jobs[0]))
    export = export_campaign(campaign, tmp_path / "t.parquet")
    assert (export.rows, export.levels, export.left_out) == (2, ("ipa", "rpa"), ())
    assert "corrected_gap_eV" not in SpectraTable.open(tmp_path / "t.parquet").schema.scalars
    assert export_campaign(campaign, tmp_path / "t.parquet").levels == (
        *("ipa", "rpa", "rpa_corrected"),
    )


def test_what_is_finished_beside_an_export_waits_for_the_next(tmp_path, beside):
    campaign = finished(tmp_path, [result_of, None])
    last = campaign.plan.jobs[1]

    def finish():
        place = campaign.job_folder(last)
        result = replace(result_of(to_structure(last.structure, "test")), scalars={"new_eV": 1.0})
        result.save(place / "result")
        write_state(place, STATE)

    beside(finish)
    assert export_campaign(campaign, tmp_path / "t.parquet").rows == 1


def test_what_is_replaced_beside_an_export_is_left_out(tmp_path, beside):
    campaign = finished(tmp_path, [result_of, result_of, result_of])
    first, second, third = campaign.plan.jobs
    correct(campaign, first)
    correct(campaign, second)

    def replaced():
        correct(campaign, first, gap=3.6)
        (campaign.job_folder(third) / "result" / "arrays.npz").unlink()

    beside(replaced)
    export = export_campaign(campaign, tmp_path / "t.parquet", levels=["rpa"])
    assert SpectraTable.open(tmp_path / "t.parquet").ids == ["m1"]
    assert [name for name, reason in export.left_out if "export again" in reason] == ["m0", "m2"]


def test_another_grid_is_left_out(tmp_path):
    def coarse(structure):
        return result_of(structure, grid=EnergyGrid(0.0, 20.0, 201))

    export = export_campaign(
        finished(tmp_path, [result_of, coarse, result_of]), tmp_path / "t.parquet"
    )
    assert export.rows == 2
    assert export.left_out[0][0] == "m1"
    assert "another energy grid" in export.left_out[0][1]


@pytest.mark.parametrize("file", ["result.json", "arrays.npz"])
def test_a_damaged_result_is_left_out_and_waits_again(tmp_path, file):
    campaign = finished(tmp_path, [result_of, result_of])
    place = campaign.job_folder(campaign.plan.jobs[0])
    (place / "result" / file).write_bytes(b"damaged")
    export = export_campaign(campaign, tmp_path / "t.parquet")
    assert export.rows == 1
    assert export.left_out[0][0] == "m0"
    assert read_state(place).status == "waiting"


def test_nothing_finished_is_an_error_that_keeps_the_old_table(tmp_path):
    target = tmp_path / "t.parquet"
    target.write_bytes(b"earlier")
    with pytest.raises(ConfigurationError, match="no job of this campaign is finished"):
        export_campaign(finished(tmp_path, [None]), target)
    assert target.read_bytes() == b"earlier"
