// The picture: grey values through a window, lungs, heat map; zoom, pan, turn, flip, ruler and brush. Places are in the
// file's pixels; one matrix takes them to the screen.

import { LEFT, outline, RIGHT, zoneLines, zonePlaces } from "./lungs.js";
import { ratioWords, severityWords } from "./numbers.js";
import { shades } from "./picture.js";

export const COLOURS = { [RIGHT]: [86, 180, 233], [LEFT]: [230, 159, 0] };
const NEITHER = [204, 121, 167];
/** A zone's shade, the stronger the higher its score, which stands in it as a number too. */
const SEVERITY = [213, 54, 96];
const SHADE = 0.55;
const HIGHEST = 3;
const ZONES = { [RIGHT]: ["A", "B", "C"], [LEFT]: ["D", "E", "F"] };
const HEART = "#ffd84d";
const CHEST = "#78dcc8";
const RAISED = [197, 27, 125];
const LOWERED = [77, 146, 33];
const MOST = 40;

function surface(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  return { canvas, context: canvas.getContext("2d"), image: new ImageData(width, height) };
}

const rgb = (colour) => `rgb(${colour.join(" ")})`;

function stroke(context, from, to, colour, width) {
  for (const [shade, wide] of [["#000", width + 2], [colour, width]]) {
    context.strokeStyle = shade;
    context.lineWidth = wide;
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
  }
}

function write(context, words, { x, y }, colour, size, align) {
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textAlign = align;
  context.textBaseline = "middle";
  context.lineWidth = size / 3.5;
  context.lineJoin = "round";
  context.strokeStyle = "#000";
  context.fillStyle = colour;
  context.strokeText(words, x, y);
  context.fillText(words, x, y);
}

export class Viewer {
  /** `on` is told: window(dx, dy), moved(), paint(x, y, add, first), ruler(from, to), and marked() once either is done. */
  constructor(canvas, on) {
    this.canvas = canvas;
    this.on = on;
    this.context = canvas.getContext("2d");
    this.look = { opacity: 0.2, outline: true, heat: false, zones: true, widths: true, invert: false, center: 128, width: 256, oneColour: false };
    this.tool = "move";
    this.film = null;
    this.place = { scale: 1, x: 0, y: 0, turns: 0, flip: false };
    this.pointers = new Map();
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(canvas);
    this.listen();
  }

  close() {
    this.watcher.disconnect();
    this.film = null;
  }

  /** Show a film: `grey` of picture.js over a file of `size` { width, height }. */
  show(grey, size) {
    this.film = { grey, size };
    this.base = surface(grey.width, grey.height);
    this.lungs = null;
    this.heat = null;
    this.ruler = null;
    this.resize();
    Object.assign(this.place, { turns: 0, flip: false });
    this.fit();
  }

  change(look) {
    const before = { ...this.look };
    Object.assign(this.look, look);
    if (!this.film) return;
    const changed = (...names) => names.some((name) => before[name] !== this.look[name]);
    if (!this.film.painted || changed("center", "width", "invert")) this.paintBase();
    if (this.lungs && changed("opacity", "heat", "oneColour", "zones")) this.paintLungs();
    this.draw();
  }

  paintBase() {
    const { grey } = this.film;
    const table = Uint32Array.from(shades(grey, this.look), (shade) => 0xff000000 | (shade * 0x010101));
    const pixels = new Uint32Array(this.base.image.data.buffer);
    const { values } = grey;
    for (let i = 0; i < values.length; i += 1) pixels[i] = table[values[i]];
    this.base.context.putImageData(this.base.image, 0, 0);
    this.film.painted = true;
  }

  /**
   * Labels { width, height, values } over the whole file, null for none, and what was measured: `zones` whether they mean
   * something, `severity` of the six (empty: cannot tell), `heart` and `chest` [row, start, stop] in fractions, `ratio`.
   */
  setLungs(found, measures = null) {
    this.measures = measures;
    this.lungs = found && { ...surface(found.width, found.height), ...found };
    if (found) {
      const [across, down] = [this.film.size.width / found.width, this.film.size.height / found.height];
      this.lungs.paths = [RIGHT, LEFT].map((label) => [label, outline(found, label, across, down)]);
      this.lungs.lines = Object.fromEntries([RIGHT, LEFT].map((label) => [label, measures?.zones ? zoneLines(found, label) : null]));
      this.paintLungs();
    }
    this.draw();
  }

