// DICOM -> grey as a reader sees it, as lungsight.xray.dicom: uncompressed, deflated, RLE and JPEG baseline (8 bits).
// Every other transfer syntax is refused by name. dicomParser walks the elements; no text of the file is shown.

import dicomParser from "../vendor/dicom-parser.js";
import { checkSize } from "./decode.js";
import { rescale } from "./pixels.js";
import { unpackRle } from "./rle.js";
import tables from "./tables.js";
import { Unreadable } from "./unreadable.js";
import { inflateSync } from "./vendor/fflate.js";

const PLAIN = new Set(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]);
const RLE = "1.2.840.10008.1.2.5";
const BASELINE = "1.2.840.10008.1.2.4.50";
const damaged = (words) => new Unreadable("damaged", `The DICOM file is damaged: ${words}.`);

/** What follows the file meta group, unpacked; dicomParser asks for it where the transfer syntax is deflated. */
function inflater(bytes, start) {
  const plain = inflateSync(bytes.subarray(start));
  const whole = new Uint8Array(start + plain.length);
  whole.set(bytes.subarray(0, start));
  whole.set(plain, start);
  return whole;
}

export async function readDicom(bytes, drawn) {
  let data;
  try {
    data = dicomParser.parseDicom(bytes, { inflater });
  } catch {
    throw damaged("its elements cannot be read");
  }
  const text = (tag) => (data.string(tag) ?? "").trim();
  const number = (tag) => { const value = Number.parseFloat(text(tag).split("\\")[0].replace(",", ".")); return Number.isFinite(value) ? value : null; };
  checkKind(text("x00080016"), text("x00080060"));
  const rows = data.uint16("x00280010");
  const columns = data.uint16("x00280011");
  if (!rows || !columns) throw damaged("it does not say how large its image is");
  checkSize(columns, rows);
  if ((number("x00280008") ?? 1) > 1) throw new Unreadable("several_images", "The DICOM file holds several frames; one X-ray a file is read.");
  const allocated = data.uint16("x00280100") ?? 16;
  const stored = data.uint16("x00280101") || allocated;
  const image = {
    width: columns, height: rows, allocated, stored, high: data.uint16("x00280102") ?? stored - 1,
    signed: data.uint16("x00280103") === 1, photometric: text("x00280004").toUpperCase() || "MONOCHROME2",
  };
  const syntax = text("x00020010");
  const element = data.elements.x7fe00010;
  if (!element) throw damaged("it has no pixels");
  if ((data.uint16("x00280002") ?? 1) !== 1 || !image.photometric.startsWith("MONOCHROME")) {
    throw new Unreadable("unsupported", "Coloured DICOM is not read in the browser; the command line does: lungsight predict FILE.");
  }
  let values;
  if (PLAIN.has(syntax)) values = native(data.byteArray, element, image, syntax.endsWith("1.2.2"));
  else if (syntax === RLE) {
    const frame = dicomParser.readEncapsulatedPixelDataFromFragments(data, element, 0, element.fragments.length);
    const plain = unpackRle(frame, rows * columns, allocated / 8);
    if (!plain) throw damaged("its compressed image is cut short");
    values = native(plain, { dataOffset: 0, length: plain.length }, image, false);
  }
  else if (syntax === BASELINE) {
    const frame = dicomParser.readEncapsulatedPixelDataFromFragments(data, element, 0, element.fragments.length);
    ({ values } = await drawn(frame, "image/jpeg"));
  } else {
    const what = tables.syntaxes[syntax];
    throw new Unreadable("unsupported", what ? `Not read in the browser: DICOM with ${what}. The command line reads it: lungsight predict FILE.` : "Not supported: this kind of compression in DICOM.");
  }
  const { pixels, notes } = display(values, data, image, number, text);
  const where = geometry(text, rows, columns, number);
  return {
    width: columns, height: rows, values: pixels, bits: stored, format: "DICOM", notes: [...notes, ...where.notes],
    view: viewOf(data, text), modality: tables.modalities.includes(text("x00080060").toUpperCase()) ? text("x00080060").toUpperCase() : "",
    spacing: where.spacing, spacing_kind: where.kind, mirrored: mirrored(text),
  };
}

