"""The Gaussian process that tells SC of two levels from the ions of a crystal."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from opalign.model.comparison_heads import SimilarityHead
from opalign.model.config import ScalarHeadConfig
from opalign.model.network import SpectrumModel
from opalign.training.data import SIMILARITY, Materials, batch_of

_LENGTHS = (1.0, 300.0)
_SMALLEST_DEVIATION = 1e-6


def with_kernel(network: SpectrumModel, materials: Materials) -> SpectrumModel:
    """Return the network averaged with a process fitted to the same materials; no weight changes.

    ``materials`` have the similarity as their target.
    """
    head = network.config.head
    if not isinstance(head, ScalarHeadConfig):
        raise TypeError("only a model with one output is averaged with a kernel")
    head = head.model_copy(update={"kernel_points": len(materials)})
    model = SpectrumModel(network.config.model_copy(update={"head": head}))
    model.load_state_dict(network.state_dict(), strict=False)
    new = model.head
    if not isinstance(new, SimilarityHead) or new.ions is None or new.kernel is None:
        raise TypeError("the head has no kernel")  # the configuration has seen to it
    with torch.no_grad():
        points = new.ions(batch_of(materials, range(len(materials)))["graph"])
    targets = materials.targets[SIMILARITY].double().numpy()
    new.kernel.set_to(*_fit(points.double().numpy(), targets))
    return model.eval()


def _fit(points: ArrayLike, targets: ArrayLike) -> tuple[Tensor, Tensor, Tensor, float, float]:
    """Maximum likelihood of scikit-learn's process, as what the module needs."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    points, targets = np.asarray(points), np.asarray(targets)
    scale = points.std(axis=0)
    scale[scale < _SMALLEST_DEVIATION] = 1.0
    kernel = ConstantKernel(1.0) * Matern(10.0, _LENGTHS, nu=1.5) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        # A length at its bound: the targets do not depend on the inputs, and the mean is told.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(points / scale, targets)
    found = process.kernel_.k1
    deviation = float(targets.std()) or 1.0
    weights = deviation * found.k1.constant_value * process.alpha_.reshape(-1)
    return (
        torch.from_numpy(points),
        torch.from_numpy(weights),
        torch.from_numpy(scale),
        float(found.k2.length_scale),
        float(targets.mean()),
    )
