"""Every route × every role × own and other's, asked of a running service and held against docs/authorisation.md."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from PIL import Image
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session as DatabaseSession

from ledger.merkle import EMPTY_ROOT
from ledger.note import SEED_BYTES, Checkpoint, KeyType, SigningKey, signed
from streamcoop.accounts.principals import SCOPES, SCOPES_OF_ROLE
from streamcoop.database import with_driver
from streamcoop.demo.client import Json, Person, until
from streamcoop.embedded.plan import source_root
from streamcoop.embedded.temporary import Service, running_service
from streamcoop.models import moderation
from streamcoop.settings import PREFIX
from streamcoop.witness import service as witness
from tests.membership.authenticator import Authenticator
from tests.whole_service import (
    PASSWORD,
    READY_S_MAX,
    SETTINGS,
    a_passkey,
    admit,
    draft_of,
    operator_of,
    piece,
    published_track,
    setting,
    somebody,
)

TABLE = Path(__file__).resolve().parents[2] / "docs" / "authorisation.md"
ROLES = ("listener", "artist", "treasurer", "operator")
COLUMNS = ("method", "path", "scope", "visitor", *ROLES, "another's")
# Of the application as it is put together, with what its OpenAPI document leaves out.
WALK = """
import json
from streamcoop.app import create_app

def walk(routes):
    for route in routes:
        # Pages have a table of their own, and a test that goes by it.
        if getattr(route, "endpoint", walk).__module__.startswith("streamcoop.web."):
            continue
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from walk(included.routes)
        else:
            yield from ([method, route.path_format] for method in route.methods)

