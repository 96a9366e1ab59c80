"""Any file by any name: recognition, levels that are asked for, exact writing, refusals."""

import gzip
import subprocess
import sys

import numpy as np
import pytest

from opalign.errors import SpectrumError, StorageError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats import read_file, read_spectra, supported_formats, write_spectrum
from opalign.spectrum.formats.registry import FORMATS, recognise
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

from .conftest import samples

LEVELS = {
    "vasprun": ("ipa", "ipa current-current"),
    "gzip": ("ipa", "ipa current-current"),
    "outcar": ("ipa", "ipa current-current"),
    "yambo": ("rpa", "ipa"),
    "gpaw": ("ipa", "rpa"),
    "table": ("measured",),
    "espresso": ("ipa",),
    "csv": ("rpa",),
    "json": ("rpa",),
    "yaml": ("rpa",),
}
NAMED = {"espresso", "gpaw"}  # what their tables are, their names tell


def read_any(kind, path, **options):
    return read_file(path, level="measured" if kind == "table" else None, **options)


@pytest.mark.parametrize("kind", LEVELS)
def test_every_format(tmp_path, kind):
    path = samples(tmp_path)[kind]
    found = read_any(kind, path, material_id="mine")
    assert found.levels == LEVELS[kind]
    assert found.path == path
    for spectrum in found.spectra:
        assert spectrum.material_id == "mine"
        assert spectrum.epsilon_real.max() > 1.0
        assert spectrum.provenance


@pytest.mark.parametrize("kind", LEVELS)
def test_content_is_recognised_under_any_name_and_compressed(tmp_path, kind):
    path = samples(tmp_path / "a")[kind]
    known = recognise(path)
    other = tmp_path / "unknown.bin"
    content = path.read_bytes()
    other.write_bytes(content if kind == "gzip" else gzip.compress(content))
    assert recognise(other) == known
    if kind not in NAMED | {"yambo"}:
        np.testing.assert_array_equal(
            read_any(kind, other).spectra[0].epsilon, read_any(kind, path).spectra[0].epsilon
        )


@pytest.mark.parametrize("kind", [kind for kind in LEVELS if kind not in ("csv", "json", "yaml")])
def test_windows_line_ends_and_byte_order_marks(tmp_path, kind):
    path = samples(tmp_path)[kind]
    expected = read_any(kind, path).spectra[0].epsilon
    if kind == "gzip":
        return
    content = path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(content if kind in ("outcar", "vasprun") else b"\xef\xbb\xbf" + content)
    np.testing.assert_array_equal(read_any(kind, path).spectra[0].epsilon, expected)


@pytest.mark.parametrize("kind", LEVELS)
def test_step_and_broadening(tmp_path, kind):
    path = samples(tmp_path)[kind]
    width = Broadening("gaussian", 0.25)
    found = read_any(kind, path, step=0.3, broadening=width)
    assert found.spectra[0].grid.step == pytest.approx(0.3, rel=0.1)
    assert found.spectra[0].grid.step <= 0.3 + 1e-12
    assert found.spectra[0].broadening == width
    assert found.spectra[0].grid.stop == pytest.approx(read_any(kind, path).spectra[0].grid.stop)
    with pytest.raises(SpectrumError, match="step"):
        read_any(kind, path, step=-1.0)
    with pytest.raises(SpectrumError, match="step"):
        read_any(kind, path, step=1e-9)


@pytest.mark.parametrize("kind", [kind for kind in LEVELS if kind != "table"])
def test_a_level_is_chosen_and_never_relabelled(tmp_path, kind):
    path = samples(tmp_path)[kind]
    for level in LEVELS[kind]:
        assert read_file(path, level=level).levels == (level,)
    with pytest.raises(SpectrumError, match="experiment"):
        read_file(path, level="experiment")


def test_unknown_files_are_told_what_is_known(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear colleagues,\nplease find the spectrum attached.\n")
    with pytest.raises(SpectrumError, match="no known format") as caught:
        read_spectra(path)
    for entry in FORMATS:
        assert entry.name in str(caught.value)
        assert any(entry.example in line for line in supported_formats())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.csv", None, "No such file"),
        ("empty.csv", b"", "is empty"),
        ("blank.xml", b" \n\n", "is empty"),
        ("vasprun.xml", b"\x00\x01\x02\xff", "not well-formed XML"),
        ("OUTCAR", b"\x00\x01\x02\xff", "no text file"),
        ("noise", bytes(range(256)) * 4, "no known format"),
        ("a.csv", "energy_eV,n,k\n1,2,3\n".encode("utf-16"), "encoded in UTF-16"),
        ("a.csv", b"energy_eV,n,k\n1,2,3\n2,\xff,3\n", r"line 3: byte 0xff is not UTF-8"),
        ("a.csv", b"energy_eV,n,k\n1,2,3\n2,\x00,3\n", r"line 3: is no text file"),
        ("df.csv", b"1, 2, 3, 4, 5\nNaN, 2, 3, 4, 5\n", "line 2, column 1"),
        ("a.json", b'{"format": "opalign spectra"', "line 1, column 29"),
    ],
)
def test_files_that_are_no_spectra(tmp_path, name, content, says):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpectrumError, match=says) as caught:
        read_spectra(path)
    assert name in str(caught.value)


