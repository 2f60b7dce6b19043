// One X-ray at a time through the networks that ship, beside the page so that it stays alive. Nothing is sent anywhere.

import * as ort from "../vendor/ort.mjs";
import { decode } from "./decode.js";
import { deviation, find, flagsOf, labelsOf, onWrongSide, polarity, ratioOf, zonesOf } from "./find.js";
import { cropToLungs, linear, resize, resizeMask, toUnit } from "./pixels.js";

const sessions = {};
let cards = null;

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("../vendor/ort.wasm", import.meta.url).href };

async function session(task) {
  cards ??= await (await fetch(new URL("../cards.json", import.meta.url))).json();
  sessions[task] ??= (async () => {
    const bytes = new Uint8Array(await (await fetch(new URL(`../weights/${cards[task].file}`, import.meta.url))).arrayBuffer());
    return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  })();
  return sessions[task];
}

async function run(task, data, shape) {
  const network = await session(task);
  const given = new ort.Tensor("float32", data, shape);
  return network.run({ [network.inputNames[0]]: given });
}

async function predict(bytes) {
  const start = performance.now();
  const read = await decode(bytes);
  await session("lungs");
  const [side] = cards.lungs.input;
  const undone = polarity(toUnit(resize(read, side, side)), cards.polarity) < cards.polarity.undo;
  const xray = undone ? negative(read) : read;
  const resized = resize(xray, side, side);
  const small = toUnit(resized);
  const plane = side * side;
  const outputs = await run("lungs", small.values, [1, 1, side, side]);
  const maps = outputs.probability.data;
  const channel = (name) => ({
    width: side, height: side,
    values: Float32Array.from(maps.subarray(cards.lungs.classes.indexOf(name) * plane, (cards.lungs.classes.indexOf(name) + 1) * plane), (value) => (Number.isFinite(value) ? value : 0)),
  });
  const own = channel(cards.lungs.convention);
  const lungs = find(own, cards.lungs.threshold, cards.rules.lungs);
  const labels = labelsOf(lungs);
  const flags = flagsOf(lungs, small, cards.rules, cards.polarity);
  const limit = cards.lungs.outlier_limit;
  const distance = outputs.outlier?.data[0];
  // What is no number is unlike anything.
  if (limit && outputs.outlier && !(distance / limit <= 1)) flags.push("unfamiliar");
  const heart = cards.lungs.classes.includes("heart") ? channel("heart").values : null;
  if (heart && onWrongSide(heart, labels, small, Boolean(xray.mirrored), cards.sides, cards.rules.heart)) flags.push("heart_side");
  const gate = await judge(xray, resized, small, flags);
  const found = { flags, ...gate, ...(await diagnose(xray, resized, labels, gate)), ...(await grade(xray, labels, flags, gate)), ...measure(xray, heart, labels, flags, gate) };
  return { xray: gate.gate === "frontal" ? xray : read, map: own, side: lungs.side, found, seconds: (performance.now() - start) / 1000 };
}

/** The cardiothoracic ratio, the two widths as fractions of the picture, and what must be known of it. */
function measure(xray, heart, labels, flags, gate) {
  const rule = cards.rules.heart;
  const told = heart && gate.gate === "frontal" && !flags.some((flag) => rule.doubts.includes(flag));
  const found = told ? ratioOf(heart, labels, cards.lungs.heart_threshold, rule, xray.height / labels.height / (xray.width / labels.width)) : null;
  if (!found) return { cardiothoracic_ratio: null, ratio_note: null, ratio_doubts: [], heart_line: [], chest_line: [] };
  const line = ([row, start, stop]) => [(row + 0.5) / labels.height, start / labels.width, stop / labels.width];
  return {
    cardiothoracic_ratio: found.ratio, ratio_note: rule.notes[xray.view ?? ""] ?? null, ratio_doubts: found.doubts,
    heart_line: line(found.heart), chest_line: line(found.chest),
  };
}

/** Black and white exchanged, and a note that says so. */
function negative(xray) {
  const white = xray.values instanceof Uint8Array ? 255 : 1;
  return { ...xray, values: xray.values.map((one) => white - one), notes: [...(xray.notes ?? []), cards.polarity.note] };
}

async function judge(xray, resized, small, flags) {
  await session("gate");
  const [side] = cards.gate.input;
  // As on the command line: from the size made before, where the X-ray is not smaller than that.
  const large = xray.width >= resized.width && xray.height >= resized.height;
  const input = toUnit(resize(large ? resized : xray, side, side));
  const probabilities = (await run("gate", input.values, [1, 1, side, side])).probability.data;
  const reasons = [];
  if (xray.view && !cards.frontal.includes(xray.view)) reasons.push("header_lateral");
  const [shorter, longer] = [Math.min(xray.width, xray.height), Math.max(xray.width, xray.height)];
  if (shorter < cards.limits.min_side) reasons.push("too_small");
  if (longer > cards.limits.max_aspect * shorter) reasons.push("shape");
  if (deviation(small.values) < cards.limits.min_contrast) reasons.push("blank");
  const { classes, threshold } = cards.gate;
  const score = probabilities[classes.indexOf("frontal")];
  if (!(score >= threshold)) {
    const others = classes.map((name, i) => [probabilities[i], name]).filter(([, name]) => name !== "frontal");
    reasons.push(others.sort(([a], [b]) => b - a)[0][1]);
  }
  reasons.push(...cards.rules.needed.filter((flag) => flags.includes(flag)));
  return { gate: reasons.length ? "not_frontal" : "frontal", gate_score: score, reasons: [...new Set(reasons)] };
}

