// Where officers approve admissions with a wallet of their own.

import { call, Problem } from "./api.js";
import { clear, reload, show } from "./forms.js";
import { NotSigned, signTyped } from "./signing.js";

const TEXTS = { "no-wallet": "noWallet", "other-account": "otherAccount", stopped: "stopped" };

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.className !== "approval") return;
  event.preventDefault();
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  clear(form);
  try {
    await approve(form);
  } catch (problem) {
    show(form, problem instanceof NotSigned ? new Problem(problem.code, text(form, problem), 0) : problem);
  } finally {
    form.ariaBusy = "false";
  }
});

async function approve({ dataset: { member, address, said } }) {
  const { typed_data, deadline } = await call("GET", `/api/v1/members/${member}/approval`);
  await call("POST", `/api/v1/members/${member}/approve`, { signature: await signTyped(address, typed_data), deadline });
  await reload(said);
}

function text(form, { code, facts }) {
  const said = form.closest("[data-room]").dataset[TEXTS[code]] ?? code;
  return said.replace("{address}", facts.address ?? "");
}
