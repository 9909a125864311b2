"""A run that outgrows the model's window: seen on the wire, with a real sandbox."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.running import REPORT, WRITE, Desk

from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

SUMMARY, GO_ON = "It will go on from a summary", "Go on with what is left"
BIG = {"input_tokens": 180_000}


async def test_persona_task_notes_and_open_files_are_there_word_for_word(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (desk.repo / "CLAUDE.md").write_text("House rule: four spaces, never tabs.\n")
    (tmp_path / "config" / "dockwright").mkdir(parents=True)
    (tmp_path / "config" / "dockwright" / "config.toml").write_text("[model]\ncontext_window = 200_000\n")
    change = tool_use("Bash", {"command": "echo echo changed >> app.sh"})
    script = [Turn([WRITE]), Turn([change], usage=BIG)]
    words: dict[str, Turn | str] = {
        SUMMARY: "app.sh is written and was run.",
        "completed with no output": Turn([REPORT]),
        "was taken": "Done.",
    }
    async with ScriptedApi(script, to_words=words) as api:
        code, output = await desk.call(api, *desk.arguments("bubblewrap", "--check", "sh app.sh"))
        after = next(request.body for request in api.requests if "app.sh is written and was run." in str(request.body))
    assert (code, "summarised at 180k tokens" in output) == (0, True), output
    first = "\n".join(block["text"] for block in after["messages"][0]["content"])
    assert "House rule: four spaces, never tabs." in first
    assert "Write a program." in first
    assert "The file /workspace/app.sh as it is now:\necho hello\necho changed\n" in first
    assert after["system"][0]["text"].startswith("You write small programs.")
    assert [block["name"] for message in after["messages"] for block in message["content"] if "name" in block] == [
        "Write", "Bash",
    ]  # fmt: skip
