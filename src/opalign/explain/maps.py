"""Maps: features of many dimensions in two, for the eye and for nothing else.

Distances on a UMAP are not distances between materials; groups are made from the features
themselves.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from opalign.errors import ConfigurationError, MissingExtraError
from opalign.explain.groups import Matrix, checked_matrix

MapKind = Literal["pca", "umap"]

NEIGHBORS = 30
MINIMUM_DISTANCE = 0.1
#: Fewer materials than this make no neighbourhood graph worth drawing.
FEWEST_FOR_UMAP = 10


def principal_components(matrix: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first two principal components (M, 2) and their shares of the variance (2,).

    Signs are chosen so that the largest entry of each component is positive.
    """
    matrix = checked_matrix(matrix, "features")
    centred = matrix - matrix.mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(matrix), 2))
    shares = np.zeros(2)
    known = min(2, len(strengths))
    points[:, :known] = left[:, :known] * strengths[:known]
    shares[:known] = strengths[:known] ** 2 / (strengths**2).sum()
    signs = np.sign(points[np.argmax(np.abs(points), axis=0), [0, 1]])
    return points * np.where(signs == 0.0, 1.0, signs), shares


def umap_points(
    matrix: Matrix,
    *,
    neighbors: int = NEIGHBORS,
    minimum_distance: float = MINIMUM_DISTANCE,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the UMAP of features, (M, 2) (L. McInnes, J. Healy, J. Melville, arXiv:1802.03426).

    Parameters
    ----------
    neighbors
        Size of a neighbourhood; at most one less than the materials is used.

    Raises
    ------
    ConfigurationError
        If there are fewer than :data:`FEWEST_FOR_UMAP` materials.
    MissingExtraError
        If umap-learn is not installed.
    """
    matrix = checked_matrix(matrix, "features")
    if len(matrix) < FEWEST_FOR_UMAP:
        raise ConfigurationError(
            f"a UMAP of {len(matrix)} materials",
            expected=f"at least {FEWEST_FOR_UMAP}",
            cure="take the principal components",
        )
    with _torch_threads_kept():
        try:
            import umap
        except ImportError as error:
            raise MissingExtraError(
                "this map needs umap-learn", cure="pip install 'opalign[explain]'"
            ) from error
        reducer = umap.UMAP(
            n_neighbors=min(neighbors, len(matrix) - 1),
            min_dist=minimum_distance,
            random_state=seed,
            n_jobs=1,
        )
        with warnings.catch_warnings():
            # It says that a seed and several threads exclude each other, hence one.
            warnings.simplefilter("ignore")
            return np.asarray(reducer.fit_transform(matrix), dtype=np.float64)


@contextlib.contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Put torch's number of threads back afterwards.

    numba, which UMAP is written in, starts one thread per core in the OpenMP library that torch
    uses too, whatever number torch was told; sums of torch would then round otherwise.
    """
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
