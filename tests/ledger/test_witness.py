"""What a witness answers, what is held against a log, and whom a reader trusts: pure, over trees made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import note, witness
from ledger.errors import NoteRefused
from ledger.merkle import EMPTY_ROOT, consistency_proof, leaf_hash, root_of
from ledger.note import Checkpoint, KeyType, Note, SigningKey, VerifierKey
from ledger.witness import (
    Evidence,
    EvidenceRefused,
    Known,
    PolicyRefused,
    Submission,
    Verdict,
    assurance,
    decide,
    k_of_n,
    parse_policy,
    parse_submission,
    verify_fork,
)

# That of C2SP tlog-witness.
EXAMPLE = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""  # noqa: E501
ORIGIN = "coop.example/log"
LOG = SigningKey(ORIGIN, KeyType.ED25519, b"l" * 32)
LATTICE = SigningKey(ORIGIN, KeyType.ML_DSA_44, b"m" * 32)
STRANGER = SigningKey(ORIGIN, KeyType.ED25519, b"s" * 32)
KEYS = (LOG.verifier, LATTICE.verifier)
NOW_S = 1_790_000_000
SIZE = 40


def leaves(count: int, forked_from: int | None = None) -> list[bytes]:
    """A tree's leaves; another tree's from a place on."""
    fork = count if forked_from is None else forked_from
    return [leaf_hash(b"%d" % n if n < fork else b"other %d" % n) for n in range(count)]


def head(tree: Sequence[bytes]) -> Checkpoint:
    return Checkpoint(ORIGIN, len(tree), root_of(tree))


def signed(tree: Sequence[bytes], *keys: SigningKey) -> Note:
    return note.signed(str(head(tree)), keys or (LOG, LATTICE), NOW_S)


def path(old: int, tree: Sequence[bytes]) -> list[bytes]:
    return consistency_proof(old, len(tree), lambda level, at: root_of(tree[at << level : (at + 1) << level]))


def asked(old: int, tree: Sequence[bytes], *keys: SigningKey) -> Submission:
    """The honest request for a tree's head."""
    written = Submission(old, tuple(path(old, tree) if old <= len(tree) else ()), signed(tree, *keys), head(tree))
    return parse_submission(str(written).encode())


def known(tree: Sequence[bytes]) -> Known:
    return Known(KEYS, len(tree), root_of(tree), signed(tree) if tree else None)


def test_the_specifications_example_is_read_and_written_alike() -> None:
    read = parse_submission(EXAMPLE.encode())
    assert (read.old, len(read.proof), len(read.note.signatures)) == (20852014, 4, 2)
    assert (read.head.origin, read.head.size) == ("example.com/behind-the-sofa", 20852163)
    assert str(read) == EXAMPLE


@pytest.mark.parametrize(
    "written",
    {
        "empty": "",
        "no old size": EXAMPLE.removeprefix("old 20852014\n"),
        "another word": EXAMPLE.replace("old", "Old"),
        "two spaces": EXAMPLE.replace("old ", "old  "),
        "a leading zero": EXAMPLE.replace("old 2", "old 02"),
        "a sign": EXAMPLE.replace("old 2", "old +2"),
        "two zeroes": EXAMPLE.replace("old 20852014", "old 00"),
        "2^63": EXAMPLE.replace("old 20852014", f"old {2**63}"),
        "no number": EXAMPLE.replace("old 20852014", "old "),
        "a space after it": EXAMPLE.replace("old 20852014", "old 20852014 "),
        "CR LF": EXAMPLE.replace("\n", "\r\n"),
        "no empty line": EXAMPLE.replace("\n\n", "\n"),
        "a hash that is too short": EXAMPLE.replace("PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=", "PlRN"),
        "a hash without padding": EXAMPLE.replace("ZZDDpkaw=", "ZZDDpkaw"),
        "a hash in other letters": EXAMPLE.replace("5+pK", "5-pK"),
        "64 lines of proof": EXAMPLE.replace("\n\n", f"\n{note.b64(EMPTY_ROOT)}" * 60 + "\n\n", 1),
        "no checkpoint": EXAMPLE.split("\n\n", maxsplit=1)[0] + "\n\n",
        "no signature": EXAMPLE.split("—")[0],
        "no newline at the end": EXAMPLE.removesuffix("\n"),
        "a size with a leading zero": EXAMPLE.replace("\n20852163", "\n020852163"),
        "a root of 3 bytes": EXAMPLE.replace("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", "CsUY"),
        "too long": EXAMPLE + "x" * witness.REQUEST_BYTES_MAX,
    }.items(),
    ids=lambda case: case[0],
)
def test_what_is_no_request_is_malformed(written: tuple[str, str]) -> None:
    with pytest.raises(NoteRefused):
        parse_submission(written[1].encode())


