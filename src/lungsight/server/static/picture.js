// PNG of 8 and 16 bits -> grey values, values -> shades by window and level, and masks back to PNG.

import { unzlibSync, zlibSync } from "./vendor/fflate.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

export const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** A grey PNG of 8 or 16 bits -> { width, height, values }. A canvas would keep eight bits only. */
export function decodePng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = [];
  let [width, height, depth] = [0, 0, 8];
  for (let at = 8; at + 8 <= bytes.length;) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IHDR") [width, height, depth] = [view.getUint32(at + 8), view.getUint32(at + 12), bytes[at + 16]];
    if (kind === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const packed = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => { packed.set(part, at); return at + part.length; }, 0);
  const size = depth / 8;
  const row = width * size;
  const raw = unzlibSync(packed, { out: new Uint8Array((row + 1) * height) });
  const out = new Uint8Array(row * height);
  for (let y = 0; y < height; y += 1) unfilter(raw, out, y, row, size);
  if (depth === 8) return { width, height, values: out };
  const values = new Uint16Array(width * height);
  for (let i = 0; i < values.length; i += 1) values[i] = (out[2 * i] << 8) | out[2 * i + 1];
  return { width, height, values };
}

/** One row of a PNG (ISO/IEC 15948, 9.2). */
function unfilter(raw, out, y, row, size) {
  const from = y * (row + 1);
  const to = y * row;
  const kind = raw[from];
  for (let i = 0; i < row; i += 1) {
    const left = i >= size ? out[to + i - size] : 0;
    const up = y ? out[to + i - row] : 0;
    let guess = 0;
    if (kind === 1) guess = left;
    else if (kind === 2) guess = up;
    else if (kind === 3) guess = (left + up) >> 1;
    else if (kind === 4) {
      const corner = y && i >= size ? out[to + i - row - size] : 0;
      const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
      guess = a <= b && a <= c ? left : b <= c ? up : corner;
    }
    out[to + i] = raw[from + 1 + i] + guess;
  }
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function chunk(kind, data) {
  const out = new Uint8Array(12 + data.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  out.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  out.set(data, 8);
  let crc = 0xffffffff;
  for (let i = 4; i < out.length - 4; i += 1) crc = CRC[(crc ^ out[i]) & 255] ^ (crc >>> 8);
  view.setUint32(out.length - 4, (crc ^ 0xffffffff) >>> 0);
  return out;
}

/** Bytes (width * height) -> a grey PNG with a comment. */
export function encodePng(values, width, height, comment) {
  const head = new Uint8Array(13);
  const view = new DataView(head.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  head[8] = 8;
  const raw = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y += 1) raw.set(values.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const text = new TextEncoder().encode(`Comment\0${comment}`);
  return new Blob(
    [Uint8Array.from(SIGNATURE), chunk("IHDR", head), chunk("tEXt", text), chunk("IDAT", zlibSync(raw, { level: 3 })), chunk("IEND", new Uint8Array())],
    { type: "image/png" },
  );
}

/** What the server sent of a film's grey values, ready for the window: `real = slope * value + intercept`. */
export function greyOf(sent, bytes) {
  const { width, height, values } = decodePng(bytes);
  let [low, high] = [65535, 0];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const ends = [sent.slope * low + sent.intercept, sent.slope * high + sent.intercept].sort((a, b) => a - b);
  return { ...sent, width, height, values, low: ends[0], high: Math.max(ends[1], ends[0] + 1) };
}

/** A curve of [0, 1] at a place, 0 its begin and 1 its end. */
function along(curve, place) {
  const at = Math.min(Math.max(place, 0), 1) * (curve.length - 1);
  const below = Math.min(Math.floor(at), curve.length - 2);
  return curve[below] + (curve[below + 1] - curve[below]) * (at - below);
}

/** Shades (0 to 255) of all 65,536 or 256 stored values. */
export function shades(grey, { center, width, invert }) {
  const table = new Uint8ClampedArray(grey.values.BYTES_PER_ELEMENT === 1 ? 256 : 65536);
  const turned = Boolean(invert) !== Boolean(grey.inverted);
  const wide = Math.max(width, 1e-6) * (grey.span ?? 1);
  for (let value = 0; value < table.length; value += 1) {
    const place = (grey.slope * value + grey.intercept - center) / wide + 0.5;
    const shade = 255 * (grey.curve?.length ? along(grey.curve, place) : place);
    table[value] = turned ? 255 - shade : shade;
  }
  return table;
}

/** A small picture for the list, as a data URL. */
export function thumbnail(grey, side = 104) {
  const canvas = document.createElement("canvas");
  canvas.width = side;
  canvas.height = side;
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  const table = shades(grey, { center: grey.center, width: grey.window });
  const step = Math.max(grey.width, grey.height) / side;
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      const column = Math.floor((x + 0.5 - side / 2) * step + grey.width / 2);
      const row = Math.floor((y + 0.5 - side / 2) * step + grey.height / 2);
      const inside = column >= 0 && row >= 0 && column < grey.width && row < grey.height;
      const shade = inside ? table[grey.values[row * grey.width + column]] : 0;
      image.data.set([shade, shade, shade, 255], 4 * (y * side + x));
    }
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL("image/jpeg", 0.8);
}
