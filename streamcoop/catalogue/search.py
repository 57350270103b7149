"""Finding things by words, a page at a time.

Names and titles are folded here (case, accents, punctuation) before they are stored and before they are asked for, so
that "bjork" finds "Björk" and PostgreSQL needs no extension. A query's words are each the beginning of a word wanted.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, any_, cast, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import Session, contains_eager, joinedload

from ledger.errors import DomainError
from streamcoop.catalogue.models import Artist, Release, Track
from streamcoop.problems import register

PAGE_SIZE = 50
PAGE_SIZE_MAX = 100
QUERY_LENGTH_MAX = 200
QUERY_WORDS_MAX = 10
CURSOR_LENGTH_MAX = 2_000
# A lexeme of a tsvector holds at most 2,046 bytes.
WORD_LENGTH_MAX = 500
# Artists are sorted by their words, and a B-tree's entry holds at most 2,704 bytes. Some characters fold to eighteen.
SORT_LENGTH_MAX = 600

_WORD = re.compile(r"[^\W_]+")
Row = TypeVar("Row")


class BadCursor(DomainError):
    """The cursor is not one that this list gave out: begin again without it."""


register({BadCursor: HTTPStatus.BAD_REQUEST})


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows of a list, and the cursor of what comes after them: None at the end."""

    items: list[Row]
    next_cursor: str | None


def fold(*texts: str) -> str:
    """The words of these texts as they are searched for: without case, accents and punctuation."""
    decomposed = unicodedata.normalize("NFKD", " ".join(texts).casefold())
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    words = _WORD.findall(unicodedata.normalize("NFKC", plain))
    if not words:  # A band may be called "!!!".
        words = ["".join(character for character in plain if character.isprintable()).replace(" ", "")]
    return " ".join(word[:WORD_LENGTH_MAX] for word in words)


def artist_words(name: str) -> str:
    """What an artist is found by and sorted by."""
    return fold(name)[:SORT_LENGTH_MAX].rstrip()


def artists(session: Session, q: str | None, cursor: str | None, limit: int) -> Page[Artist]:
    """Artists by name. Raises BadCursor."""
    found = select(Artist).where(*(Artist.search.op("@@")(query) for query in _queries(q)))
    if cursor is not None:
        words, id_ = opened(cursor, str, UUID)
        found = found.where(tuple_(Artist.words, Artist.id) > (words, id_))
    rows = session.scalars(found.order_by(Artist.words, Artist.id).limit(limit + 1)).all()
    return page_of(rows, limit, lambda artist: [artist.words, str(artist.id)])


def releases(
    session: Session, q: str | None, artist_id: UUID | None, genre: str | None, cursor: str | None, limit: int
) -> Page[Release]:
    """Published releases, newest first. Raises BadCursor."""
    found = select(Release).where(Release.state == "published", *_matching(Release, q))
    if artist_id is not None:
        found = found.where(Release.artist_id == artist_id)
    if genre is not None:
        found = found.where(func.lower(Release.genre) == genre.lower())
    if cursor is not None:
        published_at, id_ = opened(cursor, datetime, UUID)
        found = found.where(tuple_(Release.published_at, Release.id) < (published_at, id_))
    found = found.options(joinedload(Release.artist)).order_by(Release.published_at.desc(), Release.id.desc())
    rows = session.scalars(found.limit(limit + 1)).all()
    return page_of(rows, limit, lambda release: [release.published_at.isoformat(), str(release.id)])


def releases_of(
    session: Session, artist_id: UUID, viewer_id: UUID | None, cursor: str | None, limit: int
) -> Page[Release]:
    """An artist's releases, youngest first: the published ones, to the artist's owner all. Raises BadCursor."""
    visible: ColumnElement[bool] = Release.state == "published"
    if viewer_id is not None:
        visible = or_(visible, Artist.owner_id == viewer_id)
    found = select(Release).join(Release.artist).where(Release.artist_id == artist_id, visible)
    if cursor is not None:
        (id_,) = opened(cursor, UUID)
        found = found.where(Release.id < id_)
    found = found.options(joinedload(Release.artist)).order_by(Release.id.desc())
    rows = session.scalars(found.limit(limit + 1)).all()
    return page_of(rows, limit, lambda release: [str(release.id)])


def tracks(session: Session, q: str | None, cursor: str | None, limit: int) -> Page[Track]:
    """Tracks of published releases, youngest first. Raises BadCursor."""
    found = select(Track).join(Track.release)
    found = found.where(
        Release.state == "published", Track.state == "ready", Track.taken_down.is_(None), *_matching(Track, q)
    )
    if cursor is not None:
        (id_,) = opened(cursor, UUID)
        found = found.where(Track.id < id_)
    found = found.options(contains_eager(Track.release).joinedload(Release.artist)).order_by(Track.id.desc())
    rows = session.scalars(found.limit(limit + 1)).all()
    return page_of(rows, limit, lambda track: [str(track.id)])


def _matching(table: type[Release | Track], q: str | None) -> Iterator[ColumnElement[bool]]:
    """That each word of `q` is in the row itself or in the name of its artist.

    The name stands with the artist alone, so that changing it changes one row. Looked up as an array, it is one more
    condition that an index answers.
    """
    words = []
    for query in _queries(q):
        by_artist = select(Artist.id).where(Artist.search.op("@@")(query)).scalar_subquery()
        words.append(or_(table.search.op("@@")(query), table.artist_id == any_(func.array(by_artist))))
    if words:
        # By itself, so that a rare word is looked up and not waited for along the list's own order.
        found = select(table.id).where(*words).cte("found").prefix_with("materialized")
        yield table.id.in_(select(found.c.id))


def _queries(q: str | None) -> list[ColumnElement[str]]:
    """What is asked of a vector for each word."""
    words = fold(q or "").split()[:QUERY_WORDS_MAX]
    # Cast, not parsed by to_tsquery: the words are folded already. Only the quote and the backslash are special.
    quoted = (word.replace("\\", "\\\\").replace("'", "''") for word in words)
    return [cast(f"'{word}':*", TSQUERY) for word in quoted]


def page_of(rows: Sequence[Row], limit: int, key: Any) -> Page[Row]:
    """Of up to limit + 1 rows the first `limit`, where one more tells that the list goes on. `key` sorts a row."""
    items = list(rows[:limit])
    return Page(items, _sealed(key(items[-1])) if len(rows) > limit else None)


def _sealed(key: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def opened(cursor: str, *types: type) -> list[Any]:
    """The sort key in a cursor, each part of its type. Raises BadCursor."""
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if not isinstance(key, list) or len(key) != len(types) or not all(isinstance(part, str) for part in key):
            raise BadCursor
        return [_part(text, type_) for text, type_ in zip(key, types, strict=True)]
    except (ValueError, RecursionError, binascii.Error) as error:
        raise BadCursor from error


def _part(text: str, type_: type) -> Any:
    """One part of a sort key. Raises ValueError, also for what PostgreSQL could not hold."""
    if type_ is UUID:
        return UUID(text)
    if type_ is datetime:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise ValueError("an instant has a time zone")
        return instant
    if type_ is int:
        number = int(text)
        if number.bit_length() > 31:
            raise ValueError("PostgreSQL's integer has 32 bits")
        return number
    text.encode()  # no lone surrogates
    if "\0" in text:
        raise ValueError("PostgreSQL keeps no NUL")
    return text
