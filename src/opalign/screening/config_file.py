"""The configuration of a screening out of a file and a command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opalign.screening.config import ScreenConfig
from opalign.training.config_file import (
    apply_overrides,
    read_mapping,
    resolve_path,
    validated,
)


def screen_config(
    path: str | os.PathLike[str] | None = None,
    given: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> ScreenConfig:
    """Return the configuration of a screening.

    Parameters
    ----------
    path
        YAML file; a relative input in it is relative to it.
    given
        Keys that replace those of the file.
    overrides
        ``key=value``, which come last.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or a key or value is not one of a screening; the message names
        the key that was probably meant.
    """
    content: dict[str, Any] = {}
    if path is not None:
        content = read_mapping(Path(path), "input, model, where")
        if content.get("input") is not None:
            content["input"] = resolve_path(content["input"], Path(path).parent)
    content = {**content, **(given or {})}
    apply_overrides(content, overrides)
    return validated(ScreenConfig, content, str(path or "screening"), "screening")
