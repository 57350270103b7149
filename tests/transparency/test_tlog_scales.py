"""An independent reader of tlog-tiles logs, tlog-scales, accepts what we publish: heads, both signatures, proofs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey, VkeySet
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import Checkpoint, InclusionProofInvalid

from ledger import entries
from ledger.tiles import WIDTH
from streamcoop.settings import settings
from streamcoop.transparency.keys import verifier_keys
from tests.transparency.press import ORIGIN, Press

TRACKS, LISTENERS = 56, 2
"""Enough for a full tile: each track is told, with its split, its plays by each listener, and its share-out."""


def published(press: Press) -> TilesReader:
    """A log with a full tile and a partial one, and a batch for each listener, as the other reader has it."""
    label = press.label
    artist = label.person("Kyai", "artist")
    tracks = [label.track(artist, f"Pagi {number}") for number in range(TRACKS)]
    for _ in range(LISTENERS):
        listener = label.listener()
        for track in tracks:
            label.play(listener, track)
        press.publish()
    assert label.close()
    press.publish()
    reader = TilesReader(LocalBackend(press.log))
    assert reader.get_checkpoint().size > WIDTH
    return reader


def test_it_accepts_every_head_both_its_signatures_and_the_proofs_of_every_entry(press: Press) -> None:
    reader = published(press)
    files = [*sorted((press.log / "heads").iterdir()), press.log / "checkpoint"]
    heads = [Checkpoint.from_text(file.read_text(encoding="utf-8")) for file in files]
    keys = [Vkey.from_string(str(key)) for key in verifier_keys(settings(), ORIGIN)]
    for head in heads:
        assert head.origin == ORIGIN
        assert len(VkeySet(*keys).verify(head.signatures, head)) == len(keys) == 2
    for earlier, later in pairwise(heads):
        reader.get_consistency_proof(earlier.size, later.size).check(earlier.root_hash, later.root_hash)

    shown = heads[-1]
    assert reader.calculate_root_hash() == shown.root_hash
    kinds = []
    for index in range(shown.size):
        data = reader.get_entry(index)
        reader.get_inclusion_proof(index, shown.size).check(leaf_hash(data), shown.root_hash)
        kinds.append(entries.parse(data)[0])
    assert kinds[0] == entries.FOUNDING
    assert kinds.count(entries.PLAYS) == TRACKS * LISTENERS
    with pytest.raises(InclusionProofInvalid):
        reader.get_inclusion_proof(0, shown.size).check(leaf_hash(b"another entry"), shown.root_hash)
