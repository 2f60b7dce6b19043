// What the page asks, answered inside the browser: the place of the server's client, with the same functions.

import { encodePng } from "./picture.js";

export class Refusal extends Error {
  constructor(status, code, detail) {
    super(detail);
    Object.assign(this, { status, code });
  }
}

/** There is no server, so nothing asks for a token. */
export const hooks = { askToken: async () => "" };

const here = (path) => new URL(`../${path}`, import.meta.url);
const load = async (path) => {
  try {
    return await (await fetch(here(path))).json();
  } catch {
    throw new Refusal(0, "unreachable", "The page is not loaded whole. Load it again while its host can be reached.");
  }
};

let worker = null;
const waiting = new Map();
let next = 0;
const keys = new WeakMap();

function ask(message) {
  if (typeof WebAssembly !== "object" || typeof OffscreenCanvas !== "function") {
    throw new Refusal(0, "browser", "This browser is too old: it needs WebAssembly and OffscreenCanvas. Use a current Chromium, Firefox or Safari.");
  }
  worker ??= start();
  next += 1;
  return new Promise((done, stop) => {
    waiting.set(next, { done, stop });
    worker.postMessage({ id: next, ...message });
  });
}

function start() {
  const made = new Worker(here("static/worker.js"), { type: "module" });
  made.onmessage = ({ data }) => {
    const { done, stop } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) console.warn(data.detail);
    if (data.error) stop(new Refusal(422, data.code, data.error));
    else done(data.value);
  };
  made.onerror = () => {
    for (const { stop } of waiting.values()) stop(new Refusal(0, "browser", "This browser cannot run the networks."));
    waiting.clear();
  };
  return made;
}

async function about(file, extra) {
  if (!keys.has(file)) keys.set(file, crypto.randomUUID?.() ?? String(Math.random()));
  const bytes = new Uint8Array(await file.arrayBuffer());
  return ask({ key: keys.get(file), bytes, ...extra });
}

export const models = () => load("models.json");
export const wording = () => load("wording.json");

export async function sample() {
  const blob = await (await fetch(here("sample.png"))).blob();
  return new File([blob], "Drawn sample", { type: "image/png" });
}

async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}

const png = async (values, width, height) => base64(encodePng(values, width, height, ""));

/** Everything that the page shows of one file, as the server's answer has it. */
export async function predict(file, { signal } = {}) {
  const { xray, map, side, found, seconds, threshold, areas } = await about(file, { want: "all" });
  signal?.throwIfAborted();
  const { width, height, values } = xray;
  const eight = values instanceof Uint8Array;
  const shown = eight ? values : Uint8Array.from(values, (value) => Math.round(value * 255));
  const size = xray.spacing ? xray.spacing[0] * xray.spacing[1] : null;
  return {
    ...found,
    status: found.gate === "frontal" ? "ok" : "refused",
    width, height, format: xray.format, bits: xray.bits, notes: xray.notes, seconds, view: xray.view ?? "", modality: xray.modality ?? "",
    spacing_row_mm: xray.spacing?.[0] ?? null, spacing_column_mm: xray.spacing?.[1] ?? null, spacing_kind: xray.spacing_kind ?? "",
    right_lung_px: areas[0], left_lung_px: areas[1],
    right_lung_mm2: size && areas[0] * size, left_lung_mm2: size && areas[1] * size,
    mask_threshold: threshold, mirrored: Boolean(xray.mirrored), sides_known: Boolean(xray.mirrored),
    grey: { png: await png(shown, width, height), width, height, bits: 8, slope: eight ? 1 : 1 / 255, intercept: 0, center: eight ? 128 : 0.5, window: eight ? 256 : 1, inverted: false },
    probability_map: {
      png: await png(Uint8Array.from(map.values, (value) => Math.round(Math.min(1, Math.max(0, value)) * 255)), map.width, map.height),
      sides_png: await png(Uint8Array.from(side, (value) => (value >= 0 !== Boolean(xray.mirrored) ? 255 : 0)), map.width, map.height),
      box: [0, 0, height, width],
    },
    evidence: null,
  };
}

/** The mask at the size of the file as PNG: 255 is lung, or 1 right and 2 left where `labels`. */
export async function other(file, accept, threshold, labels = false) {
  if (accept !== "image/png") throw new Refusal(406, "no_server", "A DICOM SEG is made by lungsight serve or lungsight predict, not in the browser.");
  const mask = await about(file, { want: "mask", threshold });
  return encodePng(labels ? mask.values : mask.values.map((label) => (label ? 255 : 0)), mask.width, mask.height, "lungsight, in the browser");
}

export async function segmentation() {
  throw new Refusal(406, "no_server", "A DICOM SEG is made by lungsight serve or lungsight predict, not in the browser.");
}
