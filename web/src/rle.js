// RLE of DICOM (PS3.5 annex G): planes of bytes, the highest first, each packed as PackBits packs.

/** The bytes of `count` values of `size` bytes each, little endian; null where the frame is cut short. */
export function unpackRle(frame, count, size) {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 64 || view.getUint32(0, true) !== size) return null;
  const out = new Uint8Array(count * size);
  for (let plane = 0; plane < size; plane += 1) {
    let at = view.getUint32(4 + 4 * plane, true);
    const end = plane + 1 < size ? Math.min(view.getUint32(8 + 4 * plane, true), frame.length) : frame.length;
    let filled = 0;
    while (at < end && filled < count) {
      const head = frame[at];
      const run = head < 128 ? head + 1 : 257 - head;
      at += 1;
      if (head !== 128) {
        for (let i = 0; i < run && filled < count; i += 1) {
          out[filled * size + size - 1 - plane] = frame[head < 128 ? at + i : at];
          filled += 1;
        }
        at += head < 128 ? run : 1;
      }
    }
    if (filled < count || at > end) return null;
  }
  return out;
}
