"""Everything that a campaign is: its structures, what is computed of them, within what limits."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opalign.errors import ConfigurationError
from opalign.files import write_text


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PrototypeSource(_Frozen):
    """Compounds on common structure types, geometry estimated from radii."""

    kind: Literal["prototypes"] = "prototypes"
    count: int = Field(default=250, ge=1, description="compounds at most")
    maximum_sites: int = Field(default=6, ge=2, description="atoms in the primitive cell")
    types: list[str] | None = Field(default=None, description="structure types; None for all")
    elements: list[str] | None = Field(default=None, description="allowed elements; None for all")
    known_only: bool = Field(default=False, description="only compounds known in their type")


class FileSource(_Frozen):
    """A table (Parquet), a folder of structure files or a file of structures."""

    kind: Literal["table", "folder"]
    path: Path


class MaterialsProjectSource(_Frozen):
    """A question to the Materials Project; the key comes from MP_API_KEY."""

    kind: Literal["materials_project"]
    elements: list[list[str]] = Field(
        default=[["O"], ["S"], ["Se"]], description="one question per list: elements that occur"
    )
    excluded: list[str] = []
    maximum_sites: int = Field(default=40, ge=1)
    maximum_hull_energy: float | None = Field(default=0.0, ge=0, description="eV/atom")
    criteria: dict[str, str | int | float | bool] = {}
    endpoint: str | None = None


Source = Annotated[
    PrototypeSource | FileSource | MaterialsProjectSource, Field(discriminator="kind")
]


SPIN_CHECKING = ("gpaw", "vasp")
"""Engines with the setting ``spin_check``."""


class CandidateFilters(_Frozen):
    """Which candidates are computed; each filter is counted."""

    study: bool = Field(
        default=True,
        description="the reference study's four criteria; the third, no spin, is left to the "
        "engine's spin_check, which is on for structures that are not prototypes",
    )
    maximum_sites: int = Field(
        default=40, ge=1, description="atoms in the primitive cell, also without the criteria"
    )
    unique: bool = Field(default=True, description="no crystal twice")
    identifiers: list[str] | None = Field(default=None, description="these alone; None for all")


class Limits(_Frozen):
    """What one job may take; no part of a job's key, so that a retry goes on where it stopped."""

    time_seconds: float = Field(default=3600.0, gt=0, description="wall clock of one job")
    memory_gb: float = Field(default=8.0, gt=0, description="resident, of a job's own process")
    expected_seconds: float | None = Field(
        default=None, gt=0, description="jobs expected to take longer are not planned"
    )


class CampaignConfig(_Frozen):
    """A campaign; kept as ``campaign.yaml`` beside its results."""

    source: Source
    filters: CandidateFilters = CandidateFilters()
    known: tuple[Path, ...] = Field(
        default=(),
        description="what was computed elsewhere and is not planned again: exported tables, and "
        "the lists of failures beside their cards",
    )
    engine: str = Field(
        default="gpaw",
        description="name of an engine, or module:function of one of your own, which is called "
        "with the settings and returns the engine",
    )
    settings: dict[str, Any] = Field(default={}, description="of the engine")
    limits: Limits = Limits()
    workers: int = Field(default=1, ge=1, description="processes of one core each")
    order: Literal["cheapest", "dearest", "plan"] = Field(
        default="cheapest", description="of the queue, by expected cost or as planned"
    )
    keep_work: bool = Field(
        default=False, description="keep an engine's own files of materials that are done"
    )


