"""Predictions on disk: a table, a CSV and a figure per material, a summary, and what failed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opalign
from opalign.errors import StorageError
from opalign.files import write_text
from opalign.prediction.band_columns import csv_columns, list_schema, list_values, plotted
from opalign.prediction.drawing import Drawing, FigureProcesses
from opalign.prediction.result import Failure, Prediction
from opalign.spectrum.formats.csv import write_csv

if TYPE_CHECKING:
    from opalign.dataset.schema import TableSchema
    from opalign.prediction.beside import Beside, ComputedMaterials
    from opalign.prediction.predictor import Predictor

TABLE, SUMMARY, FAILURES = "spectra.parquet", "summary.csv", "failures.csv"
CSV_FOLDER, PLOT_FOLDER = "csv", "plots"

SUMMARY_COLUMNS = (
    "id",
    "file",
    "formula",
    "level",
    "onset_eV",
    "band_gap_eV",
    "static_dielectric",
    "refractive_index_589nm",
    "largest_visible_absorption_per_cm",
    "nearest_training_materials",
    "relative_distance",
    "nearest_computed_material",
    "distance_to_computed",
    "expected_similarity",
    "similarity_lower",
    "similarity_upper",
    "similarity_between_levels",
    "similarity_between_levels_error",
    "needed_level",
    "advice",
    "warnings",
)
_SCALARS = {
    "onset_eV": ("eV", "lowest energy at which log10(alpha / cm^-1) exceeds 2.5"),
    "band_gap_eV": ("eV", "energy at which the predicted absorption begins"),
    "static_dielectric": ("", "real part of epsilon at E = 0, electrons only"),
    "refractive_index_589nm": ("", "at the sodium D line"),
    "largest_visible_absorption_per_cm": ("cm^-1", "between 1.65 and 3.26 eV"),
    "relative_distance": (
        "",
        "distance to the nearest training material over the median of that within the training set",
    ),
    "expected_similarity": ("", "expected SC of Im epsilon of the highest level with the truth"),
    "similarity_lower": ("", "lower end of the interval of that SC"),
    "similarity_upper": ("", "upper end of the interval of that SC"),
    "similarity_between_levels": ("", "predicted SC[costly; cheap] of two levels of theory"),
}
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass
class Report:
    """What was written, and what came of the structures."""

    folder: Path
    written: list[Path] = field(default_factory=list)
    """Files, and the folders of those there is one of per material."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The rows of the summary, by its columns; None where a quantity does not exist."""
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False
    """Whether Ctrl-C ended it before the last structure; what is written is whole nevertheless."""


def write_predictions(
    predictor: Predictor,
    structures: Any,
    out: str | os.PathLike[str],
    *,
    levels: Iterable[str] | None = None,
    batch_size: int = 16,
    plots: bool = True,
    drawing: FigureProcesses | None = None,
    beside: ComputedMaterials | None = None,
    on_progress: Callable[[Prediction | Failure], None] | None = None,
) -> Report:
    """Predict and write, one structure after the other, into the folder ``out``.

    Every file is written whole or not at all. Files of an earlier run are replaced; those of
    materials that are not among the new ones stay.

    Parameters
    ----------
    structures, levels, batch_size
        As :meth:`Predictor.predict` takes them.
    plots
        Draw a figure per material.
    drawing
        Processes that draw them; by default they are drawn in this one.
    beside
        Computed materials, the nearest of which is named beside each prediction and drawn with it.
    on_progress
        Called after every structure, written or failed.

    Raises
    ------
    ConfigurationError
        If a level is not one of the model's.
    StorageError
        If a file cannot be written.
    """
    from opalign.dataset.write import write_table

    folder = Path(out)
    report = Report(folder)
    notify = on_progress or (lambda _: None)

    def failed(failure: Failure) -> None:
        report.failures.append(failure)
        notify(failure)

    predictions = predictor.predict(
        structures, levels=levels, batch_size=batch_size, on_failure=failed
    )
    _make_folder(folder)
    first = _first(predictions, report)
    if first is not None:
        schema = _schema(predictor, tuple(first.spectra))
        if plots and drawing is None:
            drawing = FigureProcesses(0)
        extras = _Extras(drawing if plots else None, beside)
        rows = _write_each(first, predictions, report, extras, notify)
        table = write_table(folder / TABLE, schema, rows)
        if drawing is not None:
            drawing.finish()
        report.written = [table, _write_csv(folder / SUMMARY, SUMMARY_COLUMNS, report.rows)]
        report.written += [folder / CSV_FOLDER] + ([folder / PLOT_FOLDER] if plots else [])
    if report.failures:
        lines = [{"file": one.file, "reason": one.reason} for one in report.failures]
        report.written.append(_write_csv(folder / FAILURES, ("file", "reason"), lines))
    else:
        # One of an earlier run would speak of structures that are fine by now.
        (folder / FAILURES).unlink(missing_ok=True)
    return report


@dataclass(frozen=True)
class _Extras:
    """What a prediction gets beyond its numbers."""

    drawing: FigureProcesses | None
    computed: ComputedMaterials | None


