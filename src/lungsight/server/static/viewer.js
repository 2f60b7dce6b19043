// The picture: grey values through a window, lungs, heat map; zoom and pan by wheel, drag, pinch and keys.

import { LEFT, RIGHT } from "./lungs.js";

export const COLOURS = { [RIGHT]: [86, 180, 233], [LEFT]: [230, 159, 0] };
const RAISED = [197, 27, 125];
const LOWERED = [77, 146, 33];
const MOST = 20;

function surface(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  return { canvas, context: canvas.getContext("2d"), image: new ImageData(width, height) };
}

export class Viewer {
  constructor(canvas, { onWindow }) {
    this.canvas = canvas;
    this.onWindow = onWindow;
    this.context = canvas.getContext("2d");
    this.look = { opacity: 0.2, outline: true, heat: false, level: 128, window: 256 };
    this.picture = null;
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
  }

  /** Show a picture { width, height, grey } of a file of `original` { width, height }. */
  show(picture, original) {
    this.picture = picture;
    this.original = original;
    this.base = surface(picture.width, picture.height);
    this.lungs = null;
    this.heat = null;
    this.paintBase();
    this.fit();
  }

  clear() {
    this.picture = null;
    this.draw();
  }

  change(look) {
    const { level, window, opacity, heat } = this.look;
    Object.assign(this.look, look);
    if (!this.picture) return;
    if (level !== this.look.level || window !== this.look.window) this.paintBase();
    if (this.lungs && (opacity !== this.look.opacity || heat !== this.look.heat)) this.paintLungs();
    this.draw();
  }

  paintBase() {
    const { level, window } = this.look;
    const table = new Uint8ClampedArray(256);
    for (let value = 0; value < 256; value += 1) table[value] = ((value - level) / window + 0.5) * 255;
    const { image, context } = this.base;
    const pixels = new Uint32Array(image.data.buffer);
    const { grey } = this.picture;
    for (let i = 0; i < grey.length; i += 1) {
      pixels[i] = 0xff000000 | (table[grey[i]] * 0x010101);
    }
    context.putImageData(image, 0, 0);
  }

  /** Labels { width, height, values } over the whole picture. */
  setLungs(found) {
    if (!this.lungs || this.lungs.width !== found.width || this.lungs.height !== found.height) {
      this.lungs = { ...surface(found.width, found.height), width: found.width, height: found.height };
    }
    this.lungs.values = found.values;
    this.paintLungs();
    this.draw();
  }

  paintLungs() {
    const { values, width, height, image, context } = this.lungs;
    // Over the heat map a tint would be a third colour: the outline alone.
    const tint = this.look.heat && this.heat ? 0 : Math.round(this.look.opacity * 255);
    const { data } = image;
    data.fill(0);
    for (let y = 0, i = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, i += 1) {
        const side = values[i];
        if (!side) continue;
        const edge = x === 0 || y === 0 || x === width - 1 || y === height - 1 || values[i - 1] !== side
          || values[i + 1] !== side || values[i - width] !== side || values[i + width] !== side;
        const near = !edge && x > 1 && y > 1 && x < width - 2 && y < height - 2 && (values[i - 2] !== side
          || values[i + 2] !== side || values[i - 2 * width] !== side || values[i + 2 * width] !== side);
        const [red, green, blue] = COLOURS[side];
        data[4 * i] = red;
        data[4 * i + 1] = green;
        data[4 * i + 2] = blue;
        data[4 * i + 3] = edge || near ? 255 : tint;
      }
    }
    context.putImageData(image, 0, 0);
  }

  /** Evidence { width, height, grey, box }: 127.5 is nothing; box is (top, left, bottom, right) in the file's pixels. */
  setHeat(evidence) {
    this.heat = null;
    if (evidence) {
      const made = surface(evidence.width, evidence.height);
      evidence.grey.forEach((value, i) => {
        const colour = value > 127.5 ? RAISED : LOWERED;
        made.image.data.set([...colour, Math.abs(value - 127.5) * 1.6], 4 * i);
      });
      made.context.putImageData(made.image, 0, 0);
      this.heat = { canvas: made.canvas, box: evidence.box };
    }
    if (this.lungs) this.paintLungs();
    this.draw();
  }

  // Geometry: `scale` screen pixels a pixel of the file, (x, y) of the picture's corner on the screen.

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    const [width, height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    if (!width || !height || (width === this.canvas.width && height === this.canvas.height)) return;
    this.canvas.width = width;
    this.canvas.height = height;
    if (this.picture) this.fit();
  }

  fit() {
    if (!this.picture) return;
    const { width, height } = this.original;
    this.least = Math.min(this.canvas.width / width, this.canvas.height / height);
    this.scale = this.least;
    this.x = (this.canvas.width - width * this.scale) / 2;
    this.y = (this.canvas.height - height * this.scale) / 2;
    this.draw();
  }

  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    if (!this.picture) return;
    const scale = Math.min(Math.max(this.scale * factor, this.least), this.least * MOST);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.move(0, 0);
  }

  move(dx, dy) {
    if (!this.picture) return;
    const keep = (at, shown, room) => shown <= room ? (room - shown) / 2 : Math.min(0, Math.max(room - shown, at));
    this.x = keep(this.x + dx, this.original.width * this.scale, this.canvas.width);
    this.y = keep(this.y + dy, this.original.height * this.scale, this.canvas.height);
    this.draw();
  }

  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.render(this.context, this.x, this.y, this.scale);
      this.canvas.dataset.zoom = this.picture ? (this.scale / this.least).toFixed(2) : "";
    });
  }

  render(context, x, y, scale) {
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    if (!this.picture) return;
    const [width, height] = [this.original.width * scale, this.original.height * scale];
    context.imageSmoothingEnabled = scale < 6 * this.least;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.base.canvas, x, y, width, height);
    context.imageSmoothingEnabled = true;
    if (this.look.heat && this.heat) {
      const [top, left, bottom, right] = this.heat.box;
      context.drawImage(this.heat.canvas, x + left * scale, y + top * scale, (right - left) * scale, (bottom - top) * scale);
    }
    if (this.look.outline && this.lungs) context.drawImage(this.lungs.canvas, x, y, width, height);
  }

  /** What is seen, the whole picture, with the notice below: a PNG blob. */
  async export(notice) {
    const { width, height } = this.picture;
    const strip = Math.max(24, Math.round(height / 28));
    const canvas = new OffscreenCanvas(width, height + strip);
    const context = canvas.getContext("2d");
    this.render(context, 0, 0, width / this.original.width);
    context.fillStyle = "#ffd84d";
    context.fillRect(0, height, width, strip);
    context.fillStyle = "#231a00";
    context.font = `600 ${Math.round(strip * 0.6)}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.fillText(notice, strip * 0.4, height + strip / 2, width - strip * 0.8);
    return canvas.convertToBlob({ type: "image/png" });
  }

  listen() {
    const { canvas, pointers } = this;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      const ratio = canvas.width / box.width;
      return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, place(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = place(event);
      const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
      if (pointers.size === 2) {
        const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        const gap = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
        this.zoom(gap(now) / gap(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
        this.move(dx / 2, dy / 2);
      } else if (event.shiftKey || event.buttons === 2) {
        this.onWindow(dx / 2, dy / 2);
      } else {
        this.move(dx, dy);
      }
      pointers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.fit());
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