print(json.dumps(list(walk(create_app().routes))))
"""
WALK_S_MAX = 180
SIGN_IN_PATH = "/api/v1/session"
# Refusals that say that somebody may not, whatever she asks for; all others come after.
NOT_ALLOWED = {
    f"/problems/{kind}" for kind in ("not-signed-in", "not-permitted", "members-only", "no-vote-in-this-ballot")
}
# None is made here, because it takes a month's royalties. That it is not found is told only to those who may look.
NEVER_THERE = ("{payout_id}", "/wallet/lines/{epoch}")

SOMEBODY = "0x52908400098527886E0F7030069857D2E4169EE7"
NO_SIGNATURE = "0x" + "11" * 65
A_BALLOT = {"title": "The artists' share", "parameters": ["artist_share_bp"], "open_for_seconds": 3600}
A_VOTE = {"artist_share_bp": 7_500}
FAR_OFF = 4_102_444_800

WITNESSED_LOG = SigningKey("coop.example/log", KeyType.ED25519, bytes(SEED_BYTES))
EMPTY_LOG = signed(str(Checkpoint(WITNESSED_LOG.name, 0, EMPTY_ROOT)), [WITNESSED_LOG], 0)

Route = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    method: str
    path: str
    scope: str
    cells: dict[str, str]
    anothers: str

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"


def read_table() -> list[Row]:
    rows = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0].isupper():
            named = dict(zip(COLUMNS, cells, strict=True))
            who = {role: named[role] for role in ("visitor", *ROLES)}
            rows.append(Row(named["method"], named["path"], named["scope"], who, named["another's"]))
    return rows


ROWS = read_table()
# What ends something comes last.
IN_ORDER = sorted(ROWS, key=lambda row: row.method == "DELETE")


@dataclass
class Owner:
    """Somebody with one thing of every kind, none of it published."""

    person: Person
    id: str
    things: dict[str, str] = field(default_factory=dict)
    token: str = ""
    """With every scope, made while the account had every role."""
    authenticator: Authenticator = field(default_factory=Authenticator)


@dataclass
class Caller:
    """A way to be somebody: her session, one of her tokens, or nobody."""

    http: httpx.Client
    owner: Owner
    password: str = PASSWORD


@dataclass
class Realm:
    """A service with somebody of every kind."""

    service: Service
    operator: Person
    everything: Owner
    stranger: Owner
    of_role: dict[str, Owner]
    bystander: Person
    common: dict[str, str]
    clients: list[httpx.Client]

    def client(self, secret: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        made = httpx.Client(base_url=self.service.address, headers=headers, timeout=60, trust_env=False)
        self.clients.append(made)
        return made

    def session(self, owner: Owner) -> Caller:
        answer = self.client().post(SIGN_IN_PATH, json={"email": owner.person.email, "password": PASSWORD})
        return Caller(self.client(answer.json()["session"]), owner)

    def token(self, owner: Owner, scopes: list[str]) -> Caller:
        made = owner.person.post("/api/v1/me/tokens", {"name": "matrix", "scopes": scopes})
        return Caller(self.client(made["secret"]), owner)


def _user(person: Person) -> str:
    return str(person.get("/api/v1/me")["id"])


def an_owner(service: Service, operator: Person, bystander: Person, name: str, folder: Path) -> Owner:
    """With all roles as long as she is making her things."""
    someone = somebody(service, name).join()
    owner = Owner(someone, _user(someone))
    operator.put(f"/api/v1/users/{owner.id}/roles", {"roles": list(ROLES)})
    someone.sign_in()
    release = draft_of(someone)
    track = str(someone.upload(release, piece(folder))["id"])
    until(lambda: someone.get(f"/api/v1/tracks/{track}")["state"] == "ready" or None, "a rendition", READY_S_MAX)
    assert someone.http.put(f"/api/v1/releases/{release}/artwork", content=a_picture()).status_code == 204
    shares = [
        {"payee_email": someone.email, "share_bp": 6_000},
        {"payee_email": bystander.email, "share_bp": 4_000},
    ]
    split = someone.put(f"/api/v1/tracks/{track}/split", {"shares": shares})
    someone.put("/api/v1/royalties/payout-destination", {"destination": "DE02 1203 0000 0000 2020 51"})
    member = someone.post("/api/v1/membership", {"member_class": "listener"})
    owner.things = {
        "artist_id": someone.get(f"/api/v1/releases/{release}")["artist"]["id"],
        "release_id": release,
        "track_id": track,
        "split_id": split["id"],
        "member_id": member["id"],
        "visibility": "private",
        "playlist_id": someone.post("/api/v1/library/playlists", {"name": "Morning"})["id"],
    }
    item = someone.post(f"/api/v1/library/playlists/{owner.things['playlist_id']}/items", {"track_id": track})
    owner.things["item_id"] = item["id"]
    owner.things["passkey_id"], owner.authenticator = a_passkey(service, someone)
    owner.token = someone.post("/api/v1/me/tokens", {"name": "all", "scopes": list(SCOPES)})["secret"]
    return owner


def a_play(operator: Person, listener: Person, track: str) -> str:
    """One that is recorded."""
    operator.post(
        "/api/v1/treasury/topups",
        {"request_id": str(uuid4()), "listener_email": listener.email, "amount_minor": 1_000},
    )
    opened = listener.post("/api/v1/plays", {"track_id": track})
    counted = listener.post("/api/v1/plays/record", {"play_token": opened["play_token"], "skip_ahead": True})
    return str(counted["play_id"])


def a_picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    folder = tmp_path_factory.mktemp("realm")
    with running_service(SETTINGS) as service:
        operator, bystander = operator_of(service), somebody(service, "Bystander").join()
        owners = [an_owner(service, operator, bystander, name, folder) for name in ("Everything", "Stranger", *ROLES)]
        everything, stranger, *of_role = owners
        common = a_common_world(service, operator, bystander, everything, stranger, folder)
        for owner in owners:
            # Her own music costs the stranger nothing: a play of the bystander's is another's, too.
            listener = bystander if owner is stranger else owner.person
            owner.things["play_id"] = a_play(operator, listener, common["published_track"])
        common["origin_hash"] = sha256(WITNESSED_LOG.name.encode()).hexdigest()
        with engine_of(service) as engine, DatabaseSession(engine) as session, session.begin():
            witness.add_log(session, str(WITNESSED_LOG.verifier), datetime.now(UTC))
            for owner in owners:
                owner.things["decision_id"] = a_dismissal(session, operator, owner)
        for role, owner in zip(ROLES, of_role, strict=True):
            operator.put(f"/api/v1/users/{owner.id}/roles", {"roles": [role]})
        clients: list[httpx.Client] = []
        by_role = dict(zip(ROLES, of_role, strict=True))
        yield Realm(service, operator, everything, stranger, by_role, bystander, common, clients)
        for client in [
            *clients,
            operator.http,
            bystander.http,
            *(owner.person.http for owner in owners),
        ]:
            client.close()


def a_dismissal(session: DatabaseSession, operator: Person, owner: Owner) -> str:
    """A decision about her draft, which nobody could have reported: against it there is nothing to be done."""
    made = moderation.Decision(
        id=uuid4(),
        release_id=UUID(owner.things["release_id"]),
        outcome="dismissed",
        ground="other",
        reason="It is hers.",
        was_published=False,
        decided_by=UUID(_user(operator)),
        decided_at=datetime.now(UTC),
    )
    session.add(made)
    return str(made.id)


@contextmanager
def engine_of(service: Service) -> Iterator[Engine]:
    """The service's database, as the service sees it."""
    engine = create_engine(with_driver(setting(service, "DATABASE_URL")))
    try:
        yield engine
    finally:
        engine.dispose()


