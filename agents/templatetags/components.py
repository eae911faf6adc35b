"""The head of a table, for every page that has one."""

from typing import Any

from django import template

register = template.Library()


@register.inclusion_tag("components/columns.html")
def columns(*names: str, hidden: str = "") -> dict[str, Any]:
    """The names of the columns; `hidden` is that of a last one of buttons, which is not shown."""
    return {"names": names, "hidden": hidden}
