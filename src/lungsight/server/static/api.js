// The server's API. Everything is fetched from where the page came from.

let token = "";

export class Refusal extends Error {
  constructor(status, code, detail, retryAfter = 0) {
    super(detail);
    Object.assign(this, { status, code, retryAfter });
  }
}

/** Called where the server asks for its token, with what was wrong with the last one ("" the first time); gives one, or
 * "" to give up. Set by the page. */
export const hooks = { askToken: async () => "" };

let asking = null;

/** Ask for the token until one can be sent in a header: anything else can only be wrong. */
async function askToken(wrong) {
  const given = (await hooks.askToken(wrong)).trim();
  if (!given || /^[\x21-\x7e]+$/.test(given)) return given;
  return askToken("This is not the server's token: it has letters that no token has.");
}

async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const used = token;
  if (used) headers.Authorization = `Bearer ${used}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", referrerPolicy: "no-referrer" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "unreachable", "The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401) {
    // Several uploads may be refused at once: one question is enough.
    if (token === used) {
      asking ??= askToken(used ? "This is not the server's token." : "").finally(() => { asking = null; });
      token = await asking;
    }
    if (token) return ask(path, options);
  }
  const detail = problem.detail || problem.title || `The server answered ${response.status}.`;
  throw new Refusal(response.status, problem.code ?? "", detail, Number(response.headers.get("Retry-After")) || 0);
}

const wait = (seconds, signal) => new Promise((done, stop) => {
  const timer = setTimeout(done, seconds * 1000);
  signal?.addEventListener("abort", () => { clearTimeout(timer); stop(new DOMException("", "AbortError")); });
});

async function send(path, files, accept, { waiting, signal } = {}) {
  for (let attempt = 0; ; attempt += 1) {
    const body = new FormData();
    // The name stays here: it may be a patient's.
    for (const file of [files].flat()) body.append("files", file, "xray");
    try {
      return await ask(path, { method: "POST", body, headers: { Accept: accept }, signal });
    } catch (error) {
      if (error.status !== 503 || attempt === 8) throw error;
      waiting?.();
      await wait(Math.max(1, error.retryAfter), signal);
    }
  }
}

export const models = async () => (await ask("v1/models")).json();

export const wording = async () => (await ask("v1/wording")).json();

export async function sample() {
  const blob = await (await ask("v1/sample", { headers: { Accept: "image/png" } })).blob();
  return new File([blob], "Drawn sample", { type: "image/png" });
}

/** Everything that the page shows of one file. */
export async function predict(file, options) {
  const parts = ["grey", "probability", "evidence"].map((part) => `include=${part}`).join("&");
  const answer = await send(`v1/predictions?${parts}`, file, "application/json", options);
  const { result, ...beside } = (await answer.json()).predictions[0];
  return { ...beside, ...result };
}

/** The answer in another form: image/png the mask (1 right, 2 left where `labels`), application/dicom the DICOM SEG. */
export async function other(file, accept, threshold, labels = false) {
  return (await send(`v1/predictions?mask_threshold=${threshold}${labels ? "&labels=true" : ""}`, file, accept)).blob();
}

/** A corrected mask (PNG of 0, 1 and 2 at the size of the file) as DICOM SEG. */
export const segmentation = async (file, mask) => (await send("v1/corrected", [file, mask], "application/dicom")).blob();