def a_common_world(
    service: Service, operator: Person, bystander: Person, member: Owner, stranger: Owner, folder: Path
) -> dict[str, str]:
    """What belongs to no one account: a published track, an open ballot with one member, a payout run, an epoch."""
    track = published_track(stranger.person, folder)
    release = str(stranger.person.get(f"/api/v1/tracks/{track}")["release_id"])
    assert stranger.person.http.put(f"/api/v1/releases/{release}/artwork", content=a_picture()).status_code == 204
    until(lambda: operator.http.get("/log/checkpoint").is_success or None, "a log", READY_S_MAX)
    admit(service, member.things["member_id"])
    until(lambda: member.person.get("/api/v1/membership")["state"] == "member" or None, "a member", READY_S_MAX)
    ballot = member.person.post("/api/v1/ballots", A_BALLOT)["id"]
    until(lambda: member.person.get(f"/api/v1/ballots/{ballot}")["state"] == "open" or None, "a ballot", READY_S_MAX)
    return {
        "published_track": track,
        "published_release": release,
        "ballot_id": ballot,
        "run_id": operator.post("/api/v1/treasury/payout-runs", {"request_id": str(uuid4())})["id"],
        "epoch": str(member.person.get("/api/v1/epochs")[0]["epoch"]),
        "user_id": _user(bystander),
        "payout_id": str(uuid4()),
        "path": "checkpoint",
    }


def play_token(realm: Realm, caller: Caller) -> str:
    """One of the caller's own; whoever may not listen has somebody else's."""
    for asker in (caller.http, realm.everything.person.http):
        opened = asker.post("/api/v1/plays", json={"track_id": realm.common["published_track"]})
        if opened.status_code == 201:
            return str(opened.json()["play_token"])
    raise AssertionError(opened.text)


def a_hold(realm: Realm) -> str:
    """On nothing that anybody needs: lifted before it is placed again."""
    held = {"payee_email": realm.bystander.email, "reason": "rights in dispute"}
    for hold in realm.operator.get("/api/v1/holds"):
        realm.operator.http.delete(f"/api/v1/holds/{hold['id']}")
    return str(realm.operator.post("/api/v1/holds", held)["id"])


def a_report(realm: Realm) -> str:
    """One that waits for an answer."""
    about = {"release_id": realm.common["published_release"], "ground": "other"}
    realm.bystander.http.post("/api/v1/moderation/reports", json=about)
    return str(realm.operator.get("/api/v1/moderation/reports")[0]["id"])


