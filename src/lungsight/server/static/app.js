// The page: a list of films, one of them (or two) in the viewer, its result beside it.

import * as api from "./api.js";
import { archive, csv, json, maskName, maskOf, NOTICE, record, save, segName, segOf, stem } from "./exports.js";
import { dropped, Films, picked } from "./films.js";
import { html } from "./html.js";
import { paint } from "./lungs.js";
import { brief, Details, doubts, HeatWords, refused, scored, Summary } from "./report.js";
import { fixed, percent } from "./numbers.js";
import { seen } from "./seen.js";
import { render } from "./vendor/preact.js";
import { Viewer } from "./viewer.js";

const byId = (id) => document.getElementById(id);
const narrow = window.matchMedia("(max-width: 760px)");
const UNDO = 20;

const state = {
  about: null,
  words: null,
  shown: null,
  other: null,
  filter: "all",
  message: "",
  busy: "",
  tool: "move",
  brush: 24,
  look: { opacity: 0.2, outline: true, heat: false, zones: true, widths: true },
  keys: localStorage.getItem("lungsight-keys") !== "off",
};
const films = new Films(onFilm, () => [state.shown, state.other]);
const viewers = {};

// The list

const FILTERS = {
  all: () => true,
  scored: (film) => film.state === "done" && scored(film.found),
  warned: (film) => film.state === "done" && doubts(film.found).length > 0,
  failed: (film) => film.state === "failed",
};
const listed = () => films.all.filter(FILTERS[state.filter]);
const finished = (film) => !["waiting", "working"].includes(film.state);

function onFilm(film) {
  if (state.shown && !films.all.includes(state.shown)) state.shown = null;
  if (state.other && !films.all.includes(state.other)) state.other = null;
  if (film && film === state.shown && film.state === "done") show(film);
  else if (!state.shown && films.all.length) show(film?.state === "done" || !film ? films.all.find((one) => one.state === "done") ?? films.all[0] : film);
  else if (film?.state === "done" && state.shown?.state === "failed" && films.all.filter((one) => one.state === "done").length === 1) show(film);
  draw();
}

async function add(files) {
  say("");
  if (!files.length) return;
  try {
    await learn();
    films.add(files, state.about.limits.file_bytes);
  } catch (error) {
    say(error.message);
  }
}

async function learn() {
  state.words ??= await api.wording();
  state.about ??= await api.models();
}

function FilmList() {
  const total = films.all.length;
  const done = films.all.filter(finished).length;
  const working = total - done;
  return html`
    ${working > 0 && html`<div class="progress"><progress max=${total} value=${done} aria-label="Films done"></progress>
      <button id="cancel" type="button" onClick=${() => films.cancel()}>Cancel</button></div>`}
    ${total > 0 && html`<p id="count" role="status">${done} of ${total} done</p>`}
    ${total > 1 && html`<fieldset class="filter" id="filter"><legend class="unseen">Show</legend>${Object.keys(FILTERS).map((name) => html`
      <label><input type="radio" name="filter" value=${name} checked=${state.filter === name} onChange=${() => { state.filter = name; draw(); }} />
        <span>${name} ${films.all.filter(FILTERS[name]).length}</span></label>`)}</fieldset>`}
    <ul id="list" aria-label="Opened X-rays">${listed().map((film) => html`<li key=${film.id} class=${film.state}>
      <button type="button" class="film" aria-current=${String(film === state.shown)} onClick=${() => show(film)}>
        ${film.thumb ? html`<img src=${film.thumb} alt="" width="52" height="52" />` : html`<span class="blank"></span>`}
        <span class="what"><b title=${film.name}>${film.name}</b><small>${brief(film, state.words)}</small></span></button>
      <button type="button" class="remove" aria-label=${`Remove ${film.name}`} title="Remove" onClick=${() => films.remove(film)}>×</button></li>`)}</ul>
    ${total > 0 && html`<div class="buttons all">
      <button id="get-zip" type="button" disabled=${!films.all.some((film) => film.state === "done") || state.busy} onClick=${saveZip}>All as ZIP</button>
      <button id="get-csv" type="button" disabled=${!films.all.some(finished) || state.busy} onClick=${saveCsv}>All as CSV</button>
      <button id="clear" type="button" onClick=${() => { films.clear(); state.filter = "all"; draw(); }}>Clear</button></div>
      ${state.busy && html`<p class="soft" role="status">${state.busy}</p>`}
      <p class="soft" id="kept">Kept in this browser tab alone, so that a reload loses nothing; Clear forgets it.</p>`}`;
}

