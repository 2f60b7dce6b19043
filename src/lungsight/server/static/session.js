// What was opened, kept in this browser alone, so that a reload loses nothing. It belongs to one tab, and is forgotten
// when the list is cleared, and after half a day.

const LIFE = 12 * 3600 * 1000;
const KEY = "lungsight-session";

function tab() {
  let id = sessionStorage.getItem(KEY);
  if (!id) {
    id = `${Date.now()}-${Math.random().toString(36).slice(2)}`;
    sessionStorage.setItem(KEY, id);
  }
  return id;
}

const done = (request) => new Promise((yes, no) => {
  request.onsuccess = () => yes(request.result);
  request.onerror = () => no(request.error);
});

let opening = null;

function store(mode) {
  opening ??= new Promise((yes, no) => {
    const request = indexedDB.open("lungsight", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("films", { keyPath: ["tab", "id"] });
    request.onsuccess = () => yes(request.result);
    request.onerror = () => no(request.error);
  });
  return opening.then((base) => base.transaction("films", mode).objectStore("films"));
}

/** A browser that keeps nothing (private windows, a full disk) only loses the reload. */
const quietly = (work) => work().catch(() => null);

export const keep = (film) => quietly(async () => done((await store("readwrite")).put({ ...film, tab: tab(), at: Date.now() })));

export const forget = (id) => quietly(async () => done((await store("readwrite")).delete([tab(), id])));

/** The films of this tab, in their order; what other tabs left behind long ago is thrown away. */
export const restore = () => quietly(async () => {
  const all = await done((await store("readwrite")).getAll());
  const old = all.filter((film) => Date.now() - film.at > LIFE);
  const films = await store("readwrite");
  await Promise.all(old.map((film) => done(films.delete([film.tab, film.id]))));
  return all.filter((film) => film.tab === tab() && !old.includes(film)).sort((a, b) => a.id - b.id);
}).then((found) => found ?? []);
