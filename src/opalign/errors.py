"""Errors a user can act on: each says what is wrong, where, what was expected, and the cure.

The command line prints these without a traceback and exits with code 2; anything else is a
defect of Opalign and keeps its traceback.
"""

from __future__ import annotations


class OpalignError(Exception):
    """Base of every error caused by input, configuration or the machine, never by a bug.

    Parameters
    ----------
    problem
        What is wrong, as one sentence without the place.
    where
        File, row, atom or key at which it was found.
    expected
        What would have been accepted.
    cure
        What the user can do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        cure: str | None = None,
    ) -> None:
        self.problem = problem
        self.where = where
        self.expected = expected
        self.cure = cure
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        if self.expected:
            text += f"\n  expected: {self.expected}"
        if self.cure:
            text += f"\n  try: {self.cure}"
        return text


class StructureError(OpalignError):
    """A structure that cannot be used."""


class SpectrumError(OpalignError):
    """A spectrum that breaks the rules of optics or of its grid."""


class DatasetError(OpalignError):
    """A table that breaks its schema."""


class CheckpointError(OpalignError):
    """A checkpoint folder that is incomplete, changed, or too new."""


class ConfigurationError(OpalignError):
    """A configuration that does not validate."""


class StorageError(OpalignError):
    """Writing or reading failed for a reason of the machine, such as a full disk."""


class MissingExtraError(OpalignError):
    """An optional dependency is needed and absent."""
