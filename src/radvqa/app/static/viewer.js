// A picture with window and level, zoom and pan, by mouse, touch and keyboard; layers may lie on it.
// Pictures are 8-bit: window and level are in grey levels 0-255 and are applied to each colour alike.

import { element, onKeys } from "./common.js";

const LATE_MS = 250, MAX_ZOOM = 32, START = { zoom: 1, x: 0, y: 0, centre: 127.5, width: 255, invert: false };

export class Viewer {
  /** stage: the element to fill. tools: whether to show the bar of controls. */
  constructor(stage, { label = "Image: drag or arrow keys move it, plus and minus zoom", tools = true } = {}) {
    this.stage = stage;
    this.canvas = element("canvas", { tabindex: 0, role: "application", "aria-label": label });
    this.empty = element("p", { text: "No picture", class: "empty" });
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.view = { ...START };
    this.peers = [];
    this.layers = [];           // functions (context, width_px, height_px) drawn in the picture's pixels
    this.picture = null;
    stage.append(this.canvas, this.empty);
    if (tools) this.#tools();
    this.#mouse();
    this.canvas.addEventListener("keydown", (event) => this.#arrows(event));
    new ResizeObserver(() => this.#resize()).observe(stage);
  }

  /** Show the picture at an address. Resolves when it is drawn; when it is late the stage is emptied first, so that what is
   *  said next never stands beside the picture before. */
  async show(address) {
    this.wanted = address;
    const coming = address ? decoded(address) : Promise.resolve(null);
    const first = await Promise.race([coming, new Promise((done) => setTimeout(done, LATE_MS, "late"))]);
    if (this.wanted !== address) return;
    if (first !== "late") return this.#put(first);
    this.#put(null, "Loading");
    coming.then((picture) => { if (this.wanted === address) this.#put(picture); });
  }

  #put(picture, otherwise = "No picture") {
    Object.assign(this.view, START);
    Object.assign(this, { picture, pixels: null });
    this.empty.textContent = otherwise;
    this.#film();
    this.drawNow();
  }

  /** Move, zoom and window another viewer together with this one. */
  link(other) { this.peers.push(other); other.peers.push(this); }

  set(changes) {
    Object.assign(this.view, changes);
    this.view.zoom = Math.min(MAX_ZOOM, Math.max(0.25, this.view.zoom));
    this.view.width = Math.min(510, Math.max(1, this.view.width));
    this.view.centre = Math.min(255, Math.max(0, this.view.centre));
    for (const viewer of [this, ...this.peers]) {
      Object.assign(viewer.view, this.view);
      if ("centre" in changes || "width" in changes || "invert" in changes) viewer.#film();
      viewer.draw();
    }
  }

  fit() { this.set({ ...START }); }

  /** Draw at the next frame; many changes before it are one drawing. */
  draw() {
    this.waiting ??= requestAnimationFrame(() => { this.waiting = null; this.drawNow(); });
  }

  drawNow() {
    const { context, canvas, picture } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    this.empty.hidden = Boolean(picture);
    this.#say();
    if (!picture) return context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(this.#ground(), 0, 0);
    context.setTransform(...this.matrix());
    for (const layer of this.layers) layer(context, picture.naturalWidth, picture.naturalHeight);
  }

  // The film as it lies on the canvas: scaled anew only when it or its place changes, not with every layer.
  #ground() {
    const { canvas, picture } = this, place = [this.version, canvas.width, canvas.height, ...this.matrix()].join();
    if (this.grounded === place) return this.under;
    this.grounded = place;
    this.under ??= element("canvas");
    Object.assign(this.under, { width: canvas.width, height: canvas.height });
    const context = this.under.getContext("2d", { alpha: false });
    context.setTransform(...this.matrix());
    context.imageSmoothingQuality = "high";
    context.drawImage(this.film, 0, 0, picture.naturalWidth, picture.naturalHeight);
    return this.under;
  }

  /** Picture pixels to canvas pixels, as setTransform takes it. */
  matrix() {
    const { canvas, picture, view } = this;
    const scale = this.scale();
    const x = canvas.width / 2 + (view.x - 0.5) * picture.naturalWidth * scale;
    const y = canvas.height / 2 + (view.y - 0.5) * picture.naturalHeight * scale;
    return [scale, 0, 0, scale, x, y];
  }

  scale() {
    const { canvas, picture, view } = this;
    return view.zoom * Math.min(canvas.width / picture.naturalWidth, canvas.height / picture.naturalHeight);
  }

  /** Where in the picture an event lies, 0-1 in both directions; null without a picture. */
  at(event) {
    if (!this.picture) return null;
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    const [scale, , , , x, y] = this.matrix();
    return [((event.clientX - box.left) * ratio - x) / scale / this.picture.naturalWidth,
      ((event.clientY - box.top) * ratio - y) / scale / this.picture.naturalHeight];
  }

  // The picture through its window: drawn anew only when the window changes.
  #film() {
    const { picture, view } = this;
    this.version = (this.version ?? 0) + 1;
    this.film = picture;
    if (!picture || (view.width === 255 && view.centre === 127.5 && !view.invert)) return;
    const shrink = Math.min(1, 2048 / Math.max(picture.naturalWidth, picture.naturalHeight));
    const width = Math.round(picture.naturalWidth * shrink), height = Math.round(picture.naturalHeight * shrink);
    if (!this.pixels) {
      const canvas = element("canvas", { width, height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0, width, height);
      this.pixels = context.getImageData(0, 0, width, height);
      this.windowed = { context, canvas, data: context.createImageData(width, height) };
    }
    const table = new Uint8ClampedArray(256);
    for (let grey = 0; grey < 256; grey++) {
      const value = ((grey - view.centre) / view.width + 0.5) * 255;
      table[grey] = view.invert ? 255 - Math.min(255, Math.max(0, value)) : value;
    }
    const from = this.pixels.data, to = this.windowed.data.data;
    for (let i = 0; i < from.length; i += 4) {
      to[i] = table[from[i]]; to[i + 1] = table[from[i + 1]]; to[i + 2] = table[from[i + 2]]; to[i + 3] = 255;
    }
    this.windowed.context.putImageData(this.windowed.data, 0, 0);
    this.film = this.windowed.canvas;
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.stage.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.stage.clientHeight * ratio));
    if (this.waiting) cancelAnimationFrame(this.waiting);
    this.waiting = null;
    this.drawNow();
  }

  #zoomAt(event, factor) {
    const before = this.at(event);
    if (!before) return;
    const zoom = Math.min(MAX_ZOOM, Math.max(0.25, this.view.zoom * factor)), grow = zoom / this.view.zoom;
    // the point under the pointer stays: (x - 0.5 + point) * zoom is the same before and after
    const stay = (offset, point) => (offset - 0.5 + point) / grow - point + 0.5;
    this.set({ zoom, x: stay(this.view.x, before[0]), y: stay(this.view.y, before[1]) });
  }

