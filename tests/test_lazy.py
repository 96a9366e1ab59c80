import subprocess
import sys
import types

import pytest

from opalign.lazy import deferred, lazy_names


@pytest.fixture
def package(monkeypatch):
    """Return a package with one lazy name, defined in a module inside it."""
    package, home = types.ModuleType("shop"), types.ModuleType("shop.shelf")
    home.tool = object()
    package.__getattr__, package.__dir__ = lazy_names("shop", {"tool": "shelf"})
    monkeypatch.setitem(sys.modules, "shop", package)
    monkeypatch.setitem(sys.modules, "shop.shelf", home)
    return package


def test_a_name_comes_from_its_home_and_stays(package):
    assert "tool" not in vars(package)
    assert package.tool is sys.modules["shop.shelf"].tool
    assert "tool" in vars(package)


def test_names_are_listed_before_they_are_used(package):
    assert "tool" in dir(package)


def test_an_unknown_name_is_an_attribute_error_of_that_package(package):
    with pytest.raises(AttributeError, match=r"module 'shop' has no attribute 'tol'"):
        _ = package.tol


def test_a_deferred_submodule_is_imported_when_it_is_used():
    code = """
import sys
from opalign.lazy import deferred
with deferred("scipy.cluster"):
    import pymatgen.symmetry.analyzer as analyzer
assert "scipy.cluster" not in sys.modules
from pymatgen.core import Molecule
corners = [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
print(analyzer.PointGroupAnalyzer(Molecule(["C"] + 4 * ["H"], [[0, 0, 0], *corners])).sch_symbol)
print(sys.modules["scipy.cluster"].hierarchy.fclusterdata.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Td", "fclusterdata"]


def test_a_module_that_is_there_already_stays():
    before = sys.modules["types"]
    with deferred("types"):
        assert sys.modules["types"] is before
    assert sys.modules["types"] is before


def test_a_failing_import_leaves_no_stand_in():
    with pytest.raises(ImportError), deferred("opalign_nowhere"):
        raise ImportError
    assert "opalign_nowhere" not in sys.modules
