"""One material explained: its sites named, sums that add up, and refusals that say why."""

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.errors import ConfigurationError, StructureError
from opalign.explain.chemistry.structure import describe_structure
from opalign.explain.features import LayerFeatures
from opalign.explain.groups import Groups
from opalign.explain.material import explain_material, surroundings
from opalign.explain.placement import Explained
from opalign.explain.report import write_material_report
from opalign.prediction import load_model


@pytest.fixture(scope="module")
def zinc_blende():
    return Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25] * 3]
    )


@pytest.fixture(scope="module")
def explained(zinc_blende):
    return explain_material(zinc_blende, load_model("alignn", device="cpu"))


def test_equivalent_sites_share_a_name(zinc_blende):
    names = surroundings(zinc_blende, describe_structure(zinc_blende))
    assert names == ("Zn tetrahedral CN_4",) * 4 + ("S",) * 4


def test_sites_add_up_to_the_prediction(explained):
    np.testing.assert_allclose(
        explained.sites.total, explained.spectrum.epsilon_imaginary, atol=1e-6
    )


def test_the_report_is_whole_and_its_numbers_are_json(explained, tmp_path):
    written = write_material_report(explained, tmp_path)
    assert {path.suffix for path in written} == {".html", ".json", ".png", ".svg"}
    found = json.loads((tmp_path / "material.json").read_text(encoding="utf-8"))
    assert found["formula"] == "ZnS"
    assert len(found["sites"]["per_site"]) == 8
    assert found["placement"] is None


def test_a_level_that_is_not_predicted_and_a_file_that_is_none(tmp_path, zinc_blende):
    with pytest.raises(ConfigurationError, match="gw"):
        explain_material(zinc_blende, "alignn", level="gw")
    with pytest.raises(StructureError):
        explain_material(tmp_path / "absent.cif", "alignn")


def test_a_material_joins_the_nearest_group_and_what_is_new_about_it_is_told(zinc_blende):
    import pandas as pd

    matrix = np.array([[0.0, 0.0], [0.2, 0.0], [5.0, 5.0], [5.2, 5.0]])
    features = LayerFeatures(tuple("abcd"), ("MgO", "CaO", "CdS", "HgS"), "l", "m", matrix)
    sites = pd.DataFrame(
        {"element": ["Zn", "Cd"], "coordination_number": [6, 4], "oxidation_state": [2.0, 2.0]}
    )
    labels = Groups(features.ids, np.array([0, 0, 1, 1]), "ward").labels
    home = Explained(features, labels, {1: ("A sentence.",)}, sites, table=None)
    chemistry = describe_structure(zinc_blende)
    near = home.place(np.array([5.1, 5.1]), "ZnS", chemistry)
    assert (near.group, near.second, near.sentences) == (1, 0, ("A sentence.",))
    assert near.doubts == ("no explained material has Zn with 4 neighbours",)
    far = home.place(np.array([50.0, 50.0]), "ZnS", chemistry)
    assert far.group == 1
    assert "farther from every explained material" in far.doubts[0]
