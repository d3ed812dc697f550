// Inspect: words and maps of one answer, or of two side by side under the same controls.

import { $, element, onKeys, state } from "./common.js";
import { grid, load, looksAt, number, paint, ramp } from "./maps.js";
import { Viewer, viewerKeys } from "./viewer.js";

const TOP_WORDS = 7;
const shared = { method: null, layer: null, head: null, opacity: 0.75, mask: $("mask").checked, patches: false, brush: false };

class Pane {
  constructor(about, section) {
    Object.assign(this, { about, section, selected: new Set(), preview: null, brushed: new Set(), spot: [0, 0] });
    this.viewer = new Viewer(section.querySelector(".stage"), { tools: section.dataset.pane === "0" });
    this.map = document.createElement("canvas");
    this.viewer.layers = [(...drawing) => this.#map(...drawing), (...drawing) => this.#mask(...drawing), (...drawing) => this.#brush(...drawing)];
    this.viewer.cursor = (key) => shared.brush && this.#cursor(key);
  }

  async start() {
    const [maps] = await Promise.all([load(this.about.maps), this.viewer.show(this.about.picture), this.#loadMask()]);
    this.maps = maps;
    this.#words();
    this.update();
  }

  get method() { return this.maps.methods[shared.method] ?? Object.values(this.maps.methods)[0]; }

  /** The tokens whose map is shown: under the pointer, else chosen, else the whole answer. */
  get tokens() {
    const words = this.preview !== null ? [this.preview] : [...this.selected];
    if (!words.length) return this.method.chosen;
    return words.flatMap((word) => {
      const [, start, stop] = this.maps.words[word];
      return Array.from({ length: stop - start }, (_, i) => start + i);
    });
  }

  /** Compute and draw what the controls and words say now. */
  update() {
    const { method } = this;
    this.values = grid(method, this.tokens, shared.layer, shared.head);
    this.limits = paint(this.map, this.values, method.shape.slice(1), method.signed, { opacity: shared.opacity, smooth: !shared.patches });
    this.#prompt();
    this.#light();
    this.viewer.draw();
  }

  describe() {
    const { method } = this, words = this.preview !== null ? [this.preview] : [...this.selected].sort((a, b) => a - b);
    const about = words.length ? words.map((word) => `“${this.maps.words[word][0]}”`).join(" ") : "the whole answer";
    const sign = method.signed ? "orange speaks for it, purple against" : "brighter is more";
    const mean = this.values.reduce((a, b) => a + b, 0) / this.values.length;
    const peak = !method.signed && mean > 0 ? `; the strongest patch has ${(this.values.reduce((a, b) => Math.max(a, b), 0) / mean).toFixed(1)} times the mean` : "";
    return `${method.name} for ${about}: ${method.scale}; ${sign}${peak}.`;
  }

  // ---- words

  #words() {
    const group = this.section.querySelector(".words");
    this.buttons = this.maps.words.map(([text], place) => {
      const button = element("button", { text: text || "(end)", class: "word", type: "button", "aria-pressed": "false" });
      const look = (word) => () => { this.preview = word; changed(this); };
      button.addEventListener("pointerenter", look(place));
      button.addEventListener("pointerleave", look(null));
      button.addEventListener("focus", look(place));
      button.addEventListener("blur", look(null));
      button.addEventListener("click", (event) => this.choose(place, event.shiftKey));
      return button;
    });
    const whole = element("button", { text: "whole answer", class: "quiet whole", type: "button" });
    whole.addEventListener("click", () => this.whole());
    group.replaceChildren(...this.buttons, whole);
    this.prompt = this.maps.prompt.map((text) => element("span", { text }));
    this.section.querySelector(".rests").hidden = !this.prompt.length;
    if (this.prompt.length) this.section.querySelector(".prompt").replaceChildren(...this.prompt);
  }

  choose(place, phrase) {
    if (phrase && this.last !== undefined) {
      for (let i = Math.min(place, this.last); i <= Math.max(place, this.last); i++) this.selected.add(i);
    } else if (!this.selected.delete(place)) this.selected.add(place);
    this.last = place;
    this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", this.selected.has(i)));
    changed(this);
  }

  whole() {
    this.selected.clear();
    this.buttons.forEach((button) => button.setAttribute("aria-pressed", "false"));
    this.preview = null;
    changed(this);
  }

  #prompt() {
    const { prompt } = this.method;
    if (!this.prompt.length) return;
    const width = this.prompt.length, shown = new Float32Array(width);
    if (prompt) for (const token of this.tokens) for (let i = 0; i < width; i++) shown[i] += Math.max(0, prompt.values[token * width + i]);
    const most = Math.max(...shown, 1e-12);
    this.prompt.forEach((span, i) => span.style.setProperty("--v", (shown[i] / most).toFixed(3)));
  }

  // ---- patches

  #light() {
    const scores = this.brushed.size ? looksAt(this.method, this.maps.words, this.brushed, shared.layer, shared.head) : [];
    const order = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a]).slice(0, TOP_WORDS);
    const most = Math.max(...scores, 1e-12);
    this.buttons.forEach((button, i) => {
      button.style.setProperty("--v", scores.length ? (scores[i] / most).toFixed(3) : 0);
      button.classList.toggle("top", order.includes(i));
      button.title = scores.length ? `${scores[i].toFixed(1)} times chance on the brushed patches` : "";
    });
    this.said = scores.length ? `${this.brushed.size} patches: ${order.slice(0, 3).map((i) => `“${this.maps.words[i][0]}” ${scores[i].toFixed(1)} times chance`).join(", ")}` : "";
  }

  brushAt(point, phase) {
    if (!point || point.some((part) => part < 0 || part >= 1)) return;
    const [rows, columns] = this.method.shape.slice(1);
    const patch = Math.floor(point[1] * rows) * columns + Math.floor(point[0] * columns);
    if (phase === "down") this.erasing = this.brushed.has(patch);
    this.spot = [Math.floor(patch / columns), patch % columns];
    this.erasing ? this.brushed.delete(patch) : this.brushed.add(patch);
    changed(this);
  }

  #cursor(key) {
    const [rows, columns] = this.method.shape.slice(1), [row, column] = this.spot;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (key in moves) {
      const [down, right] = moves[key];
      this.spot = [Math.min(rows - 1, Math.max(0, row + down)), Math.min(columns - 1, Math.max(0, column + right))];
      this.viewer.draw();
      return true;
    }
    if (key !== " " && key !== "Enter") return false;
    this.brushAt([(column + 0.5) / columns, (row + 0.5) / rows], "down");
    return true;
  }

  // ---- layers over the picture, in its pixels

  #map(context, width, height) {
    if (!this.maps || shared.opacity === 0) return;
    context.imageSmoothingEnabled = !shared.patches;
    context.drawImage(this.map, 0, 0, width, height);
  }

  async #loadMask() {
    if (!this.about.mask) return;
    const image = new Image();
    image.src = this.about.mask;
    await image.decode();
    const canvas = element("canvas", { width: image.naturalWidth, height: image.naturalHeight }), context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height), { width, height } = canvas;
    const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[4 * (y * width + x)] > 127;
    const path = new Path2D();
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (!inside(x, y)) continue;
        if (!inside(x, y - 1)) { path.moveTo(x, y); path.lineTo(x + 1, y); }
        if (!inside(x, y + 1)) { path.moveTo(x, y + 1); path.lineTo(x + 1, y + 1); }
        if (!inside(x - 1, y)) { path.moveTo(x, y); path.lineTo(x, y + 1); }
        if (!inside(x + 1, y)) { path.moveTo(x + 1, y); path.lineTo(x + 1, y + 1); }
      }
    }
    this.outline = { path, width, height };
  }

  #mask(context, width, height) {
    if (!this.outline || !shared.mask) return;
    context.save();
    context.scale(width / this.outline.width, height / this.outline.height);
    const line = 1 / (this.viewer.scale() * (width / this.outline.width));
    context.lineCap = "square";
    for (const [colour, thickness] of [["#000", 4.5], ["#40e0ff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = thickness * line * (window.devicePixelRatio || 1);
      context.stroke(this.outline.path);
    }
    context.restore();
  }

  #brush(context, width, height) {
    if (!this.maps || (!this.brushed.size && !shared.brush)) return;
    const [rows, columns] = this.method.shape.slice(1), x = width / columns, y = height / rows;
    const line = (window.devicePixelRatio || 1) / this.viewer.scale();
    context.lineWidth = 1.5 * line;
    context.strokeStyle = "#fff";
    context.fillStyle = "rgb(255 255 255 / .16)";
    for (const patch of this.brushed) {
      const at = [(patch % columns) * x, Math.floor(patch / columns) * y, x, y];
      context.fillRect(...at);
      context.strokeRect(...at);
    }
    if (!shared.brush) return;
    context.setLineDash([4 * line, 3 * line]);
    context.strokeRect(this.spot[1] * x, this.spot[0] * y, x, y);
    context.setLineDash([]);
  }
}

