// One film's result in words first, then on a line on which "cannot tell" is a wide zone and not a number. Every code is
// turned into words by the server's table, so that no text can be missing.

import { html } from "./html.js";
import { fixed, percent, ratioWords, severityWords } from "./numbers.js";

const two = (value) => fixed(value, 2);
export const sentence = (words) => words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");

/** Codes of what speaks against the mask or the score. */
export const doubts = (found) => [...new Set([...(found.reasons ?? []), ...(found.flags ?? [])])];
export const refused = (found) => found.gate === "not_frontal";
export const scored = (found) => found.probability !== null && found.probability !== undefined;

function line(found, zone, words) {
  const at = (left, width) => ({ left: `${100 * left}%`, ...(width === undefined ? {} : { width: `${100 * width}%` }) });
  const { probability, low, high } = found;
  const range = low === null ? "" : `, 95 % interval ${two(low)} to ${two(high)}`;
  const unsure = zone ? ` Between ${two(zone[0])} and ${two(zone[1])} it cannot tell.` : "";
  return html`<div class="scale" role="img" aria-label=${`Score ${two(probability)}${range}.${unsure}`}>
    <div class="bar"><div class="axis"></div>
      ${zone && html`<div class="zone" style=${at(zone[0], zone[1] - zone[0])}></div>
        <div class="zone-name" style=${at(Math.min(Math.max((zone[0] + zone[1]) / 2, 0.15), 0.85))}>${words.decision.uncertain}</div>`}
      ${low !== null && html`<div class="interval" style=${at(low, high - low)}></div>`}
      <div class="point" style=${at(probability)}></div></div>
    <div class="ends"><span>0: like those without</span><span>like those with COVID-19: 1</span></div></div>`;
}

/** What the score is worth, from its network's card. */
export function worth(about) {
  return about.worth?.words ?? "This network's card does not say what its score is worth.";
}

const known = (value) => value !== null && value !== undefined;

/** Severity on its line: how much of the lungs is affected, 0 to 18. */
function Severity({ found, about }) {
  if (!known(found.severity)) {
    return html`<p class="verdict" id="severity">Severity: cannot tell</p>
      <p class="soft">${refused(found) ? "This does not pass for an upright frontal chest X-ray." : about.severity ? "The lungs were not found whole, so that their zones mean nothing." : "No severity network is loaded."}</p>`;
  }
  const { severity, severity_low: low, severity_high: high } = found;
  const at = (left, width) => ({ left: `${(100 * left) / 18}%`, ...(width === undefined ? {} : { width: `${(100 * width) / 18}%` }) });
  const range = known(low) ? `${severityWords(low)} to ${severityWords(high)}` : "";
  return html`<p class="verdict" id="severity">Severity ${severityWords(severity)} <span class="of">of 18</span></p>
    <div class="scale" role="img" aria-label=${`Severity ${severityWords(severity)} of 18${range && `, 90 % interval ${range}`}`}><div class="bar plain">
      <div class="axis"></div>${range && html`<div class="interval" style=${at(low, high - low)}></div>`}<div class="point" style=${at(severity)}></div></div>
      <div class="ends"><span>0: no zone affected</span><span>all zones dense: 18</span></div></div>
    <p class="soft">${range && `90 % interval ${range}. `}${about.severity?.words ?? ""}</p>`;
}

function Ratio({ found, words }) {
  if (found.cardiothoracic_ratio === undefined) return null;
  if (!known(found.cardiothoracic_ratio)) return html`<p id="ratio">Cardiothoracic ratio: cannot tell</p>`;
  const doubts = [found.ratio_note && words.rationote[found.ratio_note], ...(found.ratio_doubts ?? []).map((code) => words.ratiodoubt[code])].filter(Boolean);
  return html`<p id="ratio"><strong>Cardiothoracic ratio ${ratioWords(found.cardiothoracic_ratio)}</strong>${doubts.length > 0 && html`<span class="soft"> ${doubts.map(sentence).join(" ")}</span>`}</p>`;
}

/** Severity first, then heart and score: what stays in sight. */
export function Summary({ entry, about, words }) {
  const { found } = entry;
  return html`<div id="summary">
    <p class="film-name" title=${entry.name}>${entry.name}</p>
    <div class="measures"><${Severity} found=${found} about=${about} />
      ${!refused(found) && html`<${Ratio} found=${found} words=${words} />`}</div>
    <${Score} found=${found} about=${about} words=${words} /></div>`;
}

/** The COVID-19 score after it, with what is left of it. */
function Score({ found, about, words }) {
  const verdict = words.verdict[found.decision];
  const reasons = sentence((found.reasons ?? []).map((code) => words.reason[code]).join("; ") || "no reason was given");
  return html`<div class="score"><p id="verdict"><strong>COVID-19 score: ${verdict.title[0].toLowerCase()}${verdict.title.slice(1)}</strong> ${verdict.text}</p>
    ${scored(found)
    ? html`${line(found, about.cannot_tell, words)}
        <p class="soft">Score ${two(found.probability)}; ${found.low === null ? "this network does not say how sure it is."
        : `95 % interval ${two(found.low)} to ${two(found.high)}, from the calibration alone: how sure the score is, not how ill the patient.`}</p>
        <p class="worth" id="worth">${worth(about)}</p>`
    : html`<p class="soft">${reasons}</p>`}</div>`;
}