function checkKind(sopClass, modality) {
  const below = (root) => sopClass === root || sopClass.startsWith(`${root}.`);
  const none = Object.entries(tables.no_images).find(([root]) => below(root));
  if (none && !sopClass.includes(".481.1") && !sopClass.includes(".481.2")) throw new Unreadable("no_image", `The DICOM file holds no image: it is ${none[1]}.`);
  const other = tables.radiographs.includes(sopClass) ? [] : Object.entries(tables.other_images).filter(([root]) => below(root));
  const what = other.sort(([a], [b]) => b.length - a.length)[0]?.[1] ?? tables.other_modalities[modality.toUpperCase()];
  if (what) throw new Unreadable("not_a_radiograph", `Not a chest X-ray: the DICOM header says that it is ${what}.`);
}

/** Uncompressed pixels; what lies beside the stored bits is dropped. */
function native(bytes, element, { width, height, allocated, stored, high, signed }, big) {
  const count = width * height;
  if (![8, 16, 32].includes(allocated)) throw new Unreadable("unsupported", "DICOM pixels of other than 8, 16 or 32 bits.");
  const size = allocated / 8;
  if (element.length < count * size) throw damaged("it is cut short");
  const view = new DataView(bytes.buffer, bytes.byteOffset + element.dataOffset, count * size);
  const read = { 8: (at) => view.getUint8(at), 16: (at) => view.getUint16(at, !big), 32: (at) => view.getUint32(at, !big) }[allocated];
  const out = allocated === 8 && !signed ? new Uint8Array(count) : allocated === 32 ? new Float64Array(count) : signed ? new Int16Array(count) : new Uint16Array(count);
  const top = Math.min(high, allocated - 1);
  const bits = top >= stored - 1 ? Math.min(stored, allocated) : allocated;
  const drop = bits < allocated ? top - bits + 1 : 0;
  for (let i = 0; i < count; i += 1) {
    let value = Math.floor(read(i * size) / 2 ** drop) % 2 ** bits;
    if (signed && value >= 2 ** (bits - 1)) value -= 2 ** bits;
    out[i] = value;
  }
  return out;
}

function display(values, data, image, number, text) {
  const notes = [];
  const padding = paddingOf(values, data, image.signed);
  const valid = padding && padding.map((one) => 1 - one);
  if (data.elements.x00283000 || data.elements.x00283010?.items?.length) throw new Unreadable("unsupported", "DICOM with lookup tables is not read in the browser; the command line does: lungsight predict FILE.");
  const [slope, intercept] = [number("x00281053") ?? 1, number("x00281052") ?? 0];
  const rescaled = slope !== 0 && (slope !== 1 || intercept !== 0);
  const real = rescaled ? Float32Array.from(values, (value) => Math.fround(Math.fround(value) * Math.fround(slope)) + Math.fround(intercept)) : values;
  let pixels = windowed(real, number("x00281050"), number("x00281051"), text("x00281056").toUpperCase());
  if (pixels && !shows(real, pixels, valid)) {
    pixels = null;
    notes.push("window_not_used");
  }
  if (!pixels && values instanceof Uint8Array && !rescaled && image.stored === 8) pixels = values.slice();
  else if (!pixels) {
    pixels = rescale(real, valid);
    notes.push("no_window", "rescaled");
  }
  const turn = () => { const white = pixels instanceof Uint8Array ? 255 : 1; pixels = pixels.map((value) => white - value); };
  if (image.photometric === "MONOCHROME1") {
    turn();
    notes.push("monochrome1");
  } else if (text("x20500020").toUpperCase() === "INVERSE") {
    turn();
    notes.push("inverse_shape");
  }
  if (padding) padding.forEach((one, i) => { if (one) pixels[i] = 0; });
  return { pixels, notes };
}

