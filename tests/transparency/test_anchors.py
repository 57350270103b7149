"""A published log held against its anchors on a real chain, by the command that members run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from streamcoop import cli
from streamcoop.adapters.anchors import Anchors
from tests.embedded.chain_process import running_chain, write_key
from tests.ledger import factories
from tests.transparency.press import ORIGIN, Press

EPOCH = factories.EPOCH


def anchor(contract: Anchors, row: Any, **otherwise: int) -> None:
    """What a row says is to be anchored, but for what is to be told otherwise."""
    told = {name: getattr(row, name) for name in ("epoch", "size", "gross_micro", "royalties_micro")} | otherwise
    built = contract.build_anchor(root=bytes(row.root), **told)
    contract.broadcast(built.raw)
    receipt = contract.receipt(built.hash)
    assert receipt is not None
    assert receipt.succeeded


def verify(*args: object) -> Result:
    result = CliRunner().invoke(cli.main, ["verify", *map(str, args)])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def test_a_published_log_holds_what_was_anchored_of_it_and_no_other_figure(press: Press, tmp_path: Path) -> None:
    label = press.label
    artist, listener = label.person("Kyai", "artist"), label.listener()
    track = label.track(artist)
    for epoch in (EPOCH, EPOCH + 1):
        label.play(listener, track, 3, epoch=epoch)
        assert label.close(epoch)
        label.go_to(epoch + 1)
        press.publish()
    rows = label.rows("select * from coop.anchor order by epoch")
    assert [row.epoch for row in rows][-2:] == [EPOCH, EPOCH + 1]
    registrar = write_key(tmp_path / "key")
    with running_chain(tmp_path / "chain", tmp_path / "key", ORIGIN) as chain:
        contract = Anchors.connect(chain.rpc_url, chain.anchor_contract, registrar_key=f"0x{registrar.key.hex()}")
        log = (press.log, "--state", tmp_path / "state", *(f"--key={key}" for key in press.writer().keys.current))
        on_chain = (*log, "--chain", chain.rpc_url, "--anchor-contract", chain.anchor_contract)
        for row in rows[:-1]:
            anchor(contract, row)
        before = verify(*on_chain)
        assert before.exit_code == 0, before.output
        assert (
            f"anchors: {len(rows) - 1} of {len(rows)} sealed epochs, on a chain of the operator's own" in before.output
        )
        assert "not anchored yet: " in before.output

        anchor(contract, rows[-1], gross_micro=rows[-1].gross_micro + 1)
        after = verify(*on_chain)
        assert after.exit_code == 1
        assert f"FORK: epoch {EPOCH + 1} was anchored with another gross_micro" in after.output

        nowhere = verify(*log, "--chain", chain.rpc_url, "--anchor-contract", chain.membership_contract)
        assert (nowhere.exit_code, "The anchors cannot be read from the chain." in nowhere.output) == (2, True)
    away = verify(*on_chain)
    assert (away.exit_code, "ChainUnavailable" in away.output) == (2, True)
