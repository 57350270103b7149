"""Attestations: two officers say what the bank held, one after the other, and the log tells it for good."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from psycopg.errors import RestrictViolation

from ledger import accounts as chart
from ledger import entries
from ledger.ids import new_id
from ledger.note import SigningKey
from ledger.store import attestations, batches, posting
from ledger.store.posting import Transfer
from ledger.verify.report import Report
from streamcoop.database import transaction
from streamcoop.settings import settings
from streamcoop.transparency import attesting, key_files
from streamcoop.transparency.commands import _Amount, _written
from tests.ledger import factories
from tests.royalties.label import FIRST_EPOCH
from tests.transparency.desk import Desk

EPOCH = factories.EPOCH
LABEL = "2026-03"
OFFICERS = ("treasurer", "auditor")
# Two listeners, who paid for 50 credits of one euro each.
HELD = "100"


@pytest.fixture
def sealed(desk: Desk) -> Desk:
    """A co-op with two officers, an epoch that is sealed, and nothing said of it yet."""
    desk.founded([desk.person(name) for name in OFFICERS], "putri")
    label = desk.press.label
    track = label.track(label.person("Kyai", "artist"))
    for listener in (label.listener(), label.listener()):
        label.play(listener, track, 2)
    assert label.close(EPOCH)
    label.go_to(EPOCH + 1)
    # What comes in later is no matter of this epoch's.
    label.listener("Sekar")
    desk.press.publish()
    return desk


def by(desk: Desk, name: str) -> tuple[str, Path]:
    return "--key-file", desk.key_file(name)


def attested(report: Report, epoch: int = EPOCH) -> list[str]:
    (totals,) = [totals for totals in report.epochs if totals.epoch == epoch]
    return totals.attested_by


def officers_told() -> dict[int, int]:
    """As the page of the log tells it."""
    with transaction() as session:
        return attestations.told(session.connection(), 10)


def test_what_two_officers_say_is_told_and_believed(sealed: Desk) -> None:
    assert attested(sealed.press.require_whole()) == []
    said = sealed.must("attest", LABEL, HELD, *by(sealed, "treasurer"))
    assert "another officer is to say the same" in said.stdout
    sealed.press.publish()
    assert attested(sealed.press.require_whole()) == []
    assert officers_told() == {}
    said = sealed.must("attest", LABEL, "100.00", *by(sealed, "auditor"))
    assert "100.00 EUR at the end of 2026-03 is attested" in said.stdout
    sealed.press.publish()
    report = sealed.press.require_whole()
    assert attested(report) == ["treasurer@coop.example", "auditor@coop.example"]
    assert report.kinds[entries.ATTESTATION] == 1
    assert officers_told() == {EPOCH: 2}
    told = [line for line in report.trust() if line.startswith(f"bank at the close of {LABEL}")]
    assert told == [f"bank at the close of {LABEL}: attested by treasurer@coop.example and auditor@coop.example"]


def test_epochs_are_attested_in_any_order_and_several_in_a_batch(sealed: Desk) -> None:
    for epoch, amount in ((str(EPOCH), HELD), (str(FIRST_EPOCH), "0")):
        for name in OFFICERS:
            sealed.must("attest", epoch, amount, *by(sealed, name))
    sealed.press.publish()
    report = sealed.press.require_whole()
    assert attested(report, FIRST_EPOCH) == attested(report) != []


def test_money_that_left_for_payees_is_not_at_the_bank(desk: Desk) -> None:
    desk.founded([desk.person(name) for name in OFFICERS], "putri")
    label = desk.press.label
    artist, lestari = label.person("Kyai", "artist"), label.listener()
    label.play(lestari, label.track(artist), 9)
    assert label.close(EPOCH)
    label.go_to(EPOCH + 1)
    paid_micro = label.balance(artist) // 10_000 * 10_000
    assert paid_micro > 0
    with transaction() as session:
        conn = session.connection()
        paid = [Transfer(chart.royalty(artist.user_id), chart.BANK, paid_micro)]
        at, batch = label.clock.now(), batches.open_batch(conn)
        posting.post(conn, new_id(), "payout-confirmed", paid, at, batch=batch)
    assert label.close(EPOCH + 1)
    desk.press.publish()
    left = _written(50_000_000 - paid_micro)
    for epoch, amount in ((EPOCH, "50"), (EPOCH + 1, left)):
        for name in OFFICERS:
            desk.must("attest", epoch, amount, *by(desk, name))
    desk.press.publish()
    report = desk.press.require_whole()
    assert attested(report, EPOCH + 1) == attested(report) != []


def test_nobody_attests_alone(sealed: Desk) -> None:
    sealed.must("attest", LABEL, HELD, *by(sealed, "treasurer"))
    for amount in (HELD, "99"):
        words = ("attest", LABEL, amount, "--although-it-differs", *by(sealed, "treasurer"))
        assert "for another one to say the same" in sealed.refused(*words)
    sealed.press.publish()
    report = sealed.press.require_whole()
    assert attested(report) == []
    assert entries.ATTESTATION not in report.kinds


def test_only_officers_of_the_founding_note_attest(sealed: Desk) -> None:
    sealed.person("mallory")
    for stranger in ("mallory", "putri"):
        assert "names no such officer" in sealed.refused("attest", LABEL, HELD, *by(sealed, stranger))
    sealed.key_file("treasurer").unlink()
    sealed.person("treasurer")
    assert "names no such officer" in sealed.refused("attest", LABEL, HELD, *by(sealed, "treasurer"))
    assert not sealed.press.label.rows("select from ledger.log_attestation")


def test_without_a_founding_note_there_are_no_officers(desk: Desk) -> None:
    desk.person("treasurer")
    assert "no founding note" in desk.refused("attest", LABEL, HELD, *by(desk, "treasurer"))


@pytest.mark.parametrize("amount", ["99.999999", "0", "-100", "150"])
def test_a_sum_that_is_not_the_books_is_not_said_by_mistake(sealed: Desk, amount: str) -> None:
    result = sealed.log("attest", *by(sealed, "treasurer"), "--", LABEL, amount)
    assert result.exit_code == 1
    assert "By the books the bank holds another sum" in result.stderr
    assert not sealed.press.label.rows("select from ledger.log_attestation")


def test_officers_may_say_that_the_bank_holds_less_and_everybody_sees_it(sealed: Desk) -> None:
    for name in OFFICERS:
        sealed.must("attest", LABEL, "60", "--although-it-differs", *by(sealed, name))
    sealed.press.publish()
    report = sealed.press.audit()
    (finding,) = report.findings.first
    assert "the bank held another sum than came in and went out" in str(finding)
    assert (finding.expected, finding.found) == ("100000000", "60000000")


def test_officers_who_disagree_attest_nothing_until_one_withdraws(sealed: Desk) -> None:
    sealed.must("attest", LABEL, "60", "--although-it-differs", *by(sealed, "treasurer"))
    assert "another sum" in sealed.refused("attest", LABEL, HELD, *by(sealed, "auditor"))
    sealed.must("withdraw-attestation", LABEL)
    sealed.refused("withdraw-attestation", LABEL)
    for name in OFFICERS:
        sealed.must("attest", LABEL, HELD, *by(sealed, name))
    sealed.press.publish()
    assert attested(sealed.press.require_whole())


def test_what_is_attested_stays(sealed: Desk) -> None:
    for name in OFFICERS:
        sealed.must("attest", LABEL, HELD, *by(sealed, name))
    for name in OFFICERS:
        assert "it stays as it is" in sealed.refused("attest", LABEL, HELD, *by(sealed, name))
    assert "No officer alone" in sealed.refused("withdraw-attestation", LABEL)
    for statement in ("update ledger.log_attestation set bank_micro = 1", "delete from ledger.log_attestation"):
        url = sealed.press.label.database.superuser_url
        with psycopg.connect(url) as conn, pytest.raises(RestrictViolation):
            conn.execute(statement)


def test_what_one_officer_said_is_completed_or_withdrawn_and_never_changed(sealed: Desk) -> None:
    sealed.must("attest", LABEL, HELD, *by(sealed, "treasurer"))
    url = sealed.press.label.database.superuser_url
    with psycopg.connect(url) as conn, pytest.raises(RestrictViolation):
        conn.execute("update ledger.log_attestation set officers = array['another']")


@pytest.mark.parametrize("epoch", ["2026-04", "2026-13", "", str(EPOCH + 1), "march"])
def test_what_is_not_sealed_is_not_attested(sealed: Desk, epoch: str) -> None:
    assert "No epoch of this name is sealed" in sealed.refused("attest", epoch, HELD, *by(sealed, "treasurer"))


@pytest.mark.parametrize("amount", ["", "1,00", "1.", ".5", "1.0000001", "1e3", "+1", "9" * 13])
def test_an_amount_is_written_in_one_way(desk: Desk, amount: str) -> None:
    desk.person("treasurer")
    assert desk.log("attest", LABEL, amount, *by(desk, "treasurer")).exit_code == 2


@pytest.mark.parametrize(
    ("text", "micro"), [("1234.56", 1_234_560_000), ("0.000001", 1), ("-0.5", -500_000), ("7", 7_000_000)]
)
def test_amounts_are_exact(text: str, micro: int) -> None:
    assert _Amount().convert(text, None, None) == micro
    assert _Amount().convert(_written(micro), None, None) == micro


def test_a_batch_that_holds_an_attestation_alone_is_due(sealed: Desk) -> None:
    later = sealed.press.label.clock.now() + timedelta(days=2)
    for name in OFFICERS:
        with transaction() as session:
            assert not batches.is_due(session.connection(), later, 86_400, 10)
        sealed.must("attest", LABEL, HELD, *by(sealed, name))
    with transaction() as session:
        assert batches.is_due(session.connection(), later, 86_400, 10)


def test_a_split_is_found_in_a_batch_that_also_attests_and_changes_keys(sealed: Desk, tmp_path: Path) -> None:
    press, label = sealed.press, sealed.press.label
    for name in OFFICERS:
        sealed.must("attest", LABEL, HELD, *by(sealed, name))
    sealed.must("rotate-keys", "--new-key-file", sealed.folder / "next")
    artist = label.person("Nining", "artist")
    label.play(label.listener(), label.track(artist), epoch=EPOCH + 1)
    sealed.take_key(sealed.folder / "next")
    press.publish()
    receipts = tmp_path / "receipts"
    receipts.mkdir()
    (named,) = label.get("/royalties/names", artist)
    press.keep_receipt(receipts, artist, f"/royalties/names/{named['split_id']}/receipt", "payee")
    report = press.require_whole(receipts)
    assert [outcome.kind for outcome in report.receipts] == ["payee"]
    assert attested(report)


def test_officers_who_speak_at_the_same_time_have_both_spoken(sealed: Desk) -> None:
    officers = [key_files.read_key(sealed.key_file(name)) for name in OFFICERS]
    trusted = [officer.verifier for officer in officers]
    both = Barrier(len(officers))

    def say(officer: SigningKey) -> attesting.Said:
        with transaction() as session:
            both.wait(timeout=10)
            label = sealed.press.label
            return attesting.attest(session, settings(), label.founding, trusted, (LABEL, 100_000_000), officer)

    with ThreadPoolExecutor(len(officers)) as threads:
        said = [*threads.map(say, officers)]
    assert sorted(each.batch is None for each in said) == [False, True]
    sealed.press.publish()
    assert sorted(attested(sealed.press.require_whole())) == sorted(officer.name for officer in officers)
