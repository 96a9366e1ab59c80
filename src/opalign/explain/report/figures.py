"""Figures of an explanation with matplotlib, for papers and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from opalign.explain.explanation import Explanation
from opalign.explain.properties import MOTIF_PREFIX
from opalign.explain.report.style import COLOURS, GREY, INK, group_colour, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Leaves of a dendrogram that are drawn one by one; more are cut off at the groups.
MOST_LEAVES = 80


def map_figure(explanation: Explanation) -> Figure:
    """Draw the map of the materials, one colour a group, each group named at its middle."""
    name = "umap" if "umap" in explanation.maps else "pca"
    points = explanation.maps[name]
    figure, axes = new_figure(6.4, 5.2)
    labels = explanation.groups.labels
    axes.scatter(*points.T, s=26, c=[group_colour(g) for g in labels], edgecolors="white", lw=0.5)
    for group in range(explanation.groups.number):
        middle = np.median(points[labels == group], axis=0)
        axes.annotate(
            str(group + 1),
            middle,
            ha="center",
            va="center",
            fontsize=8,
            color=INK,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": group_colour(group), "lw": 1},
        )
    if name == "pca":
        shares = explanation.variance_shares
        axes.set_xlabel(f"component 1 ({shares[0]:.0%} of the variance)")
        axes.set_ylabel(f"component 2 ({shares[1]:.0%})")
    else:
        axes.set_xlabel("UMAP 1")
        axes.set_ylabel("UMAP 2")
    axes.set_title(f"{explanation.features.layer} of {explanation.model.split()[0]}", fontsize=10)
    return figure


def dendrogram_figure(explanation: Explanation) -> Figure | None:
    """Draw the dendrogram of the groups; None for groups that are not of a linkage."""
    linkage = explanation.groups.linkage
    if linkage is None:
        return None
    from scipy.cluster.hierarchy import dendrogram

    number = explanation.groups.number
    materials = len(explanation.ids)
    whole = materials <= MOST_LEAVES
    figure, axes = new_figure(max(6.4, 0.16 * (materials if whole else number) + 1.5), 4.0)
    colours = _branch_colours(linkage, explanation.groups.labels)
    dendrogram(
        linkage,
        ax=axes,
        no_labels=not whole,
        labels=list(explanation.formulas) if whole else None,
        truncate_mode=None if whole else "lastp",
        p=number,
        leaf_rotation=90,
        leaf_font_size=7,
        link_color_func=lambda node: colours[int(node)],
    )
    if number > 1:
        # Between the last join that is made and the first that is not.
        heights = np.concatenate([[0.0], linkage[:, 2]])
        height = heights[materials - number : materials - number + 2].mean()
        axes.axhline(height, color=INK, lw=0.8, ls="--")
    axes.set_ylabel("Ward distance")
    axes.set_title(f"{number} groups", fontsize=10)
    if not whole:
        axes.set_xlabel(f"{number} groups of {materials} materials")
    return figure


def criterion_figure(explanation: Explanation) -> Figure | None:
    """Draw the criterion against the number of groups; None where no criterion chose it."""
    found = explanation.groups.criterion
    if "values" not in found:
        return None
    figure, axes = new_figure(4.6, 3.0)
    numbers, values = found["numbers"], found["values"]
    axes.errorbar(numbers, values, yerr=found.get("errors"), color=COLOURS[0], marker="o", ms=4)
    axes.axvline(explanation.groups.number, color=COLOURS[3], lw=1)
    axes.set_xscale("log")
    axes.set_xticks([2, 5, 10, 20, 50, 100])
    axes.set_xticklabels(["2", "5", "10", "20", "50", "100"])
    axes.set_xlim(min(numbers) * 0.9, max(numbers) * 1.1)
    axes.minorticks_off()
    axes.set_xlabel("number of groups")
    axes.set_ylabel(
        {
            "silhouette": "mean silhouette",
            "gap": "gap statistic",
            "stability": "adjusted Rand index",
        }.get(explanation.groups.chosen_by, explanation.groups.chosen_by)
    )
    return figure


def probes_figure(explanation: Explanation) -> Figure | None:
    """Draw what each layer knows beyond the element; None without probes."""
    probes = explanation.probes
    if probes.empty:
        return None
    properties = list(dict.fromkeys(probes["property"]))
    layers = list(dict.fromkeys(probes["layer"]))
    columns = min(3, len(properties))
    rows = -(-len(properties) // columns)
    figure, grid = new_figure(3.1 * columns, 2.5 * rows + 0.2, rows, columns)
    places = np.arange(len(layers))
    for axes, name in zip(np.atleast_1d(grid).ravel(), properties, strict=False):
        own = probes[probes["property"] == name].set_index("layer").reindex(layers)
        axes.errorbar(
            places, own["score"], yerr=own["gain_error"], color=COLOURS[0], marker="o", ms=4
        )
        axes.axhline(float(own["control"].iloc[0]), color=COLOURS[3], lw=1.2, ls="--")
        axes.axhline(float(own["chance"].iloc[0]), color=GREY, lw=1.2)
        axes.set_xticks(places)
        axes.set_xticklabels(layers, rotation=35, ha="right", fontsize=7)
        axes.set_title(name, fontsize=9)
        axes.set_ylabel(own["measure"].dropna().iloc[0], fontsize=8)
        axes.set_ylim(min(-0.05, float(own["score"].min()) - 0.05), 1.05)
    for axes in np.atleast_1d(grid).ravel()[len(properties) :]:
        axes.set_visible(False)
    return figure


def group_figure(explanation: Explanation, group: int) -> Figure:
    """Draw one group: its spectra with their mean, its edge and coordination among all others."""
    curves = list(explanation.target.curves.values())
    numbers = explanation.target.numbers
    edge = {"onset_eV", "edge_integral_eV_per_cm"} <= set(numbers)
    panels = len(curves) + (1 if edge else 0) + 1
    columns = min(2, panels)
    rows = -(-panels // columns)
    height = 3.1 * rows + 0.3
    # Laying out by trial takes as long as drawing, which counts where there are a hundred groups.
    figure, grid = new_figure(4.8 * columns, height, rows, columns, layout=None)
    figure.subplots_adjust(
        left=0.75 / (4.8 * columns),
        right=1.0 - 0.15 / (4.8 * columns),
        bottom=0.5 / height,
        top=1.0 - 0.4 / height,
        wspace=0.42,
        hspace=0.28,
    )
    places = list(np.atleast_1d(grid).ravel())
    inside = explanation.groups.labels == group
    colour = group_colour(group)
    for axes, curve in zip(places, curves, strict=False):
        axes.plot(curve.x, curve.values[inside].T, color=colour, lw=0.8, alpha=0.5)
        axes.plot(curve.x, curve.values[inside].mean(axis=0), color=INK, lw=1.8)
        axes.set_xlabel(curve.x_label)
        axes.set_ylabel(curve.label)
        axes.set_xlim(curve.x[0], curve.x[-1])
    if edge:
        axes = places[len(curves)]
        x, y = numbers["onset_eV"], numbers["edge_integral_eV_per_cm"]
        axes.scatter(x[~inside], y[~inside], s=12, color=GREY, rasterized=True)
        axes.scatter(x[inside], y[inside], s=26, color=colour, edgecolors="white", lw=0.5)
        axes.set_yscale("log")
        axes.set_xlabel("onset (eV)")
        axes.set_ylabel("edge integral (eV/cm)")
    _motif_panel(places[panels - 1], explanation, inside, colour)
    for axes in places[panels:]:
        axes.set_visible(False)
    figure.suptitle(
        f"group {group + 1}: {_names(explanation, inside)}",
        fontsize=10,
        x=0.02,
        y=1.0 - 0.1 / height,
        ha="left",
        va="top",
    )
    return figure


def _motif_panel(
    axes: Axes, explanation: Explanation, inside: np.ndarray, colour: str, most: int = 6
) -> None:
    materials = explanation.chemistry.materials
    names = [
        name
        for name in materials.columns
        if name.startswith(MOTIF_PREFIX) and materials[name].max() > 0.5
    ]
    names.sort(key=lambda name: -float(np.nan_to_num(materials[name].to_numpy()[inside]).mean()))
    for place, name in enumerate(names[:most]):
        values = materials[name].to_numpy(dtype=float)
        for chosen, tint, offset in ((~inside, GREY, 0.16), (inside, colour, -0.16)):
            axes.plot(
                values[chosen],
                np.full(int(chosen.sum()), place + offset),
                "|",
                color=tint,
                ms=10,
                mew=1.4,
                # Of all other materials there may be thousands.
                rasterized=tint == GREY,
            )
    axes.set_yticks(range(len(names[:most])))
    axes.set_yticklabels([name.removeprefix(MOTIF_PREFIX) for name in names[:most]], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("order parameter, largest over cation sites")


def _names(explanation: Explanation, inside: np.ndarray, most: int = 8) -> str:
    names = sorted({explanation.formulas[row] for row in np.flatnonzero(inside)})
    shown = ", ".join(names[:most])
    more = len(names) - most
    return shown if more <= 0 else f"{shown} and {more} other{'s' if more > 1 else ''}"


def _branch_colours(linkage: np.ndarray, labels: Sequence[int] | np.ndarray) -> dict[int, str]:
    """Colour of each node above the leaves: that of its group, ink where it joins several."""
    materials = len(linkage) + 1
    own: dict[int, int | None] = {leaf: int(labels[leaf]) for leaf in range(materials)}
    for place, (first, second, *_) in enumerate(linkage):
        a, b = own[int(first)], own[int(second)]
        own[materials + place] = a if a == b else None
    return {
        node: INK if group is None else group_colour(group)
        for node, group in own.items()
        if node >= materials
    }
