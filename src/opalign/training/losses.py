"""What is minimised: the distance of spectra, of gaps and of static dielectric constants."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from opalign.model.config import ModelConfig, SpectralTarget
from opalign.spectrum.arrays import integrate
from opalign.spectrum.broadening import Broadening, broaden
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.relations import absorption_coefficient, refractive_index
from opalign.spectrum.similarity import mean_absolute_error, mean_squared_error
from opalign.spectrum.units import LOG_ABSORPTION_FLOOR
from opalign.training import distributed
from opalign.training.config import CurriculumConfig, FurtherTerms, LossConfig
from opalign.training.data import BAND_GAP, SIMILARITY, STATIC_DIELECTRIC
from opalign.training.spectral_terms import (
    blurred_distance,
    cumulative_distance,
    logarithmic_distance,
    relative_distance,
    slope_distance,
)

SpectralLoss = Literal["l1", "mse", "huber", "similarity"]

CURRICULUM_STEPS = 8
"""Widths that a curriculum passes through: each has a matrix of its own, which is kept."""

NO_FURTHER_TERMS = FurtherTerms()


def predicted_target(output: dict[str, Tensor], target: SpectralTarget, grid: EnergyGrid) -> Tensor:
    """Prediction (B, L, n) of Im ε or floored log₁₀ α, whichever head the network has."""
    if "target" in output:
        return output["target"]
    if target == "epsilon_imaginary":
        return output["epsilon_imaginary"]
    _, extinction = refractive_index(output["epsilon_real"], output["epsilon_imaginary"])
    alpha = absorption_coefficient(extinction, grid)
    return torch.log10(alpha.clamp(min=10.0**LOG_ABSORPTION_FLOOR))


def spectral_loss(
    kind: SpectralLoss, predicted: Tensor, reference: Tensor, grid: EnergyGrid, huber_width: float
) -> Tensor:
    """Loss (B, L) of spectra (B, L, n); 1 − SC for ``similarity``, otherwise averages over energy.

    A reference that is zero everywhere has no SC; it counts as if its integral were 1e-3 eV.
    """
    if kind == "l1":
        return mean_absolute_error(predicted, reference, grid)
    if kind == "mse":
        return mean_squared_error(predicted, reference, grid)
    if kind == "huber":
        pointwise = huber_loss(predicted, reference, reduction="none", delta=huber_width)
        return integrate(pointwise, grid) / grid.stop
    return relative_distance(predicted, reference, grid)


def further_distances(
    config: FurtherTerms, predicted: Tensor, reference: Tensor, grid: EnergyGrid
) -> dict[str, Tensor]:
    """Distances (B, L) of spectra (B, L, n), weighted, by name; those without weight left out."""
    found: dict[str, Tensor] = {}
    if config.blurred:
        found["blurred"] = blurred_distance(predicted, reference, grid, config.blurred_width)
    if config.cumulative:
        found["cumulative"] = cumulative_distance(predicted, reference, grid)
    if config.slope:
        found["slope"] = slope_distance(predicted, reference)
    if config.logarithmic:
        found["logarithmic"] = logarithmic_distance(predicted, reference, grid)
    return {name: getattr(config, name) * distance for name, distance in found.items()}


def curriculum_broadening(config: CurriculumConfig | None, progress: float) -> Broadening:
    """Broadening on top of the data's after a share ``progress`` of the steps, narrowing evenly."""
    if config is None or progress >= config.share:
        return Broadening()
    left = math.ceil(CURRICULUM_STEPS * (1.0 - progress / config.share)) / CURRICULUM_STEPS
    return Broadening("gaussian", config.width * left)


