"""Materials of a climb: folds by formula, who has costly labels, targets of each network."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from opalign.crystal.settings import GraphSettings
from opalign.dataset.formula import reduced_formula
from opalign.dataset.split import Split, kfold_by_formula
from opalign.errors import ConfigurationError
from opalign.ladder.config import LadderConfig
from opalign.model.comparison_heads import BASE_IMAGINARY
from opalign.model.config import DeltaHeadConfig, EncoderConfig, HeadConfig, ModelConfig
from opalign.spectrum.similarity import similarity_coefficient
from opalign.training.config import DataConfig
from opalign.training.data import (
    BAND_GAP,
    SIMILARITY,
    STATIC_DIELECTRIC,
    Materials,
    load_materials,
    load_pretraining,
    open_tables,
    training_grid,
)
from opalign.training.spectra import SpectraSet, join, read_spectra


class LadderData:
    """Tables read once, graphs built once, and the parts of them that a stage may see."""

    def __init__(self, config: LadderConfig) -> None:
        self.config = config
        self.tables = open_tables(config.tables)
        self.ids = [material_id for table in self.tables for material_id in table.ids]
        self.formulas = [formula for table in self.tables for formula in table.formulas]
        self.formula_of = dict(zip(self.ids, self.formulas, strict=True))
        self.sites = {
            material_id: len(table.arrays(row).atomic_numbers)
            for table in self.tables
            for row, material_id in enumerate(table.ids)
        }
        self.splits: list[Split] = kfold_by_formula(
            self.ids, self.formulas, config.folds, config.fold_seed, validation_fraction=0.0
        )
        self.grid = training_grid(config.model.grid, self.tables)
        self._materials: dict[GraphSettings, Materials] = {}
        self._scalars: Materials | None = None
        self._references: dict[str, SpectraSet] = {}

    def reference(self, level: str) -> SpectraSet:
        """Spectra of all materials at a level, with the broadening and grid that are learned."""
        if level not in self._references:
            config = self.config
            self._references[level] = join(
                [
                    read_spectra(
                        table, level, config.broadening, self.grid, config.loss.band_gap_column
                    )
                    for table in self.tables
                ]
            )
        return self._references[level]

    def split(self, fold: int) -> Split:
        """Return the split of a fold, counted from 1; 0 trains on everything and tests nothing."""
        if fold:
            return self.splits[fold - 1]
        return Split(train=sorted(self.ids), validation=[], test=[], method="everything")

    @property
    def similarity(self) -> dict[str, float]:
        """SC of the cheap spectrum of each material to its costly one."""
        cheap, costly = (self.reference(x) for x in (self.config.cheap, self.config.costly))
        values = similarity_coefficient(cheap.imaginary, costly.imaginary, self.grid)
        return dict(zip(self.ids, np.asarray(values).tolist(), strict=True))

    def with_similarity(self, model: ModelConfig, ids: Sequence[str]) -> Materials:
        """Graphs, and the similarity of the two levels as the only target."""
        similarity = self.similarity
        values = torch.tensor([similarity[material_id] for material_id in ids])
        return replace(self.materials(model, ids), targets={SIMILARITY: values})

    def model_config(
        self, levels: tuple[str, ...], head: HeadConfig, encoder: EncoderConfig | None = None
    ) -> ModelConfig:
        """Describe a network of these levels; ``encoder`` in place of the configured one."""
        network = self.config.model
        if encoder is not None:
            network = network.model_copy(update={"encoder": encoder})
        return ModelConfig(
            encoder=network.encoder,
            head=head,
            graph=network.graph_settings,
            grid=self.grid,
            levels=levels,
            broadening=self.config.broadening,
        )

    def labelled(self, subset: str, fold: int, seed: int) -> list[str]:
        """Ids of the training materials of a fold whose costly spectrum may be used.

        ``size-0.25`` is a quarter of them, whole formulas in an order that the seed draws, so that
        a smaller share lies within a larger one; ``cells-3`` those with at most 3 atoms; ``all``.

        Raises
        ------
        ConfigurationError
            None is left.
        """
        train = self.split(fold).train
        kind, _, value = subset.partition("-")
        if kind == "size":
            chosen = self._share(train, float(value), (seed, fold))
        elif kind == "cells":
            chosen = [m for m in train if self.sites[m] <= int(value)]
        else:
            chosen = list(train)
        if not chosen:
            raise ConfigurationError(
                f"no training material of fold {fold} is in the subset {subset}",
                cure="ask for larger shares or cells",
            )
        return chosen

    def set_aside(self, ids: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
        """Part ids by formula into what a trial trains on and what it is judged by."""
        if len({self.formula_of[m] for m in ids}) < 2:
            raise ConfigurationError(
                f"{len(ids)} materials of one formula cannot be tuned on",
                cure="ask for larger sizes, or set tuning: null",
            )
        judged = set(self._share(ids, share, (seed, len(ids)), leave=1))
        return [m for m in ids if m not in judged], [m for m in ids if m in judged]

    def materials(
        self,
        model: ModelConfig,
        ids: Iterable[str],
        labelled: Collection[str] | None = None,
    ) -> Materials:
        """Graphs, targets and inputs of a network; costly spectra outside ``labelled`` are unknown.

        Every level of ``model`` is one of the two of the ladder.
        """
        config = self.config
        if model.graph not in self._materials:
            both = self.model_config((config.cheap, config.costly), config.model.head)
            data = DataConfig(tables=config.tables, levels=(config.cheap, config.costly))
            self._materials[model.graph] = load_materials(
                self.tables, both.model_copy(update={"graph": model.graph}), data, config.loss
            )
        chosen = self._materials[model.graph].select(ids)
        columns = [(config.cheap, config.costly).index(level) for level in model.levels]
        targets = {
            name: values.clone() if name == BAND_GAP else values[:, columns]
            for name, values in chosen.targets.items()
        }
        if labelled is not None and config.costly in model.levels:
            unknown = [material_id not in labelled for material_id in chosen.ids]
            for name in (config.loss.target, STATIC_DIELECTRIC):
                if name in targets:
                    targets[name][unknown, model.levels.index(config.costly)] = torch.nan
        inputs = {}
        if isinstance(model.head, DeltaHeadConfig):
            targets.pop(BAND_GAP, None)  # this head predicts none
            cheap = self.reference(config.cheap).select(chosen.ids).imaginary
            inputs[BASE_IMAGINARY] = torch.tensor(cheap, dtype=torch.float32)
        return replace(chosen, targets=targets, inputs=inputs)

    def scalars(self, model: ModelConfig, fold: int) -> Materials:
        """Materials of the pretraining table with no formula of the fold's test materials."""
        if self.config.pretraining is None:
            raise ConfigurationError("no pretraining table is named")
        if self._scalars is None:
            self._scalars = load_pretraining(self.config.pretraining, model, (), None)
        held_out = {reduced_formula(self.formula_of[m]) for m in self.split(fold).test}
        known = zip(self._scalars.ids, self._scalars.formulas, strict=True)
        return self._scalars.select(m for m, f in known if reduced_formula(f) not in held_out)

    def _share(
        self, ids: Sequence[str], share: float, seed: tuple[int, ...], leave: int = 0
    ) -> list[str]:
        """Whole formulas, in an order drawn anew, until ``share`` of the ids is reached."""
        formulas = sorted({self.formula_of[material_id] for material_id in ids})
        order = np.random.default_rng(seed).permutation(len(formulas))
        wanted = math.ceil(share * len(ids) - 1e-9)
        taken: set[str] = set()
        count = 0
        for place in order[: len(formulas) - leave]:
            if count >= wanted:
                break
            taken.add(formulas[place])
            count += sum(self.formula_of[material_id] == formulas[place] for material_id in ids)
        return [material_id for material_id in ids if self.formula_of[material_id] in taken]
