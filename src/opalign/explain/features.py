"""Features of a network's layers: per site, and averaged over the sites of a material."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opalign.crystal.graph import CrystalGraph, build_graph_from_arrays
from opalign.dataset.columns import open_parquet
from opalign.errors import ConfigurationError, DatasetError, StructureError
from opalign.files import atomic_path
from opalign.prediction import load_model
from opalign.prediction.applicability import require_describable
from opalign.prediction.predictor import Predictor
from opalign.prediction.result import Failure

if TYPE_CHECKING:
    import pyarrow as pa

    from opalign.dataset.table import SpectraTable

#: The pooled features, which a network with a vector head reads its spectrum from.
READOUT = "readout"

#: File of the sites' features, beside that of the materials'.
SITES_SUFFIX = "_sites"

_METADATA = b"opalign_features"


@dataclass(frozen=True, eq=False)
class LayerFeatures:
    """Features of one layer of one network, averaged over the sites of each of M materials."""

    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    """Reduced formulas."""
    layer: str
    model: str
    """Name and identifier of the checkpoint."""
    matrix: NDArray[np.float64]
    """(M, D)"""

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, ids: Sequence[str]) -> LayerFeatures:
        """Return the features of these materials, in this order; DatasetError for an unknown id."""
        place = {material_id: row for row, material_id in enumerate(self.ids)}
        missing = [material_id for material_id in ids if material_id not in place]
        if missing:
            raise DatasetError(
                f"there are no features of {len(missing)} materials, the first is {missing[0]!r}",
                expected="features and materials of one table",
            )
        rows = [place[material_id] for material_id in ids]
        return LayerFeatures(
            tuple(ids),
            tuple(self.formulas[row] for row in rows),
            self.layer,
            self.model,
            self.matrix[rows],
        )


@dataclass(frozen=True, eq=False)
class SiteFeatures:
    """Features of one layer for each of S sites of the materials of a table."""

    ids: tuple[str, ...]
    """(S,) material of each site."""
    sites: NDArray[np.int64]
    """(S,) number of the site within its material, from 0."""
    atomic_numbers: NDArray[np.int64]
    """(S,)"""
    layer: str
    matrix: NDArray[np.float64]
    """(S, D)"""


def feature_layers(predictor: Predictor) -> tuple[str, ...]:
    """Names of all layers with features, in the order of the network; last the readout."""
    return (*predictor.layer_names, READOUT)


def checked_layer(layer: str, available: Sequence[str], where: str) -> str:
    """Return ``layer`` if it is there.

    Raises
    ------
    ConfigurationError
        If it is not; the message lists those that are and the one probably meant.
    """
    if layer in available:
        return layer
    meant = difflib.get_close_matches(layer.lower(), available, n=1, cutoff=0.4)
    raise ConfigurationError(
        f"there is no layer {layer!r}",
        where=where,
        expected=", ".join(available),
        cure=f"did you mean {meant[0]}?" if meant else "choose one of these",
    )


def extract_features(
    model: Predictor | str | os.PathLike[str],
    table: SpectraTable,
    out: str | os.PathLike[str],
    *,
    layers: Sequence[str] | None = None,
    per_site: bool = False,
    batch_size: int = 32,
    on_failure: Callable[[Failure], None],
    on_done: Callable[[str], None] = lambda _: None,
) -> Path:
    """Run every material of a table through a network and keep what its layers make of it.

    Streamed from the table to ``out`` (Parquet: ``material_id``, ``formula`` and a list of D floats
    for each layer, the mean over the sites), so that memory does not grow with the table. With
    ``per_site`` a second file, ``…_sites.parquet``, has one row per site.

    Parameters
    ----------
    layers
        Some of :func:`feature_layers`; by default all.
    on_failure
        Called for each material that the network cannot describe; it is left out.
    on_done
        Called with the id of each material that is done.

    Raises
    ------
    ConfigurationError
        If there is no layer of a name asked for.
    DatasetError
        If no material of the table can be described.
    """
    import pyarrow.parquet as pq

    predictor = model if isinstance(model, Predictor) else load_model(model)
    available = feature_layers(predictor)
    where = str(predictor.checkpoint.folder)
    chosen = [checked_layer(layer, available, where) for layer in layers or available]
    out = Path(out)
    metadata = {_METADATA: json.dumps({"model": predictor.name, "layers": chosen}).encode()}
    written = 0
    with contextlib.ExitStack() as stack:
        paths = [out, sites_path(out)] if per_site else [out]
        targets = [stack.enter_context(atomic_path(path)) for path in paths]
        writers: list[pq.ParquetWriter] = []
        try:
            for batch in _batches(predictor, table, batch_size, on_failure):
                parts = _features(predictor, batch, chosen, per_site)
                if not writers:
                    for target, part in zip(targets, parts, strict=True):
                        schema = part.schema.with_metadata(metadata)
                        writers.append(pq.ParquetWriter(target, schema))
                for writer, part in zip(writers, parts, strict=True):
                    writer.write_table(part.replace_schema_metadata(metadata))
                written += len(batch)
                for material_id, *_ in batch:
                    on_done(material_id)
        finally:
            for writer in writers:
                writer.close()
        if not written:
            raise DatasetError(
                "no material of the table can be described by the model",
                where=str(table.path),
                cure="see the reasons given for each, or choose another model",
            )
    return out


def sites_path(path: str | os.PathLike[str]) -> Path:
    """File of the sites' features that belongs to a file of the materials'."""
    path = Path(path)
    return path.with_name(path.stem + SITES_SUFFIX + path.suffix)


def read_features(path: str | os.PathLike[str], layer: str) -> LayerFeatures:
    """Read one layer of a file that :func:`extract_features` wrote.

    Raises
    ------
    DatasetError
        If the file is none of those, or a value is not finite; the message names the material.
    ConfigurationError
        If the layer is not in it.
    """
    path = Path(path)
    info, columns = _read(path, layer, ["material_id", "formula"])
    ids, formulas = (tuple(column.to_pylist()) for column in columns[:2])
    matrix = _matrix(columns[2], ids, path)
    return LayerFeatures(ids, formulas, layer, info["model"], matrix)


def read_site_features(path: str | os.PathLike[str], layer: str) -> SiteFeatures:
    """Read one layer of the sites' file; errors as in :func:`read_features`."""
    path = sites_path(path)
    _, columns = _read(path, layer, ["material_id", "site", "atomic_number"])
    ids = tuple(columns[0].to_pylist())
    sites, numbers = (column.to_numpy() for column in columns[1:3])
    return SiteFeatures(ids, sites, numbers, layer, _matrix(columns[3], ids, path))


