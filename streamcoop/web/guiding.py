"""The guide: how things go here, for listeners, artists, members and operators, as `guide/` has it in each language."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from fastapi import APIRouter, Request, Response
from markdown_it import MarkdownIt
from markupsafe import Markup

from streamcoop.errors import NotFound
from streamcoop.web import assets
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking

FOLDER = Path(__file__).with_name("guide")
CHAPTERS = ("listeners", "artists", "members", "operators")

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Chapter:
    """What one kind of people should know: its title, its first words, and all of it as HTML."""

    name: str
    title: str
    summary: str
    html: Markup


@cache
def chapter(code: str, name: str) -> Chapter:
    """A chapter in a language. Its pictures are the web app's own files."""
    markdown = MarkdownIt("commonmark", {"html": False})
    tokens = markdown.parse((FOLDER / code / f"{name}.md").read_text(encoding="utf-8"))
    title, summary, *_ = (token.content for token in tokens if token.type == "inline")
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                child.attrs["src"] = assets.address(f"guide/{PurePosixPath(str(child.attrs['src'])).name}")
    html = markdown.renderer.render(tokens, markdown.options, {})
    return Chapter(name, title, summary, Markup(html))  # noqa: S704  # ours, and it may hold no HTML of its own


@router.get("/guide")
def guide(request: Request, viewer: Looking) -> Response:
    """Its chapters."""
    chapters = [chapter(viewer.language.code, name) for name in CHAPTERS]
    return page(request, viewer, "guide.html", chapters=chapters)


@router.get("/guide/{name}")
def one(name: str, request: Request, viewer: Looking) -> Response:
    """A chapter."""
    if name not in CHAPTERS:
        raise NotFound
    return page(request, viewer, "guide_chapter.html", told=chapter(viewer.language.code, name))
