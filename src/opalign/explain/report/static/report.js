"use strict";
(function () {
  const data = JSON.parse(document.getElementById("payload").textContent);
  const elements = JSON.parse(document.getElementById("elements").textContent);
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#7f6b00", "#882255",
    "#44aa99", "#332288", "#999933", "#6f6f6f"];
  const SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "triangle-down", "star", "hexagon"];
  const NAMES = { onset_eV: "onset (eV)", edge_integral_eV_per_cm: "edge integral (eV/cm)", static_dielectric: "static ε₁" };
  const WORDS = { onset_eV: "onset (eV)", edge_integral_eV_per_cm: "edge integral (eV/cm)", static_dielectric: "static ε₁",
    highest_oxidation_state: "highest oxidation state", shortest_bond: "shortest bond (Å)", mean_bond: "mean bond (Å)", mean_angle: "mean angle (°)", volume_per_atom: "volume per atom (Å³)" };
  // Wide ranges are coloured by their logarithm.
  const LOGARITHMIC = ["edge_integral_eV_per_cm"];
  const WITH_BAR = { displaylogo: false, responsive: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]] };
  const OPTIONS = { displaylogo: false, responsive: true, displayModeBar: false };
  // More numbers than these would cover the map.
  const MOST_NAMED_GROUPS = 40;
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

  function layout(x, y, more) {
    return { margin: { l: 62, r: 14, t: 34, b: 44 }, font: { family: "Helvetica Neue, Arial, sans-serif", size: 12, color: "#1d2530" },
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
    if (value !== 0 && (Math.abs(value) >= 1e4 || Math.abs(value) < 1e-2)) return value.toExponential(1);
    return String(Number(value.toPrecision(3)));
  }
  function words(property) {
    const edge = property.match(/^(valence|conduction)_edge_(anion|cation)_([spd])$/);
    if (edge) return `${edge[2]} ${edge[3]} at the ${edge[1] === "valence" ? "top of the valence band" : "bottom of the conduction band"}`;
    return WORDS[property] || property;
  }
  const median = (values) => { const sorted = values.slice().sort((a, b) => a - b); return sorted[Math.floor(sorted.length / 2)]; };

  // The map
  let selected = 0;
  const mapKind = byId("map-kind"), mapColour = byId("map-colour");
  Object.keys(data.maps).reverse().forEach((name) => option(mapKind, name, name === "pca" ? "principal components" : "UMAP"));
  option(mapColour, "group", "group");
  option(mapColour, "anion", "anion");
  Object.keys(data.numbers).forEach((name) => option(mapColour, name, NAMES[name] || name));
  if (data.similarityOf) option(mapColour, "similarity", "SC of the prediction " + data.similarityOf);
  const anions = [...new Set(data.facts.map((f) => f.anion))].sort((a, b) => data.facts.filter((f) => f.anion === b).length - data.facts.filter((f) => f.anion === a).length);
  const anionColour = (anion) => { const k = anions.indexOf(anion); return k < COLOURS.length - 1 ? COLOURS[k] : "#c9ced6"; };

  function marker() {
    const choice = mapColour.value;
    const base = { size: number > 1000 ? 6 : 10, line: { width: 0.5, color: "#fff" } };
    if (choice === "group") return { ...base, color: data.groups.map(colourOf), symbol: data.groups.map(symbolOf) };
    if (choice === "anion") return { ...base, color: data.facts.map((f) => anionColour(f.anion)) };
    const values = choice === "similarity" ? data.similarity : data.numbers[choice];
    const logarithmic = LOGARITHMIC.includes(choice);
    const title = (NAMES[choice] || "SC") + (logarithmic ? ", log₁₀" : "");
    return { ...base, color: logarithmic ? values.map((v) => (v > 0 ? Math.log10(v) : null)) : values, colorscale: "Viridis", showscale: true, colorbar: { thickness: 12, title: { text: title, side: "right" } } };
  }
  function groupNames(points) {
    if (mapColour.value !== "group" || data.groupCount > MOST_NAMED_GROUPS) return [];
    return [...Array(data.groupCount).keys()].map((group) => {
      const own = [...data.groups.keys()].filter((i) => data.groups[i] === group);
      const x = median(own.map((i) => points[0][i])), y = median(own.map((i) => points[1][i]));
      const away = (i) => Math.hypot(points[0][i] - x, points[1][i] - y);
      const middle = own.reduce((best, i) => (away(i) < away(best) ? i : best), own[0]);
      return { x: points[0][middle], y: points[1][middle], text: String(group + 1), showarrow: false, yshift: 14,
        font: { size: 11, color: "#1d2530" }, bgcolor: "rgba(255,255,255,0.75)", borderpad: 1, captureevents: false };
    });
  }
  function drawLegend() {
    const legend = byId("map-legend");
    legend.replaceChildren();
    if (mapColour.value !== "anion") return;
    anions.slice(0, COLOURS.length - 1).forEach((anion) => {
      const item = element("span", anion === null ? "none" : anion);
      const dot = element("i", undefined, "dot");
      dot.style.background = anionColour(anion);
      item.prepend(dot); legend.appendChild(item);
    });
  }
  function drawMap() {
    const points = data.maps[mapKind.value];
    const text = data.ids.map((id, i) => `${data.formulas[i]} (${id})<br>` + (data.groups[i] < 0 ? "in no group" : `group ${data.groups[i] + 1}`));
    const axes = mapKind.value === "pca"
      ? data.shares.map((share, k) => `component ${k + 1} (${(100 * share).toFixed(0)} % of the variance)`) : ["UMAP 1", "UMAP 2"];
    Plotly.react("map", [{ x: points[0], y: points[1], text, hoverinfo: "text", mode: "markers", type: "scatter", marker: marker() }, ring(points)],
      layout(axes[0], axes[1], { annotations: groupNames(points), modebar: { bgcolor: "rgba(0,0,0,0)", color: "#9aa5b1", activecolor: "#1d2530" } }), WITH_BAR);
    drawLegend();
  }
  function ring(points) {
    return { x: [points[0][selected]], y: [points[1][selected]], mode: "markers", type: "scatter", hoverinfo: "skip", marker: { symbol: "circle-open", size: number > 1000 ? 15 : 19, color: "#1d2530", line: { width: 2 } } };
  }
  mapKind.addEventListener("change", drawMap);
  mapColour.addEventListener("change", drawMap);
  drawMap();
  byId("map").on("plotly_click", (event) => { const point = event.points.find((one) => one.curveNumber === 0); if (point) select(point.pointNumber); });

  // One material
  const viewer = StructureViewer.create(byId("viewer"), elements);
  function select(i) {
    selected = i;
    const points = data.maps[mapKind.value];
    Plotly.restyle("map", { x: [[points[0][i]]], y: [[points[1][i]]] }, [1]);
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
    const curve = Object.values(curves)[0];
    Plotly.react("material-spectrum", [{ x: curve.x, y: curve.row(i), mode: "lines", line: { color: colourOf(data.groups[i]), width: 2 }, hoverinfo: "x+y" }],
      layout(curve.xLabel, curve.label, { margin: { l: 52, r: 8, t: 8, b: 40 } }), OPTIONS);
    byId("material").dataset.index = String(i);
  }
  function show(i) { select(i); byId("material").scrollIntoView({ behavior: "smooth", block: "center" }); }

  // One group
  const groupSelect = byId("group-select");
  const panels = GroupPanels.create(byId("group-curves"), { data, curves, colourOf, layout, options: OPTIONS, element });
  for (let group = 0; group < data.groupCount; group++) {
    const own = data.groups.filter((g) => g === group).length;
    option(groupSelect, String(group), `group ${group + 1} (${own})`);
  }
  function drawGroup() {
    const group = Number(groupSelect.value);
    const own = [...data.groups.keys()].filter((i) => data.groups[i] === group);
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
      chip.addEventListener("click", () => show(i));
      chips.appendChild(chip);
    });
    panels(group);
    const body = byId("group-evidence");
    body.replaceChildren();
    Object.entries(data.enrichments).filter(([, row]) => row.group === group).forEach(([key, row]) => {
      const line = element("tr");
      [[words(row.property)], [row.family, "text"], [format(row.inside)], [format(row.outside)], [`${row.formulas_inside} / ${row.formulas_outside}`], [`${format(row.effect)} (${row.effect_name})`], [format(row.p_value)], [format(row.q_value)], [row.basis, "text"]]
        .forEach(([value, kind]) => line.appendChild(element("td", value, kind)));
      line.title = "row " + key + " of enrichments.parquet";
      body.appendChild(line);
    });
    byId("no-evidence").hidden = body.children.length > 0;
    byId("evidence").hidden = body.children.length === 0;
    byId("group-before").disabled = group === 0;
    byId("group-after").disabled = group === data.groupCount - 1;
    document.querySelectorAll("#groups-table tbody tr").forEach((row) => row.classList.toggle("chosen", row.dataset.group === String(group)));
  }
  function chooseGroup(group) { groupSelect.value = String(group); drawGroup(); }
  groupSelect.addEventListener("change", drawGroup);
  byId("group-before").addEventListener("click", () => chooseGroup(Number(groupSelect.value) - 1));
  byId("group-after").addEventListener("click", () => chooseGroup(Number(groupSelect.value) + 1));
  document.querySelectorAll("#groups-table tbody tr").forEach((row) => row.addEventListener("click", () => { chooseGroup(row.dataset.group); byId("one-group").scrollIntoView({ behavior: "smooth" }); }));
  if (data.groupCount > 0) drawGroup();

  // Outliers
  const outliers = byId("outlier-rows");
  data.outliers.forEach((row) => {
    const line = element("tr");
    const i = data.ids.indexOf(row.id);
    const name = element("td", `${row.formula} (${row.id})`, "link");
    name.addEventListener("click", () => show(i));
    line.appendChild(name);
    line.appendChild(element("td", format(row.distance) + (row.far ? " (far)" : "")));
    line.appendChild(element("td", row.error === null ? "–" : format(1 - row.error) + (row.bad ? " (low)" : "")));
    line.appendChild(element("td", row.reasons.length ? row.reasons.join("; ") : "nothing about it is rare in the table", "text"));
    outliers.appendChild(line);
  });

  select(0);
  document.body.dataset.ready = "true";
})();
