"""What each lever is worth on a few dozen materials, with seeds, and what does not help.

    python benchmarks/ablation.py runs/tables/gpaw.parquet runs/tables/oxide_dielectric.parquet \
        WORK_FOLDER [--seeds 3] [--processes 2] [--levers NAME …]

One row a lever: the reference configuration with that one thing changed, on five folds by formula
and several seeds, nothing held back to choose an epoch by. The reference is the OPTIMATE of
``examples/training``, narrower and shorter, so that hundreds of runs are a matter of an hour. Folds
are drawn with another seed than those that figures of the shipped models are reported on, so that
levers are not chosen on the materials' places in those. Resumes; prints the table of
``docs/ablation.md`` and writes it into WORK_FOLDER.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from fold_runs import (
    FOLDS,
    FoldRun,
    average,
    out_of_fold,
    passes_of,
    references,
    run_all,
    run_fold,
    scored,
)
from scipy.stats import wilcoxon

from opalign.files import write_text
from opalign.spectrum.grid import EnergyGrid
from opalign.training.config import TrainingConfig
from opalign.training.config_file import read_config
from opalign.training.metrics import coefficient_of_determination
from opalign.training.spectra import SpectraSet

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "examples" / "training" / "optimate.yaml"
PROTOTYPES = ROOT / "datasets" / "prototypes" / "prototypes.parquet"
FOLD_SEED = 1
SIGNIFICANT = 0.05
BOOTSTRAPS, INTERVAL = 2000, (0.05, 0.95)
GRID = EnergyGrid(start=0.0, stop=20.0, num=401)
HEAD, LOSS, ENCODER = "model.head.", "loss.", "model.encoder."
#: A configuration file of its own version, so that new defaults of the example change nothing here.
REFERENCE = (
    "model.encoder={architecture: optimate, element_table: cgcnn_group_period, "
    "attention_features: [24, 24]}",
    "model.head={kind: physical, hidden_features: [128]}",
    "model.grid={start: 0, stop: 20, num: 401}",
    "loss={kind: similarity, band_gap_weight: 0.1, static_dielectric_weight: 0.1}",
    "pretraining.max_sites=12",
    "pretraining.epochs=12",
    "epochs=60",
    "augmentation=null",
)
LEVERS: dict[str, tuple[str, ...]] = {
    "reference": (),
    "no pre-training on scalars": ("pretraining=null",),
    "pre-training twice as long": ("pretraining.epochs=24",),
    "training twice as long": ("epochs=120",),
    "last weights, no running average": ("averaging=null",),
    "elements: CGCNN bins alone": (f"{ENCODER}element_table=cgcnn",),
    "elements: one-hot group and period": (f"{ENCODER}element_table=group_period",),
    "elements: learned embedding": (f"{ENCODER}element_table=one_hot",),
    "elements: CGCNN bins and learned embedding": (f"{ENCODER}element_table=cgcnn_one_hot",),
    "strain 1 %, rattle 0.03 Å": ("augmentation={strain: 0.01, rattle: 0.03}",),
    "strain 3 %, rattle 0.10 Å": ("augmentation={strain: 0.03, rattle: 0.10}",),
    "loss: L1 of Im ε": (f"{LOSS}kind=l1",),
    "loss: MSE of Im ε": (f"{LOSS}kind=mse",),
    "loss: and blurred SC, σ = 0.5 eV": (f"{LOSS}further={{blurred: 1.0, blurred_width: 0.5}}",),
    "loss: and cumulative spectrum": (f"{LOSS}further={{cumulative: 0.3}}",),
    "loss: and slope": (f"{LOSS}further={{slope: 0.1}}",),
    "loss: and log₁₀(nα)": (f"{LOSS}further={{logarithmic: 0.2}}",),
    "loss: gap weighs 0.3": (f"{LOSS}band_gap_weight=0.3",),
    "curriculum from σ = 1 eV": (f"{LOSS}curriculum={{width: 1.0, share: 0.5}}",),
    "basis: B-splines, 0.4 eV": (f"{HEAD}basis=spline", f"{HEAD}basis_step=0.4"),
    "basis: 12 principal components": (f"{HEAD}components=12",),
    "head sees the crystal's mean features": (f"{HEAD}context=true",),
    "head sees element statistics": (f"{HEAD}composition=all",),
    "head sees element statistics for the gap": (f"{HEAD}composition=gap",),
    "gap by attention over sites": (f"{HEAD}gap_pooling=attention",),
    "dropout 0.2 in the head": (f"{HEAD}dropout=0.2",),
    "39 prototype compounds train too": (f"data.training_tables={PROTOTYPES}",),
    "together: element statistics and attention for the gap": (
        f"{HEAD}composition=gap",
        f"{HEAD}gap_pooling=attention",
    ),
    "together: element statistics for the gap, blurred SC, prototypes": (
        f"{HEAD}composition=gap",
        f"{LOSS}further={{blurred: 1.0, blurred_width: 0.5}}",
        f"data.training_tables={PROTOTYPES}",
    ),
}


PAGE = """\
# What each lever is worth

