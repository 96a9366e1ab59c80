import json
from itertools import chain

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from opalign.dataset.formula import reduced_formula
from opalign.dataset.split import Split, kfold_by_formula, split_by_formula, split_from_ids
from opalign.errors import DatasetError, StorageError

# Each of these stands several times among the spellings, so polymorphs abound.
FORMULAS = ["TiO2", "Ti2O4", "O2Ti", "MgO", "Mg2O2", "ZnS", "ZnO", "Al2O3", "Al4O6", "SiO2"]
FORMULAS += ["BaTiO3", "SrTiO3", "GaN", "CdS", "CdSe", "Cu2O", "V2O5", "WO3", "MoO3", "SnO2"]


@st.composite
def tables(draw, least_formulas=3):
    formulas = draw(st.lists(st.sampled_from(FORMULAS), min_size=least_formulas, max_size=60))
    if len({reduced_formula(f) for f in formulas}) < least_formulas:
        formulas += ["MgO", "ZnS", "GaN", "CdS", "WO3"][:least_formulas]
    return [f"mat-{i}" for i in range(len(formulas))], formulas


def parts(split):
    return split.train, split.validation, split.test


def no_formula_straddles(split, ids, formulas):
    home = dict(zip(ids, map(reduced_formula, formulas), strict=True))
    train, validation, test = ({home[i] for i in part} for part in parts(split))
    return not (train & validation or train & test or validation & test)


@given(tables(), st.integers(0, 5), st.randoms())
def test_split_by_formula(table, seed, random):
    ids, formulas = table
    split = split_by_formula(ids, formulas, (0.7, 0.2, 0.1), seed)
    assert sorted(chain(*parts(split))) == sorted(ids)
    assert all(parts(split))
    assert no_formula_straddles(split, ids, formulas)
    split.check(ids, formulas)
    shuffled = random.sample(list(zip(ids, formulas, strict=True)), len(ids))
    again = split_by_formula(*zip(*shuffled, strict=True), (0.7, 0.2, 0.1), seed)
    assert again == split


def test_fractions_are_kept_and_seeds_differ():
    ids = [f"mat-{i}" for i in range(1000)]
    formulas = [f"Na{1 + i // 2}Cl{1 + i // 2 + 1}" for i in range(1000)]
    split = split_by_formula(ids, formulas, (0.8, 0.1, 0.1), seed=1)
    # A formula has two rows, so a part can miss its share by that much and no more.
    assert [len(part) for part in parts(split)] == pytest.approx([800, 100, 100], abs=2)
    other = split_by_formula(ids, formulas, (0.8, 0.1, 0.1), seed=2)
    assert set(other.test) != set(split.test)
    assert len(set(other.test) & set(split.test)) < 50


def test_a_fraction_of_zero_leaves_a_part_empty():
    split = split_by_formula(["a", "b", "c"], ["MgO", "ZnS", "GaN"], (0.5, 0.0, 0.5))
    assert split.validation == []
    assert len(split.train) + len(split.test) == 3


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.1, -0.1, 0.0), (0.0, 0.5, 0.5)])
def test_fractions_must_be_shares(fractions):
    with pytest.raises(DatasetError, match="fractions"):
        split_by_formula(["a", "b", "c"], ["MgO", "ZnS", "GaN"], fractions)


def test_too_few_formulas_are_refused():
    with pytest.raises(DatasetError, match="cannot fill"):
        split_by_formula(["a", "b", "c"], ["MgO", "Mg2O2", "ZnS"])


def test_a_repeated_id_is_refused():
    with pytest.raises(DatasetError, match="'a'"):
        split_by_formula(["a", "a", "c"], ["MgO", "ZnS", "GaN"])