/** The six zones: score and area. */
function ZoneTable({ found, zones }) {
  if (!zones) return html`<p class="soft" id="no-zones">No zones: the lungs were not found whole.</p>`;
  const names = ["upper", "middle", "lower"];
  const total = zones.reduce((sum, each) => sum + each, 0) || 1;
  return html`<table id="zones-table"><thead><tr><th scope="col">Zone</th><th scope="col">Severity, 0 to 3</th><th scope="col">Of the lungs</th></tr></thead><tbody>
    ${zones.map((pixels, i) => html`<tr><th scope="row">${"ABCDEF"[i]}: ${i < 3 ? "right" : "left"} ${names[i % 3]}</th>
      <td>${found.severity_zones?.length ? severityWords(found.severity_zones[i]) : "cannot tell"}</td><td>${percent(pixels / total)}</td></tr>`)}</tbody></table>`;
}

function Doubts({ found, words }) {
  const items = doubts(found).map((code) => [words.reason[code] ?? words.flag[code], words.meaning[code]]);
  return html`<h3>Reasons to doubt it</h3>
    ${refused(found) || items.length
    ? html`<ul class="warnings" id="warnings">
        ${refused(found) && html`<li>This does not pass for an upright frontal chest X-ray, so there is no score.</li>`}
        ${items.map(([title, meaning]) => html`<li>${sentence(title)}${meaning && html`<span>${meaning}</span>`}</li>`)}</ul>`
    : html`<p class="soft" id="warnings">Nothing odd about the picture or the mask. That does not make the score right.</p>`}`;
}

/** Areas as a table; `areas` are pixels of the file at the threshold that is set. */
export function AreaTable({ found, areas }) {
  const { spacing_row_mm: down, spacing_column_mm: across } = found;
  const row = (side, label) => {
    const pixels = areas[side];
    const size = down ? `${fixed((pixels * down * across) / 100, 0)} cm²` : `${Math.round(pixels).toLocaleString("en")} px`;
    return html`<tr><th scope="row"><span class=${`swatch ${side}`}></span>${label}</th>
      <td data-pixels=${Math.round(pixels)}>${size}, ${percent(pixels / (found.height * found.width))} of picture</td></tr>`;
  };
  return html`<table id="areas"><tbody>${row("right", "Right lung")}${row("left", "Left lung")}</tbody></table>`;
}

/** The file, without who it is of. */
function FileFacts({ found, words }) {
  const { spacing_row_mm: down, spacing_column_mm: across, spacing_kind: kind } = found;
  const facts = [
    ["Format", `${found.format}, ${found.bits} bits`],
    ["Size", `${found.width} × ${found.height} pixels`],
    ["View", found.view || "not said"],
    ["Modality", found.modality],
    ["Pixel", down ? `${fixed(down, 3)} × ${fixed(across, 3)} mm${kind ? `, ${words.spacingkind?.[kind] ?? kind}` : ""}` : "size not said"],
  ];
  return html`<dl class="facts" id="facts">${facts.filter(([, value]) => value).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
    ${found.notes?.length ? html`<p class="soft">About the file: ${found.notes.map((note) => words.xraynote?.[note] ?? note).join("; ")}.</p>` : null}`;
}

/** Everything below the verdict. `children` are the downloads. */
export function Details({ entry, about, words, areas, zones, shown, children }) {
  const { found } = entry;
  const limits = [...new Set(about.models.flatMap((model) => model.limits))];
  return html`<div id="rest">
    <${Doubts} found=${found} words=${words} />
    ${refused(found) ? html`<p class="soft" id="no-areas">No left, no right and no areas: they mean something on a frontal X-ray only.</p>`
    : html`<h3>Lung areas in the picture</h3><${AreaTable} found=${found} areas=${areas} />
      ${entry.edited && html`<p class="badge" id="corrected">Mask corrected by hand</p><p class="soft">Areas follow it; severity, ratio and score are those of the network's own mask.</p>`}
      <h3>Zones</h3><${ZoneTable} found=${found} zones=${zones} />`}
    ${!shown && html`<p class="soft">The mask is not shown.</p>`}
    <h3>File</h3><${FileFacts} found=${found} words=${words} />
    ${children}
    <details><summary>What answered</summary>
      <ul class="plain">${about.models.map((model) => html`<li>${model.task}: ${model.name}, version ${model.version}</li>`)}</ul>
      ${limits.length > 0 && html`<p class="soft">Known limits:</p><ul class="plain">${limits.map((limit) => html`<li>${limit}</li>`)}</ul>`}
    </details></div>`;
}

/** What the heat map says. */
export function HeatWords({ found }) {
  if (!found.evidence) return html`<p id="heat-words">${scored(found) ? "This network gives no map of what moved its score." : "There is no score to explain."}</p>`;
  const { fraction_inside_lungs: inside, text } = found.evidence;
  return html`<p id="heat-words"><span class="swatch raised"></span>raised the score, <span class="swatch lowered"></span>lowered it. ${" "}
    ${inside === null ? "Nothing moved it." : `${percent(inside)} of what moved it lies inside the lungs.`} ${text}</p>`;
}

/** The few words for the list. */
export function brief(entry, words) {
  if (entry.state !== "done") return entry.words;
  const count = doubts(entry.found).length;
  const { severity } = entry.found;
  const first = known(severity) ? `severity ${severityWords(severity)}; ` : "";
  return first + words.verdict[entry.found.decision].brief + (count ? `, ${count} warning${count > 1 ? "s" : ""}` : "") + (entry.edited ? ", corrected" : "");
}