def layers_of(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the layers in a file of features."""
    with open_parquet(Path(path)) as file:
        return tuple(_declared(file.schema_arrow, Path(path))["layers"])


def _batches(
    predictor: Predictor,
    table: SpectraTable,
    batch_size: int,
    on_failure: Callable[[Failure], None],
) -> Iterator[list[tuple[str, str, CrystalGraph]]]:
    batch: list[tuple[str, str, CrystalGraph]] = []
    formulas = table.formulas
    for index, material_id in enumerate(table.ids):
        try:
            lattice, numbers, positions = table.arrays(index)
            require_describable(numbers, predictor.config.encoder.element_table, material_id)
            graph = build_graph_from_arrays(
                lattice, positions @ lattice, numbers, predictor.config.graph
            )
        except StructureError as error:
            on_failure(Failure(material_id, error.problem))
            continue
        batch.append((material_id, formulas[index], graph))
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _features(
    predictor: Predictor,
    batch: list[tuple[str, str, CrystalGraph]],
    layers: Sequence[str],
    per_site: bool,
) -> list[pa.Table]:
    """Return the tables of the materials and, if asked for, of the sites of one batch."""
    import pyarrow as pa

    ids, formulas, graphs = zip(*batch, strict=True)
    output = predictor.run(graphs)
    counts = np.array([graph.num_atoms for graph in graphs])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    columns: dict[str, Any] = {"material_id": pa.array(ids), "formula": pa.array(formulas)}
    sites: dict[str, Any] = {
        "material_id": pa.array(np.repeat(ids, counts)),
        "site": pa.array(np.concatenate([np.arange(count) for count in counts])),
        "atomic_number": pa.array(np.concatenate([graph.atomic_numbers for graph in graphs])),
    }
    for layer in layers:
        if layer == READOUT:
            columns[layer] = _list_column(output["features"].cpu().numpy())
            continue
        values = output["layers"][layer].cpu().numpy()
        columns[layer] = _list_column(np.add.reduceat(values, starts) / counts[:, None])
        sites[layer] = _list_column(values)
    return [pa.table(columns), pa.table(sites)] if per_site else [pa.table(columns)]


def _list_column(values: NDArray[np.floating]) -> pa.Array:
    import pyarrow as pa

    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1])


def _read(path: Path, layer: str, names: list[str]) -> tuple[dict[str, Any], list[pa.Array]]:
    with open_parquet(path) as file:
        info = _declared(file.schema_arrow, path)
        checked_layer(layer, info["layers"], str(path))
        missing = [name for name in [*names, layer] if name not in file.schema_arrow.names]
        if missing:
            raise DatasetError(f"has no column {missing[0]!r}", where=str(path), cure=_MAKE_ANEW)
        table = file.read(columns=[*names, layer])
        return info, [table[name].combine_chunks() for name in [*names, layer]]


_MAKE_ANEW = "make it anew with `opalign explain features`"


def _declared(schema: pa.Schema, path: Path) -> dict[str, Any]:
    text = (schema.metadata or {}).get(_METADATA)
    if text is None:
        raise DatasetError("is no file of features", where=str(path), cure=_MAKE_ANEW)
    declared: dict[str, Any] = json.loads(text)
    return declared


def _matrix(column: pa.Array, ids: Sequence[str], path: Path) -> NDArray[np.float64]:
    matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(ids), -1)
    matrix = matrix.astype(np.float64)
    if not np.isfinite(matrix).all():
        row = int(np.argmax(~np.isfinite(matrix).all(axis=1)))
        raise DatasetError(
            f"the features of {ids[row]} are not finite",
            where=str(path),
            cure="leave this material out; many of them mean that the network has diverged",
        )
    return matrix
