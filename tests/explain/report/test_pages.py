"""Pages and figures of a report: whole, self-contained, and as the numbers say."""

import base64
import json
import re

import numpy as np
import pandas as pd
import pytest

from opalign.dataset.table import SpectraTable
from opalign.explain.report.html import script_json, text
from opalign.explain.report.payload import MOST_POINTS, page_payload
from opalign.explain.report.tables import groups_table, validity_tables

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def payload(reported):
    explanation = reported.explanation
    table = SpectraTable.open(explanation.config.table).select(explanation.ids)
    return page_payload(explanation, table)


def test_every_file_is_there_and_the_page_names_none_outside(reported):
    assert all(path.stat().st_size > 0 for path in reported.written)
    page = (reported.folder / "report.html").read_text(encoding="utf-8")
    head = page[: page.index("<script")]
    assert re.findall(r"(?:src|href)=[\"'](?!#|data:)", head) == []
    assert "default-src 'none'" in head


def test_packed_curves_are_the_spectra_to_a_part_in_ten_thousand(reported, payload):
    for name, curve in reported.explanation.target.curves.items():
        packed = payload["curves"][name]
        integers = np.frombuffer(base64.b64decode(packed["data"]), dtype="<u2")
        values = packed["low"] + packed["scale"] * integers.reshape(len(curve.values), -1)
        assert values.shape[1] <= MOST_POINTS
        np.testing.assert_allclose(values, curve.values, atol=1e-4 * np.ptp(curve.values))


def test_the_payload_is_json_without_gaps(reported, payload):
    again = json.loads(script_json(payload))
    assert again["ids"] == list(reported.explanation.ids)
    assert again["groups"] == reported.explanation.groups.labels.tolist()
    assert len(again["structures"]) == len(again["ids"])


def test_a_script_cannot_be_ended_by_what_it_holds():
    assert "</script" not in script_json({"formula": "</script><b>"})
    assert text("<b>") == "&lt;b&gt;"


def test_the_table_of_groups_has_every_group_once(reported):
    found = re.findall(r'data-group="(\d+)"', groups_table(reported.explanation))
    assert found == [str(group) for group in range(reported.explanation.groups.number)]


def test_good_values_of_the_validity_table_are_darkest():
    frame = pd.DataFrame(
        {
            "representation": ["good", "bad"],
            "kind": ["layer", "control"],
            "groups": [3, 3],
            "distance_ratio_imaginary": [0.2, 0.9],
            "ami_anion": [0.8, 0.1],
            "ari_bootstrap": [0.7, np.nan],
        }
    )
    shown = validity_tables(frame)
    assert 'rgba(0,114,178,0.38)">0.20' in shown
    assert 'rgba(0,114,178,0.38)">0.80' in shown
    assert 'rgba(0,114,178,0.00)">0.90' in shown
    assert "–" in shown
