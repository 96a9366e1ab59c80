import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from opalign.cli.dataset import app
from opalign.dataset.formats.outputs import import_outputs
from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError, SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats import SpectrumFile, write_spectrum
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

GRID = EnergyGrid(start=0.0, stop=25.0, num=501)
COARSE = EnergyGrid(start=0.0, stop=20.0, num=201)
ROCKSALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
).get_primitive_structure()
AXES = ("xx", "yy", "zz", "xy", "yz", "zx")


def tensor(resonance=6.0):
    """ε (n, 3, 3) of one oscillator per axis."""
    energies = GRID.values
    epsilon = np.zeros((GRID.num, 3, 3), dtype=complex)
    for axis, strength in enumerate((60.0, 70.0, 80.0)):
        line = strength / (resonance**2 - energies**2 - 0.8j * energies)
        epsilon[:, axis, axis] = 1.0 + line
    return epsilon


def vasprun(folder, epsilon, shift=0.1):
    """Write what VASP writes of ε and the eigenvalues, no more than is read."""

    def part(values):
        columns = [values["xyz".index(a[0]), "xyz".index(a[1])] for a in AXES]
        lines = np.column_stack([GRID.values, *columns])
        rows = "\n".join(f"<r> {' '.join(f'{x:.4f}' for x in line)} </r>" for line in lines)
        fields = "".join(f"<field>{name}</field>" for name in ("energy", *AXES))
        return f"<array>{fields}<set>{rows}</set></array>"

    moved = np.moveaxis(epsilon, 0, -1)
    basis = "".join(f"<v> {x} {y} {z} </v>" for x, y, z in ROCKSALT.lattice.matrix)
    folder.mkdir(parents=True)
    (folder / "vasprun.xml").write_text(
        f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator><i name="version" type="string">6.4.2 </i></generator>
 <incar><i type="logical" name="LOPTICS"> T  </i><i name="CSHIFT"> {shift}</i></incar>
 <atominfo><array name="atoms"><set><rc><c>Mg</c><c>1</c></rc><rc><c>O </c><c>2</c></rc></set>
 </array></atominfo>
 <calculation><structure><crystal><varray name="basis">{basis}</varray></crystal>
  <varray name="positions"><v> 0 0 0 </v><v> 0.5 0.5 0.5 </v></varray></structure>
 <eigenvalues><array><set><set comment="spin 1"><set comment="kpoint 1">
  <r> 0.0 1.0 </r><r> 4.5 0.0 </r></set></set></set></array></eigenvalues>
 <dielectricfunction comment="density-density"><imag>{part(moved.imag)}</imag>
  <real>{part(moved.real)}</real></dielectricfunction></calculation></modeling>"""
    )


def test_outputs_of_vasp(tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "mine.parquet"
    vasprun(runs / "MgO", tensor())
    vasprun(runs / "set" / "again", tensor(7.0))
    vasprun(runs / "wider", tensor(), shift=0.3)
    vasprun(runs / "torn", tensor())
    (runs / "torn" / "vasprun.xml").write_text("<modeling><calculation>")
    (runs / "empty").mkdir()
    (runs / "empty" / "OUTCAR").touch()
    (runs / "notes.json").write_text("{}")
    result = CliRunner().invoke(
        app, ["import", "outputs", str(runs), str(out), "--grid", "0:20:201", "--licence", "CC0"]
    )
    assert result.exit_code == 0, result.output
    assert "2 materials, 3 left out" in result.stdout
    for text in (
        "left out " + str(runs / "empty" / "OUTCAR") + ": is empty",
        "wider/vasprun.xml: level ipa is a tensor, Lorentzian HWHM = 0.3 eV; expected a tensor",
        "torn/vasprun.xml: ",
    ):
        assert text in result.stderr
    table = SpectraTable.open(out)
    table.validate()
    assert table.ids == ["MgO", "set_again"]
    assert table.grid == COARSE
    assert table.schema.licence == "CC0"
    level = table.levels["ipa"]
    assert level.broadening == Broadening("lorentzian", 0.1)
    assert level.components == ("xx", "yy", "zz", "xy", "yz", "xz")
    np.testing.assert_allclose(table.scalar("direct_gap_eV"), 4.5)
    expected = np.trace(tensor(), axis1=1, axis2=2) / 3
    np.testing.assert_allclose(
        table.isotropic_imaginary("ipa")[0],
        np.interp(COARSE.values, GRID.values, expected.imag),
        atol=2e-4,
    )
    assert table.structure(0).composition.reduced_formula == "MgO"


def test_files_named_after_their_material_with_structures_beside(tmp_path):
    epsilon = np.trace(tensor(), axis1=1, axis2=2) / 3
    for name in ("a", "b", "bare"):
        write_spectrum(OpticalSpectrum(GRID, epsilon, "bse"), tmp_path / f"{name}.csv")
        if name != "bare":
            ROCKSALT.to(filename=str(tmp_path / f"{name}.cif"))
    # A spectrum is no structure, though its name could be that of one.
    write_spectrum(OpticalSpectrum(GRID, epsilon, "rpa"), tmp_path / "other.json")
    report = import_outputs(tmp_path, tmp_path / "out" / "mine.parquet")
    table = SpectraTable.open(report.path)
    assert table.ids == ["a", "b"]
    assert table.levels["bse"].components == ("mean",)
    assert np.isnan(table.scalar("direct_gap_eV")).all()
    (name, reason), (other, _) = report.skipped
    assert name.endswith("bare.csv")
    assert "2 structure files stand beside it" in reason
    assert other.endswith("other.json")


def test_several_levels_and_what_is_not_there(tmp_path):
    spectra = [OpticalSpectrum(GRID, tensor(x), level) for x, level in ((6, "ipa"), (6.5, "rpa"))]
    source = tmp_path / "MgO.json"
    write_spectrum(SpectrumFile(source, "json", tuple(spectra), ROCKSALT), source)
    table = SpectraTable.open(
        import_outputs(source, tmp_path / "both.parquet", levels=("ipa", "rpa")).path
    )
    assert list(table.levels) == ["ipa", "rpa"]
    for changes, words in (
        ({"levels": ("gw",)}, "gw"),
        ({"grid": EnergyGrid(start=0.0, stop=30.0, num=301)}, "reaches beyond"),
    ):
        with pytest.raises(DatasetError, match=words):
            import_outputs(source, tmp_path / "none.parquet", **changes)
    with pytest.raises(DatasetError, match="does not exist"):
        import_outputs(tmp_path / "nowhere", tmp_path / "none.parquet")
    (tmp_path / "notes.txt").write_text("nothing\n")
    with pytest.raises(SpectrumError, match="no known format"):
        import_outputs(tmp_path / "notes.txt", tmp_path / "none.parquet")
