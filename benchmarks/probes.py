"""What each layer of the shipped networks knows of sites that it was never trained on.

    python benchmarks/probes.py $OPALIGN_DATA WORK_FOLDER

Oxides and chalcogenides of ``mp_oxides_chalcogenides.parquet`` that are not among the training
materials, drawn at random with a fixed seed, in which elements occur in several coordinations and
oxidation states. Prints one table and writes ``docs/explain/probes.csv``. Work is kept in
WORK_FOLDER.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from opalign.dataset.formula import formula_of_species
from opalign.dataset.schema import TableSchema
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.explain.chemistry.describe import describe_materials
from opalign.explain.features import extract_features
from opalign.explain.site_probes import probe_layers
from opalign.files import write_text
from opalign.prediction import load_model

RESULT = Path(__file__).resolve().parents[1] / "docs" / "explain" / "probes.csv"
MODELS = ("alignn", "optimate")
MATERIALS, MOST_ATOMS, SEED = 600, 16, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    predictors = {name: load_model(name) for name in MODELS}
    trained = {formula for one in predictors.values() for formula in one.materials.formulas}
    table = SpectraTable.open(_table(arguments.data, arguments.work / "probed.parquet", trained))
    chemistry = describe_materials(table, cache=arguments.work / "cache")
    frames = []
    for name, predictor in predictors.items():
        path = arguments.work / f"{name}.parquet"
        extract_features(
            predictor, table, path, per_site=True, on_failure=lambda failure: print(failure)
        )
        frames.append(probe_layers(path, chemistry.sites).assign(model=name))
    found = pd.concat(frames)
    found = found[["model", *(column for column in found.columns if column != "model")]]
    write_text(RESULT, found.round(3).to_csv(index=False))
    shown = found.assign(layer=found["model"] + ": " + found["layer"])
    print(shown.pivot_table("score", "layer", "property", sort=False).round(2).to_string())
    print(shown.groupby("property", sort=False)[["control", "chance", "sites"]].first().round(2))


def _table(data: Path, path: Path, trained: set[str]) -> Path:
    rows = pq.read_table(data / "mp_oxides_chalcogenides.parquet").to_pylist()
    rows = [
        {**row, "formula": formula_of_species(row["species"])}
        for row in rows
        if len(row["species"]) <= MOST_ATOMS
    ]
    rows = [row for row in rows if row["formula"] not in trained]
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(rows))[:MATERIALS])
    names = ("material_id", "formula", "lattice", "species", "frac_coords")
    schema = TableSchema(licence="CC BY 4.0", source="Materials Project")
    return write_table(path, schema, [{key: rows[i][key] for key in names} for i in chosen])


if __name__ == "__main__":
    main()
