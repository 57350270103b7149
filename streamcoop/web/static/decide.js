// Where members decide: votes are signed here, receipts are kept in this browser, and memberships get their keys.

import { call, Problem } from "./api.js";
import { clear, reload, show } from "./forms.js";
import { NotSigned, askPasskey, hasWallet, makePasskey, signText, signTyped, walletAddress } from "./signing.js";
import { toast } from "./toasts.js";
import { money } from "./words.js";

const RECEIPT = "receipt vote";
const TEXTS = { crossing: "crossing", "no-wallet": "noWallet", "other-account": "otherAccount", "no-passkey": "noPasskey", stopped: "stopped" };

/** What a form does: the other fields of a form that are not the API's own. */
const ACTS = { vote, apply, passkey, delegation, rekey };

document.addEventListener("submit", (event) => {
  const act = ACTS[event.target.className];
  if (!act) return;
  event.preventDefault();
  doing(event.target, () => act(event.target));
});

async function doing(form, act) {
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  clear(form);
  try {
    await act();
  } catch (problem) {
    show(form, problem instanceof NotSigned ? new Problem(problem.code, text(form, problem), 0) : problem);
  } finally {
    form.ariaBusy = "false";
  }
}

function text(form, { code, facts }) {
  const name = TEXTS[code];
  const said = form.dataset[name] ?? form.closest("[data-room]").dataset[name] ?? code;
  return said.replace("{address}", facts.address ?? "");
}

// --- Voting ---

const drafts = new WeakMap();

async function vote(form) {
  const path = `/api/v1/ballots/${form.dataset.ballot}/votes`;
  const pasted = form.querySelector("#signature")?.value.trim();
  const waiting = drafts.get(form);
  if (waiting && pasted) return cast(form, path, { ...waiting, signature: pasted });
  const values = wanted(form);
  if (values.community_cut_bp > values.reserve_cut_bp) throw new NotSigned("crossing");
  const draft = await call("POST", `${path}/draft`, { values });
  const unsigned = { values, nonce: draft.nonce, deadline: draft.deadline };
  if (draft.passkey_options) return cast(form, path, { ...unsigned, assertion: await askPasskey(draft.passkey_options) });
  if (hasWallet()) return cast(form, path, { ...unsigned, signature: await signTyped(draft.address, draft.typed_data) });
  drafts.set(form, unsigned);
  form.querySelector("#typed").value = JSON.stringify(draft.typed_data);
  form.querySelector(".elsewhere").hidden = false;
  form.querySelector("#typed").focus();
}

/** The numbers as they are voted, from the units people type. */
function wanted(form) {
  const values = {};
  for (const field of form.elements) {
    if (!field.name || (field.type === "radio" && !field.checked)) continue;
    values[field.name] = Math.round(Number(field.value) * Number(field.dataset.scale ?? 1));
  }
  return values;
}

async function cast(form, path, signed) {
  const answer = await call("POST", path, signed);
  drafts.delete(form);
  if (answer.receipt) keepReceipt(form.dataset.ballot, answer);
  await reload(answer.receipt ? form.dataset.cast : form.dataset.noReceipt);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const typed = button.form.querySelector("#typed");
  typed.select();
  await navigator.clipboard.writeText(typed.value);
  toast(button.dataset.copied);
});

document.addEventListener("input", ({ target }) => {
  const form = target.closest("form.vote");
  if (!form) return;
  if (target.dataset.for) form.elements[target.dataset.for].value = target.value;
  const number = form.elements[target.dataset.for ?? target.name];
  if (!number?.dataset?.scale) return;
  if (number === target) form.querySelector(`[data-for="${number.name}"]`).value = number.value;
  drafts.delete(form);
  const elsewhere = form.querySelector(".elsewhere");
  if (elsewhere) elsewhere.hidden = true;
  foresee(number.name, Number(number.value) * Number(number.dataset.scale));
});

/** Show in the picture what a value would have meant: between two that the server has told, in a straight line. */
function foresee(parameter, value) {
  const figure = document.querySelector(`[data-outlook="${parameter}"][data-rows]`);
  if (!figure || !Number.isFinite(value)) return;
  const rows = JSON.parse(figure.dataset.rows);
  const [lowest, highest] = [rows[0][0], rows.at(-1)[0]];
  const at = Math.min(Math.max(value, lowest), highest);
  const above = Math.max(rows.findIndex(([known]) => known >= at), 1);
  const [[low, ...before], [high, ...after]] = [rows[above - 1], rows[above]];
  const part = (at - low) / (high - low);
  const minor = Number(figure.dataset.minor);
  figure.querySelectorAll("output").forEach((shown, which) => {
    const amount = before[which] + (after[which] - before[which]) * part;
    const step = amount >= 100 * minor ? minor : 1;
    shown.textContent = money(Math.round(amount / step) * step, figure.dataset.currency);
  });
  const line = figure.querySelector(".wanted");
  line.setAttribute("visibility", at === Number(figure.dataset.now) ? "hidden" : "visible");
  for (const end of ["x1", "x2"]) line.setAttribute(end, (600 * (at - lowest)) / (highest - lowest));
}

