"""Whatever an operator changes and signs anew is seen: by anyone, by the listener or by the artist; and what is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ledger import entries
from ledger.entries import Entry
from ledger.rates import NetFactors, Rates
from ledger.royalties import Terms, track_royalties
from ledger.sumtree import SumTree
from ledger.verify.memory import Memory
from ledger.witness import EvidenceRefused, parse_evidence, verify_fork
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import EPOCH, Named, Play, Story, publish, story
from tests.ledger.verify.auditing import audit, audit_of, changed, entry_of, keep, place_of, said

Change = Callable[[Story], list[Named]]


@pytest.mark.parametrize("seed", [1844, 1, 2])
def test_a_log_that_nobody_changed_holds(tmp_path: Path, seed: int) -> None:
    report = audit_of(tmp_path, story(seed).entries)
    assert (said(report), report.verdict) == ([], 0)
    assert [totals.epoch for totals in report.epochs] == [EPOCH, EPOCH + 1]
    assert all(totals.attested_by for totals in report.epochs)


# --- What anyone sees ---


def _song_plays(told: Story) -> int:
    return place_of(told.entries, entries.PLAYS, track=str(told.song))


def _play_dropped(told: Story) -> list[Named]:
    place = _song_plays(told)
    entry = told.entries[place][1]
    tree = told.maker.trees[entry["root"]]
    fewer = SumTree(tree.kind, tree.leaves[1:]).root
    return changed(told.entries, place, {"count": fewer.count, "sum_micro": fewer.sums[0], "root": fewer.hash.hex()})


def _play_doubled(told: Story) -> list[Named]:
    place = _song_plays(told)
    play = replace(told.maker.plays[0], salt=bytes(32))
    tree = told.maker.trees[told.entries[place][1]["root"]]
    more = SumTree(tree.kind, sorted([*tree.leaves, play.leaf], key=lambda leaf: leaf.commitment)).root
    return changed(told.entries, place, {"count": more.count, "sum_micro": more.sums[0], "root": more.hash.hex()})


def _plays_moved(told: Story) -> list[Named]:
    """To a track that was told and not played in that batch."""
    place = place_of(told.entries, entries.PLAYS, track=str(told.song), batch=3, epoch=EPOCH + 1)
    return changed(told.entries, place, {"track": str(told.tune)})


def _sum(by_micro: int) -> Change:
    def change(told: Story) -> list[Named]:
        place = _song_plays(told)
        return changed(told.entries, place, {"sum_micro": told.entries[place][1]["sum_micro"] + by_micro})

    return change


def _plays_used_again(told: Story) -> list[Named]:
    again = {**entry_of(told.entries, entries.PLAYS), "batch": 2}
    place = place_of(told.entries, entries.BATCH, 1) + 1
    return [*told.entries[:place], (entries.PLAYS, again), *told.entries[place:]]


def _wallets(change: dict[str, int]) -> Change:
    def changing(told: Story) -> list[Named]:
        place = place_of(told.entries, entries.WALLETS)
        entry = told.entries[place][1]
        return changed(told.entries, place, {name: entry[name] + by for name, by in change.items()})

    return changing


def _top_up_invented(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.TOP_UPS)
    entry = told.entries[place][1]
    more = {"credits_micro": entry["credits_micro"] + 1_000_000, "money_micro": entry["money_micro"] + 1_000_000}
    return changed(told.entries, place, more)


def _credits_given_away(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.TOP_UPS)
    return changed(told.entries, place, {"money_micro": told.entries[place][1]["money_micro"] - 1})


def _royalties(told: Story, change: Callable[[Entry], None], epoch: int = EPOCH) -> list[Named]:
    place = place_of(told.entries, entries.ROYALTIES, track=str(told.song), epoch=epoch)
    entry = entry_of(told.entries, entries.ROYALTIES, track=str(told.song), epoch=epoch)
    change(entry)
    return changed(told.entries, place, entry)


def _line_altered(told: Story) -> list[Named]:
    def change(entry: Entry) -> None:
        entry["lines"][0]["amount_micro"] -= 1
        entry["lines"][1]["amount_micro"] += 1

    return _royalties(told, change)


def _line_omitted(told: Story) -> list[Named]:
    return _royalties(told, lambda entry: entry["lines"].pop())


def _lines_swapped(told: Story) -> list[Named]:
    return _royalties(told, lambda entry: entry["lines"].reverse())


def _royalties_omitted(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.ROYALTIES)
    return [*told.entries[:place], *told.entries[place + 1 :]]


def _recomputed(told: Story, entry: Entry, split: int, rates: Rates, factors: NetFactors) -> None:
    """Make the share-out anew under other terms, so that it adds up in itself."""
    chosen = told.maker.splits[told.song][split]
    terms = Terms(factory.PRICE, factors, rates)
    paid = track_royalties(entry["collected_micro"], chosen.shares, terms, epoch=entry["epoch"], track=str(told.song))
    entry |= {
        "split": str(chosen.split),
        "gross_micro": paid.gross_micro,
        "deductions": paid.deductions,
        "net_micro": paid.net_micro,
        "artists_micro": paid.artists_micro,
        "funds": paid.funds,
    }
    for line, made in zip(entry["lines"], paid.lines, strict=True):
        line["amount_micro"] = made.amount_micro


FACTORS = NetFactors(1_900, 200, {"GEMA": 500})


def _later_rate(told: Story) -> list[Named]:
    return _royalties(told, lambda entry: _recomputed(told, entry, 0, Rates(7_400), FACTORS))


def _other_factors(told: Story) -> list[Named]:
    return _royalties(told, lambda entry: _recomputed(told, entry, 0, Rates(), NetFactors(1_900, 300, {"GEMA": 500})))


def _later_split(told: Story) -> list[Named]:
    return _royalties(told, lambda entry: _recomputed(told, entry, 1, Rates(), FACTORS))


def _earlier_split(told: Story) -> list[Named]:
    return _royalties(told, lambda entry: _recomputed(told, entry, 0, Rates(), FACTORS), EPOCH + 1)


def _late_at_the_terms_of_now(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.LATE)
    entry = entry_of(told.entries, entries.LATE)
    _recomputed(told, entry, 1, Rates(), FACTORS)
    return changed(told.entries, place, entry)


def _rate_from_an_earlier_epoch(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.RATES, version=2)
    return changed(told.entries, place, {"effective_epoch": EPOCH})


def _split_from_an_earlier_epoch(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.SPLIT, 2)
    return changed(told.entries, place, {"effective_epoch": EPOCH})


def _released_twice(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.BATCH, 4)
    return [*told.entries[: place + 1], told.entries[place_of(told.entries, entries.RELEASE)]]


def _released_more(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.RELEASE)
    return changed(told.entries, place, {"amount_micro": told.entries[place][1]["amount_micro"] + 1})


def _released_to_another(told: Story) -> list[Named]:
    other = told.maker.splits[told.song][0].shares[1].payee
    return changed(told.entries, place_of(told.entries, entries.RELEASE), {"payee": other})


def _attested(by_micro: int) -> Change:
    def change(_: Story) -> list[Named]:
        told = story()
        maker = told.maker
        maker.attest(EPOCH + 1, maker.bank_micro + by_micro)
        entry = maker._told[entries.ATTESTATION][-1]
        return changed(told.entries, place_of(told.entries, entries.ATTESTATION, epoch=EPOCH + 1), entry)

    return change


def _payout_left_out(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.PAYOUTS)
    return [*told.entries[:place], *told.entries[place + 1 :]]


def _sealed_other(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.SEAL)
    return changed(told.entries, place, {"royalties_micro": told.entries[place][1]["royalties_micro"] + 1})


def _unsealed(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.SEAL)
    return [*told.entries[:place], *told.entries[place + 1 :]]


def _out_of_order(told: Story) -> list[Named]:
    place = place_of(told.entries, entries.PLAYS)
    first, second = told.entries[place : place + 2]
    return [*told.entries[:place], second, first, *told.entries[place + 2 :]]


def _batches_out_of_order(told: Story) -> list[Named]:
    return changed(told.entries, place_of(told.entries, entries.BATCH, 1), {"batch": 1})


BY_ANYONE: dict[str, tuple[Change, str]] = {
    "a play dropped": (_play_dropped, "not what the track's plays add up to"),
    "a play dropped, by the wallets": (_play_dropped, "wallets spent another sum than the plays cost"),
    "a play doubled": (_play_doubled, "wallets spent another sum than the plays cost"),
    "plays moved to another track": (_plays_moved, "not what the track's plays add up to"),
    "a sum understated": (_sum(-2_000), "wallets spent another sum"),
    "a sum overstated": (_sum(2_000), "wallets spent another sum"),
    "a sum that no tariff allows": (_sum(10_000_000), "plays that cannot have cost this"),
    "an entry used again": (_plays_used_again, "an entry was used again"),
    "a wallet that spent less": (
        _wallets({"spent_micro": -2_000, "closing_micro": 2_000}),
        "wallets spent another sum",
    ),
    "a wallet that does not add up": (_wallets({"closing_micro": 1}), "the wallets do not add up"),
    "wallets that open anew": (_wallets({"opening_micro": 5, "closing_micro": 5}), "open with another sum"),
    "a wallet left out": (_wallets({"in_micro": -5, "closing_micro": -5}), "wallets got another sum than top-ups"),
    "the next wallets": (_wallets({"closing_micro": 1, "in_micro": 1}), "open with another sum than they closed with"),
    "a top-up invented": (_top_up_invented, "wallets got another sum than top-ups and grants"),
    "credits given away": (_credits_given_away, "credits were sold for less than their price"),
    "a royalty line altered": (_line_altered, "other lines than the split gives"),
    "a royalty line omitted": (_line_omitted, "other lines than the split gives"),
    "royalties paid to another payee": (_lines_swapped, "other lines than the split gives"),
    "a track's royalties omitted": (_royalties_omitted, "are paid to nobody"),
    "a later rate": (_later_rate, "another artists_micro than the terms give"),
    "other net factors": (_other_factors, "another deductions than the terms give"),
    "a later split": (_later_split, "another split than the one in force"),
    "an earlier split": (_earlier_split, "another split than the one in force"),
    "a late play at the terms of now": (_late_at_the_terms_of_now, "another split than the one in force"),
    "a rate that reaches back": (_rate_from_an_earlier_epoch, "terms that change an epoch which has begun"),
    "a split that reaches back": (_split_from_an_earlier_epoch, "a split that changes a closed epoch"),
    "a line released twice": (_released_twice, "a line is released twice"),
    "more released than held": (_released_more, "another amount is released than was held"),
    "released to another": (_released_to_another, "a line is released that was not held"),
    "less at the bank": (_attested(-1), "the bank held another sum than came in and went out"),
    "a payout left out": (_payout_left_out, "the bank held another sum than came in and went out"),
    "a seal of other totals": (_sealed_other, "another royalties_micro than the share-outs come to"),
    "a seal left out": (_unsealed, "shares out an epoch and does not seal it"),
    "plays out of order": (_out_of_order, "out of its order within the batch, or twice"),
    "batches out of order": (_batches_out_of_order, "batches are numbered upwards"),
}


@pytest.mark.parametrize("case", BY_ANYONE)
def test_anyone_sees(tmp_path: Path, case: str) -> None:
    change, message = BY_ANYONE[case]
    report = audit_of(tmp_path, change(story()))
    assert report.verdict == 1
    assert any(message in finding for finding in said(report)), said(report)
    assert all(finding.at is not None for finding in report.findings.first)


# --- What the listener sees ---


def _by_ann(told: Story) -> list[Play]:
    return [play for play in told.maker.plays if play.listener == told.ann]


def _all_of_ann(told: Story, published: factory.Published, folder: Path) -> Path:
    """All that she keeps: promises, receipts of plays, and her wallet's lines."""
    files = {f"play{n}": factory.promise(play) for n, play in enumerate(_by_ann(told))}
    files |= {
        f"play{n}_receipt": factory.play_receipt(told.maker, published, play) for n, play in enumerate(_by_ann(told))
    }
    for epoch in (EPOCH, EPOCH + 1):
        files[f"wallet{epoch}_receipt"] = factory.wallet_receipt(told.maker, published, told.ann, epoch)
    return keep(folder, **files)


