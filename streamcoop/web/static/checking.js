// What is shown is checked here, against the log as this browser remembers it: plays when one asks, and one's own line
// of each closed month without being asked.

import { call } from "./api.js";
import { NoVerdict, ProofRefused, STEPS, compareWithLatest, keptEvidence, latestHead, pin, playCommitment, recall, verifyPromise, verifyReceipt } from "./proof/index.js";
import { toast } from "./toasts.js";
import { word } from "./words.js";

// In the order that one tells them in: from one's own play to the whole log.
const SHOWN = ["commitment", "play", "sum", "inclusion", "signature", "head", "promise"];
const language = document.documentElement.lang;
const credits = (amountMicro) => (amountMicro / 1e6).toLocaleString(language, { maximumFractionDigits: 6 });

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
  const passed = new Set();
  const facts = {};
  let expected = [];
  say(place, null, word("waiting"));
  button.disabled = true;
  try {
    const told = await call("GET", `/api/v1/plays/${button.dataset.check}/receipt`);
    const commitment = await playCommitment(told.opening, told.salt);
    const log = await pinned();
    const price = Number(button.dataset.price);
    Object.assign(facts, { commitment, origin: log.origin, price: credits(price) });
    if (told.receipt) {
      expected = [...STEPS, "play", "head"];
      const expect = { type: "play", play: button.dataset.check, price_micro: price, commitment };
      const shown = await verifyReceipt(told.receipt, log, {
        expect,
        passed: (step, found) => {
          passed.add(step);
          Object.assign(facts, found);
          if ("sum_micro" in found) facts.sum = credits(found.sum_micro);
        },
      });
      passed.add("play");
      facts.latest = (await compareWithLatest(shown)).size;
      passed.add("head");
      say(place, true, word("proof_play", { at: shown.at }));
    } else {
      expected = ["promise"];
      await verifyPromise(told.promise, log, { expect: { commitment, price_micro: price } });
      passed.add("promise");
      facts.by = new Date(told.publish_by).toLocaleString(language);
      say(place, true, word("proof_promise", { by: new Date(told.publish_by).toLocaleString(language) }));
    }
  } catch (failed) {
    sayFailure(place, failed);
  } finally {
    button.disabled = false;
    showSteps(button.closest("li"), expected, passed, facts);
  }
}

/** What was verified, one by one, for whoever wants to know; where it ended, the step that it ended at. */
function showSteps(row, expected, passed, facts) {
  row.querySelector("details.steps-taken")?.remove();
  if (!expected.length) return;
  const failed = expected.find((step) => !passed.has(step));
  const details = document.createElement("details");
  details.className = "steps-taken";
  details.append(Object.assign(document.createElement("summary"), { textContent: word("steps") }));
  const list = document.createElement("ol");
  for (const step of SHOWN.filter((each) => passed.has(each) || each === failed)) {
    const said = document.createElement("li");
    said.className = `verdict ${step === failed ? "fails" : "holds"}`;
    said.textContent = step === failed ? word("step_failed", { step: word(`step_name_${step}`) }) : word(`step_${step}`, facts);
    list.append(said);
  }
  details.append(list);
  row.append(details);
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
    const latest = await latestHead();
    say(place, true, word("proof_log", { size: latest.size.toLocaleString(language) }));
    await showPinned(latest);
  } catch (failed) {
    sayFailure(place, failed);
  }
}

/** The keys as this browser remembers them, by fingerprints that can be read to one another, and who else vouches. */
async function showPinned({ witnesses }) {
  const kept = recall();
  const fingerprints = await Promise.all(kept.eras.at(-1).keys.map(fingerprint));
  const told = [
    ...fingerprints.map((each) => [word("pinned_key"), each, "print"]),
    [word("pinned_how"), word(kept.how === "given" ? "pinned_given" : "pinned_first_use")],
    ...(kept.founding ? [[word("pinned_founding"), kept.founding, "print"]] : []),
    [word("pinned_witnesses"), witnesses.known ? word("pinned_witnesses_of", { cosigned: witnesses.cosigned.length, known: witnesses.known, needed: witnesses.needed }) : word("pinned_no_witness")],
    ...witnesses.cosigned.map((name) => [word("pinned_cosigned"), name]),
  ];
  const list = document.getElementById("pinned-facts");
  list.replaceChildren(
    ...told.flatMap(([name, value, className = ""]) => [
      Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: value, className }),
    ]),
  );
  list.hidden = false;
}

/** SHA-256 of a verifier key as the log publishes it, in groups. */
async function fingerprint(key) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("").replace(/(.{4})(?!$)/g, "$1 ");
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
  // Until this is here, a press would be lost.
  for (const button of document.querySelectorAll("[data-check], [data-check-all]")) button.disabled = false;
  for (const place of document.querySelectorAll("[data-line]")) await checkLine(place);
  const log = document.getElementById("pinned");
  if (log) await look(log);
}
