"""The tools by name. Adding one is its own file, one line here, and its test."""
