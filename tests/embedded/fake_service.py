"""Run by tests as `python -m tests.embedded.fake_service DATA_DIR [FAULT]`: the real supervisor over trivial programs.

Each program writes its name to `journal` in the data folder when it starts and when it is asked to end. FAULT is
`found` (that command fails), `api` (it dies at every start) or `stubborn` (the worker ignores SIGTERM and SIGQUIT).
"""

import signal
import sys
from pathlib import Path

from streamcoop.embedded import process, supervisor
from streamcoop.embedded.plan import Commands, Setup

PROGRAM = """
import http.server, json, os, signal, subprocess, sys, threading, time
name, fault, root, port = sys.argv[1], sys.argv[2], os.environ["STREAMCOOP_DATA_DIR"], int(sys.argv[3])

def note(word):
    with open(f"{root}/journal", "a") as journal:
        journal.write(f"{word} {name} {os.getpid()}\\n")

def end(*_):
    note("end")
    os._exit(0)

for number in (signal.SIGTERM, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN if fault == "stubborn" and name == "worker" else end)
note("start")
print(f"{name} says hello", file=sys.stderr)
if name == fault:
    sys.exit(f"{name} is broken")
if name == "chain":
    contracts = {name: "0x" + "0" * 40 for name in ("membership_contract", "anchor_contract", "rate_registry")}
    print(json.dumps({"rpc_url": "http://127.0.0.1:1", "chain_id": 31337, **contracts}), flush=True)
if name in ("migrate", "found"):
    sys.exit()
if name == "worker":
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(f"{root}/journal", "a") as journal:
        journal.write(f"start grandchild {grandchild.pid}\\n")
if name == "api":
    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/readyz" else 404)
            self.end_headers()
        def log_message(self, *_):
            pass
    threading.Thread(target=http.server.HTTPServer(("127.0.0.1", port), Ready).serve_forever, daemon=True).start()
while True:
    time.sleep(600)
"""


def main(data_dir: Path, fault: str) -> int:
    def command(name: str, port: int) -> list[str]:
        return [sys.executable, "-c", PROGRAM, name, fault, str(port)]

    def commands(setup: Setup) -> Commands:
        workers = {name: command(name, 0) for name in ("worker", "media")}
        return Commands(
            chain=command("chain", setup.chain_port),
            migrate=command("migrate", 0),
            found=command("found", 0),
            workers=workers,
            beat=command("beat", 0),
            api=command("api", setup.port),
        )

    if fault == "stubborn":
        supervisor.WORKER_STOP = ((signal.SIGTERM, 0.2), (signal.SIGQUIT, 0.2), *process.KILL_STEPS)
    try:
        supervisor.run(data_dir, port=0, commands_for=commands)
    except supervisor.REFUSALS as refusal:
        print(f"refused: {refusal}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
