// From a probability map to two lungs at any threshold, by the rules of lungsight.inference.lungs.

/** Labels, the patient's, as lungmask has them. */
export const RIGHT = 1;
export const LEFT = 2;
const MIN_ROWS = 6;
const MIN_COMPONENT_FRACTION = 0.05;
const MAX_HOLE_FRACTION = 0.05;

/** Connected components: { names (0: none), areas, sums of columns, boxes }, in the order of their first pixels. */
export function components(wanted, width, height, diagonal) {
  const names = new Int32Array(width * height);
  const found = [{ area: 0 }];
  const stack = [];
  for (let start = 0; start < names.length; start += 1) {
    if (!wanted[start] || names[start]) continue;
    const name = found.length;
    const one = { area: 0, columns: 0, top: height, bottom: 0 };
    names[start] = name;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop();
      const x = at % width;
      const y = (at - x) / width;
      one.area += 1;
      one.columns += x;
      one.top = Math.min(one.top, y);
      one.bottom = Math.max(one.bottom, y + 1);
      for (let dy = -1; dy <= 1; dy += 1) {
        for (let dx = -1; dx <= 1; dx += 1) {
          if ((!diagonal && dx && dy) || x + dx < 0 || x + dx >= width || y + dy < 0 || y + dy >= height) continue;
          const next = at + dy * width + dx;
          if (wanted[next] && !names[next]) {
            names[next] = name;
            stack.push(next);
          }
        }
      }
    }
    found.push(one);
  }
  return { names, found };
}

/** Drop specks and fill holes of a map { width, height, values }; bytes as in the map, 255 in filled holes. */
export function clean({ width, height, values: grey }, threshold) {
  const limit = threshold * 255;
  const lung = Uint8Array.from(grey, (value) => value >= limit);
  const { names, found } = components(lung, width, height, true);
  const least = MIN_COMPONENT_FRACTION * Math.max(...found.map((one) => one.area));
  const cleaned = Float32Array.from(grey);
  let total = 0;
  for (let i = 0; i < cleaned.length; i += 1) {
    if (!lung[i]) continue;
    if (found[names[i]].area < least) {
      cleaned[i] = 0;
      lung[i] = 0;
    } else total += 1;
  }
  const empty = Uint8Array.from(lung, (value) => 1 - value);
  const gaps = components(empty, width, height, false);
  const open = new Set();
  for (let x = 0; x < width; x += 1) open.add(gaps.names[x]).add(gaps.names[(height - 1) * width + x]);
  for (let y = 0; y < height; y += 1) open.add(gaps.names[y * width]).add(gaps.names[y * width + width - 1]);
  for (let i = 0; i < cleaned.length; i += 1) {
    const gap = gaps.names[i];
    if (gap && !open.has(gap) && gaps.found[gap].area <= MAX_HOLE_FRACTION * total) cleaned[i] = 255;
  }
  return cleaned;
}

/**
 * Labels at the size of the picture, 0, LEFT or RIGHT: bilinear, then at or above the threshold, as the server does it.
 * `map` and `sides` are { width, height, values }; `sides` is 255 where the nearer lung is the right one.
 */
export function labels(map, sides, threshold, width, height) {
  const cleaned = clean(map, threshold);
  const limit = threshold * 255;
  const out = new Uint8Array(width * height);
  const columns = new Int32Array(width);
  const shares = new Float32Array(width);
  const nearest = new Int32Array(width);
  for (let x = 0; x < width; x += 1) {
    const at = Math.min(Math.max(((x + 0.5) * map.width) / width - 0.5, 0), map.width - 1);
    columns[x] = Math.min(Math.floor(at), map.width - 2);
    shares[x] = at - columns[x];
    nearest[x] = Math.min(Math.floor(((x + 0.5) * map.width) / width), map.width - 1);
  }
  for (let y = 0; y < height; y += 1) {
    const at = Math.min(Math.max(((y + 0.5) * map.height) / height - 0.5, 0), map.height - 1);
    const row = Math.min(Math.floor(at), map.height - 2);
    const share = at - row;
    const upper = row * map.width;
    const lower = upper + map.width;
    const side = Math.min(Math.floor(((y + 0.5) * map.height) / height), map.height - 1) * map.width;
    for (let x = 0; x < width; x += 1) {
      const c = columns[x];
      const s = shares[x];
      const above = cleaned[upper + c] * (1 - s) + cleaned[upper + c + 1] * s;
      const below = cleaned[lower + c] * (1 - s) + cleaned[lower + c + 1] * s;
      if (above * (1 - share) + below * share >= limit) {
        out[y * width + x] = sides.values[side + nearest[x]] > 127 ? RIGHT : LEFT;
      }
    }
  }
  return out;
}

/** Pixels of the right and of the left lung. */
export function areas(found) {
  let right = 0;
  let left = 0;
  for (const label of found) {
    if (label === RIGHT) right += 1;
    else if (label === LEFT) left += 1;
  }
  return { right, left };
}

