from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.firstprinciples import correction
from opalign.firstprinciples.campaign_run import run_campaign
from opalign.firstprinciples.correction import (
    correct_folder,
    correct_result,
    corrected_result,
    exchange_fraction,
    load_corrected,
)
from opalign.firstprinciples.engine import ARRAYS_FILE, EngineFailure, EngineResult
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.hybrid import HybridGap, HybridSettings
from opalign.spectrum import EnergyGrid
from opalign.spectrum.oscillators import TaucLorentzOscillator
from opalign.spectrum.sum_rules import f_sum

from .conftest import planned

GRID = EnergyGrid(0.0, 20.0, 801)
GAP, DIRECT = 4.2, 4.5


def result(**changes):
    """A uniaxial crystal with a direct gap of 4.5 eV, stronger along z; RPA below IPA."""
    along = TaucLorentzOscillator(90.0, 8.0, 2.5, DIRECT).epsilon(GRID.values)
    across = 1.0 + 0.8 * (along - 1.0)
    tensor = np.zeros((GRID.num, 3, 3), dtype=complex)
    tensor[:, 0, 0] = tensor[:, 1, 1] = across
    tensor[:, 2, 2] = along
    fields = {
        "structure": Structure(Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "grid": GRID,
        "epsilon": {"ipa": tensor, "rpa": np.eye(3) + 0.9 * (tensor - np.eye(3))},
        "band_gap": GAP,
        "direct_gap": DIRECT,
        "total_energy": -11.5,
        "pdos_energies": np.linspace(-1, 1, 4),
        "pdos": {},
        "scalars": {"kept": 1.0},
        "seconds": {"bands": 12.0},
        "provenance": {
            "engine": "gpaw",
            "settings": GpawSettings(functional="PBEsol", cutoff=350.0).model_dump(mode="json"),
            "numerics": {"cutoff": 450.0},
            "mesh": [6, 6, 4],
        },
    }
    return EngineResult(**(fields | changes))


def gap(**changes):
    fields = {
        "semilocal_gap": GAP,
        "exchange_shift": 6.0,
        "hubbard_shift": 0.0,
        "valence_point": (0.0, 0.0, 0.0),
        "conduction_point": (0.5, 0.0, 0.0),
        "functional": "PBE",
        "edge_mesh": (4, 4, 4),
        "history": ({"mesh": [3, 3, 3], "exchange_shift": 6.0, "hubbard_shift": 0.0},),
        "converged": True,
        "change": 0.04,
        "seconds": {"ground": 2.0},
    }
    return HybridGap(**(fields | changes))


def test_the_share_of_exchange_is_one_over_the_mean_of_the_screening():
    tensor = np.zeros((GRID.num, 3, 3), dtype=complex)
    tensor[:] = np.diag([3.0, 4.0, 8.0])
    tensor[0] += 5j
    assert exchange_fraction(result(epsilon={"rpa": tensor})) == pytest.approx(1.0 / 5.0)
    assert exchange_fraction(result(epsilon={"ipa": tensor}), "ipa") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epsilon": {"ipa": np.broadcast_to(np.eye(3), (801, 3, 3))}}, "level rpa"),
        ({"epsilon": {"rpa": np.broadcast_to(np.eye(3), (801, 3, 3))}}, "screens nothing"),
        ({"grid": EnergyGrid(1.0, 21.0, 801)}, "not 0"),
    ],
)
def test_without_screening_there_is_no_share(changes, words):
    with pytest.raises(EngineFailure, match=words):
        exchange_fraction(result(**changes))


def test_spectra_move_with_the_gap():
    before = result()
    after = corrected_result(before, gap())
    shift = 6.0 * exchange_fraction(before)
    assert list(after.epsilon) == ["ipa", "rpa", "ipa_corrected", "rpa_corrected"]
    for level in ("ipa", "rpa"):
        np.testing.assert_array_equal(after.epsilon[level], before.epsilon[level])
        old = before.spectrum(level).isotropic()
        new = after.spectrum(f"{level}_corrected").isotropic()
        imaginary = after.epsilon[f"{level}_corrected"].imag
        assert not imaginary[GRID.values < DIRECT + shift - GRID.step].any()
        # The grid decides about the place of an edge within one step.
        assert new.onset_energy() - old.onset_energy() == pytest.approx(shift, abs=GRID.step)
        assert 1.0 < new.static_dielectric < old.static_dielectric
        ratio = imaginary[:, 2, 2].max() / imaginary[:, 0, 0].max()
        assert ratio == pytest.approx(1.0 / 0.8, rel=1e-6), "anisotropy stays"
    # Oscillator strength is only moved: what leaves the window is little.
    old, new = (
        f_sum(epsilon[:, 2, 2].imag, GRID)
        for epsilon in (before.epsilon["ipa"], after.epsilon["ipa_corrected"])
    )
    assert 0.93 * old < new <= old * (1 + 1e-9)


