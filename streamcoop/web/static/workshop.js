// The workshop of a release: files are dropped here, tracks get their names, and one sees when they are ready.

import { call } from "./api.js";
import { clear, show, valuesOf } from "./forms.js";
import { toast } from "./toasts.js";
import { arrive as showUploads, enqueue, isUploading, put } from "./upload.js";
import htmx from "./vendor/htmx/htmx.esm.min.js";
import { word } from "./words.js";

const AUDIO = /\.(flac|wave?|aiff?|aifc|mp3|ogg|oga|opus|m4a|mp4)$/i;
const PICTURE = /\.(jpe?g|png|webp|gif)$/i;
const FOLDERS_DEEP_MAX = 4;
const FILES_MAX = 1_000;
const POLL_MS = 2_000;
// A quarter of an hour; whoever waits longer is asked to come back.
const POLLS_MAX = 450;

const workshop = () => document.getElementById("workshop");
const by = new Intl.Collator(undefined, { numeric: true }).compare;

export function arrive() {
  if (!workshop()) return;
  showUploads();
  // What was chosen before this script was there.
  for (const id of ["files", "folder"]) takeOf(document.getElementById(id));
  poll();
}

/** What was chosen in a field, which is empty afterwards. */
function takeOf(field) {
  if (!field?.files.length) return;
  take(field.files);
  field.value = "";
}

// --- Files that are chosen or dropped ---

function take(files) {
  const { release, title } = workshop().dataset;
  const { bytesMax } = document.getElementById("drop").dataset;
  const sorted = [...files].sort((a, b) => by(a.webkitRelativePath || a.name, b.webkitRelativePath || b.name));
  const music = sorted.filter((file) => AUDIO.test(file.name) || file.type.startsWith("audio/"));
  const pictures = sorted.filter((file) => PICTURE.test(file.name));
  const large = music.filter((file) => file.size > Number(bytesMax));
  if (large.length) toast(word("upload_large", { names: large.map((file) => file.name).join(", ") }));
  const places = [...document.querySelectorAll('#tags [name="position"]')].map((field) => Number(field.value) || 0);
  enqueue(release, title, music.filter((file) => !large.includes(file)), Math.max(0, ...places));
  if (pictures.length && !document.querySelector("#artwork img")) setPicture(pictures.find((file) => /cover|front|folder/i.test(file.name)) ?? pictures[0]);
  const others = sorted.length - music.length - pictures.length;
  if (others || !sorted.length) toast(word(sorted.length ? "upload_left_out" : "upload_nothing", { others }));
}

/** The files of what was dropped, with those in folders. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = [];
  for (const entry of entries) await walk(entry, files, 0);
  return files;
}

async function walk(entry, files, depth) {
  if (files.length >= FILES_MAX || entry.name.startsWith(".")) return;
  if (entry.isFile) files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
  else if (depth < FOLDERS_DEEP_MAX) {
    const reader = entry.createReader();
    // A reader gives a part of a folder at a time, and nothing at its end.
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length || files.length >= FILES_MAX) break;
      for (const each of some) await walk(each, files, depth + 1);
    }
  }
}

const holdsFiles = (event) => workshop() && document.getElementById("drop") && event.dataTransfer?.types.includes("Files");

// The whole window takes them: a file dropped beside the place would be opened in place of the page.
document.addEventListener("dragover", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  document.getElementById("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.getElementById("drop")?.classList.remove("over");
});
document.addEventListener("drop", async (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  document.getElementById("drop").classList.remove("over");
  try {
    take(await dropped(event.dataTransfer));
  } catch {
    toast(word("upload_unread"));
  }
});

document.addEventListener("change", (event) => {
  const field = event.target;
  if (field.id === "files" || field.id === "folder") takeOf(field);
  if (field.id === "picture" && field.files.length) setPicture(field.files[0]);
  if (field.form?.dataset.row) save(field.form);
});

// --- The picture ---

async function setPicture(file) {
  const { release } = workshop().dataset;
  const said = document.getElementById("picture-said");
  said.classList.remove("refused");
  try {
    await put("PUT", `/api/v1/releases/${release}/artwork`, file, { progress: (sent) => (said.textContent = `${Math.floor((100 * sent) / file.size)} %`) });
    await renewPicture();
    said.textContent = word("saved");
  } catch (problem) {
    said.classList.add("refused");
    said.textContent = problem.message;
  }
}

async function renewPicture() {
  const frame = document.querySelector("#artwork .frame");
  const told = await pageAsItIs();
  const picture = told?.querySelector("#artwork .frame img");
  if (!picture || !frame.isConnected) return;
  picture.src += `?${Date.now()}`;
  frame.replaceChildren(picture);
}

// --- What tracks are called ---

const saving = new Map();

/** Keep a row as it is; what changes meanwhile is kept after it. */
async function save(form) {
  if (saving.has(form)) return saving.set(form, "again");
  const kept = form.parentElement.querySelector(".kept");
  do {
    saving.set(form, "once");
    clear(form);
    try {
      if (!form.checkValidity()) throw Object.assign(new Error(word("check_fields")), { facts: { errors: invalid(form) } });
      await call("PATCH", form.dataset.row, valuesOf(form));
      kept.textContent = word("saved");
    } catch (problem) {
      kept.textContent = "";
      show(form, problem, { focus: false });
    }
  } while (saving.get(form) === "again");
  saving.delete(form);
}

