import json

import numpy as np
import pytest

from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError
from opalign.firstprinciples.campaign_cost import fit_cost
from opalign.firstprinciples.card import write_card
from opalign.firstprinciples.export import export_campaign
from opalign.firstprinciples.job_state import Attempt, JobState, write_state

from .engines.fake_engine import result_of
from .test_export import finished

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.fixture
def campaign(tmp_path):
    """Cells of one, two and three units, at 2 s per atom and power of two; one failure."""

    def of(units):
        return lambda structure: result_of(structure.make_supercell([units, 1, 1]), electrons=8.0)

    campaign = finished(tmp_path, [of(1), of(2), of(3), result_of, None])
    for job, units in zip(campaign.plan.jobs, (1, 2, 3, 1), strict=False):
        attempt = Attempt("", 1.0, "done", cpu_seconds=2.0 * (2 * units) ** 2)
        write_state(campaign.job_folder(job), JobState("done", attempts=(attempt,)))
    failed = Attempt("", 1.0, "failed", "metal", "no gap", cpu_seconds=36.0)
    write_state(
        campaign.job_folder(campaign.plan.jobs[4]), JobState("failed", "metal", "no gap", (failed,))
    )
    return campaign


def test_a_card_says_what_is_in_the_set(campaign, tmp_path):
    export_campaign(campaign, tmp_path / "t.parquet", citation="ours")
    table = SpectraTable.open(tmp_path / "t.parquet")
    path = write_card(table, tmp_path / "card", campaigns=[campaign], title="A set")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# A set\n")
    assert "4 materials (1 reduced formulas), 8 spectra, 0.0 core hours" in text
    assert "Mg 4, O 4" in text
    assert "| space group 221 | 4 |" in text
    assert "| Band gap / eV | – | 4 | 3.50 | 3.50 | 3.50 | 3.50 | 3.50 |" in text
    assert "| Onset / eV | rpa | 4 |" in text
    assert "| Static ε | ipa | 4 |" in text
    # Three units in a cell of eight electrons: their f-sum falls short of nothing.
    assert "pass all checks" in text
    assert "| 4 | 1 | 32 | 32 |" in text
    assert "2 s × atoms^2.00" in text
    assert "4 of 5 jobs that ended gave a spectrum" in text
    # 2·8² s each, a thousand of them.
    assert "| 8 (extrapolated) | 128 | 36 |" in text
    assert "| metal | 1 | m4 |" in text
    assert "electron–hole interaction" in text
    for name in ("distributions.png", "cost.png"):
        assert (path.parent / name).stat().st_size > 5000
        assert f"({name})" in text


def test_a_card_of_several_campaigns_tells_of_all(campaign, tmp_path):
    export_campaign(campaign, tmp_path / "t.parquet")
    (tmp_path / "other").mkdir()
    other = finished(tmp_path / "other", [result_of, None])
    write_state(other.job_folder(other.plan.jobs[1]), JobState("failed", "metal", "no gap", ()))
    table = SpectraTable.open(tmp_path / "t.parquet")
    text = write_card(table, tmp_path / "card", campaigns=[campaign, other]).read_text("utf-8")
    assert "5 of 7 jobs that ended gave a spectrum" in text
    failures = json.loads((tmp_path / "card" / "failures.json").read_text("utf-8"))["failures"]
    assert len(failures) == 2


def test_a_card_of_cells_of_one_size_has_no_estimate(tmp_path):
    campaign = finished(tmp_path, [result_of, result_of, result_of])
    export_campaign(campaign, tmp_path / "t.parquet")
    card = write_card(SpectraTable.open(tmp_path / "t.parquet"), tmp_path / "card")
    text = card.read_text(encoding="utf-8")
    assert "No estimate for larger campaigns" in text
    assert "cost.png" not in text
    assert "Without a spectrum" not in text


def test_a_power_law_is_found():
    atoms = np.array([2, 3, 4, 6, 8, 12])
    fit = fit_cost(atoms.tolist(), (1.5 * atoms**2.5).tolist())
    assert fit.prefactor == pytest.approx(1.5)
    assert fit.exponent == pytest.approx(2.5)
    assert fit.mean_ratio == pytest.approx(1.0)
    assert fit.scatter == pytest.approx(1.0)
    assert fit.determination == pytest.approx(1.0)
    assert (fit.materials, fit.smallest, fit.largest) == (6, 2, 12)
    assert fit.mean_seconds(10) == pytest.approx(1.5 * 10**2.5)


def test_scattered_costs_average_to_their_mean():
    rng = np.random.default_rng(0)
    atoms = rng.choice([2, 4, 8], 4000)
    seconds = 3.0 * atoms**2.0 * np.exp(0.6 * rng.normal(size=4000))
    fit = fit_cost(atoms.tolist(), seconds.tolist())
    # The mean of a log-normal lies exp(σ²/2) above its median.
    assert fit.mean_ratio == pytest.approx(np.exp(0.18), rel=0.05)
    assert fit.scatter == pytest.approx(np.exp(0.6), rel=0.05)
    assert fit.mean_seconds(4) == pytest.approx(seconds[atoms == 4].mean(), rel=0.05)


def test_what_has_no_cost_is_passed_over():
    fit = fit_cost([2, 4, 8, 16, 3], [4.0, 16.0, 64.0, np.nan, 0.0])
    assert fit.materials == 3
    assert fit.exponent == pytest.approx(2.0)


@pytest.mark.parametrize(("atoms", "seconds"), [([2, 4], [1, 2]), ([2, 3, 2], [1, 2, 3]), ([], [])])
def test_too_little_for_a_fit(atoms, seconds):
    with pytest.raises(ConfigurationError, match="cannot be fitted"):
        fit_cost(atoms, seconds)


def test_structures_from_elsewhere_are_of_the_type_they_are_named_after(
    campaign, tmp_path, monkeypatch
):
    export_campaign(campaign, tmp_path / "t.parquet")
    table = SpectraTable.open(tmp_path / "t.parquet")
    names = ["cscl-MgO", "rocksalt-MgO", "MgO", "cscl-other"]
    monkeypatch.setattr(SpectraTable, "ids", names)
    text = write_card(table, tmp_path / "card").read_text(encoding="utf-8")
    assert "| Caesium chloride, CsCl | 2 |" in text
    assert "| space group 221 | 2 |" in text
