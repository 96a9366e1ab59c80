"""Targets: absorption with its onset, any list without one, and orbitals at the band edges."""

import numpy as np
import pytest

from opalign.dataset import SpectraTable
from opalign.dataset.schema import LevelInfo, ListInfo, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.errors import DatasetError
from opalign.explain.targets import (
    absorption_target,
    band_edge_shares,
    list_target,
    pdos_target,
)
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(0.0, 20.0, 401)
ENERGIES = np.linspace(-10, 10, 401)


def make(path, broadening=None, channels=("O-p", "Ti-d"), gap=2.0) -> SpectraTable:
    schema = TableSchema(
        grid=GRID,
        levels={"ipa": LevelInfo(broadening=broadening or Broadening(), components=("mean",))},
        scalars={"band_gap_eV": ScalarInfo(unit="eV", description="")},
        lists={
            "pdos_channels": ListInfo(kind="string"),
            "pdos_per_eV": ListInfo(),
            "xanes": ListInfo(),
        },
        licence="MIT",
        source="test",
        citation="",
    )
    rows = []
    for number, onset in enumerate((2.0, 4.0)):
        valence = np.where((ENERGIES > -3) & (ENERGIES <= 0), 3.0, 0.0)
        conduction = np.where((gap <= ENERGIES) & (gap + 3 > ENERGIES), 2.0, 0.0)
        rows.append(
            {
                "material_id": f"m{number}",
                "formula": "TiO2",
                "lattice": [4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0],
                "species": ["Ti", "O", "O"],
                "frac_coords": [0, 0, 0, 0.5, 0.5, 0, 0.5, 0, 0.5],
                "ipa_im_mean": np.where(GRID.values > onset, 5.0, 0.0),
                "band_gap_eV": gap,
                "pdos_channels": list(channels),
                "pdos_per_eV": np.concatenate([valence, conduction]),
                "xanes": [1.0, 2.0, 3.0 + number],
            }
        )
    return SpectraTable.open(write_table(path, schema, rows))


def test_absorption_has_an_onset_and_an_edge(tmp_path):
    target = absorption_target(make(tmp_path / "t.parquet"), "ipa")
    assert list(target.curves) == ["log_absorption", "imaginary"]
    assert target.curves["imaginary"].values.shape == (2, 401)
    # A Gaussian of 0.1 eV reaches the threshold two to three σ below the step.
    np.testing.assert_allclose(target.numbers["onset_eV"], [1.75, 3.75], atol=0.1)
    assert (target.numbers["edge_integral_eV_per_cm"] > 1e4).all()
    # Re ε is derived, of a spectrum that is cut off: no static value to compare.
    assert "static_dielectric" not in target.numbers


def test_broad_spectra_have_no_onset(tmp_path):
    table = make(tmp_path / "t.parquet", Broadening("gaussian", 0.3))
    assert absorption_target(table, "ipa").numbers == {}


def test_any_list_can_be_explained(tmp_path):
    table = make(tmp_path / "t.parquet")
    target = list_target(table, "xanes", 5.0, 7.0, label="µ", x_label="eV")
    assert target.curves["values"].x.tolist() == [5.0, 6.0, 7.0]
    assert target.curves["values"].values.tolist() == [[1, 2, 3], [1, 2, 4]]
    assert target.numbers == {}


def test_lists_of_different_length_are_refused(tmp_path):
    table = make(tmp_path / "t.parquet")
    rows = list(table.rows())
    rows[1]["xanes"] = [1.0]
    other = SpectraTable.open(write_table(tmp_path / "u.parquet", table.schema, rows))
    with pytest.raises(DatasetError, match="xanes of m1"):
        list_target(other, "xanes", 0, 1, label="", x_label="")


def test_the_sum_of_projections_is_one_per_atom(tmp_path):
    curve = pdos_target(make(tmp_path / "t.parquet")).curves["values"]
    assert curve.values[0][np.argmin(np.abs(curve.x + 1.0))] == pytest.approx(1.0)
    assert curve.values[0][np.argmin(np.abs(curve.x - 3.0))] == pytest.approx(2 / 3)


def test_orbitals_at_the_band_edges(tmp_path):
    shares = band_edge_shares(make(tmp_path / "t.parquet"), {"m0": "O", "m1": None})
    assert shares["valence_edge_anion_p"][0] == 1.0
    assert shares["conduction_edge_cation_d"][0] == 1.0
    assert shares["conduction_edge_anion_p"][0] == 0.0
    assert np.isnan(shares["valence_edge_anion_p"][1])
    assert sum(values[0] for values in shares.values()) == pytest.approx(2.0)


def test_a_table_without_densities_of_states_has_no_shares(tmp_path):
    table = make(tmp_path / "t.parquet")
    assert band_edge_shares(table, {}, gap_column="other") == {}
