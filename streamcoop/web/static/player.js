// The player. It stands outside of the pages, so music goes on while one browses; its queue survives a reload.
//
// A play is opened with the API, which tells its price before anything sounds. It counts once it was listened to for
// as long as the server asks; a jump beyond the free part counts it at once, and is asked about first.

import { Problem, call } from "./api.js";
import { toast } from "./toasts.js";
import { drawWave, showHeard } from "./wave.js";
import { clock, money, word } from "./words.js";

const KEPT = "player";
const QUEUE_MAX = 500;
const RECORD_TRIES_MAX = 5;
const RECORD_RETRY_MS = 2_000;
const BACK_TO_START_S = 3;
const SEEK_S = 10;
const CODEC = new Audio().canPlayType('audio/webm; codecs="opus"') ? "opus" : "mp3";

const panel = document.getElementById("player");
const audio = document.getElementById("audio");
const part = (selector) => panel.querySelector(selector);
const control = (name) => panel.querySelector(`[name="${name}"]`);

const state = { queue: [], at: -1, shuffle: false, repeat: false, volume: 1, seconds: 0 };
let play = null; // what the API said of the play that was opened last
let opening = 0; // a number for each opening: only the latest one's answer counts
let timer = null;
let heardMs = 0; // of the play that sounds
let sounding = 0; // since when it does, by the page's clock; 0 while it does not

// --- What is kept through a reload ---

function keep() {
  const { queue, at, shuffle, repeat, volume } = state;
  localStorage.setItem(KEPT, JSON.stringify({ queue, at, shuffle, repeat, volume, seconds: audio.currentTime || 0 }));
}

function restore() {
  try {
    Object.assign(state, JSON.parse(localStorage.getItem(KEPT) ?? "{}"));
  } catch {
    localStorage.removeItem(KEPT);
  }
  audio.volume = state.volume;
  control("volume").value = state.volume * 100;
  show();
}

// --- The queue ---

const current = () => state.queue[state.at];

/** Play this track, and these after it. */
export function start(tracks, at = 0) {
  state.queue = tracks.slice(0, QUEUE_MAX);
  state.at = at;
  load();
}

export function enqueue(track, { next = false } = {}) {
  if (state.queue.length >= QUEUE_MAX) return;
  if (state.at < 0) return start([track]);
  state.queue.splice(next ? state.at + 1 : state.queue.length, 0, track);
  toast(word("added"));
  show();
  keep();
}

function step(by, { byItself = false } = {}) {
  if (state.repeat && byItself) return load();
  const to = state.shuffle && by > 0 && state.queue.length > 1 ? another() : state.at + by;
  if (to < 0 || to >= state.queue.length) return byItself ? stop() : undefined;
  state.at = to;
  load();
}

function another() {
  const other = Math.floor(Math.random() * (state.queue.length - 1));
  return other < state.at ? other : other + 1;
}

function stop() {
  audio.pause();
  show();
}

// --- A play ---

/** Open the current track's play and let it sound; from `seconds` on where it goes on after a reload. */
async function load(seconds = 0) {
  const track = current();
  if (!track) return;
  const mine = ++opening;
  play = null;
  clearTimeout(timer);
  audio.pause();
  [heardMs, sounding] = [0, 0];
  show();
  tell(word("waiting"));
  try {
    const opened = "visitor" in document.body.dataset ? null : await call("POST", "/api/v1/plays", { track_id: track.id, kind: "play", codec: CODEC });
    if (mine !== opening) return;
    play = opened;
    audio.src = opened ? opened.stream_url : `/api/v1/tracks/${track.id}/preview`;
    if (seconds && (!opened || opened.free || seconds * 1000 < opened.free_ms)) audio.currentTime = seconds;
    tellCost();
    await audio.play();
    if (opened?.refusal) warn(opened.refusal.split("/").pop());
  } catch (failed) {
    if (mine === opening && failed.name !== "AbortError") refuse(failed);
  }
  keep();
}

function refuse(failed) {
  audio.pause();
  if (failed instanceof Problem) {
    tell("");
    toast(word("stopped", { reason: failed.message }), wallet(failed.type));
  } else if (failed.name === "NotAllowedError") {
    tellCost(); // the browser wants a click first: the button is there
  } else {
    toast(word("unknown"));
  }
  show();
}

const wallet = (type) => (["insufficient-credit", "over-budget", "stopped-before"].includes(type) ? { action: word("top_up"), href: "/wallet" } : {});

