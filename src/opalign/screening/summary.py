"""What a screening says of itself at the end: counts, ranges, reasons, speed and what it means."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from opalign.files import write_text
from opalign.screening.config import Execution
from opalign.screening.folder import SUMMARY_FILE

ESTIMATED = (10**6, 10**8)
"""Numbers of structures for which the time is estimated."""
REASONS_SHOWN = 20
#: Different reasons that are counted one by one; beyond, memory would grow with the failures.
_REASONS_COUNTED = 2000


def write_summary(
    folder: Path,
    paths: Iterable[Path],
    quantities: Iterable[str],
    counts: Mapping[str, int],
    rate: float | None,
    repeated_ids: int,
    execution: Execution,
) -> dict[str, Any]:
    """Write ``summary.json`` from finished parts, read one after the other, and return it."""
    ranges = {name: _Range() for name in quantities}
    reasons: Counter[str] = Counter()
    for path in paths:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=["status", "reason", *ranges])
        _count_reasons(table, reasons)
        fine = table.filter(pc.equal(table.column("status"), "ok"))
        for name, found in ranges.items():
            found.add(fine.column(name).drop_null().to_numpy())
    content: dict[str, Any] = {
        "rows": sum(counts.values()),
        **counts,
        "repeated_ids": repeated_ids,
        "quantities_of_ok_rows": {name: found.content() for name, found in ranges.items()},
        "reasons": dict(reasons.most_common(REASONS_SHOWN)),
        "structures_per_second": rate,
        "estimated_hours": {
            f"{number:.0e}".replace("e+0", "e"): None if rate is None else number / rate / 3600.0
            for number in ESTIMATED
        },
        "execution": execution.model_dump(mode="json"),
    }
    write_text(folder / SUMMARY_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return content


class _Range:
    """Least, mean and greatest of values that come in parts."""

    def __init__(self) -> None:
        self.count, self.sum = 0, 0.0
        self.least, self.greatest = np.inf, -np.inf

    def add(self, values: np.ndarray) -> None:
        if values.size:
            self.count += values.size
            self.sum += float(values.sum())
            self.least = min(self.least, float(values.min()))
            self.greatest = max(self.greatest, float(values.max()))

    def content(self) -> dict[str, float | int] | None:
        if not self.count:
            return None
        mean = self.sum / self.count
        return {"rows": self.count, "min": self.least, "mean": mean, "max": self.greatest}


def _count_reasons(table: Any, reasons: Counter[str]) -> None:
    """Count reasons by status; numbers in them do not tell them apart."""
    for status, reason in zip(
        table.column("status").to_pylist(), table.column("reason").to_pylist(), strict=True
    ):
        if reason is not None:
            text = f"{status}: {re.sub(r'[0-9]+(?:[.][0-9]+)?', '#', reason)}"
            if text in reasons or len(reasons) < _REASONS_COUNTED:
                reasons[text] += 1
            else:
                reasons[f"{status}: others"] += 1