def test_a_listeners_receipts_promises_and_wallet_hold(tmp_path: Path) -> None:
    told = story()
    published = publish(tmp_path / "log", told.entries)
    report = audit(tmp_path / "log", receipts=_all_of_ann(told, published, tmp_path / "kept"), all_receipts=True)
    assert (said(report), report.verdict) == ([], 0)
    assert len(report.receipts) == 2 * len(_by_ann(told)) + 2
    assert all(outcome.holds for outcome in report.receipts)


def test_the_listener_sees_that_her_play_was_dropped(tmp_path: Path) -> None:
    dropped: list[Play] = []

    def drop(told: Story) -> None:
        dropped.append(told.maker.play(told.ann, told.tune))
        told.maker._new.remove(dropped[0])

    published = publish(tmp_path / "log", story(then=drop).entries)
    assert audit(tmp_path / "log").verdict == 0
    with pytest.raises(LookupError):
        factory.play_receipt(story(then=drop).maker, published, dropped[0])
    report = audit(tmp_path / "log", receipts=keep(tmp_path / "kept", dropped=factory.promise(dropped[0])))
    assert said(report) == ["dropped.promise: to be published by 2026-03-02 00:00:00 UTC, and no receipt shows it"]


def test_a_promise_is_no_evidence_before_its_date(tmp_path: Path) -> None:
    told = story()
    publish(tmp_path / "log", told.entries)
    kept = keep(tmp_path / "kept", later=factory.promise(told.maker.plays[0], 2**40))
    assert audit(tmp_path / "log", receipts=kept).verdict == 0


