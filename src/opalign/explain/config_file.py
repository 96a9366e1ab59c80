"""The configuration of an explanation as a file, and with what a command line adds to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opalign.explain.config import ExplainConfig
from opalign.prediction.models import available_checkpoints
from opalign.training.config_file import (
    apply_overrides,
    read_mapping,
    resolve_path,
    validated,
    write_config,
)

#: File of the configuration, beside the results.
CONFIG_FILE = "config.yaml"


def explain_config(
    path: str | os.PathLike[str] | None = None,
    given: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> ExplainConfig:
    """Return the configuration of an explanation.

    Parameters
    ----------
    path
        YAML file; relative paths in it are relative to it.
    given
        Keys that replace those of the file; relative paths are relative to the working directory.
    overrides
        ``dotted.key=value``, which come last.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or a key or value is not one of an explanation; the message
        names the key that was probably meant.
    """
    content: dict[str, Any] = {}
    if path is not None:
        content = read_mapping(Path(path), "model, table, layer, number")
        _resolve_paths(content, Path(path).parent)
    own = {**(given or {})}
    apply_overrides(own, overrides)
    _resolve_paths(own, Path())
    content = _merged(content, own)
    return validated(
        ExplainConfig, content, str(path or "explanation"), "configuration of the explanation"
    )


def write_explain_config(path: str | os.PathLike[str], config: ExplainConfig) -> Path:
    """Write all settings with whole paths, so that the file can be used from anywhere."""
    content = config.model_dump(mode="json")
    _resolve_paths(content, Path())
    return write_config(path, ExplainConfig.model_validate(content))


def _merged(content: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings with those of ``own`` in front."""
    merged = dict(content)
    for key, value in own.items():
        before = merged.get(key)
        nested = isinstance(value, dict) and isinstance(before, dict)
        merged[key] = _merged(before, value) if nested else value  # type: ignore[arg-type]
    return merged


def _resolve_paths(content: dict[str, Any], folder: Path) -> None:
    for name in ("table", "cross_validation"):
        if content.get(name) is not None:
            content[name] = resolve_path(content[name], folder)
    others = content.get("other_models")
    named = available_checkpoints()
    for node in (content, *(others if isinstance(others, list | tuple) else ())):
        if not isinstance(node, dict):
            continue
        if node is not content and node.get("cross_validation") is not None:
            node["cross_validation"] = resolve_path(node["cross_validation"], folder)
        model = node.get("model")
        # A name wins over a folder of the same name.
        if isinstance(model, str) and model not in named and (folder / model).is_dir():
            node["model"] = resolve_path(node["model"], folder)
