"""Names and modules that are imported when first used, so that a command starts at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for the ``__init__`` of ``package``.

    Parameters
    ----------
    package
        Its ``__name__``.
    homes
        Public name → module inside the package that defines it, with dots where it lies deeper.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names


@contextmanager
def deferred(name: str) -> Iterator[None]:
    """Let another package's ``import name`` pass without importing it, within this context.

    For a submodule that its package imports by itself when an attribute is asked for, as SciPy
    does: pymatgen's reader of CIF imports ``scipy.cluster``, half a second, and never calls it.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]
