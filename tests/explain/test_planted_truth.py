"""A table whose rule is known: the method finds it, and finds nothing where labels mean nothing.

Real structures: zinc blende for cations that nature likes in tetrahedra, rock salt for the others.
The onset of a spectrum follows from the coordination and the anion alone.
"""

import io
import itertools

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from rich.console import Console

import opalign.training.cross_validation as cross_validation
from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.explain.chemistry.describe import describe_materials
from opalign.explain.enrichment import enrichments
from opalign.explain.features import extract_features, read_features
from opalign.explain.number import group_materials
from opalign.explain.out_of_fold import (
    fold_features,
    out_of_fold_features,
    out_of_fold_groups,
    read_folds,
)
from opalign.explain.properties import chemical_properties, spectral_properties
from opalign.explain.targets import absorption_target
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary
from opalign.training.baselines import baselines
from opalign.training.config_file import parse_config, read_config
from opalign.training.run import train

pytestmark = pytest.mark.slow

GRID = EnergyGrid(start=0.0, stop=15.0, num=151)
TETRAHEDRAL = ("Be", "Zn", "Cd", "Hg", "Mg")
OCTAHEDRAL = ("Ca", "Sr", "Ba", "Sn", "Pb")
CATIONS = (*TETRAHEDRAL, *OCTAHEDRAL)
ANIONS = ("O", "S", "Se", "Te")
#: Å, ionic radii of R. D. Shannon, Acta Cryst. A 32, 751 (1976), about.
RADII = dict(
    zip(
        (*CATIONS, *ANIONS),
        (0.27, 0.60, 0.78, 0.96, 0.57, 1.0, 1.18, 1.35, 1.1, 1.19, 1.4, 1.84, 1.98, 2.21),
        strict=True,
    )
)
#: eV: the rule.
ONSET = {"tetrahedral": 5.5, "octahedral": 2.5}
ANION_SHIFT = {"O": 0.6, "S": 0.2, "Se": 0.0, "Te": -0.3}
PERMUTATIONS, MOST_FALSE_ALARMS = 50, 6


def binary(cation: str, anion: str, coordination: str) -> Structure:
    tetrahedral = coordination == "tetrahedral"
    bond = RADII[cation] + RADII[anion]
    if tetrahedral:
        cell, place, group = bond * 4 / np.sqrt(3), 0.25, "F-43m"
    else:
        cell, place, group = bond * 2, 0.5, "Fm-3m"
    return Structure.from_spacegroup(
        group, Lattice.cubic(cell), [cation, anion], [[0, 0, 0], [place] * 3]
    ).get_primitive_structure()


def absorption(onset: float) -> np.ndarray:
    """Im ε of an edge: zero below the ``onset``, above it ∝ √(E − onset)/E²."""
    energies = np.asarray(GRID.values)
    above = np.clip(energies - onset, 0.0, None)
    return 40.0 * np.sqrt(above) / np.maximum(energies, 1.0) ** 2


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Return the table, the coordination of each material, and the folder of trained folds."""
    folder = tmp_path_factory.mktemp("planted")
    rows, chosen = [], []
    for cation, anion in itertools.product(CATIONS, ANIONS):
        coordination = "tetrahedral" if cation in TETRAHEDRAL else "octahedral"
        chosen.append(coordination)
        onset = ONSET[coordination] + ANION_SHIFT[anion]
        imaginary = absorption(onset)
        rows.append(
            {
                "material_id": f"{cation}{anion}",
                "structure": binary(cation, anion, coordination),
                "rpa_im_mean": imaginary,
                "rpa_re_mean": real_from_imaginary(imaginary, GRID, beyond="cubic"),
                "direct_gap_eV": onset,
            }
        )
    schema = TableSchema(
        grid=GRID,
        levels={
            "rpa": LevelInfo(
                broadening=Broadening(), components=("mean",), has_real=True, description="planted"
            )
        },
        scalars={"direct_gap_eV": ScalarInfo(unit="eV")},
        licence="CC0",
        source="a rule",
    )
    table = SpectraTable.open(write_table(folder / "table.parquet", schema, rows))
    config = parse_config(
        {
            "data": {
                "tables": str(folder / "table.parquet"),
                "levels": ["rpa"],
                "broadening": {"shape": "gaussian", "width": 0.1},
                "split": {"method": "fractions", "fractions": [0.8, 0.1, 0.1], "seed": 0},
            },
            "model": {
                "encoder": {
                    "architecture": "alignn",
                    "alignn_layers": 1,
                    "gcn_layers": 1,
                    "hidden_features": 16,
                    "embedding_features": 16,
                    "bond_basis_size": 24,
                    "angle_basis_size": 12,
                },
                "head": {"kind": "physical", "hidden_features": [16], "basis_step": 0.5},
                "graph": {"neighbors": 4},
            },
            "epochs": 40,
            "optimizer": {"learning_rate": 5e-3},
            "batch_size": 5,
            "accelerator": "cpu",
            "num_threads": 1,
            "save_seconds": 600,
        }
    )
    silent = Console(file=io.StringIO())

    def here(jobs, processes, report):
        for job in jobs:
            train(read_config(job.config), job.folder, resume=True, console=silent)
            report(job, 0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "run_jobs", here)
        patch.setattr(cross_validation, "baselines", lambda *a: baselines(*a, trees=5))
        cross_validation.cross_validate(
            {"tiny": config}, None, folder / "cv", folds=3, validation_fraction=0.0, console=silent
        )
    return table, chosen, folder


@pytest.fixture(scope="module")
def grouped(planted):
    """Return groups, groups out of fold, formulas and properties of the planted table."""
    table, _, folder = planted
    folds = read_folds(folder / "cv")
    paths = fold_features(folds, table, folder / "features", on_failure=pytest.fail)
    features = read_features(
        extract_features(
            folds[0].checkpoint, table, folder / "explained.parquet", on_failure=pytest.fail
        ),
        "gcn_1",
    )
    groups = group_materials(features.ids, features.formulas, features.matrix, number=4)
    unseen = out_of_fold_groups(groups, features, out_of_fold_features(folds, paths, features))
    properties = chemical_properties(describe_materials(table).materials)
    properties += spectral_properties(absorption_target(table, "rpa"))
    return groups, unseen, features.formulas, properties


def test_the_rule_is_found_in_the_groups_that_follow_it(grouped):
    groups, unseen, formulas, properties = grouped
    found = enrichments(groups.labels, formulas, properties, unseen_labels=unseen)
    passed = found[found["significant"]]
    tetrahedral = set(
        passed.query("property == '4-coordinate' and effect > 0 and inside > 0.9")["group"]
    )
    octahedral = set(
        passed.query("property == '6-coordinate' and effect > 0 and inside > 0.9")["group"]
    )
    assert tetrahedral
    assert octahedral
    onsets = passed[passed["property"] == "onset_eV"].set_index("group")["effect"]
    assert all(onsets[group] > 0.0 for group in tetrahedral)
    assert all(onsets[group] < 0.0 for group in octahedral)


def test_nothing_is_found_where_labels_are_permuted_over_formulas(grouped):
    groups, unseen, formulas, properties = grouped
    generator = np.random.default_rng(0)
    alarms = 0
    for _ in range(PERMUTATIONS):
        order = generator.permutation(len(formulas))
        found = enrichments(groups.labels[order], formulas, properties, unseen_labels=unseen[order])
        alarms += bool(found["significant"].any())
    assert alarms <= MOST_FALSE_ALARMS
