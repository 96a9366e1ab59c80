"""Reading and writing the configuration of a climb as YAML."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opalign.ladder.config import LadderConfig
from opalign.training.config_file import apply_overrides, read_mapping, resolve_path, validated


def read_ladder_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> LadderConfig:
    """Read a YAML file; relative paths in it are relative to the file.

    Parameters
    ----------
    overrides
        ``dotted.key=value`` with a YAML value, as in ``steps=300``.

    Raises
    ------
    ConfigurationError
        The file is absent or no YAML, or a key or value is wrong.
    """
    path = Path(path)
    content = read_mapping(path, "tables, cheap, costly, strategies")
    tables = content.get("tables")
    if isinstance(tables, str | list):
        named = [tables] if isinstance(tables, str) else tables
        content["tables"] = [resolve_path(item, path.parent) for item in named]
    pretraining = content.get("pretraining")
    if isinstance(pretraining, dict) and "table" in pretraining:
        pretraining["table"] = resolve_path(pretraining["table"], path.parent)
    apply_overrides(content, overrides)
    return parse_ladder_config(content, str(path))


def parse_ladder_config(content: dict[str, Any], where: str = "configuration") -> LadderConfig:
    """Validate a nested mapping; ConfigurationError names each wrong key."""
    return validated(LadderConfig, content, where, "ladder configuration")