  #mouse() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#zoomAt(event, Math.exp(-event.deltaY * 0.0015));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.fit());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.picture) return;
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      if (this.brush && event.button === 0 && !event.shiftKey) return this.brush(this.at(event), "down");
      this.grip = { windowing: event.button === 2 || event.shiftKey, x: event.clientX, y: event.clientY, view: { ...this.view } };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.brush && event.buttons === 1 && !this.grip) return this.brush(this.at(event), "move");
      if (!this.grip || !this.picture) return;
      const right = event.clientX - this.grip.x, down = event.clientY - this.grip.y, { view } = this.grip;
      if (this.grip.windowing) return this.set({ width: view.width + right, centre: view.centre + down });
      const ratio = this.canvas.width / this.canvas.clientWidth, scale = this.scale();
      this.set({ x: view.x + (right * ratio) / scale / this.picture.naturalWidth, y: view.y + (down * ratio) / scale / this.picture.naturalHeight });
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { this.grip = null; });
  }

  #arrows(event) {
    const step = 0.04 / this.view.zoom;
    const moves = { ArrowLeft: ["x", step], ArrowRight: ["x", -step], ArrowUp: ["y", step], ArrowDown: ["y", -step] };
    if (this.cursor && this.cursor(event.key)) return event.preventDefault();
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const [axis, by] = moves[event.key];
    this.set({ [axis]: this.view[axis] + by });
  }

  #tools() {
    const bar = element("div", { class: "tools", role: "group", "aria-label": "Window, level and zoom" });
    const button = (text, label, act) => {
      const made = element("button", { text, type: "button", "aria-label": label, title: label });
      made.addEventListener("click", act);
      bar.append(made);
      return made;
    };
    const slider = (text, name, min, max) => {
      const label = element("label", { text }), input = element("input", { type: "range", min, max, step: 1 });
      input.addEventListener("input", () => this.set({ [name]: Number(input.value) }));
      label.append(input);
      bar.append(label);
      return input;
    };
    this.shown = {
      width: slider("Window", "width", 1, 510),
      centre: slider("Level", "centre", 0, 255),
      invert: button("Invert", "Invert (I)", () => this.set({ invert: !this.view.invert })),
    };
    button("−", "Zoom out (−)", () => this.set({ zoom: this.view.zoom / 1.25 }));
    this.shown.zoom = element("output", { "aria-label": "Zoom" });
    bar.append(this.shown.zoom);
    button("+", "Zoom in (+)", () => this.set({ zoom: this.view.zoom * 1.25 }));
    button("Fit", "Fit and reset (F)", () => this.fit());
    this.stage.append(bar);
  }

  #say() {
    if (!this.shown) return;
    this.shown.width.value = this.view.width;
    this.shown.centre.value = this.view.centre;
    this.shown.invert.setAttribute("aria-pressed", this.view.invert);
    this.shown.zoom.textContent = `${Math.round(this.view.zoom * 100)} %`;
  }
}

async function decoded(address) {
  const image = new Image();
  image.src = address;
  try { await image.decode(); } catch { return null; }
  return image;
}

/** The keys that work wherever the focus is, for the first of linked viewers. */
export function viewerKeys(viewer) {
  const more = (changes) => () => viewer.set(changes(viewer.view));
  const zoomIn = more((view) => ({ zoom: view.zoom * 1.25 }));
  onKeys({
    "+": zoomIn, "=": zoomIn,
    "-": more((view) => ({ zoom: view.zoom / 1.25 })),
    f: () => viewer.fit(),
    i: more((view) => ({ invert: !view.invert })),
    "[": more((view) => ({ width: view.width - 12 })), "]": more((view) => ({ width: view.width + 12 })),
    ",": more((view) => ({ centre: view.centre - 6 })), ".": more((view) => ({ centre: view.centre + 6 })),
  });
}
