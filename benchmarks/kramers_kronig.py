"""Kramers–Kronig: how long it takes and how exact it is on analytic oscillators.

    python benchmarks/kramers_kronig.py [--threads 2]

Prints two tables and writes them, with the machine and the versions, to ``benchmarks/results/``.
The first call on a grid builds the matrix and is timed apart; times are the best of several turns,
since what else runs on a shared machine can only add to them. Errors are of ε₁ from ε₂ and of ε₂
from ε₁, relative to the largest |ε₁| (|ε|), below 18 eV of a window that ends at 20 eV.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

import numpy as np
import torch
from timing import processor, timed

from opalign.files import write_text
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import imaginary_from_real, real_from_imaginary
from opalign.spectrum.oscillators import LorentzOscillator, TaucLorentzOscillator
from opalign.spectrum.sum_rules import f_sum

GRID = EnergyGrid(0.0, 20.0, 2001)
WIDE = EnergyGrid(0.0, 2000.0, 100001)
FEW, MANY = 5, 300
BATCH = 10_000
MODELS = {
    "Lorentz, 4 eV, Γ = 0.5 eV": LorentzOscillator(4.0, 0.5, 8.0),
    "Lorentz, 7 eV, Γ = 1.5 eV": LorentzOscillator(7.0, 1.5, 12.0),
    "Tauc–Lorentz, 4.5 eV, C = 2 eV, gap 1.5 eV": TaucLorentzOscillator(100.0, 4.5, 2.0, 1.5),
    "Tauc–Lorentz, 6 eV, C = 1 eV, gap 3.2 eV": TaucLorentzOscillator(40.0, 6.0, 1.0, 3.2),
}


def measure_times() -> list[tuple[str, float]]:
    """Return what was done and the seconds that it took."""
    spectra = np.random.default_rng(0).random((BATCH, GRID.num))
    tensors = torch.from_numpy(spectra)
    single = tensors.float()
    gradients = tensors[:100].clone().requires_grad_()

    def backward() -> None:
        gradients.grad = None
        real_from_imaginary(gradients, GRID).square().sum().backward()

    rows = [("first call, which builds the matrix", timed(lambda: one(spectra), 1))]
    real_from_imaginary(tensors[:1], GRID)
    runs = {
        "one spectrum, NumPy": (lambda: one(spectra), MANY),
        "one spectrum, torch": (lambda: real_from_imaginary(tensors[0], GRID), MANY),
        f"{BATCH:,} spectra, NumPy": (lambda: real_from_imaginary(spectra, GRID), FEW),
        f"{BATCH:,} spectra, torch": (lambda: real_from_imaginary(tensors, GRID), FEW),
        f"{BATCH:,} spectra, torch, single precision": (
            lambda: real_from_imaginary(single, GRID),
            FEW,
        ),
        "100 spectra, torch, forth and back through the gradient": (backward, FEW),
    }
    for name, (run, turns) in runs.items():
        run()
        rows.append((name, min(timed(run, 1) for _ in range(turns))))
    return rows


def one(spectra: np.ndarray) -> np.ndarray:
    return real_from_imaginary(spectra[0], GRID)


def measure_errors() -> list[tuple[str, float, float, float, float]]:
    """Return model, error of ε₁, error of ε₂, and relative errors of f-sum and loss-sum."""
    rows = []
    inner = GRID.values < 18.0
    for name, model in MODELS.items():
        epsilon = model.epsilon(GRID.values)
        real = real_from_imaginary(epsilon.imag, GRID, beyond="cubic") - epsilon.real
        imaginary = imaginary_from_real(epsilon.real, GRID) - epsilon.imag
        wide = model.epsilon(WIDE.values)
        rows.append(
            (
                name,
                float(np.abs(real[inner]).max() / np.abs(epsilon.real).max()),
                float(np.abs(imaginary[inner]).max() / np.abs(epsilon).max()),
                float(f_sum(wide.imag, WIDE) / model.f_sum - 1.0),
                float(f_sum((-1.0 / wide).imag, WIDE) / model.f_sum - 1.0),
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != str(arguments.threads):
        parser.error(f"set OMP_NUM_THREADS={arguments.threads}, which NumPy's BLAS reads at import")
    torch.set_num_threads(arguments.threads)
    times, errors = measure_times(), measure_errors()
    text = "\n".join(
        [
            f"Kramers–Kronig on {GRID}; {arguments.threads} threads of {processor()}, load "
            f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
            f"NumPy {np.__version__}, torch {torch.__version__}.",
            "",
            "| task | time |",
            "|---|---|",
            *(f"| {name} | {duration(seconds)} |" for name, seconds in times),
            "",
            "| oscillator | ε₁ from ε₂ | ε₂ from ε₁ | f-sum | loss-sum |",
            "|---|---|---|---|---|",
            *(
                f"| {name} | {real:.1e} | {imaginary:.1e} | {total:+.2%} | {loss:+.2%} |"
                for name, real, imaginary, total, loss in errors
            ),
            "",
        ]
    )
    print(text)
    write_text(arguments.out / "kramers_kronig.md", text)
    record = {"threads": arguments.threads, "seconds": dict(times), "errors": errors}
    write_text(
        arguments.out / "kramers_kronig.json",
        json.dumps(record, indent=1, ensure_ascii=False) + "\n",
    )


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.5 else f"{1e3 * seconds:.2f} ms"


if __name__ == "__main__":
    main()
