// lungsight.preprocess in JavaScript, to the rounding of OpenCV: an image is { width, height, values }, bone bright,
// values a Uint8Array (0 to 255) or a Float32Array (0 to 1).

const made = (like, width, height) => ({ width, height, values: new like.values.constructor(width * height) });
const whole = (image) => image.values instanceof Uint8Array;

/** To the nearest whole number, halves to the even one, as C's rint. */
export const rint = (value) => {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return Math.round(value);
  return down % 2 ? down + 1 : down;
};

/** Both sides are even and at least four times as long, and one is no multiple of its new length. */
const halved = (image, width, height) =>
  [[image.width, width], [image.height, height]].every(([have, want]) => have % 2 === 0 && have >= 4 * want) &&
  (image.width % width > 0 || image.height % height > 0);

/** Area averaging where both sides shrink, much larger images halved first; linear otherwise, as `resize_image`. */
export function resize(image, width, height) {
  if (image.width === width && image.height === height) return image;
  while (halved(image, width, height)) image = area(image, image.width / 2, image.height / 2);
  const shrinks = image.width >= width && image.height >= height;
  return shrinks ? area(image, width, height) : linear(image, width, height);
}

/** For each of `to` cells the cells of `from` that it covers, and their weights, as OpenCV's computeResizeAreaTab. */
function areaTable(from, to) {
  const scale = from / to;
  const cells = [];
  for (let cell = 0; cell < to; cell += 1) {
    const start = cell * scale;
    const stop = start + scale;
    const size = Math.min(scale, from - start);
    const last = Math.min(Math.floor(stop), from - 1);
    const first = Math.min(Math.ceil(start), last);
    const parts = [];
    if (first - start > 1e-3) parts.push([first - 1, Math.fround((first - start) / size)]);
    for (let at = first; at < last; at += 1) parts.push([at, Math.fround(1 / size)]);
    if (stop - last > 1e-3) parts.push([last, Math.fround(Math.min(Math.min(stop - last, 1), size) / size)]);
    cells.push(parts);
  }
  return cells;
}

function area(image, width, height) {
  const out = made(image, width, height);
  const [across, down] = [image.width / width, image.height / height];
  const { values } = image;
  if (Number.isInteger(across) && Number.isInteger(down)) {
    const share = Math.fround(1 / (across * down));
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        let sum = 0;
        for (let dy = 0; dy < down; dy += 1) {
          const at = (y * down + dy) * image.width + x * across;
          for (let dx = 0; dx < across; dx += 1) sum += values[at + dx];
        }
        if (!whole(image)) out.values[y * width + x] = sum * share;
        else if (across === 2 && down === 2) out.values[y * width + x] = (sum + 2) >> 2;
        else out.values[y * width + x] = rint(Math.fround(sum * share));
      }
    }
    return out;
  }
  const columns = areaTable(image.width, width);
  const rows = areaTable(image.height, height);
  const line = new Float32Array(width);
  const sum = new Float32Array(width);
  for (let y = 0; y < height; y += 1) {
    sum.fill(0);
    for (const [row, weight] of rows[y]) {
      const at = row * image.width;
      for (let x = 0; x < width; x += 1) {
        let total = 0;
        for (const [column, part] of columns[x]) total = Math.fround(total + Math.fround(values[at + column] * part));
        line[x] = total;
      }
      for (let x = 0; x < width; x += 1) sum[x] += Math.fround(line[x] * weight);
    }
    for (let x = 0; x < width; x += 1) out.values[y * width + x] = whole(image) ? Math.min(255, rint(sum[x])) : sum[x];
  }
  return out;
}

/** Left neighbours and the right ones' shares; at the edges shares of columns are 0, those of rows stay (OpenCV). */
function linearTable(from, to, clamped) {
  const at = new Int32Array(to);
  const share = new Float32Array(to);
  const scale = 1 / (to / from);
  for (let cell = 0; cell < to; cell += 1) {
    const place = Math.fround((cell + 0.5) * scale - 0.5);
    let index = Math.floor(place);
    let rest = Math.fround(place - index);
    if (clamped && index < 0) [index, rest] = [0, 0];
    if (clamped && index >= from - 1) [index, rest] = [from - 1, 0];
    at[cell] = index;
    share[cell] = rest;
  }
  return { at, share };
}

