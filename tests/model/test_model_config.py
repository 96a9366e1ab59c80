import pytest
from pydantic import ValidationError

from opalign.crystal.settings import GraphSettings
from opalign.model.config import (
    AlignnConfig,
    ModelConfig,
    OptimateConfig,
    PhysicalHeadConfig,
    VectorHeadConfig,
)
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

GRID = {"start": 0.0, "stop": 20.0, "num": 801}


def test_defaults_are_a_network():
    config = ModelConfig(grid=EnergyGrid(**GRID))
    assert config.encoder == AlignnConfig()
    assert config.head == PhysicalHeadConfig()


@pytest.mark.parametrize("encoder", [AlignnConfig(gcn_layers=2, norm="batch"), OptimateConfig()])
@pytest.mark.parametrize("head", [VectorHeadConfig(hidden_features=(8, 9)), PhysicalHeadConfig()])
def test_json_round_trip(encoder, head):
    config = ModelConfig(
        encoder=encoder,
        head=head,
        grid=EnergyGrid(**GRID),
        graph=GraphSettings(kind="radius"),
        levels=("ipa", "rpa"),
        broadening=Broadening("lorentzian", 0.1),
    )
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        ({"levels": ["rpa", "rpa"]}, (), "levels repeat"),
        ({"levels": []}, ("levels",), "at least 1"),
        ({"graph": {"angles": False}}, (), "set graph.angles to true"),
        ({"encoder": {"architecture": "cgcnn"}}, ("encoder",), "'alignn', 'optimate'"),
        (
            {"encoder": {"architecture": "alignn", "alignn_layers": 0, "gcn_layers": 0}},
            ("encoder", "alignn"),
            "alignn_layers \\+ gcn_layers must be at least 1",
        ),
        (
            {"encoder": {"architecture": "alignn", "angle_basis_size": 1}},
            ("encoder", "alignn", "angle_basis_size"),
            "greater than or equal to 2",
        ),
        (
            {"encoder": {"architecture": "optimate", "bond_basis_size": 1}},
            ("encoder", "optimate", "bond_basis_size"),
            "greater than or equal to 2",
        ),
        (
            {"encoder": {"architecture": "alignn", "hidden": 64}},
            ("encoder", "alignn", "hidden"),
            "Extra inputs are not permitted",
        ),
        (
            {"head": {"kind": "vector", "dropout": 0.1}},
            ("head", "vector", "dropout"),
            "Extra inputs are not permitted",
        ),
        ({"head": {"kind": "physical", "dropout": 1.0}}, ("head", "physical", "dropout"), "less"),
        ({"head": {"kind": "physical", "basis_step": 0}}, ("head", "physical", "basis_step"), "0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_mistakes_are_named(content, place, message):
    with pytest.raises(ValidationError, match=message) as caught:
        ModelConfig.model_validate({"grid": GRID, **content})
    assert caught.value.errors()[0]["loc"] == place


def test_graph_convolutions_alone_need_no_angles():
    config = ModelConfig(
        encoder=AlignnConfig(alignn_layers=0),
        graph=GraphSettings(angles=False),
        grid=EnergyGrid(**GRID),
    )
    assert not config.graph.angles


def test_frozen():
    with pytest.raises(ValidationError):
        AlignnConfig().hidden_features = 3
