import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from opalign.model.kernel import KernelRegression


def fitted(noise):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 3)) * [1.0, 5.0, 0.2]
    y = rng.normal(size=12)
    scale = x.std(axis=0)
    kernel = ConstantKernel(0.7) * Matern(3.0, nu=1.5) + WhiteKernel(noise)
    process = GaussianProcessRegressor(kernel, normalize_y=True, optimizer=None).fit(x / scale, y)
    found = KernelRegression(12, 3).double()
    weights = y.std() * 0.7 * process.alpha_.reshape(-1)
    found.set_to(*map(torch.from_numpy, (x, weights, scale)), 3.0, float(y.mean()))
    return x, y, scale, process, found


def test_it_tells_what_scikit_learn_tells():
    x, _, scale, process, found = fitted(0.1)
    new = np.concatenate([np.random.default_rng(1).normal(size=(20, 3)), x])
    np.testing.assert_allclose(
        found(torch.from_numpy(new)), process.predict(new / scale), rtol=1e-10, atol=1e-12
    )


def test_without_noise_it_goes_through_the_points_and_far_off_it_tells_the_mean():
    x, y, _, _, found = fitted(1e-10)
    np.testing.assert_allclose(found(torch.from_numpy(x)), y, atol=1e-7)
    far = found(torch.full((1, 3), 1e6, dtype=torch.double))
    assert far.item() == pytest.approx(y.mean(), abs=1e-12)


@given(st.integers(1, 5))
def test_a_fit_of_another_size_is_refused(more):
    with pytest.raises(ValueError, match="shape"):
        KernelRegression(4, 3).set_to(
            torch.zeros(4 + more, 3), torch.zeros(4 + more), torch.ones(3), 1.0, 0.0
        )


def test_it_survives_its_state(tmp_path):
    _, _, _, _, found = fitted(0.1)
    again = KernelRegression(12, 3).double()
    again.load_state_dict(found.state_dict())
    new = torch.randn(5, 3).double()
    torch.testing.assert_close(again(new), found(new), rtol=0, atol=0)