def test_the_listener_sees_a_play_that_she_did_not_make(tmp_path: Path) -> None:
    invented: list[Play] = []
    told = story(then=lambda told: invented.append(told.maker.play(told.ann, told.tune)))
    published = publish(tmp_path / "log", told.entries)
    kept = _all_of_ann(told, published, tmp_path / "kept")
    for number, play in enumerate(_by_ann(told)):
        if play in invented:
            (kept / f"play{number}_receipt.tlog-proof").unlink()
            (kept / f"play{number}.promise").unlink()
    assert audit(tmp_path / "log", receipts=kept).verdict == 0
    report = audit(tmp_path / "log", receipts=kept, all_receipts=True)
    assert [finding.partition(": ")[2] for finding in said(report)] == [
        "says 20000 were spent, the receipts of plays 16000"
    ]


def test_the_listener_sees_that_her_play_was_put_to_another_track(tmp_path: Path) -> None:
    moved: list[Play] = []

    def move(told: Story) -> None:
        maker = told.maker
        play = maker.play(told.ann, told.song)
        moved.extend([play, replace(play, track=told.tune)])
        maker._new[-1] = maker.plays[-1] = moved[1]

    told = story(then=move)
    published = publish(tmp_path / "log", told.entries)
    assert audit(tmp_path / "log").verdict == 0
    asked, put = moved
    honest = factory.play_receipt(told.maker, published, put, asked.told)
    kept = keep(tmp_path / "kept", promised=factory.promise(asked), honest_receipt=honest)
    assert "another track or epoch than the entry" in said(audit(tmp_path / "log", receipts=kept))[0]
    keep(kept, honest_receipt=factory.play_receipt(told.maker, published, put))
    assert "no receipt shows it" in said(audit(tmp_path / "log", receipts=kept))[0]


