// What is seen of one film, or of two side by side, as one picture.

const GAP = 2;

function write({ words, side }, context, left, width, height) {
  context.textAlign = side === "left" ? "left" : side === "right" ? "right" : "center";
  context.textBaseline = side === "bottom" ? "bottom" : "top";
  const x = left + ({ left: 10, right: width - 10 }[side] ?? width / 2);
  const y = side === "bottom" ? height - 10 : 10;
  context.strokeText(words, x, y);
  context.fillText(words, x, y);
}

/** A PNG blob of `panes` [{ viewer, mark }], left to right, `mark` { words, side } or null, with lines of text below. */
export async function seen(panes, lines) {
  const canvases = panes.map(({ viewer }) => viewer.canvas);
  const width = canvases.reduce((sum, one) => sum + one.width + GAP, -GAP);
  const height = Math.max(...canvases.map((one) => one.height));
  const line = Math.max(22, Math.round(height / 36));
  const canvas = new OffscreenCanvas(width, height + line * lines.length);
  const context = canvas.getContext("2d");
  context.font = `600 ${Math.round(line * 0.7)}px system-ui, sans-serif`;
  let left = 0;
  for (const { viewer, mark } of panes) {
    viewer.render(viewer.context);
    context.drawImage(viewer.canvas, left, 0);
    Object.assign(context, { fillStyle: "#fff", strokeStyle: "#000", lineWidth: 4 });
    if (mark) write(mark, context, left, viewer.canvas.width, viewer.canvas.height);
    left += viewer.canvas.width + GAP;
  }
  context.fillStyle = "#ffd84d";
  context.fillRect(0, height, width, line * lines.length);
  Object.assign(context, { fillStyle: "#231a00", textAlign: "left", textBaseline: "middle" });
  lines.forEach((words, i) => context.fillText(words, line * 0.4, height + line * (i + 0.5), width - line * 0.8));
  return canvas.convertToBlob({ type: "image/png" });
}
