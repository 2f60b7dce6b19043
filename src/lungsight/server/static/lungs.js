// From a probability map to two lungs at any threshold, by the rules of lungsight.inference.lungs.

export const RIGHT = 1;
export const LEFT = 2;
const MATTERS = 0.05;
const FILLED = 0.05;

/** Pieces of the pixels where `wanted` holds: a number a pixel (0: not wanted), and the area of each. */
function pieces(wanted, width, height, diagonal) {
  const names = new Int32Array(width * height);
  const areas = [0];
  const stack = [];
  for (let start = 0; start < names.length; start += 1) {
    if (!wanted[start] || names[start]) continue;
    const name = areas.length;
    let area = 0;
    names[start] = name;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop();
      area += 1;
      const x = at % width;
      const y = (at - x) / width;
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
    areas.push(area);
  }
  return { names, areas };
}

/** Drop specks and fill holes of a map { width, height, grey }; bytes as in the map, 255 in filled holes. */
export function clean({ width, height, grey }, threshold) {
  const limit = threshold * 255;
  const lung = Uint8Array.from(grey, (value) => value > limit);
  const found = pieces(lung, width, height, true);
  const least = MATTERS * Math.max(0, ...found.areas);
  const cleaned = Float32Array.from(grey);
  let total = 0;
  for (let i = 0; i < cleaned.length; i += 1) {
    if (!lung[i]) continue;
    if (found.areas[found.names[i]] < least) {
      cleaned[i] = 0;
      lung[i] = 0;
    } else total += 1;
  }
  const empty = Uint8Array.from(lung, (value) => 1 - value);
  const gaps = pieces(empty, width, height, false);
  const open = new Set();
  for (let x = 0; x < width; x += 1) open.add(gaps.names[x]).add(gaps.names[(height - 1) * width + x]);
  for (let y = 0; y < height; y += 1) open.add(gaps.names[y * width]).add(gaps.names[y * width + width - 1]);
  for (let i = 0; i < cleaned.length; i += 1) {
    const gap = gaps.names[i];
    if (gap && !open.has(gap) && gaps.areas[gap] <= FILLED * total) cleaned[i] = 255;
  }
  return cleaned;
}

/**
 * Labels at the size of the picture, 0, LEFT or RIGHT: bilinear, then above the threshold, as the server does it.
 * `map` and `sides` are { width, height, grey }; `sides` is 255 where the nearer lung is the right one.
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
      if (above * (1 - share) + below * share > limit) {
        out[y * width + x] = sides.grey[side + nearest[x]] > 127 ? RIGHT : LEFT;
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
