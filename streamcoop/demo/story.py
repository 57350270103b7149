"""The story: who does what, in order. Every figure told at the end is read back from the service."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from streamcoop.adapters.audio_formats import Format as AudioFormat
from streamcoop.demo import music
from streamcoop.demo.client import DemoFailed, Json, Person, until
from streamcoop.demo.wallet import Wallet

PIECE_S = 6.0
LISTEN_MS_MAX = 2_000
EPOCH_S_MAX = 120
BALLOT_S = 8
WAIT_MEDIA_S = 180.0
WAIT_CHAIN_S = 60.0
WAIT_SETTLED_S = 60.0
TOP_UP_MINOR = 1_000
FILES_MAX = 8
MUSIC_SUFFIXES = frozenset({".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".mp4", ".wav", ".aif", ".aiff"})
ARTIST_NAMES = ("Sekar Melati", "Kolektif Bambu", "Rina & the Tides")
LISTENER_NAMES = ("Lestari", "Budi", "Citra", "Dewi")
WITHOUT_WALLET = "Dewi"
SHARE = "artist_share_bp"
FORMATS: tuple[AudioFormat, ...] = ("flac", "mp3", "vorbis", "opus", "m4a", "wav", "aiff")

# What a fresh service is founded with for the demo: a short listening rule, short epochs, a constitution in seconds.
DEMO_SETTINGS = {
    "STREAMCOOP_LISTEN_MS_MAX": "400",
    "STREAMCOOP_FREE_EXTRA_MS": "600",
    "STREAMCOOP_TOKEN_MS_MIN": "5000",
    "STREAMCOOP_EPOCH_SECONDS": "45",
    "STREAMCOOP_EPOCH_GRACE_SECONDS": "20",
    "STREAMCOOP_LOG_BATCH_SECONDS": "5",
    "STREAMCOOP_LOG_BATCH_LISTENERS_MIN": "1",
    "STREAMCOOP_WAITING_SECONDS": "0",
    "STREAMCOOP_DISCUSSION_SECONDS": "0",
    "STREAMCOOP_BALLOT_SECONDS_MIN": "1",
    "STREAMCOOP_QUIET_SECONDS": "0",
    "STREAMCOOP_TIMELOCK_SECONDS": "2",
    "STREAMCOOP_COOP_NAME": "StreamCoop Demo",
}

Say = Callable[[str], None]


@dataclass
class Cast:
    """Everybody, and the music that is published: track id by title, with the file it came from."""

    operator: Person
    second_officer: Person
    artists: list[Person] = field(default_factory=list)
    listeners: list[Person] = field(default_factory=list)
    tracks: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    artist_of: dict[str, Person] = field(default_factory=dict)
    wallets: dict[str, Wallet] = field(default_factory=dict)
    """By the member's name; who has none lets the co-op keep a key."""
    ballot_id: str = ""
    vote_receipts: list[str] = field(default_factory=list)
    plays: int = 0
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def tell(officers: tuple[Person, Person], address: str, music_dir: Path | None, folder: Path, say: Say) -> Cast:
    """Play the whole story against a service; returns the cast with what it did. Raises DemoFailed.

    The first of the two officers is the operator, and the treasurer.
    """
    operator, second_officer = officers
    rule = _require_short_rules(operator)
    cast = Cast(operator, second_officer)
    say("Artists join and upload their music.")
    _upload(cast, address, _pieces(music_dir, folder, say), say)
    say("Everybody becomes a member: share paid, approved by two officers, a token from the contract.")
    _admit(cast, address, say)
    say("Members vote on the artists' share of net income.")
    _vote(cast, say)
    say("The cash desk books top-ups.")
    for listener in cast.listeners:
        booked = operator.top_up(listener, TOP_UP_MINOR)
        credits_bought = f"{booked['credits_micro'] / 1e6:.3f} credits"
        say(f"  {listener.name} pays {_money(booked, TOP_UP_MINOR)} and has {credits_bought}.")
    _wait_for_next_epoch(cast, say)
    say("Listeners stream.")
    _stream(cast, say)
    _settle(cast, say)
    say("An epoch closes: royalties become payable.")
    _close(cast, rule, say)
    return cast