def test_63_lines_of_proof_are_read() -> None:
    longest = EXAMPLE.replace("\n\n", f"\n{note.b64(EMPTY_ROOT)}" * 59 + "\n\n", 1)
    assert len(parse_submission(longest.encode()).proof) == witness.PROOF_LINES_MAX


def test_every_later_head_is_cosigned_whatever_was_known_before() -> None:
    for old in range(SIZE):
        for size in range(old, SIZE):
            decided = decide(asked(old, leaves(size), LOG), Known(KEYS, old, root_of(leaves(old))))
            assert decided.verdict is Verdict.COSIGNED, (old, size)
            assert decided.evidence is None


def test_one_of_the_logs_keys_is_enough_and_only_its_signatures_are_kept() -> None:
    tree = leaves(7)
    for keys in ((LOG,), (LATTICE,), (STRANGER, LOG), (LOG, LATTICE)):
        submission = asked(0, tree, *keys)
        decided = decide(submission, known([]))
        assert decided.verdict is Verdict.COSIGNED
        theirs = submission.note.signatures[keys[0] is STRANGER :]
        assert decided.note == Note(submission.note.text, theirs)


REFUSED = {
    "a log that nobody knows": (asked(0, leaves(3)), None, Verdict.UNKNOWN_LOG),
    "unknown goes before unsigned": (asked(0, leaves(3), STRANGER), None, Verdict.UNKNOWN_LOG),
    "signed by a stranger": (asked(0, leaves(3), STRANGER), known([]), Verdict.UNSIGNED),
    "unsigned goes before an impossible old size": (asked(5, leaves(3), STRANGER), known([]), Verdict.UNSIGNED),
    "an old size beyond the size": (asked(5, leaves(3)), known([]), Verdict.MALFORMED),
    "impossible goes before stale": (asked(5, leaves(3)), known(leaves(4)), Verdict.MALFORMED),
    "an old size that is too small": (asked(2, leaves(6)), known(leaves(3)), Verdict.STALE),
    "an old size that is too large": (asked(4, leaves(6)), known(leaves(3)), Verdict.STALE),
    "an old size of nothing": (asked(0, leaves(6)), known(leaves(3)), Verdict.STALE),
    "stale goes before a proof that fails": (
        replace(asked(2, leaves(6)), proof=()),
        known(leaves(3)),
        Verdict.STALE,
    ),
    "no proof": (replace(asked(3, leaves(6)), proof=()), known(leaves(3)), Verdict.INCONSISTENT),
    "another tree": (asked(3, leaves(6, 1)), known(leaves(3)), Verdict.INCONSISTENT),
    "another tree of the same size": (asked(3, leaves(3, 1)), known(leaves(3)), Verdict.INCONSISTENT),
    "a proof where none belongs": (
        replace(asked(3, leaves(3)), proof=(EMPTY_ROOT,)),
        known(leaves(3)),
        Verdict.INCONSISTENT,
    ),
    "a proof from nothing": (replace(asked(0, leaves(3)), proof=(EMPTY_ROOT,)), known([]), Verdict.INCONSISTENT),
}


