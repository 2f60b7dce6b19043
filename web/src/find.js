// lungsight.inference in JavaScript: lung_masks, plausibility, zones, heart, from a map of the lung network on.

import { components } from "./lungs.js";
import { boundingBox, resize } from "./pixels.js";

export const RIGHT = 1;
export const LEFT = 2;

/** Clean a map { width, height, values } and tell the lungs apart, as `lung_masks.find`; `rule` is cards.rules.lungs. */
export function find(map, threshold, rule) {
  const { width, height } = map;
  const size = width * height;
  const lung = Uint8Array.from(map.values, (value) => value >= threshold);
  const { names, found } = components(lung, width, height, true);
  const areas = found.map((one) => one.area);
  const count = areas.filter((one, name) => name && one >= rule.counted * size).length;
  if (found.length === 1) return { map, side: new Float32Array(size).fill(1), threshold, components: 0 };
  const most = Math.max(...areas);
  const kept = areas.map((one, name) => name > 0 && one >= rule.component * most);
  const cleaned = Float32Array.from(map.values);
  let total = 0;
  for (let i = 0; i < size; i += 1) {
    if (!names[i]) continue;
    if (kept[names[i]]) total += 1;
    else {
      cleaned[i] = 0;
      lung[i] = 0;
    }
  }
  const gaps = components(lung.map((one) => 1 - one), width, height, false);
  const open = new Set([0]);
  for (let x = 0; x < width; x += 1) open.add(gaps.names[x]).add(gaps.names[size - 1 - x]);
  for (let y = 0; y < height; y += 1) open.add(gaps.names[y * width]).add(gaps.names[(y + 1) * width - 1]);
  for (let i = 0; i < size; i += 1) {
    const gap = gaps.names[i];
    if (!open.has(gap) && gaps.found[gap].area <= rule.hole * total) cleaned[i] = 1;
  }
  const mask = Uint8Array.from(cleaned, (value) => value >= threshold);
  const large = areas.filter((_, name) => kept[name]).sort((a, b) => b - a);
  const joined = (large[1] ?? 0) < rule.least * most;
  const side = (joined && byCut(mask, width, height, rule)) || byComponents(names, found, kept, width, height, rule);
  return { map: { width, height, values: cleaned }, side, threshold, components: count };
}

/** Part joined lungs along the shortest cut from top to bottom; null where they are one lung. */
function byCut(mask, width, height, rule) {
  const box = boundingBox({ width, height, values: mask });
  if (!box) return null;
  const [top, left, bottom, right] = box;
  const [rows, columns] = [bottom - top, right - left];
  const is = (y, x) => mask[(top + y) * width + left + x];
  const total = new Float32Array(rows * columns);
  for (let y = 0; y < rows; y += 1) {
    for (let x = 0; x < columns; x += 1) {
      const lean = columns > 1 ? Math.abs(-1 + (2 * x) / (columns - 1)) * 0.01 : 0.01;
      let before = 0;
      if (y) {
        before = total[(y - 1) * columns + x];
        if (x) before = Math.min(before, total[(y - 1) * columns + x - 1]);
        if (x + 1 < columns) before = Math.min(before, total[(y - 1) * columns + x + 1]);
      }
      total[y * columns + x] = is(y, x) + lean + before;
    }
  }
  const least = (y, from, to) => {
    let best = from;
    for (let x = from; x < to; x += 1) if (total[y * columns + x] < total[y * columns + best]) best = x;
    return best;
  };
  const cut = new Array(rows);
  cut[rows - 1] = least(rows - 1, 0, columns);
  for (let y = rows - 2; y >= 0; y -= 1) cut[y] = least(y, Math.max(cut[y + 1] - 1, 0), Math.min(cut[y + 1] + 2, columns));
  let [crossed, first, all] = [0, 0, 0];
  for (let y = 0; y < rows; y += 1) {
    for (let x = 0; x < columns; x += 1) {
      if (!is(y, x)) continue;
      all += 1;
      if (x === cut[y]) crossed += 1;
      else if (x < cut[y]) first += 1;
    }
  }
  const second = all - crossed - first;
  if (crossed > rule.bridge * rows || Math.min(first, second) < rule.least * Math.max(first, second)) return null;
  const side = new Float32Array(width * height);
  for (let y = 0; y < height; y += 1) {
    const place = left + cut[Math.min(Math.max(y - top, 0), rows - 1)];
    for (let x = 0; x < width; x += 1) side[y * width + x] = Math.min(1, Math.max(-1, place - x));
  }
  return side;
}

