"""Stands for VASP: reads INCAR, KPOINTS and POSCAR of its folder and writes what a run leaves.

A semiconductor of four valence electrons an atom: its gap is GAP at Γ and grows away from it, a
hybrid widens it by SHIFT times AEXX, and ε₂ is known in closed form. ``FAKE_VASP`` names what goes
wrong, ``step:kind``; ``FAKE_VASP_JOURNAL`` is a file that takes down the step of every run.
"""

import math
import os
import sys
import time

GAP, SHIFT = 2.5, 4.0
WINDOW = 40.0
ENERGY = -7.5
FIELDS = ("energy", "xx", "yy", "zz", "xy", "yz", "zx")


def imaginary(energy):
    """ε₂ of the fake crystal, from the gap on."""
    above = energy - GAP
    return 8.0 * above * math.exp(-above / 2.0) if above > 0.0 else 0.0


def read_incar():
    settings = {}
    with open("INCAR") as stream:
        for line in stream:
            name, separator, value = line.partition("=")
            if separator:
                settings[name.strip()] = value.strip()
    return settings


def step_of(incar):
    if "LHFCALC" in incar:
        return "hybrid"
    if "LOPTICS" in incar:
        return "optics"
    return "relax" if int(incar.get("NSW", 0)) > 0 else "static"


def item(name, value, kind=None):
    text = f' type="{kind}"' if kind else ""
    return f'<i name="{name}"{text}> {value} </i>'


def incar_item(name, value):
    if value in ("True", "False"):
        return item(name, value[0], "logical")
    try:
        int(value)
        return item(name, value, "int")
    except ValueError:
        pass
    try:
        float(value)
        return item(name, value)
    except ValueError:
        return item(name, value, "string")


def rows(table):
    return "".join("<r>" + " ".join(f"{x:.4f}" for x in row) + "</r>\n" for row in table)


