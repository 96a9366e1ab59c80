"""Splits into training, validation and test materials that no reduced formula straddles.

All are deterministic in the seed and in the set of materials, whatever the order of the rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from opalign.dataset.formula import reduced_formula
from opalign.errors import DatasetError
from opalign.files import write_text

PARTS = ("train", "validation", "test")


class Split(BaseModel):
    """Ids of the training, validation and test materials, and how they were chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: list[str]
    validation: list[str]
    test: list[str]
    method: str = "given ids"
    seed: int | None = None

    def save(self, path: str | PathLike[str]) -> Path:
        """Write as JSON, atomically."""
        return write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        DatasetError
            The file is absent, is no split, or its parts overlap.
        """
        path = Path(path)
        try:
            split = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise DatasetError(
                f"cannot be read as a split: {error}",
                where=str(path),
                expected="JSON with the lists of ids train, validation and test",
            ) from error
        split.check()
        return split

    def check(
        self, ids: Sequence[str] | None = None, formulas: Sequence[str] | None = None
    ) -> None:
        """Raise DatasetError if an id is in two parts or twice in one.

        With ``ids`` of a table, also if the split has an id that the table lacks; with their
        ``formulas`` too, if one reduced formula has materials in two parts.
        """
        parts: dict[str, str] = {}
        for part in PARTS:
            for material_id in getattr(self, part):
                if material_id in parts:
                    raise DatasetError(
                        f"{material_id!r} is in {parts[material_id]} and again in {part}",
                        where="split",
                        cure="give each id to one part, once",
                    )
                parts[material_id] = part
        if ids is None:
            return
        if missing := sorted(set(parts) - set(ids)):
            raise DatasetError(
                f"{len(missing)} ids are not in the table, the first is {missing[0]!r}",
                where="split",
                cure="use the split with the table it was made for",
            )
        if formulas is None:
            return
        home: dict[str, tuple[str, str]] = {}
        for material_id, formula in zip(ids, map(reduced_formula, formulas), strict=True):
            if material_id not in parts:
                continue
            part = parts[material_id]
            other_part, other_id = home.setdefault(formula, (part, material_id))
            if other_part != part:
                raise DatasetError(
                    f"{formula} straddles: {other_id} in {other_part}, {material_id} in {part}",
                    where="split",
                    cure="split by formula, so that polymorphs stay together",
                )


def split_by_formula(
    ids: Sequence[str],
    formulas: Sequence[str],
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Split:
    """Split so that all materials of one reduced formula stand in the same part.

    Formulas are taken in an order given by a hash of the seed and the formula, each going to the
    part that is furthest below its share of rows (Sainte-Laguë's rule). A part with a fraction
    above zero is never empty.

    Parameters
    ----------
    fractions
        Shares of train, validation and test; they sum to 1.

    Raises
    ------
    DatasetError
        A repeated id, fractions that are no shares, or fewer formulas than parts.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or fractions[0] == 0:
        raise DatasetError(
            f"fractions {fractions} are no shares of train, validation and test",
            expected="three numbers from 0 to 1 that sum to 1, the first above 0",
        )
    groups = _groups(ids, formulas)
    shares = dict(zip(PARTS, fractions, strict=True))
    parts = _apportion(groups, {part: share for part, share in shares.items() if share}, seed)
    return Split(
        train=parts["train"],
        validation=parts.get("validation", []),
        test=parts.get("test", []),
        method="by reduced formula",
        seed=seed,
    )


def split_from_ids(
    train: Iterable[str] | str | PathLike[str],
    validation: Iterable[str] | str | PathLike[str] = (),
    test: Iterable[str] | str | PathLike[str] = (),
    *,
    available: Iterable[str] | None = None,
) -> Split:
    """Split by lists of ids, or by the paths of text files with one id a line.

    ``available``, the ids of a table, drops the ids that it lacks.

    Raises
    ------
    DatasetError
        A file cannot be read, an id stands twice, or no training id is left.
    """
    keep = None if available is None else set(available)
    parts = [
        [material_id for material_id in read_ids(part) if keep is None or material_id in keep]
        for part in (train, validation, test)
    ]
    split = Split(train=parts[0], validation=parts[1], test=parts[2])
    split.check()
    if not split.train:
        raise DatasetError(
            "no training id is left",
            where="split",
            cure="check that the ids are those of the table",
        )
    return split


def kfold_by_formula(
    ids: Sequence[str],
    formulas: Sequence[str],
    folds: int = 5,
    seed: int = 0,
    validation_fraction: float = 0.1,
) -> list[Split]:
    """Split for cross-validation: each material is tested once, no formula straddles.

    Formulas, those with the most rows first, go to the fold with the fewest rows, so that folds
    differ by no more rows than the largest formula has. Each fold's validation part is taken from
    its training formulas, ``validation_fraction`` of their rows.

    Raises
    ------
    DatasetError
        A repeated id, fewer than 2 folds, or too few formulas for that many.
    """
    if folds < 2 or not 0 <= validation_fraction < 1:
        raise DatasetError(
            f"{folds} folds with a validation fraction of {validation_fraction}",
            expected="2 folds or more, a fraction from 0 to below 1",
        )
    groups = _groups(ids, formulas)
    if len(groups) < folds:
        raise DatasetError(
            f"{len(groups)} reduced formulas do not fill {folds} folds", cure="take fewer folds"
        )
    tests: list[list[str]] = [[] for _ in range(folds)]
    for formula in sorted(groups, key=lambda f: (-len(groups[f]), _rank(seed, f), f)):
        smallest = min(range(folds), key=lambda fold: len(tests[fold]))
        tests[smallest].extend(groups[formula])
    shares = {"train": 1 - validation_fraction, "validation": validation_fraction}
    shares = {part: share for part, share in shares.items() if share}
    splits = []
    for fold, test in enumerate(tests):
        held_out = set(test)
        rest = {f: members for f, members in groups.items() if members[0] not in held_out}
        # The salt gives each fold its own order of formulas, and so its own validation part.
        parts = _apportion(rest, shares, seed, salt=f"fold {fold}")
        splits.append(
            Split(
                train=parts["train"],
                validation=parts.get("validation", []),
                test=sorted(test),
                method=f"fold {fold + 1} of {folds}, by reduced formula",
                seed=seed,
            )
        )
    return splits


def _apportion(
    groups: Mapping[str, list[str]], shares: Mapping[str, float], seed: int, salt: str = ""
) -> dict[str, list[str]]:
    if len(groups) < len(shares):
        raise DatasetError(
            f"{len(groups)} reduced formulas cannot fill {len(shares)} parts",
            expected="at least one formula for each part",
            cure="take a larger table, or give a part the fraction 0",
        )
    order = sorted(groups, key=lambda formula: (_rank(seed, salt + formula), formula))
    chosen: dict[str, list[str]] = {part: [] for part in shares}
    rows = Counter(dict.fromkeys(shares, 0))
    for formula in order:
        size = len(groups[formula])
        part = min(shares, key=lambda part: (rows[part] + size / 2) / shares[part])
        chosen[part].append(formula)
        rows[part] += size
    for part in shares:
        if not chosen[part]:
            donor = max(shares, key=lambda other: len(chosen[other]))
            chosen[part].append(chosen[donor].pop())
    return {
        part: sorted(material_id for formula in formulas for material_id in groups[formula])
        for part, formulas in chosen.items()
    }


def _groups(ids: Sequence[str], formulas: Sequence[str]) -> dict[str, list[str]]:
    """Ids of each reduced formula."""
    if len(ids) != len(formulas):
        raise DatasetError(f"{len(ids)} ids, but {len(formulas)} formulas")
    repeated = [material_id for material_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DatasetError(
            f"{len(repeated)} ids stand more than once, the first is {repeated[0]!r}",
            cure="an id names one material; remove the duplicates",
        )
    groups: dict[str, list[str]] = defaultdict(list)
    for material_id, formula in zip(ids, formulas, strict=True):
        groups[reduced_formula(formula)].append(material_id)
    return dict(groups)


def _rank(seed: int, text: str) -> bytes:
    """Give texts a seeded order, the same on every machine and whatever other texts there are."""
    return hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=16).digest()


def read_ids(part: Iterable[str] | str | PathLike[str]) -> list[str]:
    """Ids as given, or from a text file with one a line; DatasetError if it cannot be read."""
    if not isinstance(part, str | PathLike):
        return list(part)
    path = Path(part)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"cannot be read: {error}", where=str(path), expected="a text file, one id a line"
        ) from error
    return [line.strip() for line in lines if line.strip()]
