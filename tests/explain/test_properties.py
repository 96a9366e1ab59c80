"""Properties that groups are compared in: what is given to the network is marked as such."""

import numpy as np
import pandas as pd

from opalign.explain.properties import chemical_properties, spectral_properties
from opalign.explain.targets import Target


def materials() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "formula": ["MgO", "ZnS", "Au2S"],
            "elements": [("Mg", "O"), ("S", "Zn"), ("Au", "S")],
            "anion": ["O", "S", "S"],
            "cation_families": [("alkaline earth",), ("group-12 metal",), ("coinage metal",)],
            "cation_states": [("Mg2+",), ("Zn2+",), None],
            "coordination": [(6,), (4,), (2,)],
            "crystal_system": ["cubic"] * 3,
            "space_group": ["Fm-3m", "F-43m", "Pn-3m"],
            "prototype": ["a", "b", "c"],
            "motif: tetrahedral CN_4": [0.0, 1.0, 0.1],
            "motif: linear CN_2": [0.0, 0.1, 0.4],
            "highest_oxidation_state": [2.0, 2.0, np.nan],
            "shortest_bond": [2.1, 2.3, 2.2],
            "mean_bond": [2.1, 2.3, 2.2],
            "mean_angle": [90.0, 109.5, 180.0],
            "volume_per_atom": [9.0, 20.0, 22.0],
        }
    )


def test_elements_and_bonds_are_given_and_coordination_is_not():
    found = {(item.family, item.name): item for item in chemical_properties(materials())}
    assert found["element", "Zn"].given
    assert found["bond", "mean_bond"].given
    assert not found["coordination number", "4-coordinate"].given
    assert not found["coordination motif", "tetrahedral CN_4"].given


def test_what_is_not_known_is_missing_and_not_absent():
    found = {item.name: item for item in chemical_properties(materials())}
    np.testing.assert_array_equal(found["Zn2+"].values, [0.0, 1.0, np.nan])
    np.testing.assert_array_equal(found["S"].values, [0.0, 1.0, 1.0])


def test_a_motif_that_nobody_has_is_no_property():
    names = {item.name for item in chemical_properties(materials())}
    assert "tetrahedral CN_4" in names
    assert "linear CN_2" not in names


def test_numbers_of_spectra_are_spectral_and_states_at_the_edges_are_not():
    target = Target("rpa", ("a", "b"), {}, {"onset_eV": np.array([1.0, 2.0])})
    shares = {"valence_edge_anion_p": np.array([0.2, 0.8]), "flat": np.array([0.5, 0.5])}
    onset, share = spectral_properties(target, shares)
    assert onset.spectral
    assert (share.name, share.spectral, share.given) == ("valence_edge_anion_p", False, False)
