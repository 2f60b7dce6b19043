// The page: a list of X-rays, one of them in the viewer, its result beside it.

import * as api from "./api.js";
import { areas, labels } from "./lungs.js";
import { areaTable, brief, heatWords, make, report } from "./verdict.js";
import { Viewer } from "./viewer.js";

const NOTICE = "Research use only, not for diagnosis.";
const FINEST = 1024;
const AT_ONCE = 2;
const byId = (id) => document.getElementById(id);

const entries = [];
let shown = null;
let about = null;
let active = 0;

const viewer = new Viewer(byId("canvas"), {
  onWindow(dx, dy) {
    byId("window").value = Number(byId("window").value) + dx;
    byId("level").value = Number(byId("level").value) + dy;
    look();
  },
});

// Files

async function add(files) {
  say("");
  try {
    about ??= await api.models();
  } catch (error) {
    say(error.message);
    return;
  }
  for (const file of files) {
    const entry = { file, state: "waiting", words: "waiting", item: null };
    entries.push(entry);
    list(entry);
    if (file.size > about.limits.file_bytes) {
      fail(entry, `Larger than this server takes (${Math.round(about.limits.file_bytes / 2 ** 20)} MiB).`);
    }
  }
  document.body.classList.toggle("alone", !entries.length);
  work();
}

async function work() {
  const entry = entries.find((one) => one.state === "waiting");
  if (!entry || active >= AT_ONCE) return;
  active += 1;
  entry.state = "working";
  note(entry, "working …");
  try {
    const found = await api.predict(entry.file, () => note(entry, "the server is busy, waiting …"));
    const picture = await api.greyOf(found.display.png);
    const scale = Math.min(1, FINEST / Math.max(picture.width, picture.height));
    Object.assign(entry, {
      found,
      picture,
      map: await api.greyOf(found.probability_map.png),
      sides: await api.greyOf(found.probability_map.sides_png),
      evidence: found.evidence && { ...(await api.greyOf(found.evidence.png)), box: found.evidence.box },
      threshold: found.probability_map.mask_threshold,
      size: [Math.round(picture.width * scale), Math.round(picture.height * scale)],
      state: "done",
    });
    thumbnail(entry);
    note(entry, brief(found));
    if (!shown || shown.state !== "done") show(entry);
  } catch (error) {
    fail(entry, error.message);
  }
  active -= 1;
  work();
}

function fail(entry, words) {
  entry.state = "failed";
  entry.words = words;
  entry.item.classList.add("failed");
  note(entry, words);
  if (!shown || shown === entry) show(entry);
}

function list(entry) {
  entry.thumb = make("canvas", { width: 104, height: 104, "aria-hidden": "true" });
  entry.note = make("small", {}, entry.words);
  entry.button = make("button", { type: "button" }, entry.thumb, make("span", {}, make("b", { title: entry.file.name }, entry.file.name), entry.note));
  entry.button.addEventListener("click", () => show(entry));
  entry.item = make("li", {}, entry.button);
  byId("list").append(entry.item);
}

function note(entry, words) {
  entry.note.textContent = words;
}

function thumbnail(entry) {
  const { width, height, grey } = entry.picture;
  const context = entry.thumb.getContext("2d");
  const image = context.createImageData(104, 104);
  const step = Math.max(width, height) / 104;
  for (let y = 0; y < 104; y += 1) {
    for (let x = 0; x < 104; x += 1) {
      const [column, row] = [Math.floor((x - 52) * step + width / 2), Math.floor((y - 52) * step + height / 2)];
      const value = column >= 0 && row >= 0 && column < width && row < height ? grey[row * width + column] : 0;
      image.data.set([value, value, value, 255], 4 * (y * 104 + x));
    }
  }
  context.putImageData(image, 0, 0);
}

// One X-ray

function show(entry) {
  shown = entry;
  for (const one of entries) one.button.setAttribute("aria-current", String(one === entry));
  entry.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  const done = entry.state === "done";
  byId("view").hidden = !done;
  byId("told").hidden = false;
  if (!done) {
    const words = entry.state === "failed" ? entry.words : "Working …";
    byId("told").replaceChildren(make("p", { class: entry.state === "failed" ? "message" : "busy", id: "failure" }, words));
    return;
  }
  const { height, width } = entry.found.image;
  viewer.resize();
  viewer.show(entry.picture, { height, width });
  viewer.setHeat(entry.evidence);
  byId("canvas").setAttribute("aria-label", `X-ray ${entries.indexOf(entry) + 1} of ${entries.length} with the lungs outlined`);
  byId("threshold").value = entry.threshold;
  place(byId("own"), entry.found.probability_map.mask_threshold);
  place(byId("paper"), about.paper_mask_threshold);
  // Two marks in one place say nothing.
  byId("own").hidden = Math.abs(entry.found.probability_map.mask_threshold - about.paper_mask_threshold) < 0.02;
  byId("heat").disabled = !entry.evidence;
  byId("told").replaceChildren(...report(entry.found, about, { areas: make("div", { id: "areas-box" }), downloads: downloads(entry) }));
  look();
  mask();
}

function place(mark, value) {
  const { min, max } = byId("threshold");
  // The thumb's centre does not reach the ends of the track.
  const share = (value - min) / (max - min);
  mark.style.left = `calc(${(100 * share).toFixed(2)}% + ${(8 - 16 * share).toFixed(1)}px)`;
}

