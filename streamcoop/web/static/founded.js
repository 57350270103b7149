// The assistant's last page: the service comes up at the same address, and this tells when it is there.

const ASK_MS = 1_000;
const LATE_MS = 120_000;
const said = document.getElementById("founding");
const onward = document.getElementById("onward");
const began = Date.now();

async function isThere() {
  try {
    return (await fetch("/readyz", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

onward.hidden = true;
const asking = setInterval(async () => {
  if (await isThere()) {
    clearInterval(asking);
    said.textContent = said.dataset.ready;
    onward.hidden = false;
    onward.focus();
  } else if (Date.now() - began > LATE_MS) {
    said.textContent = said.dataset.late;
  }
}, ASK_MS);
