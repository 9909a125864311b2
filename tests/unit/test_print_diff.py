import io

from rich.console import Console

from dockwright.ui.terminal import print_diff

PATCH = """diff --git a/run.sh b/run.sh
index 1111111..2222222 100644
--- a/run.sh
+++ b/run.sh
@@ -1,2 +1,2 @@
\tkept
--- gone
+echo \x1b[2J\u202e\r
diff --git a/new b/new
"""


def test_a_patch_is_shown_whole_and_obeyed_nowhere() -> None:
    file = io.StringIO()
    print_diff(Console(file=file, width=20), PATCH)
    assert file.getvalue() == PATCH.replace("\x1b[2J\u202e\r", r"\x1b[2J\u202e\r").expandtabs(8)


def test_headings_hunks_and_changes_have_their_colours() -> None:
    file = io.StringIO()
    print_diff(Console(file=file, force_terminal=True, color_system="standard", _environ={}), PATCH)
    codes = [line[2:].partition("m")[0] if line.startswith("\x1b") else "" for line in file.getvalue().splitlines()]
    assert codes == ["1", "1", "1", "1", "36", "", "31", "32", "1"]
