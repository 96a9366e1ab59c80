import pytest
from hypothesis import given
from hypothesis import strategies as st

from opalign.dataset.formula import formula_of_species, reduced_formula
from opalign.errors import DatasetError

ELEMENTS = st.sampled_from(["Li", "Na", "K", "Mg", "Ti", "V", "O", "S", "N", "C", "H"])


@pytest.mark.parametrize("text", ["TiO2", "Ti2O4", "O2Ti", "O4Ti2", "Ti1 O2"])
def test_spellings_of_one_composition_agree(text):
    assert reduced_formula(text) == "TiO2"


@given(st.lists(ELEMENTS, min_size=1, max_size=12), st.integers(1, 4), st.randoms())
def test_order_and_cell_size_do_not_matter(species, repeats, random):
    larger = species * repeats
    random.shuffle(larger)
    formula = formula_of_species(species)
    assert formula_of_species(larger) == formula
    assert reduced_formula(formula) == formula


@pytest.mark.parametrize("text", ["", "not a formula", "Xx2"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(DatasetError, match="no chemical formula"):
        reduced_formula(text)
