"""Reports, decisions in the open, and appeals that another operator decides."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx import Response
from sqlalchemy import update

from streamcoop.database import transaction
from streamcoop.moderation import service
from streamcoop.moderation.models import Report
from tests.royalties.label import Label, Person

WHY = "I wrote this. Ann Lee, Bandung."
REASON = "The recording is another label's."


def kind_of(answer: Response) -> tuple[int, str]:
    """A refusal's status and kind."""
    return answer.status_code, str(answer.json()["type"]).removeprefix("/problems/")


def reported(label: Label, by: Person, track: UUID, ground: str = "copyright", text: str = WHY) -> Response:
    body = {"track_id": str(track), "ground": ground, "text": text}
    return label.call("POST", "/moderation/reports", by, body)


def decided(label: Label, by: Person, report: str, outcome: str = "taken-down", ground: str = "copyright") -> Response:
    body = {"outcome": outcome, "ground": ground, "reason": REASON}
    return label.call("POST", f"/moderation/reports/{report}/decision", by, body)


def taken_down(label: Label, by: Person, track: UUID, ground: str = "copyright") -> str:
    """A track that is taken down; returns the decision's id."""
    report = reported(label, label.person("Reporter"), track, ground).json()["id"]
    answer = decided(label, by, report, ground=ground)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def appealed(label: Label, by: Person, decision: str) -> Response:
    return label.call("POST", f"/moderation/{decision}/appeal", by, {"text": "It is mine: here is the contract."})


def answered(label: Label, by: Person, decision: str, outcome: str) -> Response:
    body = {"outcome": outcome, "reason": "The contract says so."}
    return label.call("POST", f"/moderation/{decision}/appeal/decision", by, body)


def release_of(label: Label, track: UUID) -> UUID:
    found: UUID = label.rows("select release_id from coop.track where id = :track", track=track)[0].release_id
    return found


def published(label: Label) -> Any:
    """The list that everybody reads."""
    answer = label.client.get("/api/v1/moderation")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_a_decision_is_published_with_its_reason_and_never_who_reported_or_what_she_wrote(label: Label) -> None:
    kyai, reporter, operator = label.person("Kyai", "artist"), label.person("Ann"), label.person("Op", "operator")
    track = label.track(kyai)
    report = reported(label, reporter, track).json()["id"]
    (waiting,) = label.get("/moderation/reports", operator)
    assert (waiting["id"], waiting["text"], waiting["subject"]["title"]) == (report, WHY, "Pagi")
    assert published(label) == []
    decided(label, operator, report, "dismissed")
    (told,) = published(label)
    assert (told["outcome"], told["reason"], told["subject"]["id"]) == ("dismissed", REASON, str(track))
    everything = json.dumps([waiting, told])
    assert str(reporter.user_id) not in everything
    assert "Ann Lee" not in json.dumps(told)
    assert label.get("/moderation/reports", operator) == []
    # Nothing has come of it for the track.
    assert label.call("GET", f"/tracks/{track}", reporter).status_code == 200


def test_a_track_that_is_taken_down_is_seen_by_its_artist_alone_who_is_told_why(label: Label) -> None:
    kyai, listener, operator = label.person("Kyai", "artist"), label.listener(), label.person("Op", "operator")
    track = label.track(kyai, "Pagi")
    release = release_of(label, track)
    decision = taken_down(label, operator, track)
    assert kind_of(label.call("GET", f"/tracks/{track}", listener)) == (404, "not-found")
    assert label.get("/tracks", listener)["items"] == []
    assert label.get(f"/releases/{release}", listener)["tracks"] == []
    assert kind_of(label.call("PUT", f"/library/favourites/{track}", listener)) == (404, "not-found")
    assert kind_of(reported(label, listener, track)) == (404, "not-found")
    assert label.get(f"/tracks/{track}", kyai)["taken_down"] == "removed"
    assert [each["taken_down"] for each in label.get(f"/releases/{release}", kyai)["tracks"]] == ["removed"]
    (why,) = label.get("/me/moderation", kyai)
    assert (why["id"], why["reason"]) == (decision, REASON)
    assert label.get("/me/moderation", label.person("Other", "artist")) == []