def test_the_listener_sees_that_her_play_cost_more_than_she_was_told(tmp_path: Path) -> None:
    dearer: list[Play] = []
    told = story(then=lambda told: dearer.append(told.maker.play(told.ann, told.tune, price_micro=64_000)))
    published = publish(tmp_path / "log", told.entries)
    assert audit(tmp_path / "log").verdict == 0
    asked = replace(dearer[0], price_micro=4_000)
    receipt = factory.play_receipt(told.maker, published, dearer[0])
    pretended = factory.play_receipt(told.maker, published, dearer[0], asked.told)
    kept = keep(tmp_path / "kept", told=factory.promise(asked), told_receipt=receipt)
    assert "no receipt shows it" in said(audit(tmp_path / "log", receipts=kept))[0]
    keep(kept, told_receipt=pretended)
    assert "the path leads to another root" in said(audit(tmp_path / "log", receipts=kept))[0]


def test_the_listener_sees_that_her_wallets_line_was_altered(tmp_path: Path) -> None:
    """Her play is hidden in the other's wallet, so that the sums stay what they are."""

    def alter(told: Story) -> None:
        told.maker.wallets[told.ann].spent_micro -= 4_000
        told.maker.wallets[told.ben].spent_micro += 4_000

    told = story(then=alter)
    published = publish(tmp_path / "log", told.entries)
    assert audit(tmp_path / "log").verdict == 0
    report = audit(tmp_path / "log", receipts=_all_of_ann(told, published, tmp_path / "kept"))
    assert "says 12000 were spent, the receipts of plays 16000" in said(report)[0]


