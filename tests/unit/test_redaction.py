"""Secrets become their names in whatever is written or shown, in each form that they take, whole or in pieces."""

from __future__ import annotations

import base64
import html
import itertools
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dockwright.errors import ConfigError
from dockwright.events import Answered, Event, Prompted, TextDelta, ToolFinished, ToolOutput, Usage
from dockwright.redaction import LiveRedaction, Redaction

SECRET = 'p4ss/w0rd+with "quotes" & ünïcode\\'
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": json.dumps,
    "json, not ascii": lambda text: json.dumps(text, ensure_ascii=False),
    "url": lambda text: quote(text, safe=""),
    "url, slashes kept": quote,
    "form": quote_plus,
    "html": html.escape,
    "hex": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 url": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_becomes_its_name_in_each_form(form: str) -> None:
    said = FORMS[form](SECRET)
    redacted = Redaction({"TOKEN": SECRET}).text(f"before {said} after")
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert "[TOKEN]" in redacted
    assert said.strip('"') not in redacted


@given(st.text(min_size=0, max_size=9), st.text(max_size=9), st.sampled_from(sorted(FORMS)))
def test_no_surroundings_hide_a_secret(before: str, after: str, form: str) -> None:
    secret = "correct-horse-battery-staple"
    whole = FORMS[form](before + secret + after)
    redacted = Redaction({"TOKEN": secret}).text(whole)
    assert "[TOKEN]" in redacted


@given(st.text(), st.text(st.characters(codec="utf-8"), min_size=6))
def test_text_without_a_secret_stays(text: str, secret: str) -> None:
    assume(len(secret.strip()) >= 6)
    redaction = Redaction({"TOKEN": secret})
    assume(not redaction.names_in(text.encode("utf-8", "surrogatepass")))
    assert redaction.text(text) == text


@given(st.lists(st.integers(0, 60), max_size=8))
def test_live_output_in_any_pieces_shows_no_secret_and_nothing_is_lost(cuts: list[int]) -> None:
    whole = f"a {SECRET} b {SECRET[:9]} c {SECRET}"
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    live = LiveRedaction(Redaction({"TOKEN": SECRET}))
    events: list[Event] = [ToolOutput(id="t", text=whole[a:b]) for a, b in itertools.pairwise(places)]
    end = ToolFinished(turn=1, id="t", name="Bash", content=whole, is_error=False, seconds=1)
    said = [seen for event in [*events, end] for seen in live(event)]
    shown = "".join(event.text for event in said if isinstance(event, ToolOutput))
    assert shown == f"a [TOKEN] b {SECRET[:9]} c [TOKEN]"
    assert said[-1] == end.model_copy(update={"content": shown})


def test_a_secret_that_begins_with_another_is_waited_for() -> None:
    live = LiveRedaction(Redaction({"A": "abcdefgh", "B": "abcdefghijkl"}))
    said = [seen for text in ("abcdefgh", "ijkl ", "abcdefgh", "!") for seen in live(ToolOutput(id="t", text=text))]
    assert "".join(event.text for event in said if isinstance(event, ToolOutput)) == "[B] [A]!"


def test_the_text_of_an_answer_is_redacted_in_pieces_and_as_a_whole() -> None:
    live = LiveRedaction(Redaction({"TOKEN": SECRET}))
    answered = Answered(
        turn=1, id="m", model="m", content=({"type": "text", "text": SECRET},), stop_reason="end_turn", usage=Usage(),
        cost=None, seconds=1,
    )  # fmt: skip
    pieces: list[Event] = [TextDelta(kind="text", text=piece) for piece in (SECRET[:5], SECRET[5:], SECRET[:3])]
    said = [seen for event in [*pieces, answered] for seen in live(event)]
    assert [event.text for event in said if isinstance(event, TextDelta)] == ["[TOKEN]", SECRET[:3]]
    assert said[-1] == answered.model_copy(update={"content": ({"type": "text", "text": "[TOKEN]"},)})


def test_every_field_of_an_event_is_looked_at_however_deep() -> None:
    event = ToolFinished(
        turn=1, id="t", name="Bash", content=({"type": "text", "text": SECRET},), is_error=False, seconds=1,
        details={"deep": [{SECRET: [SECRET, 1, None]}]},
    )  # fmt: skip
    redacted = Redaction({"TOKEN": SECRET}).event(event)
    assert SECRET not in json.dumps(redacted.model_dump(mode="json"), ensure_ascii=False)
    assert redacted.model_dump()["details"] == {"deep": [{"[TOKEN]": ["[TOKEN]", 1, None]}]}


def test_an_event_without_secrets_is_the_same_object() -> None:
    event = Prompted(content=({"type": "text", "text": "hello"},))
    assert Redaction({"TOKEN": SECRET}).event(event) is event


def test_the_lines_of_a_private_key_count_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END KEY-----\n"
    redaction = Redaction({"KEY": key})
    assert redaction.text("2: BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj") == "2: [KEY]"
    assert redaction.text(key) == "[KEY]\n"


def test_a_longer_secret_wins_over_one_that_it_begins_with() -> None:
    assert Redaction({"A": "abcdefgh", "B": "abcdefghijkl"}).text("abcdefghijkl abcdefgh") == "[B] [A]"


@pytest.mark.parametrize("secret", ["", "12345", "   a   "])
def test_a_secret_that_ordinary_text_holds_is_refused(secret: str) -> None:
    with pytest.raises(ConfigError, match="shorter than 6 characters"):
        Redaction({"PIN": secret})


def test_its_own_words_name_secrets_and_tell_none() -> None:
    assert repr(Redaction({"TOKEN": SECRET})) == "Redaction(TOKEN)"
