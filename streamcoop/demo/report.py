"""What the demo came to: who paid, who earned what, and the same as JSON. All of it read back over HTTP."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ledger import receipts
from streamcoop.demo.audit import Audited
from streamcoop.demo.client import Json, Person
from streamcoop.demo.registry import Registry
from streamcoop.demo.story import Cast

MEMBERS_MAX, BALLOTS_MAX = 200, 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """The demo's figures. gross value = taxes and fees + royalties + co-op income, to the unit."""

    plays_recorded: int
    plays_settled: int
    credits_spent_micro: int
    gross_value_micro: int
    taxes_and_fees_micro: int
    royalties_micro: int
    coop_income_micro: int
    tracks_owned: int
    royalty_lines: int
    books_balanced: bool
    members: int
    ballots: int
    votes: int
    artist_share_bp: int
    artist_share_before_bp: int
    artist_share_after_bp: int
    weights_read_from_contract: bool
    registry_agrees: bool | None
    log_size: int
    log_verified: bool
    receipts_verified: int
    wallet_lines_verified: int

    def as_json(self) -> dict[str, Any]:
        """The figures by their names."""
        return asdict(self)


def gather(cast: Cast, audited: Audited, registry: Registry | None) -> Outcome:
    """Read everything back from wallets, statements, rates, books, the audit and, if it can be asked, the registry."""
    plays = [line for listener in cast.listeners for line in _plays(cast, listener)]
    lines = {(line["track_id"], line["closed_in"], line["epoch"], line["payee"]): line for line in _lines(cast)}
    tracks = {key[:3]: line for key, line in lines.items()}
    owned = [t for listener in cast.listeners for t in listener.get("/api/v1/wallet/tracks")["items"] if t["owned"]]
    rates = cast.operator.get("/api/v1/rates")["in_force"]
    ballot = cast.operator.get(f"/api/v1/ballots/{cast.ballot_id}")
    return Outcome(
        plays_recorded=len(plays),
        plays_settled=sum(play["settled"] for play in plays),
        credits_spent_micro=-sum(play["credits_micro"] for play in plays),
        gross_value_micro=sum(track["gross_micro"] for track in tracks.values()),
        taxes_and_fees_micro=sum(track["deductions_micro"] for track in tracks.values()),
        royalties_micro=sum(line["royalty_micro"] for line in lines.values()),
        coop_income_micro=sum(track["net_micro"] - track["artists_micro"] for track in tracks.values()),
        tracks_owned=len(owned),
        royalty_lines=len(lines),
        books_balanced=cast.operator.get("/api/v1/books/check")["balanced"],
        members=len(cast.operator.get("/api/v1/members", state="member", limit=MEMBERS_MAX)["items"]),
        ballots=len(cast.operator.get("/api/v1/ballots", limit=BALLOTS_MAX)["items"]),
        votes=len(ballot["votes"]),
        artist_share_bp=rates["artist_share_bp"],
        artist_share_before_bp=ballot["questions"][0]["status_quo"],
        artist_share_after_bp=rates["artist_share_bp"],
        weights_read_from_contract="rates" in rates["electorates"],
        registry_agrees=registry.agrees(ballot, rates) if registry else None,
        log_size=audited.report.size,
        log_verified=audited.holds,
        receipts_verified=audited.shown(receipts.PLAY),
        wallet_lines_verified=audited.shown(receipts.WALLET),
    )


def _plays(cast: Cast, listener: Person) -> list[Json]:
    # A story told over the last midnight of a month stands on two statements.
    months = sorted({at.strftime("%Y-%m") for at in (cast.began_at, datetime.now(UTC))})
    statements = [listener.get("/api/v1/wallet/statement", month=month) for month in months]
    return [line for month in statements for line in month["lines"] if line["kind"] in {"play", "buyout"}]


def _lines(cast: Cast) -> list[Json]:
    return [line for artist in cast.artists for line in artist.get("/api/v1/royalties/statement")["lines"]]


def show(console: Console, cast: Cast, outcome: Outcome) -> None:
    """Print who paid and who earned what."""
    currency = cast.operator.get("/api/v1/books")["currency"]
    paid = Table("listener", "plays", "paid", "tracks owned", title=f"Who paid ({currency})")
    for listener in cast.listeners:
        plays = _plays(cast, listener)
        spent = -sum(play["money_micro"] for play in plays)
        owned = sum(t["owned"] for t in listener.get("/api/v1/wallet/tracks")["items"])
        paid.add_row(listener.name, str(len(plays)), _money(spent), str(owned))
    earned = Table("artist", "track", "plays", "collected", "net", "royalty", title=f"Who earned what ({currency})")
    for artist in cast.artists:
        for line in artist.get("/api/v1/royalties/statement")["lines"]:
            amounts = (line["gross_micro"], line["net_micro"], line["royalty_micro"])
            count = str(line["plays"] + line["buyouts"])
            earned.add_row(line["payee_name"], line["title"], count, *(_money(amount) for amount in amounts))
    whole = Table("", "", title=f"Where the money went ({currency})", show_header=False)
    for name, micro in (
        ("what listeners paid for their plays", outcome.gross_value_micro),
        ("taxes and fees", outcome.taxes_and_fees_micro),
        ("royalties to artists", outcome.royalties_micro),
        ("the co-op's funds", outcome.coop_income_micro),
    ):
        whole.add_row(name, _money(micro))
    for table in (paid, earned, whole):
        for column in table.columns[1:]:
            column.justify = "right"
        console.print(table)
    share = f"{outcome.artist_share_after_bp / 100:.2f} % of net income"
    source = (
        f"decided by members, who were read from the contract; {outcome.artist_share_before_bp / 100:.2f} % before"
        if outcome.weights_read_from_contract
        else "from the founding"
    )
    console.print(f"The artists' share is {share} ({source}).")
    if outcome.registry_agrees is not None:
        agrees = "agrees" if outcome.registry_agrees else "[red]DOES NOT AGREE[/red]"
        console.print(f"The registry on the chain {agrees}.")
    verdict = "balance" if outcome.books_balanced else "DO NOT BALANCE"
    console.print(f"The books {verdict}: every figure was added up again from zero.")


def show_audit(console: Console, audited: Audited) -> None:
    """Print what a member's own auditor found in the shared log, and what it had to take on trust."""
    told = audited.report
    plays, wallets = audited.shown(receipts.PLAY), audited.shown(receipts.WALLET)
    verdict = "[green]holds[/green]" if audited.holds else "[red]DOES NOT HOLD[/red]"
    console.print(
        f"The shared log of {told.size} entries {verdict}: every royalty was recomputed from what is published."
    )
    console.print(f"{plays} plays and {wallets} lines of wallets are proven to be in it.")
    for said in (told.unreadable, *map(str, told.findings.first)):
        if said:
            console.print(f"  [red]{escape(str(said))}[/red]")
    for said in told.trust():
        console.print(f"  on trust: {escape(said)}", style="dim")


def _money(micro: int) -> str:
    """Money with all its digits: small prices must not be rounded away."""
    whole, rest = divmod(abs(micro), 1_000_000)
    return f"{'-' if micro < 0 else ''}{whole}.{rest:06d}"