async function diagnose(xray, resized, labels, gate) {
  const nothing = { decision: "not_scored", probability: null, low: null, high: null, answers: [] };
  if (gate.gate !== "frontal") return nothing;
  await session("diagnosis");
  const card = cards.diagnosis;
  const [side] = card.resized;
  const mask = { ...labels, values: Uint8Array.from(labels.values, (label) => Number(label > 0)) };
  const image = resized.width === side ? resized : resize(xray, side, side);
  const input = cropToLungs(image, resizeMask(mask, side, side), ...card.input, card.dilation);
  if (!input) return nothing;
  const logit = (await run("diagnosis", input.values, [1, 1, ...card.input])).logit.data[0];
  const sigmoid = (value) => 1 / (1 + Math.exp(-value));
  const { slope, intercept, replicates, uncertain, conformal } = card.calibration;
  const probability = sigmoid(slope * logit + intercept);
  let [low, high] = [null, null];
  if (replicates.length) {
    const all = Float64Array.from(replicates, ([a, b]) => a * logit + b).sort();
    [low, high] = [0.025, 0.975].map((part) => {
      const at = part * (all.length - 1);
      const index = Math.min(Math.floor(at), all.length - 2);
      return sigmoid(all[index] + (all[index + 1] - all[index]) * (at - index));
    });
  }
  if (conformal) {
    const answers = [];
    if (conformal.covid_from === null || logit >= conformal.covid_from) answers.push("covid");
    if (conformal.not_covid_to === null || logit <= conformal.not_covid_to) answers.push("not_covid");
    return { decision: answers.length === 1 ? answers[0] : "uncertain", probability, low, high, answers };
  }
  const [from, to] = uncertain ?? [low ?? card.threshold, high ?? card.threshold];
  const unsure = uncertain ? from < probability && probability < to : from < card.threshold && card.threshold < to;
  return { decision: unsure ? "uncertain" : probability >= card.threshold ? "covid" : "not_covid", probability, low, high, answers: [] };
}

async function grade(xray, labels, flags, gate) {
  const nothing = { severity: null, severity_low: null, severity_high: null, severity_zones: [] };
  if (gate.gate !== "frontal" || flags.some((flag) => cards.rules.severity_doubts.includes(flag)) || !cards.severity) return nothing;
  const [side] = cards.severity.input;
  const zones = zonesOf(labels, cards.rules.zone_rows);
  const plane = side * side;
  const data = new Float32Array(7 * plane);
  data.set(toUnit(resize(xray, side, side)).values);
  for (let zone = 1; zone <= 6; zone += 1) {
    if (!zones.includes(zone)) return nothing;
    const map = { ...labels, values: Float32Array.from(zones, (one) => Number(one === zone)) };
    data.set(resize(map, side, side).values, zone * plane);
  }
  const scores = Array.from((await run("severity", data, [1, 7, side, side])).zones.data, (score) => Math.min(3, Math.max(0, score)));
  const total = scores.reduce((sum, score) => sum + score, 0);
  const half = cards.severity.half_width;
  return { severity: total, severity_zones: scores, severity_low: half === null ? null : Math.max(0, total - half), severity_high: half === null ? null : Math.min(18, total + half) };
}

/** Labels at the size of the file, as the command line's mask. */
function labelsAt({ xray, map }, threshold) {
  const lungs = find(map, threshold, cards.rules.lungs);
  const { width, height } = xray;
  const grown = linear(lungs.map, width, height).values;
  const side = linear({ ...lungs.map, values: lungs.side }, width, height).values;
  const turn = xray.mirrored ? -1 : 1;
  return { width, height, values: Uint8Array.from(grown, (value, i) => (value >= threshold ? (turn * side[i] < 0 ? 2 : 1) : 0)) };
}

const last = { key: null, done: null };

async function answer({ key, bytes, want, threshold }) {
  if (last.key !== key || !last.done) Object.assign(last, { key, done: await predict(bytes) });
  const { done } = last;
  if (want === "mask") return labelsAt(done, threshold);
  const labels = labelsAt(done, cards.lungs.threshold).values;
  let [right, left] = [0, 0];
  for (const label of labels) {
    if (label === 1) right += 1;
    else if (label === 2) left += 1;
  }
  return { xray: done.xray, map: done.map, side: done.side, found: done.found, seconds: done.seconds, threshold: cards.lungs.threshold, areas: [right, left] };
}

// One after the other: the networks take all of a core, and memory for one X-ray at a time.
let before = Promise.resolve();
self.onmessage = ({ data }) => {
  before = before.then(async () => {
    try {
      self.postMessage({ id: data.id, value: await answer(data) });
    } catch (error) {
      self.postMessage({ id: data.id, error: error.code ? error.message : "The networks do not run in this browser.", code: error.code ?? "cannot", detail: String(error) });
    }
  });
};
