"""Write: a whole file. What the file was before decides its BOM, its encoding and its CRLF line endings."""

from __future__ import annotations

import codecs

from pydantic import Field

from dockwright.tools.base import FilePath, Refused, Text, Tool, ToolContext, ToolResult
from dockwright.tools.diff import unified
from dockwright.tools.text_file import CURRENT, LARGEST, TextFile, digest, stat_to_change


class Write(Tool):
    """Write a file, new or replacing the one that is there. Folders on the way are made. Prefer Edit for a change of
    a file that exists."""

    file_path: FilePath
    content: Text = Field(description="The whole content of the file")

    async def run(self, ctx: ToolContext) -> ToolResult:
        path = ctx.resolve(self.file_path)
        found = await stat_to_change(ctx, path)
        if found and found.kind == "directory":
            raise Refused(f"{path} is a directory, not a file. Give the path of a file in it.")
        before = await ctx.sandbox.read(path, limit=LARGEST) if found else b""
        if found and ctx.seen.get(path, digest(before)) != digest(before):
            raise Refused(
                "File has been modified since read, either by the user or by a command. Read it again before "
                "attempting to write it."
            )
        after, kept_crlf = self._stored(before)
        await ctx.sandbox.write(path, after)
        ctx.seen[path] = digest(after)
        text = f"The file {path} has been updated successfully." if found else f"File created successfully at: {path}"
        note = " The file's CRLF line endings were kept." if kept_crlf else ""
        diff = unified(path, TextFile.parse(before).body, TextFile.parse(after).body)
        return ToolResult(f"{text} {CURRENT}{note}", details={"path": path, "diff": diff})

    def _stored(self, before: bytes) -> tuple[bytes, bool]:
        """The bytes to write, and whether line feeds became CRLF as in the file before."""
        old, body = TextFile.parse(before), self.content.encode()
        crlf = old.all_crlf and b"\n" in body and b"\r\n" not in body
        if crlf:
            body = body.replace(b"\n", b"\r\n")
        if old.bom:
            body = body.removeprefix(codecs.BOM_UTF8)
        return old.with_body(body).data(), crlf
