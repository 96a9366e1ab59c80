"""Compute df_x.csv, df_y.csv and df_z.csv with GPAW: MgO, stretched along z, far from converged.

python make_gpaw.py     # seconds on one core; writes beside itself
"""

import os
import tempfile
from pathlib import Path

from ase.build import bulk
from gpaw import GPAW, PW, FermiDirac
from gpaw.response.df import DielectricFunction


def main() -> None:
    here = Path(__file__).resolve().parent
    atoms = bulk("MgO", "rocksalt", a=4.25)
    cell = atoms.cell.copy()
    cell[:, 2] *= 1.05  # so that zz differs from xx and yy, and a mix-up shows
    atoms.set_cell(cell, scale_atoms=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        atoms.calc = GPAW(
            mode=PW(300),
            xc="PBE",
            kpts={"size": (4, 4, 4), "gamma": True},
            nbands=24,
            convergence={"bands": 20, "density": 1e-4},
            occupations=FermiDirac(0.01),
            txt=None,
        )
        atoms.get_potential_energy()
        atoms.calc.write("ground_state.gpw", mode="all")
        response = DielectricFunction(
            "ground_state.gpw",
            ecut=30,
            nbands=20,
            eta=0.1,
            frequencies={"type": "nonlinear", "domega0": 0.2, "omega2": 10.0, "omegamax": 40.0},
            txt=os.devnull,
        )
        for direction in "xyz":
            response.get_dielectric_function(
                direction=direction, filename=str(here / f"df_{direction}.csv")
            )


if __name__ == "__main__":
    main()
