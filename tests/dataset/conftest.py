"""A small table of made-up materials whose every number is known."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opalign.dataset.schema import DIAGONAL, LevelInfo, ListInfo, ScalarInfo, TableSchema
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(start=0.0, stop=20.0, num=201)
CELLS = [["Mg", "O"], ["Ti", "O", "O"], ["O", "O", "O", "O", "Ti", "Ti"], ["Zn", "S"]]


def lorentz(strength: float, energy: float, width: float = 0.5) -> np.ndarray:
    """ε of one Lorentz oscillator, whose real and imaginary parts are a Kramers–Kronig pair."""
    e = GRID.values
    return 1.0 + strength * energy**2 / (energy**2 - e**2 - 1j * width * e)


@pytest.fixture
def schema() -> TableSchema:
    return TableSchema(
        grid=GRID,
        levels={
            "ipa": LevelInfo(
                broadening=Broadening("gaussian", 0.1), components=DIAGONAL, has_real=True
            ),
            "rpa": LevelInfo(description="with local fields"),
        },
        scalars={"band_gap_eV": ScalarInfo(unit="eV", description="gap")},
        lists={"channels": ListInfo(kind="string"), "mesh": ListInfo()},
        licence="CC0-1.0",
        source="made up",
        citation="none",
    )


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Four materials; ε differs by row and axis, so that a mix-up shows."""
    made = []
    for number, species in enumerate(CELLS):
        row: dict[str, Any] = {
            "material_id": f"mat-{number}",
            "lattice": np.diag([3.0, 4.0, 5.0]) + 0.1 * number,
            "species": species,
            "frac_coords": np.arange(3 * len(species)) / (3.0 * len(species)),
            "band_gap_eV": 1.0 + number if number != 2 else None,
            "channels": ["Mg-s", "O-p"] if number == 0 else None,
            "mesh": [4, 4, number],
            "provenance": f"run {number}",
        }
        for axis, name in enumerate(DIAGONAL):
            epsilon = lorentz(2.0 + number, 5.0 + axis)
            row[f"ipa_re_{name}"], row[f"ipa_im_{name}"] = epsilon.real, epsilon.imag
        row["rpa_im_mean"] = lorentz(1.0 + number, 7.0).imag
        made.append(row)
    return made


@pytest.fixture
def table(tmp_path: Path, schema: TableSchema, rows: list[dict[str, Any]]) -> SpectraTable:
    return SpectraTable.open(write_table(tmp_path / "table.parquet", schema, rows))


@pytest.fixture
def rewrite(table: SpectraTable) -> Callable[..., Path]:
    """Change columns, or drop them with None, behind the table's back; returns its path."""

    def change(metadata: dict[bytes, bytes] | None = None, **columns: Any) -> Path:
        content = pq.read_table(table.path)
        kept = content.schema.metadata
        for name, values in columns.items():
            at = content.column_names.index(name)
            if values is None:
                content = content.remove_column(at)
                continue
            kind = values.type if isinstance(values, pa.Array) else content.schema.field(name).type
            field = pa.field(name, kind)
            content = content.set_column(at, field, pa.array(values, type=kind))
        content = content.replace_schema_metadata(kept if metadata is None else metadata)
        pq.write_table(content, table.path)
        return table.path

    return change


@pytest.fixture
def column(table: SpectraTable) -> Callable[[str], list[Any]]:
    """Column of the table's file as a list that a test may damage."""
    return lambda name: pq.read_table(table.path)[name].to_pylist()


class FileServer:
    """A server on this machine that knows Range and If-Range, and fails as it is told.

    ``files`` maps paths to contents; ``asked`` lists path and headers of every request. ``cuts``
    are numbers of bytes after which the next answers break off; ``statuses`` are sent first, each
    once, instead of an answer.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.cuts: list[int] = []
        self.statuses: list[tuple[int, dict[str, str]]] = []
        self.ranges = True
        self.etag: str | None = '"one"'
        self.url = ""

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, dict(request.headers)))
        if self.statuses:
            status, headers = self.statuses.pop(0)
            return self.send(request, status, b"", headers)
        content = self.files.get(request.path, self.files.get(request.path.partition("?")[0]))
        if content is None:
            return self.send(request, 404, b"", {})
        headers = {"Content-Type": "application/octet-stream"}
        headers |= self.headers.get(request.path, {})
        if self.etag:
            headers["ETag"] = self.etag
        wanted = request.headers.get("Range")
        unchanged = request.headers.get("If-Range") in (None, self.etag)
        if not (self.ranges and wanted and unchanged):
            return self.send(request, 200, content, headers)
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        if start >= len(content):
            return self.send(request, 416, b"", headers)
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.send(request, 206, content[start:], headers)

    def send(
        self,
        request: http.server.BaseHTTPRequestHandler,
        status: int,
        content: bytes,
        headers: dict[str, str],
    ) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if content and self.cuts:
            content = content[: self.cuts.pop(0)]
        request.wfile.write(content)


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    served = FileServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        server.shutdown()
        thread.join()
