"""How a crystal becomes a graph: settings that a model, its data and its cache must agree on."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class GraphSettings(BaseModel):
    """Settings of a crystal graph; immutable, and part of every checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["k_nearest", "radius"] = Field(
        default="k_nearest",
        description="k_nearest: the same number of neighbours for every atom, whole shells; "
        "radius: every neighbour within the cutoff",
    )
    neighbors: int = Field(
        default=12,
        ge=1,
        le=400,
        description="k of k_nearest; all ties of the k-th shell are kept",
    )
    cutoff: float = Field(
        default=5.0, gt=0.0, le=20.0, description="radius in Å; not used by k_nearest"
    )
    shell_tolerance: float = Field(
        default=1e-3,
        ge=0.0,
        le=0.5,
        description="distances (Å) that differ by at most this belong to one shell; "
        "not used by radius",
    )
    angles: bool = Field(default=True, description="build the line graph (angles between bonds)")

    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of all settings: equal if and only if the settings are equal."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