def things_of(realm: Realm, caller: Caller, owner: Owner, row: Row) -> dict[str, str]:
    """What stands for each parameter of the path."""
    things = realm.common | owner.things
    if row.path.endswith("/preview"):
        things["track_id"] = realm.common["published_track"] if owner is caller.owner else owner.things["track_id"]
    if "{play_token}" in row.path or row.path.endswith("/record"):
        things["play_token"] = play_token(realm, caller if owner is caller.owner else realm.session(owner))
    if "{hold_id}" in row.path:
        things["hold_id"] = a_hold(realm)
    if "{report_id}" in row.path:
        things["report_id"] = a_report(realm)
    if "{playlist_id}" in row.path:
        things |= a_playlist(realm, owner)
    if "{token_id}" in row.path:
        things["token_id"] = str(
            owner.person.post("/api/v1/me/tokens", {"name": "spare", "scopes": _some(owner)})["id"]
        )
    return things


def a_playlist(realm: Realm, owner: Owner) -> dict[str, str]:
    """A fresh one with a track in it; of whoever may have none, the one she made when she could."""
    if "listener" not in owner.person.get("/api/v1/me")["roles"]:
        return {}
    new = {"name": "Evening", "visibility": owner.things["visibility"]}
    playlist = owner.person.post("/api/v1/library/playlists", new)["id"]
    path = f"/api/v1/library/playlists/{playlist}/items"
    item = owner.person.post(path, {"track_id": realm.common["published_track"]})["id"]
    return {"playlist_id": playlist, "item_id": item}


def _some(owner: Owner) -> list[str]:
    roles = owner.person.get("/api/v1/me")["roles"]
    return [min(SCOPES_OF_ROLE[roles[0]])]


