"""Graphs of many crystals: streamed, compiled where it pays, in several threads if asked for."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from opalign.crystal.compiled import WORTHWHILE, kernels_for
from opalign.crystal.graph import HEAVIEST_ELEMENT, CrystalGraph, build_graph_from_arrays
from opalign.crystal.settings import GraphSettings
from opalign.errors import StructureError

#: Crystals handed to the compiled loops at once: enough to hide what a call costs.
CHUNK = 64

Outcome = CrystalGraph | StructureError


class CrystalArrays(NamedTuple):
    """A crystal as plain arrays, as :func:`opalign.crystal.graph.build_graph_from_arrays` has it.

    What :func:`opalign.crystal.graph.structure_arrays` returns for a pymatgen structure fits too.
    """

    lattice: ArrayLike
    """(3, 3) Å, row vectors."""
    cartesian: ArrayLike
    """(N, 3) Å."""
    atomic_numbers: ArrayLike
    """(N,)"""


def build_graphs(
    crystals: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]],
    settings: GraphSettings,
    *,
    threads: int = 1,
    quotients: bool = False,
) -> Iterator[Outcome]:
    """Yield one graph per crystal, in order; in place of a graph the error that tells why not.

    Crystals are read as they are needed, so that any number of them takes bounded memory. From
    :data:`opalign.crystal.compiled.WORTHWHILE` of them on, compiled loops do the work if numba is
    installed (the extra ``fast``). Graphs are those of
    :func:`opalign.crystal.graph.build_graph_from_arrays`, to rounding.

    Parameters
    ----------
    crystals
        (lattice, cartesian, atomic numbers) of each; see :class:`CrystalArrays`.
    settings
        Which neighbours are bonded.
    threads
        Threads of the compiled loops. Without those, there is one.
    quotients
        Find the symmetry-reduced graphs as well, in the same threads, for batches of these.

    Notes
    -----
    Graphs that were built together share memory: one that is to outlive many others should be
    copied.
    """
    source = iter(crystals)
    first = list(islice(source, WORTHWHILE))
    kernels = kernels_for(len(first))
    everything = chain(first, source)
    if kernels is None:
        for crystal in everything:
            yield _build_one(crystal, settings, quotients)
        return
    chunks = iter(lambda: list(islice(everything, CHUNK)), [])
    if threads < 2:
        for chunk in chunks:
            yield from _build_chunk(kernels, chunk, settings, quotients)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[list[Outcome]]] = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(_build_chunk, kernels, chunk, settings, quotients))
                # One more than there are threads: nobody waits, and little is kept.
                if len(pending) > threads:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def require_graphs(
    outcomes: Iterable[Outcome], labels: Sequence[str] | None = None
) -> Iterator[CrystalGraph]:
    """Yield the graphs of :func:`build_graphs`; raise its first error, with a note of which it is.

    ``labels`` says what to call each crystal; by default its number, from 1.
    """
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, StructureError):
            name = f"structure {number + 1}" if labels is None else labels[number]
            outcome.add_note(f"while making the graph of {name}")
            raise outcome
        yield outcome


def _build_one(
    crystal: tuple[ArrayLike, ArrayLike, ArrayLike], settings: GraphSettings, quotients: bool
) -> Outcome:
    try:
        graph = build_graph_from_arrays(*crystal, settings)
    except StructureError as error:
        return error
    return _with_quotient(graph) if quotients else graph


def _with_quotient(graph: CrystalGraph) -> CrystalGraph:
    # The graph keeps it.
    _ = graph.quotient
    return graph


def _build_chunk(
    kernels: ModuleType,
    crystals: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]],
    settings: GraphSettings,
    quotients: bool,
) -> list[Outcome]:
    """Graphs of some crystals at once; what the compiled loops leave is done one by one."""
    count = len(crystals)
    lattices = np.full((count, 3, 3), np.nan)
    positions, numbers = [], []
    first_atom = np.zeros(count + 1, dtype=np.int64)
    for row, crystal in enumerate(crystals):
        lattice = np.asarray(crystal[0], dtype=np.float64)
        cartesian = np.asarray(crystal[1], dtype=np.float64)
        elements = np.asarray(crystal[2], dtype=np.int64)
        fits = lattice.shape == (3, 3) and cartesian.shape == (*elements.shape, 3)
        if fits and elements.ndim == 1:
            lattices[row] = lattice
        else:
            # Without a lattice the loops leave it to what can say what is wrong.
            cartesian, elements = np.empty((0, 3)), np.empty(0, dtype=np.int64)
        positions.append(cartesian)
        numbers.append(elements)
        first_atom[row + 1] = first_atom[row] + len(elements)
    every_number = np.concatenate(numbers)
    unknown = np.flatnonzero((every_number < 1) | (every_number > HEAVIEST_ELEMENT))
    lattices[np.searchsorted(first_atom, unknown, side="right") - 1] = np.nan
    volumes, first_bond, index, image, vector = kernels.build_bonds(
        lattices,
        np.concatenate(positions),
        first_atom,
        settings.neighbors if settings.kind == "k_nearest" else 0,
        settings.cutoff,
        settings.shell_tolerance if settings.kind == "k_nearest" else 0.0,
    )
    outcomes: list[Outcome] = []
    starts = first_bond.tolist()
    for row, volume in enumerate(volumes.tolist()):
        if math.isnan(volume):
            outcomes.append(_build_one(crystals[row], settings, quotients))
            continue
        bonds = slice(starts[row], starts[row + 1])
        graph = CrystalGraph(
            atomic_numbers=numbers[row],
            bond_index=index[:, bonds],
            bond_image=image[bonds],
            bond_vector=vector[bonds],
            volume=volume,
            has_angles=settings.angles,
        )
        outcomes.append(_with_quotient(graph) if quotients else graph)
    return outcomes
