"""Reading and writing a training configuration as YAML, with "did you mean" for misspelt keys."""

from __future__ import annotations

import difflib
import os
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from opalign.errors import ConfigurationError
from opalign.files import write_text
from opalign.training.config import TrainingConfig

Model = TypeVar("Model", bound=BaseModel)

_PATHS = (
    ("data", "tables"),
    ("data", "training_tables"),
    ("data", "graph_cache"),
    ("data", "split", "file"),
    ("pretraining", "table"),
    ("initial", "checkpoint"),
    ("cross_validated", "folder"),
)


def read_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a run's YAML file.

    Relative paths in it are relative to the file; ``~`` and ``$VARIABLES`` are filled in.

    Parameters
    ----------
    overrides
        ``dotted.key=value`` with a YAML value, as in ``optimizer.learning_rate=1e-3``; relative
        paths in them are relative to the working directory.

    Raises
    ------
    ConfigurationError
        The file is absent or no YAML, or a key or value is not one of a training run.
    """
    path = Path(path)
    content = read_mapping(path, "data, model, loss")
    _resolve_paths(content, path.parent)
    apply_overrides(content, overrides)
    return parse_config(content, where=str(path))


def read_mapping(path: Path, keys: str) -> dict[str, Any]:
    """Read a YAML file of keys, such as ``keys``; ConfigurationError if it is none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}", where=str(path), expected="a YAML file"
        ) from error
    if not isinstance(content, dict):
        raise ConfigurationError("holds no keys", where=str(path), expected=f"keys such as {keys}")
    return content


def parse_config(content: Mapping[str, Any], where: str = "configuration") -> TrainingConfig:
    """Validate a nested mapping; raises ConfigurationError that names each wrong key."""
    return validated(TrainingConfig, content, where, "training configuration")


def validated(model: type[Model], content: Mapping[str, Any], where: str, what: str) -> Model:
    """Return ``content`` as a configuration; ConfigurationError names each wrong key.

    Parameters
    ----------
    where, what
        File, and kind of configuration, for the message.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [_explain(problem, model) for problem in error.errors()]
        raise ConfigurationError(
            "; ".join(lines), where=where, cure=f"correct these keys of the {what}"
        ) from error


def to_yaml(config: BaseModel) -> str:
    """YAML of all settings, defaults included, in the order in which they are declared."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def write_config(path: str | os.PathLike[str], config: BaseModel) -> Path:
    """Write all settings, so that reading them back gives an equal configuration."""
    return write_text(path, to_yaml(config))


def differing_keys(first: TrainingConfig, second: TrainingConfig) -> list[str]:
    """Dotted keys in which two configurations differ."""
    flat_first, flat_second = (
        dict(_flatten(config.model_dump(mode="json"))) for config in (first, second)
    )
    keys = sorted({*flat_first, *flat_second})
    return [key for key in keys if flat_first.get(key) != flat_second.get(key)]


def _flatten(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def _resolve_paths(content: dict[str, Any], folder: Path) -> None:
    for *parents, last in _PATHS:
        node: Any = content
        for key in parents:
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict) or node.get(last) is None:
            continue
        value = node[last]
        node[last] = (
            [resolve_path(item, folder) for item in value]
            if isinstance(value, list)
            else resolve_path(value, folder)
        )
    data = content.get("data")
    subsets = data.get("label_subset") if isinstance(data, dict) else None
    if isinstance(subsets, dict):
        for level, value in subsets.items():
            subsets[level] = resolve_path(value, folder)


def resolve_path(value: object, folder: Path) -> object:
    """Return a path in full, relative to ``folder``; what is no text is left as it is."""
    if not isinstance(value, str):
        return value
    path = Path(os.path.expandvars(value)).expanduser()
    if "$" in str(path):
        raise ConfigurationError(
            f"{value!r} names an environment variable that is not set",
            cure="set the variable, or write the path out",
        )
    return str((folder / path).resolve())


def apply_overrides(content: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set ``dotted.key=value`` in nested mappings; ConfigurationError for what sets nothing."""
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigurationError(
                f"{text!r} sets nothing", expected="key=value, as in optimizer.learning_rate=1e-3"
            )
        node = content
        *parents, last = key.split(".")
        for parent in parents:
            child = node.setdefault(parent, {})
            if child is None:
                child = node[parent] = {}
            if not isinstance(child, dict):
                raise ConfigurationError(f"{parent!r} of {key!r} has no keys", where=text)
            node = child
        try:
            node[last] = _number(yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{value!r} is no YAML value", where=text) from error


def _number(value: object) -> object:
    """YAML 1.1 reads ``1e-3`` as text; a person means the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _explain(problem: Any, model: type[BaseModel]) -> str:
    location = tuple(problem["loc"])
    place = ".".join(str(part) for part in location)
    if problem["type"] == "union_tag_not_found":
        tag = problem["ctx"]["discriminator"]
        return f"{place}: the key {tag} is missing, which says what kind this is"
    if problem["type"] != "extra_forbidden":
        return f"{place or 'run'}: {problem['msg']}"
    names = _field_names(model, location[:-1])
    guess = difflib.get_close_matches(str(location[-1]), names, n=1)
    hint = f"did you mean {guess[0]!r}?" if guess else f"known here: {', '.join(names)}"
    return f"{place}: there is no such key, {hint}"


def _field_names(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Keys allowed at a location; parts that are tags of a union or indices are passed over."""
    models = [model]
    for part in location:
        inner = [
            found
            for known in models
            if part in known.model_fields
            for found in _models_in(known.model_fields[part].annotation)
        ]
        models = inner or models
    return list(dict.fromkeys(name for known in models for name in known.model_fields))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType) or get_args(annotation):
        return [model for inner in get_args(annotation) for model in _models_in(inner)]
    return []