const invalid = (form) => [...form.elements].filter((field) => !field.validity.valid).map((field) => ({ field: field.name, message: field.validationMessage }));

document.addEventListener("submit", (event) => {
  if (event.target.dataset.row) event.preventDefault();
});

// What is on its way when a release is published would come too late for it.
document.addEventListener(
  "submit",
  (event) => {
    if (!event.target.dataset.api?.endsWith("/publish") || !isUploading(workshop()?.dataset.release)) return;
    event.preventDefault();
    event.stopPropagation();
    toast(word("upload_first"));
  },
  { capture: true },
);

// --- Tracks that come, and become ready ---

async function pageAsItIs() {
  const { release } = workshop()?.dataset ?? {};
  const answer = release && (await fetch(`/make/releases/${release}`).catch(() => null));
  return answer?.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
}

/** Show new tracks, and of all what has changed about them; what somebody is typing stays. */
async function renew() {
  const told = await pageAsItIs();
  const tags = document.getElementById("tags");
  if (!told || told.getElementById("workshop")?.dataset.release !== workshop()?.dataset.release) return;
  const rows = [...told.querySelectorAll("#tags > li")];
  for (const [at, row] of rows.entries()) {
    const here = tags.querySelector(`[data-track="${row.dataset.track}"]`);
    if (!here) {
      const before = rows.slice(0, at).reverse().map((each) => tags.querySelector(`[data-track="${each.dataset.track}"]`)).find(Boolean);
      if (before) before.after(row);
      else tags.prepend(row);
      htmx.process(row);
    } else if (here.dataset.state !== row.dataset.state) {
      here.dataset.state = row.dataset.state;
      here.querySelector(".how").replaceWith(row.querySelector(".how"));
    }
  }
  document.getElementById("no-tracks").hidden = rows.length > 0;
  document.getElementById("tags-hint").hidden = !rows.length;
  const step = document.getElementById("next-step");
  const nextStep = told.getElementById("next-step");
  if (step.textContent !== nextStep.textContent) {
    step.replaceChildren(...nextStep.childNodes);
    htmx.process(step);
  }
  if (!document.querySelector("#artwork img") && told.querySelector("#artwork img")) renewPicture();
}

let polls = 0;
let waiting;

/** Look again and again while something is being made ready. */
function poll() {
  clearTimeout(waiting);
  polls = 0;
  const look = async () => {
    if (!document.querySelector('#tags > [data-state="processing"]')) return;
    if (polls++ >= POLLS_MAX) return toast(word("upload_slow"));
    if (!document.hidden) await renew();
    waiting = setTimeout(look, POLL_MS);
  };
  waiting = setTimeout(look, POLL_MS);
}

document.addEventListener("upload:done", async ({ detail }) => {
  if (workshop()?.dataset.release !== detail.release) return;
  await renew();
  poll();
});
