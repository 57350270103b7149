"""The same modules in a real browser, under the strictest policy that a page can have."""

from __future__ import annotations

import json
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import unquote

import pytest

from tests import debian_chromium
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import WITNESSES, publish, story
from tests.ledger.verify.servers import serving
from tests.web.proof_in_node import MODULES

ANSWER_S_MAX = 60
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'"
PAGE = '<!doctype html><script type="module" src="main.js"></script>'
MAIN = """
import { compareWithLatest, pin, recall, verifyPromise, verifyReceipt } from "/proof/index.js";

const text = async (path) => (await fetch(path)).text();
const told = {};
try {
  const pinned = await pin();
  const promise = await verifyPromise(await text("/promise"), pinned);
  const expect = { commitment: promise.commitment, price_micro: promise.price_micro };
  const shown = await verifyReceipt(await text("/receipt"), pinned, { expect });
  const latest = await compareWithLatest(shown);
  Object.assign(told, { play: shown.play, size: latest.size, cosigned: latest.witnesses.cosigned });
  told.remembered = recall().head === latest.note;
  try {
    await verifyReceipt((await text("/receipt")).replace("index ", "index 1"), pinned);
  } catch (refused) {
    told.refused = refused.code;
  }
} catch (failed) {
  told.failed = `${failed.name} ${failed.code} ${failed.stack}`;
}
await fetch(`/told?${encodeURIComponent(JSON.stringify(told))}`);
"""


def test_a_browser_pins_the_log_and_verifies_promise_and_receipt(tmp_path: Path) -> None:
    if not debian_chromium.is_here():
        pytest.skip("Chromium is neither installed nor unpacked")
    site, told = tmp_path / "site", story()
    published = publish(site / "log", told.entries, witnesses=WITNESSES)
    play = told.maker.plays[0]
    (site / "receipt").write_text(factory.play_receipt(told.maker, published, play), encoding="utf-8")
    (site / "promise").write_text(factory.promise(play), encoding="utf-8")
    shutil.copytree(MODULES, site / "proof")
    (site / "main.js").write_text(MAIN, encoding="utf-8")
    answers: Queue[dict[str, Any]] = Queue()

    def serve(handler: BaseHTTPRequestHandler) -> bool:
        path, _, query = handler.path.lstrip("/").partition("?")
        if path == "told":
            answers.put(json.loads(unquote(query)))
        if path != "page" and not path.endswith(".js"):
            return False
        data = PAGE.encode() if path == "page" else (site / path).read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html" if path == "page" else "text/javascript")
        handler.send_header("Content-Security-Policy", POLICY)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
        return True

    with serving(site, serve) as address:
        program = str(debian_chromium.program())
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        with subprocess.Popen(
            [*command, f"{address}/page"],
            env={name: str(value) for name, value in debian_chromium.environment().items()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as browser:
            try:
                answer = answers.get(timeout=ANSWER_S_MAX)
            finally:
                browser.terminate()
    assert answer == {
        "play": str(play.play),
        "size": len(published.data),
        "cosigned": [witness.name for witness in WITNESSES],
        "remembered": True,
        "refused": "not-in-log",
    }
