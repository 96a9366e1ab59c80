"""The dispersion formulas 1 to 9 of refractiveindex.info: n from coefficients and wavelength.

Source: M. N. Polyanskiy, "Refractiveindex.info database of optical constants", Sci. Data 11, 94
(2024), and the database's document "Dispersion formulas".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from opalign.errors import SpectrumError

Coefficients = Sequence[float]


def dispersion_index(
    formula: int, coefficients: Coefficients, wavelength: np.ndarray, where: str
) -> np.ndarray:
    """Return n (m,) at ``wavelength`` (m,) in µm.

    Raises
    ------
    SpectrumError
        If the formula is unknown, has too many or too few coefficients, or gives no finite n > 0
        somewhere, as at a resonance.
    """
    if formula not in _FORMULAS:
        raise SpectrumError(
            f"dispersion formula {formula} is unknown", where=where, expected="1 to 9"
        )
    evaluate, longest, in_pairs = _FORMULAS[formula]
    count = len(coefficients)
    if not 1 <= count <= longest or (in_pairs and count % 2 == 0):
        raise SpectrumError(
            f"dispersion formula {formula} has {count} coefficients",
            where=where,
            expected=f"at most {longest}" + (", the first and pairs" if in_pairs else ""),
        )
    wavelength = np.asarray(wavelength, dtype=float)
    padded = [*coefficients, *[0.0] * (longest - count)]
    with np.errstate(all="ignore"):
        index = np.broadcast_to(evaluate(padded, wavelength), wavelength.shape)
    bad = ~(np.isfinite(index) & (index > 0.0))
    if bad.any():
        raise SpectrumError(
            f"dispersion formula {formula} gives no refractive index at "
            f"{wavelength[bad.argmax()]:g} µm",
            where=where,
            expected="a formula without a resonance in its range",
        )
    return index


def _sellmeier(c: Coefficients, wavelength: np.ndarray) -> np.ndarray:
    return _sellmeier_2([c[0], *_squared_resonances(c)], wavelength)


def _squared_resonances(c: Coefficients) -> list[float]:
    return [value**2 if place % 2 else value for place, value in enumerate(c[1:])]


def _sellmeier_2(c: Coefficients, wavelength: np.ndarray) -> np.ndarray:
    square = wavelength**2
    terms = _pairs(c)
    return np.sqrt(1.0 + c[0] + sum(b * square / (square - r) for b, r in terms if b))


def _polynomial(c: Coefficients, wavelength: np.ndarray) -> np.ndarray:
    return np.sqrt(c[0] + sum(b * wavelength**power for b, power in _pairs(c) if b))


def _mixed(c: Coefficients, wavelength: np.ndarray) -> np.ndarray:
    square = wavelength**2
    resonances = sum(
        b * wavelength**power / (square - r**exponent)
        for b, power, r, exponent in (c[1:5], c[5:9])
        if b
    )
    return np.sqrt(c[0] + resonances + sum(b * wavelength**p for b, p in _pairs(c, 9) if b))


def _cauchy(c: Coefficients, wavelength: np.ndarray) -> np.ndarray:
    return np.asarray(c[0] + sum(b * wavelength**power for b, power in _pairs(c) if b))


def _gases(c: Coefficients, wavelength: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 + c[0] + sum(b / (r - wavelength**-2) for b, r in _pairs(c) if b))


def _herzberger(c: Coefficients, wavelength: np.ndarray) -> np.ndarray:
    square = wavelength**2
    pole = 1.0 / (square - 0.028)
    return c[0] + c[1] * pole + c[2] * pole**2 + c[3] * square + c[4] * square**2 + c[5] * square**3


def _retro(c: Coefficients, wavelength: np.ndarray) -> np.ndarray:
    square = wavelength**2
    ratio = c[0] + c[1] * square / (square - c[2]) + c[3] * square  # (n² − 1)/(n² + 2)
    return np.sqrt((1.0 + 2.0 * ratio) / (1.0 - ratio))


def _exotic(c: Coefficients, wavelength: np.ndarray) -> np.ndarray:
    distance = wavelength - c[4]
    return np.sqrt(c[0] + c[1] / (wavelength**2 - c[2]) + c[3] * distance / (distance**2 + c[5]))


def _pairs(c: Coefficients, start: int = 1) -> list[tuple[float, float]]:
    return list(zip(c[start::2], c[start + 1 :: 2], strict=True))


# Formula → function, most coefficients, whether those after the first come in pairs.
_FORMULAS: dict[int, tuple[Callable[[Coefficients, np.ndarray], np.ndarray], int, bool]] = {
    1: (_sellmeier, 17, True),
    2: (_sellmeier_2, 17, True),
    3: (_polynomial, 17, True),
    4: (_mixed, 17, False),
    5: (_cauchy, 11, True),
    6: (_gases, 11, True),
    7: (_herzberger, 6, False),
    8: (_retro, 4, False),
    9: (_exotic, 6, False),
}
