"""What the model is offered, and what it reads when a call does not fit the offer."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dockwright.errors import ToolError
from dockwright.tools import COMPANIONS, TOOLS
from dockwright.tools.base import Refused, ToolResult, error_result, validation_error_text

INPUTS = {
    "Read": "file_path*:string offset:integer limit:integer allow_large:boolean",
    "Write": "file_path*:string content*:string",
    "Edit": "file_path*:string old_string*:string new_string*:string replace_all:boolean",
    "MultiEdit": "file_path*:string edits*:array",
    "Bash": "command*:string timeout:number description:string run_in_background:boolean",
    "BashOutput": "bash_id*:string filter:string",
    "KillShell": "shell_id*:string",
    "Grep": "pattern*:string path:string glob:string output_mode:string -A:integer -B:integer -C:integer "
    "context:integer -n:boolean -i:boolean -o:boolean type:string head_limit:integer offset:integer multiline:boolean",
    "Glob": "pattern*:string path:string",
    "WebSearch": "query*:string allowed_domains:array blocked_domains:array",
}


def test_inputs_are_those_of_claude_code() -> None:
    found = {}
    for name, tool in TOOLS.items():
        schema = tool.offer()["input_schema"]
        assert isinstance(schema, dict)
        assert (schema["type"], schema["additionalProperties"]) == ("object", False)
        fields, required = schema["properties"], schema["required"]
        assert isinstance(fields, dict)
        assert isinstance(required, list)
        found[name] = " ".join(
            f"{field}{'*' if field in required else ''}:{of['type']}"
            for field, of in fields.items()
            if isinstance(of, dict)
        )
    assert found == INPUTS


def test_an_offer_is_a_plain_schema() -> None:
    assert TOOLS["MultiEdit"].offer()["input_schema"] == {
        "type": "object",
        "additionalProperties": False,
        "required": ["file_path", "edits"],
        "properties": {
            "file_path": {"type": "string", "description": "Path of the file, absolute or from the current directory"},
            "edits": {
                "type": "array",
                "minItems": 1,
                "description": "What to replace, in this order",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["old_string", "new_string"],
                    "properties": {
                        "old_string": {
                            "type": "string",
                            "description": "The text to replace, exactly as the file has it, without line numbers",
                        },
                        "new_string": {"type": "string", "description": "The text to put in its place"},
                        "replace_all": {
                            "type": "boolean",
                            "default": False,
                            "description": "Replace every occurrence, not the only one",
                        },
                    },
                },
            },
        },
    }


def test_every_field_and_every_tool_is_described_in_few_words() -> None:
    for name, tool in TOOLS.items():
        offer = tool.offer()
        assert offer["name"] == name
        assert isinstance(offer["description"], str)
        assert 40 < len(offer["description"]) < 600
        assert "description" not in str(offer["input_schema"]) or isinstance(offer["input_schema"], dict)


def test_bash_brings_what_its_background_commands_need() -> None:
    assert COMPANIONS == {"Bash": ("BashOutput", "KillShell")}


def test_strings_of_numbers_and_booleans_are_taken() -> None:
    found = TOOLS["Grep"].model_validate({"pattern": "x", "-A": "2", "-i": "true", "head_limit": "7", "-n": "false"})
    assert found.model_dump(exclude_defaults=True, by_alias=True) == {
        "pattern": "x", "-A": 2, "-i": True, "head_limit": 7, "-n": False,
    }  # fmt: skip


BAD = {
    "missing": ("Read", {}, "The required parameter `file_path` is missing"),
    "unexpected": ("Glob", {"pattern": "x", "foo": 1}, "An unexpected parameter `foo` was provided"),
    "array for string": (
        "Read",
        {"file_path": ["a"]},
        "The parameter `file_path` type is expected as `string` but provided as `array`",
    ),
    "word for number": (
        "Read",
        {"file_path": "a", "limit": "ten"},
        "The parameter `limit` type is expected as `integer` but provided as `string`",
    ),
    "object for boolean": (
        "Edit",
        {"file_path": "a", "old_string": "", "new_string": "", "replace_all": {}},
        "The parameter `replace_all` type is expected as `boolean` but provided as `object`",
    ),
    "null for string": (
        "Write",
        {"file_path": "a", "content": None},
        "The parameter `content` type is expected as `string` but provided as `null`",
    ),
    "inside an array": (
        "MultiEdit",
        {"file_path": "a", "edits": [{"old_string": "a"}]},
        "The required parameter `edits.0.new_string` is missing",
    ),
    "no known value": (
        "Grep",
        {"pattern": "x", "output_mode": "lines"},
        "The parameter `output_mode` was not accepted: Input should be 'content', 'files_with_matches' or 'count'",
    ),
    "too small": (
        "Read",
        {"file_path": "a", "offset": -1},
        "The parameter `offset` was not accepted: Input should be greater than or equal to 0",
    ),
    "too short": (
        "WebSearch",
        {"query": "x"},
        "The parameter `query` was not accepted: String should have at least 2 characters",
    ),
    "half a character": (
        "Write",
        {"file_path": "a", "content": "\ud800"},
        "The parameter `content` was not accepted: it holds half of a surrogate pair, which is no character",
    ),
}


@pytest.mark.parametrize(("name", "fields", "line"), BAD.values(), ids=BAD)
def test_bad_input_is_told_in_one_line(name: str, fields: dict[str, object], line: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TOOLS[name].model_validate(fields)
    text = f"InputValidationError: {name} failed due to the following issue(s):\n{line}"
    assert validation_error_text(name, caught.value) == text
    assert error_result(caught.value) == ToolResult(f"<tool_use_error>{text}</tool_use_error>", is_error=True)


def test_each_field_has_its_line() -> None:
    with pytest.raises(ValidationError) as caught:
        TOOLS["Edit"].model_validate({"old_string": 1, "more": 2})
    assert validation_error_text("Edit", caught.value).split("\n")[1:] == [
        "The required parameter `file_path` is missing",
        "The parameter `old_string` type is expected as `string` but provided as `number`",
        "The required parameter `new_string` is missing",
        "An unexpected parameter `more` was provided",
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ToolError("did not work"), "did not work"),
        (Refused("not allowed"), "<tool_use_error>not allowed</tool_use_error>"),
        (Refused("No."), "<tool_use_error>No.</tool_use_error>"),
        (FileNotFoundError(2, "No such file", "/x"), "ENOENT: no such file or directory, '/x'"),
        (IsADirectoryError(21, "Is a directory"), "EISDIR: illegal operation on a directory"),
        (OSError(28, "full", "/workspace/a"), "ENOSPC: no space left on device, '/workspace/a'"),
    ],
)
def test_an_error_is_what_the_model_reads(error: ToolError | OSError, text: str) -> None:
    assert error_result(error) == ToolResult(text, is_error=True)
