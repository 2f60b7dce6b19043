// Bytes -> grey pixels, as lungsight.xray: told by content, bounded, bone bright. The browser decodes JPEG, WebP and
// coloured PNG; grey PNG is unpacked here, since a canvas keeps eight bits of sixteen.

import { readDicom } from "./dicom.js";
import { decodePng } from "./picture.js";
import { rescale } from "./pixels.js";
import { Unreadable } from "./unreadable.js";

const MOST = 32_000_000;
const LEAST = 16;

const begins = (bytes, ...values) => values.every((value, i) => bytes[i] === value);
const ascii = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));

/** What the bytes are: a name of `XRay.format`, or "". */
export function kindOf(bytes) {
  if (begins(bytes, 0x89, 0x50, 0x4e, 0x47)) return "PNG";
  if (begins(bytes, 0xff, 0xd8, 0xff)) return "JPEG";
  if (begins(bytes, 0x42, 0x4d)) return "BMP";
  if (begins(bytes, 0x49, 0x49, 0x2a, 0) || begins(bytes, 0x4d, 0x4d, 0, 0x2a)) return "TIFF";
  if (ascii(bytes, 128, 4) === "DICM") return "DICOM";
  return "";
}

export function checkSize(width, height) {
  if (Math.min(width, height) < LEAST) throw new Unreadable("too_small", "The picture is too small.");
  if (width * height > MOST) throw new Unreadable("too_large", `More than ${MOST / 1e6} million pixels.`);
}

/** { width, height, values, bits, format, notes ... } of a file's bytes. */
export async function decode(bytes) {
  const kind = kindOf(bytes);
  if (kind === "DICOM") return readDicom(bytes, drawn);
  if (kind === "PNG") {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const [depth, colour, , , interlaced] = bytes.subarray(24, 29);
    checkSize(view.getUint32(16), view.getUint32(20));
    if ((depth === 8 || depth === 16) && colour === 0 && !interlaced && !hasChunk(bytes, view, "tRNS")) {
      let image;
      try {
        image = decodePng(bytes);
      } catch {
        throw new Unreadable("damaged", "The PNG is damaged or cut short.");
      }
      if (depth === 8) return { ...image, bits: 8, format: kind, notes: [] };
      const notes = ["rescaled"];
      return { ...image, values: rescale(image.values), bits: 16, format: kind, notes };
    }
    if (depth === 16) throw new Unreadable("unsupported", "PNG of 16 bits with colours or interlacing is not read in the browser. The command line reads it: lungsight predict FILE.");
  }
  if (kind === "TIFF") throw new Unreadable("unsupported", "TIFF is not read in the browser. The command line reads it: lungsight predict FILE. Or save it as PNG.");
  if (!kind) throw new Unreadable("other_kind", "Not an image that can be read: PNG, JPEG, BMP and DICOM are.");
  const image = await drawn(bytes, { PNG: "image/png", JPEG: "image/jpeg", BMP: "image/bmp" }[kind]);
  return { ...image, bits: 8, format: kind };
}

function hasChunk(bytes, view, name) {
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    if (ascii(bytes, at + 4, 4) === name) return true;
  }
  return false;
}

/** Bytes of a picture that the browser knows -> grey by BT.601 as Pillow rounds it, what is transparent on black. */
async function drawn(bytes, type) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type }), { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new Unreadable("damaged", "The picture is damaged or cut short.");
  }
  const { width, height } = bitmap;
  checkSize(width, height);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const values = new Uint8Array(width * height);
  let coloured = 0;
  for (let i = 0; i < values.length; i += 1) {
    const [red, green, blue] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (Math.max(red, green, blue) - Math.min(red, green, blue) > 24) coloured += 1;
    values[i] = red === green && green === blue ? red : (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
  return { width, height, values, notes: coloured > 0.01 * values.length ? ["colour"] : [] };
}