def test_the_listener_sees_that_her_wallet_opens_with_less(tmp_path: Path) -> None:
    told = story()
    maker = told.maker
    maker.epoch = EPOCH + 2
    maker.wallets[told.ann].opening_micro -= 7_000
    maker.wallets[told.ben].opening_micro += 7_000
    maker.end_batch(EPOCH + 2)
    published = publish(tmp_path / "log", told.entries)
    assert audit(tmp_path / "log").verdict == 0
    kept = keep(
        tmp_path / "kept",
        before_receipt=factory.wallet_receipt(maker, published, told.ann, EPOCH),
        after_receipt=factory.wallet_receipt(maker, published, told.ann, EPOCH + 1),
        last_receipt=factory.wallet_receipt(maker, published, told.ann, EPOCH + 2),
    )
    (finding,) = said(audit(tmp_path / "log", receipts=kept))
    assert finding.startswith("last_receipt.tlog-proof: opens with")


def test_the_listener_sees_that_her_wallet_is_left_out_or_shared_with_another(tmp_path: Path) -> None:
    told = story()
    published = publish(tmp_path / "log", told.entries)
    for place in (0, 1):
        other = factory.wallet_receipt(told.maker, published, told.ann, EPOCH, place=place)
        own = factory.wallet_receipt(told.maker, published, told.ann, EPOCH)
        kept = keep(tmp_path / "kept", wallet_receipt=other)
        report = audit(tmp_path / "log", receipts=kept)
        assert report.verdict == (0 if other == own else 1)
        assert other == own or "the path leads to another root" in said(report)[0]


# --- What the artist sees ---


def test_the_artist_sees_that_a_split_names_another_in_her_place(tmp_path: Path) -> None:
    told = story()
    split = told.maker.splits[told.song][0]
    published = publish(tmp_path / "log", told.entries)
    kept = keep(tmp_path / "kept", mine_receipt=factory.payee_receipt(published, split, 0))
    report = audit(tmp_path / "log", receipts=kept)
    assert report.verdict == 0
    assert report.receipts[0].said == f"6000 basis points of track {told.song}"
    payees = entry_of(told.entries, entries.SPLIT, split=str(split.split))["payees"]
    payees[0]["payee"] = bytes(32).hex()
    named = changed(told.entries, place_of(told.entries, entries.SPLIT, split=str(split.split)), {"payees": payees})
    published = publish(tmp_path / "other", [each for each in named if each[0] != entries.RELEASE])
    assert audit(tmp_path / "other").verdict == 0
    kept = keep(tmp_path / "kept", mine_receipt=factory.payee_receipt(published, split, 0))
    assert "the split names another payee" in said(audit(tmp_path / "other", receipts=kept))[0]


# --- What is seen by whoever looked before ---


def test_a_log_that_grew_is_held_to_the_head_that_was_seen(tmp_path: Path) -> None:
    named, memory = story().entries, Memory(tmp_path / "state")
    for size in (len(named) - 3, len(named), len(named)):
        publish(tmp_path / "log", named[:size])
        report = audit(tmp_path / "log", memory)
        assert (said(report), report.verdict) == ([], 0)
    assert report.remembered == f"of {len(named)} entries: the log begins with them"


