"use strict";
// The panels of one group: its spectra, its edge, its chemistry, each before all other materials.
const GroupPanels = (function () {
  const OTHERS = "#c9ced6", INK = "#1d2530";
  // More curves than these are too many for the eye, and for a browser.
  const MOST_CURVES = 150, MOST_BARS = 14, MOST_MOTIFS = 7;

  function counted(rows, values) {
    const counts = {};
    rows.forEach((i) => [...new Set(values(i))].forEach((v) => { counts[v] = (counts[v] || 0) + 1; }));
    return counts;
  }

  // kit: { data, curves, colourOf, layout, options, element }
  function create(holder, kit) {
    const { data, curves } = kit;

    // Panels are drawn when all are in place, since each takes the width it finds.
    let waiting = [];
    function panel(traces, x, y, title, more) {
      const plot = kit.element("div", undefined, "plot");
      holder.appendChild(plot);
      waiting.push(() => Plotly.newPlot(plot, traces, kit.layout(x, y, { title: { text: title, font: { size: 13 }, x: 0.02, xanchor: "left" }, ...more }), kit.options));
    }

    function spectra(name, own, colour) {
      const curve = curves[name];
      const rows = own.map((i) => curve.row(i));
      const mean = curve.x.map((_, k) => rows.reduce((sum, row) => sum + row[k], 0) / rows.length);
      const step = Math.ceil(own.length / MOST_CURVES);
      const shown = own.map((_, k) => k).filter((k) => k % step === 0);
      const traces = shown.map((k) => ({ x: curve.x, y: rows[k], mode: "lines", opacity: shown.length > 30 ? 0.25 : 0.5, line: { color: colour, width: 1.2 }, text: data.formulas[own[k]], hoverinfo: "text" }));
      traces.push({ x: curve.x, y: mean, mode: "lines", line: { color: INK, width: 2.5 }, text: "mean of the group", hoverinfo: "text" });
      const title = step > 1 ? `${shown.length} of ${own.length} spectra, mean of all in black` : "spectra of the group, mean in black";
      panel(traces, curve.xLabel, curve.label, title);
    }

    function scatter(own, rest, colour, x, y, labels, title, more) {
      const trace = (rows, tint, size) => ({ x: rows.map(x), y: rows.map(y), text: rows.map((i) => data.formulas[i]), hoverinfo: "text", mode: "markers", marker: { color: tint, size, line: { color: "#fff", width: 0.5 } } });
      panel([trace(rest, OTHERS, 6), trace(own, colour, 9)], labels[0], labels[1], title, more);
    }

    function motifs(own, rest, colour) {
      const names = Object.keys(data.motifs);
      if (!names.length) return;
      const average = (name) => { const v = own.map((i) => data.motifs[name][i]).filter((x) => x !== null); return v.length ? v.reduce((a, b) => a + b, 0) / v.length : 0; };
      const shown = names.sort((a, b) => average(b) - average(a)).slice(0, MOST_MOTIFS);
      const trace = (rows, tint, offset, size) => ({
        x: shown.flatMap((name) => rows.map((i) => data.motifs[name][i])), y: shown.flatMap((_, k) => rows.map(() => k + offset)),
        text: shown.flatMap(() => rows.map((i) => data.formulas[i])), hoverinfo: "text+x", mode: "markers",
        marker: { color: tint, size, symbol: "line-ns", line: { width: 1.6, color: tint } } });
      panel([trace(rest, OTHERS, 0.17, 9), trace(own, colour, -0.17, 11)], "order parameter, largest over the cation sites", "", "coordination of the cations, others in grey below",
        { yaxis: { automargin: true, tickvals: shown.map((_, k) => k), ticktext: shown, range: [shown.length - 0.5, -0.5], gridcolor: "#f3f5f8", zeroline: false }, xaxis: { title: { text: "order parameter, largest over the cation sites" }, range: [-0.03, 1.03], gridcolor: "#eceff3", zeroline: false } });
    }

    function bars(own, rest, colour, values, title) {
      const inside = counted(own, values), outside = counted(rest, values);
      const names = Object.keys(inside).sort((a, b) => inside[b] - inside[a]).slice(0, MOST_BARS);
      if (!names.length) return;
      const width = names.length < 6 ? 0.3 : undefined;
      panel([{ x: names, y: names.map((n) => inside[n] / own.length), type: "bar", width, offset: width && -width, marker: { color: colour }, hoverinfo: "x+y" },
        { x: names, y: names.map((n) => (outside[n] || 0) / Math.max(rest.length, 1)), type: "bar", width, offset: width && 0, marker: { color: OTHERS }, hoverinfo: "x+y" }],
      "", "share of the materials", title, { barmode: "group", xaxis: { type: "category", range: [-0.6, Math.max(names.length, 6) - 0.4], automargin: true }, yaxis: { title: { text: "share of the materials" }, range: [0, 1.03], gridcolor: "#eceff3" } });
    }

    function bandEdges(group, colour) {
      const shares = data.bandEdges[group];
      const names = Object.keys(shares).filter((name) => Math.max(...shares[name]) >= 0.02);
      if (!names.length) return;
      names.sort((a, b) => (a.startsWith("valence") ? 0 : 1) - (b.startsWith("valence") ? 0 : 1) || shares[b][0] - shares[a][0]);
      const labels = names.map((name) => { const [edge, , kind, orbital] = name.split("_"); return `${edge === "valence" ? "top of valence band" : "bottom of cond. band"}: ${kind} ${orbital}`; });
      panel([0, 1].map((k) => ({ y: labels, x: names.map((name) => shares[name][k]), type: "bar", orientation: "h", marker: { color: k ? OTHERS : colour }, hoverinfo: "x" })),
        "median share of the projected states", "", "states at the band edges, others in grey",
        { barmode: "group", margin: { l: 205, r: 14, t: 34, b: 44 }, yaxis: { autorange: "reversed", automargin: false }, xaxis: { title: { text: "median share of the projected states" }, range: [0, 1.03], gridcolor: "#eceff3" } });
    }

    return function draw(group) {
      holder.querySelectorAll(".plot").forEach((plot) => Plotly.purge(plot));
      holder.replaceChildren();
      waiting = [];
      const all = [...data.groups.keys()];
      const own = all.filter((i) => data.groups[i] === group), rest = all.filter((i) => data.groups[i] !== group);
      const colour = kit.colourOf(group);
      Object.keys(curves).forEach((name) => spectra(name, own, colour));
      const numbers = data.numbers;
      if (numbers.onset_eV && numbers.edge_integral_eV_per_cm) {
        scatter(own, rest, colour, (i) => numbers.onset_eV[i], (i) => numbers.edge_integral_eV_per_cm[i], ["onset (eV)", ""], "onset and strength of the edge, others in grey",
          { yaxis: { type: "log", exponentformat: "power", dtick: 1, title: { text: "edge integral (eV/cm)" }, gridcolor: "#eceff3" } });
      }
      motifs(own, rest, colour);
      bars(own, rest, colour, (i) => data.facts[i].elements, "elements (given to the network), others in grey");
      bars(own, rest, colour, (i) => data.facts[i].states || [], "oxidation states of the cations, others in grey");
      bandEdges(group, colour);
      scatter(own, rest, colour, (i) => data.facts[i].bond, (i) => data.facts[i].volume, ["mean cation–anion bond (Å)", "volume per atom (Å³)"], "bonds and density (given to the network), others in grey");
      bars(own, rest, colour, (i) => [data.facts[i].spaceGroup], "space groups, others in grey");
      waiting.forEach((drawPanel) => drawPanel());
    };
  }
  return { create };
})();