def bodies(realm: Realm, caller: Caller, things: dict[str, str]) -> dict[Route, Json]:
    """What is sent, by route: well-formed, and of no lasting effect on what the rows after it need."""
    api = "/api/v1"
    money = {"request_id": str(uuid4()), "listener_email": realm.bystander.email}
    new = {"email": f"{secrets.token_hex(8)}@streamcoop.example", "password": PASSWORD, "name": "New"}
    return {
        ("POST", f"{api}/users"): new,
        ("POST", SIGN_IN_PATH): {"email": caller.owner.person.email, "password": PASSWORD},
        ("POST", f"{api}/me/tokens"): {"name": "another", "scopes": _some(caller.owner)},
        # She has credits and does not say that they may be lost.
        ("DELETE", f"{api}/me"): {"password": PASSWORD},
        ("PUT", f"{api}/users/{{user_id}}/roles"): {"roles": ["listener"]},
        ("POST", f"{api}/artists"): {"name": "Kyai"},
        ("PATCH", f"{api}/artists/{{artist_id}}"): {"bio": "Gongs"},
        ("POST", f"{api}/artists/{{artist_id}}/releases"): {"title": "Gong", "kind": "ep"},
        ("PATCH", f"{api}/releases/{{release_id}}"): {"genre": "Gamelan"},
        ("PUT", f"{api}/releases/{{release_id}}/artwork"): a_picture(),
        ("POST", f"{api}/releases/{{release_id}}/tracks"): b"this is no recording",
        ("PATCH", f"{api}/tracks/{{track_id}}"): {"genre": "Gamelan"},
        ("POST", f"{api}/plays"): {"track_id": things.get("playable", realm.common["published_track"])},
        ("POST", f"{api}/plays/record"): {"play_token": things.get("play_token", ""), "skip_ahead": True},
        ("PUT", f"{api}/wallet/limits"): {"monthly_budget_micro": None, "stop_before_ordinal": None},
        ("POST", f"{api}/library/playlists"): {"name": "Morning"},
        ("PATCH", f"{api}/library/playlists/{{playlist_id}}"): {"name": "Night"},
        ("POST", f"{api}/library/playlists/{{playlist_id}}/items"): {"track_id": realm.common["published_track"]},
        ("PATCH", f"{api}/library/playlists/{{playlist_id}}/items/{{item_id}}"): {"position": 1},
        ("POST", f"{api}/treasury/topups"): money | {"amount_minor": 100},
        ("POST", f"{api}/treasury/grants"): money | {"credits_micro": 1_000_000, "reason": "gift"},
        ("POST", f"{api}/treasury/payout-runs"): {"request_id": str(uuid4())},
        ("PUT", f"{api}/tracks/{{track_id}}/split"): {
            "shares": [{"payee_email": caller.owner.person.email, "share_bp": 10_000}]
        },
        ("POST", f"{api}/holds"): {"track_id": realm.common["published_track"], "reason": "rights in dispute"},
        ("PUT", f"{api}/royalties/payout-destination"): {"destination": "DE02 1203 0000 0000 2020 51"},
        ("POST", f"{api}/membership"): {"member_class": "listener"},
        ("POST", f"{api}/membership/wallet/challenge"): {"address": SOMEBODY},
        ("POST", f"{api}/membership/wallet"): {
            "password": PASSWORD,
            "address": SOMEBODY,
            "nonce": 0,
            "deadline": 0,
            "signature": NO_SIGNATURE,
        },
        ("POST", f"{api}/membership/delegation"): {
            "to": SOMEBODY,
            "nonce": 0,
            "expiry": 0,
            "signature": NO_SIGNATURE,
        },
        ("POST", f"{api}/membership/key/export"): {"password": PASSWORD},
        ("POST", f"{api}/passkeys/options"): {"password": PASSWORD},
        ("POST", f"{api}/passkeys"): {"name": "phone", "credential": {}},
        ("POST", f"{api}/members/{{member_id}}/class"): {"member_class": "worker"},
        ("POST", f"{api}/members/{{member_id}}/share"): {"request_id": str(uuid4())},
        ("POST", f"{api}/members/{{member_id}}/share/refund"): {"request_id": str(uuid4())},
        ("POST", f"{api}/moderation/reports"): {
            "track_id": things.get("playable", realm.common["published_track"]),
            "ground": "other",
        },
        ("POST", f"{api}/moderation/reports/{{report_id}}/decision"): {
            "outcome": "dismissed",
            "ground": "other",
            "reason": "It is hers.",
        },
        ("POST", f"{api}/moderation/{{decision_id}}/appeal"): {"text": "It is mine."},
        ("POST", f"{api}/moderation/{{decision_id}}/appeal/decision"): {"outcome": "upheld", "reason": "It is not."},
        ("POST", f"{api}/ballots"): A_BALLOT | {"parameters": ["motion"]},
        ("POST", f"{api}/ballots/{{ballot_id}}/comments"): {"text": "Why?"},
        ("POST", f"{api}/ballots/{{ballot_id}}/votes/draft"): {"values": A_VOTE},
        ("POST", f"{api}/ballots/{{ballot_id}}/votes"): {
            "values": A_VOTE,
            "nonce": 1,
            "deadline": FAR_OFF,
            "signature": NO_SIGNATURE,
        },
        # The empty tree is cosigned however often it is asked for.
        ("POST", "/witness/add-checkpoint"): f"old 0\n\n{EMPTY_LOG}".encode(),
    }


QUERIES: dict[str, dict[str, str]] = {
    "/api/v1/wallet/statement": {"month": "2026-01"},
    "/api/v1/wallet/statement.csv": {"month": "2026-01"},
    "/api/v1/membership/wallet/typed-data": {"address": SOMEBODY},
    "/api/v1/membership/delegation/typed-data": {"to": SOMEBODY},
    "/api/v1/wallet/balance": {"at": "2026-01-01T00:00:00Z"},
}


def ask(realm: Realm, caller: Caller, row: Row, owner: Owner | None = None, playable: str = "") -> httpx.Response:
    """Ask for a row's route, for one's own things or for those of `owner`. Takes no more of a stream than its head."""
    things = things_of(realm, caller, owner or caller.owner, row) | ({"playable": playable} if playable else {})
    path = row.path.format(**{name: things.get(name, "") for name in _parameters(row.path)})
    body = bodies(realm, caller, things).get((row.method, row.path))
    sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
    with caller.http.stream(row.method, path, params=QUERIES.get(row.path), **sent) as answer:
        if answer.is_error:
            answer.read()
    # Whoever signs in on the way stays who she was.
    caller.http.cookies.clear()
    return answer