def test_a_release_that_is_taken_down_cannot_be_published_until_it_is_restored(label: Label) -> None:
    kyai, listener = label.person("Kyai", "artist"), label.listener()
    first, second = label.person("First", "operator"), label.person("Second", "operator")
    release = release_of(label, label.track(kyai))
    body = {"release_id": str(release), "ground": "wrongly-described", "text": ""}
    report = label.call("POST", "/moderation/reports", listener, body).json()["id"]
    decision = decided(label, first, report, ground="wrongly-described").json()["id"]
    assert label.get("/releases", listener)["items"] == []
    assert kind_of(label.call("POST", f"/releases/{release}/publish", kyai)) == (409, "taken-down")
    assert label.get(f"/releases/{release}", kyai)["taken_down"] == "hidden"
    assert appealed(label, kyai, decision).status_code == 201
    assert answered(label, second, decision, "restored").status_code == 201
    assert [each["id"] for each in label.get("/releases", listener)["items"]] == [str(release)]
    (told,) = published(label)
    assert told["appeal"]["outcome"] == "restored"
    assert "contract" not in json.dumps(told | {"appeal": None}), "what she wrote to the operators is not published"


def test_a_release_that_its_artist_had_withdrawn_is_restored_as_that(label: Label) -> None:
    kyai, listener = label.person("Kyai", "artist"), label.listener()
    first, second = label.person("First", "operator"), label.person("Second", "operator")
    release = release_of(label, label.track(kyai))
    body = {"release_id": str(release), "ground": "other", "text": "?"}
    report = label.call("POST", "/moderation/reports", listener, body).json()["id"]
    label.call("POST", f"/releases/{release}/withdraw", kyai)
    decision = decided(label, first, report, ground="other").json()["id"]
    appealed(label, kyai, decision)
    answered(label, second, decision, "restored")
    assert label.get(f"/releases/{release}", kyai)["state"] == "withdrawn"
    assert label.call("POST", f"/releases/{release}/publish", kyai).status_code == 200


def test_another_operator_decides_the_one_appeal_there_is(label: Label) -> None:
    kyai, stranger = label.person("Kyai", "artist"), label.person("Stranger", "artist")
    first, second = label.person("First", "operator"), label.person("Second", "operator")
    track = label.track(kyai)
    decision = taken_down(label, first, track)
    assert kind_of(answered(label, second, decision, "restored")) == (409, "nothing-to-appeal")
    assert kind_of(appealed(label, stranger, decision)) == (404, "not-found")
    assert appealed(label, kyai, decision).status_code == 201
    assert kind_of(appealed(label, kyai, decision)) == (409, "appealed-already")
    assert [each["decided_by_you"] for each in label.get("/moderation/appeals", first)] == [True]
    assert [each["decided_by_you"] for each in label.get("/moderation/appeals", second)] == [False]
    assert kind_of(answered(label, first, decision, "upheld")) == (403, "own-decision")
    assert answered(label, second, decision, "upheld").status_code == 201
    assert kind_of(answered(label, second, decision, "restored")) == (409, "nothing-to-appeal")
    assert kind_of(appealed(label, kyai, decision)) == (409, "appealed-already")
    assert label.call("GET", f"/tracks/{track}", first).status_code == 404
    assert label.get("/moderation/appeals", second) == []


def test_nobody_decides_about_her_own_music(label: Label) -> None:
    kyai, other = label.person("Kyai", "artist", "operator"), label.person("Op", "operator")
    track = label.track(kyai)
    report = reported(label, label.person("Ann"), track).json()["id"]
    assert kind_of(decided(label, kyai, report, "dismissed")) == (403, "own-music")
    decision = decided(label, other, report).json()["id"]
    appealed(label, kyai, decision)
    assert kind_of(answered(label, kyai, decision, "restored")) == (403, "own-music")


def test_a_takedown_answers_every_report_of_the_same_and_a_dismissal_its_own(label: Label) -> None:
    kyai, operator = label.person("Kyai", "artist"), label.person("Op", "operator")
    track, other = label.track(kyai), label.track(kyai, "Sore")
    first, second, third = (reported(label, label.person(f"{n}"), track).json()["id"] for n in range(3))
    elsewhere = reported(label, label.person("Ann"), other).json()["id"]
    decided(label, operator, first, "dismissed")
    assert [each["id"] for each in label.get("/moderation/reports", operator)] == [second, third, elsewhere]
    decided(label, operator, second)
    assert [each["id"] for each in label.get("/moderation/reports", operator)] == [elsewhere]
    assert kind_of(decided(label, operator, third)) == (409, "report-answered")
    assert kind_of(decided(label, operator, str(uuid4()))) == (404, "not-found")


def test_taking_a_release_down_answers_reports_of_its_tracks_and_dismissing_one_of_it_does_not(label: Label) -> None:
    kyai, operator = label.person("Kyai", "artist"), label.person("Op", "operator")
    track = label.track(kyai)
    of_track = reported(label, label.person("Ann"), track).json()["id"]
    release = {"release_id": str(release_of(label, track)), "ground": "unlawful"}
    first, second = (
        label.call("POST", "/moderation/reports", label.person(name), release).json()["id"] for name in ("Ben", "Cem")
    )
    decided(label, operator, first, "dismissed")
    assert [each["id"] for each in label.get("/moderation/reports", operator)] == [of_track, second]
    decided(label, operator, second)
    assert label.get("/moderation/reports", operator) == []


