"""The report is handed in by a call like any other."""

from __future__ import annotations

from dockwright.claim import Evidence
from dockwright.events import JsonObject
from dockwright.report import report_tool
from dockwright.report.evidence import Ledger
from dockwright.sandbox import Sandbox
from dockwright.tools.base import ToolContext, ToolResult


async def test_a_report_is_in_the_details_of_its_call(sandbox: Sandbox) -> None:
    call = report_tool(()).model_validate({"summary": "Done.", "changes": ["a.py: new"]})
    report: JsonObject = {"summary": "Done.", "sections": {"CHANGES": {"1": "a.py: new"}}}
    assert await call.run(ToolContext(sandbox)) == ToolResult(
        "The report was taken. End with a sentence or two.", details={"report": report}
    )


async def test_what_was_run_and_says_the_opposite_is_told_while_it_can_still_be_mended(sandbox: Sandbox) -> None:
    await sandbox.write("/workspace/a.py", b"")
    ledger = Ledger(calls=[Evidence(id="e1", kind="call", name="pytest -q", failed=True, exit_code=2)])
    summary = "All tests pass [[pytest -q]]. It is new [[a.py]]."
    call = report_tool((), lambda: ledger).model_validate({"summary": summary, "changes": []})
    result = await call.run(ToolContext(sandbox))
    assert (result.is_error, "report" in result.details) == (False, True)
    assert result.text.splitlines()[1:] == [
        '- summary: "All tests pass": its evidence failed: pytest -q ended with exit code 2'
    ]