/** Bilinear; whole numbers with 11 bits of weight, as OpenCV. */
export function linear(image, width, height) {
  const out = made(image, width, height);
  const columns = linearTable(image.width, width, true);
  const rows = linearTable(image.height, height, false);
  const { values } = image;
  const fixed = whole(image);
  const weight = (share) => (fixed ? rint(share * 2048) : share);
  for (let y = 0; y < height; y += 1) {
    const [first, last] = [0, image.height - 1];
    const upper = Math.min(Math.max(rows.at[y], first), last) * image.width;
    const lower = Math.min(Math.max(rows.at[y] + 1, first), last) * image.width;
    const v1 = weight(rows.share[y]);
    const v0 = weight(Math.fround(1 - rows.share[y]));
    for (let x = 0; x < width; x += 1) {
      const c = columns.at[x];
      const d = Math.min(c + 1, image.width - 1);
      const h1 = weight(columns.share[x]);
      const h0 = weight(Math.fround(1 - columns.share[x]));
      const above = values[upper + c] * h0 + values[upper + d] * h1;
      const below = values[lower + c] * h0 + values[lower + d] * h1;
      if (fixed) {
        const sum = ((v0 * (above >> 4)) >> 16) + ((v1 * (below >> 4)) >> 16);
        out.values[y * width + x] = Math.min(255, Math.max(0, (sum + 2) >> 2));
      } else out.values[y * width + x] = Math.fround(above) * v0 + Math.fround(below) * v1;
    }
  }
  return out;
}

/** Values in [0, 1]. */
export function toUnit(image) {
  if (!whole(image)) return image;
  return { ...image, values: Float32Array.from(image.values, (value) => Math.fround(value) / 255) };
}

/** The mask { width, height, values of 0 and 1 } at another size: as a grey image, then above one half. */
export function resizeMask(mask, width, height) {
  if (mask.width === width && mask.height === height) return mask;
  const grey = resize({ ...mask, values: Float32Array.from(mask.values) }, width, height);
  return { width, height, values: Uint8Array.from(grey.values, (value) => value > 0.5) };
}

/** Percentiles (0 to 100) with linear interpolation, as NumPy's. */
export function percentiles(values, wanted) {
  const sorted = Float32Array.from(values).sort();
  return wanted.map((part) => {
    const at = (part / 100) * (sorted.length - 1);
    const index = Math.floor(at);
    const next = Math.min(index + 1, sorted.length - 1);
    return sorted[index] + (sorted[next] - sorted[index]) * (at - index);
  });
}

/** Grey values of any range to [0, 1] from their 0.5th to their 99.5th percentile, as `rescale_intensity`. */
export function rescale(values, valid = null) {
  const counted = valid && valid.some(Boolean) ? values.filter((_, i) => valid[i]) : values;
  let [low, high] = percentiles(counted, [0.5, 99.5]);
  if (high <= low) {
    [low, high] = [Infinity, -Infinity];
    for (const value of counted) [low, high] = [Math.min(low, value), Math.max(high, value)];
  }
  if (high <= low) return new Float32Array(values.length);
  const [least, range] = [Math.fround(low), Math.fround(high - low)];
  return Float32Array.from(values, (value) => Math.min(1, Math.max(0, Math.fround(Math.fround(value) - least) / range)));
}

/** A mask grown by a fraction of its longer side with OpenCV's ellipse. */
export function dilate(mask, fraction) {
  const { width, height, values } = mask;
  const radius = rint(fraction * Math.max(width, height));
  if (radius < 1) return mask;
  const reach = [];
  for (let dy = -radius; dy <= radius; dy += 1) {
    reach.push([dy, rint(radius * Math.sqrt((radius * radius - dy * dy) / (radius * radius)))]);
  }
  const out = new Uint8Array(width * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!values[y * width + x]) continue;
      for (const [dy, dx] of reach) {
        if (y + dy < 0 || y + dy >= height) continue;
        out.fill(1, (y + dy) * width + Math.max(0, x - dx), (y + dy) * width + Math.min(width, x + dx + 1));
      }
    }
  }
  return { width, height, values: out };
}

/** (top, left, bottom, right) of the pixels that are not 0; null where there is none. */
export function boundingBox({ width, height, values }) {
  let [top, left, bottom, right] = [height, width, 0, 0];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!values[y * width + x]) continue;
      [top, left] = [Math.min(top, y), Math.min(left, x)];
      [bottom, right] = [Math.max(bottom, y + 1), Math.max(right, x + 1)];
    }
  }
  return bottom ? [top, left, bottom, right] : null;
}

/** What the diagnosis network sees: the lungs alone, cut to their box, rescaled inside; null for an empty mask. */
export function cropToLungs(image, mask, width, height, dilation) {
  const grown = dilate(mask, dilation);
  const box = boundingBox(grown);
  if (!box) return null;
  const [top, left, bottom, right] = box;
  const part = { width: right - left, height: bottom - top, values: new Float32Array((right - left) * (bottom - top)) };
  const inside = new Uint8Array(part.values.length);
  const unit = toUnit(image).values;
  for (let y = 0; y < part.height; y += 1) {
    for (let x = 0; x < part.width; x += 1) {
      const from = (top + y) * image.width + left + x;
      part.values[y * part.width + x] = unit[from];
      inside[y * part.width + x] = grown.values[from];
    }
  }
  const [low, high] = percentiles(part.values.filter((_, i) => inside[i]), [1, 99]);
  const range = Math.max(high - low, 1e-3);
  for (let i = 0; i < inside.length; i += 1) {
    part.values[i] = inside[i] ? Math.min(1, Math.max(0, (part.values[i] - low) / range)) : 0;
  }
  return { ...resize(part, width, height), box };
}