class TrainingLoss:
    """Weighted sum of the terms that targets are there for.

    Parameters
    ----------
    model
        Supplies the energy grid.
    kind, target, huber_width
        Of the spectral term, which has weight 1 if the batch has that target.
    band_gap_weight
        Of the absolute error of the gap, per eV.
    static_dielectric_weight
        Of the relative error of ε₁ at the first energy of the grid.
    similarity_weight
        Of the absolute error of the similarity coefficient of two levels.
    further
        Further distances of spectra of Im ε, weighted beside the spectral term.
    curriculum
        Blurs both sides of everything that compares spectra, less and less.

    A target that is NaN is unknown and counts for nothing: a scalar, or the whole spectrum of one
    material at one level.
    """

    def __init__(
        self,
        model: ModelConfig,
        kind: SpectralLoss = "similarity",
        target: SpectralTarget = "epsilon_imaginary",
        huber_width: float = 1.0,
        band_gap_weight: float = 0.0,
        static_dielectric_weight: float = 0.0,
        similarity_weight: float = 0.0,
        further: FurtherTerms = NO_FURTHER_TERMS,
        curriculum: CurriculumConfig | None = None,
    ) -> None:
        self.further, self.curriculum = further, curriculum
        self.grid, self.kind, self.target, self.huber_width = model.grid, kind, target, huber_width
        self.weights = {
            BAND_GAP: band_gap_weight,
            STATIC_DIELECTRIC: static_dielectric_weight,
            SIMILARITY: similarity_weight,
        }

    def __call__(
        self, output: dict[str, Tensor], targets: dict[str, Tensor], progress: float = 1.0
    ) -> dict[str, Tensor]:
        """Return the terms by name and their weighted sum as ``loss``.

        ``progress`` is the share of the training steps that are done; a curriculum asks for it.
        """
        terms: dict[str, Tensor] = {}
        total: Tensor | float = 0.0
        if self.target in targets:
            # Spectra span orders of magnitude and integrals are long sums: single precision.
            predicted = predicted_target(output, self.target, self.grid).float()
            known, reference = _known(targets[self.target])
            extra = curriculum_broadening(self.curriculum, progress)
            predicted = broaden(predicted, self.grid, extra, "odd")
            reference = broaden(reference, self.grid, extra, "odd")
            errors = spectral_loss(self.kind, predicted, reference, self.grid, self.huber_width)
            spectral = _mean_of_known(errors, known.all(-1))
            terms["spectrum"] = spectral
            total = spectral
            distances = further_distances(self.further, predicted, reference, self.grid)
            for name, distance in distances.items():
                terms[name] = _mean_of_known(distance, known.all(-1))
                total = total + terms[name]
        if BAND_GAP in targets:
            known, reference = _known(targets[BAND_GAP])
            error = (output["band_gap"].float() - reference).abs()
            terms[BAND_GAP] = _mean_of_known(error, known)
        if STATIC_DIELECTRIC in targets:
            known, reference = _known(targets[STATIC_DIELECTRIC])
            error = (output["epsilon_real"][..., 0].float() - reference).abs() / reference.abs()
            terms[STATIC_DIELECTRIC] = _mean_of_known(error, known)
        if SIMILARITY in targets:
            known, reference = _known(targets[SIMILARITY])
            error = (output[SIMILARITY].float() - reference).abs()
            terms[SIMILARITY] = _mean_of_known(error, known)
        for name, weight in self.weights.items():
            if name in terms and weight:
                total = total + weight * terms[name]
        if not isinstance(total, Tensor):
            raise ValueError("a batch without a target that this loss has a weight for")
        return {"loss": total, **terms}


def training_loss(model: ModelConfig, config: LossConfig) -> TrainingLoss:
    """Return the loss that a configuration asks for."""
    return TrainingLoss(
        model,
        config.kind,
        config.target,
        config.huber_width,
        config.band_gap_weight,
        config.static_dielectric_weight,
        further=config.further,
        curriculum=config.curriculum,
    )


def _known(reference: Tensor) -> tuple[Tensor, Tensor]:
    """Which values are known, and the values with 1 for the unknown.

    Filled in before anything is computed with them: NaN times zero is NaN in a gradient too.
    """
    known = ~torch.isnan(reference)
    return known, torch.where(known, reference, torch.ones_like(reference))


def _mean_of_known(error: Tensor, known: Tensor) -> Tensor:
    """Mean over known values, broadcast to the errors; zero if there is none.

    In several processes: what, averaged over the processes, as gradients are, is the mean over the
    known values of all of them, whatever the numbers in each.
    """
    known = known.expand_as(error)
    number = distributed.total(known.sum()).clamp(min=1)
    if distributed.count() > 1:
        number = number / distributed.count()
    return (error * known).sum() / number
