// Short messages, read out to who does not see them.

import htmx from "./vendor/htmx/htmx.esm.min.js";

const SHOWN_MS = 6_000;
const AT_ONCE_MAX = 3;

export function toast(text, { action, href } = {}) {
  const place = document.getElementById("toasts");
  const shown = document.createElement("p");
  shown.textContent = text;
  if (action) {
    const link = document.createElement("a");
    link.textContent = action;
    link.href = href;
    shown.append(" ", link);
  }
  place.append(shown);
  // Its link leads on as all others do, and ends nothing that plays or is being uploaded.
  htmx.process(shown);
  while (place.children.length > AT_ONCE_MAX) place.firstChild.remove();
  setTimeout(() => shown.remove(), SHOWN_MS);
}