// --- Receipts ---

function keepReceipt(ballot, { receipt, nonce, cast_at }) {
  localStorage.setItem(`${RECEIPT} ${ballot} ${nonce}`, JSON.stringify({ receipt, nonce, cast_at }));
}

function showReceipts(sheet) {
  const { ballot } = sheet.dataset;
  const list = sheet.querySelector("ul");
  const kept = Object.keys(localStorage)
    .filter((key) => key.startsWith(`${RECEIPT} ${ballot} `))
    .map((key) => JSON.parse(localStorage.getItem(key)))
    .sort((one, other) => other.nonce - one.nonce);
  list.replaceChildren(
    ...kept.map(({ receipt, nonce, cast_at }) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([receipt], { type: "text/plain" }));
      link.download = `vote-${ballot}-${nonce}.promise`;
      const at = new Date(cast_at).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
      link.textContent = list.dataset.label.replace("{nonce}", nonce).replace("{at}", at);
      link.setAttribute("hx-boost", "false");
      const item = document.createElement("li");
      item.append(link);
      return item;
    }),
  );
  sheet.hidden = kept.length === 0;
}

// --- Membership ---

async function apply(form) {
  const application = { member_class: form.elements.member_class.value };
  if (form.elements.key.value === "wallet") {
    const address = await walletAddress();
    const { message } = await call("POST", "/api/v1/membership/wallet/challenge", { address });
    application.wallet = { message, signature: await signText(address, message) };
  }
  await call("POST", "/api/v1/membership", application);
  await reload(form.dataset.said);
}

async function passkey(form) {
  const { name, password } = form.elements;
  const { options } = await call("POST", "/api/v1/passkeys/options", { password: password.value });
  await call("POST", "/api/v1/passkeys", { name: name.value, credential: await makePasskey(options) });
  await reload(form.dataset.said);
}

async function delegation(form) {
  const to = form.elements.to.value.trim();
  const asked = await call("GET", `/api/v1/membership/delegation/typed-data?to=${encodeURIComponent(to)}`);
  const { address } = form.closest("[data-room]").dataset;
  const signed = asked.passkey ? { passkey: await askPasskey(asked.passkey) } : { signature: await signTyped(address, asked.typed_data) };
  await call("POST", "/api/v1/membership/delegation", { to, nonce: asked.nonce, expiry: asked.expiry, ...signed });
  await reload(form.dataset.said);
}

/** The new account signs; then, where the co-op does not keep its key, the old one. */
async function rekey(form) {
  const address = await walletAddress();
  const asked = await call("GET", `/api/v1/membership/wallet/typed-data?address=${encodeURIComponent(address)}`);
  const move = {
    password: form.elements.password.value,
    address,
    nonce: asked.nonce,
    deadline: asked.deadline,
    signature: await signTyped(address, asked.typed_data),
  };
  const finish = async (old) => {
    await call("POST", "/api/v1/membership/wallet", { ...move, ...old });
    await reload(form.dataset.said);
  };
  if (!asked.also_signed_by_old) return finish({});
  const second = form.querySelector(".second");
  second.hidden = false;
  const before = form.closest("[data-room]").dataset.address;
  second.querySelector("button").onclick = () =>
    doing(form, async () => finish({ old_signature: await signTyped(before, asked.typed_data) }));
}

/** Whom the chain has vote for one; nothing is said where it cannot be asked. */
async function showDelegate(place) {
  const { address } = place.closest("[data-room]").dataset;
  const asked = await call("GET", `/api/v1/membership/delegation/typed-data?to=${address}`).catch(() => null);
  if (!asked) return;
  place.textContent = asked.delegate === address ? place.dataset.self : place.dataset.other.replace("{address}", asked.delegate);
}

// --- What is shown once ---

document.addEventListener("form:done", ({ target, detail }) => {
  if (!target.matches("form.reveal")) return;
  const place = target.querySelector(".secret");
  const field = place.querySelector("input");
  field.value = detail.answer[target.dataset.shows];
  place.hidden = false;
  field.focus();
  field.select();
});

/** A page of this room is there, or another part of it. */
export function arrive() {
  document.querySelectorAll(".receipts").forEach(showReceipts);
  document.querySelectorAll("p.delegate").forEach(showDelegate);
  for (const number of document.querySelectorAll("form.vote input[data-scale]")) {
    foresee(number.name, Number(number.value) * Number(number.dataset.scale));
  }
}
