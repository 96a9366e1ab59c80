"""Probes of every layer, matched to the sites that have a chemistry."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from opalign.explain.features import _METADATA, _list_column, sites_path
from opalign.explain.site_probes import probe_layers


def test_the_layer_that_knows_is_found_and_anions_are_not_asked(tmp_path):
    generator = np.random.default_rng(0)
    number = 80
    ids = [f"m{row // 2}" for row in range(2 * number)]
    site = [row % 2 for row in range(2 * number)]
    # Site 0 is the cation; its coordination shows in one layer, and the other is noise.
    coordination = generator.choice([4, 6], size=number)
    knows = generator.normal(size=(2 * number, 4))
    knows[::2, 0] = coordination
    columns = {
        "material_id": pa.array(ids),
        "site": pa.array(site),
        "atomic_number": pa.array([22, 8] * number),
        "first": _list_column(knows),
        "second": _list_column(generator.normal(size=(2 * number, 4))),
    }
    path = tmp_path / "f.parquet"
    metadata = {
        _METADATA: json.dumps({"model": "m", "layers": ["first", "second", "readout"]}).encode()
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, sites_path(path))
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata(metadata), path)
    sites = pd.DataFrame(
        {
            "material_id": [f"m{row}" for row in range(number)] + ["not in the features"],
            "formula": [f"F{row}" for row in range(number + 1)],
            "site": 0,
            "oxidation_state": 4.0,
            "coordination_number": [*coordination, 4],
            "motif": None,
            "anion": "O",
            "mean_bond": generator.normal(size=number + 1),
            "angle_spread": np.nan,
        }
    )
    found = probe_layers(path, sites)
    assert set(found["layer"]) == {"first", "second"}
    # One anion, one oxidation state, no motif: nothing to ask.
    assert set(found["property"]) == {"coordination number", "mean bond length"}
    coordination_rows = found[found["property"] == "coordination number"].set_index("layer")
    assert coordination_rows.loc["first", "score"] == 1.0
    assert coordination_rows.loc["second", "score"] < 0.7
    assert coordination_rows.loc["first", "sites"] == number
