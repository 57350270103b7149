// Files on their way to a release. The queue belongs to the app and not to a page: it goes on while one browses, and is
// shown again where the release is. What breaks on the way is sent again from its beginning, a few times by itself.

import { call, Problem } from "./api.js";
import { toast } from "./toasts.js";
import { word } from "./words.js";

// The service takes four at a time of an account, and the page itself asks for things, too.
const AT_ONCE_MAX = 2;
const TRIES_MAX = 5;
const AGAIN_MS = [1_000, 4_000, 15_000, 30_000];
// Without a byte that goes out; and from the last byte to the answer, in which the file is looked at and stored.
const SILENCE_MS_MAX = 90_000;
const ANSWER_MS_MAX = 300_000;
const PLACE_MAX = 9_999;
const BROKEN = new Set([0, 408, 425, 429, 500, 502, 503, 504]);

/** Each: file, release, title, its place there, state, sent, said, notes, tries, its row on the page, how to stop it. */
const queue = [];
const UNDER_WAY = new Set(["waiting", "sending", "looked", "again"]);

/** Whether anything is on its way: to a release, or at all. */
export const isUploading = (release) => queue.some((item) => UNDER_WAY.has(item.state) && (!release || item.release === release));

/** Send files to a release, in this order, after what is on its way already, and after the `last` track that is there. */
export function enqueue(release, title, files, last) {
  let place = Math.max(last, ...queue.filter((item) => item.release === release).map((item) => item.place));
  for (const file of files) {
    place += 1;
    const item = { file, release, title, place, state: "waiting", sent: 0, said: "", notes: [], tries: 0, stop: null };
    queue.push(item);
    draw(item);
  }
  next();
}

/** The page of a release: show what is on its way to it. What had been sent before is among its tracks now. */
export function arrive() {
  for (const item of queue.filter(({ state }) => state === "done")) queue.splice(queue.indexOf(item), 1);
  for (const item of queue) item.shown = null;
  queue.forEach(draw);
  tell();
}

function next() {
  const busy = queue.filter(({ state }) => state === "sending" || state === "looked").length;
  for (const item of queue.filter(({ state }) => state === "waiting").slice(0, Math.max(0, AT_ONCE_MAX - busy))) send(item);
  if (isUploading()) document.body.dataset.uploading = "";
  else delete document.body.dataset.uploading;
  tell();
}

async function send(item) {
  change(item, { state: "sending", sent: 0, said: "", tries: item.tries + 1 });
  try {
    const address = `/api/v1/releases/${item.release}/tracks?filename=${encodeURIComponent(item.file.name)}`;
    const track = await put("POST", address, item.file, {
      started: (stop) => (item.stop = stop),
      progress: (sent) => change(item, sent < item.file.size ? { sent } : { sent, state: "looked" }),
    });
    await setPlace(item, track);
    done(item, track.id, track.notes);
  } catch (problem) {
    // The answer to an earlier try may have been lost: then the file is here.
    if (problem.type === "duplicate-upload" && item.tries > 1 && problem.facts.release_id === item.release) done(item, problem.facts.track_id, []);
    else if (problem.type === "stopped") forget(item);
    else failed(item, problem);
  }
  next();
}

/** A file that does not say where it belongs stands where it was chosen, whichever came first. */
async function setPlace(item, track) {
  if (track.upload.tags.track || track.position === item.place || item.place > PLACE_MAX) return;
  await call("PATCH", `/api/v1/tracks/${track.id}`, { position: item.place }).catch(() => {});
}

function done(item, track, notes) {
  change(item, { state: "done", notes, stop: null });
  // What there is nothing to say about stands among the tracks from now on.
  if (!notes.length) item.shown?.remove();
  document.dispatchEvent(new CustomEvent("upload:done", { detail: { release: item.release, track } }));
  if (!isUploading(item.release)) tellElsewhere(item, word("upload_all", { title: item.title }));
}

/** On pages other than the release's own. */
function tellElsewhere(item, said) {
  if (!list(item.release)) toast(said, { action: word("to_proof"), href: `/make/releases/${item.release}` });
}

function endBadly(item, state, said) {
  change(item, { state, said });
  tellElsewhere(item, `${item.file.name}: ${said}`);
}

function failed(item, problem) {
  const said = [problem.message, problem.facts?.detail].filter((text, at, all) => text && all.indexOf(text) === at).join(" ");
  if (problem.status === 401) return endBadly(item, "broken", word("upload_session"));
  if (!BROKEN.has(problem.status)) return endBadly(item, "refused", said);
  // Without a network there is nothing to try; `online` goes on from here.
  if (!navigator.onLine) return change(item, { state: "again", tries: item.tries - 1 });
  if (item.tries >= TRIES_MAX) return endBadly(item, "broken", word("upload_broken", { tries: TRIES_MAX }));
  const wait = Math.max(AGAIN_MS[item.tries - 1], 1_000 * (problem.facts?.retry_after_s ?? 0));
  change(item, { state: "again" });
  setTimeout(() => again(item), wait);
}

