"""From a persona's Return Format to a tool whose call is the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dockwright.agent import load
from dockwright.errors import ToolError
from dockwright.report import Question, Section, report_tool, return_format
from dockwright.tools.base import validation_error_text

SHIPPED = Path(__file__).parents[2] / "agents" / "backend-engineer.md"


def test_the_backend_engineers_return_format_is_the_agreed_one() -> None:
    fmt = return_format(load(SHIPPED).prompt)
    assert {section.name: " · ".join(field.name for field in section.fields) for section in fmt} == {
        "API ARCHITECTURE": "Framework Choice · API Style · Authentication · Documentation · Versioning Strategy",
        "DATABASE DESIGN": (
            "Database Choice · Schema Design · Indexing Strategy · Migration Approach · Backup Strategy"
        ),
        "SERVICE ARCHITECTURE": (
            "Architecture Pattern · Service Communication · Data Consistency · Service Discovery · Deployment Strategy"
        ),
        "PERFORMANCE OPTIMIZATION": (
            "Caching Strategy · Async Processing · Database Optimization · Resource Management · Monitoring"
        ),
        "SECURITY IMPLEMENTATION": (
            "Input Validation · Authentication Flow · Authorization Model · Data Protection · Security Headers"
        ),
        "TESTING STRATEGY": "Unit Testing · Integration Testing · Performance Testing · Security Testing",
        "DEPLOYMENT & OPERATIONS": (
            "Containerization · CI/CD Pipeline · Environment Management · Monitoring & Logging · Scaling Strategy"
        ),
    }
    assert all(field.hint and not field.hint.startswith("[") for section in fmt for field in section.fields)


PLAIN = (
    Section("API", (Question("Style", "REST or not"), Question("Routes"))),
    Section("DATA", (Question("Engine"),)),
)
SECTIONS = "API:\n- Style: [REST or not]\n- Routes:\n\nDATA:\n- Engine\n"


@pytest.mark.parametrize(
    "prompt",
    [
        f"## Return Format\n\n```\n{SECTIONS}```\n",
        f"# You\n### Output format (required)\nText first.\n```text\n{SECTIONS.replace('-', '*')}```",
        f"## Output Format\n```json\n{{}}\n```\n### Details\n```\n{SECTIONS}```",
        f"```\n## Return Format\n```\n## Return Format\n```\n{SECTIONS}```",
        f"## Return Format\n```\n{SECTIONS}API:\n- Routes\n```",
        f"## Return Format\r\n```\r\n{SECTIONS}```\r\n".replace("\n", "\r\n"),
        "**Return Format**\n~~~\n## API\n- **Style**: REST or not\n- **Routes:**\n## DATA ##\n- Engine\n~~~",
        "**Response Structure:**\n```\nAPI:\n- Style: [REST\n  or not]\n- Routes:\nDATA:\n- Engine:\n```",
        "Return it in this format:\n````\n**API**\n1. Style [REST or not]\n2. Routes\n**DATA:**\n- `Engine`\n````",
        "## Report format\n```\n1. API:\n- Style: [REST or not]\n- Routes\n2. DATA:\n- Engine\n```",
    ],
)
def test_a_return_format_is_found_in_the_ways_people_write_it(prompt: str) -> None:
    assert return_format(prompt) == PLAIN


def test_a_section_without_fields_is_asked_for_as_a_whole() -> None:
    prompt = "## Output format\n```\n# Review\n## Verdict\n[ship it or not,\nand why]\nRISKS:\nNOTES: [anything]\n```"
    assert return_format(prompt) == (
        Section("Verdict", (Question("Verdict", "ship it or not, and why"),)),
        Section("RISKS", (Question("RISKS"),)),
        Section("NOTES", (Question("NOTES", "anything"),)),
    )


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "## Return Format\nJust tell me.",
        "## Example\n```\nAPI:\n- Style: x\n```",
        '## Return Format\n```json\n{"status": "ok"}\n```',
        "## Return Format\nFree text.\n## Example\n```\nAPI:\n- Style: x\n```",
    ],
)
def test_a_persona_may_have_no_return_format(prompt: str) -> None:
    assert return_format(prompt) == ()


def test_the_tool_asks_for_each_section_and_field() -> None:
    text = {"type": "string"}
    assert report_tool(PLAIN).offer()["input_schema"] == {
        "type": "object",
        "additionalProperties": False,
        "required": ["summary", "api", "data"],
        "properties": {
            "summary": {
                **text,
                "minLength": 1,
                "description": "What was done and what came of it, in two to five plain sentences.",
            },
            "api": {
                "type": "object",
                "description": "API",
                "additionalProperties": False,
                "required": ["style", "routes"],
                "properties": {
                    "style": {**text, "description": "REST or not"},
                    "routes": {**text, "description": "Routes"},
                },
            },
            "data": {
                "type": "object",
                "description": "DATA",
                "additionalProperties": False,
                "required": ["engine"],
                "properties": {"engine": {**text, "description": "Engine"}},
            },
        },
    }
    assert report_tool(PLAIN).offer()["name"] == report_tool(()).offer()["name"] == "SubmitReport"


def _submit(fmt: tuple[Section, ...], **answers: Any) -> Any:
    return report_tool(fmt).model_validate(answers).named()


def test_a_report_comes_back_in_the_personas_names_and_order() -> None:
    report = _submit(PLAIN, data={"engine": "SQLite"}, api={"routes": "/orders", "style": "REST"}, summary="Done.")
    assert report == {
        "summary": "Done.",
        "sections": {"API": {"Style": "REST", "Routes": "/orders"}, "DATA": {"Engine": "SQLite"}},
    }
    assert list(report["sections"]["API"]) == ["Style", "Routes"]


def test_without_a_return_format_the_changes_are_asked_for() -> None:
    assert _submit((), summary="Done.", changes=["a.py: new", "b.py: gone"]) == {
        "summary": "Done.",
        "sections": {"CHANGES": {"1": "a.py: new", "2": "b.py: gone"}},
    }
    assert _submit((), summary="Nothing to do.", changes=[]) == {"summary": "Nothing to do.", "sections": {}}


def test_missing_and_unknown_fields_are_named() -> None:
    with pytest.raises(ValidationError) as caught:
        _submit(PLAIN, summary="", api={"style": "REST", "colour": "red"})
    assert validation_error_text("SubmitReport", caught.value).split("\n") == [
        "InputValidationError: SubmitReport failed due to the following issue(s):",
        "The parameter `summary` was not accepted: String should have at least 1 character",
        "The required parameter `api.routes` is missing",
        "An unexpected parameter `api.colour` was provided",
        "The required parameter `data` is missing",
    ]


EMPTY = "is empty: say what was done, and in which files."


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", EMPTY),
        (" \n", EMPTY),
        ("...", EMPTY),
        ("-", EMPTY),
        ("[ ]", EMPTY),
        ("TBD", "is a placeholder (TBD): say what was done, or why it was not."),
        ("**todo**", "is a placeholder (**todo**): say what was done, or why it was not."),
        ("To be  determined.", "is a placeholder (To be determined.): say what was done, or why it was not."),
        ("TODO: write this", "is a placeholder (TODO: write this): say what was done, or why it was not."),
        ("<placeholder>", "is a placeholder (<placeholder>): say what was done, or why it was not."),
        ("N/A", "says only N/A: add the reason."),
        ("not applicable.", "says only not applicable.: add the reason."),
        ("None", "says only None: add the reason."),
        ("[REST or not]", "repeats the question: answer it."),
        ("rest  OR not", "repeats the question: answer it."),
    ],
)
def test_a_placeholder_is_refused_by_field(answer: str, fault: str) -> None:
    with pytest.raises(ToolError) as caught:
        _submit(PLAIN, summary="Done.", api={"style": answer, "routes": "tba"}, data={"engine": "PostgreSQL"})
    assert str(caught.value).split("\n") == [
        "The report was not taken. Correct these fields and submit it again:",
        f"- api.style {fault}",
        "- api.routes is a placeholder (tba): say what was done, or why it was not.",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        "N/A: one process, nothing to discover",
        "Todo items live in the table todos",
        "TODO endpoints are under /todos",
        "None: SQLite has no pool",
        "REST",
        "0",
    ],
)
def test_a_short_or_negative_answer_with_a_reason_is_taken(answer: str) -> None:
    report = _submit(PLAIN, summary=answer, api={"style": answer, "routes": answer}, data={"engine": answer})
    assert report["sections"] == {"API": {"Style": answer, "Routes": answer}, "DATA": {"Engine": answer}}


def test_placeholders_are_refused_in_the_summary_and_in_changes_too() -> None:
    with pytest.raises(ToolError) as caught:
        _submit((), summary="...", changes=["a.py: new", "tbd"])
    assert str(caught.value).split("\n")[1:] == [
        f"- summary {EMPTY}",
        "- changes.1 is a placeholder (tbd): say what was done, or why it was not.",
    ]


_names = st.text(min_size=1, max_size=80) | st.sampled_from(
    [
        "summary",
        "Schema",
        "model config",
        "Model Dump",
        "run",
        "offer",
        "copy",
        "format",
        "named",
        "class",
        "3D",
        "Ä",
        "_",
    ]
)
_sections = st.tuples(_names, st.lists(_names, min_size=1, max_size=3, unique=True))


@given(st.lists(_sections, min_size=1, max_size=4, unique_by=lambda section: section[0]))
def test_any_names_of_sections_and_fields_make_a_tool_the_api_takes(parts: list[tuple[str, list[str]]]) -> None:
    fmt = tuple(Section(name, tuple(map(Question, fields))) for name, fields in parts)
    schema: Any = report_tool(fmt).offer()["input_schema"]
    sections = {key: part["properties"] for key, part in schema["properties"].items() if key != "summary"}
    keys = [*sections, *(key for fields in sections.values() for key in fields)]
    assert all(key.isascii() and 0 < len(key) <= 64 and key.replace("_", "a").isalnum() for key in keys)
    answers = {key: {field: f"{key} {field}" for field in fields} for key, fields in sections.items()}
    named = _submit(fmt, summary="Done.", **answers)["sections"]
    assert [(name, list(fields)) for name, fields in named.items()] == parts
    assert [list(fields.values()) for fields in named.values()] == [
        list(fields.values()) for fields in answers.values()
    ]


@given(
    st.text()
    | st.lists(st.sampled_from(["## Return Format", "```", "API:", "- A: [b]", "- A", "**", "## ", "x"])).map("\n".join)
)
def test_any_prompt_has_a_return_format_that_makes_a_tool_or_none(prompt: str) -> None:
    report_tool(return_format(prompt))
