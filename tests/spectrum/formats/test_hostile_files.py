"""Files that mean harm or were cut off: only SpectrumError comes out, soon and in little memory."""

import gzip
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opalign.errors import SpectrumError
from opalign.spectrum.formats import read_file
from opalign.spectrum.formats import source as opening

from .conftest import ENERGIES, samples, vasprun_text

KINDS = ("vasprun", "outcar", "yambo", "gpaw", "table", "espresso", "csv", "json", "yaml", "gzip")


def outcome(path):
    """What reading gives: a file or SpectrumError; anything else fails the test."""
    try:
        return read_file(path, level=None)
    except SpectrumError as error:
        return error


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return samples(tmp_path_factory.mktemp("originals"))


SPLINTERS = [
    *(b"NaN", b"-", b"1e999", b"****", b"99999999999", b"-1", b"\n", b"\xff", b"\0"),
    *(b"<", b"&a;", b"{", b"[", b"#", b",", b":", b"'", b'"'),
]

ENTITIES = (
    '<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;">]>\n',
    '<!DOCTYPE a [<!ENTITY xxe SYSTEM "file:///etc/passwd">]>\n',
    '<!DOCTYPE a SYSTEM "http://example.org/a.dtd">\n',
    '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>\n',
)


@pytest.mark.parametrize("declaration", ENTITIES)
def test_entities_are_refused_before_they_expand(tmp_path, tensor, declaration):
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun_text([("density-density", tensor)], head=declaration))
    with pytest.raises(SpectrumError, match=r"line 2, column \d+: a document type") as caught:
        read_file(path)
    assert "root:" not in str(caught.value)