def vasprun(incar, step, trouble):
    with open("POSCAR") as stream:
        lines = [line.split() for line in stream]
    with open("KPOINTS") as stream:
        mesh = [int(x) for x in stream.read().splitlines()[3].split()]
    basis = [line[:3] for line in lines[2:5]]
    symbols, counts = lines[5], [int(x) for x in lines[6]]
    atoms = [s for s, count in zip(symbols, counts, strict=True) for _ in range(count)]
    positions = [line[:3] for line in lines[8 : 8 + len(atoms)]]
    electrons = 4 * len(atoms)
    occupied = electrons // 2
    bands = int(incar.get("NBANDS", occupied + 4))
    gap = 0.0 if trouble == "metal" else GAP
    widening = SHIFT * float(incar["AEXX"]) if step == "hybrid" else 0.0
    points = [i / mesh[0] for i in range(mesh[0] // 2 + 1)]
    weights = [1.0 / len(points)] * len(points)

    levels = []
    for x in points:
        bend = 0.25 * (1.0 - math.cos(2.0 * math.pi * x))
        down = [(-0.3 * n - bend, 1.0) for n in reversed(range(occupied))]
        up = [(gap + widening + 0.7 * n + bend, 0.0) for n in range(bands - occupied)]
        levels.append(down + up)
    spins = 2 if incar.get("ISPIN") == "2" else 1
    eigenvalues = "".join(
        f'<set comment="spin {spin + 1}">'
        + "".join(
            f'<set comment="kpoint {k + 1}">{rows(values)}</set>' for k, values in enumerate(levels)
        )
        + "</set>"
        for spin in range(spins)
    )
    grid = [-15.0 + 0.05 * i for i in range(601)]
    density = [2.0 if -5.0 < e < 0.0 else 0.0 for e in grid]
    total = rows((e, d, 0.0) for e, d in zip(grid, density, strict=True))
    partial = "".join(
        f'<set comment="ion {ion + 1}">'
        + "".join(
            f'<set comment="spin {spin + 1}">'
            + rows((e, 0.1 * d, 0.4 * d) for e, d in zip(grid, density, strict=True))
            + "</set>"
            for spin in range(spins)
        )
        + "</set>"
        for ion in range(len(atoms))
    )
    dielectric = ""
    if step == "optics":
        window = 10.0 if trouble == "short window" else WINDOW
        count = int(incar["NEDOS"])
        energies = [window * i / (count - 1) for i in range(count)]
        fields = "".join(
            f"<field>{f}</field>" for f in ["energy", "xx", "yy", "zz", "xy", "yz", "zx"]
        )
        # VASP's own real part is not to be used: it is plainly wrong here.
        for part, of in (("imag", imaginary), ("real", lambda energy: 3.0)):
            table = rows((e, of(e), of(e), of(e), 0.0, 0.0, 0.0) for e in energies)
            dielectric += f"<{part}><array>{fields}<set>{table}</set></array></{part}>"
        dielectric = (
            f'<dielectricfunction comment="density-density">{dielectric}</dielectricfunction>'
        )
    steps = int(incar.get("NELM", 60)) if trouble == "unconverged" or step == "hybrid" else 5
    energy = "".join(item(n, ENERGY) for n in ("e_fr_energy", "e_wo_entrp", "e_0_energy"))

    def vectors(name, table):
        lines = "".join(f"<v> {' '.join(str(x) for x in row)} </v>\n" for row in table)
        return f'<varray name="{name}">{lines}</varray>'

    crystal = (
        f"<crystal>{vectors('basis', basis)}{vectors('rec_basis', basis)}</crystal>"
        f"{vectors('positions', positions)}"
    )
    species = "".join(f"<rc><c>{s}</c><c>{symbols.index(s) + 1}</c></rc>" for s in atoms)
    kinds = "".join(
        f"<rc><c>{n}</c><c>{s}</c><c>10.0</c><c>4.0</c><c>PAW_PBE {s} 01Jan2000</c></rc>"
        for s, n in zip(symbols, counts, strict=True)
    )
    divisions = " ".join(str(n) for n in mesh)
    kpoints = vectors("kpointlist", [(x, 0.0, 0.0) for x in points])
    kpoints += vectors("weights", [(w,) for w in weights])
    parameters = [
        item("ENMAX", incar["ENCUT"]),
        item("NELECT", electrons),
        item("NBANDS", bands, "int"),
        item("NELM", incar.get("NELM", 60), "int"),
        item("NSW", incar.get("NSW", 0), "int"),
        item("IBRION", incar.get("IBRION", -1), "int"),
        item("EDIFFG", incar.get("EDIFFG", 0.0)),
        item("ISMEAR", incar["ISMEAR"], "int"),
        item("ISPIN", spins, "int"),
        item("LORBIT", incar.get("LORBIT", 0), "int"),
        item("LHFCALC", "T" if step == "hybrid" else "F", "logical"),
        item("AEXX", incar.get("AEXX", 0.0)),
        item("LNONCOLLINEAR", "F", "logical"),
        item("LSORBIT", "F", "logical"),
    ]
    text = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator>{item("program", "vasp", "string")}{item("version", "6.4.2 fake", "string")}</generator>
<incar>{"".join(incar_item(n, v) for n, v in incar.items() if " " not in v)}</incar>
<kpoints><generation param="Gamma"><v type="int" name="divisions"> {divisions} </v>
<v name="usershift"> 0 0 0 </v></generation>{kpoints}</kpoints>
<parameters><separator name="electronic">{"".join(parameters)}</separator></parameters>
<atominfo><atoms> {len(atoms)} </atoms><types> {len(symbols)} </types>
<array name="atoms"><set>{species}</set></array>
<array name="atomtypes"><set>{kinds}</set></array></atominfo>
<structure name="initialpos">{crystal}</structure>
<calculation>{f"<scstep><energy>{energy}</energy></scstep>" * steps}
<structure>{crystal}</structure>{vectors("forces", [(0, 0, 0)] * len(atoms))}
{vectors("stress", [(0, 0, 0)] * 3)}<energy>{energy}</energy>
<eigenvalues><array><set>{eigenvalues}</set></array></eigenvalues>
{dielectric}
<dos>{item("efermi", 0.1)}<total><array><field>energy</field><field>total</field>
<field>integrated</field><set>{
        "".join(f'<set comment="spin {spin + 1}">{total}</set>' for spin in range(spins))
    }</set></array></total>
<partial><array><field>energy</field><field>s</field><field>p</field><set>{partial}</set></array>
</partial></dos></calculation>
<structure name="finalpos">{crystal}</structure>
</modeling>
"""
    return text[: len(text) // 2] if trouble == "cut off" else text


def outcar(atoms, moment):
    table = "".join(
        f"{n + 1:5d} {0.0:8.3f} {0.0:8.3f} {moment:8.3f} {moment:8.3f}\n" for n in range(atoms)
    )
    return f""" vasp.6.4.2 20Jul23 (build Aug 1 2023) complex
 running    2 mpi-ranks, with    1 threads/rank, on    1 nodes
   k-points           NKPTS =      8   number of bands    NBANDS=     18
   total plane-waves  NPLWV =   4096
   IBRION =     -1    ionic relax: 0-MD 1-quasi-New 2-CG
 E-fermi :   0.1000     XC(G=0):  -8.0912     alpha+bet : -7.1720
 number of electron       8.0000000 magnetization    {moment * atoms:.4f}

 magnetization (x)

# of ion       s       p       d       tot
------------------------------------------
{table}--------------------------------------------------
tot          0.000   0.000   {moment * atoms:.3f}   {moment * atoms:.3f}

  total drift:                                0.000000      0.000000      0.000000
  free  energy   TOTEN  =        {ENERGY:.8f} eV
 General timing and accounting informations for this job:
                  Total CPU time used (sec):        3.000
                         Elapsed time (sec):        3.500
                   Maximum memory used (kb):      100000.
"""


def main():
    incar = read_incar()
    step = step_of(incar)
    failing, _, kind = os.environ.get("FAKE_VASP", "").partition(":")
    trouble = kind if failing in (step, "all") else ""
    if journal := os.environ.get("FAKE_VASP_JOURNAL"):
        with open(journal, "a") as stream:
            stream.write(f"{step} {os.getpid()}\n")
    if step == "hybrid" and not os.path.exists("WAVECAR"):
        sys.exit("no orbitals")
    if step == "optics" and not os.path.exists("CHGCAR"):
        sys.exit("no density")
    if trouble == "hang":
        time.sleep(600)
    if trouble == "crash":
        print("LAPACK: Routine ZPOTRF failed! on this fake machine")
        sys.exit(1)
    with open("POSCAR") as stream:
        poscar = stream.read()
    atoms = sum(int(x) for x in poscar.splitlines()[6].split())
    for name, text in (
        ("vasprun.xml", vasprun(incar, step, trouble)),
        ("OUTCAR", outcar(atoms, 1.5 if trouble == "magnetic" else 0.0)),
        ("CONTCAR", poscar),
        ("OSZICAR", "       N       E\n   1 F= -.75E+01 E0= -.75E+01  d E =0.0E+00\n"),
        ("CHGCAR", "density"),
        ("WAVECAR", "orbitals"),
    ):
        with open(name, "w") as stream:
            stream.write(text)


if __name__ == "__main__":
    main()