def _money(booked: Json, amount_minor: int) -> str:
    return f"{amount_minor / 100:.2f} {booked['currency']}"


def _require_short_rules(operator: Person) -> Json:
    """The demo shows an epoch's close, so it needs a service whose epochs are short."""
    epoch = operator.get("/api/v1/epochs", limit=1)[0]
    length_s = (datetime.fromisoformat(epoch["ends_at"]) - datetime.fromisoformat(epoch["starts_at"])).total_seconds()
    if length_s > EPOCH_S_MAX:
        wanted = " ".join(f"{name}={value}" for name, value in DEMO_SETTINGS.items() if "NAME" not in name)
        raise DemoFailed(
            f"this service's epochs last {length_s:.0f} s, and the demo would have to wait for one to close."
            f" Run the demo without --address for a fresh service, or found one with: {wanted}"
        )
    return epoch


def _pieces(music_dir: Path | None, folder: Path, say: Say) -> list[Path]:
    if music_dir is not None:
        found = sorted(p for p in music_dir.rglob("*") if p.suffix.lower() in MUSIC_SUFFIXES)[:FILES_MAX]
        if not found:
            raise DemoFailed(f"no audio files in {music_dir}")
        return found
    say(f"  Composing {len(FORMATS)} short pieces.")
    pieces = []
    for number, format_ in enumerate(FORMATS):
        artist = ARTIST_NAMES[number % len(ARTIST_NAMES)]
        tags = {
            "title": f"Piece no. {number + 1} for {format_}",
            "artist": artist,
            "album": "Demo",
            "track": str(number + 1),
        }
        # A seed of its own each time: the same service may be shown the demo again, and refuses the same file twice.
        wav = music.compose(secrets.randbits(32), PIECE_S)
        pieces.append(music.encode(wav, format_, tags, folder=folder, name=f"piece-{number + 1}"))
    return pieces


def _person(address: str, name: str) -> Person:
    handle = "".join(letter for letter in name.lower() if letter.isalpha())
    return Person(address, name, f"{handle}-{secrets.token_hex(4)}@streamcoop.example", secrets.token_urlsafe(12))


def _upload(cast: Cast, address: str, pieces: Sequence[Path], say: Say) -> None:
    releases = []
    for name in ARTIST_NAMES:
        artist = _person(address, name).join(artist=True)
        profile = artist.post("/api/v1/artists", {"name": name})
        release = artist.post(f"/api/v1/artists/{profile['id']}/releases", {"title": f"{name}: Demo", "kind": "ep"})
        cast.artists.append(artist)
        releases.append(release["id"])
    used = set()
    for number, path in enumerate(pieces):
        which = number % len(cast.artists)
        track = cast.artists[which].upload(releases[which], path)
        cast.tracks[track["title"]], cast.files[track["id"]] = track["id"], path
        cast.artist_of[track["id"]] = cast.artists[which]
        used.add(which)
        say(f"  {cast.artists[which].name} uploads {path.name}: “{track['title']}”")
    for track_id, artist in cast.artist_of.items():
        until(lambda a=artist, t=track_id: _ready(a, t), "a rendition", WAIT_MEDIA_S)  # type: ignore[misc]
    for which in sorted(used):
        cast.artists[which].post(f"/api/v1/releases/{releases[which]}/publish")
    say(f"  {len(pieces)} tracks are rendered and published.")


def _ready(artist: Person, track_id: str) -> Json | None:
    track = artist.get(f"/api/v1/tracks/{track_id}")
    if track["state"] == "failed":
        raise DemoFailed(f"track {track_id} failed: {track}")
    return track if track["state"] == "ready" else None


