"""Features that were extracted before for the same weights and the same table are used again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from opalign.dataset.table import SpectraTable
from opalign.explain.features import extract_features, sites_path
from opalign.files import sha256, write_atomically, write_text
from opalign.prediction.predictor import Predictor
from opalign.prediction.result import Failure


def kept_features(
    predictor: Predictor,
    table: SpectraTable,
    out: Path,
    cache: Path,
    *,
    on_done: Callable[[str], None],
) -> list[tuple[str, str]]:
    """Write the features of all layers, of materials and of sites, to ``out``.

    Returns
    -------
    list of (material id, reason)
        Materials that the network cannot describe.
    """
    key = f"{predictor.checkpoint.identifier}_{sha256(table.path)[:16]}"
    kept = cache / f"features_{key}.parquet"
    note = kept.with_suffix(".json")
    skipped: list[tuple[str, str]] = []
    if not note.is_file():

        def skip(failure: Failure) -> None:
            skipped.append((failure.file, failure.reason))

        extract_features(predictor, table, kept, per_site=True, on_failure=skip, on_done=on_done)
        # Written last: it says that both files are whole.
        write_text(note, json.dumps(skipped))
    for source, target in ((kept, out), (sites_path(kept), sites_path(out))):
        write_atomically(target, partial(shutil.copyfile, source))
    return [(name, reason) for name, reason in json.loads(note.read_text(encoding="utf-8"))]