def read_campaign(path: str | PathLike[str], overrides: Sequence[str] = ()) -> CampaignConfig:
    """Read a campaign's YAML file; relative paths in it are relative to the file.

    Parameters
    ----------
    overrides
        ``dotted.key=value`` with a YAML value, such as ``settings.optics_density=6``. Relative
        paths in them are relative to the working directory.

    Raises
    ------
    ConfigurationError
        The file is absent or no YAML, or a key or value is not one of a campaign.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}", where=str(path), expected="a campaign as YAML"
        ) from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            "holds no keys", where=str(path), expected="keys such as source, engine, settings"
        )
    changed = with_overrides(_with_paths(content, path.parent), overrides)
    # What is relative now stems from the overrides.
    return parse_campaign(_with_paths(changed, Path.cwd()), where=str(path))


def _with_paths(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return ``content`` with the paths that are relative made absolute from ``folder``."""

    def resolved(text: Any) -> Any:
        return str((folder / Path(text).expanduser()).resolve()) if isinstance(text, str) else text

    changed = dict(content)
    source, known = changed.get("source"), changed.get("known")
    if isinstance(source, Mapping) and "path" in source:
        changed["source"] = {**source, "path": resolved(source["path"])}
    if isinstance(known, list):
        changed["known"] = [resolved(each) for each in known]
    return changed


def parse_campaign(content: Mapping[str, Any], where: str = "campaign") -> CampaignConfig:
    """Validate a nested mapping; raises ConfigurationError that names each wrong key."""
    try:
        return CampaignConfig.model_validate(content)
    except ValidationError as error:
        problems = [_explain(detail) for detail in error.errors(include_url=False)]
        raise ConfigurationError(
            "; ".join(problems), where=where, cure="correct these keys of the campaign"
        ) from error


def with_limits(config: CampaignConfig, limits: Sequence[str]) -> CampaignConfig:
    """Return the configuration with ``limits.KEY=VALUE`` that hold for one run.

    Raises
    ------
    ConfigurationError
        There is no such key, or the value does not fit.
    """
    changed = with_overrides(config.model_dump(mode="json"), limits)
    return parse_campaign(changed, where="limits of this run")


def with_spin_check(config: CampaignConfig) -> CampaignConfig:
    """Return the configuration with ``spin_check`` on where the study's criteria ask for it.

    Only a spin-polarised run tells that a material is not magnetic; an even number of electrons
    does not. What the settings say themselves holds, and compounds of the prototype generator
    are left to the number of electrons.
    """
    if (
        not config.filters.study
        or isinstance(config.source, PrototypeSource)
        or config.engine not in SPIN_CHECKING
        or "spin_check" in config.settings
    ):
        return config
    return config.model_copy(update={"settings": {**config.settings, "spin_check": True}})


def write_campaign(path: str | PathLike[str], config: CampaignConfig) -> Path:
    """Write what :func:`read_campaign` reads back to an equal configuration."""
    content = config.model_dump(mode="json")
    return write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def with_overrides(content: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return ``content`` with ``dotted.key=value`` set; raises ConfigurationError for no such."""
    changed = dict(content)
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigurationError(
                f"{text!r} sets nothing", expected="key=value, as in limits.time_seconds=7200"
            )
        node = changed
        *parents, last = key.split(".")
        for parent in parents:
            inner = node.get(parent)
            if inner is not None and not isinstance(inner, Mapping):
                raise ConfigurationError(f"{parent!r} of {key!r} has no keys", where=text)
            node[parent] = dict(inner or {})
            node = node[parent]
        try:
            node[last] = _value(yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{value!r} is no YAML value", where=text) from error
    return changed


def _value(value: Any) -> Any:
    """YAML 1.1 reads ``1e-3`` as text; a person means the number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _explain(detail: Any) -> str:
    *parents, last = detail["loc"] or ("campaign",)
    place = ".".join(str(part) for part in (*parents, last))
    if detail["type"] != "extra_forbidden":
        return f"{place}: {detail['msg']}"
    models: list[type[BaseModel]] = [CampaignConfig]
    if parents:
        models = [
            *(PrototypeSource, FileSource, MaterialsProjectSource),
            *(CandidateFilters, Limits),
        ]
    names = list(dict.fromkeys(name for model in models for name in model.model_fields))
    guess = difflib.get_close_matches(str(last), names, n=1)
    return f"{place}: there is no such key" + (f", did you mean {guess[0]!r}?" if guess else "")
