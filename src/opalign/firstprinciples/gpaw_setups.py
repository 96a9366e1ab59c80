"""PAW setups of PBE for functionals that have none of their own."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from opalign.crystal.formats import open_text
from opalign.firstprinciples.engine import EngineFailure

FUNCTIONAL = re.compile(r'(<xc_functional\b[^>]*\bname=)"[^"]*"')


@contextlib.contextmanager
def setups_for(functional: str, symbols: Iterable[str]) -> Iterator[None]:
    """Let GPAW find PAW setups of these elements for ``functional`` while the block runs.

    gpaw-data has setups for PBE, not for PBEsol. Frozen cores and partial waves hardly depend on
    the gradient correction, so PBE's serve, as they do in GPAW for meta-GGAs; exchange and
    correlation of the valence are those of ``functional``. GPAW goes by the name of the functional,
    of the file and in it: copies under that name do.

    Raises
    ------
    EngineFailure
        ``"unsupported"``, if there is no PBE setup either.
    """
    from gpaw import setup_paths

    if functional == "PBE":
        yield
        return
    with tempfile.TemporaryDirectory(prefix="opalign-setups-") as folder:
        for symbol in sorted(set(symbols)):
            text = _read(f"{symbol}.PBE", setup_paths)
            renamed = FUNCTIONAL.sub(rf'\g<1>"{functional}"', text, count=1)
            Path(folder, f"{symbol}.{functional}").write_text(renamed, encoding="utf-8")
        # GPAW keeps its search path in one list; there is no other way to add to it.
        setup_paths.append(folder)
        try:
            yield
        finally:
            setup_paths.remove(folder)


def _read(name: str, folders: Iterable[str | Path]) -> str:
    for folder in folders:
        for file in (Path(folder) / name, Path(folder) / f"{name}.gz"):
            if file.is_file():
                with open_text(file) as stream:
                    return stream.read()
    raise EngineFailure("unsupported", f"GPAW has no PAW setup {name}")
