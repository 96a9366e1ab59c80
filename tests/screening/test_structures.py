import numpy as np
import pytest
from ase.data import atomic_numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.dataset.formula import formula_of_species
from opalign.screening import structures
from opalign.screening.config import ScreenConfig
from opalign.screening.structures import Formulas, StructureFilter

SYMBOLS = ["H", "O", "N", "C", "Li", "Na", "Fe", "P", "S", "Cl", "Ba", "Ti"]


def numbers_of(species):
    return np.array([atomic_numbers[one] for one in species], dtype=np.int32)


@settings(deadline=None)
@given(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=20))
def test_formulas_are_spelled_as_in_tables(species):
    assert Formulas()(numbers_of(species)) == formula_of_species(species)


def test_formulas_are_forgotten_before_they_fill_the_memory(monkeypatch):
    monkeypatch.setattr(structures, "_FORMULAS_KEPT", 3)
    formulas = Formulas()
    for count in range(1, 9):
        assert formulas(numbers_of(["Mg"] * count + ["O"] * 9)).startswith("Mg")
    assert len(formulas._known) == 3
    # Twice the cell is the same entry.
    formulas(numbers_of(["Mg", "O"]))
    formulas(numbers_of(["Mg", "O"] * 2))
    assert len(formulas._known) == 3


@pytest.mark.parametrize(
    ("settings", "species", "reason"),
    [
        ({}, ["Mg", "O"], None),
        ({"elements": ("Mg", "O")}, ["Mg", "O"], None),
        ({"elements": ("Mg", "O")}, ["Ba", "Ti", "O"], "Ti, Ba not among the allowed elements"),
        ({"require": ("O", "Ti")}, ["Mg", "O"], "without Ti"),
        ({"exclude": ("O",)}, ["Mg", "O"], "O excluded"),
        ({"min_sites": 3}, ["Mg", "O"], "2 sites, fewer than 3"),
        ({"max_sites": 1}, ["Mg", "O"], "2 sites, more than 1"),
        ({"min_sites": 2, "max_sites": 2}, ["Mg", "O"], None),
    ],
)
def test_conditions_on_a_structure(settings, species, reason):
    config = ScreenConfig(input="x", **settings)
    assert StructureFilter(config).refusal(numbers_of(species)) == reason
