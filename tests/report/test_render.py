"""What a reader sees: the terminal, Markdown and the HTML file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from edgeopt.records.run import Run
from edgeopt.report import render
from edgeopt.report.blocks import Section
from edgeopt.report.sections import comparison, sections

HOSTILE = '<script>alert("x")</script>\x1b[31m[bold]$\\frac$ | `*'


def printed(parts: Iterable[Section], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    render.terminal(parts, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def hostile(run: Run) -> Run:
    """A run whose names all try to break out."""
    assert run.latency is not None
    layers = tuple(replace(layer, name=HOSTILE, type=HOSTILE) for layer in run.latency.layers)
    passes = tuple(replace(entry, name=HOSTILE) for entry in run.passes)
    fallbacks = tuple(replace(one, node=HOSTILE) for one in run.fallbacks)
    return replace(
        run,
        model=replace(run.model, name=HOSTILE),
        latency=replace(run.latency, layers=layers),
        passes=passes,
        fallbacks=fallbacks,
        warnings=(HOSTILE,),
        options={HOSTILE: HOSTILE},
    )


class Page(HTMLParser):
    """Collects tags, attributes and headings, and checks that tags are balanced."""

    VOID = frozenset({"meta", "br", "hr", "img", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)

    def values(self, attribute: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == attribute]


def test_terminal(run: Run, snapshot: SnapshotAssertion) -> None:
    assert printed(sections(run)) == snapshot


def test_terminal_follows_the_width(run: Run) -> None:
    for width in (60, 80, 120):
        assert max(map(len, printed(sections(run), width).splitlines())) <= width


def test_terminal_sends_no_codes_into_a_pipe(run: Run) -> None:
    assert "\x1b" not in printed(sections(run))
    assert "\x1b" not in printed(sections(hostile(run)))


def test_terminal_shows_names_as_they_are(run: Run) -> None:
    assert "[bold]$\\frac$" in printed(sections(hostile(run)), 200)


def test_terminal_cuts_long_tables(run: Run) -> None:
    many = replace(run, fallbacks=run.fallbacks * 50)
    assert "and 38 more" in printed(sections(many))


def test_markdown(run: Run, snapshot: SnapshotAssertion) -> None:
    assert render.markdown([*sections(run), comparison([run, run])]) == snapshot


def test_markdown_escapes_names(run: Run) -> None:
    text = render.markdown(sections(hostile(run)))
    assert "<script>" not in text.replace("\\<", "")
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") in (3, 4, 5, 6, 7, 8)


def test_html_has_every_section(run: Run) -> None:
    page = Page(render.html(sections(run)))
    assert page.headings == [section.title for section in sections(run)]
    assert page.tags.count("svg") == 3
    assert page.tags.count("h1") == 1


@pytest.mark.parametrize("change", [lambda run: run, hostile])
def test_html_is_self_contained(run: Run, change: Callable[[Run], Run]) -> None:
    text = render.html([*sections(change(run)), comparison([run, change(run)])])
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    references = [*page.values("href"), *page.values("src"), *page.values("xlink:href")]
    assert all(reference.startswith("#") for reference in references)
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(http" not in text


def test_html_ids_are_unique_and_references_resolve(run: Run) -> None:
    page = Page(render.html([*sections(run), comparison([run, run])]))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    targets = [value.removeprefix("#") for value in page.values("xlink:href")]
    targets += [value.removeprefix("url(#").removesuffix(")") for value in page.values("clip-path")]
    assert targets and set(targets) <= set(ids)


def test_html_is_readable_by_all(run: Run) -> None:
    page = Page(render.html(sections(run)))
    svgs = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert len(svgs) == 3 and all(svgs)
    assert ("html", "lang", "en") in page.attributes
    assert ("meta", "content", "width=device-width, initial-scale=1") in page.attributes
    assert set(page.values("aria-labeledby")) <= set(page.values("id"))


def test_html_is_the_same_each_time(run: Run) -> None:
    assert render.html(sections(run)) == render.html(sections(run))


def test_html_without_plots(run: Run) -> None:
    bare = replace(run, latency=None, error=None, passes=())
    assert Page(render.html(sections(bare))).tags.count("svg") == 0
