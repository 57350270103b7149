// What is shown is checked here, against the log as this browser remembers it: plays when one asks, and one's own line
// of each closed month without being asked.

import { call } from "./api.js";
import { NoVerdict, ProofRefused, compareWithLatest, keptEvidence, latestHead, pin, playCommitment, verifyPromise, verifyReceipt } from "./proof/index.js";
import { toast } from "./toasts.js";
import { word } from "./words.js";

let believed = null;

/** The log as it is pinned, held against its founding note once a visit; the first time, as the service tells it. */
async function pinned() {
  believed ??= call("GET", "/api/v1/log").then(({ keys }) => pin({ told: keys }));
  try {
    return await believed;
  } catch (failed) {
    believed = null;
    throw failed;
  }
}

function say(place, holds, text) {
  const verdict = place.closest(".verdict") ?? place;
  verdict.classList.toggle("holds", holds === true);
  verdict.classList.toggle("fails", holds === false);
  place.textContent = text;
}

/** What went wrong, in words: what does not hold is told apart from what cannot be said. */
function sayFailure(place, failed) {
  if (failed instanceof ProofRefused) {
    say(place, false, word("proof_fails", { code: failed.code }));
    showEvidence();
  } else if (failed instanceof NoVerdict) say(place, null, word("proof_no_verdict", { code: failed.code }));
  else say(place, null, failed.message);
}

// --- Plays ---

async function checkPlay(button) {
  const place = button.closest(".verdict").querySelector("[role=status]");
  say(place, null, word("waiting"));
  button.disabled = true;
  try {
    const told = await call("GET", `/api/v1/plays/${button.dataset.check}/receipt`);
    const commitment = await playCommitment(told.opening, told.salt);
    const log = await pinned();
    const price = Number(button.dataset.price);
    if (told.receipt) {
      const shown = await verifyReceipt(told.receipt, log, { expect: { type: "play", play: button.dataset.check, price_micro: price, commitment } });
      await compareWithLatest(shown);
      say(place, true, word("proof_play", { at: shown.at }));
    } else {
      await verifyPromise(told.promise, log, { expect: { commitment, price_micro: price } });
      say(place, true, word("proof_promise", { by: new Date(told.publish_by).toLocaleString(document.documentElement.lang) }));
    }
  } catch (failed) {
    sayFailure(place, failed);
  } finally {
    button.disabled = false;
  }
}

// --- One's own line of each closed month ---

/** Whether a line of one's wallet stands in the log as it is told. Throws ProofRefused and NoVerdict. */
async function requireLine({ epoch, opening_micro, in_micro, spent_micro, closing_micro }) {
  const answer = await fetch(`/api/v1/wallet/lines/${epoch}/receipt`);
  if (!answer.ok) throw new NoVerdict(`http-${answer.status}`);
  const expect = { type: "wallet", epoch, opening_micro, in_micro, spent_micro, closing_micro };
  await compareWithLatest(await verifyReceipt(await answer.text(), await pinned(), { expect }));
}

async function checkLine(place) {
  try {
    await requireLine(JSON.parse(place.dataset.line));
    say(place, true, word("proof_line"));
  } catch (failed) {
    sayFailure(place, failed);
  }
}

/** The newest line, looked at without being asked: only what does not hold is said. */
export async function checkNewestLine() {
  try {
    const lines = await call("GET", "/api/v1/wallet/lines");
    const newest = lines.find((line) => line.is_published);
    if (newest) await requireLine(newest);
  } catch (failed) {
    if (failed instanceof ProofRefused) toast(word("proof_fails", { code: failed.code }), { action: word("to_proof"), href: "/proof" });
  }
}

// --- The log itself ---

async function look(place) {
  say(place, null, word("waiting"));
  try {
    await pinned();
    const { size } = await latestHead();
    say(place, true, word("proof_log", { size: size.toLocaleString(document.documentElement.lang) }));
  } catch (failed) {
    sayFailure(place, failed);
  }
}

function showEvidence() {
  const place = document.getElementById("evidence");
  const kept = keptEvidence();
  if (!place || !kept) return;
  place.querySelector("a").href = URL.createObjectURL(new Blob([typeof kept === "string" ? kept : JSON.stringify(kept)], { type: "text/plain" }));
  place.hidden = false;
}

document.addEventListener("click", async ({ target }) => {
  const one = target.closest("[data-check]");
  if (one) await checkPlay(one);
  if (target.closest("[data-check-all]")) for (const each of document.querySelectorAll("[data-check]")) await checkPlay(each);
  if (target.closest("[data-look]")) await look(document.getElementById("pinned"));
});

export async function arrive() {
  for (const place of document.querySelectorAll("[data-line]")) await checkLine(place);
  const log = document.getElementById("pinned");
  if (log) await look(log);
}