// One film

async function show(film) {
  state.shown = film;
  if (state.other === film) state.other = null;
  draw();
  document.querySelector('#list [aria-current="true"]')?.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (film.state === "done") await fill("main", film);
}

async function fill(name, film) {
  const open = await films.open(film);
  // Another may have been chosen while this one was decoded.
  if (film !== (name === "main" ? state.shown : state.other)) return;
  drawNow(); // the canvas is there from the first film on
  const viewer = viewers[name];
  if (!viewer) return;
  viewer.change({ ...state.look, ...film.look, oneColour: refused(film.found) });
  viewer.show(open.grey, { width: film.found.width, height: film.found.height });
  viewer.setHeat(open.evidence);
  look(name);
  masks(name);
  if (name === "other") viewer.shared = viewers.main.shared;
}

const filmOf = (name) => (name === "main" ? state.shown : state.other);
const maskShown = (film) => !refused(film.found) || film.maskAsked;

function look(name = "main") {
  const film = filmOf(name);
  if (!film?.open || !viewers[name]) return;
  viewers[name].change({ ...state.look, ...film.look, oneColour: refused(film.found) });
}

function masks(name = "main") {
  const film = filmOf(name);
  if (!film?.open || !viewers[name]) return;
  viewers[name].setLungs(maskShown(film) ? films.mask(film) : null, refused(film.found) ? null : measured(film.found));
  viewers[name].setRuler(film.ruler ? { ...film.ruler, words: lengthOf(film) } : null);
  draw();
}

function lengthOf({ found, ruler: { from, to } }) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const { spacing_row_mm: down, spacing_column_mm: across } = found;
  if (!down) return `${Math.round(Math.hypot(dx, dy))} px`;
  const kind = state.words.spacingkind?.[found.spacing_kind];
  return `${fixed(Math.hypot(dx * across, dy * down), 1)} mm${kind ? ` (${kind})` : ""}`;
}

/** What is drawn beside the outline. */
const measured = (found) => ({
  zones: Boolean(found.zone_px?.length || found.severity_zones?.length),
  severity: found.severity_zones ?? [],
  heart: found.heart_line ?? [],
  chest: found.chest_line ?? [],
  ratio: found.cardiothoracic_ratio,
});

const setLook = (values) => { Object.assign(state.look, values); look(); look("other"); draw(); };
const setFilmLook = (values) => { Object.assign(state.shown.look, values); look(); draw(); };

let due = 0;
function setThreshold(value) {
  const film = state.shown;
  if (!film?.open || film.edited) return;
  film.threshold = Math.min(0.98, Math.max(0.02, Math.round(value * 100) / 100));
  draw();
  cancelAnimationFrame(due);
  due = requestAnimationFrame(() => { masks(); films.save(film); });
}

// The brush

function brush(x, y, add, first) {
  const film = state.shown;
  if (!film?.open || !maskShown(film)) return;
  const shown = films.mask(film);
  if (first) {
    film.undo = [...(film.undo ?? []), film.edited ?? null].slice(-UNDO);
    film.edited = { ...shown, values: shown.values.slice() };
  }
  const scale = shown.width / film.found.width;
  const radius = Math.max(0.5, ((state.brush / 2) * (window.devicePixelRatio || 1) / viewers.main.place.scale) * scale);
  paint(film.edited, x * scale - 0.5, y * scale - 0.5, radius, add, film.open.sides);
  cancelAnimationFrame(due);
  due = requestAnimationFrame(() => masks());
}