@settings(max_examples=50)
@given(tables(least_formulas=5), st.integers(2, 4), st.integers(0, 3), st.randoms())
def test_kfold_by_formula(table, folds, seed, random):
    ids, formulas = table
    canonical = [reduced_formula(f) for f in formulas]
    largest = max(map(canonical.count, canonical))
    # A formula with most of the rows can leave the other folds too few formulas to validate with.
    assume(largest <= len(ids) / 4)
    splits = kfold_by_formula(ids, formulas, folds, seed, validation_fraction=0.2)
    assert len(splits) == folds
    assert sorted(chain(*(s.test for s in splits))) == sorted(ids)
    for split in splits:
        assert sorted(chain(*parts(split))) == sorted(ids)
        assert split.validation
        assert no_formula_straddles(split, ids, formulas)
    sizes = [len(split.test) for split in splits]
    assert max(sizes) - min(sizes) <= largest
    shuffled = random.sample(list(zip(ids, formulas, strict=True)), len(ids))
    again = kfold_by_formula(*zip(*shuffled, strict=True), folds, seed, validation_fraction=0.2)
    assert again == splits


def test_folds_differ_in_validation_and_by_seed():
    ids = [f"mat-{i}" for i in range(60)]
    formulas = [f"Na{i + 1}Cl{i + 2}" for i in range(60)]
    splits = kfold_by_formula(ids, formulas, folds=3, seed=0)
    assert len({tuple(s.validation) for s in splits}) == 3
    assert kfold_by_formula(ids, formulas, folds=3, seed=1)[0].test != splits[0].test


@pytest.mark.parametrize(("folds", "fraction"), [(1, 0.1), (3, 1.0), (9, 0.1)])
def test_impossible_folds_are_refused(folds, fraction):
    with pytest.raises(DatasetError):
        kfold_by_formula(["a", "b", "c"], ["MgO", "ZnS", "GaN"], folds, 0, fraction)


def test_a_split_survives_its_file(tmp_path):
    split = split_by_formula(["a", "b", "c"], ["MgO", "ZnS", "GaN"], seed=7)
    assert Split.load(split.save(tmp_path / "split.json")) == split
    assert json.loads((tmp_path / "split.json").read_text())["seed"] == 7


def test_a_split_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Split(train=["a"], validation=[], test=[]).save(tmp_path / "file" / "split.json")


@pytest.mark.parametrize("text", ["", "[]", '{"train": [1], "validation": [], "test": []}'])
def test_a_file_that_is_no_split_is_refused(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DatasetError, match=r"split\.json"):
        Split.load(tmp_path / "split.json")


def test_a_loaded_split_must_be_disjoint(tmp_path):
    path = tmp_path / "split.json"
    path.write_text('{"train": ["a", "b"], "validation": [], "test": ["b"]}')
    with pytest.raises(DatasetError, match="'b' is in train and again in test"):
        Split.load(path)


def test_check_names_the_straddling_formula():
    split = Split(train=["a"], validation=[], test=["b"])
    split.check(["a", "b"], ["TiO2", "ZnS"])
    with pytest.raises(DatasetError, match="TiO2 straddles: a in train, b in test"):
        split.check(["a", "b"], ["TiO2", "Ti2O4"])
    with pytest.raises(DatasetError, match="not in the table"):
        split.check(["a"])


def test_split_from_ids_and_files(tmp_path):
    (tmp_path / "test.txt").write_text("c\n\n d \n")
    split = split_from_ids(["a", "b"], test=tmp_path / "test.txt")
    assert parts(split) == (["a", "b"], [], ["c", "d"])
    kept = split_from_ids(["a", "b"], test=tmp_path / "test.txt", available=["b", "d"])
    assert parts(kept) == (["b"], [], ["d"])
    with pytest.raises(DatasetError, match="no training id"):
        split_from_ids(["a"], available=["b"])
    with pytest.raises(DatasetError, match="cannot be read"):
        split_from_ids(tmp_path / "absent.txt")
    with pytest.raises(DatasetError, match="again in test"):
        split_from_ids(["c"], test=tmp_path / "test.txt")


def test_the_published_optimate_split(opalign_data):
    folder = opalign_data / "optimate_splits"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    names = ("train_set.txt", "validation_set.txt", "test_set.txt")
    split = split_from_ids(*(folder / name for name in names))
    assert [len(part) for part in parts(split)] == [
        len((folder / name).read_text().split()) for name in names
    ]
