import re

import numpy as np
import pytest
from typer.testing import CliRunner

from opalign.cli.main import app
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

runner = CliRunner()
GRID = EnergyGrid(0.0, 12.0, 241)
OVERLAID = ("all", "epsilon", "nk", "absorption", "reflectivity", "loss")
ALONE = ("tauc", "tensor", "colour")


@pytest.fixture
def files(tmp_path):
    """An isotropic spectrum, a tensor, and a broadened spectrum."""
    edge = np.sqrt(np.maximum(GRID.values - 2.0, 0.0))
    imaginary = 4.0 * edge * np.exp(-(((GRID.values - 2.0) / 4.0) ** 2))
    plain = OpticalSpectrum.from_imaginary(GRID, imaginary, "rpa")
    tensor = OpticalSpectrum(GRID, np.eye(3) * plain.epsilon[:, None, None], "rpa")
    wide = plain.broadened(Broadening("lorentzian", 0.1))
    paths = []
    for name, spectrum in {"plain": plain, "tensor": tensor, "wide": wide}.items():
        paths.append(tmp_path / f"{name}.csv")
        spectrum.to_csv(paths[-1])
    return paths


def plot(*arguments):
    return runner.invoke(app, ["plot", *map(str, arguments)])


def svg_text(path):
    """Glyphs are drawn as paths; the comments beside them hold the words."""
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("quantity", [*OVERLAID, *ALONE])
def test_every_quantity_can_be_drawn(quantity, files, tmp_path):
    out = tmp_path / "figure.png"
    done = plot(files[1], "--quantity", quantity, "--out", out)
    assert done.exit_code == 0, done.output
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "figure.png" in done.stdout


@pytest.mark.parametrize("quantity", OVERLAID)
def test_several_with_a_reference(quantity, files, tmp_path):
    out = tmp_path / "figure.pdf"
    done = plot(*files[:2], "--reference", files[2], "--quantity", quantity, "--out", out)
    assert done.exit_code == 0, done.output
    assert out.read_bytes().startswith(b"%PDF")


def test_labels_titles_and_onsets_are_drawn(files, tmp_path):
    out = tmp_path / "figure.svg"
    done = plot(
        files[0], files[2], "--quantity", "absorption", "--label", "first", "--label", "second",
        "--title", "Both", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = svg_text(out)
    for words in ("first", "second", "Both", "broadened too far"):
        assert words in text
    # With its gap known, the tail of the broadened one is removed.
    done = plot(files[2], "--gap", 2.0, "--quantity", "absorption", "--out", out)
    assert done.exit_code == 0, done.output
    # Within the step of the grid, 0.05 eV, in which the cut is.
    assert re.search(r"onset (1\.9[5-9]|2\.0)", svg_text(out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label", "a", "--label", "b"), "2 labels for 1 spectra"),
        (("--out", "figure.bmp"), ".png, .svg, .pdf"),
        (("--quantity", "tauc", "--reference", "{plain}"), "one spectrum"),
        (("--material", "mp-1"), "table"),
    ],
)
def test_wrong_wishes_are_told(files, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [one.replace("{plain}", str(files[0])) for one in arguments]
    done = plot(files[0], "--out", "figure.png", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not list(tmp_path.glob("figure*"))


def test_a_bad_file_ends_it(files, tmp_path):
    done = plot(files[0], tmp_path / "absent.csv", "--out", tmp_path / "figure.png")
    assert done.exit_code == 2
    assert "absent.csv" in done.stderr
    assert not (tmp_path / "figure.png").exists()
