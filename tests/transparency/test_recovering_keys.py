"""A database of before a rotation, or of before officers spoke, is brought to where the log is: by the keys of now."""

from __future__ import annotations

from ledger import entries
from tests.ledger import factories
from tests.transparency.desk import Desk
from tests.transparency.test_keys import keys_in, rotations, shown_keys
from tests.transparency.test_recovery import Yard
from tests.transparency.test_recovery import yard as yard

OFFICERS = ("treasurer", "auditor")
LABEL = "2026-03"


def test_keys_and_attestations_are_put_back_with_the_rest(yard: Yard, desk: Desk) -> None:
    press, label, old = desk.press, desk.press.label, shown_keys(desk)
    desk.founded([desk.person(name) for name in OFFICERS], "putri")
    label.listener()
    assert label.close(factories.EPOCH)
    label.go_to(factories.EPOCH + 1)
    press.publish()
    first, second = (("attest", LABEL, "50", "--key-file", desk.key_file(name)) for name in OFFICERS)
    desk.must(*first)
    taken = yard.back_up()
    desk.must(*second)
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    desk.take_key(desk.folder / "next")
    press.publish()
    label.listener()
    press.publish()
    published, rows = yard.files(), yard.everything()
    with yard.restored(taken) as restored:
        assert restored.is_held
        assert not rotations(press)
        assert desk.log("status").exit_code == 1
        yard.recover()
        assert yard.files() == published
        assert yard.everything() == rows
        assert shown_keys(desk) == keys_in(desk.folder / "next")
        label.listener()
        press.publish()
        report = press.require_whole(keys=old)
        assert (report.kinds[entries.KEYS], report.kinds[entries.ATTESTATION]) == (1, 1)
