"""Having witnesses cosign the log's heads: when one is shown, and again as long as some are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.merkle import consistency_proof
from ledger.note import Checkpoint, Note
from ledger.tiles import TiledTree
from ledger.witness import Witness
from streamcoop.adapters.objects import ObjectStore
from streamcoop.adapters.witnesses import cosignatures
from streamcoop.transparency import files


@dataclass
class Cosigners:
    """The witnesses of the settings. `sizes` is what each was last known to have seen, by name."""

    witnesses: Sequence[Witness]
    store: ObjectStore
    sizes: dict[str, int] = field(default_factory=dict)

    def cosign(self, note: Note, head: Checkpoint) -> str:
        """Signature lines for a head, as many as are to be had within the adapter's time."""
        if not self.witnesses:
            return ""
        tree = TiledTree(head.size, files.reader(self.store))

        def prove(old: int) -> list[bytes]:
            return consistency_proof(old, head.size, tree.subtree)

        gathered = cosignatures(str(note), prove, self.witnesses, self.sizes)
        self.sizes |= gathered.sizes
        return "".join(gathered.lines)

    def missing(self, shown: Note) -> set[str]:
        """The names of those who have not cosigned what is shown."""
        return {witness.name for witness in self.witnesses} - {line.name for line in shown.signatures}
