"""The report is handed in by a call like any other."""

from __future__ import annotations

from dockwright.events import JsonObject
from dockwright.report import report_tool
from dockwright.sandbox import Sandbox
from dockwright.tools.base import ToolContext, ToolResult


async def test_a_report_is_in_the_details_of_its_call(sandbox: Sandbox) -> None:
    call = report_tool(()).model_validate({"summary": "Done.", "changes": ["a.py: new"]})
    report: JsonObject = {"summary": "Done.", "sections": {"CHANGES": {"1": "a.py: new"}}}
    assert await call.run(ToolContext(sandbox)) == ToolResult(
        "The report was taken. End with a sentence or two.", details={"report": report}
    )