def _admit(cast: Cast, address: str, say: Say) -> None:
    cast.listeners = [_person(address, name).join() for name in LISTENER_NAMES]
    for person, kind in [(p, "artist") for p in cast.artists] + [(p, "listener") for p in cast.listeners]:
        application: Json = {"member_class": kind}
        if person.name != WITHOUT_WALLET:
            cast.wallets[person.name] = Wallet()
            application["wallet"] = cast.wallets[person.name].proof(person)
        member_id = person.post("/api/v1/membership", application)["id"]
        cast.operator.post(f"/api/v1/members/{member_id}/share", {"request_id": str(uuid4())})
        for officer in (cast.operator, cast.second_officer):
            officer.post(f"/api/v1/members/{member_id}/approve")
    people = cast.artists + cast.listeners
    for person in people:
        until(lambda p=person: _admitted(p), f"{person.name}'s admission on the chain", WAIT_CHAIN_S)  # type: ignore[misc]
    say(f"  {len(people)} members have their token; {WITHOUT_WALLET} has no wallet, and the co-op keeps her key.")


def _admitted(person: Person) -> Json | None:
    membership = person.get("/api/v1/membership")
    return membership if membership["state"] == "member" else None


def _vote(cast: Cast, say: Say) -> None:
    proposer, *others = cast.artists
    proposal = {
        "title": "The artists' share",
        "text": "How much of net income?",
        "parameters": [SHARE],
        "open_for_seconds": BALLOT_S,
    }
    ballot_id = cast.ballot_id = proposer.post("/api/v1/ballots", proposal)["id"]
    for supporter in (*others, *cast.listeners):
        if proposer.get(f"/api/v1/ballots/{ballot_id}")["state"] != "proposed":
            break
        supporter.post(f"/api/v1/ballots/{ballot_id}/support")

    def in_state(*states: str) -> Json | None:
        ballot = cast.operator.get(f"/api/v1/ballots/{ballot_id}")
        if ballot["state"] == "stopped":
            raise DemoFailed(f"the ballot was stopped: {ballot['stopped_because']}")
        return ballot if ballot["state"] in states else None

    electorate = until(lambda: in_state("open"), "the roll from the contract", WAIT_CHAIN_S)["electorate"]
    said = f"read from the contract at block {electorate['block_number']}"
    say(f"  {electorate['total_weight']} members may vote, {said}.")
    wanted = zip(cast.artists + cast.listeners, (8_000, 7_500, 7_400, 7_300, 7_200, 7_000), strict=False)
    for voter, value in wanted:
        receipt = _cast_vote(voter, cast.wallets[voter.name], ballot_id, value)
        if receipt is not None:  # before its first batch the log has no name yet, and promises nothing
            cast.vote_receipts.append(receipt)
    (closed,) = until(lambda: in_state("closed", "effective"), "the ballot's count", WAIT_CHAIN_S)["questions"]
    say(f"  The median is {closed['median'] / 100:.2f} %, which the constitution makes {closed['result'] / 100:.2f} %.")
    try:
        until(lambda: in_state("effective"), "the decision in the registry", WAIT_CHAIN_S)
    except DemoFailed as late:
        held_up_by = cast.operator.get(f"/api/v1/ballots/{ballot_id}")["tally"]["held_up_by"]
        raise DemoFailed(f"{late} ({held_up_by or 'nothing holds it up'})") from late
    say("  It is written to the registry, its timelock is over, and it holds from the next epoch on.")


def _cast_vote(voter: Person, wallet: Wallet, ballot_id: str, value: int) -> str | None:
    """Returns the co-op's promise that the vote is counted."""
    path, values = f"/api/v1/ballots/{ballot_id}/votes", {SHARE: value}
    drafted = voter.post(f"{path}/draft", {"values": values})
    vote = {"values": values, "nonce": drafted["nonce"], "deadline": drafted["deadline"]}
    receipt: str | None = voter.post(path, {**vote, "signature": wallet.signed(drafted["typed_data"])})["receipt"]
    return receipt


