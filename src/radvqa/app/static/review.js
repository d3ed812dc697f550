// Review: one question after another. A verdict is only left behind when the server has it on disk.

import { $, ask, element, newKey, onKeys, state } from "./common.js";
import { Viewer, viewerKeys } from "./viewer.js";

const shelf = $("panel").dataset.shelf;
const base = `/api/review/${encodeURIComponent(shelf)}`;
const viewer = new Viewer($("stage"));
const begun = state(), history = begun.history;
let item = null, since = 0, busy = false;

/** The picture and what is asked of it change together. */
async function show(found) {
  await viewer.show(found.done ? null : found.picture);
  if (found.progress) progress(found.progress);
  item = found.done ? null : found;
  $("item").hidden = found.done;
  $("done").hidden = !found.done;
  $("undo").disabled = !history.length;
  fold();
  if (found.done) return;
  $("facts").textContent = [...found.facts, `by ${found.origin}`].join(" · ");
  $("question").textContent = found.question;
  $("answer").textContent = found.answers[0];
  $("choices").hidden = !found.choices.length;
  $("choices").replaceChildren(...found.choices.map((text) =>
    element("li", { text, class: text === found.answers[0] ? "chosen" : "" })));
  $("evidence").hidden = !found.evidence;
  $("evidence").open = false;
  $("evidence-text").textContent = found.evidence ?? "";
  $("said").hidden = !found.said;
  if (found.said) $("said").textContent = `You said: ${found.said.verdict}${found.said.reason ? ` (${found.said.reason})` : ""}. Say it anew, or undo further.`;
  since = performance.now();
}

function progress(found) {
  $("bar").max = Math.max(1, found.wanted);
  $("bar").value = found.given;
  $("count").textContent = `${found.given.toLocaleString("en")} of ${found.wanted.toLocaleString("en")}`;
  $("mine").textContent = found.mine.toLocaleString("en");
}

async function judge(verdict, more = {}) {
  if (!item || busy) return;
  busy = true;
  const place = item.place;
  const said = { id: newKey(), place, verdict, seconds: (performance.now() - since) / 1000, ...more };
  try {
    const found = await sent(said);
    history.push(place);
    await show(found.next);
    $("message").textContent = { accept: "Accepted.", edit: "Edit saved.", reject: "Rejected." }[verdict];
    $("panel").scrollTop = 0;
  } catch (error) {
    $("message").textContent = `Not saved: ${error.message}.`;
  } finally {
    busy = false;
  }
}

// The same verdict under the same key until the server answers: a broken connection neither loses nor doubles it.
async function sent(said) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await ask(`${base}/verdicts`, said);
    } catch (error) {
      if (!(error instanceof TypeError) || attempt === 5) throw error;
      $("message").textContent = "The server does not answer; trying again.";
      await new Promise((done) => setTimeout(done, 300 * 2 ** attempt));
    }
  }
}

async function undo() {
  if (busy || !history.length) return;
  busy = true;
  try {
    await show(await ask(`${base}/items/${history.pop()}`));
    $("message").textContent = "Your last one again.";
  } catch (error) {
    $("message").textContent = error.message;
  } finally {
    busy = false;
  }
}

function fold(open = null) {
  if (open !== null && (busy || !item)) return;
  for (const [button, form] of [["edit", "editing"], ["reject", "rejecting"]]) {
    const shown = form === open && $(form).hidden;
    $(form).hidden = !shown;
    $(button).setAttribute("aria-expanded", shown);
  }
  if (open === null) return;
  if (open === "editing" && !$("editing").hidden) {
    const form = $("editing").elements;
    form.question.value = item.said?.question ?? item.question;
    form.answer.value = item.said?.answer ?? item.answers[0];
    form.answer.focus();
  }
  if (open === "rejecting" && !$("rejecting").hidden) $("rejecting").querySelector("button").focus();
}

function edited(event) {
  event?.preventDefault();
  const { question, answer } = $("editing").elements;
  const changes = {};
  if (question.value.trim() && question.value.trim() !== item.question) changes.question = question.value.trim();
  if (answer.value.trim() && answer.value.trim() !== item.answers[0]) changes.answer = answer.value.trim();
  if (Object.keys(changes).length) return judge("edit", changes);
  $("message").textContent = "Nothing was changed: accept it, or cancel.";
}

const rejected = (reason) => judge("reject", { reason, comment: $("rejecting").elements.comment.value.trim() || null });
const reasons = [...document.querySelectorAll(".reasons button")];

$("accept").addEventListener("click", () => judge("accept"));
$("edit").addEventListener("click", () => fold("editing"));
$("reject").addEventListener("click", () => fold("rejecting"));
$("undo").addEventListener("click", undo);
$("editing").addEventListener("submit", edited);
$("editing").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) edited(event); });
$("rejecting").addEventListener("submit", (event) => event.preventDefault());
for (const button of reasons) button.addEventListener("click", () => rejected(button.value));
for (const button of document.querySelectorAll(".cancel")) button.addEventListener("click", () => fold());
const whenOpen = (id, act) => () => (item && !$(id).hidden ? act() : false);
onKeys({
  a: () => judge("accept"),
  e: () => fold("editing"),
  r: () => fold("rejecting"),
  u: undo,
  v: () => { $("evidence").open = !$("evidence").open; },
  Escape: () => { fold(); document.activeElement.blur(); },
  ...Object.fromEntries(reasons.map((button, i) => [String(i + 1), whenOpen("rejecting", () => rejected(button.value))])),
});
viewerKeys(viewer);
show(begun.first);
