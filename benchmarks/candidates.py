"""Which of a few configurations becomes the shipped model: all of them on the same folds.

    python benchmarks/candidates.py runs/tables/gpaw.parquet runs/tables/oxide_dielectric.parquet \
        WORK_FOLDER [--seeds 3] [--processes 2] [--device cpu] [--only NAME …]

Configurations of full length, ``examples/training`` with what the ablation suggested, on folds
drawn with another seed than those that the shipped model is reported on. Resumes; prints a table
of single networks and of averages over their seeds, and writes it into WORK_FOLDER.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from ablation import GRID, parser_of, r2, scores
from fold_runs import FOLDS, FoldRun, average, out_of_fold, references, run_all, run_fold

from opalign.files import write_text
from opalign.training.config import TrainingConfig
from opalign.training.config_file import read_config
from opalign.training.spectra import SpectraSet

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "training"
HEAD = "model.head."
OWN = f"data.training_tables={ROOT / 'datasets' / 'prototypes' / 'prototypes.parquet'}"
PLAIN = (f"{HEAD}components=0", f"{HEAD}composition=none", "augmentation=null")
CANDIDATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "OPTIMATE": ("optimate.yaml", ()),
    "OPTIMATE, 12 components": ("optimate.yaml", (f"{HEAD}components=12",)),
    "OPTIMATE, composition": ("optimate.yaml", (f"{HEAD}composition=all",)),
    "OPTIMATE, both": ("optimate.yaml", (f"{HEAD}components=12", f"{HEAD}composition=all")),
    "OPTIMATE, both, dropout 0.2": (
        "optimate.yaml",
        (f"{HEAD}components=12", f"{HEAD}composition=all", f"{HEAD}dropout=0.2"),
    ),
    "OPTIMATE, 12 components, own set": ("optimate.yaml", (f"{HEAD}components=12", OWN)),
    "OPTIMATE, both, dropout 0.2, own set": (
        "optimate.yaml",
        (f"{HEAD}components=12", f"{HEAD}composition=all", f"{HEAD}dropout=0.2", OWN),
    ),
    "ALIGNN": ("alignn.yaml", ()),
    "ALIGNN, both": ("alignn.yaml", (f"{HEAD}components=12", f"{HEAD}composition=all")),
}
TOGETHER = (("OPTIMATE, both", "ALIGNN, both"), ("OPTIMATE, composition", "ALIGNN, both"))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", action="store_true", help="mixed precision; a folder of its own")
    parser.add_argument("--only", nargs="*", choices=list(CANDIDATES), default=list(CANDIDATES))
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    runs = {
        (name, seed): [
            FoldRun(configuration(name, seed, arguments), fold, arguments.fold_seed, work)
            for fold in range(1, FOLDS + 1)
        ]
        for seed in range(arguments.seeds)
        for name in arguments.only
    }
    action = partial(run_fold, device=arguments.device, half=arguments.half)
    run_all(list(chain.from_iterable(runs.values())), action, arguments.processes)
    text = table(runs, arguments)
    print(text)
    write_text(work / "candidates.md", text)


def configuration(name: str, seed: int, arguments: argparse.Namespace) -> TrainingConfig:
    """Return the configuration of a candidate, whatever the example says by now."""
    file, changes = CANDIDATES[name]
    config = read_config(
        EXAMPLES / file,
        (
            f"data.tables={arguments.spectra.resolve()}",
            f"pretraining.table={arguments.scalars.resolve()}",
            f"model.grid={{start: {GRID.start}, stop: {GRID.stop}, num: {GRID.num}}}",
            *PLAIN,
            *changes,
        ),
    )
    return config.model_copy(update={"seed": seed})


def table(runs: dict[tuple[str, int], list[FoldRun]], arguments: argparse.Namespace) -> str:
    """One row a candidate, one for the average of its seeds, and one for averages of two."""
    config = next(iter(runs.values()))[0].config
    reference = references(config, GRID, config.data.broadening)["rpa"]
    place = config.data.levels.index("rpa")
    predicted = {key: out_of_fold(group, reference, place) for key, group in runs.items()}
    groups: dict[str, list[list[SpectraSet]]] = {}
    for name in arguments.only:
        mine = [predicted[name, seed] for seed in range(arguments.seeds)]
        groups[name] = [[one] for one in mine]
        groups[f"{name}: average of {len(mine)}"] = [mine]
    for pair in TOGETHER:
        if set(pair) <= set(arguments.only):
            mine = [predicted[name, seed] for name in pair for seed in range(arguments.seeds)]
            groups[f"{' and '.join(pair)}: average of {len(mine)}"] = [mine]
    lines = [
        f"{len(reference)} materials, {FOLDS} folds drawn with seed {arguments.fold_seed}, "
        f"{arguments.seeds} seeds, RPA.",
        "",
        "| | SC σ 0.1 median (mean) | SC σ 0.3 median (mean) | onset R² | gap MAE / eV |",
        "|---" * 5 + "|",
    ]
    for name, sets in groups.items():
        found = scores([average(members) for members in sets], reference)
        cells = [name]
        for width in (0.1, 0.3):
            values = found.similarity[width]
            cells.append(f"{np.median(values, axis=1).mean():.3f} ({values.mean():.3f})")
        onset = np.mean([r2(values, found.onset_reference) for values in found.onset])
        cells += [f"{onset:.2f}", f"{found.gap_error.mean():.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