function byComponents(names, found, kept, width, height, rule) {
  const centre = (name) => found[name].columns / found[name].area;
  const order = kept.flatMap((one, name) => (one ? [name] : [])).sort((a, b) => centre(a) - centre(b));
  const gaps = order.slice(1).map((name, i) => centre(name) - centre(order[i]));
  const widest = gaps.length ? gaps.indexOf(Math.max(...gaps)) : order.length;
  const first = order.slice(0, widest + 1);
  const second = order.slice(first.length);
  const sum = (some) => some.reduce((all, name) => all + found[name].area, 0);
  const [smaller, larger] = [sum(first), sum(second)].sort((a, b) => a - b);
  if (!second.length || Math.max(...gaps) < rule.apart * width || smaller < rule.least * larger) {
    const middle = order.reduce((all, name) => all + found[name].columns, 0) / sum(order);
    return new Float32Array(names.length).fill(middle < (width - 1) / 2 ? 1 : -1);
  }
  const [toRight, toLeft] = [first, second].map((some) => distance(names, new Set(some), width, height));
  return toRight.map((value, i) => Math.min(1, Math.max(-1, toLeft[i] - value)));
}

/** Distance to the nearest pixel of `lung` by steps of 1, 1.4 and 2.1969 (Borgefors 1986; OpenCV's DIST_L2 with 5 x 5). */
function distance(names, lung, width, height) {
  const far = 1e6;
  const out = new Float32Array(names.length).fill(far);
  const before = [[-1, -2, 2.1969], [1, -2, 2.1969], [-2, -1, 2.1969], [-1, -1, 1.4], [0, -1, 1], [1, -1, 1.4], [2, -1, 2.1969], [-1, 0, 1]];
  const pass = (y, x, sign) => {
    const at = y * width + x;
    if (lung.has(names[at])) {
      out[at] = 0;
      return;
    }
    let best = out[at];
    for (const [dx, dy, step] of before) {
      const [column, row] = [x + sign * dx, y + sign * dy];
      if (column < 0 || column >= width || row < 0 || row >= height) continue;
      best = Math.min(best, out[row * width + column] + step);
    }
    out[at] = best;
  };
  for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) pass(y, x, 1);
  for (let y = height - 1; y >= 0; y -= 1) for (let x = width - 1; x >= 0; x -= 1) pass(y, x, -1);
  return out;
}

/** Labels at the network's size. */
export const labelsOf = ({ map, side, threshold }) => ({
  width: map.width,
  height: map.height,
  values: Uint8Array.from(map.values, (value, i) => (value >= threshold ? (side[i] < 0 ? LEFT : RIGHT) : 0)),
});

const areasOf = (values) => [RIGHT, LEFT].map((label) => values.reduce((sum, one) => sum + (one === label), 0));

