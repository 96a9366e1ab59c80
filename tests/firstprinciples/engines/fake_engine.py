"""An engine for tests: quick spectra of one Lorentz oscillator, and every kind of trouble.

Workers import it by name, as they do an engine of a user's own.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from opalign.errors import StructureError
from opalign.firstprinciples.correction import corrected_result
from opalign.firstprinciples.engine import EngineFailure, EngineResult
from opalign.firstprinciples.hybrid import HybridGap
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary
from opalign.spectrum.sum_rules import plasma_energy

#: Trouble → what a campaign has to make of it.
OUTCOMES = {
    "none": None,
    "metal": "metal",
    "raise": "crashed",
    "exit": "crashed",
    "exit zero": "crashed",
    "segmentation fault": "crashed",
    "killed": "crashed",
    "hang": "time limit",
    "stubborn hang": "time limit",
    "hang with child": "time limit",
    "not a number": "bad output",
    "wrong shape": "bad output",
    "wrong type": "bad output",
    "binary output": None,
    "greedy": "out of memory",
    "one great allocation": "out of memory",
    "unsupported": "unsupported",
}


class FakeSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = 0.0
    #: Trouble of the materials, in turn; the lattice constant says whose turn it is.
    troubles: tuple[str, ...] = ("none",)
    #: File to which every start and every step is written.
    journal: str = ""
    strength: float = 1.0
    #: Trouble of the corrections, in turn as those of the materials.
    corrections: tuple[str, ...] = ("none",)
    #: Materials that the engine cannot even estimate.
    refused: tuple[int, ...] = ()


class FakeEngine:
    name = "fake"

    def __init__(self, settings):
        self.settings = settings

    def expected_seconds(self, structure):
        if number(structure) in self.settings.refused:
            raise StructureError("no potential for it")
        return float(structure.lattice.a)

    def run(self, structure, folder):
        name = number(structure)
        self.note(f"start {name} {os.getpid()}")
        step = Path(folder) / "step.txt"
        if not step.exists():
            time.sleep(self.settings.seconds / 2)
            step.write_text("done", encoding="utf-8")
            self.note(f"step {name}")
        time.sleep(self.settings.seconds / 2)
        trouble = self.settings.troubles[name % len(self.settings.troubles)]
        return TROUBLES.get(trouble, lambda *_: result_of(structure))(structure, self.settings)

    def correct(self, result, folder, settings):
        name = number(result.structure)
        self.note(f"correct {name} {os.getpid()}")
        time.sleep(self.settings.seconds)
        trouble = self.settings.corrections[name % len(self.settings.corrections)]
        TROUBLES.get(trouble, lambda *_: None)(result.structure, self.settings)
        return corrected_result(result, gap_of(result))

    def note(self, text):
        if self.settings.journal:
            with open(self.settings.journal, "a", encoding="utf-8") as journal:
                journal.write(text + "\n")


def make(settings):
    return FakeEngine(FakeSettings.model_validate(settings))


def number(structure):
    """The lattice constant of a material tells its number."""
    return round((structure.lattice.a - 4.0) * 1000)


def result_of(structure, epsilon_scale=1.0, grid=None, electrons=8.0):
    """ε of an oscillator at 6 eV with the weight of all electrons, cut below a gap of 4 eV."""
    grid = grid or EnergyGrid(0.0, 20.0, 401)
    energies = grid.values
    plasma = plasma_energy(electrons / structure.volume)
    imaginary = (plasma**2 / (36.0 - energies**2 - 0.6j * energies)).imag
    imaginary[energies < 4.0] = 0.0
    epsilon = real_from_imaginary(imaginary, grid) + 1j * imaginary
    tensor = epsilon_scale * epsilon[:, None, None] * np.eye(3)
    return EngineResult(
        structure=structure,
        grid=grid,
        epsilon={"ipa": tensor, "rpa": tensor.copy()},
        band_gap=3.5,
        direct_gap=4.0,
        total_energy=-10.0,
        pdos_energies=np.linspace(-12.0, 12.0, 241),
        pdos={"O-p": np.ones(241), "Mg-s": np.zeros(241)},
        scalars={"pbe0_shift_eV": 2.0},
        seconds={"all": 1.0},
        provenance={"code": "fake", "electrons": electrons},
    )


def gap_of(result, exchange_shift=6.0):
    """The hybrid's gap of a result, converged on the second mesh."""
    meshes = ([3, 3, 3], [4, 4, 4])
    return HybridGap(
        semilocal_gap=result.band_gap,
        exchange_shift=exchange_shift,
        hubbard_shift=0.0,
        valence_point=(0.0, 0.0, 0.0),
        conduction_point=(0.5, 0.0, 0.0),
        functional="PBE",
        edge_mesh=(4, 4, 4),
        history=tuple({"mesh": mesh, "exchange_shift": exchange_shift} for mesh in meshes),
        converged=True,
        change=0.04,
        seconds={"ground": 2.0},
    )


def _metal(structure, settings):
    raise EngineFailure("metal", "no gap")


def _unsupported(structure, settings):
    raise StructureError("not this one")


def _raise(structure, settings):
    raise ZeroDivisionError("of all things")


def _hang(structure, settings):
    time.sleep(600)


def _stubborn(structure, settings):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def _with_child(structure, settings):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if settings.journal:
        with open(settings.journal, "a", encoding="utf-8") as journal:
            journal.write(f"child {child.pid}\n")
    time.sleep(600)


def _binary(structure, settings):
    os.write(1, bytes(range(256)) * 40 + b'\n{"outcome": "done"}\n')
    return result_of(structure)


def _greedy(structure, settings):
    hoard = []
    while True:
        hoard.append(np.ones(10_000_000))


TROUBLES = {
    "metal": _metal,
    "unsupported": _unsupported,
    "raise": _raise,
    "exit": lambda *_: os._exit(3),
    "exit zero": lambda *_: sys.exit(0),
    "segmentation fault": lambda *_: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda *_: os.kill(os.getpid(), signal.SIGKILL),
    "hang": _hang,
    "stubborn hang": _stubborn,
    "hang with child": _with_child,
    "not a number": lambda structure, _: result_of(structure, epsilon_scale=np.nan),
    "wrong shape": lambda structure, _: result_of(
        structure, epsilon_scale=np.ones((1, 1, 1, 2))[..., 0:1] * np.ones((2, 1, 1, 1))
    ),
    "wrong type": lambda *_: {"epsilon": 1.0},
    "binary output": _binary,
    "greedy": _greedy,
    "one great allocation": lambda *_: np.ones(10**12),
}
