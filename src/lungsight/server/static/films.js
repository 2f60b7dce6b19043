// The films that were opened: from a file to its result, two at a time, and what is decoded of them for the screen.

import * as api from "./api.js";
import { areas, labels, zoneAreas } from "./lungs.js";
import { bytesOf, decodePng, greyOf, thumbnail } from "./picture.js";
import * as session from "./session.js";

const FINEST = 1024;
const AT_ONCE = 2;
const DECODED = 3;

export class Films {
  /** `changed(film)` is called whenever something of a film changes; `shown()` gives the films on the screen. */
  constructor(changed, shown) {
    this.all = [];
    this.changed = changed;
    this.shown = shown;
    this.active = new Map();
    this.decoded = [];
    this.next = Date.now();
  }

  add(files, limit) {
    for (const { file, name } of files) {
      const film = { id: this.next, file, name, state: "waiting", words: "waiting" };
      this.next += 1;
      this.all.push(film);
      if (file.size > limit) this.fail(film, `Larger than this server takes (${Math.round(limit / 2 ** 20)} MiB).`);
      else this.save(film);
    }
    this.changed();
    this.work();
  }

  /** What was open before a reload; `ready` is waited for where there is anything. */
  async restore(ready) {
    const kept = await session.restore();
    if (!kept.length) return;
    await ready();
    for (const film of kept) {
      if (film.state === "working") Object.assign(film, { state: "waiting", words: "waiting" });
      this.all.push(film);
      this.next = Math.max(this.next, film.id + 1);
    }
    this.changed();
    this.work();
  }

  save({ id, name, file, state, words, found, grey, thumb, threshold, edited, ruler }) {
    session.keep({ id, name, file, state, words, found, grey, thumb, threshold, edited, ruler });
  }

  async work() {
    const film = this.all.find((one) => one.state === "waiting");
    if (!film || this.active.size >= AT_ONCE) return;
    const stop = new AbortController();
    this.active.set(film, stop);
    Object.assign(film, { state: "working", words: "working …" });
    this.changed(film);
    this.work();
    try {
      const found = await api.predict(film.file, {
        signal: stop.signal,
        waiting: () => { film.words = "the server is busy, waiting …"; this.changed(film); },
      });
      // As a blob the browser may keep it on its disk; as text fifty films would fill the memory.
      film.grey = new Blob([bytesOf(found.grey.png)], { type: "image/png" });
      found.grey.png = null;
      film.thumb = thumbnail(greyOf(found.grey, new Uint8Array(await film.grey.arrayBuffer())));
      Object.assign(film, { found, threshold: found.mask_threshold, state: "done", words: "" });
      this.save(film);
      this.changed(film);
    } catch (error) {
      if (error.name === "AbortError") this.cancelled(film);
      else this.fail(film, error.message);
    }
    this.active.delete(film);
    this.work();
  }

  fail(film, words) {
    if (!this.all.includes(film)) return;
    Object.assign(film, { state: "failed", words });
    this.save(film);
    this.changed(film);
  }

  cancelled(film) {
    if (!this.all.includes(film)) return;
    Object.assign(film, { state: "cancelled", words: "cancelled" });
    this.save(film);
    this.changed(film);
  }

  /** Stop everything that waits or is under way. */
  cancel() {
    for (const film of this.all.filter((one) => one.state === "waiting")) this.cancelled(film);
    for (const stop of this.active.values()) stop.abort();
  }

  again(film) {
    Object.assign(film, { state: "waiting", words: "waiting" });
    this.changed(film);
    this.work();
  }

  remove(film) {
    this.all.splice(this.all.indexOf(film), 1);
    this.active.get(film)?.abort();
    session.forget(film.id);
    this.changed();
  }

  clear() {
    for (const film of [...this.all]) this.remove(film);
  }

  /** Grey values, maps and automatic labels of a film that is done; of a few films at a time. */
  async open(film) {
    if (!film.open) {
      const { found } = film;
      const map = decodePng(bytesOf(found.probability_map.png));
      const sides = decodePng(bytesOf(found.probability_map.sides_png));
      const evidence = found.evidence && { ...decodePng(bytesOf(found.evidence.png)), box: found.evidence.box };
      const grey = greyOf(found.grey, new Uint8Array(await film.grey.arrayBuffer()));
      const scale = Math.min(1, FINEST / Math.max(found.width, found.height));
      const size = [Math.round(found.width * scale), Math.round(found.height * scale)];
      film.open = { map, sides, evidence, grey, size };
      film.look ??= { center: grey.center, width: grey.window, invert: false };
    }
    this.decoded = [film, ...this.decoded.filter((one) => one !== film)];
    // Those on the screen stay, whatever is opened for a table beside them.
    const shown = this.shown();
    for (const old of this.decoded.filter((one) => !shown.includes(one)).slice(DECODED)) old.open = null;
    this.decoded = this.decoded.filter((one) => one.open);
    this.mask(film);
    return film.open;
  }

  /** The labels that are shown: the network's at the film's threshold, or those corrected by hand. */
  mask(film) {
    const { open } = film;
    if (open.threshold !== film.threshold) {
      const [width, height] = open.size;
      open.automatic = { width, height, values: labels(open.map, open.sides, film.threshold, width, height) };
      open.threshold = film.threshold;
    }
    return film.edited ?? open.automatic;
  }

  /** Pixels of the six zones of the mask that is shown, at its own size; null where they mean nothing. */
  zones(film) {
    const { zone_px: pixels, severity_zones: scores } = film.found;
    return pixels?.length || scores?.length ? zoneAreas(this.mask(film)) : null;
  }

  /** Areas of the right and the left lung and of the zones (null where they mean nothing), in pixels of the file. */
  areas(film) {
    const { width, height, values } = this.mask(film);
    const share = (film.found.width * film.found.height) / (width * height);
    const { right, left } = areas(values);
    return { right: right * share, left: left * share, zones: this.zones(film)?.map((one) => one * share) ?? null };
  }
}

/** Files of a drop, folders opened; names that begin with a dot, and folders' directories of DICOM media, are left out. */
export async function dropped(items) {
  const found = [];
  const walk = async (entry, path) => {
    if (entry.name.startsWith(".") || entry.name === "DICOMDIR") return;
    if (entry.isFile) {
      const file = await new Promise((yes, no) => { entry.file(yes, no); });
      found.push({ file, name: path + file.name });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((yes, no) => { reader.readEntries(yes, no); });
      if (!some.length) return;
      for (const one of some.sort((a, b) => a.name.localeCompare(b.name))) await walk(one, `${path}${entry.name}/`);
    }
  };
  // The entries are gone after the first wait: take them all before.
  const entries = [...items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  for (const entry of entries) {
    if (entry instanceof File) found.push({ file: entry, name: entry.name });
    else if (entry) await walk(entry, "");
  }
  return found;
}

/** Files of a picker, with the folder's path where a folder was picked. */
export const picked = (files) => [...files]
  .filter((file) => !file.name.startsWith(".") && file.name !== "DICOMDIR")
  .map((file) => ({ file, name: file.webkitRelativePath || file.name }));
