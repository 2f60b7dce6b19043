// What leaves the page: tables, JSON, pictures, one file or all of them in a ZIP.

import * as api from "./api.js";
import { corrected } from "./lungs.js";
import { decodePng, encodePng } from "./picture.js";
import { zipSync } from "./vendor/fflate.js";

export const NOTICE = "Research use only, not for diagnosis.";

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export const stem = (entry) => entry.name.split("/").pop().replace(/\.[A-Za-z0-9]{1,5}$/, "") || "xray";

/** The server's record of one film, with the areas of the mask that is shown, and the name, which the server never saw. */
export function record(entry, areas) {
  const { index, grey, hint, probability_map: map, evidence, ...found } = entry.found ?? {};
  if (entry.state !== "done") return { input: entry.name, status: "failed", message: entry.words };
  const { spacing_row_mm: down, spacing_column_mm: across } = found;
  const size = (pixels) => (down ? pixels * down * across : null);
  const { right, left, zones } = areas ?? { right: null, left: null, zones: null };
  return {
    ...found,
    input: entry.name,
    mask_threshold: entry.threshold,
    right_lung_px: right === null ? null : Math.round(right),
    left_lung_px: left === null ? null : Math.round(left),
    right_lung_mm2: right === null ? null : size(right),
    left_lung_mm2: left === null ? null : size(left),
    zone_px: zones ? zones.map((one) => Math.round(one)) : [],
    mask_corrected: Boolean(entry.edited),
  };
}

export const json = (rows) => new Blob([JSON.stringify({ notice: NOTICE, predictions: rows }, null, 2)], { type: "application/json" });

function cell(value) {
  if (value === null || value === undefined) return "";
  let text = Array.isArray(value) ? value.join("; ") : String(value);
  // A spreadsheet would run a name that begins like this as a formula.
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(rows, columns) {
  const names = [...columns, "mask_threshold", "mask_corrected"].filter((name, i, all) => all.indexOf(name) === i);
  const lines = [names, ...rows.map((row) => names.map((name) => row[name]))];
  return new Blob([lines.map((row) => row.map(cell).join(",")).join("\r\n"), "\r\n"], { type: "text/csv" });
}

/** The mask as PNG at the size of the file: the server's, or with what was corrected by hand; `labels`: 1 right, 2 left. */
export async function maskOf(entry, automatic, labels = false) {
  if (!entry.edited) return api.other(entry.file, "image/png", entry.threshold, labels);
  const blob = await api.other(entry.file, "image/png", entry.threshold, true);
  const mask = decodePng(new Uint8Array(await blob.arrayBuffer()));
  const values = corrected(mask, automatic, entry.edited).map((label) => (labels || !label ? label : 255));
  return encodePng(values, mask.width, mask.height, "Lung mask of Lungsight, corrected by hand. Research use only.");
}

/** The mask that is shown as DICOM SEG; one that was corrected says so. */
export async function segOf(entry, automatic) {
  if (!entry.edited) return api.other(entry.file, "application/dicom", entry.threshold);
  return api.segmentation(entry.file, await maskOf(entry, automatic, true));
}

export const segName = (entry) => `${stem(entry)}-seg${entry.edited ? "-corrected" : ""}.dcm`;

export const maskName = (entry) => `${stem(entry)}-mask${entry.edited ? "-corrected" : ""}.png`;

/** A ZIP of { name: Blob }; what is compressed already is stored. */
export async function archive(files) {
  const members = {};
  for (const [name, blob] of Object.entries(files)) {
    members[name] = [new Uint8Array(await blob.arrayBuffer()), { level: name.endsWith(".png") ? 0 : 6 }];
  }
  const bytes = zipSync(members);
  return new Blob([bytes], { type: "application/zip" });
}
