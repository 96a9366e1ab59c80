import pytest
import torch
from torch import nn

from opalign.training.averaging import AveragedNetwork


def test_running_average_is_the_recursion_it_says():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 0.0)
    averaged = AveragedNetwork(network, 0.5)
    assert not averaged.module.weight.requires_grad
    expected = 0.0
    for step in range(20):
        nn.init.constant_(network.weight, float(step + 1))
        averaged.update(network, step)
        # The first update is a copy.
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0.0
        expected = decay * expected + (1 - decay) * (step + 1)
        assert averaged.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_running_statistics_are_copied():
    network = nn.BatchNorm1d(3)
    averaged = AveragedNetwork(network, 0.9)
    for step in range(3):
        network(torch.randn(8, 3) + 5.0)
        averaged.update(network, step)
    assert network.running_mean.min() > 0.5
    torch.testing.assert_close(averaged.module.running_mean, network.running_mean)
