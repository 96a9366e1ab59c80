"""The process beside the network: fitted on the training materials alone, averaged with it."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from opalign.ladder.data import LadderData
from opalign.ladder.jobs import similarity_plan
from opalign.ladder.kernel import with_kernel
from opalign.ladder.store import read_record
from opalign.ladder.strategies import run_job, similarity_model
from opalign.model.network import SpectrumModel
from opalign.training.data import SIMILARITY, batch_of
from opalign.training.predictions import predict_materials


@pytest.fixture
def data(small):
    return LadderData(small(steps=5, seeds=[0]))


def test_the_weighted_mean_of_network_and_process(data):
    torch.manual_seed(0)
    model = similarity_model(data)
    network = SpectrumModel(model).eval()
    train, test = data.split(1).train, data.split(1).test
    materials = data.with_similarity(model, train)
    whole = with_kernel(network, materials)

    def ions(ids):
        chosen = data.with_similarity(model, ids)
        return whole.head.ions(batch_of(chosen, range(len(ids)))["graph"]).double().numpy()

    x, y = ions(train), np.array([data.similarity[m] for m in train])
    scale = x.std(axis=0)
    scale[scale < 1e-6] = 1.0
    process = GaussianProcessRegressor(
        ConstantKernel(1.0) * Matern(10.0, (1.0, 300.0), nu=1.5) + WhiteKernel(0.1),
        normalize_y=True,
        random_state=0,
    ).fit(x / scale, y)
    told = np.minimum(process.predict(ions(test) / scale), 1.0)
    tested = data.with_similarity(model, test)
    alone = predict_materials(network, tested)[SIMILARITY]
    found = predict_materials(whole, tested)[SIMILARITY]
    np.testing.assert_allclose(found, alone / 3 + told * 2 / 3, atol=1e-5)
    for name, value in network.state_dict().items():
        assert torch.equal(whole.state_dict()[name], value), name


def test_equal_targets_are_told_everywhere(data):
    model = similarity_model(data)
    materials = data.with_similarity(model, data.split(1).train)
    materials.targets[SIMILARITY][:] = 0.8
    whole = with_kernel(SpectrumModel(model), materials)
    batch = batch_of(data.with_similarity(model, data.split(1).test), range(2))["graph"]
    with torch.no_grad():
        told = whole.head.kernel(whole.head.ions(batch))
    torch.testing.assert_close(told, torch.full_like(told, 0.8), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_jobs_say_what_the_network_says_alone(small, tmp_path, share):
    data = LadderData(small(steps=5, seeds=[0], similarity={"steps": 3, "kernel_share": share}))
    for job in similarity_plan(data.config)[:3]:
        run_job(job, data, tmp_path)
        if job.stage == "similarity":
            record = read_record(job.path(tmp_path))
            assert (record["predicted"] == record["network"]) is (share == 0.0)


def test_other_settings_are_trained_anew(small):
    def names(**similarity):
        config = small(steps=5, seeds=[0], similarity=similarity)
        return {job.name for job in similarity_plan(config) if job.stage == "similarity"}

    first = names()
    for change in (
        {"kernel_share": 0.5},
        {"steps": 7},
        {"hidden_features": [3]},
        {"from_cheap": False},
    ):
        assert not first & names(**change), change