const median = (values) => {
  const sorted = Float32Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

/** Standard deviation of values. */
export function deviation(values) {
  let [sum, squares] = [0, 0];
  for (const value of values) sum += value;
  const mean = sum / values.length;
  for (const value of values) squares += (value - mean) ** 2;
  return Math.sqrt(squares / values.length);
}

/** About 1 for a chest X-ray, about -1 for its negative, as `polarity.polarity`; `rule` is the table `polarity` of cards.json. */
export function polarity(image, rule) {
  const small = resize(image, rule.side, rule.side).values;
  const spread = deviation(small);
  if (!(spread > 1e-3)) return 0;
  const mean = small.reduce((sum, one) => sum + one, 0) / small.length;
  return small.reduce((sum, one, i) => sum + (one - mean) * rule.template[i], 0) / spread / rule.scale;
}

/** Codes of what is implausible, as `plausibility.check`; `rules` is cards.rules, `grey` cards.polarity. */
export function flagsOf(lungs, image, { flags: rule }, grey) {
  const labels = labelsOf(lungs);
  const { width, height, values } = labels;
  const [smaller, larger] = areasOf(values).sort((a, b) => a - b);
  const fraction = (smaller + larger) / values.length;
  if (fraction < rule.no_lung) return ["no_lungs"];
  const flags = [];
  if (smaller / larger < rule.one_lung) flags.push("one_lung");
  else if (smaller / larger < rule.asymmetric) flags.push("asymmetric");
  if (fraction < rule.small) flags.push("small");
  if (fraction > rule.large) flags.push("large");
  const edge = (length, at) => Array.from({ length }, (_, i) => values[at(i)] > 0).filter(Boolean).length / length;
  const edges = [
    edge(width, (x) => x), edge(width, (x) => values.length - 1 - x),
    edge(height, (y) => y * width), edge(height, (y) => (y + 1) * width - 1),
  ];
  if (Math.max(...edges) > rule.edge) flags.push("at_edge");
  if (lungs.components > rule.components) flags.push("many_components");
  const spread = baseSpread(labels);
  if (spread !== null && spread < rule.base_spread) flags.push("upside_down");
  if (polarity(image, grey) < 0 || contrast(labels, image) > rule.contrast) flags.push("inverted");
  return flags;
}

function contrast({ width, height, values }, image) {
  const reach = Math.floor(Math.max(width, height) / 20);
  const wide = new Uint8Array(values.length);
  const grown = new Uint8Array(values.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (values[y * width + x]) wide.fill(1, y * width + Math.max(0, x - reach), y * width + Math.min(width, x + reach + 1));
    }
  }
  for (let y = 0; y < height; y += 1) {
    for (let dy = Math.max(0, y - reach); dy <= Math.min(height - 1, y + reach); dy += 1) {
      for (let x = 0; x < width; x += 1) grown[y * width + x] |= wide[dy * width + x];
    }
  }
  const spread = deviation(image.values);
  const inside = image.values.filter((_, i) => values[i]);
  const rim = image.values.filter((_, i) => grown[i] && !values[i]);
  if (!inside.length || !rim.length || spread < 1e-3) return 0;
  return (median(inside) - median(rim)) / spread;
}

function largest(values, width, height, label) {
  const { names, found } = components(values.map((one) => Number(one === label)), width, height, true);
  if (found.length === 1) return null;
  let best = 1;
  for (let name = 2; name < found.length; name += 1) if (found[name].area > found[best].area) best = name;
  return { ...found[best], is: (i) => names[i] === best };
}

function baseSpread({ width, height, values }) {
  const ends = [RIGHT, LEFT].map((label) => {
    const lung = largest(values, width, height, label);
    if (!lung) return null;
    const quarter = Math.max(Math.floor((lung.bottom - lung.top) / 4), 1);
    const centre = (from, to) => {
      let [sum, count] = [0, 0];
      for (let i = from * width; i < to * width; i += 1) {
        if (lung.is(i)) [sum, count] = [sum + (i % width), count + 1];
      }
      return sum / count;
    };
    return [centre(lung.top, lung.top + quarter), centre(lung.bottom - quarter, lung.bottom)];
  });
  if (!ends[0] || !ends[1]) return null;
  const apart = ends[1][0] - ends[0][0];
  return apart > 0 ? (ends[1][1] - ends[0][1]) / apart : null;
}

/** Zones 1 to 6 of labels, as `zones.zones`; a lung of fewer than `least` rows has none. */
export function zonesOf({ width, height, values }, least) {
  const out = new Uint8Array(values.length);
  for (const [label, first] of [[RIGHT, 1], [LEFT, 4]]) {
    const rows = [];
    for (let y = 0; y < height; y += 1) if (values.subarray(y * width, (y + 1) * width).includes(label)) rows.push(y);
    if (rows.length < least) continue;
    const third = (rows.at(-1) + 1 - rows[0]) / 3;
    for (let i = 0; i < values.length; i += 1) {
      if (values[i] !== label) continue;
      const y = Math.floor(i / width);
      out[i] = first + (y >= rows[0] + third) + (y >= rows[0] + 2 * third);
    }
  }
  return out;
}

/** Whether the picture, or what its header says of it, seems mirrored, as `sides.on_wrong_side`; `rule` is cards.sides,
 * `size` cards.rules.heart. */
