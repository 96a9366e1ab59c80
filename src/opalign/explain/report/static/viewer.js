"use strict";
// A small viewer of crystal structures: atoms, bonds and the cell, turned with the mouse.
const StructureViewer = (function () {
  // Covalent radii (Å) and colours come with the page, by atomic number.
  function create(canvas, elements) {
    const context = canvas.getContext("2d");
    let atoms = [], bonds = [], edges = [], extent = 1;
    let turn = [[1, 0, 0], [0, 0.26, 0.966], [0, -0.966, 0.26]];

    function dot(matrix, v) {
      return matrix.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
    }
    function multiply(a, b) {
      return a.map((row) => [0, 1, 2].map((j) => row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]));
    }
    function cartesian(lattice, f) {
      return [0, 1, 2].map((k) => f[0] * lattice[0][k] + f[1] * lattice[1][k] + f[2] * lattice[2][k]);
    }

    function show(structure) {
      atoms = []; bonds = []; edges = [];
      if (!structure) { draw(); return; }
      const lattice = structure.lattice;
      // Atoms on faces are shown on all of them.
      structure.positions.forEach((f, index) => {
        const options = f.map((x) => (x < 0.001 ? [0, 1] : x > 0.999 ? [x - 1, x] : [x]));
        options[0].forEach((a) => options[1].forEach((b) => options[2].forEach((c) => {
          atoms.push({ at: cartesian(lattice, [a, b, c]), number: structure.numbers[index] });
        })));
      });
      for (let i = 0; i < atoms.length; i++) {
        for (let j = i + 1; j < atoms.length; j++) {
          const d = Math.hypot(...atoms[i].at.map((x, k) => x - atoms[j].at[k]));
          const sum = radius(atoms[i]) + radius(atoms[j]);
          if (atoms[i].number !== atoms[j].number && d < 1.2 * sum) bonds.push([i, j]);
        }
      }
      for (const f of [[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]]) {
        for (let k = 0; k < 3; k++) {
          const g = f.slice();
          g[k] = 1 - g[k];
          edges.push([cartesian(lattice, f), cartesian(lattice, g)]);
        }
      }
      const centre = cartesian(lattice, [0.5, 0.5, 0.5]);
      const shift = (v) => v.map((x, k) => x - centre[k]);
      atoms.forEach((atom) => { atom.at = shift(atom.at); });
      edges = edges.map((edge) => edge.map(shift));
      extent = Math.max(...edges.flat().map((v) => Math.hypot(...v)), 1) + 0.8;
      draw();
    }

    function radius(atom) { return (elements[atom.number] || [1.2, "#888888"])[0]; }

    function draw() {
      const ratio = window.devicePixelRatio || 1;
      const width = canvas.clientWidth, height = canvas.clientHeight;
      canvas.width = width * ratio; canvas.height = height * ratio;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const scale = Math.min(width, height) / 2 / extent;
      const place = (v) => {
        const r = dot(turn, v);
        return { x: width / 2 + scale * r[0], y: height / 2 - scale * r[1], z: r[2] };
      };
      const items = [];
      edges.forEach((edge) => {
        const [a, b] = edge.map(place);
        items.push({ z: Math.min(a.z, b.z) - 100, paint: () => line(a, b, "#9aa5b1", 1) });
      });
      const placed = atoms.map((atom) => place(atom.at));
      bonds.forEach(([i, j]) => {
        const a = placed[i], b = placed[j];
        items.push({ z: (a.z + b.z) / 2 - 0.01, paint: () => line(a, b, "#8d8d8d", Math.max(2, 0.14 * scale)) });
      });
      atoms.forEach((atom, i) => {
        items.push({ z: placed[i].z, paint: () => ball(placed[i], 0.4 * radius(atom) * scale, atom.number) });
      });
      items.sort((a, b) => a.z - b.z).forEach((item) => item.paint());
    }
    function line(a, b, colour, width) {
      context.strokeStyle = colour; context.lineWidth = width;
      context.beginPath(); context.moveTo(a.x, a.y); context.lineTo(b.x, b.y); context.stroke();
    }
    function ball(at, size, number) {
      const colour = (elements[number] || [1, "#888888"])[1];
      const light = context.createRadialGradient(at.x - size / 3, at.y - size / 3, size / 8, at.x, at.y, size);
      light.addColorStop(0, "#ffffff"); light.addColorStop(0.35, colour); light.addColorStop(1, colour);
      context.fillStyle = light; context.strokeStyle = "#333"; context.lineWidth = 0.6;
      context.beginPath(); context.arc(at.x, at.y, size, 0, 2 * Math.PI); context.fill(); context.stroke();
    }

    let last = null;
    canvas.addEventListener("pointerdown", (event) => { last = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointerup", () => { last = null; });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const dx = (event.clientX - last[0]) / 120, dy = (event.clientY - last[1]) / 120;
      last = [event.clientX, event.clientY];
      const about = (c, s) => [[c, 0, s], [0, 1, 0], [-s, 0, c]];
      const tilt = (c, s) => [[1, 0, 0], [0, c, -s], [0, s, c]];
      turn = multiply(tilt(Math.cos(dy), Math.sin(dy)), multiply(about(Math.cos(dx), Math.sin(dx)), turn));
      draw();
    });
    window.addEventListener("resize", draw);
    return { show };
  }
  return { create };
})();
