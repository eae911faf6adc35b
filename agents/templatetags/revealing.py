"""Template filters for text that an agent had a hand in (`agents.reveal`)."""

from django import template
from django.utils.safestring import SafeString

from agents import masking
from agents import reveal as revealing

register = template.Library()


@register.filter
def reveal(text: object) -> SafeString:
    """Escaped, with everything hidden made visible."""
    return revealing.reveal_html(str(text))


@register.filter
def reveal_address(text: object) -> SafeString:
    """The same of a URL or a path with its query: the secrets among its parameters are behind words."""
    return masking.revealed(str(text), masking.in_address(str(text)))


@register.filter
def reveal_text(text: object) -> str:
    """The same without markup, for attributes."""
    return revealing.reveal(str(text))