export function onWrongSide(heartMap, { width, height, values }, image, mirrored, rule, size) {
  const heart = largest(Uint8Array.from(heartMap, (value) => value >= rule.sure), width, height, 1);
  if (!heart || !measurable(heart, values, size)) return false;
  const centre = (label) => {
    let [sum, count] = [0, 0];
    for (let i = 0; i < values.length; i += 1) if (values[i] === label) [sum, count] = [sum + (i % width), count + 1];
    return sum / count;
  };
  const [first, second] = [centre(RIGHT), centre(LEFT)];
  if (!(second > first)) return false;
  const turn = mirrored ? -1 : 1;
  const offset = (-turn * (heart.columns / heart.area - (first + second) / 2)) / (second - first);
  return rule.heart[0] < offset && offset < rule.heart[1] && turn * sidedness(image, rule) < rule.picture;
}

/** About 1 for a chest X-ray, about -1 for its mirror image, as `sides.sidedness`. */
export function sidedness(image, rule) {
  const { side } = rule;
  const small = resize(image, side, side).values;
  const spread = deviation(small);
  if (!(spread > 1e-3)) return 0;
  let sum = 0;
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side / 2; x += 1) sum += (small[y * side + x] - small[(y + 1) * side - 1 - x]) * rule.template[(y * side) / 2 + x];
  }
  return sum / spread / rule.scale;
}

/** Whether heart and lungs are large enough, and the lungs alike enough, to measure by. */
function measurable(heart, values, rule) {
  const [smaller, larger] = areasOf(values).sort((a, b) => a - b);
  return heart.area >= rule.area * values.length && larger > 0 && smaller >= rule.side * larger;
}

/**
 * The cardiothoracic ratio of the heart's map and labels, or null, as `heart.cardiothoracic`: { ratio, heart, chest,
 * doubts }, the two widths as [row, first column, column behind the last]. `rule` is cards.rules.heart, heart is what
 * reaches `threshold`, `aspect` is height over width of a pixel.
 */
export function ratioOf(heartMap, labels, threshold, rule, aspect = 1) {
  const { width, height, values } = labels;
  const heart = largest(Uint8Array.from(heartMap, (value) => value >= threshold), width, height, 1);
  if (!heart || !measurable(heart, values, rule)) return null;
  let chest = null;
  for (let y = 0; y < height; y += 1) {
    let [start, stop] = [-1, -1];
    for (let x = 0; x < width; x += 1) {
      if (!values[y * width + x]) continue;
      if (start < 0) start = x;
      stop = x + 1;
    }
    if (start >= 0 && (!chest || stop - start > chest[2] - chest[1])) chest = [y, start, stop];
  }
  let [start, stop, top, bottom] = [width, 0, height, 0];
  const rows = new Int32Array(height);
  for (let i = 0; i < values.length; i += 1) {
    if (!heart.is(i)) continue;
    const y = Math.floor(i / width);
    [start, stop] = [Math.min(start, i % width), Math.max(stop, (i % width) + 1)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
    rows[y] += 1;
  }
  if (heart.area / ((stop - start) * (bottom - top)) < rule.fill) return null;
  const across = chest[2] - chest[1];
  const ratio = (stop - start) / across;
  if (ratio < rule.plausible[0] || ratio > rule.plausible[1] || start < chest[1] || stop > chest[2]) return null;
  return { ratio, heart: [rows.indexOf(Math.max(...rows)), start, stop], chest, doubts: doubtsOf(labels, across, aspect, rule) };
}

/** What the lungs' shape says against a ratio. */
function doubtsOf({ width, height, values }, across, aspect, rule) {
  const found = [RIGHT, LEFT].map((label) => {
    const count = (y) => values.subarray(y * width, (y + 1) * width).reduce((sum, one) => sum + (one === label), 0);
    let [first, last] = [-1, -1];
    for (let y = 0; y < height; y += 1) if (count(y)) [first, last] = [first < 0 ? y : first, y];
    return { tall: last - first + 1, wide: Math.max(1, count((first + last) >> 1)) };
  });
  const [tall, wide] = ["tall", "wide"].map((name) => found.map((one) => one[name]));
  const doubts = [];
  if ((Math.max(...tall) * aspect) / across < rule.short) doubts.push(rule.words.short);
  if (Math.max(...wide) / Math.min(...wide) > rule.uneven) doubts.push(rule.words.uneven);
  return doubts;
}