// ---------------------------------------------------------------- controls

const panes = state().map((about, i) => new Pane(about, document.querySelector(`[data-pane="${i}"]`)));
let active = panes[0], later = null, sheetOf = "";

/** A pane's words or patches changed: draw it, and say what is shown. */
function changed(pane) {
  active = pane;
  pane.update();
  say();
  soon();
}

/** A control changed: draw every pane. */
function update() {
  for (const pane of panes) pane.update();
  say();
  soon();
}

/** The sheet of heads follows when the picture is on the screen. */
function soon() {
  clearTimeout(later);
  if ($("multiples").open) later = setTimeout(multiples, 30);
}

function say() {
  const { method } = active;
  ramp($("ramp"), method.signed);
  $("low").textContent = number(active.limits[0]);
  $("high").textContent = number(active.limits[1]);
  $("scale").textContent = active.describe();
  $("brushed").textContent = active.said;
  $("npz").href = `${active.about.maps}/${encodeURIComponent(method.name)}/npz`;
  $("npz").textContent = `${method.name}.npz`;
  $("faithful").textContent = active.about.faithfulness[method.name]?.long ?? "";
  $("layer-said").textContent = shared.layer === null ? "mean" : `${shared.layer + 1}`;
  $("head-said").textContent = shared.head === null ? "mean" : `${shared.head + 1}`;
  $("opacity-said").textContent = `${Math.round(shared.opacity * 100)} %`;
}