function undo() {
  const film = state.shown;
  if (!film?.undo?.length) return;
  film.edited = film.undo.pop();
  films.save(film);
  masks();
}

/** Back to what the network found, also where a reload has left nothing to undo. */
function dropCorrection() {
  const film = state.shown;
  film.undo = [...(film.undo ?? []), film.edited].slice(-UNDO);
  film.edited = null;
  films.save(film);
  masks();
}

// The viewer

function mount(name, canvas) {
  if (!canvas) {
    viewers[name]?.close();
    delete viewers[name];
    return;
  }
  if (viewers[name]?.canvas === canvas) return;
  viewers[name] = new Viewer(canvas, {
    window(dx, dy) {
      const film = filmOf(name);
      const step = (film.open.grey.high - film.open.grey.low) / 600;
      // As other viewers: to the right wider, upwards brighter.
      film.look.width = Math.max(step, film.look.width + dx * step);
      film.look.center += dy * step;
      look(name);
      draw();
    },
    moved(viewer) {
      const partner = viewers[name === "main" ? "other" : "main"];
      if (partner?.film && viewer.film) partner.shared = viewer.shared;
      draw();
    },
    paint: brush,
    marked() { films.save(filmOf(name)); draw(); },
    ruler(from, to) {
      filmOf(name).ruler = { from, to };
      masks(name);
    },
  });
  viewers[name].tool = toolOf(name);
}
/** The brush works on the film whose areas are told. */
const toolOf = (name) => (name === "other" && ["add", "remove"].includes(state.tool) ? "move" : state.tool);
const refs = { main: (canvas) => mount("main", canvas), other: (canvas) => mount("other", canvas) };

function setTool(tool) {
  state.tool = tool;
  for (const [name, viewer] of Object.entries(viewers)) viewer.tool = toolOf(name);
  draw();
}

/** Where the patient's right is, and whether that is known. */
function mark(film, viewer) {
  if (!film?.found || refused(film.found) || !viewer?.film) return null;
  return { words: film.found.sides_known ? "R" : "R assumed", side: viewer.side(film.found.mirrored ? 1 : -1, 0) };
}

function Stage({ name, film }) {
  const shown = mark(film, viewers[name]);
  const number = films.all.indexOf(film) + 1;
  return html`<div class="pane">
    <canvas id=${name === "main" ? "canvas" : "canvas-other"} ref=${refs[name]} tabindex="0" role="img" class=${`tool-${toolOf(name)}`}
      aria-label=${`X-ray ${number} of ${films.all.length}${maskShown(film) ? " with the lungs outlined" : ""}`} aria-describedby="keys-hint"></canvas>
    ${shown && html`<span class=${`corner ${shown.side}`} id=${name === "main" ? "mark-right" : "mark-right-other"}>${shown.words}</span>`}
    ${state.other && html`<span class="caption">${film.name}</span>`}</div>`;
}

function Slider({ id, label, value, text, ...more }) {
  return html`<label for=${id}>${label} <output id=${`${id}-value`} for=${id}>${text}</output>
    <input id=${id} type="range" value=${value} ...${more} /></label>`;
}

const TOOLS = { move: "Move", window: "Window", ruler: "Ruler", add: "Add lung", remove: "Remove lung" };

