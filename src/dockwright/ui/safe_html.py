"""The one sanitiser of text for HTML pages: escaped for content and quoted attributes alike, what would be hidden or
reorder the line made visible. A page carries `CSP`, so that even a mistake runs nothing and loads nothing.
"""

from __future__ import annotations

import html

from dockwright.ui.visible import visible

# Styles stand in the page; whatever else a page would load or run is refused, forms and frames included.
CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def text(value: str) -> str:
    """For the content of an element or an attribute in quotes. Newlines and tabs stay; no character is obeyed."""
    return html.escape(visible(value), quote=True)
