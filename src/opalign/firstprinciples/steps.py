"""Steps of a long calculation, each kept when finished and never computed twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opalign.files import write_text

KEY_FILE = "job.json"
PREFIX = "step-"


class Steps:
    """Finished steps inside a folder, one JSON file each.

    Parameters
    ----------
    folder
        Where the calculation works; made if it is not there.
    key
        What the calculation is of. Steps that a calculation with another key left in the folder
        are removed: they are worth nothing to this one.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if _read(folder / KEY_FILE) != {"key": key}:
            for path in folder.glob(f"{PREFIX}*"):
                path.unlink()
            write_text(folder / KEY_FILE, json.dumps({"key": key}))
        self.seconds: dict[str, float] = {}
        self._spent = 0.0

    def file(self, name: str) -> Path:
        """Path for a file that belongs to a step and goes away with the steps of another key."""
        return self.folder / f"{PREFIX}{name}"

    def run(
        self, name: str, compute: Callable[[], dict[str, Any]], needs: Path | None = None
    ) -> dict[str, Any]:
        """Return what the step gave before, or compute and keep it.

        The result has to be JSON. Seconds are those of the processor, of this run or of the one
        that computed the step, without those of steps inside it. ``needs`` is a file that the step
        writes and that is wanted too: without it the step counts as not done.
        """
        path = self.file(f"{name}.json")
        stored = _read(path)
        whole = isinstance(stored, dict) and stored.keys() == {"result", "seconds"}
        if not whole or (needs is not None and not needs.exists()):
            start, inside = time.process_time(), self._spent
            result = compute()
            spent = time.process_time() - start - (self._spent - inside)
            self._spent += spent
            stored = {"result": result, "seconds": round(spent, 2)}
            write_text(path, json.dumps(stored))
        self.seconds[name] = stored["seconds"]
        result = stored["result"]
        return result

    def remove(self, pattern: str) -> None:
        """Remove files of steps by pattern, such as ``*.gpw``."""
        for path in self.folder.glob(PREFIX + pattern):
            path.unlink()


def _read(path: Path) -> Any:
    """Return what a file holds; None where it is absent or damaged: its step is then computed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
