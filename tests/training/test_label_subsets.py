"""Materials of which a level may not be learned, or that lack it."""

import numpy as np
import pytest
import torch

from opalign.errors import ConfigurationError, DatasetError
from opalign.training.config_file import parse_config, read_config, write_config
from opalign.training.data import load_materials, open_tables
from opalign.training.run import build_model_config, train


def materials_of(config):
    tables = open_tables(config.data.tables)
    return load_materials(tables, build_model_config(config, tables), config.data, config.loss)


def test_labels_outside_the_subset_are_unknown(tiny, tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text("rocksalt-MgO\ncscl-CaS\n", encoding="utf-8")
    config = tiny(data__levels=["ipa", "rpa"], data__label_subset={"rpa": str(ids)})
    found, whole = materials_of(config), materials_of(tiny(data__levels=["ipa", "rpa"]))
    known = [material_id in ("rocksalt-MgO", "cscl-CaS") for material_id in found.ids]
    for name in ("epsilon_imaginary", "static_dielectric"):
        values = found.targets[name]
        torch.testing.assert_close(values[:, 0], whole.targets[name][:, 0])
        torch.testing.assert_close(values[known, 1], whole.targets[name][known, 1])
        assert torch.isnan(values[~np.array(known), 1]).all()


def test_a_run_learns_from_what_there_is(tiny, tmp_path, silent):
    subset = {"rpa": ["rocksalt-MgO"]}
    config = tiny(data__levels=["ipa", "rpa"], data__label_subset=subset, epochs=2)
    result = train(config, tmp_path / "run", console=silent)
    assert np.isfinite(result.metrics["test"]["rpa"]["mae"]["median"])
    assert read_config(tmp_path / "run" / "config.yaml") == config


def test_paths_are_relative_to_the_file(tiny, tmp_path):
    write_config(tmp_path / "run.yaml", tiny())
    text = (tmp_path / "run.yaml").read_text(encoding="utf-8")
    text = text.replace("label_subset: {}", "label_subset: {rpa: ids.txt}")
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    assert read_config(tmp_path / "run.yaml").data.label_subset == {"rpa": tmp_path / "ids.txt"}


def test_unknown_ids_and_levels_are_named(tiny):
    with pytest.raises(DatasetError, match="'unobtainium'"):
        materials_of(tiny(data__label_subset={"rpa": ["unobtainium"]}))
    with pytest.raises(ConfigurationError, match="levels that are not learned"):
        tiny(data__label_subset={"ipa": ["rocksalt-MgO"]})


def test_heads_of_the_ladder_are_not_trained_alone(spectra_path):
    with pytest.raises(ConfigurationError, match="opalign ladder"):
        parse_config({"data": {"tables": str(spectra_path)}, "model": {"head": {"kind": "delta"}}})
