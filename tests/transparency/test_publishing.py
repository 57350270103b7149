"""What is published is what happened: an auditor who has nothing but the files finds all of it in order."""

from __future__ import annotations

from pathlib import Path

from tests.ledger import factories
from tests.transparency.press import Press

EPOCH = factories.EPOCH


def test_a_co_op_that_did_nothing_yet_has_a_log_that_holds(press: Press) -> None:
    head = press.publish()
    assert head is not None
    report = press.require_whole()
    assert report.size == head.size


def test_plays_royalties_and_wallets_are_audited_to_the_unit_and_everybody_finds_hers(
    press: Press, tmp_path: Path
) -> None:
    label = press.label
    artist, friend = label.person("Kyai", "artist"), label.person("Putri", "artist")
    one, two = label.track(artist, "Pagi"), label.track(friend, "Malam", "Putri")
    split = label.split_in_force(artist, one, {artist: 6_000, friend: 4_000}, consented=False)
    lestari, sekar = label.listener("Lestari"), label.listener("Sekar")
    label.play(lestari, one, 3)
    press.publish()
    label.play(lestari, two, 2)
    label.play(sekar, one, 9)
    assert label.close(EPOCH)
    # Two come late: one of each kind of split.
    label.go_to(EPOCH + 1)
    label.play(sekar, two, 1, epoch=EPOCH)
    label.play(lestari, one, 1, epoch=EPOCH)
    label.play(lestari, one, 1, epoch=EPOCH + 1)
    assert label.call("POST", f"/splits/{split}/consent", friend).status_code == 204
    assert label.close(EPOCH + 1)
    press.publish()
    receipts = tmp_path / "receipts"
    receipts.mkdir()
    for person in (lestari, sekar):
        for play_id in press.plays_of(person):
            press.keep_receipt(receipts, person, f"/plays/{play_id}/receipt", f"play-{play_id}")
        for line in label.get("/wallet/lines", person):
            path = f"/wallet/lines/{line['epoch']}/receipt"
            press.keep_receipt(receipts, person, path, f"wallet-{person.user_id}-{line['epoch']}")
    for payee in (artist, friend):
        for named in label.get("/royalties/names", payee):
            path = f"/royalties/names/{named['split_id']}/receipt"
            press.keep_receipt(receipts, payee, path, f"payee-{payee.user_id}-{named['split_id']}")
    report = press.require_whole(receipts)
    kinds = [outcome.kind for outcome in report.receipts]
    assert kinds.count("play") == 17
    assert kinds.count("wallet") == 4
    assert kinds.count("payee") == 4
    assert [totals.epoch for totals in report.epochs][-2:] == [EPOCH, EPOCH + 1]
