"""A listener's library as her player asks for it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from httpx import Response

from tests.royalties.label import Label, Person


def kind_of(answer: Response) -> tuple[int, str]:
    """A refusal's status and kind."""
    return answer.status_code, str(answer.json()["type"]).removeprefix("/problems/")


def a_playlist(label: Label, owner: Person, name: str = "Evening", visibility: str = "private") -> str:
    answer = label.call("POST", "/library/playlists", owner, {"name": name, "visibility": visibility})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def put_in(label: Label, owner: Person, playlist: str, track: UUID, position: int | None = None) -> Any:
    body = {"track_id": str(track)} | ({"position": position} if position else {})
    answer = label.call("POST", f"/library/playlists/{playlist}/items", owner, body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def titles(label: Label, reader: Person, playlist: str) -> list[str]:
    """What stands in a list, in order; the positions are those of the order."""
    told = label.get(f"/library/playlists/{playlist}", reader)
    assert [item["position"] for item in told["items"]] == list(range(1, told["tracks"] + 1))
    return [item["track"]["title"] for item in told["items"]]


def everything(label: Label, path: str, reader: Person, limit: int) -> list[Any]:
    """All items of a list, page by page."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = label.get(f"{path}?limit={limit}{cursor}", reader)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        assert len(page["items"]) == limit
        cursor = f"&cursor={page['next_cursor']}"


def set_state(label: Label, track: UUID, state: str) -> None:
    """Of the release that a track is on."""
    with label.database.engine.begin() as conn:
        conn.exec_driver_sql(
            "update coop.release set state = %s where id = (select release_id from coop.track where id = %s)",
            (state, track),
        )