def test_what_is_taken_down_is_not_taken_down_again(label: Label) -> None:
    kyai, operator = label.person("Kyai", "artist"), label.person("Op", "operator")
    track = label.track(kyai)
    report = reported(label, label.person("Ann"), track).json()["id"]
    taken_down(label, operator, track)
    assert kind_of(reported(label, kyai, track)) == (404, "not-found")
    # One that came in at the very moment is answered by itself.
    with transaction() as session:
        session.execute(update(Report).where(Report.id == UUID(report)).values(decision_id=None))
    assert kind_of(decided(label, operator, report)) == (409, "taken-down-already")
    assert decided(label, operator, report, "dismissed").status_code == 201


def test_open_reports_of_an_account_are_bounded_and_of_one_thing_there_is_one(
    label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "OPEN_REPORTS_MAX", 2)
    kyai, ann, operator = label.person("Kyai", "artist"), label.person("Ann"), label.person("Op", "operator")
    tracks = [label.track(kyai, f"{n}") for n in range(3)]
    first = reported(label, ann, tracks[0]).json()["id"]
    assert kind_of(reported(label, ann, tracks[0], "other")) == (409, "reported-already")
    assert reported(label, ann, tracks[1]).status_code == 201
    assert kind_of(reported(label, ann, tracks[2])) == (409, "too-many-reports")
    decided(label, operator, first, "dismissed")
    assert reported(label, ann, tracks[0]).status_code == 201


@pytest.mark.parametrize("about", [{}, {"track_id": str(uuid4()), "release_id": str(uuid4())}])
def test_a_report_is_of_one_thing(label: Label, about: dict[str, str]) -> None:
    answer = label.call("POST", "/moderation/reports", label.person("Ann"), {"ground": "other", "text": "", **about})
    assert kind_of(answer) == (400, "report-what")


def test_the_list_goes_on_page_by_page(label: Label) -> None:
    kyai, operator = label.person("Kyai", "artist"), label.person("Op", "operator")
    made = [taken_down(label, operator, label.track(kyai, f"{n}")) for n in range(3)]
    page = label.client.get("/api/v1/moderation?limit=2").json()
    assert [each["id"] for each in page["items"]] == [made[2], made[1]]
    rest = label.client.get(f"/api/v1/moderation?limit=2&cursor={page['next_cursor']}").json()
    assert ([each["id"] for each in rest["items"]], rest["next_cursor"]) == ([made[0]], None)


def test_whoever_erases_her_account_leaves_no_text_but_of_what_is_still_to_be_answered(label: Label) -> None:
    kyai, ann, operator = label.person("Kyai", "artist"), label.person("Ann"), label.person("Op", "operator")
    answered_, waiting = label.track(kyai, "1"), label.track(kyai, "2")
    decided(label, operator, reported(label, ann, answered_).json()["id"], "dismissed")
    reported(label, ann, waiting)
    decision = taken_down(label, operator, label.track(kyai, "3"))
    appealed(label, kyai, decision)
    with transaction() as session:
        service.forget(session, ann.user_id)
        service.forget(session, kyai.user_id)
    kept = label.rows("select reporter_id, text from coop.moderation_report where track_id = :t", t=answered_)
    assert [tuple(row) for row in kept] == [(None, "")]
    (report,) = label.get("/moderation/reports", operator)
    assert report["text"] == WHY
    decided(label, operator, report["id"], "dismissed")
    texts = "select count(*) from coop.moderation_report where reporter_id is null and text <> ''"
    assert label.rows(texts)[0][0] == 0
    appeals = "select appealed_by, appeal_text from coop.moderation_decision where appealed_at is not null"
    assert [tuple(row) for row in label.rows(appeals)] == [(None, "")]


def test_royalties_of_past_plays_are_paid_all_the_same(label: Label) -> None:
    kyai, listener, operator = label.person("Kyai", "artist"), label.listener(), label.person("Op", "operator")
    track, untouched = label.track(kyai), label.track(kyai, "Sore")
    for each in (track, untouched):
        label.play(listener, each, 2)
    taken_down(label, operator, track)
    label.close()
    royalty = {line["track_id"]: line["royalty_micro"] for line in label.lines(kyai)}
    assert royalty[str(track)] == royalty[str(untouched)] > 0
