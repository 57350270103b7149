// Forms that act through the API: <form data-api="POST /api/v1/…">. Each field is a member of the JSON that is sent,
// `data-as` tells of what kind (number, boolean, lines, json, micro, minor: money in its minor unit, id: of an address);
// one that is empty is left out, or null where it has `data-empty`. Of checkboxes that are `each`, those that are ticked
// make a list.
//
// What the API refuses is shown where it belongs, and nothing that was typed is lost: what is in a form is kept for as
// long as the browser's tab is there, also through a session that ended in the middle of it.

import { creditsFor } from "./amounts.js";
import { call } from "./api.js";
import { toast } from "./toasts.js";
import { word } from "./words.js";

const KEPT = "form ";
const UNKEPT = new Set(["password", "file", "hidden"]);
const KINDS = {
  credits: (field) => {
    const credits = creditsFor(field.value, field.dataset.price);
    if (Number.isNaN(credits)) throw new Error(word("check_fields")); // as JSON it would be null: no limit
    return credits;
  },
  micro: (field) => Math.round(Number(field.value) * 1e6),
  minor: (field) => Math.round(Number(field.value) * 10 ** Number(field.dataset.digits)),
  id: (field) => field.value.match(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/i)?.[0] ?? field.value,
  number: (field) => Number(field.value),
  boolean: (field) => field.checked,
  lines: (field) => field.value.split("\n").map((line) => line.trim()).filter(Boolean),
  json: (field) => JSON.parse(field.value),
};

/** What a form sends; throws what JSON.parse throws. */
export function valuesOf(form) {
  const values = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || (field.type === "radio" && !field.checked)) continue;
    const kind = field.dataset.as;
    if (kind === "each") {
      if (field.checked) (values[field.name] ??= []).push(field.value);
      continue;
    }
    if (kind !== "boolean" && field.value === "") {
      if ("empty" in field.dataset) values[field.name] = null;
      continue;
    }
    values[field.name] = kind ? KINDS[kind](field) : field.value;
  }
  return values;
}

/** `{id}` in an address is a value of the form's own, which is not sent besides. */
function addressOf(path, values) {
  return path.replace(/\{(\w+)\}/g, (_, name) => {
    const value = encodeURIComponent(values[name]);
    delete values[name];
    return value;
  });
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const [method, path] = (form.dataset.api ?? "").split(" ");
  if (!path) return;
  event.preventDefault();
  if (form.ariaBusy === "true" || (form.dataset.ask && !confirm(form.dataset.ask))) return;
  form.ariaBusy = "true";
  clear(form);
  try {
    const values = valuesOf(form);
    const answer = await call(method, addressOf(path, values), method === "DELETE" && !Object.keys(values).length ? undefined : values);
    sessionStorage.removeItem(keyOf(form));
    form.dispatchEvent(new CustomEvent("form:done", { bubbles: true, detail: { values, answer } }));
    await after(form, values, answer);
  } catch (problem) {
    show(form, problem);
  } finally {
    form.ariaBusy = "false";
  }
});

/** What follows: `data-then` is `sign-in`, `reload`, `reset` or an address, in which `{id}` is a member of the answer. */
async function after(form, values, answer) {
  const then = form.dataset.then ?? "reload";
  const said = answer?.repeated ? word("repeated") : (form.dataset.said ?? word("saved"));
  if (then === "sign-in") {
    await call("POST", "/api/v1/session", { email: values.email, password: values.password });
    location.assign(form.dataset.next || "/");
  } else if (then === "reset") {
    form.reset();
    toast(said);
  } else if (then === "reload") {
    await reload(said);
  } else if (then !== "nothing") {
    await visit(then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(answer[name])));
  }
}

/** Go to a page as a link would: what plays or is being uploaded goes on. */
async function visit(address) {
  // At home another may look at all of it, the frame as well.
  if (address === "/") return location.assign(address);
  const { default: htmx } = await import("./vendor/htmx/htmx.esm.min.js");
  const arriving = htmx.ajax("GET", address, { target: "#main", select: "#main", swap: "outerHTML" });
  history.pushState({ htmx: true }, "", address);
  await arriving;
  scrollTo(0, 0);
}

/** The page as it is now, and what has come about. */
export async function reload(said) {
  const { default: htmx } = await import("./vendor/htmx/htmx.esm.min.js");
  await htmx.ajax("GET", location.pathname + location.search, { target: "#main", select: "#main", swap: "outerHTML" });
  toast(said);
}

export function clear(form) {
  form.querySelectorAll(".refused").forEach((said) => said.remove());
  form.querySelectorAll("[aria-invalid]").forEach((field) => field.removeAttribute("aria-invalid"));
}

/** A problem where it belongs: at its fields, else at the top of the form. */
export function show(form, problem, { focus = true } = {}) {
  const said = document.createElement("p");
  said.className = "refused";
  said.role = "alert";
  if (problem.status === 401 && !form.dataset.api?.endsWith("/session")) {
    keep(form);
    said.textContent = `${word("session_over")} `;
    const link = document.createElement("a");
    link.textContent = word("sign_in");
    link.href = `/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
    said.append(link);
  } else {
    const nobody = problem.type === "not-found" && form.dataset.notFound;
    said.textContent = nobody || (problem.type === "malformed" ? word("check_fields") : problem.message);
  }
  form.prepend(said);
  const errors = problem.facts?.errors ?? (problem.facts?.field ? [{ field: problem.facts.field, message: problem.message }] : []);
  for (const { field, message } of errors) {
    const at = form.elements[field.split(".")[0]];
    if (!at?.setAttribute) continue;
    at.setAttribute("aria-invalid", "true");
    const beside = document.createElement("small");
    beside.className = "refused";
    beside.textContent = message.replace(/^Value error, /, "");
    at.after(beside);
  }
  if (focus) (form.querySelector("[aria-invalid]") ?? said).focus?.();
}

// --- Nothing that was typed is lost ---

/** Of several forms that ask the same of the API, each has an id. */
const keyOf = (form) => `${KEPT}${location.pathname} ${form.id || form.dataset.api}`;

function keep(form) {
  const kept = {};
  for (const field of form.elements) {
    if (!field.name || UNKEPT.has(field.type) || field.dataset.as === "each" || (field.type === "radio" && !field.checked)) continue;
    kept[field.name] = field.type === "checkbox" ? field.checked : field.value;
  }
  sessionStorage.setItem(keyOf(form), JSON.stringify(kept));
}

document.addEventListener("input", ({ target }) => {
  if (target.form?.dataset.api) keep(target.form);
  if (target.dataset.as === "credits") tellCredits(target);
});

/** What is typed as money, in credits beside it. */
function tellCredits(field) {
  const beside = document.querySelector(`output[for="${field.id}"]`);
  const credits = (creditsFor(field.value || "0", field.dataset.price) / 1e6).toLocaleString(document.documentElement.lang, { maximumFractionDigits: 6 });
  if (beside) beside.textContent = field.value ? word("credits", { credits }) : "";
}

export function restoreForms() {
  for (const form of document.querySelectorAll("form[data-api]")) {
    const kept = JSON.parse(sessionStorage.getItem(keyOf(form)) ?? "{}");
    for (const [name, value] of Object.entries(kept)) {
      const field = form.elements[name];
      if (!field || UNKEPT.has(field.type)) continue;
      if (field.type === "checkbox") field.checked = value;
      else field.value = value;
      if (field.dataset?.as === "credits") tellCredits(field);
    }
  }
}