def test_folders(tmp_path):
    with pytest.raises(SpectrumError, match="is a folder"):
        read_spectra(tmp_path)


def bits(spectrum):
    fields = (spectrum.grid, spectrum.level, spectrum.broadening)
    texts = (spectrum.material_id, spectrum.provenance)
    return (*fields, *texts, np.ascontiguousarray(spectrum.epsilon).tobytes())


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_writing_keeps_every_bit(tmp_path, tensor, suffix):
    tensor = tensor.copy()
    tensor[0] = np.diag([1 / 3 + 0.1j, 5e-324 + 0.1j, -1e-17 + 1e300j / 1e300])
    tensor[0, 0, 1] = tensor[0, 1, 0] = complex(-0.0, 0.0)
    spectrum = OpticalSpectrum(
        EnergyGrid(0.1, 0.7, 25), tensor, "rpa", Broadening("lorentzian", 1 / 3), "é", 'a "b"\n#'
    )
    for kept in (spectrum, spectrum.isotropic()):
        path = write_spectrum(kept, tmp_path / f"a{suffix}")
        back = read_file(path).spectra[0]
        if suffix == ".csv":
            np.testing.assert_array_equal(back.epsilon, kept.epsilon)
        else:
            assert bits(back) == bits(kept)


def test_json_of_a_whole_file(tmp_path):
    found = read_file(samples(tmp_path)["vasprun"])
    path = write_spectrum(found, tmp_path / "a.json")
    back = read_file(path)
    assert [bits(spectrum) for spectrum in back.spectra] == [bits(s) for s in found.spectra]
    assert back.structure == found.structure
    assert back.metadata == found.metadata


def test_writers_refuse_what_they_cannot_hold(tmp_path):
    spectra = read_spectra(samples(tmp_path)["vasprun"])
    with pytest.raises(SpectrumError, match=r"2 spectra do not fit"):
        write_spectrum(spectra, tmp_path / "a.csv")
    with pytest.raises(SpectrumError, match=r"'.xls' names no format"):
        write_spectrum(spectra, tmp_path / "a.xls")
    assert len(read_spectra(write_spectrum(spectra, tmp_path / "a.json"))) == 2
    with pytest.raises(StorageError):
        write_spectrum(spectra, tmp_path / "OUTCAR" / "a.json")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"num": 25', '"num": 2500000000', "claims 2500000000"),
        ('"num": 25', '"num": 24', "24 of each"),
        ('"version": 1', '"version": 2', "version"),
        ('"mean"', '"yx"', "components yx"),
        ('"width": 0.1', '"width": -0.1', "broadening"),
        ('"level": "rpa"', '"level": 3', "level"),
        ('"level": "rpa"', '"level": ""', "level of theory is missing"),
        ('"imaginary": [', '"imaginary": [NaN, ', "NaN is not a number"),
        ('"imaginary": [', '"imaginary": [1e999, ', "26 imaginary"),
        ('"structure": null', '"structure": {"a": 1}', "structure cannot be read"),
        ('"structure": null', '"more": null', "more"),
        ('"metadata": {}', '"metadata": ' + "[" * 5000, "cannot be read|no JSON"),
    ],
)
def test_json_that_breaks_the_schema(tmp_path, old, new, says):
    path = samples(tmp_path)["json"]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SpectrumError, match=says):
        read_spectra(path)


def test_csv_header_of_nonsense(tmp_path):
    path = samples(tmp_path)["csv"]
    text = path.read_text()
    for old, new, says in (
        ('"mp-1"', "[1]", "material_id"),
        ('"rpa"', "{}", "level"),
        ('"rpa"', "[" * 5000, "not a JSON value"),
        ('"num": 25', '"num": 1e99', "make no sense"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(SpectrumError, match=says):
            read_spectra(path)
    # A claim that the rows do not bear out is not believed.
    path.write_text(text.replace('"num": 25', '"num": 2500000000'))
    assert read_spectra(path)[0].grid.num == 25


def test_formats_are_imported_when_needed():
    code = (
        "import sys, opalign.spectrum.formats.registry as registry;"
        "registry.supported_formats();"
        "heavy = {'numpy', 'yaml', 'pandas', 'pymatgen'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy - {'numpy'} else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
