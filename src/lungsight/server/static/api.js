// The server's API. Everything is fetched from where the page came from.

let token = "";

export class Refusal extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Called where the server asks for its token; gives one, or "" to give up. Set by the page. */
export const hooks = { askToken: async () => "" };

let asking = null;

async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const used = token;
  if (used) headers.Authorization = `Bearer ${used}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", referrerPolicy: "no-referrer" });
  } catch {
    throw new Refusal(0, "The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) {
    // Several uploads may be refused at once: one question is enough.
    if (token === used) {
      asking ??= hooks.askToken().finally(() => { asking = null; });
      token = await asking;
    }
    if (token) return ask(path, options);
  }
  const problem = await response.json().catch(() => ({}));
  const detail = problem.detail || problem.title || `The server answered ${response.status}.`;
  throw new Refusal(response.status, detail, Number(response.headers.get("Retry-After")) || 0);
}

const wait = (seconds) => new Promise((done) => { setTimeout(done, seconds * 1000); });

async function send(path, file, accept, waiting) {
  for (let attempt = 0; ; attempt += 1) {
    const body = new FormData();
    // The name stays here: it may be a patient's.
    body.append("files", file, "xray");
    try {
      return await ask(path, { method: "POST", body, headers: { Accept: accept } });
    } catch (error) {
      if (error.status !== 503 || attempt === 5) throw error;
      waiting?.();
      await wait(Math.max(1, error.retryAfter));
    }
  }
}

export async function models() {
  return (await ask("v1/models")).json();
}

export async function sample() {
  const blob = await (await ask("v1/sample", { headers: { Accept: "image/png" } })).blob();
  return new File([blob], "Drawn sample", { type: "image/png" });
}

/** Everything that the page shows of one file. */
export async function predict(file, waiting) {
  const parts = ["display", "probability", "evidence"].map((part) => `include=${part}`).join("&");
  const answer = await send(`v1/predictions?${parts}`, file, "application/json", waiting);
  return (await answer.json()).predictions[0];
}

/** The answer in another form: image/png the mask, application/dicom the DICOM SEG. */
export async function other(file, accept, threshold) {
  return (await send(`v1/predictions?mask_threshold=${threshold}`, file, accept)).blob();
}

/** PNG in base64 -> { width, height, grey } with one byte a pixel. */
export async function greyOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const grey = new Uint8ClampedArray(width * height);
  for (let i = 0; i < grey.length; i += 1) grey[i] = data[4 * i];
  return { width, height, grey };
}