function chooseMethod(name) {
  shared.method = name;
  const heads = panes[0].maps.methods[name]?.heads;
  for (const [id, place] of [["layer", 0], ["head", 1]]) {
    $(id).disabled = !heads;
    $(id).max = heads ? heads.shape[place] : 0;
    if (!heads) { $(id).value = 0; shared[id] = null; }
  }
  $("multiples").hidden = !heads;
  update();
}

function multiples() {
  const { method } = active, { heads } = method;
  if (!heads) return;
  const [layers, number_] = heads.shape, sheet = $("tiles"), shown = [active.about.name, method.name, ...active.tokens].join();
  $("multiples-note").textContent = `${layers} layers (down) by ${number_} heads (across) for the words shown. Each tile has its own scale.`;
  if (sheet.childElementCount !== layers * number_) {
    sheet.style.gridTemplateColumns = `repeat(${number_}, minmax(18px, 1fr))`;
    sheet.replaceChildren(...Array.from({ length: layers * number_ }, (_, i) => {
      const layer = Math.floor(i / number_), head = i % number_;
      const button = element("button", { type: "button", "aria-label": `Layer ${layer + 1}, head ${head + 1}`, "aria-pressed": "false" });
      button.append(document.createElement("canvas"));
      button.addEventListener("click", () => setHeads(shared.layer === layer && shared.head === head ? [null, null] : [layer, head]));
      return button;
    }));
  }
  [...sheet.children].forEach((button, i) =>
    button.setAttribute("aria-pressed", shared.layer === Math.floor(i / number_) && shared.head === i % number_));
  if (shown === sheetOf) return;
  sheetOf = "";  // until the last layer is painted
  tiles(method, active.tokens, 0, shown);
}

