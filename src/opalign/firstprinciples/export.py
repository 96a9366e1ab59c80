"""The results of a campaign as one spectra table, with provenance and quality flags per row."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from opalign.dataset.schema import (
    DIAGONAL,
    OFF_DIAGONAL,
    LevelInfo,
    ListInfo,
    ScalarInfo,
    TableSchema,
    spectrum_column,
)
from opalign.dataset.write import write_table
from opalign.errors import ConfigurationError, DatasetError
from opalign.files import sha256
from opalign.firstprinciples.campaign import Campaign
from opalign.firstprinciples.correction import CORRECTED_FOLDER, load_corrected
from opalign.firstprinciples.engine import RESULT_FILE, EngineFailure, EngineResult
from opalign.firstprinciples.job_state import JobState, load_result, read_state, write_state
from opalign.firstprinciples.jobs import RESULT_FOLDER, Job
from opalign.firstprinciples.quality import (
    MEASURES,
    Quality,
    QualityLimits,
    check_result,
    clean_tensor,
)
from opalign.spectrum.grid import EnergyGrid

PDOS_GRID = EnergyGrid(0.0, 20.0, 401)
"""Densities of states run from −10 to 10 eV about the valence-band maximum: these less 10."""
PDOS_START = -10.0
CHANGED = "was replaced during the export; export again"

_NAMED = {
    "ipa": "independent particles, no local fields",
    "rpa": "random-phase approximation, with local fields",
    "ipa_corrected": "independent particles, shifted to the gap of the nsc-dd hybrid",
    "rpa_corrected": "random-phase approximation, shifted to the gap of the nsc-dd hybrid",
}
_SCALARS = {
    "band_gap_eV": ScalarInfo(unit="eV", description="semi-local gap on the optics mesh"),
    "direct_gap_eV": ScalarInfo(unit="eV", description="semi-local direct gap, optics mesh"),
    "total_energy_eV": ScalarInfo(unit="eV", description="of the cell"),
    "num_sites": ScalarInfo(description="atoms in the cell"),
    "spacegroup_number": ScalarInfo(),
    "core_seconds": ScalarInfo(unit="s", description="processor time, failed attempts too"),
}
_LISTS = {
    "pdos_channels": ListInfo(kind="string", description="element-l names of pdos_per_eV"),
    "pdos_per_eV": ListInfo(
        unit="1/eV",
        description="projected densities of states, channel after channel, 401 points each, "
        "−10…10 eV from the valence-band maximum",
    ),
    "quality_flags": ListInfo(
        kind="string", description="checks that a level failed, such as rpa_f_sum"
    ),
}


@dataclass(frozen=True)
class Export:
    """What was written, and what was left out."""

    path: Path
    rows: int
    levels: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    """Id and reason."""
    flags: dict[str, int]
    """Flag → number of rows that have it."""
    flagged: int
    """Rows with any flag."""


def export_campaign(
    campaign: Campaign,
    path: str | PathLike[str],
    *,
    levels: Sequence[str] | None = None,
    limits: QualityLimits | None = None,
    licence: str = "CC BY 4.0",
    source: str = "",
    citation: str = "",
) -> Export:
    """Write every finished result of a campaign into a table, streaming.

    A first look decides about jobs, results, levels and columns. What `run` and `correct` finish
    afterwards waits for the next export; what they replace meanwhile is left out. A result that
    turns out to be damaged is left out, and its job waits for the next run.

    Parameters
    ----------
    levels
        Levels that every row has to have; by default those of at least half of the results.
    limits
        Of the quality checks. Flagged rows are written too, with their flags.
    licence, source, citation
        Of the table.

    Raises
    ------
    ConfigurationError
        No job is finished, or none has the levels asked for.
    DatasetError, StorageError
        The table cannot be written.
    """
    left_out: list[tuple[str, str]] = []
    survey = _Survey.of(campaign, left_out)
    chosen = survey.levels(levels, str(campaign.folder))
    schema = survey.schema(chosen, licence, source or _source(campaign), citation)
    flags: Counter[str] = Counter()
    counts = Counter[str]()

    def rows() -> Iterator[dict[str, Any]]:
        for found in survey.found:
            job = found.job
            result = found.again(campaign)
            reason = CHANGED if result is None else survey.unfit(result, chosen)
            if result is None or reason:
                left_out.append((job.identifier, str(reason)))
                continue
            # Levels that are not exported are not judged either.
            result = replace(result, epsilon={name: result.epsilon[name] for name in chosen})
            quality = check_result(result, limits)
            flags.update(quality.flags)
            counts.update(rows=1, flagged=int(bool(quality.flags)))
            yield _row(job, found.state, result, quality, schema)
        if counts["rows"] == 0:
            raise ConfigurationError(
                "no finished result has all levels asked for",
                where=str(campaign.folder),
                expected=", ".join(chosen),
            )

    written = write_table(path, schema, rows())
    return Export(
        written,
        counts["rows"],
        chosen,
        tuple(left_out),
        dict(flags.most_common()),
        counts["flagged"],
    )


@dataclass(frozen=True)
class _Found:
    """A result as the first look found it; its arrays are read again when they are written."""

    job: Job
    state: JobState
    place: str
    """Folder of the result within that of its job."""
    digest: str | None
    """Of the file that carries the hash of the arrays."""

    def again(self, campaign: Campaign) -> EngineResult | None:
        """Read the result; None if it is not what it was."""
        folder = campaign.job_folder(self.job) / self.place
        try:
            result = EngineResult.load(folder)
        except EngineFailure:
            return None
        return result if _digest(folder) == self.digest else None


@dataclass(frozen=True)
class _Survey:
    """What the results have in common, from a first look at all of them."""

    found: tuple[_Found, ...]
    level_counts: dict[str, int]
    scalars: tuple[str, ...]
    grid: EnergyGrid
    off_diagonal: bool

    @classmethod
    def of(cls, campaign: Campaign, left_out: list[tuple[str, str]]) -> _Survey:
        counts, grids, scalars = Counter[str](), Counter[EnergyGrid](), dict[str, None]()
        every, off_diagonal = list[_Found](), False
        for found, result in _results(campaign, left_out):
            every.append(found)
            grids[result.grid] += 1
            counts.update(list(result.epsilon))
            scalars |= dict.fromkeys(result.scalars)
            off_diagonal |= any(_is_off_diagonal(epsilon) for epsilon in result.epsilon.values())
        if not every:
            raise ConfigurationError(
                "no job of this campaign is finished",
                where=str(campaign.folder),
                cure="compute first: opalign compute run",
            )
        grid = grids.most_common(1)[0][0]
        return cls(tuple(every), dict(counts), tuple(scalars), grid, off_diagonal)

    def levels(self, asked: Sequence[str] | None, where: str) -> tuple[str, ...]:
        if asked is None:
            least = len(self.found) / 2
            return tuple(name for name, n in self.level_counts.items() if n >= least)
        for name in asked:
            if name not in self.level_counts:
                raise ConfigurationError(
                    f"no result has the level {name!r}",
                    where=where,
                    expected=", ".join(self.level_counts),
                )
        return tuple(dict.fromkeys(asked))

    def unfit(self, result: EngineResult, levels: Sequence[str]) -> str | None:
        missing = [name for name in levels if name not in result.epsilon]
        if missing:
            return f"has no level {', '.join(missing)}"
        if result.grid != self.grid:
            return f"lies on another energy grid ({result.grid})"
        return None

    def schema(
        self, levels: Sequence[str], licence: str, source: str, citation: str
    ) -> TableSchema:
        components = (*DIAGONAL, *OFF_DIAGONAL) if self.off_diagonal else DIAGONAL
        extra = [_column(name) for name in self.scalars if _column(name) not in _SCALARS]
        measures = {
            f"{level}_{name}": ScalarInfo(unit=unit, description=text)
            for level in levels
            for name, (unit, text) in MEASURES.items()
        }
        return TableSchema(
            grid=self.grid,
            levels={
                level: LevelInfo(
                    components=components,
                    has_real=True,
                    description=_NAMED.get(level, level),
                )
                for level in levels
            },
            scalars={
                **_SCALARS,
                **{name: ScalarInfo(unit="eV" if name.endswith("_eV") else "") for name in extra},
                **measures,
            },
            lists=_LISTS,
            licence=licence,
            source=source,
            citation=citation,
        )


def _results(
    campaign: Campaign, damaged: list[tuple[str, str]]
) -> Iterator[tuple[_Found, EngineResult]]:
    for job in campaign.plan.jobs:
        folder = campaign.job_folder(job)
        state = read_state(folder)
        if state.status != "done":
            continue
        # Before it is read: what is replaced in between will not be taken for it.
        place, digest = RESULT_FOLDER, _digest(folder / RESULT_FOLDER)
        later = _digest(folder / CORRECTED_FOLDER)
        try:
            result = load_result(folder)
        except EngineFailure as failure:
            damaged.append((job.identifier, f"{failure.detail}; it is computed again"))
            write_state(folder, replace(state, status="waiting"))
            continue
        corrected = load_corrected(folder)
        # A correction of an earlier result says nothing about this one.
        if corrected is not None and corrected.total_energy == result.total_energy:
            result, place, digest = corrected, CORRECTED_FOLDER, later
        yield _Found(job, state, place, digest), result


def _digest(folder: Path) -> str | None:
    """Return the hash of a result; None where there is none."""
    try:
        return sha256(folder / RESULT_FILE)
    except OSError:
        return None


def _row(
    job: Job, state: JobState, result: EngineResult, quality: Quality, schema: TableSchema
) -> dict[str, Any]:
    structure = result.structure
    row: dict[str, Any] = {
        "material_id": job.identifier,
        "structure": structure,
        "band_gap_eV": result.band_gap,
        "direct_gap_eV": result.direct_gap,
        "total_energy_eV": result.total_energy,
        "num_sites": float(len(structure)),
        "spacegroup_number": float(_spacegroup(structure)),
        "core_seconds": _core_seconds(state, result),
        "quality_flags": list(quality.flags),
        "provenance": json.dumps(_provenance(job, result), ensure_ascii=False, sort_keys=True),
        **{_column(name): value for name, value in result.scalars.items()},
        **quality.measures,
        **_densities(result),
    }
    for level, info in schema.levels.items():
        tensor = clean_tensor(np.asarray(result.epsilon[level]))
        for component in info.components:
            i, j = ("xyz".index(axis) for axis in component)
            row[spectrum_column(level, "re", component)] = tensor[:, i, j].real
            row[spectrum_column(level, "im", component)] = tensor[:, i, j].imag
    return row


def _core_seconds(state: JobState, result: EngineResult) -> float:
    """Processor time of all attempts, and of a correction that was made afterwards."""
    later = sum(value for name, value in result.seconds.items() if name.startswith("hybrid-"))
    return later + sum(attempt.cpu_seconds for attempt in state.attempts)


def _densities(result: EngineResult) -> dict[str, Any]:
    energies = PDOS_GRID.values + PDOS_START
    channels = sorted(result.pdos)
    densities = [
        np.interp(energies, result.pdos_energies, result.pdos[name], left=0.0, right=0.0)
        for name in channels
    ]
    values = np.round(np.concatenate(densities), 4) if densities else np.empty(0)
    return {"pdos_channels": channels, "pdos_per_eV": values}


def _provenance(job: Job, result: EngineResult) -> dict[str, Any]:
    return {
        "engine": job.engine,
        "key": job.key,
        # What was planned and failed is known by this row, too.
        **({"retry_of": list(job.retry_of)} if job.retry_of else {}),
        **({} if "settings" in result.provenance else {"settings": dict(job.settings)}),
        "structure_source": job.source,
        "notes": job.notes,
        "seconds": dict(result.seconds),
        "calculation": dict(result.provenance),
    }


def _is_off_diagonal(epsilon: np.ndarray) -> bool:
    clean = clean_tensor(np.asarray(epsilon))
    return any(bool(np.any(clean[:, i, j])) for i, j in ((0, 1), (1, 2), (0, 2)))


def _spacegroup(structure: Any) -> int:
    import spglib

    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=0.01)
    return 1 if dataset is None else int(dataset.number)


def _column(name: str) -> str:
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    if not plain or not plain[0].isalpha():
        raise DatasetError(
            f"a scalar is called {name!r}", expected="a name of letters, digits and underscores"
        )
    return plain


def _source(campaign: Campaign) -> str:
    sources = {job.source for job in campaign.plan.jobs if job.source}
    return f"computed with {campaign.config.engine}; structures: {'; '.join(sorted(sources)[:5])}"
