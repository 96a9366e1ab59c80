"use strict";
(function () {
  const data = JSON.parse(document.getElementById("payload").textContent);
  const elements = JSON.parse(document.getElementById("elements").textContent);
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#7f6b00", "#882255",
    "#44aa99", "#332288", "#999933", "#6f6f6f"];
  const SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "triangle-down", "star", "hexagon"];
  const NAMES = { onset_eV: "onset (eV)", edge_integral_eV_per_cm: "edge integral (eV/cm)", static_dielectric: "static ε₁" };
  const WITH_BAR = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d", "toImage", "sendDataToCloud"] };
  const OPTIONS = { ...WITH_BAR, displayModeBar: false };
  const number = data.ids.length;
  const byId = (id) => document.getElementById(id);
  const colourOf = (group) => (group < 0 ? "#c9ced6" : COLOURS[group % COLOURS.length]);
  const symbolOf = (group) => (group < 0 ? "x" : SYMBOLS[Math.floor(group / COLOURS.length) % SYMBOLS.length]);

  // Curves: 16-bit integers between the least and the largest value.
  const curves = {};
  for (const [name, packed] of Object.entries(data.curves)) {
    const bytes = Uint8Array.from(atob(packed.data), (c) => c.charCodeAt(0));
    const integers = new Uint16Array(bytes.buffer);
    const size = packed.x.length;
    curves[name] = { ...packed, row: (i) => Array.from(integers.subarray(i * size, (i + 1) * size), (v) => packed.low + packed.scale * v) };
  }
  const curveNames = Object.keys(curves);

  function layout(x, y, more) {
    return { margin: { l: 58, r: 14, t: 26, b: 46 }, font: { family: "Helvetica Neue, Arial, sans-serif", size: 12, color: "#1d2530" },
      xaxis: { title: { text: x }, zeroline: false, gridcolor: "#eceff3" }, yaxis: { title: { text: y }, zeroline: false, gridcolor: "#eceff3" },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "#fff", showlegend: false, hovermode: "closest", ...more };
  }
  function option(select, value, text) {
    const item = document.createElement("option");
    item.value = value; item.textContent = text; select.appendChild(item);
  }
  function element(tag, text, className) {
    const item = document.createElement(tag);
    if (text !== undefined) item.textContent = text;
    if (className) item.className = className;
    return item;
  }
  function format(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return String(value);
    if (value !== 0 && (Math.abs(value) >= 1e4 || Math.abs(value) < 1e-2)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
  }

  // The map
  const mapKind = byId("map-kind"), mapColour = byId("map-colour");
  Object.keys(data.maps).reverse().forEach((name) => option(mapKind, name, name === "pca" ? "principal components" : "UMAP"));
  option(mapColour, "group", "group");
  option(mapColour, "anion", "anion");
  Object.keys(data.numbers).forEach((name) => option(mapColour, name, NAMES[name] || name));
  if (data.similarityOf) option(mapColour, "similarity", "SC of the prediction " + data.similarityOf);

  function marker() {
    const choice = mapColour.value;
    const base = { size: number > 1000 ? 6 : 9, line: { width: 0.5, color: "#fff" } };
    if (choice === "group") return { ...base, color: data.groups.map(colourOf), symbol: data.groups.map(symbolOf) };
    if (choice === "anion") {
      const kinds = [...new Set(data.facts.map((f) => f.anion))];
      return { ...base, color: data.facts.map((f) => COLOURS[kinds.indexOf(f.anion) % COLOURS.length]) };
    }
    const values = choice === "similarity" ? data.similarity : data.numbers[choice];
    return { ...base, color: values, colorscale: "Cividis", showscale: true, colorbar: { thickness: 12, title: { text: NAMES[choice] || "SC", side: "right" } } };
  }
  function drawMap() {
    const points = data.maps[mapKind.value];
    const text = data.ids.map((id, i) => `${data.formulas[i]} (${id})<br>group ${data.groups[i] + 1}`);
    const axes = mapKind.value === "pca"
      ? data.shares.map((share, k) => `component ${k + 1} (${(100 * share).toFixed(0)} % of the variance)`) : ["UMAP 1", "UMAP 2"];
    Plotly.react("map", [{ x: points[0], y: points[1], text, hoverinfo: "text", mode: "markers", type: "scatter", marker: marker() }],
      layout(axes[0], axes[1], { modebar: { bgcolor: "rgba(0,0,0,0)", color: "#9aa5b1", activecolor: "#1d2530" } }), WITH_BAR);
  }
  mapKind.addEventListener("change", drawMap);
  mapColour.addEventListener("change", drawMap);
  drawMap();
  byId("map").on("plotly_click", (event) => select(event.points[0].pointNumber));

  // One material
  const viewer = StructureViewer.create(byId("viewer"), elements);
  function select(i) {
    const facts = data.facts[i];
    byId("material-name").textContent = data.formulas[i];
    byId("material-id").textContent = data.ids[i];
    const list = byId("material-facts");
    list.replaceChildren();
    const rows = [["group", data.groups[i] < 0 ? "none" : String(data.groups[i] + 1)],
      ["space group", facts.spaceGroup], ["structure type", facts.prototype], ["cations", facts.states ? facts.states.join(", ") : "oxidation states not found"],
      ["coordination", facts.motifs.length ? facts.motifs.join(", ") : facts.coordination.join(", ") || "–"]];
    if (data.unseen) rows.splice(1, 0, ["group out of fold", data.unseen[i] < 0 ? "–" : String(data.unseen[i] + 1)]);
    Object.entries(data.numbers).forEach(([name, values]) => rows.push([NAMES[name] || name, format(values[i])]));
    if (data.similarityOf) rows.push(["SC of the prediction", format(data.similarity[i])]);
    rows.forEach(([name, value]) => { list.appendChild(element("dt", name)); list.appendChild(element("dd", value)); });
    viewer.show(data.structures[i]);
    const curve = curves[curveNames[0]];
    Plotly.react("material-spectrum", [{ x: curve.x, y: curve.row(i), mode: "lines", line: { color: colourOf(data.groups[i]), width: 2 }, hoverinfo: "x+y" }],
      layout(curve.xLabel, curve.label, { margin: { l: 52, r: 8, t: 8, b: 40 } }), OPTIONS);
    byId("material").dataset.index = String(i);
  }

  // One group
  const groupSelect = byId("group-select");
  for (let group = 0; group < data.groupCount; group++) {
    const own = data.groups.filter((g) => g === group).length;
    option(groupSelect, String(group), `group ${group + 1} (${own})`);
  }
  function drawGroup() {
    const group = Number(groupSelect.value);
    const own = [...data.groups.keys()].filter((i) => data.groups[i] === group);
    const rest = [...data.groups.keys()].filter((i) => data.groups[i] !== group);
    const colour = colourOf(group);
    const texts = byId("group-sentences");
    texts.replaceChildren();
    data.sentences[group].forEach((sentence) => {
      const row = element("p", sentence.text, sentence.tested ? "sentence" : "sentence described");
      row.appendChild(element("span", sentence.tested ? "tested" : "described", sentence.tested ? "tag" : "tag soft"));
      texts.appendChild(row);
    });
    const chips = byId("group-members");
    chips.replaceChildren();
    own.forEach((i) => {
      const chip = element("span", data.formulas[i]);
      chip.title = data.ids[i];
      chip.addEventListener("click", () => { select(i); byId("material").scrollIntoView({ behavior: "smooth", block: "center" }); });
      chips.appendChild(chip);
    });
    const holder = byId("group-curves");
    holder.replaceChildren();
    curveNames.forEach((name) => {
      const curve = curves[name];
      const plot = element("div", undefined, "plot");
      holder.appendChild(plot);
      const rows = own.map((i) => curve.row(i));
      const mean = curve.x.map((_, k) => rows.reduce((sum, row) => sum + row[k], 0) / rows.length);
      const traces = rows.map((row, k) => ({ x: curve.x, y: row, mode: "lines", opacity: 0.45, line: { color: colour, width: 1 }, text: data.formulas[own[k]], hoverinfo: "text" }));
      traces.push({ x: curve.x, y: mean, mode: "lines", line: { color: "#1d2530", width: 2.5 }, text: "mean of the group", hoverinfo: "text" });
      Plotly.newPlot(plot, traces, layout(curve.xLabel, curve.label, { title: { text: "spectra of the group, mean in black", font: { size: 12 } } }), OPTIONS);
    });
    if (data.numbers.onset_eV && data.numbers.edge_integral_eV_per_cm) {
      const plot = element("div", undefined, "plot");
      holder.appendChild(plot);
      const trace = (rows, tint, size, name) => ({ x: rows.map((i) => data.numbers.onset_eV[i]), y: rows.map((i) => data.numbers.edge_integral_eV_per_cm[i]),
        text: rows.map((i) => data.formulas[i]), hoverinfo: "text", mode: "markers", name, marker: { color: tint, size } });
      Plotly.newPlot(plot, [trace(rest, "#c9ced6", 6, "others"), trace(own, colour, 9, "group")],
        layout("onset (eV)", "edge integral (eV/cm)", { yaxis: { type: "log", exponentformat: "power", dtick: 1, title: { text: "edge integral (eV/cm)" }, gridcolor: "#eceff3" },
          title: { text: "onset and strength of the edge, others in grey", font: { size: 12 } } }), OPTIONS);
    }
    const names = Object.keys(data.motifs);
    if (names.length) {
      const average = (rows, name) => { const v = rows.map((i) => data.motifs[name][i]).filter((x) => x !== null); return v.length ? v.reduce((a, b) => a + b, 0) / v.length : 0; };
      const shown = names.sort((a, b) => average(own, b) - average(own, a)).slice(0, 6);
      const plot = element("div", undefined, "plot");
      holder.appendChild(plot);
      const points = (rows, tint, name, size) => ({ x: shown.flatMap((motif) => rows.map((i) => data.motifs[motif][i])), y: shown.flatMap((motif) => rows.map(() => motif)),
        text: shown.flatMap(() => rows.map((i) => data.formulas[i])), hoverinfo: "text+x", type: "scatter", mode: "markers", name, marker: { color: tint, size, symbol: "line-ns", line: { width: 2, color: tint } } });
      Plotly.newPlot(plot, [points(rest, "#c9ced6", "others", 8), points(own, colour, "group", 16)],
        layout("order parameter, largest over the cation sites", "", { margin: { l: 165, r: 14, t: 26, b: 46 }, yaxis: { automargin: false, gridcolor: "#eceff3" },
          title: { text: "coordination of the cations, others in grey", font: { size: 12 } } }), OPTIONS);
    }
    const counts = (rows) => { const c = {}; rows.forEach((i) => data.facts[i].elements.forEach((e) => { c[e] = (c[e] || 0) + 1; })); return c; };
    const inside = counts(own), outside = counts(rest);
    const symbols = Object.keys(inside).sort((a, b) => inside[b] - inside[a]).slice(0, 14);
    const plot = element("div", undefined, "plot");
    holder.appendChild(plot);
    Plotly.newPlot(plot, [{ x: symbols, y: symbols.map((s) => inside[s] / own.length), type: "bar", name: "group", marker: { color: colour } },
      { x: symbols, y: symbols.map((s) => (outside[s] || 0) / Math.max(rest.length, 1)), type: "bar", name: "others", marker: { color: "#c9ced6" } }],
    layout("", "share of the materials", { barmode: "group", title: { text: "elements (given to the network), others in grey", font: { size: 12 } } }), OPTIONS);
    const body = byId("group-evidence");
    body.replaceChildren();
    Object.entries(data.enrichments).filter(([, row]) => row.group === group).forEach(([key, row]) => {
      const line = element("tr");
      [row.property, row.family, format(row.inside), format(row.outside), `${row.formulas_inside} / ${row.formulas_outside}`, `${format(row.effect)} (${row.effect_name})`, format(row.p_value), format(row.q_value), row.basis]
        .forEach((value) => line.appendChild(element("td", value)));
      line.title = "row " + key + " of enrichments.parquet";
      body.appendChild(line);
    });
    byId("no-evidence").hidden = body.children.length > 0;
  }
  groupSelect.addEventListener("change", drawGroup);
  if (data.groupCount > 0) drawGroup();

  // Outliers
  const outliers = byId("outlier-rows");
  data.outliers.forEach((row) => {
    const line = element("tr");
    const i = data.ids.indexOf(row.id);
    const name = element("td", `${row.formula} (${row.id})`);
    name.style.cursor = "pointer";
    name.addEventListener("click", () => { select(i); byId("material").scrollIntoView({ behavior: "smooth", block: "center" }); });
    line.appendChild(name);
    line.appendChild(element("td", format(row.distance) + (row.far ? " (far)" : "")));
    line.appendChild(element("td", row.error === null ? "–" : format(1 - row.error) + (row.bad ? " (low)" : "")));
    line.appendChild(element("td", row.reasons.length ? row.reasons.join("; ") : "nothing about it is rare in the table", "text"));
    outliers.appendChild(line);
  });

  select(0);
  document.body.dataset.ready = "true";
})();
