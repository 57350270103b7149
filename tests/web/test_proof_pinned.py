"""What a browser remembers of a log, held against what the log shows at its next visits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ledger import entries, founding, rotation
from ledger.founding import predecessor_of
from ledger.note import KeyType, SigningKey, b64, parse_checkpoint, parse_note, signed
from ledger.tiles import WIDTH
from ledger.witness import parse_evidence, verify_fork
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import FOUNDERS, KEYS, NOTE, ORIGIN, VERIFIERS, WITNESSES, Published, publish, story
from tests.ledger.verify.servers import serving
from tests.web.proof_in_node import Browser, run

NEW = [SigningKey(ORIGIN, key.type, key.seed[::-1]) for key in KEYS]
NEWEST = [SigningKey(ORIGIN, key.type, bytes(32)) for key in KEYS]
PIN = founding.pin(parse_note(NOTE.encode()))


@contextmanager
def browsing(folder: Path) -> Iterator[tuple[Browser, list[str]]]:
    """A browser that knows nothing yet, and the paths that it asked for."""
    asked: list[str] = []

    def note_down(handler: BaseHTTPRequestHandler) -> bool:
        asked.append(handler.path.removeprefix("/"))
        return False

    with serving(folder, note_down) as address:
        yield Browser(address), asked


def rows(count: int, seed: int = 1844) -> list[bytes]:
    """Entries of no meaning: the browser reads none but `keys`."""
    chance = Random(seed)
    told = ({"batch": n + 1, "count": 1, "money_micro": chance.randint(1, 9)} for n in range(count))
    return [entries.encode(entries.PAYOUTS, each) for each in told]


def anew(folder: Path, data: Sequence[bytes], keys: Sequence[SigningKey] = tuple(KEYS), **named: Any) -> Published:
    """The log of these entries and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    return publish(folder, data, keys, **named)


# --- Pinning ---


def test_the_founding_note_beside_the_log_is_believed_at_first_use_and_no_other_then(tmp_path: Path) -> None:
    published = publish(tmp_path, story().entries, witnesses=WITNESSES)
    with browsing(tmp_path) as (browser, _):
        assert browser.do("latest")["unknown"] == "not-pinned"
        assert browser.do("recall") == {"held": None}
        pinned = browser.do("pin")["held"]
        assert (pinned["origin"], pinned["founding"], pinned["how"]) == (ORIGIN, PIN, "first-use")
        assert pinned["eras"] == [{"from": 0, "keys": [str(key) for key in VERIFIERS]}]
        assert pinned["head"] == published.checkpoint
        assert browser.do("recall")["held"] == pinned
        assert browser.do("pin")["held"] == pinned
        other = founding.written(replace(founding.parse(NOTE.encode()), witnesses=()), [*KEYS, *FOUNDERS])
        (tmp_path / "founding").write_text(other, encoding="utf-8")
        changed = browser.do("pin")
        assert changed["refused"] == "founding-changed"
        assert changed["facts"]["pinned"] == PIN
        assert browser.do("forget") == {"held": None}
        assert browser.do("pin")["held"]["witnesses"] == []


def test_a_founding_note_is_held_to_what_a_poster_says(tmp_path: Path) -> None:
    publish(tmp_path, story().entries)
    with browsing(tmp_path) as (browser, _):
        refused = browser.do("pin", expect="sha256:" + "0" * 64)
        assert (refused["refused"], refused["facts"]["found"]) == ("founding-not-expected", PIN)
        assert browser.storage == {}
        assert browser.do("pin")["held"]["how"] == "first-use"
        # Whoever compares later has compared.
        assert browser.do("pin", expect=PIN)["held"]["how"] == "given"
        assert browser.do("pin")["held"]["how"] == "given"


def test_a_founding_note_that_was_given_is_believed_over_the_one_that_is_shown(tmp_path: Path) -> None:
    impostor = factory.key(ORIGIN + "x")
    thief = SigningKey(ORIGIN, KeyType.ED25519, impostor.seed)
    note = founding.written(founding.FoundingNote(ORIGIN, keys=(thief.verifier,)), [thief])
    publish(tmp_path, story().entries, keys=[thief], note=note)
    with browsing(tmp_path) as (browser, _):
        assert browser.do("pin", given=NOTE)["refused"] == "unknown-key"
        assert browser.storage == {}
        assert "held" in browser.do("pin")
        assert browser.do("pin", given=NOTE)["refused"] == "founding-changed"