One thing changed at a time, on the reference configuration: OPTIMATE with two attention layers of
4 × 24, {epochs} epochs, pre-trained on gaps and static dielectric constants of oxides with up to 12
atoms. Spectra are those of the RPA, Gaussian σ as said; networks learn RPA and IPA at σ = 0.1 eV.
Every material is predicted by networks that have seen no material of its formula, in either stage.
Made by `benchmarks/ablation.py`.

Folds are drawn with seed {fold_seed}; the figures of the shipped models are on those of other
seeds, so that no lever was chosen on the folds it is reported on. The materials are the same,
though, and a choice among many levers on few materials flatters the chosen one.

- **Δ**: change of the mean SC at σ = 0.3 eV; first the standard deviation over seeds, then the
  standard error over materials.
- **better**: materials whose SC, averaged over seeds, rose. **p**: Wilcoxon's signed-rank test over
  materials, not corrected for the number of levers.
- **seen**: what p < 0.05 allows to say; with so few materials it misses gains below about 0.02.
- **onset R²**: coefficient of determination of a single network, mean over seeds; 90 % interval by
  bootstrap over formulas.

{table}
"""


@dataclass(frozen=True)
class Scores:
    """Figures of all seeds of one lever: (seeds, materials) of the RPA."""

    similarity: dict[float, np.ndarray]
    gap_error: np.ndarray
    onset: np.ndarray
    onset_reference: np.ndarray


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--levers", nargs="*", choices=list(LEVERS), default=list(LEVERS))
    arguments = parser.parse_args()
    names = list(dict.fromkeys(["reference", *arguments.levers]))
    configs = {name: configuration(name, arguments) for name in names}
    runs = {
        (name, seed): [
            FoldRun(config.model_copy(update={"seed": seed}), fold, arguments.fold_seed,
                    arguments.work.resolve())
            for fold in range(1, FOLDS + 1)
        ]
        for seed in range(arguments.seeds)
        for name, config in configs.items()
    }  # fmt: skip
    run_all([run for group in runs.values() for run in group], run_fold, arguments.processes)
    frame = evaluate(configs, runs, arguments.seeds)
    first, main_stage = passes_of(configs["reference"], round(frame.attrs["materials"] * 0.8))
    text = PAGE.format(
        epochs=configs["reference"].epochs,
        fold_seed=arguments.fold_seed,
        table=table(frame, arguments.seeds, first, main_stage),
    )
    print(text)
    write_text(arguments.work / "ablation.md", text)
    write_text(arguments.work / "ablation.csv", frame.round(4).to_csv(index=False))


def parser_of(documentation: str) -> argparse.ArgumentParser:
    """Options of a comparison on folds that the shipped model is not reported on."""
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    parser.add_argument("spectra", type=Path)
    parser.add_argument("scalars", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--fold-seed", type=int, default=FOLD_SEED)
    return parser


def configuration(name: str, arguments: argparse.Namespace) -> TrainingConfig:
    """Pull one lever of the reference."""
    paths = (
        f"data.tables={arguments.spectra.resolve()}",
        f"pretraining.table={arguments.scalars.resolve()}",
    )
    return read_config(BASE, (*paths, *REFERENCE, *LEVERS[name]))


def evaluate(
    configs: dict[str, TrainingConfig],
    runs: dict[tuple[str, int], list[FoldRun]],
    seeds: int,
) -> pd.DataFrame:
    """One row a lever, and one for the average of the reference's seeds."""
    config = configs["reference"]
    reference = references(config, GRID, config.data.broadening)["rpa"]
    place = config.data.levels.index("rpa")
    predicted = {key: out_of_fold(group, reference, place) for key, group in runs.items()}
    found = {
        name: scores([predicted[name, seed] for seed in range(seeds)], reference)
        for name in configs
    }
    if seeds > 1:
        together = average([predicted["reference", seed] for seed in range(seeds)])
        found[f"average of {seeds} seeds"] = scores([together], reference)
    rows = [row(name, one, found["reference"], reference) for name, one in found.items()]
    frame = pd.DataFrame(rows)
    frame.attrs["materials"] = len(reference)
    return frame


