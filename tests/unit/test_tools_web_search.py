"""WebSearch: the query is data, the results are strangers' text, and the filters hold whatever a backend does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

import pytest
from pydantic import ValidationError

from dockwright.errors import ToolError
from dockwright.sandbox import Sandbox
from dockwright.tools.base import SearchBackend, ToolContext, ToolResult
from dockwright.tools.web_search import ApiSearch, DdgsSearch, WebSearch


async def search(backend: SearchBackend | None, /, **fields: object) -> ToolResult:
    context = ToolContext(cast(Sandbox, None), search=backend)  # the one tool that acts outside of it
    return await WebSearch.model_validate({"query": "python asyncio", **fields}).run(context)


def found(hits: Sequence[Mapping[str, str]]) -> ApiSearch:
    async def ask(query: str, allowed: tuple[str, ...], blocked: tuple[str, ...]) -> Sequence[Mapping[str, object]]:
        return hits

    return ApiSearch(ask)


HITS = [
    {"title": "Docs", "url": "https://docs.python.org/3/library/asyncio.html", "text": "asyncio is a library"},
    {"title": "Blog", "url": "https://example.com/asyncio"},
    {"title": "Not the same", "url": "https://notpython.org/"},
    {"title": "Trick", "url": "https://evil.example/@python.org"},
    {"title": "Other scheme", "url": "javascript:alert(1)"},
    {"title": "No host", "url": "https:///x"},
    {"title": "Broken", "url": "https://[x"},
    {"title": "Endless", "url": "https://python.org/" + "x" * 2000},
]


async def test_links_then_words_then_what_to_do_with_them() -> None:
    result = await search(found(HITS[:2]))
    assert result.text == (
        'Web search results for query: "python asyncio"\n\n'
        'Links: [{"title": "Docs", "url": "https://docs.python.org/3/library/asyncio.html"}, '
        '{"title": "Blog", "url": "https://example.com/asyncio"}]\n\n'
        "- Docs: asyncio is a library\n\n"
        "Name the links that your answer rests on."
    )
    assert result.details == {"count": 2}


@pytest.mark.parametrize(
    ("fields", "hosts"),
    [
        ({}, ["docs.python.org", "example.com", "notpython.org", "evil.example"]),
        ({"allowed_domains": ["python.org"]}, ["docs.python.org"]),
        ({"allowed_domains": ["*.Python.org.", "example.com"]}, ["docs.python.org", "example.com"]),
        ({"blocked_domains": ["python.org"]}, ["example.com", "notpython.org", "evil.example"]),
        ({"allowed_domains": ["org.python"]}, []),
    ],
)
async def test_domains_are_those_of_the_links_hosts(fields: dict[str, object], hosts: list[str]) -> None:
    text = (await search(found(HITS), **fields)).text
    links = text.split("\n\n")[1]
    shown = json.loads(links.removeprefix("Links: ")) if links != "No links found." else []
    assert [link["url"].split("/")[2] for link in shown] == hosts


async def test_both_lists_together_are_refused() -> None:
    with pytest.raises(ToolError) as caught:
        await search(found(HITS), allowed_domains=["a.com"], blocked_domains=["b.com"])
    assert str(caught.value) == ("Error: Cannot specify both allowed_domains and blocked_domains in the same request")


async def test_what_comes_back_is_bounded_and_on_one_line_each() -> None:
    hit = {"title": "a\x1b[31m\nb" + "x" * 5000, "url": "https://a.com/", "text": "c\r\n\0d" + "y" * 5000}
    result = await search(found([hit] * 50))
    assert result.details == {"count": 10}
    assert len(result.text) < 12_000
    assert "\x1b" not in result.text
    assert "\n- a [31m bxxx" in result.text


@pytest.mark.parametrize("query", ["x", "a\nb", "a\x00b", "a\x85b", "x" * 401])
def test_a_query_is_short_text_without_control_characters(query: str) -> None:
    with pytest.raises(ValidationError):
        WebSearch(query=query)


@pytest.mark.parametrize("domain", ["", "a b", "https://a.com", "a.com/path", "user@a.com", "a..com", "a.com:80"])
def test_a_domain_is_a_name(domain: str) -> None:
    with pytest.raises(ValidationError):
        WebSearch(query="abc", blocked_domains=(domain,))


async def test_without_a_backend_it_says_so() -> None:
    with pytest.raises(ToolError, match=r"^WebSearch is unavailable: this run has no search backend\."):
        await search(None)


async def test_ddgs_that_cannot_be_reached_says_so_once() -> None:
    backend = DdgsSearch(seconds=10, proxy="http://127.0.0.1:9")
    with pytest.raises(ToolError, match=r"^Web search is unavailable: "):
        await search(backend)


async def test_the_apis_own_search_gets_the_domains_and_its_hits_are_filtered_again() -> None:
    asked = []

    async def ask(query: str, allowed: tuple[str, ...], blocked: tuple[str, ...]) -> Sequence[Mapping[str, object]]:
        asked.append((query, allowed, blocked))
        return [{"title": "A", "url": "https://a.com/", "page_age": None}, {"title": "B", "url": "https://b.com/"}]

    result = await search(ApiSearch(ask), blocked_domains=["b.com"])
    assert asked == [("python asyncio", (), ("b.com",))]
    assert 'Links: [{"title": "A", "url": "https://a.com/"}]\n' in result.text
