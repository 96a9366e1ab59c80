"""Small files of every format, as the programs write them, made from one analytic tensor."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats import write_spectrum
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

ENERGIES = np.linspace(0.0, 12.0, 25)
AXES = ("xx", "yy", "zz", "xy", "yz", "zx")


def oscillators(energies=ENERGIES):
    """ε (n, 3, 3) of one oscillator per principal axis, turned about z and x: all six differ."""
    epsilon = np.zeros((len(energies), 3, 3), dtype=complex)
    for axis, (resonance, strength) in enumerate(((4.0, 60.0), (6.0, 80.0), (7.5, 50.0))):
        epsilon[:, axis, axis] = 1.0 + strength / (resonance**2 - energies**2 - 1j * 0.8 * energies)
    cosine, sine = np.cos(0.3), np.sin(0.3)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    return turn @ epsilon @ turn.T


def component(epsilon, name):
    row, column = ("xyz".index(letter) for letter in name)
    return epsilon[:, row, column]


def vasprun_text(blocks, incar="", energies=ENERGIES, atoms=("Mg", "O"), head="", digits=4):
    """A vasprun.xml; ``blocks`` are (comment or None, ε)."""

    def part(values):
        rows = [
            "<r> " + " ".join(f"{number:10.{digits}f}" for number in row) + " </r>"
            for row in np.column_stack([energies, values])
        ]
        fields = "".join(f"<field>{name}</field>" for name in ("energy", *AXES))
        return f'<array><dimension dim="1">gridpoints</dimension>{fields}<set>\n' + (
            "\n".join(rows) + "\n</set></array>"
        )

    tensors = ""
    for comment, epsilon in blocks:
        columns = np.stack([component(epsilon, name) for name in AXES], axis=-1)
        attribute = "" if comment is None else f' comment="{comment}"'
        tensors += (
            f"<dielectricfunction{attribute}>\n<imag>\n{part(columns.imag)}\n</imag>\n"
            f"<real>\n{part(columns.real)}\n</real>\n</dielectricfunction>\n"
        )
    states = "".join(
        f'<set comment="kpoint {k}"><r> {v} 1.0 </r><r> {c} 0.0 </r></set>'
        for k, (v, c) in enumerate(((-1.0, 4.5), (0.0, 5.0)), start=1)
    )
    species = "".join(f"<rc><c>{atom} </c><c> 1</c></rc>" for atom in atoms)
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
{head}<modeling>
 <generator><i name="program" type="string">vasp </i>
  <i name="version" type="string">6.4.2 </i></generator>
 <incar>
  <i type="logical" name="LOPTICS"> T  </i>
  <i name="CSHIFT">      0.10000000</i>
  {incar}
 </incar>
 <parameters><separator name="electronic">
  <i type="int" name="NEDOS"> {len(energies)}</i>
  <i type="logical" name="LNONCOLLINEAR"> T  </i>
 </separator></parameters>
 <atominfo><atoms> 2 </atoms><array name="atoms"><set>{species}</set></array></atominfo>
 <structure name="initialpos"><crystal><varray name="basis">
  <v> 0 9 9 </v><v> 9 0 9 </v><v> 9 9 0 </v></varray></crystal>
  <varray name="positions"><v> 0 0 0 </v><v> 0.5 0.5 0.5 </v></varray></structure>
 <calculation>
  <structure><crystal><varray name="basis">
   <v> 0 2.1 2.1 </v><v> 2.1 0 2.1 </v><v> 2.1 2.1 0 </v></varray></crystal>
   <varray name="positions"><v> 0 0 0 </v><v> 0.5 0.5 0.5 </v></varray></structure>
  <eigenvalues><array><set><set comment="spin 1">{states}</set></set></array></eigenvalues>
{tensors} </calculation>
</modeling>
"""


def outcar_text(blocks, energies=ENERGIES):
    """The parts of an OUTCAR that are read; ``blocks`` are (label, ε)."""
    text = """ vasp.6.4.2 20Jul23 (build Aug 1 2023) gamma-only
   VRHFIN =Mg: s2p0
   VRHFIN =O: s2p4
   ions per type =               1   1
   number of dos      NEDOS =     25   number of ions     NIONS =      2
   ISPIN  =      1    spin polarized calculation?
  CSHIFT =0.1000    complex shift for real part using Kramers Kronig
      direct lattice vectors                 reciprocal lattice vectors
     0.000000000  2.100000000  2.100000000    -0.238095238  0.238095238  0.238095238
     2.100000000  0.000000000  2.100000000     0.238095238 -0.238095238  0.238095238
     2.100000000  2.100000000  0.000000000     0.238095238  0.238095238 -0.238095238

 position of ions in fractional coordinates (direct lattice)
   0.00000000  0.00000000  0.00000000
   0.50000000  0.50000000  0.50000000

 E-fermi :   0.5700     XC(G=0):  -8.0912     alpha+bet : -7.1720

 k-point     1 :       0.0000    0.0000    0.0000
  band No.  band energies     occupation
      1      -1.0000      2.00000
      2       4.5000      0.00000

 k-point     2 :       0.5000    0.0000    0.0000
  band No.  band energies     occupation
      1       0.0000      2.00000
      2       5.0000      0.00000

"""
    for label, epsilon in blocks:
        columns = np.stack([component(epsilon, name) for name in AXES], axis=-1)
        for part, values in (("IMAGINARY", columns.imag), ("     REAL", columns.real)):
            text += (
                f"  frequency dependent {part} DIELECTRIC FUNCTION (independent particle, "
                f"no local field effects) {label}\n     E(ev)      X         Y         Z\n"
                f"  {'-' * 100}\n"
            )
            for row in np.column_stack([energies, values]):
                text += " ".join(f"{number:12.6f}" for number in row) + "\n"
            text += "\n"
    return text + " General timing and accounting informations for this job:\n"