def _parameters(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def problem(answer: httpx.Response) -> str:
    if not answer.is_error or answer.request.method == "HEAD":
        return ""
    return str(answer.json()["type"])


def require_refused(answer: httpx.Response, status: int, kind: str) -> None:
    assert answer.status_code == status, (answer.status_code, answer.request.url.path)
    assert problem(answer) in ("", f"/problems/{kind}")


def require_allowed(answer: httpx.Response, row: Row) -> None:
    """It came to the point: what else may be said against it has nothing to do with who asks."""
    told = (answer.status_code, problem(answer))
    assert answer.status_code < 500, told
    assert answer.status_code not in {401, 405, 422}, told
    assert problem(answer) not in NOT_ALLOWED, told
    assert answer.status_code != 403 or problem(answer), told
    assert answer.status_code != 404 or any(kind in row.path for kind in NEVER_THERE), told


@pytest.fixture(scope="module")
def walked(realm: Realm) -> list[Route]:
    """The routes of the application, put together by the service's own settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    own[f"{PREFIX}DATA_DIR"] = str(realm.service.data_dir)
    done = subprocess.run(
        [sys.executable, "-c", WALK], cwd=source_root(), env=own, capture_output=True, check=True, timeout=WALK_S_MAX
    )
    return [(method, path) for method, path in json.loads(done.stdout.splitlines()[-1])]


def test_every_route_stands_in_the_table_once_and_nothing_else(walked: list[Route]) -> None:
    routes, listed = sorted(set(walked)), sorted((row.method, row.path) for row in ROWS)
    assert len(walked) == len(routes)
    assert listed == routes


def test_every_documented_operation_stands_in_the_table(realm: Realm) -> None:
    paths = realm.client().get("/openapi.json").json()["paths"]
    documented = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert documented <= {(row.method, row.path) for row in ROWS}
    assert len(documented) > 60


def test_a_documented_refusal_is_that_of_the_table(realm: Realm) -> None:
    """403 is documented where somebody may be refused, and nowhere else."""
    paths = realm.client().get("/openapi.json").json()["paths"]
    for row in ROWS:
        operation = paths.get(row.path, {}).get(row.method.lower())
        if operation:
            assert ("403" in operation["responses"]) == (row.scope != "—"), row.label


def test_the_table_contradicts_neither_itself_nor_the_roles() -> None:
    for row in ROWS:
        assert row.scope in {"—", "any", "session", *SCOPES}, row.label
        for role, cell in row.cells.items():
            scopes = SCOPES_OF_ROLE.get(role, frozenset())
            may = row.scope == "—" or (role != "visitor" and (row.scope in {"any", "session"} or row.scope in scopes))
            assert cell in ({"yes", "members"} if may else {"—"}), (row.label, role)
        named = [name for name in _parameters(row.path) if name != "epoch"]
        assert row.anothers or not named, f"{row.label} does not say what comes of another's"


def test_a_visitor_may_do_what_the_table_says(realm: Realm, subtests: pytest.Subtests) -> None:
    visitor = Caller(realm.client(), realm.everything)
    for row in IN_ORDER:
        with subtests.test(row.label):
            # There is nothing of her own; what is published is for her.
            answer = ask(realm, visitor, row, _publisher(realm))
            if row.cells["visitor"] == "yes":
                require_allowed(answer, row)
            else:
                require_refused(answer, 401, "not-signed-in")
                assert answer.headers["www-authenticate"].startswith("Bearer")


def _publisher(realm: Realm) -> Owner:
    """The stranger with what she has published, in place of her drafts."""
    things = realm.stranger.things | {
        "track_id": realm.common["published_track"],
        "release_id": realm.common["published_release"],
        "visibility": "public",
    }
    return Owner(realm.stranger.person, realm.stranger.id, things)


@pytest.mark.parametrize("by", ["session", "token"])
@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_the_table_says(realm: Realm, role: str, by: str, subtests: pytest.Subtests) -> None:
    owner = realm.of_role[role]
    # A token does no more than the roles its account has left, whatever it was given before.
    caller = realm.session(owner) if by == "session" else Caller(realm.client(owner.token), owner)
    for row in IN_ORDER:
        if row.method == "DELETE" and by == "session" and "{track_id}" in row.path:
            continue  # the token's turn needs the track; it deletes it
        with subtests.test(row.label):
            asker = realm.session(owner) if row.label == f"DELETE {SIGN_IN_PATH}" else caller
            answer = ask(realm, asker, row)
            allowed = row.cells[role] == "yes" and not (by == "token" and row.scope == "session")
            if allowed:
                require_allowed(answer, row)
            elif row.cells[role] == "members" and not (by == "token" and row.scope == "session"):
                # She has applied and is not admitted.
                require_refused(answer, 403, "no-vote-in-this-ballot" if "/votes" in row.path else "members-only")
            else:
                require_refused(answer, 403, "not-permitted")


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_a_token_does_what_its_scope_names_and_nothing_else(
    realm: Realm, scope: str, subtests: pytest.Subtests
) -> None:
    only = realm.token(realm.everything, [scope])
    all_others = realm.token(realm.everything, sorted(SCOPES.keys() - {scope}))
    for row in IN_ORDER:
        with subtests.test(row.label):
            if row.scope == scope:
                require_refused(ask(realm, all_others, row), 403, "not-permitted")
                require_allowed(ask(realm, only, row), row)
            elif row.scope == "session" or row.scope in SCOPES:
                require_refused(ask(realm, only, row), 403, "not-permitted")
            elif row.label != f"DELETE {SIGN_IN_PATH}":
                # What is published: the turn of `catalogue` has deleted a draft.
                require_allowed(ask(realm, only, row, _publisher(realm)), row)


def test_what_is_anothers_is_refused_to_whoever_has_every_right_of_her_own(
    realm: Realm, subtests: pytest.Subtests
) -> None:
    caller = realm.session(realm.everything)
    checked = 0
    for row in IN_ORDER:
        if not row.anothers or row.anothers == "yes":
            continue
        status, _, rest = row.anothers.partition(" ")
        with subtests.test(row.label):
            answer = ask(realm, caller, row, realm.stranger, playable=realm.stranger.things["track_id"])
            published = rest in ("unless published", "unless public")
            require_refused(answer, int(status), "not-found" if published or not rest else rest)
            if published:
                require_allowed(ask(realm, caller, row, _publisher(realm)), row)
            checked += 1
    assert checked > 15
    # Nothing of the stranger's has gone.
    for kind, path in (("track_id", "tracks"), ("release_id", "releases"), ("artist_id", "artists")):
        assert realm.stranger.person.get(f"/api/v1/{path}/{realm.stranger.things[kind]}")


def test_a_member_may_vote_and_whoever_never_applied_may_not(realm: Realm) -> None:
    (row,) = [row for row in ROWS if row.label == "POST /api/v1/ballots/{ballot_id}/votes"]
    member, path = realm.session(realm.everything), f"/api/v1/ballots/{realm.common['ballot_id']}/votes"
    drafted = member.http.post(f"{path}/draft", json={"values": A_VOTE}).json()
    signed = realm.everything.authenticator.signed(drafted["passkey_options"])
    vote = {"values": A_VOTE, "nonce": drafted["nonce"], "deadline": drafted["deadline"], "assertion": signed}
    assert member.http.post(path, json=vote).status_code == 201
    bystander = Owner(realm.bystander, realm.common["user_id"])
    require_refused(ask(realm, realm.session(bystander), row), 403, "members-only")


def test_a_token_is_given_no_scope_that_its_account_has_not(realm: Realm) -> None:
    for role, owner in realm.of_role.items():
        session = realm.session(owner)
        for scope in SCOPES.keys() - SCOPES_OF_ROLE[role]:
            asked = {"name": "more", "scopes": [*sorted(SCOPES_OF_ROLE[role]), scope]}
            require_refused(session.http.post("/api/v1/me/tokens", json=asked), 403, "not-permitted")