def test_a_rollback_is_seen_and_kept(tmp_path: Path) -> None:
    named, memory = story().entries, Memory(tmp_path / "state")
    first = publish(tmp_path / "log", named)
    audit(tmp_path / "log", memory)
    publish(tmp_path / "shorter", named[:-3])
    (tmp_path / "log").rename(tmp_path / "longer")
    (tmp_path / "shorter").rename(tmp_path / "log")
    report = audit(tmp_path / "log", memory)
    assert report.verdict == 1
    assert "ROLLBACK: the log is shorter than it was (expected 51, found 48)" in said(report)
    (kept,) = (tmp_path / "state").rglob("evidence-*.txt")
    assert str(kept) in report.evidence[0]
    assert "whoever saw it has to be believed" in report.evidence[0]
    shown = parse_evidence(kept.read_text(encoding="utf-8"))
    assert str(shown.second) == first.checkpoint
    # A log that was shorter once shows nothing to those who did not see the longer one before.
    with pytest.raises(EvidenceRefused):
        verify_fork(str(shown), factory.VERIFIERS)


@pytest.mark.parametrize("size", [32, 33, 48, 51])
def test_a_fork_is_seen_and_proven_to_anybody(tmp_path: Path, size: int) -> None:
    named, memory = story().entries, Memory(tmp_path / "state")
    publish(tmp_path / "log", named[:size])
    audit(tmp_path / "log", memory)
    (tmp_path / "log").rename(tmp_path / "before")
    publish(tmp_path / "log", story(2).entries)
    report = audit(tmp_path / "log", memory)
    assert report.verdict == 1
    assert any("FORK: the log does not begin as it did" in finding for finding in said(report))
    (kept,) = (tmp_path / "state").rglob("evidence-*.txt")
    assert verify_fork(kept.read_text(encoding="utf-8"), factory.VERIFIERS).shows_a_fork
    # What was seen first stays what is held against the log.
    assert audit(tmp_path / "log", memory).verdict == 1


def test_a_receipt_under_another_head_proves_a_fork(tmp_path: Path) -> None:
    told, memory = story(), Memory(tmp_path / "state")
    published = publish(tmp_path / "one", told.entries)
    kept = keep(tmp_path / "kept", play_receipt=factory.play_receipt(told.maker, published, told.maker.plays[0]))
    publish(tmp_path / "two", story(2).entries)
    report = audit(tmp_path / "two", memory, receipts=kept)
    assert "its signed head is of another log than the published one: a fork" in said(report)[0]
    (found,) = (tmp_path / "state").rglob("evidence-*.txt")
    assert verify_fork(found.read_text(encoding="utf-8"), factory.VERIFIERS).shows_a_fork


# --- What nobody sees ---


def _fiction(told: Story) -> None:
    """A member who does not exist pays nothing and plays one track."""
    listener = told.maker.listener(2_000_000)
    for _ in range(5):
        told.maker.play(listener, told.tune)


def test_fictitious_members_spending_fictitious_money_are_not_seen_by_arithmetic(tmp_path: Path) -> None:
    report = audit_of(tmp_path, story(then=_fiction).entries)
    assert (said(report), report.verdict) == ([], 0)
    assert any("fictitious members" in line for line in report.trust())


def test_fictitious_money_is_missing_where_the_officers_look_at_the_bank(tmp_path: Path) -> None:
    told = story(then=_fiction)
    entry = entry_of(told.entries, entries.ATTESTATION)
    seen_micro = entry["bank_micro"] - 2_000_000
    text = factory.attestation.text(factory.ORIGIN, EPOCH, entry["batch"], seen_micro, "EUR")
    signatures = [factory.attestation.signature(officer, text) for officer in factory.OFFICERS]
    place = place_of(told.entries, entries.ATTESTATION)
    report = audit_of(tmp_path, changed(told.entries, place, {"bank_micro": seen_micro, "signatures": signatures}))
    assert said(report) == [
        f"entry {place}: the bank held another sum than came in and went out "
        f"(expected {entry['bank_micro']}, found {seen_micro})"
    ]