/** What would keep this play from counting: the free part sounds all the same. */
function warn(type) {
  toast(word(wallet(type).action ? type : "unknown"), wallet(type));
}

function tell(text) {
  part(".cost").textContent = text;
}

function tellCost() {
  if (!play) tell(word("cost_preview"));
  else if (play.free) tell(word("cost_free"));
  else tell(word("cost_play", { money: money(play.price_money_micro, play.currency), ordinal: play.ordinal, plays: play.plays_to_own }));
}

// What was heard counts, not what time went by: a pause stops the count.
function hear() {
  if (sounding) heardMs += performance.now() - sounding;
  sounding = audio.paused ? 0 : performance.now();
  clearTimeout(timer);
  if (!play || play.free || play.recorded || !sounding) return;
  timer = setTimeout(hear, Math.max(250, play.counts_after_ms - heardMs));
  if (heardMs >= play.counts_after_ms) record(play);
}

async function record(counted, tries = 1) {
  if (counted.recorded) return;
  counted.recorded = true;
  try {
    const told = await call("POST", "/api/v1/plays/record", { play_token: counted.play_token });
    if (play === counted) tell(word("cost_counted", { money: money(told.price_money_micro, told.currency), plays: told.ordinal, of: counted.plays_to_own }));
    if (told.owned) toast(word("owned_now", { title: current()?.title ?? "" }));
    document.dispatchEvent(new CustomEvent("play:recorded", { detail: { track: told.track_id, owned: told.owned } }));
  } catch (failed) {
    counted.recorded = false;
    const again = failed.type === "too-early" ? failed.facts.retry_after_ms : failed.status === 0 || failed.status >= 500 ? RECORD_RETRY_MS * tries : 0;
    if (again && tries < RECORD_TRIES_MAX && play === counted) setTimeout(() => record(counted, tries + 1), again);
    else if (play === counted && failed.type !== "too-early") refuse(failed);
  }
}

/** Jump to a second. Beyond the free part of a play that does not count yet, it counts at once: that is asked first. */
async function seek(seconds) {
  const to = Math.max(0, Math.min(seconds, audio.duration || 0));
  if (play && !play.free && !play.recorded && to * 1000 > play.free_ms) {
    if (!confirm(word("skip_question"))) return show();
    try {
      await call("POST", "/api/v1/plays/record", { play_token: play.play_token, skip_ahead: true });
      play.recorded = true;
    } catch (failed) {
      return refuse(failed);
    }
  }
  audio.currentTime = to;
}

// --- What is shown ---

function show() {
  const track = current();
  panel.hidden = !track;
  document.body.classList.toggle("playing", Boolean(track));
  if (!track) return;
  const [title, by, picture] = [part(".title"), part(".by"), part(".picture")];
  title.textContent = track.title;
  title.href = `/tracks/${track.id}`;
  by.textContent = track.artist;
  by.href = `/artists/${track.artistId}`;
  picture.href = `/releases/${track.releaseId}`;
  if (picture.dataset.of !== track.id) {
    picture.dataset.of = track.id;
    drawWave(track.id);
    picture.replaceChildren(...(track.artwork ? [Object.assign(new Image(48, 48), { src: track.artwork, alt: "" })] : []));
    tellSystem(track);
  }
  const sounds = !audio.paused;
  panel.classList.toggle("sounds", sounds);
  control("toggle").setAttribute("aria-label", word(sounds ? "pause" : "play"));
  control("shuffle").setAttribute("aria-pressed", state.shuffle);
  control("repeat").setAttribute("aria-pressed", state.repeat);
  control("mute").setAttribute("aria-pressed", audio.muted);
  control("mute").setAttribute("aria-label", word(audio.muted ? "unmute" : "mute"));
  showPosition();
  showRows();
  if (!part("#queue").hidden) showQueue();
}

function showPosition() {
  const whole = audio.duration || (current()?.durationMs ?? 0) / 1000;
  const line = control("seek");
  line.value = whole ? (audio.currentTime / whole) * 1000 : 0;
  const all = (current()?.durationMs ?? 0) / 1000 || whole;
  if (all) showHeard(current()?.id, audio.currentTime / all, Math.min(1, whole / all));
  line.setAttribute("aria-valuetext", `${clock(audio.currentTime)} / ${clock(whole)}`);
  part(".at").textContent = clock(audio.currentTime);
  part(".of").textContent = clock(whole);
}

