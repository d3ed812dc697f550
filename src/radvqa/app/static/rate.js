// Rate: the answers to one question, whose they are unknown, on three scales each.

import { $, ask, element, newKey, onKeys, state } from "./common.js";
import { Viewer, viewerKeys } from "./viewer.js";

const base = `/api/rate/${$("panel").dataset.set}`;
const viewer = new Viewer($("stage"));
const history = [];
let item = null, busy = false, keys = [];

/** The picture and what is asked of it change together. */
async function show(found) {
  await viewer.show(found.done ? null : found.picture);
  if (found.progress) {
    $("bar").max = Math.max(1, found.progress.wanted);
    $("bar").value = found.progress.mine;
    $("count").textContent = `${found.progress.mine} of ${found.progress.wanted}`;
  }
  item = found.done ? null : found;
  $("item").hidden = found.done;
  $("done").hidden = !found.done;
  if (found.done) return;
  keys = found.answers.map(newKey);
  $("question").textContent = found.question;
  $("choices").hidden = !found.choices.length;
  $("choices").replaceChildren(...found.choices.map((text) => element("li", { text })));
  $("evidence").open = false;
  $("evidence-text").textContent = found.references.join(" / ");
  $("answers").replaceChildren(...found.answers.map(card));
  $("undo").disabled = !history.length;
  mark();
}

function card(text, slot) {
  const made = $("card").content.cloneNode(true).firstElementChild;
  made.querySelector("h2").textContent = item.answers.length > 1 ? `Answer ${"AB"[slot]}` : "Answer";
  made.querySelector(".given").textContent = text || "(nothing)";
  for (const scale of made.querySelectorAll(".scale")) {
    for (const input of scale.querySelectorAll("input")) input.name = `${scale.dataset.scale}-${slot}`;
  }
  made.querySelector(".cannot").addEventListener("change", (event) => {
    for (const scale of made.querySelectorAll(".scale")) scale.disabled = event.target.checked;
    mark();
  });
  made.addEventListener("change", mark);
  return made;
}

const cards = () => [...document.querySelectorAll(".card")];
const chosen = (scale) => scale.querySelector("input:checked");
const scales = () => [...document.querySelectorAll(".scale:not(:disabled)")];
const openScale = () => scales().find((scale) => !chosen(scale));

function mark() {
  const next = openScale();
  for (const scale of document.querySelectorAll(".scale")) scale.classList.toggle("next-scale", scale === next);
  $("save").disabled = Boolean(next);
  (next ?? $("save")).scrollIntoView({ block: "nearest" });
}

function choose(place) {
  const scale = openScale();
  if (!scale) return false;
  scale.querySelectorAll("input")[place].checked = true;
  mark();
}

async function save() {
  if (!item || busy || openScale()) return;
  busy = true;
  const value = (made, scale) => made.querySelector(`[data-scale=${scale}] input:checked`)?.value ?? null;
  const ratings = cards().map((made, slot) => {
    const cannot = made.querySelector(".cannot").checked;
    const words = Object.fromEntries(["correctness", "completeness", "harm"].map((scale) => [scale, cannot ? null : value(made, scale)]));
    return { key: keys[slot], slot, ...words, cannot_judge: cannot, comment: made.querySelector(".comment").value.trim() || null };
  });
  try {
    const place = item.place, found = await ask(`${base}/ratings`, { place, ratings });
    history.push(place);
    await show(found);
    $("message").textContent = "Saved.";
  } catch (error) {
    $("message").textContent = `Not saved: ${error.message}.`;
  } finally {
    busy = false;
  }
}

async function undo() {
  if (busy || !history.length) return;
  busy = true;
  try {
    await show(await ask(`${base}/items/${history.pop()}`));
    $("message").textContent = "The last one again.";
    $("undo").blur();  // the next Enter saves
  } catch (error) {
    $("message").textContent = error.message;
  } finally {
    busy = false;
  }
}

$("save").addEventListener("click", save);
$("undo").addEventListener("click", undo);
onKeys({
  1: () => choose(0), 2: () => choose(1), 3: () => choose(2),
  c: () => {
    const made = openScale()?.closest(".card");
    if (!made) return false;
    made.querySelector(".cannot").click();
  },
  Backspace: () => {
    const last = scales().filter(chosen).at(-1);
    if (last) chosen(last).checked = false;
    mark();
  },
  Enter: (event) => (event.target.matches("button, a, summary") ? false : save()),
  u: undo,
  v: () => { $("evidence").open = !$("evidence").open; },
});
viewerKeys(viewer);
show(state());
