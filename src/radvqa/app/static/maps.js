// Maps as the server packs them (pack.py): read once, then every token, layer, head and method is arithmetic here.

import { INFERNO, PURPLE_ORANGE } from "./colours.js";

const STEPS = 65535, RASTER = 256;

/** The packed maps of one answer: {tokens, words, prompt, methods: {name: method}}. */
export async function load(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`the maps cannot be read (${response.status})`);
  const buffer = await response.arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true), start = 4 + length;
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const size = (shape) => shape.reduce((a, b) => a * b, 1);
  const floats = (offset, number) => new Float32Array(buffer, start + offset, number);
  for (const method of header.methods) {
    method.values = floats(method.values, size(method.shape));
    if (method.prompt) method.prompt.values = floats(method.prompt.values, size(method.prompt.shape));
    if (method.heads) {
      const [layers, heads, tokens] = method.heads.shape;
      method.heads.largest = floats(method.heads.largest, layers * heads * tokens);
      method.heads.steps = new Uint16Array(buffer, start + method.heads.steps, size(method.heads.shape));
    }
  }
  return { ...header, methods: Object.fromEntries(header.methods.map((method) => [method.name, method])) };
}

/** Float32Array[gh * gw]: the mean over tokens; layer and head: a number from 0, or null for their mean. */
export function grid(method, tokens, layer = null, head = null) {
  const [, rows, columns] = method.shape, size = rows * columns, found = new Float32Array(size);
  if (!method.heads || (layer === null && head === null)) {
    for (const token of tokens) for (let i = 0; i < size; i++) found[i] += method.values[token * size + i];
    for (let i = 0; i < size; i++) found[i] /= tokens.length;
    return found;
  }
  const [layers, heads, count] = method.heads.shape;
  const range = (one, all) => (one === null ? Array.from({ length: all }, (_, i) => i) : [one]);
  const some = range(layer, layers).flatMap((l) => range(head, heads).map((h) => [l, h]));
  for (const [l, h] of some) {
    for (const token of tokens) {
      const row = (l * heads + h) * count + token, scale = method.heads.largest[row] / STEPS, at = row * size;
      for (let i = 0; i < size; i++) found[i] += method.heads.steps[at + i] * scale;
    }
  }
  for (let i = 0; i < size; i++) found[i] /= some.length * tokens.length;
  return found;
}

/** The values at the ends of the colour scale: smallest and largest; of a signed map plus and minus the strongest. */
export function limits(values, signed) {
  let low = Infinity, high = -Infinity, strongest = 0;
  for (const value of values) {
    low = Math.min(low, value); high = Math.max(high, value); strongest = Math.max(strongest, Math.abs(value));
  }
  if (signed) return strongest > 0 ? [-strongest, strongest] : [-1, 1];
  return high - low > 1e-6 * high ? [low, high] : [high, high + 1];
}

/** Draw a grid on a canvas: bilinear between the centres of the patches, or as they are; opacity grows with strength. */
export function paint(canvas, values, [rows, columns], signed, { opacity = 0.75, smooth = true, flat = false } = {}) {
  const width = smooth ? RASTER : columns, height = smooth ? Math.max(1, Math.round((RASTER * rows) / columns)) : rows;
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer), colours = palette(signed, flat ? null : opacity);
  const [low, high] = limits(values, signed), scale = 255 / (high - low);
  const across = between(width, columns), down = between(height, rows), line = new Float32Array(columns);
  for (let y = 0, at = 0; y < height; y++) {
    const top = down.low[y] * columns, bottom = down.high[y] * columns, lower = down.share[y];
    for (let x = 0; x < columns; x++) line[x] = values[top + x] * (1 - lower) + values[bottom + x] * lower;
    for (let x = 0; x < width; x++, at++) {
      const value = line[across.low[x]] * (1 - across.share[x]) + line[across.high[x]] * across.share[x];
      pixels[at] = colours[Math.min(255, Math.max(0, Math.round((value - low) * scale)))];
    }
  }
  context.putImageData(image, 0, 0);
  return [low, high];
}

// 256 pixels from the low end of a scale to the high one; opacity null: none lets anything through.
const palettes = new Map();
function palette(signed, opacity) {
  const name = `${signed} ${opacity}`;
  if (!palettes.has(name)) {
    const bytes = new Uint8ClampedArray(1024), colours = signed ? PURPLE_ORANGE : INFERNO;
    for (let i = 0; i < 256; i++) {
      const strength = signed ? Math.abs((2 * i) / 255 - 1) : i / 255;
      bytes.set(colours.subarray(3 * i, 3 * i + 3), 4 * i);
      bytes[4 * i + 3] = opacity === null ? 255 : 255 * opacity * strength ** 0.7;
    }
    palettes.set(name, new Uint32Array(bytes.buffer));
  }
  return palettes.get(name);
}

// For each of so many pixels the patches on either side of it and how much of the further one it has.
function between(pixels, patches) {
  const found = { low: new Uint16Array(pixels), high: new Uint16Array(pixels), share: new Float32Array(pixels) };
  for (let i = 0; i < pixels; i++) {
    const place = Math.max(0, ((i + 0.5) * patches) / pixels - 0.5);
    found.low[i] = Math.floor(place);
    found.high[i] = Math.min(patches - 1, found.low[i] + 1);
    found.share[i] = place - found.low[i];
  }
  return found;
}

/** The colour bar of a scale. */
export function ramp(canvas, signed) {
  paint(canvas, Float32Array.from({ length: canvas.width }, (_, i) => (signed ? (2 * i) / (canvas.width - 1) - 1 : i)),
    [1, canvas.width], signed, { smooth: false, flat: true });
}

/** For each word how strongly it looks at some patches, against how strongly it looks anywhere: 1 is no more than chance. */
export function looksAt(method, words, patches, layer, head) {
  return words.map(([, start, stop]) => {
    const tokens = Array.from({ length: stop - start }, (_, i) => start + i);
    const values = grid(method, tokens, layer, head);
    let all = 0, some = 0;
    for (let i = 0; i < values.length; i++) all += Math.max(0, values[i]);
    for (const patch of patches) some += Math.max(0, values[patch]);
    return all > 0 ? (some / all) * (values.length / patches.size) : 0;
  });
}

export function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return (size >= 0.001 && size < 1000 ? value.toPrecision(3) : value.toExponential(1)).replace("-", "−");
}
