"""What a screen reader and a keyboard miss in the HTML that Sphinx and its theme write."""

from typing import Any

# Sphinx makes a caption of the navigation a heading and leaves out its level.
_CAPTION = 'class="caption" role="heading"'
_COMPLETED = {
    _CAPTION: _CAPTION + ' aria-level="2"',
    # Long lines, wide tables and equations scroll: they must be reachable without a mouse.
    '<div class="highlight"><pre>': '<div class="highlight"><pre tabindex="0">',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    '<div class="math ': '<div tabindex="0" class="math ',
    '<pre style="': '<pre tabindex="0" style="',  # outputs of notebooks
    # A label that hides the text which one sees.
    ' aria-label="Toggle hidden content"': "",
}


def complete(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Completes a page's attributes, once the theme has put the navigation into its context."""
    for part in ("body", "furo_navigation_tree"):
        if html := context.get(part):
            for old, new in _COMPLETED.items():
                html = html.replace(old, new)
            context[part] = html