function Controls({ film }) {
  const { grey } = film.open;
  const { look: own, found } = film;
  const range = grey.high - grey.low;
  const whole = grey.values.BYTES_PER_ELEMENT === 1 ? { low: 0, high: 255, most: 512 } : { low: Math.min(grey.low, grey.center), high: Math.max(grey.high, grey.center), most: 2 * Math.max(range, grey.window) };
  const fine = range > 64 ? 1 : range / 256;
  const shown = (value) => (range > 64 ? Math.round(value) : fixed(value, 2));
  const others = films.all.filter((one) => one.state === "done" && one !== film);
  const painting = state.tool === "add" || state.tool === "remove";
  const marks = [["own", "network", found.mask_threshold], ["paper", "paper 0.2", state.about.paper_mask_threshold]];
  return html`<div id="controls">
    <fieldset class="tools-row" id="tools"><legend class="unseen">What dragging does</legend>${Object.entries(TOOLS).map(([tool, words]) => html`
      <label><input type="radio" name="tool" value=${tool} checked=${state.tool === tool} disabled=${["add", "remove"].includes(tool) && !maskShown(film)} onChange=${() => setTool(tool)} /><span>${words}</span></label>`)}
      ${film.undo?.length ? html`<button id="undo" type="button" onClick=${undo}>Undo</button>` : null}
      ${film.edited && html`<button id="automatic" type="button" onClick=${dropCorrection}>Network's mask again</button>`}
      ${film.ruler && html`<button id="no-ruler" type="button" onClick=${() => { film.ruler = null; films.save(film); masks(); }}>Remove ruler</button>`}</fieldset>
    ${painting && html`<${Slider} id="brush" label="Brush" value=${state.brush} text=${`${state.brush} px`} min="4" max="120" onInput=${(e) => { state.brush = Number(e.target.value); draw(); }} />`}
    <div class="switches">
      <label><input id="outline" type="checkbox" checked=${state.look.outline} onChange=${(e) => setLook({ outline: e.target.checked })} /> Lungs</label>
      <label><input id="zones" type="checkbox" checked=${state.look.zones} disabled=${!measured(found).zones} onChange=${(e) => setLook({ zones: e.target.checked })} /> Zones by severity</label>
      <label><input id="widths" type="checkbox" checked=${state.look.widths} disabled=${!found.heart_line?.length} onChange=${(e) => setLook({ widths: e.target.checked })} /> Heart and chest</label>
      <label><input id="heat" type="checkbox" checked=${state.look.heat} disabled=${!found.evidence} onChange=${(e) => setLook({ heat: e.target.checked })} /> What moved the score</label>
      <label><input id="invert" type="checkbox" checked=${own.invert} onChange=${(e) => setFilmLook({ invert: e.target.checked })} /> Invert</label>
      <label class="pick" for="compare">Compare with <select id="compare" disabled=${!others.length} onChange=${(e) => compare(others.find((one) => String(one.id) === e.target.value) ?? null)}>
        <option value="" selected=${!state.other}>nothing</option>${others.map((one) => html`<option value=${one.id} selected=${one === state.other}>${one.name}</option>`)}</select></label>
      <button id="reset" type="button" onClick=${reset}>Reset view</button>
    </div>
    ${state.look.heat && html`<${HeatWords} found=${found} />`}
    <div class="threshold"><${Slider} id="threshold" label="Mask threshold" value=${film.threshold} text=${fixed(film.threshold, 2)} min="0.02" max="0.98" step="0.01" disabled=${Boolean(film.edited)} onInput=${(e) => setThreshold(Number(e.target.value))} />
      <span class="marks">${marks.map(([id, words, value]) => html`<button type="button" class="mark" id=${id} disabled=${Boolean(film.edited)} onClick=${() => setThreshold(value)}>${words}</button>`)}</span></div>
    <${Slider} id="opacity" label="Lung colour" value=${state.look.opacity} text=${percent(state.look.opacity)} min="0" max="1" step="0.05" onInput=${(e) => setLook({ opacity: Number(e.target.value) })} />
    <${Slider} id="level" label="Level" value=${own.center} text=${shown(own.center)} min=${whole.low} max=${whole.high} step=${fine} onInput=${(e) => setFilmLook({ center: Number(e.target.value) })} />
    <${Slider} id="window" label="Window" value=${own.width} text=${shown(own.width)} min=${fine * 2} max=${whole.most} step=${fine} onInput=${(e) => setFilmLook({ width: Number(e.target.value) })} />
    <details><summary id="keys-hint">Keys and gestures</summary>
      <label class="line"><input id="keys" type="checkbox" checked=${state.keys} onChange=${(e) => setKeys(e.target.checked)} /> Single keys work</label>
      <dl class="keys">
        <dt><kbd>J</kbd> <kbd>K</kbd></dt><dd>next, previous X-ray</dd>
        <dt><kbd>+</kbd> <kbd>-</kbd> <kbd>0</kbd> <kbd>1</kbd></dt><dd>zoom in, out, whole picture, one pixel a pixel (or wheel, pinch)</dd>
        <dt><kbd>T</kbd> <kbd>F</kbd> <kbd>I</kbd></dt><dd>turn, flip, invert</dd>
        <dt><kbd>[</kbd> <kbd>]</kbd></dt><dd>mask threshold down, up</dd>
        <dt><kbd>O</kbd> <kbd>H</kbd> <kbd>U</kbd> <kbd>R</kbd></dt><dd>lungs, heat map on and off, undo, reset view</dd>
        <dt>arrow keys</dt><dd>move, with the picture focused (or drag)</dd>
        <dt><kbd>Shift</kbd> + drag</dt><dd>level (up is brighter) and window (right is wider); also the right button</dd>
      </dl></details></div>`;
}

function View({ film }) {
  const act = (work) => () => { work(viewers.main); draw(); };
  return html`<section id="view" key="view" aria-label="Picture">
    <div id="stage" class=${state.other ? "two" : ""}><${Stage} name="main" film=${film} key="main" />
      ${state.other && html`<${Stage} name="other" film=${state.other} key="other" />`}
      <div class="tools" role="group" aria-label="View">
        <button type="button" id="zoom-in" title="Zoom in (+)" aria-label="Zoom in" onClick=${act((v) => v.zoom(1.4))}>+</button>
        <button type="button" id="zoom-out" title="Zoom out (-)" aria-label="Zoom out" onClick=${act((v) => v.zoom(1 / 1.4))}>−</button>
        <button type="button" id="fit" title="Whole picture (0)" aria-label="Fit: the whole picture" onClick=${act((v) => v.fit())}>Fit</button>
        <button type="button" id="one" title="One pixel a pixel (1)" aria-label="1:1, one pixel of the file is one of the screen" onClick=${act((v) => v.oneToOne())}>1:1</button>
        <button type="button" id="turn" title="Turn (T)" aria-label="Turn by a quarter" onClick=${act((v) => v.turn())}>↻</button>
        <button type="button" id="flip" title="Flip (F)" aria-label="Flip left and right" onClick=${act((v) => v.flip())}>⇋</button>
        <button type="button" id="full" title="Full screen" aria-label="Full screen" onClick=${() => (document.fullscreenElement ? document.exitFullscreen() : byId("view").requestFullscreen())}>Full</button>
      </div></div>
    ${!maskShown(film) && html`<p class="message question">The networks were not made for such a picture: a mask of it may mean nothing.
      <button id="ask-mask" type="button" onClick=${() => { film.maskAsked = true; masks(); }}>Show the mask anyway</button></p>`}
    <${Controls} film=${film} /></section>`;
}

function compare(film) {
  state.other = film;
  draw();
  if (film) fill("other", film);
}

function reset() {
  Object.assign(state.look, { opacity: 0.2, outline: true, heat: false, zones: true, widths: true });
  const film = state.shown;
  if (!film?.open) return;
  const { grey } = film.open;
  film.look = { center: grey.center, width: grey.window, invert: false };
  if (!film.edited) film.threshold = film.found.mask_threshold;
  Object.assign(viewers.main.place, { turns: 0, flip: false });
  viewers.main.fit();
  look();
  masks();
}

// Downloads

async function busy(words, work) {
  state.busy = words;
  draw();
  try {
    await work();
  } catch (error) {
    say(error.message);
  }
  state.busy = "";
  draw();
}

async function rows() {
  const made = [];
  for (const film of films.all.filter(finished)) {
    if (film.state === "done" && !film.open) await films.open(film);
    made.push(record(film, film.state === "done" && !refused(film.found) ? films.areas(film) : null));
  }
  return made;
}

const saveCsv = () => busy("Writing the table …", async () => save(csv(await rows(), state.about.columns), "lungsight.csv"));

const saveZip = () => busy("Collecting …", async () => {
  const table = await rows();
  const files = { "results.csv": csv(table, state.about.columns), "results.json": json(table), "README.txt": new Blob([`${NOTICE}\r\n`]) };
  const done = films.all.filter((film) => film.state === "done" && maskShown(film));
  for (const [index, film] of done.entries()) {
    state.busy = `Collecting ${index + 1} of ${done.length} …`;
    draw();
    await films.open(film);
    let name = `masks/${maskName(film)}`;
    for (let copy = 2; name in files; copy += 1) name = `masks/${copy}-${maskName(film)}`;
    files[name] = await maskOf(film, film.open.automatic);
  }
  save(await archive(files), "lungsight.zip");
});

function Downloads({ film }) {
  const { found } = film;
  const button = (id, words, work, disabled) => html`<button id=${id} type="button" disabled=${Boolean(disabled || state.busy)} onClick=${() => busy("Working …", work)}>${words}</button>`;
  const areas = () => (refused(found) ? null : films.areas(film));
  const panes = () => ["main", "other"].filter((name) => viewers[name]?.film).map((name) => ({ viewer: viewers[name], mark: mark(filmOf(name), viewers[name]) }));
  const lines = () => [NOTICE, ...(film.edited ? ["Mask corrected by hand."] : [])];
  return html`<h3>Download</h3><div class="buttons downloads">
    ${button("get-mask", film.edited ? "Corrected mask (PNG)" : "Mask (PNG)", async () => save(await maskOf(film, film.open.automatic), maskName(film)), !maskShown(film))}
    ${button("get-overlay", "Picture as seen (PNG)", async () => save(await seen(panes(), lines()), `${stem(film)}-overlay.png`))}
    ${found.format === "DICOM" && button("get-seg", film.edited ? "Corrected DICOM SEG" : "DICOM SEG", async () => save(await segOf(film, film.open.automatic), segName(film)), !maskShown(film))}
    ${button("get-json", "Figures (JSON)", async () => save(json([record(film, areas())]), `${stem(film)}.json`))}
    <button id="print" type="button" onClick=${() => window.print()}>Print</button></div>`;
}

function Told({ film }) {
  if (film.state !== "done" || !film.open) {
    const failed = ["failed", "cancelled"].includes(film.state);
    return html`<section id="told" key="told" aria-live="polite" aria-label="Result"><div id="summary"><p class="film-name">${film.name}</p>
      <p class=${failed ? "message" : "busy"} id="failure">${failed ? film.words : "Working …"}</p>
      ${failed && html`<button id="again" type="button" onClick=${() => films.again(film)}>Try again</button>`}</div></section>`;
  }
  return html`<section id="told" key="told" aria-live="polite" aria-label="Result">
    <${Summary} entry=${film} about=${state.about} words=${state.words} />
    ${!narrow.matches && html`<${Rest} film=${film} />`}</section>`;
}

function Rest({ film }) {
  return html`<${Details} entry=${film} about=${state.about} words=${state.words} areas=${films.areas(film)} zones=${films.zones(film)} shown=${maskShown(film)}><${Downloads} film=${film} /><//>
    <p class="print-only">Printed ${new Date().toLocaleString("en-GB")}; mask threshold ${fixed(film.threshold, 2)}; Lungsight ${state.about.version}. ${NOTICE}</p>`;
}

// The page

function App() {
  const { shown } = state;
  const done = shown?.state === "done" && shown.open;
  const view = done && html`<${View} film=${shown} />`;
  const told = shown && html`<${Told} film=${shown} />`;
  return html`<section id="files" key="files" aria-labelledby="files-title">
      <h2 id="files-title">X-rays</h2>
      <p class="intro">Open frontal chest X-rays to see the lungs that the network finds, how much of them is affected, how big the heart is, and the reasons to doubt it.</p>
      <div class="buttons">
        <input id="choose" type="file" multiple class="unseen" accept=".png,.jpg,.jpeg,.bmp,.tif,.tiff,.dcm,image/png,image/jpeg,application/dicom" onChange=${pick} />
        <label for="choose" class="button primary">Choose files</label>
        <input id="folder" type="file" multiple webkitdirectory class="unseen" onChange=${pick} />
        <label for="folder" class="button">Choose a folder</label>
        <button id="sample" type="button" onClick=${trySample}>Try a drawn sample</button></div>
      <p id="hint">Or drop files or a folder anywhere on this page: PNG, JPEG, TIFF or DICOM. They go to this server's memory and nowhere else.</p>
      ${state.message && html`<p id="message" class="message" role="alert">${state.message}</p>`}
      ${state.words && html`<${FilmList} />`}</section>
    ${narrow.matches ? [told, view, done && html`<section id="more" key="more" aria-label="Details"><${Rest} film=${shown} /></section>`] : [view, told]}`;
}

let drawing = 0;
function drawNow() {
  document.body.classList.toggle("alone", !films.all.length);
  render(html`<${App} />`, document.querySelector("main"));
}

function draw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    drawNow();
  });
}

function say(words) {
  state.message = words;
  draw();
}

function pick(event) {
  add(picked(event.target.files));
  event.target.value = "";
}

async function trySample() {
  try {
    const file = await api.sample();
    await add([{ file, name: file.name }]);
  } catch (error) {
    say(error.message);
  }
}

function step(by) {
  const list = listed();
  const next = list[list.indexOf(state.shown) + by];
  if (next) show(next);
}

function setKeys(on) {
  state.keys = on;
  localStorage.setItem("lungsight-keys", on ? "on" : "off");
  draw();
}

const flip = (id) => { if (byId(id) && !byId(id).disabled) byId(id).click(); };
const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  "+": () => viewers.main?.zoom(1.4),
  "=": () => viewers.main?.zoom(1.4),
  "-": () => viewers.main?.zoom(1 / 1.4),
  0: () => viewers.main?.fit(),
  1: () => viewers.main?.oneToOne(),
  t: () => viewers.main?.turn(),
  f: () => viewers.main?.flip(),
  i: () => flip("invert"),
  "[": () => setThreshold(state.shown.threshold - 0.05),
  "]": () => setThreshold(state.shown.threshold + 0.05),
  o: () => flip("outline"),
  h: () => flip("heat"),
  u: undo,
  r: reset,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !state.keys || !state.shown || byId("ask").open) return;
  if (event.target.matches?.("select, input[type=text], input[type=password]")) return;
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
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  inside = 0;
  byId("drop").hidden = true;
  add(await dropped(event.dataTransfer.items));
});

api.hooks.askToken = (wrong) => new Promise((done) => {
  const dialog = byId("ask");
  byId("token").value = "";
  byId("ask-wrong").textContent = wrong;
  byId("ask-wrong").hidden = !wrong;
  dialog.addEventListener("close", () => done(dialog.returnValue === "ok" ? byId("token").value : ""), { once: true });
  dialog.returnValue = "";
  dialog.showModal();
});

narrow.addEventListener("change", draw);
draw();
// What was open before a reload; without it nothing is asked of the server.
films.restore(learn).catch((error) => say(error.message));