def test_a_log_without_a_founding_note_is_pinned_by_keys(tmp_path: Path) -> None:
    publish(tmp_path, story().entries, note=None)
    keys = [str(key) for key in VERIFIERS]
    with browsing(tmp_path) as (browser, _):
        assert browser.do("pin")["unknown"] == "missing"
        assert browser.do("pin", expect=PIN)["refused"] == "founding-not-expected"
        assert browser.do("pin", told=[str(NEW[0].verifier)])["refused"] == "unknown-key"
        assert browser.do("pin", told=[str(FOUNDERS[0].verifier)])["refused"] == "wrong-origin"
        pinned = browser.do("pin", told=keys)["held"]
        assert (pinned["founding"], pinned["how"]) == (None, "first-use")
        # A note that comes later is taken if it is of these keys.
        other = founding.written(founding.FoundingNote(ORIGIN, keys=(NEW[0].verifier,)), NEW[:1])
        (tmp_path / "founding").write_text(other, encoding="utf-8")
        assert browser.do("pin")["refused"] == "founding-changed"
        (tmp_path / "founding").write_text(NOTE, encoding="utf-8")
        assert browser.do("pin")["held"]["founding"] == PIN
        assert browser.do("recall")["held"]["witnesses"] == [str(key.verifier) for key in WITNESSES]


def test_keys_that_the_reader_has_are_believed_over_a_note(tmp_path: Path) -> None:
    publish(tmp_path, story().entries)
    with browsing(tmp_path) as (browser, _):
        assert browser.do("pin", keys=[str(NEW[0].verifier)])["refused"] == "unknown-key"
        pinned = browser.do("pin", keys=[str(VERIFIERS[0])])["held"]
        assert (pinned["how"], pinned["founding"]) == ("given", PIN)
        assert pinned["eras"] == [{"from": 0, "keys": [str(VERIFIERS[0])]}]


def test_another_log_at_the_address_is_refused(tmp_path: Path) -> None:
    published = publish(tmp_path, story().entries)
    head = replace(parse_checkpoint(parse_note(published.checkpoint.encode()).text), origin="other.example/log")
    with browsing(tmp_path) as (browser, _):
        browser.do("pin")
        (tmp_path / "checkpoint").write_text(str(signed(str(head), KEYS, 0)), encoding="utf-8")
        outcome = browser.do("latest")
        assert outcome["refused"] == "wrong-origin"
        assert outcome["facts"] == {"expected": ORIGIN, "found": "other.example/log"}