/** Rows of the apex, of the two lines between the zones and of the base of one lung, thirds of its height as
 * lungsight.inference.zones has them; null where it is absent or too small. */
export function zoneLines({ width, height, values }, label) {
  let [first, last] = [-1, -1];
  for (let y = 0; y < height; y += 1) {
    if (values.subarray(y * width, (y + 1) * width).includes(label)) {
      if (first < 0) first = y;
      last = y;
    }
  }
  if (first < 0 || last - first + 1 < MIN_ROWS) return null;
  const third = (last + 1 - first) / 3;
  return [first, first + third, first + 2 * third, last + 1];
}

/** Pixels of zones A to F of labels; null where a lung has no zones. */
export function zoneAreas(found) {
  const lines = { [RIGHT]: zoneLines(found, RIGHT), [LEFT]: zoneLines(found, LEFT) };
  if (!lines[RIGHT] || !lines[LEFT]) return null;
  const areas = [0, 0, 0, 0, 0, 0];
  found.values.forEach((label, i) => {
    if (!label) return;
    const y = Math.floor(i / found.width);
    areas[(label === RIGHT ? 0 : 3) + (y >= lines[label][1]) + (y >= lines[label][2])] += 1;
  });
  return areas;
}

/** Middle of each zone of one lung, and the ends of the two lines between them, in cells. */
export function zonePlaces({ width, values }, label, lines) {
  const places = [0, 1, 2].map((zone) => {
    const row = Math.floor((lines[zone] + lines[zone + 1]) / 2);
    const cells = values.subarray(row * width, (row + 1) * width);
    return [(cells.indexOf(label) + cells.lastIndexOf(label) + 1) / 2, row + 0.5];
  });
  const ends = [1, 2].map((line) => {
    const row = Math.round(lines[line]);
    const cells = values.subarray(row * width, (row + 1) * width);
    return [[cells.indexOf(label), row], [cells.lastIndexOf(label) + 1, row]];
  });
  return { places, ends };
}

/** Outlines of the lungs of one label as a path in the file's pixels: marching squares, half a cell inside the mask. */
export function outline({ width, height, values }, label, across, down) {
  const path = new Path2D();
  const is = (x, y) => x >= 0 && y >= 0 && x < width && y < height && values[y * width + x] === label;
  const point = (x, y) => [(x + 0.5) * across, (y + 0.5) * down];
  const line = (x1, y1, x2, y2) => { path.moveTo(...point(x1, y1)); path.lineTo(...point(x2, y2)); };
  for (let y = -1; y < height; y += 1) {
    for (let x = -1; x < width; x += 1) {
      const cell = (is(x, y) ? 8 : 0) + (is(x + 1, y) ? 4 : 0) + (is(x + 1, y + 1) ? 2 : 0) + (is(x, y + 1) ? 1 : 0);
      if (cell === 0 || cell === 15) continue;
      const [top, right, bottom, left] = [[x + 0.5, y], [x + 1, y + 0.5], [x + 0.5, y + 1], [x, y + 0.5]];
      if (cell === 1 || cell === 14) line(...left, ...bottom);
      else if (cell === 2 || cell === 13) line(...bottom, ...right);
      else if (cell === 3 || cell === 12) line(...left, ...right);
      else if (cell === 4 || cell === 11) line(...top, ...right);
      else if (cell === 6 || cell === 9) line(...top, ...bottom);
      else if (cell === 7 || cell === 8) line(...left, ...top);
      else if (cell === 5) { line(...left, ...top); line(...bottom, ...right); }
      else { line(...left, ...bottom); line(...top, ...right); }
    }
  }
  return path;
}

/**
 * Paint a disc (middle and radius in cells) of lung, or of none, into labels. What is added belongs to the nearer lung,
 * as `sides` { width, height, values } of the network's map says.
 */
export function paint(painted, x, y, radius, add, sides) {
  const { width, height, values } = painted;
  for (let row = Math.max(0, Math.ceil(y - radius)); row <= Math.min(height - 1, y + radius); row += 1) {
    for (let column = Math.max(0, Math.ceil(x - radius)); column <= Math.min(width - 1, x + radius); column += 1) {
      if ((column - x) ** 2 + (row - y) ** 2 > radius * radius) continue;
      const at = row * width + column;
      if (!add) values[at] = 0;
      else if (!values[at]) {
        const side = sides.values[Math.floor((row * sides.height) / height) * sides.width + Math.floor((column * sides.width) / width)];
        values[at] = side > 127 ? RIGHT : LEFT;
      }
    }
  }
}

/** A server's mask at the size of the file, with what was changed by hand put in: cells where `edited` is not `automatic`. */
export function corrected(mask, automatic, edited) {
  const out = mask.values.slice();
  for (let y = 0; y < mask.height; y += 1) {
    const row = Math.floor((y * edited.height) / mask.height) * edited.width;
    for (let x = 0; x < mask.width; x += 1) {
      const at = row + Math.floor((x * edited.width) / mask.width);
      if (edited.values[at] !== automatic.values[at]) out[y * mask.width + x] = edited.values[at];
    }
  }
  return out;
}
