"""Markup, style and script of the contact sheet. File names get onto the page as text alone."""

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root { color-scheme: light dark; --back: #f6f7f9; --card: #fff; --ink: #16202b; --soft: #56616e; --line: #d5dae1;
  --warn: #9a4a00; --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --back: #11161c; --card: #1b222b; --ink: #e8edf3; --soft: #a3afbd; --line: #323c48; --warn: #ffb36b;
    --link: #86b9f2; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1rem clamp(.75rem, 3vw, 2rem); background: var(--back); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; }
.note { color: var(--soft); margin: .2rem 0 1rem; }
form { display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end; margin-bottom: 1rem; }
label { display: grid; gap: .15rem; font-size: .85rem; color: var(--soft); }
select, input, button { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line);
  border-radius: .35rem; padding: .35rem .6rem; min-height: 2.2rem; }
button:disabled { opacity: .45; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
#sheet { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); padding: 0;
  margin: 0; list-style: none; }
#sheet li { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem;
  overflow-wrap: anywhere; font-size: .85rem; }
#sheet .frame { display: grid; place-items: center; height: 160px; background: #000; color: #bbb; border-radius: .3rem;
  overflow: hidden; margin-bottom: .4rem; }
#sheet img { max-width: 100%; max-height: 160px; display: block; }
#sheet p { margin: .1rem 0; }
.warn { color: var(--warn); }
.soft { color: var(--soft); }
nav { display: flex; gap: .75rem; align-items: center; justify-content: center; margin: 1.2rem 0; }
a { color: var(--link); }
</style>
</head>
<body>
<h1>{title}</h1>
<p class="note"><strong>Research use only, not for diagnosis.</strong> Orange is the patient's left lung, blue the
right.</p>
<noscript><p>This page needs JavaScript to show its pictures. The same results are in results.csv.</p></noscript>
<form id="controls" onsubmit="return false">
<label>Order <select id="order">
<option value="flagged">Flagged first</option>
<option value="severe">Most severe first</option>
<option value="high">Highest probability first</option>
<option value="low">Lowest probability first</option>
<option value="name">By name</option>
</select></label>
<label>Show <select id="show">
<option value="all">All</option>
<option value="flagged">Flagged, refused or failed</option>
<option value="covid">Covid</option>
<option value="not_covid">Not covid</option>
<option value="uncertain">Uncertain</option>
<option value="refused">Refused</option>
<option value="failed">Failed</option>
</select></label>
<label>Name contains <input id="search" type="search" autocomplete="off"></label>
<span id="count" role="status"></span>
</form>
<ul id="sheet"></ul>
<nav aria-label="Pages"><button id="back" type="button">Previous</button><span id="page"></span>
<button id="next" type="button">Next</button></nav>
"""

SCRIPT = """<script>
"use strict";
const PAGE = 120;
const byId = (id) => document.getElementById(id);
// Entries hold codes, whose English comes from lungsight/wording.py, and figures as Python writes them.
const words = JSON.parse(byId("words").textContent);
const say = (kind, codes) => codes.map((code) => words[kind][code] || code).join("; ");
// Thumbnails stay in their elements as text until they are shown.
const entries = Array.from(document.querySelectorAll("script.entry"), (element) => {
  const entry = JSON.parse(element.textContent);
  delete entry.picture;
  entry.element = element;
  return entry;
});
const byName = (a, b) => a.name.localeCompare(b.name, undefined, {numeric: true});
const known = (a, b) => (a.p === null) - (b.p === null);
const orders = {
  flagged: (a, b) => b.concern - a.concern || byName(a, b),
  severe: (a, b) => (a.severity === null) - (b.severity === null) || b.severity - a.severity || byName(a, b),
  high: (a, b) => known(a, b) || b.p - a.p || byName(a, b),
  low: (a, b) => known(a, b) || a.p - b.p || byName(a, b),
  name: byName,
};
let page = 0;

function line(parent, text, kind) {
  if (!text) return;
  const p = parent.appendChild(document.createElement("p"));
  p.textContent = text;
  if (kind) p.className = kind;
}

function card(entry) {
  const item = document.createElement("li");
  const frame = item.appendChild(document.createElement(entry.link ? "a" : "div"));
  frame.className = "frame";
  if (entry.link) frame.href = entry.link.split("/").map(encodeURIComponent).join("/");
  const picture = JSON.parse(entry.element.textContent).picture;
  if (picture) {
    const image = frame.appendChild(document.createElement("img"));
    image.src = "data:image/jpeg;base64," + picture;
    image.alt = "Overlay of " + entry.name;
  } else {
    frame.textContent = "no picture";
  }
  // The whole path is in the tooltip.
  line(item, entry.name.split(/[\\/]/).slice(-2).join("/"));
  item.title = entry.name;
  line(item, entry.error, "warn");
  if (entry.status === "refused") line(item, "refused: " + say("reason", entry.reasons), "warn");
  if (entry.status === "ok") {
    line(item, "severity " + entry.severity_words);
    line(item, "cardiothoracic ratio " + entry.ratio_words);
    line(item, say("ratiodoubt", entry.doubts), "soft");
  }
  if (entry.p !== null) {
    line(item, `score: ${say("decision", [entry.decision])}, ${entry.score_words}`);
  } else if (entry.status === "ok") {
    line(item, say("decision", [entry.decision]) + ": " + say("reason", entry.reasons), "soft");
  }
  line(item, say("flag", entry.flags), "warn");
  return item;
}

function draw() {
  const show = byId("show").value;
  const wanted = byId("search").value.toLowerCase();
  const chosen = entries.filter((entry) => entry.name.toLowerCase().includes(wanted) && (
    show === "all" || (show === "flagged" && entry.concern > 0) || entry.decision === show || entry.status === show));
  chosen.sort(orders[byId("order").value]);
  const pages = Math.max(1, Math.ceil(chosen.length / PAGE));
  page = Math.min(page, pages - 1);
  byId("sheet").replaceChildren(...chosen.slice(page * PAGE, (page + 1) * PAGE).map(card));
  byId("count").textContent = `${chosen.length} of ${entries.length}`;
  byId("page").textContent = `Page ${page + 1} of ${pages}`;
  byId("back").disabled = page === 0;
  byId("next").disabled = page === pages - 1;
  document.querySelector("nav").hidden = pages === 1;
}

for (const id of ["order", "show", "search"]) {
  byId(id).addEventListener("input", () => { page = 0; draw(); });
}
byId("back").addEventListener("click", () => { page -= 1; draw(); scrollTo(0, 0); });
byId("next").addEventListener("click", () => { page += 1; draw(); scrollTo(0, 0); });
draw();
</script>
</body>
</html>
"""