def yambo_text(header, columns, energies=ENERGIES):
    rows = np.column_stack([energies, *columns])
    lines = ["   ".join(f"{number:11.6f}" for number in row) for row in rows]
    return header + "#\n" + "\n".join(lines) + "\n"


YAMBO_4 = """#  \\ \\ \\ \\ \\\\::: _  \\ \\\\::\\| \\| \\ \\\\
# Version 4.4.0 Revision 148. (Based on r.16920 h.961a8d
#                  MPI+SLK+OpenMP Build
# Absorption @ Q(1) [q->0 direction] :0.7071E-5 0.7071E-5  0.000
#
# - Energies      are  Slater exchange(X)+Perdew & Zunger(C)
#
#    E/ev[1]      EPS-Im[2]    EPS-Re[3]    EPSo-Im[4]   EPSo-Re[5]
"""
YAMBO_5 = """# Absorption @ Q(1):   1.00000000      0.00000000      0.00000000    [q->0 direction]
#
# [ X ] Hartree size                              :  131
# [GEN] [r,Vnl] included                          : yes
#
#    E[1] [eV]          Im(eps)            Re(eps)            Im(eps_o)          Re(eps_o)
"""


@pytest.fixture
def tensor():
    return oscillators()


@pytest.fixture
def vasp_folder():
    folder = os.environ.get("OPALIGN_DATA")
    if not folder:
        pytest.skip("OPALIGN_DATA is not set")
    path = Path(folder) / "vasp_mgse"
    if not path.is_dir():
        pytest.skip(f"{path} is absent")
    return path


@pytest.fixture
def data():
    return Path(__file__).parent / "data"


def samples(folder):
    """Write a file of each format into ``folder``; return format → the file to read."""
    epsilon = oscillators()
    scalar = np.trace(epsilon, axis1=1, axis2=2) / 3.0
    spectrum = OpticalSpectrum(
        EnergyGrid(0.0, 12.0, 25), scalar, "rpa", Broadening("gaussian", 0.1), "mp-1", "a run"
    )
    blocks = [("density-density", epsilon), ("current-current", epsilon + np.eye(3) * 0.1j)]
    folder.mkdir(parents=True, exist_ok=True)

    def text(name, content):
        path = folder / name
        path.write_bytes(content.encode())
        return path

    def columns(values):
        return "\n".join(" ".join(f"{n:15.9f}" for n in row) for row in values) + "\n"

    files = {
        "vasprun": text("vasprun.xml", vasprun_text(blocks)),
        "outcar": text("OUTCAR", outcar_text(blocks)),
        "yambo": text(
            "o-job.eps_q1_inv_rpa_dyson",
            yambo_text(YAMBO_5, [scalar.imag, scalar.real, scalar.imag + 0.1, scalar.real]),
        ),
        "gpaw": text(
            "df.csv",
            "".join(
                f"{e:.6f}, {v.real:.6f}, {v.imag:.6f}, {v.real:.6f}, {v.imag:.6f}\n"
                for e, v in zip(ENERGIES, scalar, strict=True)
            ),
        ),
        "table": text(
            "gold.csv",
            "wavelength_nm,n,k\n"
            + "".join(f"{w:.1f},{1.5 + 0.001 * w:.4f},{0.1:.4f}\n" for w in range(300, 900, 50)),
        ),
    }
    diagonal = np.stack([epsilon[:, i, i] for i in range(3)], axis=-1)
    for name, values in (("epsr", diagonal.real), ("epsi", diagonal.imag)):
        axes = "  ".join(f"{name}_{axis}" for axis in "xyz")
        rows = columns(np.column_stack([ENERGIES, values]))
        files["espresso"] = text(f"{name}_mgo.dat", f"# energy grid [eV]     {axes}\n#\n{rows}")
    for suffix, name in ((".csv", "csv"), (".json", "json"), (".yml", "yaml")):
        files[name] = write_spectrum(spectrum, folder / f"own{suffix}")
    packed = folder / "vasprun.xml.gz"
    packed.write_bytes(gzip.compress(files["vasprun"].read_bytes()))
    files["gzip"] = packed
    return files
