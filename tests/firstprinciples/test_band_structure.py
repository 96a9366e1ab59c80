import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.errors import ConfigurationError, StorageError
from opalign.firstprinciples import band_structure as module
from opalign.firstprinciples import gpaw_semilocal
from opalign.firstprinciples.band_structure import (
    BandStructure,
    band_structure,
    plot_band_structure,
)
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.hybrid import HybridSettings, hybrid_gap

# 300 eV do not suffice; with 340 the gaps agree to a twentieth of what is allowed below.
CHEAP = GpawSettings(cutoff=340.0, scf_density=0.9)


def magnesia():
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.212), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def example(**changes):
    """Two cosine bands on a path that jumps in its middle."""
    phases = np.array([0.0, 0.5, 1.0, 1.0, 1.5, 2.0]) * np.pi
    below = np.stack([np.cos(phases) - 1.0, 5.0 - np.cos(phases)], axis=1)
    fields = {
        "formula": "Mg2O3",
        "lattice": "face-centred cubic",
        "points": np.outer(phases, [0.1, 0.2, 0.3]),
        "distances": np.array([0.0, 0.5, 1.0, 1.0, 1.5, 2.0]),
        "corners": (("G", 0.0), ("U", 1.0), ("K", 1.0), ("G", 2.0)),
        "energies": {"semilocal": below, "hybrid": below + np.array([0.0, 2.0])},
        "gaps": {"semilocal": 4.0, "hybrid": 6.0},
        "occupied": 1,
        "functional": "PBE",
        "fraction": 0.3,
        "scheme": "rigid",
    }
    return BandStructure(**(fields | changes))


def test_bands_are_saved_as_json_and_read_again(tmp_path):
    bands = example()
    again = BandStructure.load(bands.save(tmp_path / "bands.json"))
    for name in ("formula", "lattice", "corners", "gaps", "occupied", "functional", "scheme"):
        assert getattr(again, name) == getattr(bands, name), name
    np.testing.assert_allclose(again.points, bands.points, atol=1e-8)
    np.testing.assert_allclose(again.distances, bands.distances)
    for level in ("semilocal", "hybrid"):
        np.testing.assert_allclose(again.energies[level], bands.energies[level], atol=1e-5)


def test_files_that_are_no_bands_are_refused(tmp_path):
    path = tmp_path / "bands.json"
    for text in ("", "[]", '{"formula": "MgO"}'):
        path.write_text(text)
        with pytest.raises(StorageError, match="no band structure"):
            BandStructure.load(path)
    with pytest.raises(StorageError, match="no band structure"):
        BandStructure.load(tmp_path / "absent.json")


def test_the_figure_shows_both_levels_and_no_line_across_a_jump(tmp_path):
    figure = plot_band_structure(example(), tmp_path / "bands.png")
    assert (tmp_path / "bands.png").stat().st_size > 5000
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["Γ", "U|K", "Γ"]
    lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
    # Two bands in two stretches, twice.
    assert len(lines) == 8
    assert all(np.all(np.diff(line.get_xdata()) > 0) for line in lines)
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert "PBE, gap 4.00 eV" in told[0]
    assert "30.0% exchange, rigid shift" in told[1]
    assert "gap 6.00 eV" in told[1]
    assert axes.get_title().startswith("Mg₂O₃")
    assert axes.get_ylim() == (-8.0, 14.0)
    assert plot_band_structure(example(), window=(-2, 3)).axes[0].get_ylim() == (-2, 3)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("groups_checked_once")
def test_bands_of_magnesia(tmp_path, monkeypatch):
    pytest.importorskip("gpaw")
    settings = HybridSettings(densities=(0.7, 0.9), tolerance=5.0)
    # The rigid bands take the ground state of the gap, the evaluated ones make it again.
    with monkeypatch.context() as patch:
        patch.setattr(gpaw_semilocal.SemilocalRun, "tidy", lambda run: None)
        gap = hybrid_gap(
            magnesia(), tmp_path, semilocal=CHEAP, settings=settings, edge_mesh=(2, 2, 2)
        )
    # Two parts of the path instead of three.
    monkeypatch.setattr(module, "CHUNK", 13)
    options = {"num_points": 24, "empty": 1, "semilocal": CHEAP}
    rigid = band_structure(magnesia(), tmp_path, gap, 0.3, scheme="rigid", **options)
    exact = band_structure(magnesia(), tmp_path, gap, 0.3, scheme="evaluated", **options)
    assert rigid.corners[0] == ("G", 0.0)
    assert rigid.points.shape == (len(rigid.distances), 3)
    assert rigid.distances[-1] == rigid.corners[-1][1]
    # Γ to X is 2π/a.
    assert rigid.corners[1] == ("X", pytest.approx(2 * np.pi / 4.212))
    for bands in (rigid, exact):
        assert bands.gaps["semilocal"] == pytest.approx(gap.semilocal_gap, abs=1e-3)
        # Both edges lie at Γ, where the path begins.
        assert bands.gaps["hybrid"] == pytest.approx(gap.gap(0.3), abs=5e-3)
        for level, energies in bands.energies.items():
            assert energies[0, bands.occupied - 1] == pytest.approx(0.0, abs=1e-3)
            assert energies[0, bands.occupied] == pytest.approx(bands.gaps[level], abs=1e-3)
    empty = rigid.energies["hybrid"] - rigid.energies["semilocal"]
    np.testing.assert_allclose(empty[:, : rigid.occupied], 0.0, atol=1e-9)
    np.testing.assert_allclose(empty[:, rigid.occupied :], gap.shift(0.3))
    # Exchange widens the valence band, which no rigid shift does.
    widths = [b.energies["hybrid"][:, b.occupied - 3].min() for b in (rigid, exact)]
    assert widths[1] < widths[0] - 0.02

    def never(*arguments):
        raise AssertionError("computed again")

    monkeypatch.setattr(gpaw_semilocal, "ground_state", never)
    again = band_structure(magnesia(), tmp_path, gap, 0.3, scheme="evaluated", **options)
    np.testing.assert_array_equal(again.energies["hybrid"], exact.energies["hybrid"])

    other = GpawSettings(functional="PBEsol")
    with pytest.raises(ConfigurationError, match="orbitals"):
        band_structure(magnesia(), tmp_path, gap, 0.3, semilocal=other)
    with pytest.raises(ConfigurationError, match="too few for the 12 corners"):
        band_structure(magnesia(), tmp_path, gap, 0.3, num_points=20)


def test_json_says_what_the_bands_are_of(tmp_path):
    content = json.loads(example().save(tmp_path / "bands.json").read_text(encoding="utf-8"))
    assert content["exchange_fraction"] == 0.3
    assert content["hybrid_scheme"] == "rigid"
    assert content["gaps_eV"] == {"semilocal": 4.0, "hybrid": 6.0}
