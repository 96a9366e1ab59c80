import csv

import numpy as np
import pytest

from opalign.dataset.schema import LevelInfo, TableSchema
from opalign.dataset.table import SpectraTable, write_table
from opalign.errors import ConfigurationError, DatasetError
from opalign.prediction import write_predictions
from opalign.prediction.beside import ComputedMaterials
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

from .conftest import rock_salt

GRID = EnergyGrid(0.0, 20.0, 201)


@pytest.fixture
def write(tmp_path):
    """Write a table of computed spectra of these structures, ids first."""

    def call(structures, level="rpa", broadening=None):
        schema = TableSchema(
            grid=GRID,
            levels={level: LevelInfo(components=("mean",), broadening=broadening or Broadening())},
        )
        rows = [
            {
                "material_id": name,
                "structure": structure,
                f"{level}_im_mean": np.where(GRID.values > 5.0 + place, 1.0, 0.0),
            }
            for place, (name, structure) in enumerate(structures.items())
        ]
        return write_table(tmp_path / "computed.parquet", schema, rows)

    return call


COMPUTED = {
    "a": rock_salt("Ca", "S", 5.7),
    "b": rock_salt("Mg", "O", 4.2),
    "c": rock_salt("Mg", "S", 5.2),
}


def test_the_nearest_is_named_with_its_spectrum_as_broad_as_the_prediction(predictor, write):
    computed = ComputedMaterials.open(predictor, write(COMPUTED))
    (prediction,) = predictor.predict(rock_salt("Mg", "O", 4.2))
    found = computed.nearest(prediction)
    assert (found.neighbor.id, found.neighbor.formula) == ("b", "MgO")
    assert found.neighbor.distance == pytest.approx(0.0, abs=1e-6)
    assert found.spectrum.level == prediction.level
    assert found.spectrum.broadening == prediction.spectrum.broadening
    # The step at 6 eV of row b, broadened: half of it there.
    middle = np.interp(6.05, GRID.values, found.spectrum.epsilon_imaginary)
    assert middle == pytest.approx(0.5, abs=0.02)


def test_a_level_that_was_not_computed_is_not_drawn(predictor, write):
    computed = ComputedMaterials.open(predictor, write(COMPUTED, level="bse"))
    (prediction,) = predictor.predict(rock_salt("Mg", "O", 4.2))
    assert computed.nearest(prediction).spectrum is None


def test_a_spectrum_that_is_too_broad_is_not_drawn(predictor, write):
    path = write(COMPUTED, broadening=Broadening("gaussian", 0.5))
    (prediction,) = predictor.predict(rock_salt("Mg", "O", 4.2))
    assert ComputedMaterials.open(predictor, path).nearest(prediction).spectrum is None


def test_what_the_model_cannot_describe_is_left_out(predictor, write):
    computed = ComputedMaterials.open(
        predictor, write({"strange": rock_salt("Lr", "O", 4.0), **COMPUTED})
    )
    assert computed.materials.ids == ["a", "b", "c"]
    (prediction,) = predictor.predict(rock_salt("Mg", "S", 5.2))
    assert computed.nearest(prediction).neighbor.id == "c"


def test_a_table_of_nothing_that_can_be_described(predictor, write):
    table = SpectraTable.open(write({"strange": rock_salt("Lr", "O", 4.0)}))
    with pytest.raises(ConfigurationError, match="none of these materials"):
        ComputedMaterials(predictor, table)


def test_no_table(predictor, tmp_path):
    with pytest.raises(DatasetError, match="cannot be opened"):
        ComputedMaterials.open(predictor, tmp_path / "nowhere.parquet")


def test_the_summary_names_it(predictor, write, crystals, tmp_path):
    computed = ComputedMaterials.open(predictor, write(COMPUTED))
    write_predictions(predictor, crystals[:2], tmp_path / "out", beside=computed)
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["nearest_computed_material"] for row in rows] == ["b (MgO)", "a (CaS)"]
    assert all(float(row["distance_to_computed"]) >= 0.0 for row in rows)
    assert (tmp_path / "out" / "plots" / "MgO.png").is_file()