function paddingOf(values, data, signed) {
  const read = (tag) => data.elements[tag] && (signed ? data.int16(tag) : data.uint16(tag));
  const first = read("x00280120");
  if (first === undefined) return null;
  const last = read("x00280121") ?? first;
  const [low, high] = [Math.min(first, last), Math.max(first, last)];
  const padding = Uint8Array.from(values, (value) => value >= low && value <= high);
  return padding.includes(1) && padding.includes(0) ? padding : null;
}

/** A window of PS3.3 C.11.2.1.2 and .3; null where there is none. */
function windowed(values, center, width, kind) {
  if (center === null || width === null) return null;
  if (kind === "SIGMOID" && width > 0) return Float32Array.from(values, (x) => 1 / (1 + Math.exp(Math.min(80, Math.max(-80, (-4 * (x - center)) / width)))));
  const [middle, wide] = kind === "LINEAR_EXACT" ? [center, width] : [center - 0.5, width - 1];
  if (!(wide > 0)) return null;
  const [m, w] = [Math.fround(middle), Math.fround(wide)];
  return Float32Array.from(values, (x) => Math.min(1, Math.max(0, Math.fround(Math.fround(x - m) / w) + 0.5)));
}

function shows(values, out, valid) {
  let [least, most, seen, count] = [Infinity, -Infinity, 0, 0];
  for (let i = 0; i < values.length; i += 1) {
    if (valid && !valid[i]) continue;
    [least, most] = [Math.min(least, values[i]), Math.max(most, values[i])];
    count += 1;
    if (out[i] > 0 && out[i] < 1) seen += 1;
  }
  return least === most || seen >= 0.01 * count;
}

function viewOf(data, text) {
  const said = tables.views[text("x00185101").toLowerCase()] ?? "";
  if (said && said !== "other") return said;
  const coded = data.elements.x00540220?.items?.map((item) => tables.view_codes[(item.dataSet?.string("x00080100") ?? "").trim()]).find(Boolean);
  if (coded) return coded;
  return ["A", "P"].includes(directions(text)[0]) ? tables.lateral : "";
}

function directions(text) {
  const parts = text("x00200020").toUpperCase().split("\\").map((part) => part.trim());
  return parts.length === 2 && parts.every((part) => /^[LRHFAP]*$/.test(part)) ? parts.map((part) => part[0] ?? "") : ["", ""];
}

const mirrored = (text) => directions(text)[0] === "R" && ["F", "H"].includes(directions(text)[1]);

function geometry(text, rows, columns, number) {
  const pair = (tag) => {
    const values = text(tag).split("\\").map((one) => Number.parseFloat(one.replace(",", ".")));
    return values.length === 2 && values.every((value) => value > 0 && value < 1e4) ? values : null;
  };
  const [pixel, imager, scanned] = ["x00280030", "x00181164", "x00182010"].map(pair);
  const same = (one, other) => one.every((value, i) => Math.abs(value - other[i]) <= 1e-3 * other[i]);
  const factor = number("x00181114");
  const calibrated = ["GEOMETRY", "FIDUCIAL"].includes(text("x00280a02").toUpperCase());
  let found = null;
  if (pixel && (calibrated || (imager && !same(pixel, imager)))) found = [pixel, tables.spacing.calibrated];
  else if (imager && factor >= 1 && factor <= 2) found = [imager.map((value) => value / factor), tables.spacing.corrected];
  else if (imager) found = [imager, tables.spacing.detector];
  else if (pixel) found = [pixel, tables.spacing.stated];
  else if (scanned) found = [scanned, tables.spacing.detector];
  if (!found) return { spacing: null, kind: "", notes: [] };
  const [[row, column], kind] = found;
  const longer = Math.max(rows * row, columns * column);
  if (longer < 150 || longer > 700 || row / column < 0.5 || row / column > 2) {
    return { spacing: null, kind: "", notes: ["pixel_size_not_used"] };
  }
  return { spacing: [row, column], kind, notes: [] };
}
