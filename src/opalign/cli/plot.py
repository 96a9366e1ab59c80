"""`opalign plot`: one figure of one or several spectra."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opalign.cli.common import output_console
from opalign.cli.optics import (
    BroadenOption,
    FilesArgument,
    GapOption,
    LevelOption,
    MaterialOption,
    ScissorOption,
    ThresholdOption,
    optics_config,
)
from opalign.errors import ConfigurationError

if TYPE_CHECKING:
    from opalign.cli.sources import Source
    from opalign.spectrum.analysis import OpticsConfig, Prepared


class Quantity(StrEnum):
    """What a figure can show."""

    all = "all"
    epsilon = "epsilon"
    nk = "nk"
    absorption = "absorption"
    reflectivity = "reflectivity"
    loss = "loss"
    tauc = "tauc"
    tensor = "tensor"
    colour = "colour"


#: Quantities of which a figure shows one spectrum alone.
ALONE = (Quantity.tauc, Quantity.tensor, Quantity.colour)


def plot(
    files: FilesArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .png, .svg or .pdf.")],
    quantity: Annotated[Quantity, typer.Option(help="What to draw.")] = Quantity.all,
    reference: Annotated[
        Path | None, typer.Option(help="A spectrum to compare with, in grey.")
    ] = None,
    level: LevelOption = None,
    material: MaterialOption = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Name of a spectrum in the legend, in their order.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the figure.")] = None,
    max_energy: Annotated[float | None, typer.Option(help="End of the energy axis in eV.")] = None,
    gap: GapOption = None,
    scissor: ScissorOption = None,
    broaden: BroadenOption = None,
    threshold: ThresholdOption = None,
) -> None:
    """Draw spectra: ε, n and k, absorption, reflectivity, loss, Tauc plot, tensor, colours."""
    from opalign.spectrum.analysis import prepare
    from opalign.spectrum.plots.style import describe

    config = optics_config(direct_gap=gap, scissor=scissor, broadening=broaden, threshold=threshold)
    sources = _read(files, material, level)
    if label is not None and len(label) != len(sources):
        raise ConfigurationError(
            f"{len(label)} labels for {len(sources)} spectra", expected="one --label per spectrum"
        )
    names = label or [one.name for one in sources]
    labels = label or [f"{one.name} · {describe(one.spectrum)}" for one in sources]
    configs = [config.with_gaps(one.direct_gap, one.fundamental_gap) for one in sources]
    prepared = [prepare(one.spectrum, own) for one, own in zip(sources, configs, strict=True)]
    if quantity in ALONE:
        if len(prepared) > 1 or reference is not None:
            raise ConfigurationError(
                f"a figure of {quantity.value} shows one spectrum",
                expected="one spectrum without a reference",
                cure="choose with --material and --level",
            )
        _draw_alone(quantity, prepared[0], configs[0], out, title or names[0], max_energy)
    else:
        options: dict[str, Any] = {"title": title or (names[0] if len(names) == 1 else None)}
        options |= {"max_energy": max_energy, "labels": labels}
        if quantity in (Quantity.all, Quantity.absorption):
            options["onsets"] = _onsets(prepared, configs)
        if reference is not None:
            compared = _read([reference], None, None)[:1]
            options["reference"] = compared[0].spectrum
            if "onsets" in options:
                own = config.with_gaps(compared[0].direct_gap, compared[0].fundamental_gap)
                known = _onsets([prepare(compared[0].spectrum, own)], [own])
                options["onsets"] = [*known, *options["onsets"]]
        _draw(quantity, [one.spectrum for one in prepared], out, threshold, options)
    output_console().print(f"Written: {out}", markup=False)


def _read(files: list[Path], material: list[str] | None, level: str | None) -> list[Source]:
    """Return the spectra; a figure without one that was asked for would mislead."""
    from opalign.cli.sources import Source, open_sources

    found = []
    for one in open_sources(files, materials=material or (), level=level):
        if not isinstance(one, Source):
            raise one.error
        found.append(one)
    return found


def _onsets(prepared: list[Prepared], configs: list[OpticsConfig]) -> list[float | None]:
    from opalign.spectrum.figures_of_merit import edge_of

    return [
        edge_of(one.subject(config)).onset.value
        for one, config in zip(prepared, configs, strict=True)
    ]


def _draw(
    quantity: Quantity,
    spectra: list[Any],
    out: Path,
    threshold: float | None,
    options: dict[str, Any],
) -> None:
    from opalign.spectrum import plots
    from opalign.spectrum.plot import plot_spectrum

    draw = {
        Quantity.all: plot_spectrum,
        Quantity.epsilon: plots.plot_dielectric_function,
        Quantity.nk: plots.plot_refractive_index,
        Quantity.absorption: plots.plot_absorption,
        Quantity.reflectivity: plots.plot_reflectivity,
        Quantity.loss: plots.plot_loss,
    }[quantity]
    if quantity is Quantity.absorption and threshold is not None:
        options["threshold"] = threshold
    draw(spectra, out, **options)


def _draw_alone(
    quantity: Quantity,
    prepared: Prepared,
    config: OpticsConfig,
    out: Path,
    title: str,
    max_energy: float | None,
) -> None:
    from opalign.spectrum import plots
    from opalign.spectrum.figures_of_merit import colour_quantities, edge_of

    subject = prepared.subject(config)
    if quantity is Quantity.tensor:
        plots.plot_tensor(prepared.spectrum, out, title=title, max_energy=max_energy)
    elif quantity is Quantity.tauc:
        edge = edge_of(subject)
        plots.plot_tauc(subject.isotropic, out, fits=(edge.direct, edge.indirect), title=title)
    else:
        colours, rows = colour_quantities(subject)
        if not colours:
            raise ConfigurationError("there is no colour to draw", expected=rows[0].note)
        plots.plot_colours(colours, out, title=title)