def summary_row(prediction: Prediction, beside: Beside | None = None) -> dict[str, Any]:
    """Return the row of the summary for one prediction, by the names of its columns."""
    nearest, error, advice = prediction.nearest, prediction.error_estimate, prediction.advice
    lower, upper = error.similarity_interval if error else (None, None)
    return {
        "id": prediction.id,
        "file": prediction.file,
        "formula": prediction.formula,
        "level": prediction.level,
        "onset_eV": prediction.onset_energy,
        "band_gap_eV": prediction.band_gap,
        "static_dielectric": prediction.static_dielectric,
        "refractive_index_589nm": prediction.sodium_index,
        "largest_visible_absorption_per_cm": prediction.visible_absorption,
        "nearest_training_materials": "; ".join(f"{one.id} ({one.formula})" for one in nearest),
        "relative_distance": prediction.distance,
        "nearest_computed_material": beside and f"{beside.neighbor.id} ({beside.neighbor.formula})",
        "distance_to_computed": beside and beside.neighbor.relative_distance,
        "expected_similarity": error.similarity if error else None,
        "similarity_lower": lower,
        "similarity_upper": upper,
        "similarity_between_levels": advice.similarity if advice else None,
        "needed_level": advice.level if advice else None,
        "similarity_between_levels_error": advice.error if advice else None,
        "advice": advice.sentence if advice else None,
        "warnings": "; ".join(prediction.warnings),
    }


def _first(predictions: Iterator[Prediction], report: Report) -> Prediction | None:
    """Return the first prediction; a table without rows is not written."""
    try:
        return next(predictions, None)
    except KeyboardInterrupt:
        report.interrupted = True
        return None


def _write_each(
    first: Prediction,
    others: Iterator[Prediction],
    report: Report,
    extras: _Extras,
    notify: Callable[[Prediction | Failure], None],
) -> Iterator[dict[str, Any]]:
    """Write CSV and figure of each prediction, then hand on its row of the table.

    Ctrl-C ends the rows, so that the table of what is done is still written.
    """
    prediction: Prediction | None = first
    try:
        while prediction is not None:
            _write_spectra(report.folder, prediction)
            beside = None if extras.computed is None else extras.computed.nearest(prediction)
            if extras.drawing is not None:
                extras.drawing.draw(_drawing(report.folder, prediction, beside))
            row = summary_row(prediction, beside)
            report.rows.append(row)
            yield _table_row(prediction, row)
            notify(prediction)
            prediction = next(others, None)
    except KeyboardInterrupt:
        report.interrupted = True


def _write_spectra(folder: Path, prediction: Prediction) -> None:
    for level, spectrum in prediction.spectra.items():
        path = folder / CSV_FOLDER / f"{prediction.id}_{level}.csv"
        write_csv(spectrum, path, csv_columns(prediction.bands.get(level, {})))


def _drawing(folder: Path, prediction: Prediction, beside: Beside | None) -> Drawing:
    # The first one is drawn with its band.
    others = [one for one in prediction.spectra.values() if one.level != prediction.level]
    spectra = [prediction.spectrum, *others]
    labels = [
        f"{one.level.upper()} · {one.broadening}"
        + (" · with its band" if prediction.bands and one is prediction.spectrum else "")
        for one in spectra
    ]
    if beside is not None and beside.spectrum is not None:
        spectra.append(beside.spectrum)
        labels.append(beside.label)
    return Drawing(
        path=folder / PLOT_FOLDER / f"{prediction.id}.png",
        spectra=tuple(spectra),
        labels=tuple(labels),
        title=_title(prediction),
        bands=plotted(prediction.bands.get(prediction.level, {})),
    )


def _title(prediction: Prediction) -> str:
    """Return the formula as chemists write it, and the id where that says more."""
    named = () if prediction.id == prediction.formula else (prediction.id,)
    return " · ".join((prediction.formula.translate(_SUBSCRIPTS), *named, "predicted"))


def _schema(predictor: Predictor, levels: tuple[str, ...]) -> TableSchema:
    from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema

    calibration = predictor.checkpoint.calibration
    return TableSchema(
        grid=predictor.config.grid,
        levels={
            level: LevelInfo(
                broadening=predictor.config.broadening,
                components=("mean",),
                has_real=True,
                description="predicted, isotropic average",
            )
            for level in levels
        },
        scalars={
            name: ScalarInfo(unit=unit, description=description)
            for name, (unit, description) in _SCALARS.items()
        },
        lists={} if calibration is None else list_schema(levels, calibration.coverage),
        source=f"predicted by {predictor.name} with Opalign {opalign.__version__}",
    )


def _table_row(prediction: Prediction, summary: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"material_id": prediction.id, "structure": prediction.structure}
    row |= {name: summary[name] for name in _SCALARS}
    for level, spectrum in prediction.spectra.items():
        row[f"{level}_re_mean"] = spectrum.epsilon_real
        row[f"{level}_im_mean"] = spectrum.epsilon_imaginary
        row["provenance"] = spectrum.provenance
    return row | list_values(prediction.bands)


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = tuple(columns)
    writer.writerow(columns)
    writer.writerows([_text(row[column]) for column in columns] for row in rows)
    return write_text(path, text.getvalue())


def _text(value: Any) -> str:
    """Six digits of a number, more than any level of theory has; empty where there is none."""
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder cannot be made: {error.strerror or error}",
            where=str(folder),
            cure="choose another one with --out",
        ) from error