  colour(label) {
    return this.look.oneColour ? NEITHER : COLOURS[label];
  }

  paintLungs() {
    const { values, image, context } = this.lungs;
    // Over the heat map a tint would be a third colour: the outline alone.
    const tint = this.look.heat && this.heat ? 0 : Math.round(this.look.opacity * 255);
    const colours = new Uint32Array(3);
    for (const label of [RIGHT, LEFT]) {
      const [red, green, blue] = this.colour(label);
      colours[label] = ((tint << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    }
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < values.length; i += 1) pixels[i] = colours[values[i]];
    if (this.graded && !(this.look.heat && this.heat)) this.shadeZones(pixels);
    context.putImageData(image, 0, 0);
  }

  /** Whether the six zones have a score that is to be seen. */
  get graded() {
    return this.look.zones && Boolean(this.measures?.severity?.length) && Boolean(this.lungs?.lines[RIGHT] && this.lungs.lines[LEFT]);
  }

  shadeZones(pixels) {
    const { values, width, height, lines } = this.lungs;
    const [red, green, blue] = SEVERITY;
    const shades = this.measures.severity.map((score) => {
      const alpha = Math.round(255 * SHADE * Math.min(Math.max(score / HIGHEST, 0), 1));
      return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
    for (let y = 0; y < height; y += 1) {
      const zone = { [RIGHT]: 0, [LEFT]: 3 };
      for (const label of [RIGHT, LEFT]) zone[label] += (y >= lines[label][1]) + (y >= lines[label][2]);
      for (let i = y * width; i < (y + 1) * width; i += 1) if (values[i]) pixels[i] = shades[zone[values[i]]];
    }
  }

  /** Evidence { width, height, values, box }: 127.5 is nothing; box is (top, left, bottom, right) in the file's pixels. */
  setHeat(evidence) {
    this.heat = null;
    if (evidence) {
      const made = surface(evidence.width, evidence.height);
      evidence.values.forEach((value, i) => {
        const colour = value > 127.5 ? RAISED : LOWERED;
        made.image.data.set([...colour, Math.abs(value - 127.5) * 1.6], 4 * i);
      });
      made.context.putImageData(made.image, 0, 0);
      this.heat = { canvas: made.canvas, box: evidence.box };
    }
    if (this.lungs) this.paintLungs();
    this.draw();
  }

  setRuler(ruler) {
    this.ruler = ruler;
    this.draw();
  }

  // Geometry

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    const [width, height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    if (!width || !height || (width === this.canvas.width && height === this.canvas.height)) return;
    const whole = this.film && this.place.scale <= this.least * 1.001;
    this.canvas.width = width;
    this.canvas.height = height;
    if (!this.film) return;
    if (whole || !this.least) this.fit();
    else this.settle();
  }

  get least() {
    if (!this.film) return 1;
    const { width, height } = this.film.size;
    const [across, down] = this.place.turns % 2 ? [height, width] : [width, height];
    return Math.min(this.canvas.width / across, this.canvas.height / down);
  }

  /** The matrix from the file to the screen. */
  matrix() {
    const { scale, x, y, turns, flip } = this.place;
    return new DOMMatrix()
      .translateSelf(this.canvas.width / 2, this.canvas.height / 2)
      .scaleSelf(flip ? -1 : 1, 1)
      .rotateSelf(90 * turns)
      .scaleSelf(scale, scale)
      .translateSelf(-x, -y);
  }

  /** A place on the screen (in pixels of the canvas) in the file's pixels. */
  toFile(x, y) {
    const point = this.matrix().invertSelf().transformPoint({ x, y });
    return [point.x, point.y];
  }

  /** Where an edge of the file lies on the screen: (-1, 0) is its left; gives 'left', 'right', 'top' or 'bottom'. */
  side(x, y) {
    const { turns, flip } = this.place;
    for (let i = 0; i < turns; i += 1) [x, y] = [-y, x];
    if (flip) x = -x;
    return x < -0.5 ? "left" : x > 0.5 ? "right" : y < 0 ? "top" : "bottom";
  }

  fit() {
    if (!this.film) return;
    const { width, height } = this.film.size;
    Object.assign(this.place, { scale: this.least, x: width / 2, y: height / 2 });
    this.moved();
  }

  /** One pixel of the file is one of the screen. */
  oneToOne() {
    this.zoom(1 / this.place.scale);
  }

  turn() {
    this.place.turns = (this.place.turns + 1) % 4;
    this.fit();
  }

  flip() {
    this.place.flip = !this.place.flip;
    this.moved();
  }

  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    if (!this.film) return;
    const [fileX, fileY] = this.toFile(x, y);
    const most = Math.max(this.least * MOST, 1);
    this.place.scale = Math.min(Math.max(this.place.scale * factor, Math.min(this.least, 1)), most);
    const [nowX, nowY] = this.toFile(x, y);
    this.place.x += fileX - nowX;
    this.place.y += fileY - nowY;
    this.settle();
  }

  /** By pixels of the screen. */
  move(dx, dy) {
    if (!this.film) return;
    const [x0, y0] = this.toFile(0, 0);
    const [x1, y1] = this.toFile(dx, dy);
    this.place.x -= x1 - x0;
    this.place.y -= y1 - y0;
    this.settle();
  }

  settle() {
    const { width, height } = this.film.size;
    const [across, down] = this.place.turns % 2 ? [this.canvas.height, this.canvas.width] : [this.canvas.width, this.canvas.height];
    const within = (at, size, room) => {
      const half = room / this.place.scale / 2;
      return 2 * half >= size ? size / 2 : Math.min(Math.max(at, half), size - half);
    };
    this.place.x = within(this.place.x, width, across);
    this.place.y = within(this.place.y, height, down);
    this.moved();
  }

  moved() {
    this.draw();
    this.on.moved?.(this);
  }

  /** Zoom, place and orientation as parts of the whole, for another film beside this one. */
  get shared() {
    const { width, height } = this.film.size;
    const { scale, x, y, turns, flip } = this.place;
    return { zoom: scale / this.least, x: x / width, y: y / height, turns, flip };
  }

  set shared({ zoom, x, y, turns, flip }) {
    if (!this.film) return;
    Object.assign(this.place, { turns, flip });
    const { width, height } = this.film.size;
    Object.assign(this.place, { scale: this.least * zoom, x: x * width, y: y * height });
    this.draw();
  }

  // Drawing

  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.render(this.context);
      this.canvas.dataset.zoom = this.film ? (this.place.scale / this.least).toFixed(2) : "";
      this.canvas.dataset.ruler = this.ruler?.words ?? "";
      this.canvas.dataset.scale = this.film ? this.place.scale.toFixed(3) : "";
    });
  }

  render(context) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    if (!this.film) return;
    const { size } = this.film;
    const { scale } = this.place;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(this.matrix());
    context.imageSmoothingEnabled = scale * (size.width / this.film.grey.width) < 4 * ratio;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.base.canvas, 0, 0, size.width, size.height);
    context.imageSmoothingEnabled = true;
    if (this.look.heat && this.heat) {
      const [top, left, bottom, right] = this.heat.box;
      context.drawImage(this.heat.canvas, left, top, right - left, bottom - top);
    }
    if (this.look.outline && this.lungs) {
      context.drawImage(this.lungs.canvas, 0, 0, size.width, size.height);
      context.lineWidth = (2 * ratio) / scale;
      context.lineCap = "round";
      for (const [label, path] of this.lungs.paths) {
        context.strokeStyle = rgb(this.colour(label));
        context.stroke(path);
      }
    }
    if (this.look.outline && this.lungs && this.look.zones && this.measures?.zones) this.drawZones(context, ratio);
    if (this.look.widths && this.measures?.heart?.length) this.drawWidths(context, ratio);
    if (this.ruler) this.drawRuler(context, ratio);
  }

  /** The lines between the zones and, where it is known, the score of each. */
  drawZones(context, ratio) {
    const matrix = this.matrix();
    const { width, height, lines } = this.lungs;
    const { size } = this.film;
    const toScreen = ([x, y]) => matrix.transformPoint({ x: (x / width) * size.width, y: (y / height) * size.height });
    context.setTransform(1, 0, 0, 1, 0, 0);
    for (const label of [RIGHT, LEFT]) {
      if (!lines[label]) continue;
      const { places, ends } = zonePlaces(this.lungs, label, lines[label]);
      for (const pair of ends) stroke(context, ...pair.map(toScreen), "#fff", 1.5 * ratio);
      const scores = this.measures.severity?.slice(label === RIGHT ? 0 : 3) ?? [];
      places.forEach((place, i) => {
        const words = scores.length ? `${ZONES[label][i]} ${severityWords(scores[i])}` : ZONES[label][i];
        write(context, words, toScreen(place), "#fff", 13 * ratio, "center");
      });
    }
  }

  /** The widest heart and the widest chest, whose ratio is the cardiothoracic one. */
  drawWidths(context, ratio) {
    const matrix = this.matrix();
    const { size } = this.film;
    const { heart, chest } = this.measures;
    const toScreen = ([x, y]) => matrix.transformPoint({ x: x * size.width, y: y * size.height });
    context.setTransform(1, 0, 0, 1, 0, 0);
    for (const [colour, [row, start, stop]] of [[CHEST, chest], [HEART, heart]]) {
      stroke(context, toScreen([start, row]), toScreen([stop, row]), colour, 2 * ratio);
      for (const x of [start, stop]) stroke(context, toScreen([x, row - 0.012]), toScreen([x, row + 0.012]), colour, 2 * ratio);
    }
    const [row, start, stop] = heart;
    write(context, `CTR ${ratioWords(this.measures.ratio)}`, toScreen([(start + stop) / 2, row + 0.03]), HEART, 13 * ratio, "center");
  }

  drawRuler(context, ratio) {
    const matrix = this.matrix();
    const [from, to] = [this.ruler.from, this.ruler.to].map(([x, y]) => matrix.transformPoint({ x, y }));
    context.setTransform(1, 0, 0, 1, 0, 0);
    stroke(context, from, to, "#ffd84d", 2 * ratio);
    write(context, this.ruler.words, { x: Math.max(from.x, to.x) + 8 * ratio, y: (from.y + to.y) / 2 }, "#ffd84d", 14 * ratio, "left");
  }

  // Pointers and keys

  listen() {
    const { canvas, pointers } = this;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      const ratio = canvas.width / box.width;
      return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      const at = place(event);
      pointers.set(event.pointerId, at);
      this.acting = pointers.size > 1 || event.button === 1 ? "move" : event.shiftKey || event.button === 2 ? "window" : this.tool;
      if (!this.film) return;
      if (this.acting === "ruler") this.start = this.toFile(...at);
      if (this.acting === "add" || this.acting === "remove") this.on.paint(...this.toFile(...at), this.acting === "add", true);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before || !this.film) return;
      const now = place(event);
      const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
      if (pointers.size === 2) {
        const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        const gap = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
        this.zoom(gap(now) / gap(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
        this.move(dx / 2, dy / 2);
      } else if (this.acting === "window") this.on.window(dx, dy);
      else if (this.acting === "ruler") this.on.ruler(this.start, this.toFile(...now));
      else if (this.acting === "add" || this.acting === "remove") this.on.paint(...this.toFile(...now), this.acting === "add", false);
      else this.move(dx, dy);
      pointers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        if (pointers.delete(event.pointerId) && ["add", "remove", "ruler"].includes(this.acting)) this.on.marked();
      });
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => { if (this.tool === "move") this.fit(); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), ...place(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = canvas.height / 12;
      const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      const by = moves[event.key];
      if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.move(...by);
    });
  }
}
