"""A folder with all that was found about some spectra: tables, derived curves, figures, a page."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import opalign
from opalign.errors import StorageError
from opalign.files import write_text
from opalign.spectrum.analysis import SpectrumReport
from opalign.spectrum.page import page
from opalign.spectrum.plot import plot_spectrum
from opalign.spectrum.plots import (
    plot_absorption,
    plot_colours,
    plot_dielectric_function,
    plot_loss,
    plot_reflectivity,
    plot_refractive_index,
    plot_tauc,
    plot_tensor,
)

if TYPE_CHECKING:
    from opalign.spectrum.analysis import OpticsConfig

SUMMARY_CSV = "summary.csv"
SUMMARY_JSON = "summary.json"
CONFIG = "config.json"
FAILURES = "failures.csv"
PAGE = "report.html"
CSV_FOLDER = "csv"
PLOT_FOLDER = "plots"


@dataclass(frozen=True)
class Failed:
    """A source that gave no report, and why."""

    source: str
    reason: str


@dataclass(frozen=True, eq=False)
class ReportFolder:
    """Writes reports one by one into a folder; :meth:`finish` adds what speaks of all of them.

    Files of an earlier run are replaced, one by one and whole; those of other spectra stay.

    Parameters
    ----------
    folder
        Made if it is not there.
    config
        Written beside the results.
    figures
        Suffix of the figures, ``.png``, ``.svg`` or ``.pdf``; None draws none.
    """

    folder: Path
    config: OpticsConfig
    figures: str | None = ".png"
    reports: list[SpectrumReport] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    drawn: list[dict[str, str]] = field(default_factory=list)

    def add(self, report: SpectrumReport) -> None:
        """Write derived curves and figures of one spectrum.

        Raises
        ------
        StorageError
            If a file cannot be written.
        """
        stem = self._stem(report.name)
        spectrum = report.spectrum
        spectrum.isotropic().to_csv(self.folder / CSV_FOLDER / f"{stem}.csv")
        if spectrum.is_tensor:
            spectrum.to_csv(self.folder / CSV_FOLDER / f"{stem}_tensor.csv")
        drawn = {}
        if self.figures is not None:
            for name, draw in figures_of(report).items():
                path = Path(PLOT_FOLDER) / f"{stem}_{name}{self.figures}"
                draw(self.folder / path)
                drawn[name] = path.as_posix()
        self.reports.append(report)
        self.stems.append(stem)
        self.drawn.append(drawn)

    def finish(self) -> list[Path]:
        """Write summary, configuration, failures and the page; return what has been written."""
        folder = self.folder
        written = [write_text(folder / CONFIG, self.config.model_dump_json(indent=2) + "\n")]
        if self.reports:
            written.append(write_text(folder / SUMMARY_CSV, summary_csv(self.reports)))
            content = {
                "opalign": opalign.__version__,
                "config": self.config.model_dump(mode="json"),
                "spectra": [one.as_dict() for one in self.reports],
            }
            text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
            written.append(write_text(folder / SUMMARY_JSON, text + "\n"))
            curves = [f"{CSV_FOLDER}/{stem}.csv" for stem in self.stems]
            text = page(self.reports, self.drawn, curves, self.failures, self.config)
            written.append(write_text(folder / PAGE, text))
            written.append(folder / CSV_FOLDER)
            written += [folder / PLOT_FOLDER] if self.figures else []
        if self.failures:
            rows = [(one.source, one.reason) for one in self.failures]
            written.append(write_text(folder / FAILURES, _csv([("source", "reason"), *rows])))
        else:
            # One of an earlier run would speak of files that are fine by now.
            (folder / FAILURES).unlink(missing_ok=True)
        return written

    def _stem(self, name: str) -> str:
        """Return a name for files, not taken yet in this run."""
        stem = re.sub(r"[^\w.+=,-]+", "_", name).strip("._")[:80] or "spectrum"
        taken = set(self.stems)
        if stem not in taken:
            return stem
        return next(f"{stem}_{n}" for n in range(2, len(taken) + 3) if f"{stem}_{n}" not in taken)


def open_report_folder(
    folder: str | os.PathLike[str], config: OpticsConfig, figures: str | None = ".png"
) -> ReportFolder:
    """Make ``folder`` and return what writes into it.

    Raises
    ------
    StorageError
        If it cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder cannot be made: {error.strerror or error}",
            where=str(folder),
            cure="choose another one with --out",
        ) from error
    return ReportFolder(folder, config, figures)


def figures_of(report: SpectrumReport) -> dict[str, Callable[[Path], object]]:
    """Return the figures that can be drawn of a report, by name: each takes the file to write."""
    spectrum, config = report.spectrum, report.config
    end = min(config.max_energy, spectrum.grid.stop)
    title, onset = report.name, report.edge.onset.value
    onsets = None if onset is None else [onset]
    figures: dict[str, Callable[[Path], object]] = {
        "overview": lambda path: plot_spectrum(
            spectrum, path, title=title, max_energy=end, onsets=onsets
        ),
        "epsilon": lambda path: plot_dielectric_function(
            spectrum, path, title=title, max_energy=end
        ),
        "nk": lambda path: plot_refractive_index(spectrum, path, title=title, max_energy=end),
        "absorption": lambda path: plot_absorption(
            spectrum,
            path,
            title=title,
            max_energy=end,
            threshold=config.threshold,
            onsets=onsets,
        ),
        "reflectivity": lambda path: plot_reflectivity(spectrum, path, title=title, max_energy=end),
        "loss": lambda path: plot_loss(spectrum, path, title=title),
        "tauc": lambda path: plot_tauc(
            spectrum.isotropic(), path, fits=(report.edge.direct, report.edge.indirect), title=title
        ),
    }
    if spectrum.is_tensor:
        figures["tensor"] = lambda path: plot_tensor(spectrum, path, title=title, max_energy=end)
    if report.colours:
        figures["colours"] = lambda path: plot_colours(report.colours, path, title=title)
    return figures


def summary_csv(reports: Sequence[SpectrumReport]) -> str:
    """Return a table with one row per report and one column per quantity; empty where undefined."""
    keys = list(dict.fromkeys(one.key for report in reports for one in report.quantities))
    rows: list[Sequence[str]] = [("name", "level", "broadening", *keys, "undefined")]
    for report in reports:
        values = {one.key: one for one in report.quantities}
        reasons = [
            f"{one.key}: {one.note}" for one in report.quantities if one.value is None and one.note
        ]
        rows.append(
            (
                report.name,
                report.spectrum.level,
                str(report.spectrum.broadening),
                *(_text(values[key].value) if key in values else "" for key in keys),
                "; ".join(reasons),
            )
        )
    return _csv(rows)


def _text(value: float | str | None) -> str:
    """Six digits of a number, more than any level of theory has; empty where there is none."""
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.6g}"


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