def test_the_numbers_of_the_hybrid_go_with_the_result(tmp_path):
    before = result()
    after = corrected_result(before, gap())
    fraction = exchange_fraction(before)
    assert after.scalars == pytest.approx(
        {
            "kept": 1.0,
            "exchange_fraction": fraction,
            "hybrid_shift_eV": 6.0 * fraction,
            "corrected_gap_eV": GAP + 6.0 * fraction,
            "corrected_direct_gap_eV": DIRECT + 6.0 * fraction,
            "pbe0_shift_eV": 1.5,
            "hybrid_change_eV": 0.04,
        }
    )
    assert (after.band_gap, after.direct_gap) == (GAP, DIRECT)
    assert after.seconds == {"bands": 12.0, "hybrid-ground": 2.0}
    after.save(tmp_path)
    told = EngineResult.load(tmp_path).provenance["hybrid"]
    assert (told["functional"], told["screening"]) == ("PBE", "rpa")
    assert told["history"][0]["mesh"] == [3, 3, 3]
    assert "hybrid" not in before.provenance


@pytest.mark.parametrize(
    ("hybrid", "reason", "words"),
    [
        (gap(semilocal_gap=GAP + 0.2), "bad output", "that of the hybrid's orbitals 4.400"),
        (gap(exchange_shift=-1.0), "unsupported", "narrows"),
        (gap(converged=False, change=0.3), "not converged", "moved the gap by 0.300 eV"),
    ],
)
def test_what_does_not_fit_is_refused(hybrid, reason, words):
    with pytest.raises(EngineFailure, match=words) as failure:
        corrected_result(result(), hybrid)
    assert failure.value.reason == reason


def test_one_level_alone_can_be_corrected():
    after = corrected_result(result(), gap(), levels=["rpa"])
    assert set(after.epsilon) == {"ipa", "rpa", "rpa_corrected"}
    with pytest.raises(EngineFailure, match="level gw"):
        corrected_result(result(), gap(), levels=["gw"])


@pytest.fixture
def calls(monkeypatch):
    """Hybrid gaps out of nothing, and what they were asked for."""
    asked = []

    def compute(structure, folder, **options):
        asked.append({"structure": structure, "folder": folder, **options})
        return gap()

    monkeypatch.setattr(correction, "hybrid_gap", compute)
    return asked


def test_the_hybrid_has_the_settings_of_the_result(calls, tmp_path):
    before = result()
    correct_result(before, tmp_path)
    (asked,) = calls
    assert asked["structure"] == before.structure
    assert asked["semilocal"].functional == "PBEsol"
    assert asked["semilocal"].cutoff == 450.0, "as it was converged"
    assert asked["edge_mesh"] == (6, 6, 4)
    assert asked["fraction"] == exchange_fraction(before)


@pytest.mark.parametrize(
    "provenance",
    [{"engine": "vasp"}, {}, {"engine": "gpaw"}, {"engine": "gpaw", "settings": {"cutoff": -1}}],
)
def test_results_of_unknown_making_are_refused(calls, tmp_path, provenance):
    with pytest.raises(EngineFailure):
        correct_result(result(provenance=provenance), tmp_path)
    assert calls == []


def test_a_folder_is_corrected_once(calls, tmp_path):
    result().save(tmp_path / "result")
    first = correct_folder(tmp_path)
    again = correct_folder(tmp_path)
    assert len(calls) == 1
    np.testing.assert_array_equal(again.epsilon["rpa_corrected"], first.epsilon["rpa_corrected"])
    assert EngineResult.load(tmp_path / "result").scalars == {"kept": 1.0}, "left as it was"

    correct_folder(tmp_path, HybridSettings(tolerance=0.02))
    assert len(calls) == 2
    result(total_energy=-12.0).save(tmp_path / "result")
    assert correct_folder(tmp_path, HybridSettings(tolerance=0.02)).total_energy == -12.0
    assert len(calls) == 3


def test_a_damaged_correction_is_made_anew(calls, tmp_path):
    result().save(tmp_path / "result")
    assert load_corrected(tmp_path) is None
    correct_folder(tmp_path)
    (tmp_path / "corrected" / ARRAYS_FILE).write_bytes(b"half")
    assert load_corrected(tmp_path) is None
    correct_folder(tmp_path)
    assert len(calls) == 2
    assert load_corrected(tmp_path) is not None


def test_a_folder_without_a_result_is_refused(tmp_path):
    with pytest.raises(EngineFailure, match="cannot be read"):
        correct_folder(tmp_path)


@pytest.mark.usefixtures("fake_engine")
def test_an_engine_of_ones_own_corrects_in_its_own_way(calls, tmp_path):
    campaign = planned(tmp_path, count=1)
    run_campaign(campaign)
    corrected = correct_folder(campaign.job_folder(campaign.plan.jobs[0]))
    assert corrected.scalars["hybrid_shift_eV"] > 0.0
    assert calls == [], "not GPAW's"


def test_a_result_can_be_corrected_only_with_a_gap_that_is_its_own():
    # A metal's hybrid gap of another functional, say.
    other = replace(gap(), semilocal_gap=GAP - 0.5)
    with pytest.raises(EngineFailure, match="same structure"):
        corrected_result(result(), other)
