// Rows of tracks: what one can do with a track besides playing it, and how far it is from being owned after each play.

import { call } from "./api.js";
import { enqueue } from "./player.js";
import { toast } from "./toasts.js";
import { money, word } from "./words.js";

const CHANGING = [".steps", ".owned", ".price"];

// --- What a play changed ---

/** Show the track's rows as its own page has them now. */
async function renew(trackId) {
  const answer = await fetch(`/tracks/${trackId}`);
  if (!answer.ok) return;
  const told = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(`.track[data-of="${trackId}"]`);
  for (const row of document.querySelectorAll(`.track[data-of="${trackId}"]`)) {
    row.querySelectorAll(CHANGING.join()).forEach((old) => old.remove());
    row.querySelector(".what").after(...told.querySelectorAll(CHANGING.join()));
    row.dataset.track = told.dataset.track;
  }
}

document.addEventListener("play:recorded", ({ detail }) => renew(detail.track));

// --- Buying what is left ---

async function buy(trackId) {
  const opened = await call("POST", "/api/v1/plays", { track_id: trackId, kind: "buyout" });
  if (!confirm(word("buy_question", { money: money(opened.price_money_micro, opened.currency) }))) return;
  await call("POST", "/api/v1/plays/record", { play_token: opened.play_token });
  toast(word("bought"));
  await renew(trackId);
}

// --- Favourites ---

const isLiked = (row) => row.classList.contains("liked");

async function favour(trackId, liked) {
  await call(liked ? "PUT" : "DELETE", `/api/v1/library/favourites/${trackId}`);
  for (const row of document.querySelectorAll(`.track[data-of="${trackId}"]`)) {
    row.classList.toggle("liked", liked);
    row.querySelector(".like")?.setAttribute("aria-pressed", liked);
  }
  toast(word(liked ? "favoured" : "favoured_no_more"));
}

// --- The menu of a row ---

const menu = document.createElement("div");
menu.id = "menu";
menu.role = "menu";
menu.hidden = true;
let opener = null;

function open(button) {
  close();
  const row = button.closest(".track");
  const track = JSON.parse(row.dataset.track);
  const may = !("visitor" in document.body.dataset);
  const forms = track.forms.map((form) => [word(`form_${form}`), () => location.assign(`/api/v1/tracks/${track.id}/download?format=${form}`)]);
  offer(button, [
    [word("play_next"), () => enqueue(track, { next: true })],
    [word("play_last"), () => enqueue(track)],
    may && row.querySelector(".steps") && [word("buy_rest"), () => buy(track.id)],
    may && [word(isLiked(row) ? "favour_no_more" : "favour"), () => favour(track.id, !isLiked(row))],
    may && [word("to_playlist"), () => offerPlaylists(button, track.id)],
    forms.length && [word("download"), () => offer(button, forms)],
  ]);
}

/** The menu with these entries, a text and what it does each. */
function offer(button, entries) {
  menu.replaceChildren(
    ...entries.filter(Boolean).map(([text, act]) => {
      const entry = Object.assign(document.createElement("button"), { type: "button", role: "menuitem", textContent: text, tabIndex: -1 });
      entry.addEventListener("click", async (event) => {
        event.stopPropagation(); // what it opens next is not to be closed by the same click
        close({ back: true });
        try {
          await act();
        } catch (failed) {
          toast(failed.message);
        }
      });
      return entry;
    }),
  );
  opener = button;
  button.setAttribute("aria-expanded", "true");
  button.closest(".track").append(menu);
  menu.hidden = false;
  menu.firstChild.focus();
}

function close({ back = false } = {}) {
  menu.hidden = true;
  opener?.setAttribute("aria-expanded", "false");
  if (back) opener?.focus();
  opener = null;
}

async function offerPlaylists(button, trackId) {
  const playlists = await call("GET", "/api/v1/library/playlists");
  if (!playlists.length) return toast(word("no_playlist"), { action: word("make_playlist"), href: "/library/playlists" });
  offer(
    button,
    playlists.map((list) => [
      list.name,
      async () => {
        await call("POST", `/api/v1/library/playlists/${list.id}/items`, { track_id: trackId });
        toast(word("in_playlist", { name: list.name }));
      },
    ]),
  );
}

document.addEventListener("click", (event) => {
  const more = event.target.closest(".track .more");
  if (more) {
    if (opener === more) close();
    else open(more);
  } else if (!event.target.closest("#menu")) close();
  const like = event.target.closest(".track .like");
  if (like) favour(like.closest(".track").dataset.of, like.getAttribute("aria-pressed") !== "true").catch((failed) => toast(failed.message));
  const bought = event.target.closest("button.buy");
  if (bought) buy(bought.dataset.track).catch((failed) => toast(failed.message));
});

menu.addEventListener("keydown", (event) => {
  const entries = [...menu.children];
  const at = entries.indexOf(document.activeElement);
  if (event.key === "ArrowDown") entries[(at + 1) % entries.length].focus();
  else if (event.key === "ArrowUp") entries[(at - 1 + entries.length) % entries.length].focus();
  else if (event.key === "Escape" || event.key === "Tab") close({ back: true });
  else return;
  event.preventDefault();
});
document.addEventListener("htmx:after:swap", () => close());
