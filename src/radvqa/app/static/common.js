// What every room's script shares: asking the server, the state in the page, keys that do not disturb typing.

const csrf = document.querySelector("meta[name=csrf]").content;

/** JSON from the server; an Error with its words where it refuses. */
export async function ask(address, body) {
  const options = { headers: { accept: "application/json" }, credentials: "same-origin" };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
    options.headers["x-csrf-token"] = csrf;
  }
  const response = await fetch(address, options);
  if (response.status === 401) location.assign("/sign-in");
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(typeof found.detail === "string" ? found.detail : `the server says ${response.status}`);
  return found;
}

/** What the server left in the page for this script. */
export const state = () => JSON.parse(document.getElementById("state").textContent);

export const $ = (id) => document.getElementById(id);

/** Call keys[event.key] for keys pressed outside of text fields; a key with Ctrl, Alt or Meta is the browser's. */
export function onKeys(keys) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const typing = event.target.matches("input:not([type=range], [type=checkbox], [type=radio]), textarea, select");
    if (typing && event.key !== "Escape") return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (name in keys && keys[name](event) !== false) event.preventDefault();
  });
}

/** An element with text, never markup. */
export function element(kind, { text = "", ...attributes } = {}) {
  const made = document.createElement(kind);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** A UUID for one thing said: sent again after a broken connection, it is stored once. */
export const newKey = () =>
  crypto.randomUUID ? crypto.randomUUID() : "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (c) =>
    (+c ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (+c / 4)))).toString(16));