@pytest.mark.parametrize(("submission", "before", "verdict"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_in_the_specifications_order(
    submission: Submission, before: Known | None, verdict: Verdict
) -> None:
    assert decide(submission, before).verdict is verdict


@pytest.mark.parametrize("line", [0, 1])
def test_a_signature_of_the_logs_that_does_not_hold_spoils_the_others(line: int) -> None:
    tree = leaves(3)
    lines = list(signed(tree).signatures)
    lines[line] = signed(leaves(4)).signatures[line]
    spoilt = replace(asked(0, tree), note=Note(str(head(tree)), tuple(lines)))
    assert decide(spoilt, known([])).verdict is Verdict.UNSIGNED


def test_extension_lines_change_nothing_in_what_a_tree_is() -> None:
    def with_lines(size: int, *lines: str) -> Note:
        return note.signed(f"{head(leaves(size))}" + "".join(f"{line}\n" for line in lines), [LOG], NOW_S)

    first = decide(parse_submission(f"old 0\n\n{with_lines(6, 'a', 'b')}".encode()), known([]))
    assert first.verdict is Verdict.COSIGNED
    assert first.note == with_lines(6, "a", "b")
    before = replace(known(leaves(6)), note=first.note)
    assert decide(parse_submission(f"old 6\n\n{with_lines(6, 'c')}".encode()), before).verdict is Verdict.COSIGNED
    forked = decide(asked(6, leaves(6, 2), LOG), before)
    assert verify_fork(str(forked.evidence), KEYS) == forked.evidence


def test_the_empty_tree_has_one_root_and_another_is_refused_as_a_proof() -> None:
    assert decide(asked(0, []), known([])).verdict is Verdict.COSIGNED
    other = str(Checkpoint(ORIGIN, 0, leaf_hash(b"")))
    request = f"old 0\n\n{note.signed(other, [LOG], NOW_S)}".encode()
    for before, verdict in ((known([]), Verdict.INCONSISTENT), (known(leaves(3)), Verdict.STALE)):
        decided = decide(parse_submission(request), before)
        assert (decided.verdict, decided.evidence) == (verdict, None)


# --- Evidence ---


def test_two_roots_of_one_size_are_a_fork_whatever_old_size_they_come_with() -> None:
    for old in range(7):
        decided = decide(asked(old, leaves(6, 2)), known(leaves(6)))
        assert decided.evidence is not None
        assert decided.evidence.shows_a_fork
        shown = verify_fork(str(decided.evidence), KEYS)
        assert {shown.first.text, shown.second.text} == {str(head(leaves(6))), str(head(leaves(6, 2)))}


def test_a_larger_tree_that_proves_another_beginning_is_a_fork() -> None:
    shown = 0
    for old in range(1, 12):
        before = replace(known(leaves(old)), note=signed(leaves(old), LOG))
        for size in range(old + 1, 24):
            for fork in range(old):
                decided = decide(asked(old, leaves(size, fork), LOG), before)
                assert decided.verdict is Verdict.INCONSISTENT
                assert decided.evidence is not None
                # Of a power of two the path says nothing of the beginning.
                assert decided.evidence.shows_a_fork == (old & (old - 1) != 0)
                if decided.evidence.shows_a_fork:
                    shown += 1
                    assert verify_fork(str(decided.evidence), KEYS) == decided.evidence
    assert shown > 500


def test_a_fork_from_a_power_of_two_is_shown_by_whoever_has_the_tree() -> None:
    tree = leaves(9, 3)
    made = Evidence(signed(leaves(4)), signed(tree), root_of(tree[:4]), tuple(path(4, tree)))
    assert verify_fork(str(made), KEYS) == made


def test_a_path_that_leads_nowhere_is_kept_and_shows_nothing() -> None:
    for proof in ((), (EMPTY_ROOT,), (*path(3, leaves(6))[::-1],), (*path(3, leaves(6)), EMPTY_ROOT)):
        decided = decide(replace(asked(3, leaves(6)), proof=proof), known(leaves(3)))
        assert decided.verdict is Verdict.INCONSISTENT
        assert decided.evidence == Evidence(decided.evidence.first, decided.evidence.second)  # type: ignore[union-attr]
        with pytest.raises(EvidenceRefused, match="may have both"):
            verify_fork(str(decided.evidence), KEYS)


def test_a_smaller_head_is_kept_and_shows_nothing() -> None:
    for old in (0, 2, 5, 6):
        decided = decide(asked(old, leaves(5)), known(leaves(6)))
        assert decided.verdict in {Verdict.STALE, Verdict.MALFORMED}
        assert decided.evidence is not None
        assert not decided.evidence.shows_a_fork
        with pytest.raises(EvidenceRefused):
            verify_fork(str(decided.evidence), KEYS)


def test_nothing_is_kept_of_what_is_the_known_head_or_is_signed_by_nobody() -> None:
    for submission in (asked(0, leaves(6)), asked(7, leaves(6)), asked(6, leaves(6, 2), STRANGER), asked(0, [])):
        assert decide(submission, known(leaves(6))).evidence is None


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_an_honest_log_can_be_accused_of_nothing(one: int, other: int, data: st.DataObject) -> None:
    """Whatever paths and roots are put beside its heads."""
    old, size = sorted((one, other))
    tree = leaves(size)
    hashes = st.sampled_from([*tree, root_of(tree), root_of(tree[:old]), *path(old, tree), EMPTY_ROOT])
    earlier = data.draw(st.none() | hashes)
    proof = tuple(data.draw(st.lists(hashes, max_size=8) | st.just(path(old, tree)))) if earlier else ()
    made = Evidence(signed(tree[:old], LOG), signed(tree, LOG), earlier, proof)
    with pytest.raises(EvidenceRefused):
        verify_fork(str(made), KEYS)


def _shown() -> str:
    before = replace(known(leaves(6)), note=signed(leaves(6), LOG))
    evidence = decide(asked(6, leaves(9, 2), LOG), before).evidence
    assert evidence is not None
    return str(evidence)


def test_evidence_is_worth_what_the_keys_are_that_it_is_checked_with() -> None:
    shown = _shown()
    verify_fork(shown, [LOG.verifier])
    for keys in ([], [STRANGER.verifier]):
        with pytest.raises(EvidenceRefused, match="no signature by a known key"):
            verify_fork(shown, keys)


def test_heads_of_two_logs_are_no_fork() -> None:
    elsewhere = Checkpoint("other.example/log", 6, leaf_hash(b"x"))
    text = str(Evidence(signed(leaves(6)), note.signed(str(elsewhere), [LOG], NOW_S)))
    with pytest.raises(EvidenceRefused, match="two logs"):
        verify_fork(text, KEYS)


def test_evidence_that_was_changed_shows_nothing() -> None:
    shown = _shown()
    for place in range(len(shown)):
        changed = shown[:place] + ("A" if shown[place] != "A" else "B") + shown[place + 1 :]
        with pytest.raises(EvidenceRefused):
            verify_fork(changed, KEYS)
    for text in ("", "\n\n\n\n", shown.replace("fork/v1", "fork/v2"), shown + "\n", shown.partition("\n\n")[2]):
        with pytest.raises(EvidenceRefused):
            verify_fork(text, KEYS)


# --- Cosignatures that come back ---

COSIGNERS = [SigningKey("w.example/w", kind, b"c" * 32) for kind in sorted(witness.COSIGNING)]
COSIGNING = [key.verifier for key in COSIGNERS]


def test_a_witnesss_lines_are_believed_and_others_passed_over() -> None:
    ours = signed(leaves(3), LOG)
    other = SigningKey("w.example/other", KeyType.ML_DSA_44, b"c" * 32)
    lines = [key.sign(ours.text, NOW_S) for key in [*COSIGNERS, other, LOG]]
    found = witness.cosigned("".join(map(str, lines)).encode(), ours, [*COSIGNING, LOG.verifier])
    assert found == tuple(lines[:2])


@pytest.mark.parametrize(
    "answer",
    {
        "nothing": b"",
        "no line": b"hello\n",
        "another head": str(COSIGNERS[0].sign(str(head(leaves(4))), NOW_S)).encode(),
        "of no time": str(COSIGNERS[0].sign(str(head(leaves(3))), 0)).encode(),
        "only a stranger's": str(LOG.sign(str(head(leaves(3))), NOW_S)).encode(),
        "not UTF-8": b"\xff",
        "the same twice": str(COSIGNERS[0].sign(str(head(leaves(3))), NOW_S)).encode() * 2,
        "too many": str(LOG.sign(str(head(leaves(3))), NOW_S)).encode() * (note.SIGNATURES_MAX + 1),
        "an empty line after it": str(COSIGNERS[0].sign(str(head(leaves(3))), NOW_S)).encode() + b"\n",
    }.items(),
    ids=lambda case: case[0],
)
def test_an_answer_that_is_no_cosignature_is_not_believed(answer: tuple[str, bytes]) -> None:
    with pytest.raises(NoteRefused):
        witness.cosigned(answer[1], signed(leaves(3)), COSIGNING)


def test_a_names_keys_are_one_witness() -> None:
    url = "https://w.example/witness"
    other = witness_key(1)
    lines = [f"{COSIGNING[0]} {url}", f"{other} http://127.0.0.1:8000/", f"{COSIGNING[1]} {url}/"]
    one, two = witness.parse_witnesses(lines)
    assert one == witness.Witness("w.example/w", tuple(COSIGNING), url)
    assert two == witness.Witness(other.name, (other,), "http://127.0.0.1:8000")


@pytest.mark.parametrize(
    "lines",
    {
        "no address": [f"{COSIGNING[0]}"],
        "no key": ["https://w.example"],
        "two spaces": [f"{COSIGNING[0]}  https://w.example"],
        "no such scheme": [f"{COSIGNING[0]} ftp://w.example"],
        "a log's key": [f"{LOG.verifier} https://w.example"],
        "a key twice": [f"{COSIGNING[0]} https://w.example"] * 2,
        "two addresses": [f"{COSIGNING[0]} https://w.example", f"{COSIGNING[1]} https://v.example"],
    }.items(),
    ids=lambda case: case[0],
)
def test_what_names_no_witness_is_refused(lines: tuple[str, list[str]]) -> None:
    with pytest.raises(PolicyRefused):
        witness.parse_witnesses(lines[1])


# --- Policies ---


def witness_key(number: int, kind: KeyType = KeyType.ED25519_COSIGNATURE) -> VerifierKey:
    return SigningKey(f"w{number}.example/w", kind, bytes([number]) * 32).verifier


X = [witness_key(number) for number in (1, 2, 3)]
Y = [witness_key(number) for number in (4, 5, 6)]
TWO_LEVELS = f"""# That of C2SP tlog-policy.
log {LOG.verifier} https://coop.example/log

witness X1 {X[0]}
witness X2 {X[1]} https://x2.example/
\twitness  X3\t{X[2]}
group X-witnesses 2 X1 X2 X3

witness Y1 {Y[0]}
witness Y2 {Y[1]}
witness Y3 {Y[2]}
group Y-witnesses any Y1 Y2 Y3
  # and
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def given_by(*keys: VerifierKey) -> list[note.Verified]:
    return [note.Verified(key, NOW_S) for key in keys]


@pytest.mark.parametrize(
    ("keys", "is_enough"),
    [
        ([], False),
        (X, False),
        (Y, False),
        ([X[0], Y[2]], False),
        ([X[0], X[2], Y[1]], True),
        ([X[0], X[0], Y[1]], False),
        ([*X, *Y], True),
        ([X[0], X[1], LOG.verifier], False),
    ],
)
def test_groups_witness_when_enough_of_their_members_do(keys: list[VerifierKey], is_enough: bool) -> None:
    policy = parse_policy(TWO_LEVELS.encode())
    assert policy.logs == (LOG.verifier,)
    told = assurance(policy, given_by(*keys))
    assert told == witness.Assurance(is_enough, len(set(keys) & {*X, *Y}), 6)


def test_a_quorum_may_be_one_witness_or_none() -> None:
    one = parse_policy(f"witness w {X[0]}\nquorum w\n".encode())
    assert assurance(one, given_by(X[0])) == witness.Assurance(True, 1, 1)
    assert not assurance(one, given_by(X[1])).is_enough
    assert assurance(parse_policy(b"quorum none\n"), []) == witness.Assurance(True, 0, 0)


def test_a_name_is_its_octets() -> None:
    text = b"witness K %b\nwitness \xe2\x84\xaa %b\nwitness \xff %b\ngroup g 1 \xff\nquorum g\n"
    policy = parse_policy(text % tuple(str(key).encode() for key in X))
    assert assurance(policy, given_by(X[2])).is_enough
    assert not assurance(policy, given_by(X[0], X[1])).is_enough


@pytest.mark.parametrize(
    "text",
    {
        "empty": "",
        "no quorum": f"witness w {X[0]}\n",
        "two quorums": f"witness w {X[0]}\nquorum w\nquorum w\n",
        "a quorum of nobody": "quorum w\n",
        "a quorum before its witness": f"quorum w\nwitness w {X[0]}\n",
        "a quorum of two": f"witness w {X[0]}\nquorum w w\n",
        "an unknown word": "quorum none\nwitnesses w\n",
        "a name twice": f"witness w {X[0]}\nwitness w {X[1]}\nquorum w\n",
        "a key twice": f"witness w {X[0]}\nwitness v {X[0]}\nquorum w\n",
        "a log twice": f"log {LOG.verifier}\nlog {LOG.verifier}\nquorum none\n",
        "the name none": f"witness none {X[0]}\nquorum none\n",
        "a log's key for a witness": f"witness w {LOG.verifier}\nquorum w\n",
        "no key": "witness w key\nquorum w\n",
        "a key whose name is no UTF-8": f"witness w {X[0]}\nquorum w\n".replace("w1.", "\udcff."),
        "an empty group": f"witness w {X[0]}\ngroup g any\nquorum w\n",
        "a group of itself": f"witness w {X[0]}\ngroup g any g\nquorum w\n",
        "a member twice": f"witness w {X[0]}\ngroup g any w w\nquorum w\n",
        "a member of two groups": f"witness w {X[0]}\ngroup g any w\ngroup h any w\nquorum w\n",
        "none of a group": f"witness w {X[0]}\ngroup g 0 w\nquorum g\n",
        "more than there are": f"witness w {X[0]}\ngroup g 2 w\nquorum g\n",
        "a number of another kind": f"witness w {X[0]}\ngroup g 1st w\nquorum g\n",
        "the member none": f"witness w {X[0]}\ngroup g 1 none\nquorum g\n",
        "CR LF": "quorum none\r\n",
        "no newline at the end": "quorum none",
        "a no-break space for a blank": "quorum\u00a0none\n",
        "too long": "quorum none\n" + "\n" * witness.POLICY_LINES_MAX,
    }.items(),
    ids=lambda case: case[0],
)
def test_what_is_no_policy_is_refused(text: tuple[str, str]) -> None:
    with pytest.raises(PolicyRefused):
        parse_policy(text[1].encode("utf-8", "surrogateescape"))


def test_a_witness_is_one_whichever_of_its_keys_it_cosigns_with() -> None:
    kinds = sorted(witness.COSIGNING)
    own = {f"w{n}": [witness_key(n, kind) for kind in kinds] for n in (1, 2, 3)}
    policy = k_of_n(2, own)
    assert assurance(policy, given_by(*own["w1"])) == witness.Assurance(False, 1, 3)
    assert assurance(policy, given_by(own["w1"][0], own["w3"][1])) == witness.Assurance(True, 2, 3)
    assert assurance(k_of_n(0, {}), []).is_enough
    with pytest.raises(PolicyRefused):
        k_of_n(4, own)
