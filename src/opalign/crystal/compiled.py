"""Whether compiled loops are at hand, and whether they are worth their start.

Importing numba takes as long as some thousand small graphs do without it, and compiling, once on a
machine and version, as long as some ten thousand. So a single structure never waits for it: loops
are loaded where many structures come, and from then on used wherever they help. Without numba (the
extra ``fast``) everything works as well, only slower.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

#: Structures for which loading the compiled loops pays.
WORTHWHILE = 1000

_KERNELS = "opalign.crystal.kernels"
_QUOTIENT_KERNELS = "opalign.crystal.quotient_kernels"


def loaded_kernels() -> ModuleType | None:
    """Return :mod:`opalign.crystal.kernels` if somebody has loaded it; None otherwise."""
    return sys.modules.get(_KERNELS)


def load_kernels() -> ModuleType | None:
    """Import the compiled loops; None where numba is not installed or does not work."""
    try:
        return importlib.import_module(_KERNELS)
    except ImportError:
        # Also raised by a numba that does not know this version of Python or of NumPy.
        return None


def kernels_for(count: int) -> ModuleType | None:
    """Compiled loops for ``count`` structures: loaded already, or worth loading."""
    return loaded_kernels() or (load_kernels() if count >= WORTHWHILE else None)


def loaded_quotient_kernels() -> ModuleType | None:
    """Return :mod:`opalign.crystal.quotient_kernels` if :mod:`~.kernels` are loaded; else None.

    Who has those at work has many structures, and numba by then, whose start is what takes long.
    """
    if loaded_kernels() is None:
        return None
    return sys.modules.get(_QUOTIENT_KERNELS) or importlib.import_module(_QUOTIENT_KERNELS)
