"""One HTML page over some reports: numbers, figures, and what was assumed; nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import opalign
from opalign.spectrum.analysis import OpticsConfig, SpectrumReport
from opalign.spectrum.plots.style import describe
from opalign.spectrum.quantity import Quantity

if TYPE_CHECKING:
    from opalign.spectrum.report import Failed

OVERVIEW = ("onset_eV", "static_dielectric", "slme_percent", "visible_transmittance")
"""Columns of the table at the top; the first refractive index stands among them."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 64rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e4e4e4;
         vertical-align: top; }
th { font-weight: 600; } td.number { white-space: nowrap; }
td.note, p.small { color: #6e6e6e; font-size: .87rem; }
.field { display: inline-block; width: 1.1em; height: 1.1em; border: 1px solid #b0b0b0;
         vertical-align: -.2em; margin-right: .4em; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(27rem, 1fr)); gap: 1rem; }
.figures img, .figures object { width: 100%; } .wide img, .wide object { width: 100%; }
"""


def page(
    reports: Sequence[SpectrumReport],
    figures: Sequence[Mapping[str, str]],
    curves: Sequence[str],
    failures: Sequence[Failed],
    config: OpticsConfig,
) -> str:
    """Return the page.

    Parameters
    ----------
    reports
        In the order of the page.
    figures
        For each report: name of a figure → its path from the page.
    curves
        For each report: path of the CSV file with its derived curves.
    failures
        Sources without a report.
    config
        What was assumed of all of them.
    """
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Optical spectra</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        "<h1>Optical spectra</h1>",
    ]
    if len(reports) > 1:
        parts.append(_overview(reports))
    if failures:
        items = "".join(f"<li>{escape(one.source)}: {escape(one.reason)}</li>" for one in failures)
        parts.append(f"<h2>Skipped</h2>\n<ul>{items}</ul>")
    for number, (report, drawn, curve) in enumerate(zip(reports, figures, curves, strict=True)):
        parts.append(_section(number, report, drawn, curve))
    parts.append(_assumptions(config))
    parts.append(f'<p class="small">Opalign {escape(opalign.__version__)}</p>\n</body>\n</html>\n')
    return "\n".join(parts)


def _overview(reports: Sequence[SpectrumReport]) -> str:
    index = f"refractive_index_{reports[0].config.wavelengths[0]:g}nm"
    keys = [OVERVIEW[0], index, *OVERVIEW[1:], "colour_powder"]
    labels = {one.key: one.label for one in reports[0].quantities}
    header = "".join(f"<th>{escape(labels[key])}</th>" for key in keys)
    rows = []
    for number, report in enumerate(reports):
        cells = "".join(f'<td class="number">{_value(report.quantity(key))}</td>' for key in keys)
        rows.append(f'<tr><td><a href="#s{number}">{escape(report.name)}</a></td>{cells}</tr>')
    return f"<table>\n<tr><th></th>{header}</tr>\n" + "\n".join(rows) + "\n</table>"


def _section(number: int, report: SpectrumReport, drawn: Mapping[str, str], curve: str) -> str:
    spectrum = report.spectrum
    lines = [f'<h2 id="s{number}">{escape(report.name)}</h2>']
    kind = "tensor, isotropic average shown" if spectrum.is_tensor else "isotropic"
    about = f"{describe(spectrum)} · {spectrum.grid} · {kind}"
    if spectrum.provenance:
        about += f" · {spectrum.provenance}"
    lines.append(f'<p class="small">{escape(about)} · <a href="{escape(curve)}">CSV</a></p>')
    lines += [f"<p>{escape(note)}</p>" for note in report.notes]
    if "overview" in drawn:
        lines.append(f'<div class="wide">{_picture(drawn["overview"], report.name)}</div>')
    rows = "\n".join(
        f'<tr><td>{escape(one.label)}</td><td class="number">{_value(one)}</td>'
        f'<td class="note">{escape(one.note or "")}</td></tr>'
        for one in report.quantities
    )
    lines.append(f"<table>\n{rows}\n</table>")
    others = [
        _picture(path, f"{report.name}: {name}")
        for name, path in drawn.items()
        if name != "overview"
    ]
    if others:
        lines.append('<div class="figures">\n' + "\n".join(others) + "\n</div>")
    return "\n".join(lines)


def _value(quantity: Quantity) -> str:
    shown = escape(quantity.shown)
    if quantity.key.startswith("colour_") and quantity.value is not None:
        return f'<span class="field" style="background:{shown}"></span>{shown}'
    return shown


def _picture(path: str, name: str) -> str:
    if path.endswith(".pdf"):
        return f'<a href="{escape(path)}">{escape(name)}</a>'
    return f'<img src="{escape(path)}" alt="{escape(name)}" loading="lazy">'


def _assumptions(config: OpticsConfig) -> str:
    rows = "\n".join(
        f'<tr><td>{escape(name)}</td><td class="number">{escape(str(value))}</td>'
        f'<td class="note">{escape(type(config).model_fields[name].description or "")}</td></tr>'
        for name, value in config.model_dump(mode="json").items()
        if value is not None
    )
    return (
        "<h2>Assumed</h2>\n"
        "<p>All at normal incidence; isotropic averages of tensors. ε holds neither excitons nor "
        "phonon-assisted transitions, defects or free carriers, unless the level of theory or the "
        "measurement that it comes from does.</p>\n"
        f"<table>\n{rows}\n</table>"
    )