def _wait_for_next_epoch(cast: Cast, say: Say) -> None:
    """Until the voted rates are in force, and a whole epoch lies ahead."""
    coming = cast.operator.get("/api/v1/rates")["coming"]
    starts_at = datetime.fromisoformat((coming or cast.operator.get("/api/v1/rates")["in_force"])["epoch_starts_at"])
    wait_s = (starts_at - datetime.now(UTC)).total_seconds()
    if wait_s > 0:
        say(f"The next epoch begins in {wait_s:.0f} s, and the voted rates with it.")
        time.sleep(wait_s + 0.2)


def _stream(cast: Cast, say: Say) -> None:
    lestari, budi, citra, dewi = cast.listeners
    titles = list(cast.tracks)
    first, track = titles[0], cast.tracks[titles[0]]
    plays_to_own = 0
    for _ in range(100):
        opened = lestari.listen(track)
        if opened["free"]:
            break
        plays_to_own = opened["plays_to_own"]
        cast.plays += 1
        price, left = opened["price_money_micro"] / 1e6, opened["left_to_own_money_micro"] / 1e6
        say(f"  Lestari’s play {opened['ordinal']} of {plays_to_own} of “{first}”: {price:.4f}, {left:.4f} were left.")
    say(f"  After {plays_to_own} plays it is hers, and playing it costs nothing.")
    _download(lestari, track, cast.files[track], say)
    for listener, count in ((budi, 4), (citra, 3)):
        for title in titles[1:]:
            for _ in range(count if title == titles[1] else 1):
                listener.listen(cast.tracks[title], codec="opus")
                cast.plays += 1
    say("  Budi and Citra stream the others.")
    last = cast.tracks[titles[-1]]
    bought = dewi.buy(last)
    cast.plays += 1
    say(f"  Dewi buys “{titles[-1]}” at once for {bought['price_money_micro'] / 1e6:.4f}.")
    _download(dewi, last, cast.files[last], say)
    dewi.put("/api/v1/wallet/limits", {"monthly_budget_micro": 1, "stop_before_ordinal": None})
    opened = dewi.post("/api/v1/plays", {"track_id": track})
    refusal = dewi.refused("/api/v1/plays/record", {"play_token": opened["play_token"], "skip_ahead": True})
    say(f"  Dewi has set a budget, and the next play is refused: {refusal.title}")


def _download(owner: Person, track_id: str, uploaded: Path, say: Say) -> None:
    downloaded = owner.http.get(f"/api/v1/tracks/{track_id}/original")
    if downloaded.content != uploaded.read_bytes():
        raise DemoFailed(f"the original of {track_id} is not what was uploaded")
    digest = hashlib.sha256(downloaded.content).hexdigest()[:16]
    size = f"{len(downloaded.content):,} bytes"
    say(f"  {owner.name} downloads the original: {size}, the same as uploaded (sha256 {digest}…).")


def _settle(cast: Cast, say: Say) -> None:
    def settled() -> bool | None:
        return True if all(p.get("/api/v1/wallet")["unsettled_micro"] == 0 for p in cast.listeners) else None

    until(settled, "all plays to be settled", WAIT_SETTLED_S)
    say(f"All {cast.plays} plays are settled.")


def _close(cast: Cast, epoch: Json, say: Say) -> None:
    """Wait until every epoch the plays fell into is closed: no track has anything open any more."""
    length_s = (datetime.fromisoformat(epoch["ends_at"]) - datetime.fromisoformat(epoch["starts_at"])).total_seconds()
    grace_s = (datetime.fromisoformat(epoch["may_close_at"]) - datetime.fromisoformat(epoch["ends_at"])).total_seconds()
    say(f"  It ends by itself, and is closed {grace_s:.0f} s later.")

    def closed() -> bool | None:
        return True if not any(artist.get("/api/v1/royalties/current") for artist in cast.artists) else None

    until(closed, "the epoch's close", 2 * length_s + grace_s + 60)