function again(item) {
  if (item.state !== "again") return;
  change(item, { state: "waiting" });
  next();
}

addEventListener("online", () => queue.forEach(again));

function forget(item) {
  item.state = "forgotten";
  item.shown?.remove();
  queue.splice(queue.indexOf(item), 1);
  next();
}

/** Send a file as a body of its own. Throws a Problem; of type `stopped` after `stop` was called, which `started` gets. */
export function put(method, address, file, { started = () => {}, progress = () => {} } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let silence, reason;
    const listen = (limit) => {
      clearTimeout(silence);
      silence = setTimeout(() => request.abort(), limit);
    };
    request.open(method, address);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = ({ loaded }) => {
      listen(loaded < file.size ? SILENCE_MS_MAX : ANSWER_MS_MAX);
      progress(loaded);
    };
    request.onloadend = () => {
      clearTimeout(silence);
      if (request.status >= 200 && request.status < 300) resolve(request.status === 204 ? null : JSON.parse(request.responseText));
      else reject(reason ?? problemOf(request));
    };
    started(() => {
      reason = new Problem("stopped", "", 0);
      request.abort();
    });
    listen(SILENCE_MS_MAX);
    request.send(file);
  });
}

function problemOf(request) {
  if (!request.status) return new Problem("no-network", word("no_network"), 0);
  try {
    const told = JSON.parse(request.responseText);
    return new Problem(told.type.split("/").pop(), told.title, request.status, told);
  } catch {
    return new Problem("unknown", word("unknown"), request.status);
  }
}

// --- How it is shown ---

const list = (release) => document.querySelector(`#uploads[data-release="${release}"]`);

function change(item, changes) {
  Object.assign(item, changes);
  draw(item);
}

function draw(item) {
  const place = list(item.release);
  if (!place || (item.state === "done" && !item.notes.length)) return;
  if (!item.shown?.isConnected) place.append((item.shown = row(item)));
  const [bar, said, again, away] = ["progress", ".said", "[data-again]", "[data-away]"].map((part) => item.shown.querySelector(part));
  item.shown.dataset.state = item.state;
  bar.hidden = !["waiting", "sending", "looked", "again"].includes(item.state);
  bar.value = item.state === "again" ? 0 : item.sent;
  const part = item.file.size ? Math.floor((100 * item.sent) / item.file.size) : 0;
  said.textContent = { waiting: word("upload_waiting"), sending: `${part} %`, looked: word("upload_looked"), again: word("upload_again"), done: [word("upload_done"), ...item.notes].join(" · ") }[item.state] ?? item.said;
  again.hidden = item.state !== "broken";
  away.textContent = UNDER_WAY.has(item.state) ? word("upload_stop") : word("upload_away");
}

function row(item) {
  const shown = document.createElement("li");
  const name = Object.assign(document.createElement("span"), { className: "name", textContent: item.file.name });
  const bar = Object.assign(document.createElement("progress"), { max: item.file.size || 1, value: 0 });
  bar.setAttribute("aria-label", item.file.name);
  const said = Object.assign(document.createElement("span"), { className: "said" });
  const again = button(word("upload_retry"), item, () => {
    change(item, { state: "waiting", tries: 0 });
    next();
  });
  again.dataset.again = "";
  const away = button(word("upload_stop"), item, () => (item.stop && ["sending", "looked"].includes(item.state) ? item.stop() : forget(item)));
  away.dataset.away = "";
  shown.append(name, bar, said, again, away);
  return shown;
}

function button(text, item, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", className: "plain", textContent: text });
  made.setAttribute("aria-description", item.file.name);
  made.addEventListener("click", act);
  return made;
}

/** How far it is, for who does not see the bars. */
function tell() {
  const place = document.getElementById("uploads-said");
  if (!place) return;
  const release = document.getElementById("uploads").dataset.release;
  const here = queue.filter((item) => item.release === release);
  const left = here.filter(({ state }) => UNDER_WAY.has(state)).length;
  const wrong = here.filter(({ state }) => state === "broken" || state === "refused").length;
  const came = here.filter(({ state }) => state === "done").length;
  const told = [left && word("upload_left", { left, all: here.length }), !left && came && word("upload_came", { came }), wrong && word("upload_wrong", { wrong })];
  place.textContent = told.filter(Boolean).join(" ");
}

addEventListener("beforeunload", (event) => {
  if (isUploading()) event.preventDefault();
});