def test_undeclared_entities(tmp_path, tensor):
    text = vasprun_text([("density-density", tensor)])
    path = tmp_path / "vasprun.xml"
    path.write_text(text.replace("6.4.2", "&lol;"))
    with pytest.raises(SpectrumError, match="undefined entity"):
        read_file(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("<incar>", "<incar>" + "<a>" * 100, "nested too deeply"),
        ("6.4.2", "x" * 200_000, "too long a text"),
        ("<modeling>", "<modeling><x>" + "<modeling2></modeling2>" + "</x>", None),
        ("<modeling>", "<other>", "root element"),
        ("<field>xx</field>", "<field>uu</field>", "columns"),
        ("<field>xx</field>", "", "columns"),
        ('encoding="ISO-8859-1"', 'encoding="nonsense"', "encoding|XML"),
        ("<v> 0 2.1 2.1 </v>", "<v> 0 2.1 </v>", "2 numbers"),
        ("<v> 0 2.1 2.1 </v>", "<v> 0 2.1 x </v>", "'x' is not a number"),
        ("</imag>", "</imag></dielectricfunction>", "XML"),
    ],
)
def test_odd_xml(tmp_path, tensor, old, new, says):
    text = vasprun_text([("density-density", tensor)])
    assert old in text
    path = tmp_path / "vasprun.xml"
    path.write_text(text.replace(old, new, 1))
    if says is None:
        assert read_file(path).levels == ("ipa",)
        return
    with pytest.raises(SpectrumError, match=says) as caught:
        read_file(path)
    assert "vasprun.xml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "start", "filler"),
    [
        ("vasprun.xml", b"<modeling><calculation>", b"<i>" + b"0" * 1000 + b"</i>\n"),
        ("OUTCAR", b" vasp.6.4.2\n", b"0" * 1000 + b"\n"),
        ("a.csv", b"energy_eV,n,k\n", b"\n"),
    ],
)
def test_decompression_bombs_stop_early(tmp_path, monkeypatch, name, start, filler):
    monkeypatch.setattr(opening, "HARMLESS_SIZE", 2**21)
    path = tmp_path / f"{name}.gz"
    with gzip.open(path, "wb", compresslevel=9) as stream:
        stream.write(start)
        for _ in range(30):
            stream.write(filler * (2**20 // len(filler)))
    tracemalloc.start()
    with pytest.raises(SpectrumError, match="decompression bomb"):
        read_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # It ends after some 8 of 30 MB; streamed formats hold pieces of a megabyte.
    assert peak < (25e6 if name == "a.csv" else 12e6)


def test_memory_is_bounded_by_the_tensor(tmp_path, tensor):
    # 20 MB of projections around a tensor of 25 energies.
    row = "<r>" + " 0.1234" * 300 + " </r>\n"
    ballast = "<projected><array><set>" + row * 10_000 + "</set></array></projected>"
    text = vasprun_text([("density-density", tensor)])
    path = tmp_path / "vasprun.xml"
    path.write_text(text.replace("<dielectricfunction", ballast + "<dielectricfunction", 1))
    del ballast, text
    read_file(path)  # imports pymatgen
    tracemalloc.start()
    assert read_file(path).levels == ("ipa",)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6


def test_sizes_beyond_the_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MAXIMUM_TEXT", 1000)
    (tmp_path / "a.csv").write_text("energy_eV,n,k\n" + "1,2,3\n" * 1000)
    with pytest.raises(SpectrumError, match="holds more than"):
        read_file(tmp_path / "a.csv")
    (tmp_path / "OUTCAR").write_text(" vasp.6.4.2\n" + "x" * 3_000_000)
    with pytest.raises(SpectrumError, match="line 2: is no text"):
        read_file(tmp_path / "OUTCAR")
    (tmp_path / "vasprun.xml").write_text("<modeling><a " + "b" * 40_000_000)
    with pytest.raises(SpectrumError, match=r"does not end|not well-formed"):
        read_file(tmp_path / "vasprun.xml")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_cut_off_archives(originals, tmp_path, share):
    content = originals["gzip"].read_bytes()
    path = tmp_path / "vasprun.xml.gz"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SpectrumError, match=r"vasprun.xml.gz.*cut off or damaged after \d+ bytes"):
        read_file(path)
    path.write_bytes(content[:-8] + b"\0" * 8)  # a wrong checksum
    with pytest.raises(SpectrumError, match="damaged"):
        read_file(path)


def test_cut_off_xml_names_the_place(originals, tmp_path):
    content = originals["vasprun"].read_bytes()
    path = tmp_path / "vasprun.xml"
    cut = content[: len(content) // 2]
    path.write_bytes(cut)
    line = cut.count(b"\n") + 1
    with pytest.raises(SpectrumError, match=rf"line {line}, column \d+: is not well-formed XML"):
        read_file(path)


@pytest.mark.parametrize("kind", KINDS)
def test_files_cut_off_anywhere(originals, tmp_path, kind):
    path = tmp_path / originals[kind].name
    content = originals[kind].read_bytes()
    whole = read_any_epsilon(originals[kind])
    for end in range(1, len(content), max(1, len(content) // 150)):
        path.write_bytes(content[:end])
        found = outcome(path)
        if isinstance(found, SpectrumError) or kind in ("espresso", "table"):
            continue
        # What is left of a table can be a spectrum, but never one with other numbers in it,
        # except for the last row, whose last digits may be missing.
        for spectrum in found.spectra:
            rows = min(spectrum.grid.num, len(ENERGIES)) - 1
            whole_level = whole[spectrum.level]
            if spectrum.grid.num == len(ENERGIES) and kind != "yaml":
                np.testing.assert_allclose(spectrum.epsilon[:rows], whole_level[:rows], atol=1e-3)


def read_any_epsilon(path):
    try:
        return {spectrum.level: spectrum.epsilon for spectrum in read_file(path).spectra}
    except SpectrumError:  # a table, whose level nobody told
        return {}


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(draw=st.data())
def test_files_with_wrong_bytes(originals, tmp_path, kind, draw):
    content = bytearray(originals[kind].read_bytes())
    for _ in range(draw.draw(st.integers(1, 4))):
        start = draw.draw(st.integers(0, len(content) - 1))
        stop = start + draw.draw(st.integers(0, 12))
        content[start:stop] = draw.draw(
            st.one_of(
                st.binary(max_size=12),
                st.sampled_from(SPLINTERS),
            )
        )
    path = tmp_path / originals[kind].name
    path.write_bytes(bytes(content))
    outcome(path)


@pytest.mark.parametrize(
    "name",
    ["vasprun.xml", "OUTCAR", "o.eps_q1_ip", "df_x.csv", "a.csv", "epsr_a.dat", "a.json", "a.yml"],
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
        st.text("0123456789.,-eE#: \n{}[]<>&nk", max_size=200).map(str.encode),
    )
)
def test_noise_under_any_name(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    outcome(path)
