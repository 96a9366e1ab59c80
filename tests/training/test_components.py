import numpy as np
import pytest
import torch

from opalign.errors import ConfigurationError
from opalign.training.components import fit_components
from opalign.training.config_file import parse_config
from opalign.training.data import load_materials, open_tables
from opalign.training.run import _new_network, build_model_config


def setup(table, components):
    config = parse_config(
        {
            "data": {"tables": str(table), "levels": ["rpa", "ipa"]},
            "model": {
                "encoder": {
                    "architecture": "optimate", "attention_features": [8], "node_features": [8],
                    "element_table": "group_period",
                },
                "head": {"kind": "physical", "hidden_features": [16], "components": components},
            },
        }
    )  # fmt: skip
    tables = open_tables(config.data.tables)
    model = build_model_config(config, tables)
    return _new_network(model, 0), load_materials(tables, model, config.data, config.loss)


def test_components_span_the_training_spectra(spectra_path):
    """Sixteen analytic spectra of one family: few components hold what varies among them."""
    network, materials = setup(spectra_path, 6)
    fit_components(network, materials)
    head = network.head
    gap = materials.targets["band_gap"]
    assert torch.isfinite(head.components).all()
    # Orthogonal, sorted by deviation.
    gram = (head.components @ head.components.T).numpy()
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-4 * gram.max())
    assert (np.diff(np.diag(gram)) < 0).all()
    # Project one spectrum on them and see it come back.
    from opalign.training.components import _raw_spectra

    observed = _raw_spectra(head, materials)
    assert len(observed) == 2 * int((~torch.isnan(gap)).sum())
    centred = observed - head.offset.numpy()
    basis = head.components.numpy() / np.linalg.norm(head.components, axis=1, keepdims=True)
    left = centred - centred @ basis.T @ basis
    assert np.linalg.norm(left) < 0.1 * np.linalg.norm(centred)


def test_more_components_than_spectra_are_refused(spectra_path):
    network, materials = setup(spectra_path, 400)
    with pytest.raises(ConfigurationError, match="400 components of"):
        fit_components(network, materials)


def test_a_head_with_free_nodes_is_left_alone(spectra_path):
    network, materials = setup(spectra_path, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit_components(network, materials)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
