"""Campaigns of an engine that takes no time, and GPAW without what it repeats."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure

from opalign.firstprinciples.campaign import Campaign, plan_campaign
from opalign.firstprinciples.campaign_config import parse_campaign

ENGINES = Path(__file__).parent / "engines"


def find_engines(patch: pytest.MonkeyPatch) -> None:
    patch.syspath_prepend(ENGINES)
    patch.setenv("PYTHONPATH", str(ENGINES), prepend=os.pathsep)


@pytest.fixture
def fake_engine(monkeypatch):
    """Let this process and the workers that it starts find the engine ``fake_engine:make``."""
    find_engines(monkeypatch)


@pytest.fixture(scope="session")
def groups_checked_once():
    """Spare GPAW to check a group of symmetry again: 48 operations take it a second each time."""
    symmetry = pytest.importorskip("gpaw.new.symmetry", reason="GPAW is not installed")
    check, checked = symmetry.Symmetries.group_check, set()

    def group_check(self):
        group = self.rotation_scc.tobytes(), self.translation_sc.tobytes()
        if group not in checked:
            check(self)
            checked.add(group)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symmetry.Symmetries, "group_check", group_check)
        yield


def magnesia(number: int) -> Structure:
    cell = Lattice.cubic(4.0 + 0.001 * number)
    return Structure(cell, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def table_of(path: Path, count: int) -> Path:
    structures = [magnesia(number) for number in range(count)]
    columns = {
        "material_id": [f"m{number}" for number in range(count)],
        "lattice": [each.lattice.matrix.ravel().tolist() for each in structures],
        "species": [[site.specie.symbol for site in each] for each in structures],
        "frac_coords": [each.frac_coords.ravel().tolist() for each in structures],
    }
    pq.write_table(pa.table(columns), path)
    return path


def planned(folder: Path, count: int = 6, workers: int = 2, limits=None, **settings) -> Campaign:
    config = parse_campaign(
        {
            "source": {"kind": "table", "path": str(table_of(folder / "in.parquet", count))},
            "filters": {"study": False, "unique": False},
            "engine": "fake_engine:make",
            "settings": settings,
            "limits": limits or {},
            "workers": workers,
        }
    )
    return plan_campaign(config, folder / "campaign")
