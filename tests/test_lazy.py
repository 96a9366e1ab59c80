import sys
import types

import pytest

from opalign.lazy import lazy_names


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