function showRows() {
  for (const row of document.querySelectorAll(".track")) {
    const here = row.dataset.of === current()?.id;
    row.classList.toggle("current", here);
    row.classList.toggle("sounds", here && !audio.paused);
  }
}

function showQueue() {
  const rows = state.queue.map((track, at) => {
    const row = document.createElement("li");
    const go = Object.assign(document.createElement("button"), { type: "button", textContent: `${track.title} · ${track.artist}` });
    go.addEventListener("click", () => {
      state.at = at;
      load();
    });
    const drop = Object.assign(document.createElement("button"), { type: "button", textContent: "×", ariaLabel: `${word("remove")}: ${track.title}` });
    drop.addEventListener("click", () => {
      state.queue.splice(at, 1);
      if (at < state.at) state.at -= 1;
      else if (at === state.at) state.at < state.queue.length ? load() : ((state.at = state.queue.length - 1), stop());
      show();
      keep();
    });
    row.append(go, drop);
    if (at === state.at) row.setAttribute("aria-current", "true");
    return row;
  });
  part("#queue ol").replaceChildren(...rows);
}

// --- The system's own buttons (Media Session) ---

function tellSystem(track) {
  if (!("mediaSession" in navigator)) return;
  navigator.mediaSession.metadata = new MediaMetadata({
    title: track.title,
    artist: track.artist,
    album: track.release,
    artwork: track.artwork ? [{ src: track.artwork }] : [],
  });
}

const actions = {
  play: () => toggle(),
  pause: () => audio.pause(),
  previoustrack: () => back(),
  nexttrack: () => step(1),
  seekto: ({ seekTime }) => seek(seekTime),
  seekbackward: () => seek(audio.currentTime - SEEK_S),
  seekforward: () => seek(audio.currentTime + SEEK_S),
};
for (const [name, act] of Object.entries(actions)) navigator.mediaSession?.setActionHandler(name, act);

// --- Hands and keys ---

function toggle() {
  if (!audio.paused) audio.pause();
  else if (audio.getAttribute("src") && !audio.ended) audio.play().catch(refuse);
  else load(state.seconds);
}

function back() {
  if (audio.currentTime > BACK_TO_START_S) audio.currentTime = 0;
  else step(-1);
}

const pressed = {
  toggle,
  previous: back,
  next: () => step(1),
  shuffle: () => (state.shuffle = !state.shuffle),
  repeat: () => (state.repeat = !state.repeat),
  mute: () => (audio.muted = !audio.muted),
  queue: () => {
    part("#queue").hidden = !part("#queue").hidden;
    control("queue").setAttribute("aria-expanded", !part("#queue").hidden);
  },
};

panel.addEventListener("click", (event) => {
  const act = pressed[event.target.closest("button")?.name];
  if (!act) return;
  act();
  show();
  keep();
});

control("volume").addEventListener("input", (event) => {
  audio.volume = state.volume = event.target.value / 100;
  keep();
});
control("seek").addEventListener("change", (event) => seek((event.target.value / 1000) * (audio.duration || 0)));

document.addEventListener("click", (event) => {
  const button = event.target.closest(".track button.play, button.play-all");
  if (!button) return;
  const row = button.closest(".track");
  if (row && row.dataset.of === current()?.id && audio.getAttribute("src")) return toggle();
  const list = row ? row.closest(".tracks") : document.querySelector("#main .tracks");
  const rows = [...list.querySelectorAll(".track")].filter((each) => each.querySelector("button.play"));
  start(rows.map((each) => JSON.parse(each.dataset.track)), row ? rows.indexOf(row) : 0);
});

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input:not([type=range]), textarea, select, button, a, summary, [contenteditable]") || event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = { " ": toggle, k: toggle, j: () => seek(audio.currentTime - SEEK_S), l: () => seek(audio.currentTime + SEEK_S), n: () => step(1), p: back, m: pressed.mute };
  const act = current() && !(event.target.type === "range" && event.key !== " ") && keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
  show();
});

for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, () => (hear(), show()));
audio.addEventListener("timeupdate", showPosition);
audio.addEventListener("durationchange", showPosition);
audio.addEventListener("ended", () => step(1, { byItself: true }));
// What was paused for longer than its token lives is opened anew by the next press, with its price told: never by itself.
audio.addEventListener("error", () => {
  if (!audio.getAttribute("src")) return;
  audio.removeAttribute("src");
  state.seconds = 0;
  tell("");
  toast(word("lost"));
  show();
});
addEventListener("pagehide", keep);
document.addEventListener("htmx:after:swap", showRows);
restore();
