"use strict";

// Tables: a button in each heading sorts, by number where the column has numbers.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = (row) => row.cells[column].textContent.trim();
      const value = (row) => parseFloat(key(row).replace("−", "-").replace(/,/g, ""));
      const rows = [...table.tBodies[0].rows];
      const numeric = rows.some((row) => row.cells[column].classList.contains("number"));
      const missing = -Infinity;
      const order = numeric
        ? (a, b) => (isNaN(value(a)) ? missing : value(a)) - (isNaN(value(b)) ? missing : value(b)) || 0
        : (a, b) => key(a).localeCompare(key(b));
      rows.sort((a, b) => (descending ? order(b, a) : order(a, b)));
      table.tBodies[0].append(...rows);
    });
  });
}

// On paper nothing is folded, but what pulls each prediction, which takes two pages a row.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("section > details")) folded.open = true;
});

// The kernel: the upper triangle of a symmetric matrix, row by row, two bytes a value.
const place = document.getElementById("kernel-data");
if (place) drawKernel(JSON.parse(place.textContent));

function drawKernel(data) {
  const n = data.rows.length;
  const bytes = Uint8Array.from(atob(data.values), (character) => character.charCodeAt(0));
  const value = (i, j) => {
    const [a, b] = i <= j ? [i, j] : [j, i];
    const at = 2 * (a * n - (a * (a - 1)) / 2 + b - a);
    return data.low + ((bytes[at] + 256 * bytes[at + 1]) / 65535) * (data.high - data.low);
  };
  // Cividis, which the colour-blind read as others do.
  const ramp = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
  const colour = (v) => {
    const part = Math.min(Math.max((v - data.from) / (data.to - data.from || 1), 0), 1);
    const step = Math.min(Math.floor(part * (ramp.length - 1)), ramp.length - 2);
    const rest = part * (ramp.length - 1) - step;
    return `rgb(${ramp[step].map((c, k) => Math.round(c + rest * (ramp[step + 1][k] - c)))})`;
  };
  const classes = [...new Set(data.labels)];
  const palette = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9"];
  const own = (i) => palette[classes.indexOf(data.labels[i]) % palette.length];

  const canvas = document.getElementById("kernel-canvas");
  const cell = Math.max(3, Math.ceil(900 / n));
  const strip = 18; // the colours of the classes, at the left and at the top
  const side = strip + n * cell;
  const pen = canvas.getContext("2d");
  let here = [0, 0];
  function draw() {
    canvas.width = canvas.height = side;
    for (let i = 0; i < n; i++) {
      pen.fillStyle = own(i);
      pen.fillRect(0, strip + i * cell, strip - 4, cell);
      pen.fillRect(strip + i * cell, 0, cell, strip - 4);
      for (let j = 0; j < n; j++) {
        pen.fillStyle = colour(value(i, j));
        pen.fillRect(strip + j * cell, strip + i * cell, cell, cell);
      }
    }
  }
  draw();
  const drawn = pen.getImageData(0, 0, side, side);

  const words = document.getElementById("kernel-words");
  function say(i, j) {
    here = [i, j];
    pen.putImageData(drawn, 0, 0);
    pen.strokeStyle = "#ff3b30";
    pen.lineWidth = 3;
    pen.strokeRect(strip + j * cell - 1.5, strip + i * cell - 1.5, cell + 3, cell + 3);
    const lines = [`cosine ${value(i, j).toFixed(3).replace("-", "−")}`];
    words.replaceChildren(...[null, i, j].map((row) => {
      const line = document.createElement("p");
      if (row === null) {
        line.textContent = lines[0];
        return line;
      }
      const [label, text] = [document.createElement("bdi"), document.createElement("bdi")];
      label.textContent = data.labels[row];
      text.textContent = data.texts[row];
      line.append(`row ${data.rows[row]}, `, label, ": ", text);
      return line;
    }));
  }
  function at(event) {
    const frame = canvas.getBoundingClientRect();
    const cellAt = (offset, size) =>
      Math.min(Math.max(Math.floor(((offset / size) * side - strip) / cell), 0), n - 1);
    say(cellAt(event.clientY - frame.top, frame.height), cellAt(event.clientX - frame.left, frame.width));
  }
  canvas.addEventListener("pointermove", at);
  canvas.addEventListener("pointerdown", at);
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    say(...here.map((k, axis) => Math.min(Math.max(k + step[axis], 0), n - 1)));
  });
  say(0, Math.min(1, n - 1));

  const legend = document.getElementById("kernel-classes");
  classes.forEach((name) => {
    const [item, swatch, label] = ["span", "i", "bdi"].map((tag) => document.createElement(tag));
    swatch.style.background = palette[classes.indexOf(name) % palette.length];
    label.textContent = name;
    item.append(swatch, label);
    legend.append(item);
  });
}
