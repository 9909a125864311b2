"""Text from elsewhere on an HTML page: it neither becomes markup nor hides."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.adversarial import careless

from dockwright.ui import safe_html

HOSTILE = (
    "<script>alert(1)</script>", "'><img src=x onerror=alert(1)>", '" onmouseover="alert(1)', "--><script>",
    "</script><script>alert(1)</script>", "</title><svg/onload=alert(1)>", "&lt;script&gt;alert(1)&lt;/script&gt;",
)  # fmt: skip


class Seen(HTMLParser):
    """The elements and attributes that a browser makes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.data = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.data += data


def page(title: str) -> str:
    said = safe_html.text(title)
    return f"<h1 title='{said}'>{said}</h1><p title=\"{said}\">{said}</p>"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_no_element_and_no_attribute(text: str) -> None:
    seen = Seen(page(text))
    assert (seen.tags, seen.attributes, seen.data) == (["h1", "p"], ["title", "title"], 2 * text)


@pytest.mark.parametrize("text", HOSTILE)
def test_it_does_on_a_careless_page(text: str) -> None:
    seen = Seen(careless.page(text))
    assert (seen.tags, seen.attributes, seen.data) != (["h1", "p"], ["title", "title"], 2 * text)


@given(st.text())
def test_no_text_changes_what_a_page_is_made_of(text: str) -> None:
    seen = Seen(page(text))
    assert (seen.tags, seen.attributes) == (["h1", "p"], ["title", "title"])


@given(st.text(st.characters(codec=None)))
def test_what_a_page_shows_has_no_character_that_hides_or_reorders(text: str) -> None:
    said = safe_html.text(text)
    assert not set(said) & set("<>\"'\x00\x1b\u202e\u2066\u200b\ufeff\U000e0041\ud800\x7f\x9b")
    said.encode("utf-8")
