"""What the pages of all reports are put together from."""

from __future__ import annotations

import html
import json
from importlib import resources
from string import Template
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def static_text(name: str) -> str:
    """Return the content of a file that belongs to the reports."""
    home = resources.files("opalign.explain.report") / "static"
    return (home / name).read_text(encoding="utf-8")


def filled(name: str, **parts: object) -> str:
    """Return a page from its template; ``parts`` are HTML already."""
    return Template(static_text(name)).substitute({key: str(value) for key, value in parts.items()})


def text(value: object) -> str:
    """Return a value as text that HTML takes literally."""
    return html.escape(str(value))


def script_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    found = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return found.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def viewer_elements() -> dict[int, tuple[float, str]]:
    """Covalent radius in Å and colour of each element, by atomic number, for the viewer."""
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    return {
        number: (
            round(float(covalent_radii[number]), 2),
            "#" + "".join(f"{round(255 * float(c)):02x}" for c in jmol_colors[number]),
        )
        for number in range(1, min(len(covalent_radii), len(jmol_colors)))
    }


def viewer_structure(
    lattice: ArrayLike, numbers: ArrayLike, positions: ArrayLike
) -> dict[str, Any]:
    """Return a structure as the viewer takes it.

    Parameters
    ----------
    lattice
        (3, 3) row vectors in Å.
    numbers, positions
        (N,) atomic numbers and (N, 3) fractional coordinates.
    """
    return {
        "lattice": np.round(np.asarray(lattice, dtype=float), 4).tolist(),
        "numbers": np.asarray(numbers).tolist(),
        "positions": np.round(np.mod(np.asarray(positions, dtype=float), 1.0), 4).tolist(),
    }
