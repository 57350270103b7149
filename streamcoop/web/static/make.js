// Sharing a track: who gets how much, in per cent that make a whole. And what is copied or printed.

import { call, Problem } from "./api.js";
import { clear, reload, show } from "./forms.js";
import { toast } from "./toasts.js";
import { word } from "./words.js";

const WHOLE_BP = 10_000;

const lines = (form) => [...form.querySelectorAll(".payees > li")];
const field = (line, name) => line.querySelector(`[name="${name}"]`);
const shareOf = (line) => Math.round(100 * (Number(field(line, "share").value) || 0));

export function arrive() {
  document.querySelectorAll("form.split").forEach(count);
  for (const button of document.querySelectorAll("[data-print]")) button.hidden = false;
}

function count(form) {
  const total = lines(form).reduce((sum, line) => sum + shareOf(line), 0);
  const place = form.querySelector(".total");
  place.querySelector("output").textContent = total / 100;
  const note = place.querySelector("[data-short]");
  note.textContent = total === WHOLE_BP ? "" : note.dataset.short;
  for (const button of form.querySelectorAll("[data-remove]")) button.hidden = lines(form).length < 2;
  form.querySelector("[data-add]").hidden = lines(form).length >= Number(form.dataset.payeesMax);
  return total;
}

let made = 1;

function add(form) {
  const line = lines(form).at(-1).cloneNode(true);
  made += 1;
  for (const [at, input] of line.querySelectorAll("input").entries()) {
    input.value = "";
    input.removeAttribute("aria-invalid");
    input.id = `${at ? "share" : "payee"}-more-${made}`;
    input.previousElementSibling.htmlFor = input.id;
  }
  line.querySelectorAll(".refused").forEach((said) => said.remove());
  form.querySelector(".payees").append(line);
  field(line, "payee_email").focus();
}

/** Equal parts; a hundredth that is left over is the first one's. */
function even(form) {
  const all = lines(form);
  const each = Math.floor(WHOLE_BP / all.length);
  all.forEach((line, at) => (field(line, "share").value = (at ? each : WHOLE_BP - each * (all.length - 1)) / 100));
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  const form = button?.closest("form.split");
  if (form && "add" in button.dataset) add(form);
  if (form && "even" in button.dataset) even(form);
  if (form && "remove" in button.dataset) {
    button.closest("li").remove();
    form.querySelector("[data-add]").focus();
  }
  if (form) count(form);
  if (button && "print" in button.dataset) print();
  if (button?.dataset.copy) {
    const text = document.getElementById(button.dataset.copy);
    text.select();
    await navigator.clipboard?.writeText(text.value);
    toast(word("copied"));
  }
});

document.addEventListener("input", (event) => {
  const form = event.target.closest("form.split");
  if (form) count(form);
});

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form.split");
  if (!form) return;
  event.preventDefault();
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  clear(form);
  try {
    if (count(form) !== WHOLE_BP) throw new Problem("shares-do-not-add-up", form.querySelector("[data-short]").dataset.short, 0);
    const shares = lines(form).map((line) => ({ payee_email: field(line, "payee_email").value, share_bp: shareOf(line) }));
    await call("PUT", `/api/v1/tracks/${form.dataset.track}/split`, { shares });
    await reload(word("saved"));
  } catch (problem) {
    show(form, problem, { focus: false });
    const unknown = lines(form).find((line) => field(line, "payee_email").value === problem.facts?.payee_email);
    if (unknown) {
      field(unknown, "payee_email").setAttribute("aria-invalid", "true");
      field(unknown, "payee_email").focus();
    }
  } finally {
    form.ariaBusy = "false";
  }
});
