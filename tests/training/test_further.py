import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.errors import DatasetError
from opalign.model.checkpoint import load_checkpoint
from opalign.training.config_file import parse_config
from opalign.training.run import train

from .conftest import lorentz, tiny_settings


@pytest.fixture(scope="module")
def further(spectra_path, tmp_path_factory):
    """One crystal for every formula of the table, and one of a formula of its own."""
    source = SpectraTable.open(spectra_path)
    rows = []
    for number, formula in enumerate([*dict.fromkeys(source.formulas), "SrS"]):
        metal, anion = formula[:2], formula[2:]
        structure = Structure(
            Lattice.cubic(3.0 + 0.1 * number), [metal, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
        )
        spectrum = lorentz(7.0, 2.0)
        rows.append(
            {"material_id": f"more-{formula}", "structure": structure, "direct_gap_eV": 3.0}
            | {f"{level}_{part}_mean": values for level in ("rpa", "ipa")
               for part, values in (("re", spectrum.real), ("im", spectrum.imag))}
        )  # fmt: skip
    return write_table(tmp_path_factory.mktemp("further") / "more.parquet", source.schema, rows)


def test_further_spectra_train_but_for_held_out_formulas(spectra_path, further, tmp_path, silent):
    settings = tiny_settings(spectra_path, data__training_tables=str(further), epochs=4)
    result = train(parse_config(settings), tmp_path / "run", console=silent)
    checkpoint = load_checkpoint(result.checkpoint)
    held_out = {
        formula
        for part in ("validation", "test")
        for formula in SpectraTable.open(result.predictions(part)).formulas
    }
    assert held_out
    learned = dict(zip(checkpoint.reference.ids, checkpoint.reference.formulas, strict=True))
    more = {f for m, f in learned.items() if m.startswith("more-")}
    every = {SpectraTable.open(further).formulas[i] for i in range(len(SpectraTable.open(further)))}
    assert more == every - held_out
    assert "SrS" in more
    assert not held_out & set(learned.values())
    # None of them is in the split: it divides the main table.
    assert not any(m.startswith("more-") for ids in checkpoint.splits.values()
                   if isinstance(ids, list) for m in ids)  # fmt: skip
    assert "only learned from" in checkpoint.card
    assert "more.parquet" in [table["name"] for table in checkpoint.training["tables"]]


def test_they_change_what_is_learned(spectra_path, further, tmp_path, silent):
    weights = []
    for name, tables in (("without", []), ("with", [str(further)])):
        settings = tiny_settings(spectra_path, data__training_tables=tables, epochs=4)
        result = train(parse_config(settings), tmp_path / name, console=silent)
        weights.append(load_checkpoint(result.checkpoint).model.state_dict())
    assert any(not np.array_equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_an_id_that_stands_in_both_is_refused(spectra_path, tmp_path, silent):
    settings = tiny_settings(spectra_path, data__training_tables=str(spectra_path), epochs=4)
    with pytest.raises(DatasetError, match="is also in"):
        train(parse_config(settings), tmp_path / "run", console=silent)