// A layer at a time, so that the next change does not wait for the whole sheet.
function tiles(method, tokens, layer, shown) {
  const [layers, heads] = method.heads.shape;
  for (let head = 0; head < heads; head++) {
    const canvas = $("tiles").children[layer * heads + head].firstChild;
    paint(canvas, grid(method, tokens, layer, head), method.shape.slice(1), method.signed, { smooth: false, flat: true });
  }
  if (layer + 1 < layers) later = setTimeout(tiles, 0, method, tokens, layer + 1, shown);
  else sheetOf = shown;
}

function setHeads([layer, head]) {
  Object.assign(shared, { layer, head });
  $("layer").value = layer === null ? 0 : layer + 1;
  $("head").value = head === null ? 0 : head + 1;
  update();
}

function setBrush(on) {
  shared.brush = on;
  $("brush").checked = on;
  for (const pane of panes) {
    pane.viewer.brush = on ? (point, phase) => pane.brushAt(point, phase) : null;
    pane.viewer.stage.classList.toggle("brushing", on);
    pane.viewer.draw();
  }
  if (on) active.viewer.canvas.focus();
}

/** The pane as a picture of its own, with what its colours mean below it. */
function png() {
  const { viewer, limits: [low, high], method, about } = active, width = 896, edge = 16;
  const height = Math.round((width * viewer.picture.naturalHeight) / viewer.picture.naturalWidth);
  const canvas = element("canvas", { width, height: height + 150 }), context = canvas.getContext("2d");
  context.fillStyle = "#0f1214";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const scale = width / viewer.picture.naturalWidth;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.drawImage(viewer.film, 0, 0, viewer.picture.naturalWidth, viewer.picture.naturalHeight);
  for (const layer of viewer.layers) layer(context, viewer.picture.naturalWidth, viewer.picture.naturalHeight);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.drawImage($("ramp"), edge, height + 14, width - 2 * edge, 10);
  context.fillStyle = "#e4e8ea";
  context.font = "14px sans-serif";
  context.fillText(number(low), edge, height + 42);
  context.textAlign = "right";
  context.fillText(number(high), width - edge, height + 42);
  context.textAlign = "left";
  const lines = [about.question, `Answer: ${about.answer}`, active.describe()];
  lines.forEach((text, i) => context.fillText(text, edge, height + 70 + 24 * i, width - 2 * edge));
  canvas.toBlob((blob) => {
    const link = element("a", { href: URL.createObjectURL(blob), download: `${about.name.replace("/", "-")}-${method.name}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
}

function go(by) {
  const links = [...document.querySelectorAll(".rail a")], here = links.findIndex((link) => link.ariaCurrent ?? link.hasAttribute("aria-current"));
  links[here + by]?.click();
}

for (const input of document.querySelectorAll("[name=method]")) input.addEventListener("change", () => chooseMethod(input.value));
for (const name of ["layer", "head"]) {
  $(name).addEventListener("input", () => { shared[name] = $(name).value === "0" ? null : Number($(name).value) - 1; update(); });
}
$("opacity").addEventListener("input", () => { shared.opacity = Number($("opacity").value); update(); });
for (const name of ["mask", "patches"]) $(name).addEventListener("change", () => { shared[name] = $(name).checked; update(); });
$("brush").addEventListener("change", () => setBrush($("brush").checked));
$("multiples").addEventListener("toggle", () => $("multiples").open && multiples());
$("png").addEventListener("click", png);
const click = (id) => () => { $(id).click(); };
onKeys({
  m: click("mask"), p: click("patches"), b: click("brush"), s: png,
  h: () => { if (!$("multiples").hidden) $("multiples").open = !$("multiples").open; },
  w: () => active.whole(),
  j: () => go(1), k: () => go(-1),
  Escape: () => { active.brushed.clear(); if (shared.brush) setBrush(false); changed(active); },
});
viewerKeys(panes[0].viewer);
for (const other of panes.slice(1)) panes[0].viewer.link(other.viewer);
await Promise.all(panes.map((pane) => pane.start()));
document.querySelector(".rail [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
chooseMethod(document.querySelector("[name=method]:checked").value);
document.documentElement.dataset.ready = "yes";