function mask() {
  if (shown?.state !== "done") return;
  shown.threshold = Number(byId("threshold").value);
  byId("threshold-value").value = shown.threshold.toFixed(2);
  const [width, height] = shown.size;
  const values = labels(shown.map, shown.sides, shown.threshold, width, height);
  viewer.setLungs({ width, height, values });
  const share = (shown.found.image.width * shown.found.image.height) / (width * height);
  const { right, left } = areas(values);
  byId("areas-box")?.replaceChildren(areaTable(shown.found, { right: right * share, left: left * share }));
}

function look() {
  const value = (id) => Number(byId(id).value);
  byId("opacity-value").value = `${Math.round(100 * value("opacity"))} %`;
  byId("level-value").value = value("level");
  byId("window-value").value = value("window");
  viewer.change({
    opacity: value("opacity"),
    // To the right is brighter: the level is the grey that becomes middle grey.
    level: 256 - value("level"),
    window: value("window"),
    outline: byId("outline").checked,
    heat: byId("heat").checked,
  });
  byId("heat-words").hidden = !byId("heat").checked;
  if (shown?.found) byId("heat-words").replaceChildren(...heatWords(shown.found));
}

function reset() {
  byId("opacity").value = 0.2;
  byId("level").value = 128;
  byId("window").value = 256;
  byId("outline").checked = true;
  byId("heat").checked = false;
  if (shown?.found) byId("threshold").value = shown.found.probability_map.mask_threshold;
  look();
  mask();
  viewer.fit();
}

// Downloads

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function downloads(entry) {
  const stem = entry.file.name.replace(/\.[A-Za-z0-9]{1,5}$/, "") || "xray";
  const button = (words, id, work) => {
    const made = make("button", { type: "button", id }, words);
    made.addEventListener("click", async () => {
      made.disabled = true;
      try {
        await work();
      } catch (error) {
        say(error.message);
      }
      made.disabled = false;
    });
    return made;
  };
  const told = () => {
    const { display, probability_map: map, evidence, ...figures } = entry.found;
    const share = evidence && { share_inside_lungs: evidence.share_inside_lungs };
    return JSON.stringify({ notice: NOTICE, ...figures, mask_threshold: map.mask_threshold, evidence: share }, null, 2);
  };
  return make(
    "div", { class: "buttons" },
    button("Mask (PNG)", "get-mask", async () => save(await api.other(entry.file, "image/png", entry.threshold), `${stem}-mask.png`)),
    button("Picture as seen (PNG)", "get-overlay", async () => save(await viewer.export(NOTICE), `${stem}-overlay.png`)),
    entry.found.image.format === "DICOM"
      ? button("DICOM SEG", "get-seg", async () => save(await api.other(entry.file, "application/dicom", entry.threshold), `${stem}-seg.dcm`))
      : null,
    button("Figures (JSON)", "get-json", async () => save(new Blob([told()], { type: "application/json" }), `${stem}.json`)),
  );
}

// The page

function say(words) {
  byId("message").textContent = words;
  byId("message").hidden = !words;
}

function step(by) {
  const next = entries[entries.indexOf(shown) + by];
  if (next) show(next);
}

byId("choose").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = "";
});
byId("sample").addEventListener("click", async () => {
  try {
    await add([await api.sample()]);
  } catch (error) {
    say(error.message);
  }
});
for (const id of ["opacity", "level", "window", "outline", "heat"]) byId(id).addEventListener("input", look);
let due = 0;
byId("threshold").addEventListener("input", () => {
  byId("threshold-value").value = Number(byId("threshold").value).toFixed(2);
  cancelAnimationFrame(due);
  due = requestAnimationFrame(mask);
});
const setThreshold = (value) => {
  byId("threshold").value = value;
  mask();
};
byId("paper").addEventListener("click", () => setThreshold(about.paper_mask_threshold));
byId("own").addEventListener("click", () => setThreshold(shown.found.probability_map.mask_threshold));
byId("reset").addEventListener("click", reset);
byId("zoom-in").addEventListener("click", () => viewer.zoom(1.4));
byId("zoom-out").addEventListener("click", () => viewer.zoom(1 / 1.4));
byId("fit").addEventListener("click", () => viewer.fit());

const flip = (id) => {
  if (byId(id).disabled) return;
  byId(id).checked = !byId(id).checked;
  look();
};
const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  "+": () => viewer.zoom(1.4),
  "=": () => viewer.zoom(1.4),
  "-": () => viewer.zoom(1 / 1.4),
  0: () => viewer.fit(),
  "[": () => setThreshold(Number(byId("threshold").value) - 0.05),
  "]": () => setThreshold(Number(byId("threshold").value) + 0.05),
  o: () => flip("outline"),
  h: () => flip("heat"),
  r: reset,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !shown || byId("ask").open) return;
  const action = KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});

// Dropping, anywhere on the page.
let inside = 0;
const carries = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => {
  if (!carries(event)) return;
  inside += 1;
  byId("drop").hidden = false;
});
document.addEventListener("dragleave", () => {
  inside = Math.max(0, inside - 1);
  byId("drop").hidden = inside === 0;
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  byId("drop").hidden = true;
  if (event.dataTransfer.files.length) add([...event.dataTransfer.files]);
});

api.hooks.askToken = () => new Promise((done) => {
  const dialog = byId("ask");
  byId("token").value = "";
  dialog.addEventListener("close", () => done(dialog.returnValue === "ok" ? byId("token").value : ""), { once: true });
  dialog.returnValue = "";
  dialog.showModal();
});

document.body.classList.add("alone");