def test_what_cannot_be_read_is_no_verdict(tmp_path: Path) -> None:
    publish(tmp_path / "log", story().entries)

    def fails(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    with serving(tmp_path / "log", fails) as address:
        browser = Browser(address)
        assert browser.do("pin") == {"unknown": "unreachable", "facts": {"path": "founding", "status": 503}}
    assert browser.do("pin")["unknown"] == "unreachable"
    browser.storage = {"streamcoop.log": "{}"}
    assert browser.do("latest")["unknown"] == "memory-unreadable"


# --- Heads ---


def test_a_log_that_grew_is_remembered_as_it_is_now(tmp_path: Path) -> None:
    data = rows(700)
    with browsing(tmp_path) as (browser, asked):
        anew(tmp_path, data[:3])
        browser.do("pin")
        for before, size in ((3, 3), (3, 255), (255, 256), (256, 300), (300, 512), (512, 699), (699, 700)):
            published = anew(tmp_path, data[:size], witnesses=WITNESSES[:1])
            latest = browser.do("latest")["held"]
            assert (latest["seen"], latest["size"], latest["note"]) == (before, size, published.checkpoint)
            assert latest["witnesses"] == {"cosigned": [WITNESSES[0].name], "known": 2, "needed": 0}
            assert browser.do("recall")["held"]["head"] == published.checkpoint
        assert not any("entries" in path for path in asked)


def test_only_the_tiles_that_are_needed_are_read(tmp_path: Path) -> None:
    data = rows(20 * WIDTH + 7)
    with browsing(tmp_path) as (browser, asked):
        anew(tmp_path, data[: 20 * WIDTH + 3])
        browser.do("pin")
        asked.clear()
        anew(tmp_path, data)
        assert browser.do("latest")["held"]["seen"] == 20 * WIDTH + 3
        assert sorted(asked) == ["checkpoint", "tile/0/020.p/7", "tile/1/000.p/20"]


def test_a_full_tile_in_the_place_of_a_partial_one_will_do(tmp_path: Path) -> None:
    data = rows(300)
    with browsing(tmp_path) as (browser, _):
        anew(tmp_path, data[:100])
        browser.do("pin")
        published = anew(tmp_path, data[:200])
        anew(tmp_path, data)
        (tmp_path / "checkpoint").write_text(published.checkpoint, encoding="utf-8")
        assert browser.do("latest")["held"]["size"] == 200


def test_a_log_that_begins_in_another_way_is_a_fork_with_evidence_that_holds(tmp_path: Path) -> None:
    chance = Random(1844)
    sizes = [(1, 2), (4, 9), (255, 256), (256, 257), (256, 600), (300, 301), (7, 7)]
    sizes += [(old, chance.randint(old, 300)) for old in (chance.randint(1, 299) for _ in range(3))]
    for old, size in sizes:
        data = rows(size)
        with browsing(tmp_path) as (browser, _):
            seen = anew(tmp_path, data[:old])
            browser.do("pin")
            kept = browser.do("recall")
            changed = chance.randrange(old)
            shown = anew(tmp_path, [*data[:changed], rows(1, seed=9)[0] + b" ", *data[changed + 1 :]])
            outcome = browser.do("latest")
            assert outcome["refused"] == "fork", (old, size)
            assert outcome["facts"]["sizes"] == [old, size]
            assert outcome["facts"]["heads"] == [seen.checkpoint, shown.checkpoint]
            evidence = verify_fork(outcome["facts"]["evidence"], VERIFIERS)
            assert evidence.shows_a_fork
            assert browser.do("evidence")["held"] == outcome["facts"]["evidence"]
            # What was remembered stays, and so does the refusal.
            assert browser.do("recall") == kept
            assert browser.do("latest")["refused"] == "fork"


def test_a_log_that_is_shorter_is_rolled_back(tmp_path: Path) -> None:
    data = rows(300)
    with browsing(tmp_path) as (browser, _):
        seen = anew(tmp_path, data)
        browser.do("pin")
        shown = anew(tmp_path, data[:299])
        outcome = browser.do("latest")
        assert outcome["refused"] == "rolled-back"
        assert outcome["facts"]["heads"] == [shown.checkpoint, seen.checkpoint]
        evidence = parse_evidence(outcome["facts"]["evidence"])
        assert [str(evidence.first), str(evidence.second)] == [shown.checkpoint, seen.checkpoint]
        anew(tmp_path, data)
        assert browser.do("latest")["held"]["size"] == 300


def test_tiles_that_are_not_the_signed_heads_are_no_fork(tmp_path: Path) -> None:
    data = rows(300)
    with browsing(tmp_path) as (browser, _):
        anew(tmp_path, data[:200])
        browser.do("pin")
        anew(tmp_path, data)
        tile = tmp_path / "tile/0/000"
        tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
        assert browser.do("latest")["refused"] == "tiles-differ"
        tile.write_bytes(tile.read_bytes()[:-1])
        assert browser.do("latest") == {"refused": "malformed", "facts": {"what": "tile", "path": "tile/0/000"}}
        assert browser.do("evidence")["held"] is None


def test_a_head_that_is_not_signed_by_the_log_is_refused_and_not_remembered(tmp_path: Path) -> None:
    data = rows(300)
    with browsing(tmp_path) as (browser, _):
        anew(tmp_path, data[:200])
        browser.do("pin")
        kept = browser.do("recall")
        thief = SigningKey(ORIGIN, KeyType.ED25519, bytes(32))
        anew(tmp_path, data, keys=[thief])
        assert browser.do("latest")["refused"] == "unknown-key"
        published = anew(tmp_path, data)
        forged = published.checkpoint.replace("\n300\n", "\n301\n")
        (tmp_path / "checkpoint").write_text(forged, encoding="utf-8")
        assert browser.do("latest")["refused"] == "wrong-signature"
        assert browser.do("recall") == kept


# --- New keys ---


def keys_entry(new: Sequence[SigningKey], old: Sequence[SigningKey]) -> bytes:
    """The log's keys are others from here on."""
    texts = [str(key.verifier) for key in new]
    return entries.encode(entries.KEYS, {"keys": texts, "signatures": rotation.signatures(ORIGIN, texts, old)})


def test_new_keys_are_followed_through_what_the_old_ones_signed(tmp_path: Path) -> None:
    data = [*rows(250), keys_entry(NEW, KEYS), *rows(100), keys_entry(NEWEST, NEW), *rows(10)]
    with browsing(tmp_path) as (browser, asked):
        anew(tmp_path, data[:200])
        browser.do("pin")
        anew(tmp_path, data[:300], keys=NEW)
        latest = browser.do("latest")["held"]
        assert (latest["size"], latest["keysChanged"]) == (300, True)
        eras = [{"from": 0, "keys": [str(key) for key in VERIFIERS]}]
        eras.append({"from": 251, "keys": [str(key.verifier) for key in NEW]})
        assert browser.do("recall")["held"]["eras"] == eras
        asked.clear()
        assert browser.do("latest")["held"]["keysChanged"] is False
        assert not any("entries" in path for path in asked)
        anew(tmp_path, data, keys=NEWEST)
        assert browser.do("latest")["held"]["keysChanged"] is True
        # From nothing on as well.
        newcomer = Browser(browser.address)
        assert newcomer.do("pin")["held"]["eras"] == browser.do("recall")["held"]["eras"]
        # The thief of an old key signs nothing that is believed.
        anew(tmp_path, [*data, *rows(5)], keys=KEYS)
        assert browser.do("latest")["refused"] == "unknown-key"


@pytest.mark.parametrize(
    "wrong", ["not signed", "signed by others", "not the log's", "not there", "none for Ed25519", "one twice"]
)
def test_keys_that_were_not_handed_over_are_refused(tmp_path: Path, wrong: str) -> None:
    other = [factory.key("other.example"), *NEW]
    entry = {
        "not signed": keys_entry(NEW, NEW),
        "signed by others": keys_entry(NEW, FOUNDERS),
        "not the log's": keys_entry(other, KEYS),
        "not there": rows(1)[0],
        "none for Ed25519": keys_entry(NEW[1:], KEYS),
        "one twice": keys_entry([*NEW, NEW[0]], KEYS),
    }[wrong]
    data = [*rows(250), entry, *rows(10)]
    with browsing(tmp_path) as (browser, _):
        anew(tmp_path, data[:200])
        browser.do("pin")
        kept = browser.do("recall")
        anew(tmp_path, data, keys=NEW)
        codes = {"not the log's": "other-key", "none for Ed25519": "malformed", "one twice": "malformed"}
        assert browser.do("latest")["refused"] == codes.get(wrong, "unknown-key")
        assert browser.do("recall") == kept


def test_every_old_key_has_to_hand_over(tmp_path: Path) -> None:
    two = [KEYS[0], SigningKey(ORIGIN, KeyType.ED25519, b"2" * 32)]
    note = founding.written(founding.FoundingNote(ORIGIN, keys=tuple(key.verifier for key in two)), two)
    data = [*rows(5), keys_entry(NEW, KEYS), *rows(5)]
    anew(tmp_path, data, keys=NEW, note=note)
    with browsing(tmp_path) as (browser, _):
        assert browser.do("pin")["refused"] == "keys-not-handed-over"
        anew(tmp_path, [*rows(5), keys_entry(NEW, two), *rows(5)], keys=NEW, note=note)
        assert "held" in browser.do("pin")


def test_a_keys_entry_that_is_only_in_the_bundle_is_refused(tmp_path: Path) -> None:
    """The bundle tells new keys that the old ones signed, but the tree has another entry there."""
    data, handed = rows(260), keys_entry(NEW, KEYS)
    with browsing(tmp_path) as (browser, _):
        anew(tmp_path, data[:200])
        browser.do("pin")
        shown = [*data[:250], handed, *data[251:]]
        anew(tmp_path, shown, keys=NEW)
        bundle = (tmp_path / "tile/entries/000").read_bytes()
        anew(tmp_path, data, keys=NEW)
        (tmp_path / "tile/entries/000").write_bytes(bundle)
        assert browser.do("latest")["refused"] == "not-in-log"


def test_where_new_keys_cannot_be_followed_the_reader_brings_them_and_the_memory_stays(tmp_path: Path) -> None:
    data = [*rows(250), rows(1)[0], *rows(10)]
    new = [str(key.verifier) for key in NEW]
    with browsing(tmp_path) as (browser, _):
        anew(tmp_path, data[:200])
        browser.do("pin")
        anew(tmp_path, data, keys=NEW)
        assert browser.do("latest")["refused"] == "unknown-key"
        assert browser.do("pin", keys=[str(key.verifier) for key in NEWEST])["refused"] == "unknown-key"
        pinned = browser.do("pin", keys=new)["held"]
        assert pinned["eras"][1:] == [{"from": 201, "keys": new}]
        assert browser.do("latest")["held"]["size"] == len(data)
        anew(tmp_path, rows(300, seed=2), keys=NEW)
        assert browser.do("latest")["refused"] == "fork"


# --- Receipts against the log ---


def test_a_receipt_is_held_against_the_log_as_it_is_now(tmp_path: Path) -> None:
    told = story()
    half = len(told.entries) // 2
    data = [entries.encode(*entry) for entry in told.entries]
    with browsing(tmp_path) as (browser, _):
        early = anew(tmp_path, data[:half])
        receipt = factory.play_receipt(told.maker, early, told.maker.plays[0])
        pinned = browser.do("pin")["held"]
        (outcome,) = run({"op": "receiptText", "text": receipt, "pinned": pinned})
        shown = outcome["held"]
        published = anew(tmp_path, data)
        assert browser.do("compare", shown)["held"]["note"] == published.checkpoint

        # A receipt under a head that the published log does not continue, signed with the log's key.
        elsewhere = anew(tmp_path / "elsewhere", [*data[: half - 1], data[-1]])
        forked = factory.play_receipt(told.maker, elsewhere, told.maker.plays[0])
        (outcome,) = run({"op": "receiptText", "text": forked, "pinned": pinned})
        refused = browser.do("compare", outcome["held"])
        assert refused["refused"] == "fork"
        assert verify_fork(refused["facts"]["evidence"], VERIFIERS).shows_a_fork

        # And one under a head that is longer than the log.
        longer = anew(tmp_path / "elsewhere", [*data, data[-1]])
        ahead = factory.play_receipt(told.maker, longer, told.maker.plays[0])
        (outcome,) = run({"op": "receiptText", "text": ahead, "pinned": pinned})
        assert browser.do("compare", outcome["held"])["refused"] == "rolled-back"


# --- A log that goes on from another ---

NEXT = "coop.example/log-2"
NEXT_KEYS = [factory.key(NEXT), factory.key(NEXT, KeyType.ML_DSA_44)]


def next_note(
    ended: Published,
    founders: Sequence[SigningKey] = tuple(FOUNDERS),
    keys: Sequence[SigningKey] = tuple(NEXT_KEYS),
    note: str = NOTE,
) -> str:
    """The founding note of a log that goes on from one that ended with this head."""
    told = founding.FoundingNote(
        keys[0].name,
        keys=tuple(key.verifier for key in keys),
        founders=tuple(key.verifier for key in founders),
        predecessor=predecessor_of(ended.checkpoint, note),
    )
    return founding.written(told, [*keys, *founders])


def open_next(folder: Path, data: Sequence[bytes], note: str, keys: Sequence[SigningKey] = tuple(NEXT_KEYS)) -> str:
    """Publish the next log; returns its head."""
    published = anew(folder, data, note=note)
    head = replace(parse_checkpoint(parse_note(published.checkpoint.encode()).text), origin=keys[0].name)
    checkpoint = str(signed(str(head), keys, 0))
    (folder / "checkpoint").write_text(checkpoint, encoding="utf-8")
    return checkpoint


def test_a_log_that_goes_on_from_another_begins_with_it(tmp_path: Path) -> None:
    told = story()
    data = [entries.encode(*entry) for entry in told.entries]
    half = len(data) // 2
    old = anew(tmp_path / "old", data[:half])
    receipt = factory.play_receipt(told.maker, old, told.maker.plays[0])
    with browsing(tmp_path / "new") as (browser, _):
        for other in ([*rows(1), *data[1:]], data[: half - 1]):
            open_next(tmp_path / "new", other, next_note(old))
            assert browser.do("pin")["refused"] == "predecessor-differs"
        open_next(tmp_path / "new", data, next_note(old))
        pinned = browser.do("pin")["held"]
        head = parse_checkpoint(parse_note(old.checkpoint.encode()).text)
        texts = [str(key) for key in VERIFIERS]
        assert pinned["before"] == [{"origin": ORIGIN, "size": half, "root": b64(head.root), "keys": texts}]
        (outcome,) = run({"op": "receiptText", "text": receipt, "pinned": pinned})
        assert outcome["held"]["head"]["origin"] == ORIGIN
        assert "held" in browser.do("compare", outcome["held"])
        # Of the log that ended another history shows nothing here.
        elsewhere = anew(tmp_path / "elsewhere", [*data[: half - 1], data[-1]])
        forked = factory.play_receipt(told.maker, elsewhere, told.maker.plays[0])
        (outcome,) = run({"op": "receiptText", "text": forked, "pinned": pinned})
        assert browser.do("compare", outcome["held"])["refused"] == "predecessor-differs"


def test_who_pinned_a_log_follows_it_to_the_one_that_goes_on_from_it(tmp_path: Path) -> None:
    data = rows(400)
    old, last = tmp_path / "log", anew(tmp_path / "log", data[:200])
    note, new = next_note(last), tmp_path / "log/2"
    with browsing(tmp_path) as (browser, _):
        browser.address += "/log"
        browser.do("pin")
        kept = browser.do("recall")
        head = open_next(new, data, note)
        pinned = browser.do("pin", address=f"{browser.address}/2")["held"]
        assert (pinned["origin"], pinned["head"], pinned["how"]) == (NEXT, head, "first-use")
        assert pinned["before"][0]["origin"] == ORIGIN
        assert browser.do("latest")["held"]["origin"] == NEXT

        # Not to one that does not begin with what was seen, that no founder signed, or that is of another beginning.
        strangers = [factory.key("stranger.example")]
        wrong: list[tuple[Sequence[bytes], str, str]] = [
            ([*data[:100], rows(1, seed=2)[0], *data[101:]], note, "predecessor-differs"),
            (data, next_note(last, strangers), "founders-gone"),
            (data, next_note(last, ()), "founders-gone"),
            (
                data,
                founding.written(founding.FoundingNote(NEXT, keys=(NEXT_KEYS[0].verifier,)), NEXT_KEYS),
                "founding-changed",
            ),
        ]
        for entries_, told, code in wrong:
            open_next(new, entries_, told)
            visitor = Browser(browser.address)
            visitor.do("pin")
            assert visitor.do("pin", address=f"{browser.address}/2")["refused"] == code
            assert visitor.do("recall") == kept
        # Who has the note from somebody she knows need not find an old founder in it.
        open_next(new, data, next_note(last, strangers))
        visitor = Browser(browser.address)
        visitor.do("pin")
        assert (
            visitor.do("pin", address=f"{browser.address}/2", given=next_note(last, strangers))["held"]["how"]
            == "given"
        )

        # What was seen of the old log has to be in the new one, as far as that goes on from it.
        shutil.rmtree(new)
        visitor = Browser(browser.address)
        seen = publish(old, [*data[:150], *rows(10, seed=3)])
        assert visitor.do("pin")["held"]["head"] == seen.checkpoint
        open_next(new, data, note)
        assert visitor.do("pin", address=f"{browser.address}/2")["refused"] == "predecessor-differs"
        shutil.rmtree(new)
        seen = publish(old, [*data[:200], *rows(10, seed=3)])
        visitor = Browser(browser.address)
        assert visitor.do("pin")["held"]["head"] == seen.checkpoint
        open_next(new, data, note)
        assert visitor.do("pin", address=f"{browser.address}/2")["held"]["origin"] == NEXT


def test_a_page_that_saw_less_does_not_overwrite_what_another_saw(tmp_path: Path) -> None:
    """Two pages of one browser: the longer head is remembered."""
    data = rows(300)
    with browsing(tmp_path) as (browser, _):
        anew(tmp_path, data[:100])
        browser.do("pin")
        before = dict(browser.storage)
        anew(tmp_path, data)
        browser.do("latest")
        after = dict(browser.storage)
        anew(tmp_path, data[:200])
        browser.storage = before
        assert browser.do("latest", meanwhile=after)["held"]["size"] == 200
        assert browser.storage == after
