import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opalign.crystal.settings import GraphSettings
from opalign.dataset.split import Split
from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError, DatasetError
from opalign.spectrum.broadening import Broadening, broaden
from opalign.spectrum.grid import EnergyGrid
from opalign.training.batches import EpochShuffle
from opalign.training.config import FileSplit, FoldSplit, PretrainingConfig
from opalign.training.data import (
    build_graphs,
    load_materials,
    load_pretraining,
    loader,
    make_split,
    open_tables,
)
from opalign.training.run import build_model_config

from .conftest import spoiled


def materials_of(config):
    tables = open_tables(config.data.tables)
    model = build_model_config(config, tables)
    return tables, model, load_materials(tables, model, config.data, config.loss)


@given(st.integers(1, 60), st.integers(0, 9), st.integers(0, 9))
def test_an_epoch_has_every_row_once_and_depends_on_seed_and_epoch_alone(size, seed, epoch):
    first, second = EpochShuffle(size, seed), EpochShuffle(size, seed)
    first.set_epoch(epoch)
    list(second)  # what was drawn before does not matter
    second.set_epoch(epoch)
    assert sorted(first) == list(range(size))
    assert list(first) == list(second)


def test_epochs_differ():
    shuffle = EpochShuffle(30, 0)
    before = list(shuffle)
    shuffle.set_epoch(1)
    assert list(shuffle) != before


def test_targets_are_the_spectra_of_the_table_broadened(tiny):
    tables, model, materials = materials_of(tiny())
    stored = tables[0].isotropic_imaginary("rpa")
    expected = broaden(stored, model.grid, Broadening("gaussian", 0.1), "odd")
    target = materials.targets["epsilon_imaginary"]
    assert target.shape == (8, 1, 101)
    np.testing.assert_allclose(target[:, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(materials.targets["band_gap"], 3.0 + 0.3 * np.arange(8), rtol=1e-6)
    # ε₁(0) = 1 + strength of the oscillator; broadening by 0.1 eV changes it in the third digit.
    np.testing.assert_allclose(materials.targets["static_dielectric"], 3.0, rtol=2e-3)


def test_a_smaller_grid_takes_the_same_spectra(tiny):
    _, _, whole = materials_of(tiny())
    _, model, part = materials_of(tiny(model__grid={"start": 0.0, "stop": 10.0, "num": 51}))
    assert model.grid == EnergyGrid(start=0.0, stop=10.0, num=51)
    torch.testing.assert_close(
        part.targets["epsilon_imaginary"], whole.targets["epsilon_imaginary"][..., :51]
    )
    with pytest.raises(DatasetError, match="do not reach"):
        materials_of(tiny(model__grid={"start": 0.0, "stop": 30.0, "num": 51}))


def test_log_absorption_has_the_floor_of_the_reference_study(tiny):
    _, _, materials = materials_of(tiny(loss__target="log_absorption"))
    target = materials.targets["log_absorption"]
    assert target.min() == 2.0
    assert 5.0 < target.max() < 7.0


def test_no_material_is_dropped_from_a_batch(tiny):
    _, _, materials = materials_of(tiny())
    batches = list(loader(materials, 3))
    assert [len(batch["targets"]["band_gap"]) for batch in batches] == [3, 3, 2]
    gaps = torch.cat([batch["targets"]["band_gap"] for batch in batches])
    torch.testing.assert_close(gaps, materials.targets["band_gap"])


def test_graphs_and_targets_stay_together_when_shuffled(tiny):
    _, _, materials = materials_of(tiny())
    volume_of_gap = {
        float(gap): graph.volume
        for gap, graph in zip(materials.targets["band_gap"], materials.graphs, strict=True)
    }
    for batch in loader(materials, 3, shuffle_seed=5):
        for gap, volume in zip(batch["targets"]["band_gap"], batch["graph"]["volume"], strict=True):
            assert float(volume) == pytest.approx(volume_of_gap[float(gap)], rel=1e-6)


def test_a_cache_is_not_deceived_by_names(tiny, tmp_path):
    (table,) = open_tables(tiny().data.tables)
    few, many = (GraphSettings(neighbors=k) for k in (6, 12))
    for settings in (few, many, few):
        fresh = build_graphs([table], settings, None)
        cached = build_graphs([table], settings, tmp_path)
        for one, other in zip(fresh, cached, strict=True):
            np.testing.assert_array_equal(one.bond_index, other.bond_index)


def test_polymorphs_share_a_part_in_every_fold(tiny):
    (table,) = open_tables(tiny().data.tables)
    tested = []
    for fold in (1, 2, 3):
        split = make_split(FoldSplit(fold=fold, folds=3), table.ids, table.formulas)
        tested += split.test
        part_of = {m: p for p in ("train", "validation", "test") for m in getattr(split, p)}
        assert part_of["rocksalt-MgO"] == part_of["cscl-MgO"]
    assert sorted(tested) == sorted(table.ids)


def test_a_split_file_that_tears_polymorphs_apart_is_refused(tiny, tmp_path):
    (table,) = open_tables(tiny().data.tables)
    path = Split(train=["rocksalt-MgO"], validation=[], test=["cscl-MgO"]).save(tmp_path / "s.json")
    with pytest.raises(DatasetError, match="MgO straddles"):
        make_split(FileSplit(file=path), table.ids, table.formulas)


def test_pretraining_leaves_out_what_is_held_out(tiny, scalars_path):
    _, model, _ = materials_of(tiny())
    config = PretrainingConfig(table=scalars_path)
    materials = load_pretraining(config, model, ["MgO", "BaO"], None)
    assert {"MgO", "BaO"}.isdisjoint(materials.formulas)
    assert len(materials) == 9 - 3
    # One scalar of SrS is unknown and the other known: it stays.
    assert torch.isnan(materials.targets["static_dielectric"]).sum() == 1
    everything = SpectraTable.open(scalars_path).formulas
    with pytest.raises(ConfigurationError, match="no material is left"):
        load_pretraining(config, model, everything, None)


def test_one_id_in_two_tables(spectra_path):
    with pytest.raises(DatasetError, match="is also in"):
        open_tables([spectra_path, spectra_path])


def test_an_absent_level_or_scalar_is_named(tiny):
    with pytest.raises(DatasetError, match=r"has none of the levels bse(?s:.*)rpa"):
        materials_of(tiny(data__levels=["bse"]))
    with pytest.raises(DatasetError, match="has no scalar 'gap'"):
        materials_of(tiny(loss__band_gap_column="gap"))


@pytest.mark.parametrize(
    ("value", "problem"), [(float("nan"), "NaN or infinite"), (-1.0, "Im ε is negative")]
)
def test_a_broken_spectrum_is_named_before_anything_is_learned_from_it(
    spectra_path, tmp_path, value, problem
):
    path = spoiled(spectra_path, tmp_path / "spoiled.parquet", value)
    with pytest.raises(DatasetError, match=rf"row 2 \(rocksalt-SrO\).*rpa_im_mean.*{problem}"):
        open_tables([path])


def test_batches_are_reduced_where_the_network_allows_it(tiny):
    *_, materials = materials_of(tiny())
    batch = next(iter(loader(materials, 8)))["graph"]
    assert "bond_multiplicity" in batch
    for changes in (
        {"data__symmetry_reduced": False},
        {"model__encoder__norm": "batch"},
        {"model__head__dropout": 0.1},
    ):
        *_, materials = materials_of(tiny(**changes))
        batch = next(iter(loader(materials.select(materials.ids[:5]), 8)))["graph"]
        assert "bond_multiplicity" not in batch
        assert len(batch["bond_length"]) == int(batch["num_bonds"].sum())