def scores(sets: list[SpectraSet], reference: SpectraSet) -> Scores:
    frames = {width: [scored(one, reference, width) for one in sets] for width in (0.1, 0.3)}
    narrow = frames[0.1]
    return Scores(
        {w: np.array([f["similarity"] for f in group]) for w, group in frames.items()},
        np.array([f["band_gap_eV_error"].abs() for f in narrow]),
        np.array([f["onset_eV_predicted"] for f in narrow]),
        narrow[0]["onset_eV_reference"].to_numpy(),
    )


def row(name: str, one: Scores, base: Scores, reference: SpectraSet) -> dict[str, object]:
    """Means over seeds of each figure; differences to the reference material by material."""
    own, theirs = (s.similarity[0.3].mean(axis=0) for s in (one, base))
    change = own - theirs
    lower, upper = onset_interval(one, reference.formulas)
    result: dict[str, object] = {"lever": name}
    for width, values in one.similarity.items():
        result[f"sc_median_{width}"] = np.median(values, axis=1).mean()
        result[f"sc_mean_{width}"] = values.mean()
    shared = min(len(one.similarity[0.3]), len(base.similarity[0.3]))
    per_seed = (
        one.similarity[0.3].mean(axis=1)[:shared] - base.similarity[0.3].mean(axis=1)[:shared]
    )
    result |= {
        "change": change.mean(),
        "change_seeds": per_seed.std(ddof=1) if shared > 1 else np.nan,
        "change_error": change.std(ddof=1) / np.sqrt(len(change)),
        "better": int((change > 0).sum()),
        "p": wilcoxon(change).pvalue if change.any() else np.nan,
        "onset_r2": np.mean([r2(values, one.onset_reference) for values in one.onset]),
        "onset_r2_lower": lower,
        "onset_r2_upper": upper,
        "gap_mae": one.gap_error.mean(),
    }
    return result


def r2(predicted: np.ndarray, reference: np.ndarray) -> float:
    known = ~(np.isnan(predicted) | np.isnan(reference))
    return coefficient_of_determination(predicted[known], reference[known])


def onset_interval(one: Scores, formulas: tuple[str, ...]) -> tuple[float, float]:
    """Bootstrap over formulas, not materials: polymorphs are no independent evidence."""
    names = sorted(set(formulas))
    rows = [np.flatnonzero(np.array(formulas) == name) for name in names]
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(BOOTSTRAPS):
        chosen = np.concatenate([rows[i] for i in random.integers(len(rows), size=len(rows))])
        drawn.append(np.mean([r2(v[chosen], one.onset_reference[chosen]) for v in one.onset]))
    lower, upper = np.quantile(drawn, INTERVAL)
    return float(lower), float(upper)


def table(frame: pd.DataFrame, seeds: int, first: int, main_stage: int) -> str:
    lines = [
        f"{frame.attrs['materials']} materials, {FOLDS} folds, {seeds} seeds; structures through "
        f"the network: {first} in the first stage, {main_stage} in the second.",
        "",
        "| | SC σ 0.1 median (mean) | SC σ 0.3 median (mean) | Δ mean SC ± seeds ± materials | "
        "better | p | seen | onset R² (90 %) | gap MAE / eV |",
        "|---" * 9 + "|",
    ]
    for one in frame.to_dict("records"):
        seed_spread = "" if np.isnan(one["change_seeds"]) else f" ± {one['change_seeds']:.3f}"
        reference = one["lever"] == "reference"
        change = f"{one['change']:+.3f}{seed_spread} ± {one['change_error']:.3f}"
        cells = [
            one["lever"],
            f"{one['sc_median_0.1']:.3f} ({one['sc_mean_0.1']:.3f})",
            f"{one['sc_median_0.3']:.3f} ({one['sc_mean_0.3']:.3f})",
            "–" if reference else change,
            "–" if reference else f"{one['better']}/{frame.attrs['materials']}",
            "–" if reference else f"{one['p']:.3f}",
            "–" if reference else verdict(one),
            f"{one['onset_r2']:.2f} ({one['onset_r2_lower']:.2f}–{one['onset_r2_upper']:.2f})",
            f"{one['gap_mae']:.3f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(one: dict[str, float]) -> str:
    if not one["p"] < SIGNIFICANT:
        return "no difference"
    return "helps" if one["change"] > 0 else "hurts"


if __name__ == "__main__":
    main()
