// The web app: pages are swapped into each other, so that what plays goes on while one browses.

import htmx from "./vendor/htmx/htmx.esm.min.js";
import { restoreForms } from "./forms.js";
import "./player.js";
import "./rows.js";
import { toast } from "./toasts.js";
import { word } from "./words.js";

const LOOKED_AFTER_MS = 5_000;
const box = document.getElementById("q");
const VERSION = document.querySelector('meta[name="assets"]').content;

function arrived() {
  for (const link of document.querySelectorAll("#places a")) {
    const path = new URL(link.href).pathname;
    const at = location.pathname.replace(/^\/ballots\//, "/decide/");
    const here = path === "/" ? at === "/" : at.startsWith(path);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  restoreForms();
  if (document.querySelector('[data-room="proof"]')) import("./checking.js").then((room) => room.arrive());
  if (document.getElementById("workshop")) import("./workshop.js").then((room) => room.arrive());
  if (document.querySelector("form.split, [data-copy], [data-print]")) import("./make.js").then((room) => room.arrive());
  if (document.querySelector('[data-room="decide"]')) import("./decide.js").then((room) => room.arrive());
  if (document.querySelector('[data-room="run"]')) import("./run.js");
}

document.addEventListener("htmx:after:swap", () => {
  arrived();
  if (document.activeElement !== box) document.getElementById("main")?.focus({ preventScroll: true });
  closeMenus();
});

// A page of a newer service needs its newer scripts; what plays or is being uploaded is not cut off for it.
document.addEventListener("htmx:before:swap", (event) => {
  const newer = /name="assets" content="(\w+)"/.exec(event.detail?.ctx?.text ?? "")?.[1];
  if (newer && newer !== VERSION && document.getElementById("audio").paused && !("uploading" in document.body.dataset)) location.reload();
});

document.addEventListener("htmx:error", () => toast(word("no_network")));
addEventListener("offline", () => toast(word("off_line")));
addEventListener("online", () => toast(word("on_line")));

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    box.focus();
  }
  if (event.key === "Escape") closeMenus();
});

function closeMenus(but = null) {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (menu !== but) menu.removeAttribute("open");
}

document.addEventListener("click", ({ target }) => closeMenus(target.closest("a") ? null : target.closest("details.menu")));

// Results come as one types; the page is the one that the form would lead to.
let waiting;
box.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const address = `/search?q=${encodeURIComponent(box.value)}`;
    const again = location.pathname === "/search";
    htmx.ajax("GET", address, { target: "#main", select: "#main", swap: "outerHTML", source: box });
    history[again ? "replaceState" : "pushState"]({ htmx: true }, "", address);
  }, 250);
});

// Months later nobody would look: the player itself sees whether one's wallet stands in the log as it should.
if (!("visitor" in document.body.dataset)) setTimeout(() => import("./checking.js").then((room) => room.checkNewestLine()), LOOKED_AFTER_MS);

if ("serviceWorker" in navigator) navigator.serviceWorker.register("/worker.js");
arrived();
