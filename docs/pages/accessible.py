"""What a screen reader and a keyboard miss in the HTML that Sphinx and its theme write."""

from typing import Any

# Sphinx makes a caption of the navigation a heading and leaves out its level.
_CAPTION = 'class="caption" role="heading"'
# Long lines of code scroll, and a region that scrolls must be reachable without a mouse.
_CODE = '<div class="highlight"><pre>'


def complete(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Completes a page's attributes, once the theme has put the navigation into its context."""
    for part in ("body", "furo_navigation_tree"):
        if html := context.get(part):
            html = html.replace(_CAPTION, _CAPTION + ' aria-level="2"')
            context[part] = html.replace(_CODE, _CODE.replace("<pre>", '<pre tabindex="0">'))
