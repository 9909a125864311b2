"""What a persona hands back, as data: its Return Format becomes a tool, the call of that tool a typed result whose
claims are held against what the harness saw; prose, JSON and a page come from that one result.
"""

from dockwright.report.claims import judge
from dockwright.report.markdown import render_json, render_markdown
from dockwright.report.return_format import Question, Section, return_format
from dockwright.report.tool import Report, report_tool

__all__ = [
    "Question", "Report", "Section", "judge", "render_json", "render_markdown", "report_tool", "return_format",
]  # fmt: skip
