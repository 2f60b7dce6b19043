// The result in words first, then on a line on which "cannot tell" is a wide zone and not a number.

/** An element with attributes and children; texts are texts, so that nothing of a file becomes markup. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const VERDICTS = {
  covid: [
    "More like the COVID-19 X-rays",
    "among the pictures that the network learned from. That is a likeness, not a finding.",
  ],
  not_covid: [
    "More like the X-rays without COVID-19",
    "among the pictures that the network learned from. It rules nothing out.",
  ],
  uncertain: [
    "Cannot tell",
    "The score lies where the network is wrong too often to say anything. It does not mean “half ill”.",
  ],
};

const DOUBTS = {
  "no lungs found": "There is nothing here that looks like lungs.",
  "only one lung found": "The other may be white, cut off or missed. A score on one lung is worth little.",
  "one lung much smaller than the other": "A collapsed or white lung, a turned patient, or a wrong mask. Look at the outline.",
  "lungs implausibly small": "The mask may be wrong, or the picture shows more than a chest.",
  "lungs implausibly large": "The mask may be wrong, or the picture is cut close.",
  "lungs cut off by the image's edge": "What lies outside the picture was not seen.",
  "lungs in many pieces": "The mask is torn. Look at the outline, or move the threshold.",
  "looks upside down": "The lungs are closer together at their bases than at their tops.",
};

const two = (value) => value.toFixed(2);
const percent = (value) => `${Math.round(100 * value)} %`;
const sentence = (words) => words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");

function line(prediction, zone) {
  const bar = make("div", { class: "bar" }, make("div", { class: "axis" }));
  const at = (element, left, width) => {
    element.style.left = `${100 * left}%`;
    if (width !== undefined) element.style.width = `${100 * width}%`;
    bar.append(element);
  };
  if (zone) {
    at(make("div", { class: "zone" }), zone[0], zone[1] - zone[0]);
    const name = make("div", { class: "zone-name" }, "cannot tell");
    at(name, Math.min(Math.max((zone[0] + zone[1]) / 2, 0.12), 0.88));
  }
  const { probability, interval } = prediction;
  if (interval) at(make("div", { class: "interval" }), interval[0], interval[1] - interval[0]);
  at(make("div", { class: "point" }), probability);
  const range = interval ? `, 95 % interval ${two(interval[0])} to ${two(interval[1])}` : "";
  const unsure = zone ? ` Between ${two(zone[0])} and ${two(zone[1])} it cannot tell.` : "";
  return make(
    "div",
    { class: "scale", role: "img", "aria-label": `Score ${two(probability)}${range}.${unsure}` },
    bar,
    make("div", { class: "ends" }, make("span", {}, "0: like those without"), make("span", {}, "like those with COVID-19: 1")),
  );
}

function score(prediction, about) {
  if (prediction.decision === "not_scored") {
    return [
      make("p", { class: "verdict", id: "verdict" }, "Not scored"),
      make("p", {}, sentence(prediction.reason || "no reason was given")),
    ];
  }
  const [words, more] = VERDICTS[prediction.decision];
  const { probability, interval } = prediction;
  const range = interval
    ? make("p", { class: "soft" }, `Score ${two(probability)}; 95 % interval ${two(interval[0])} to ${two(interval[1])}, `
      + "from the calibration alone: how sure the score is, not how ill the patient.")
    : make("p", { class: "soft" }, `Score ${two(probability)}; this network does not say how sure it is.`);
  return [
    make("p", { class: "verdict", id: "verdict" }, words),
    make("p", {}, more),
    line(prediction, about.cannot_tell),
    range,
  ];
}

function doubts(prediction) {
  const words = [...new Set([...prediction.gate.reasons, ...prediction.flags])];
  const items = words.map((word) => make(
    "li", {}, sentence(word), DOUBTS[word] ? make("span", {}, DOUBTS[word]) : null,
  ));
  if (!prediction.gate.frontal) {
    items.unshift(make("li", {}, "This does not pass for an upright frontal chest X-ray, so there is no score."));
  }
  return [
    make("h3", {}, "Reasons to doubt it"),
    items.length
      ? make("ul", { class: "warnings", id: "warnings" }, ...items)
      : make("p", { class: "soft", id: "warnings" }, "Nothing odd about the picture or the mask. That does not make the score right."),
    ...(prediction.notes.length
      ? [make("p", { class: "soft" }, `About the file: ${prediction.notes.join("; ")}.`)]
      : []),
  ];
}

/** Areas as a table; `found` are the pixels at the threshold that is set, in pixels of the file. */
export function areaTable(prediction, found) {
  const { height, width, spacing_mm: spacing } = prediction.image;
  const row = (side, label) => {
    const pixels = found[side];
    const size = spacing ? `${((pixels * spacing[0] * spacing[1]) / 100).toFixed(0)} cm²` : `${Math.round(pixels).toLocaleString("en")} px`;
    return make(
      "tr", {},
      make("th", { scope: "row" }, make("span", { class: `swatch ${side}` }), label),
      make("td", {}, `${size}, ${percent(pixels / (height * width))} of picture`),
    );
  };
  return make("table", { id: "areas", title: "The patient's right lung is on the left of the picture" }, make("tbody", {}, row("right", "Right lung"), row("left", "Left lung")));
}

/** What is known about one X-ray; `parts.areas` and `parts.downloads` are elements that the page keeps up to date. */
export function report(prediction, about, parts) {
  const limits = [...new Set(about.models.flatMap((model) => model.limits))];
  return [
    ...score(prediction, about),
    ...doubts(prediction),
    make("h3", {}, "Lung areas in the picture"),
    parts.areas,
    make("h3", {}, "Download"),
    parts.downloads,
    make(
      "details", {},
      make("summary", {}, "What answered"),
      make("ul", { class: "plain" }, ...about.models.map((model) => make("li", {}, `${model.task}: ${model.name}, version ${model.version}`))),
      limits.length ? make("p", { class: "soft" }, "Known limits:") : null,
      make("ul", { class: "plain" }, ...limits.map((limit) => make("li", {}, limit))),
    ),
  ];
}

/** What the heat map says, in words. */
export function heatWords(prediction) {
  if (!prediction.evidence) {
    return [prediction.decision === "not_scored" ? "There is no score to explain." : "This network gives no map of what moved its score."];
  }
  const { share_inside_lungs: share } = prediction.evidence;
  return [
    make("span", { class: "swatch raised" }), "raised the score, ",
    make("span", { class: "swatch lowered" }), "lowered it. ",
    share === null ? "Nothing moved it." : `${percent(share)} of what moved it lies inside the lungs.`,
  ];
}

/** The few words for the list. */
export function brief(prediction) {
  const words = { covid: "more like COVID-19", not_covid: "more like without", uncertain: "cannot tell", not_scored: "not scored" };
  const warnings = new Set([...prediction.gate.reasons, ...prediction.flags]).size;
  return words[prediction.decision] + (warnings ? `, ${warnings} warning${warnings > 1 ? "s" : ""}` : "");
}
