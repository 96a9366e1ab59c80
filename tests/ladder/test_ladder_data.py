"""Who may be learned from."""

import itertools

import pytest
import torch

from opalign.errors import ConfigurationError
from opalign.ladder.data import LadderData
from opalign.ladder.jobs import size_subset
from opalign.ladder.strategies import head_of, levels_of
from opalign.model.comparison_heads import BASE_IMAGINARY


def formulas(data, ids):
    return {data.formula_of[material_id] for material_id in ids}


@pytest.mark.parametrize("seed", [0, 1])
def test_shares_are_nested_and_of_whole_formulas(data, seed):
    for fold in (1, 2):
        train = data.splits[fold - 1].train
        found = [set(data.labelled(size_subset(s), fold, seed)) for s in (0.2, 0.4, 0.7, 1.0)]
        assert all(small <= large for small, large in itertools.pairwise(found))
        assert found[-1] == set(train)
        for share, ids in zip((0.2, 0.4, 0.7), found, strict=False):
            assert share * len(train) <= len(ids) < len(train)
            assert not formulas(data, ids) & formulas(data, set(train) - ids)


def test_seeds_draw_other_materials(data):
    drawn = {tuple(data.labelled("size-0.4", 1, seed)) for seed in range(6)}
    assert len(drawn) > 1
    assert data.labelled("size-0.4", 1, 3) == data.labelled("size-0.4", 1, 3)


def test_cells_up_to_a_size(data):
    found = [set(data.labelled("cells-2", fold, 0)) for fold in (1, 2)]
    assert all(data.sites[m] <= 2 for ids in found for m in ids)
    larger = [set(data.labelled("cells-4", fold, 0)) for fold in (1, 2)]
    assert set.union(*larger) - set.union(*found) == {"double-CaS"}
    with pytest.raises(ConfigurationError, match="no training material"):
        data.labelled("cells-1", 1, 0)


def test_what_is_set_aside_shares_no_formula(data):
    ids = data.labelled("size-1", 1, 0)
    inner, judged = data.set_aside(ids, 0.25, 0)
    assert sorted(inner + judged) == sorted(ids)
    assert inner
    assert judged
    assert not formulas(data, inner) & formulas(data, judged)
    # However large the share, something is left to train on.
    assert data.set_aside(ids, 0.99, 0)[0]
    with pytest.raises(ConfigurationError, match="one formula"):
        data.set_aside(["rocksalt-MgO", "cscl-MgO"], 0.5, 0)


def test_costly_spectra_outside_the_labels_are_unknown(data):
    strategy = data.config.strategies["multi_fidelity"]
    model = data.model_config(levels_of(data.config, strategy), head_of(data.config, strategy))
    train = data.splits[0].train
    found = data.materials(model, train, {train[0]})
    spectra = found.targets["epsilon_imaginary"]
    assert not torch.isnan(spectra[:, 0]).any(), "the cheap level is everyone's"
    assert not torch.isnan(spectra[0]).any()
    assert torch.isnan(spectra[1:, 1]).all()
    assert torch.isnan(found.targets["static_dielectric"][1:, 1]).all()
    # Nothing of it stays behind.
    whole = data.materials(model, train)
    assert not torch.isnan(whole.targets["epsilon_imaginary"]).any()


def test_a_difference_is_given_the_cheap_spectrum_of_the_same_material(data):
    strategy = data.config.strategies["delta"]
    model = data.model_config(levels_of(data.config, strategy), head_of(data.config, strategy))
    ids = ["rocksalt-SrO", "double-CaS", "rocksalt-MgO"]
    found = data.materials(model, ids)
    expected = data.reference("ipa").select(ids).imaginary
    torch.testing.assert_close(found.inputs[BASE_IMAGINARY], torch.tensor(expected).float())


def test_scalars_leave_out_the_formulas_of_the_test_materials(small, scalars_path):
    data = LadderData(small(pretraining={"table": str(scalars_path)}))
    model = data.model_config(("rpa",), data.config.model.head)
    for fold, split in enumerate(data.splits, 1):
        found = data.scalars(model, fold)
        assert set(found.formulas) == formulas(data, split.train)
