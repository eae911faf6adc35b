"""Where secrets stand in a GraphQL query: texts and numbers that are written into it under the name of one.

https://spec.graphql.org/October2021/#sec-Language. A name before a colon may be an alias as well; so nothing but
literals is ever taken for a secret, and no field can hide behind its alias.
"""

import re
from collections.abc import Iterator

from agents.masking import Secret
from agents.secret_names import is_secret

_IGNORED = r"(?:[\s,\ufeff]|#[^\n\r]*+)*+"
_BEGINS = re.compile(_IGNORED + r"(?:\{|(?:query|mutation|subscription|fragment)\b)")
# No lookaround under a possessive quantifier: Python 3.11.2 goes on after it where a last try has ended.
_TOKEN = re.compile(
    r'(?P<text>"""(?:"{0,2}(?:[^"\\]|\\.))*+(?:"""|\Z|.)|"(?:[^"\\\n\r]|\\.)*+"?|-?[0-9][\w.+-]*+)'
    rf"|(?P<name>\$?[A-Za-z_]\w*+)(?P<colon>{_IGNORED}:)?|#[^\n\r]*+|[\[\]{{}}()=!]",
    re.DOTALL,
)


MOST = 6_000  # literals: more than a page shows apart, and what follows is taken for one


def is_graphql(text: str) -> bool:
    return _BEGINS.match(text) is not None


def in_graphql(text: str) -> Iterator[Secret]:
    """In their order; from the `MOST`th on, all of the text is one. A default of a variable counts as its value."""
    if not is_graphql(text):
        return
    count = 0
    awaited, depth = "", 0  # what may follow a secret's name: its "value", or the "type" of a variable; lists it is in
    for found in _TOKEN.finditer(text):
        sign = found[0]
        if found["text"] is not None:
            if depth or awaited == "value":
                count += 1
                if count == MOST:
                    yield Secret(found.start(), len(text), len(text) - found.start())
                    return
                yield Secret(found.start(), found.end(), len(sign.strip('"')))
            awaited = ""
        elif depth:
            depth += (sign in {"[", "{"}) - (sign in {"]", "}"})
        elif found["colon"] and is_secret(found["name"]):
            awaited = "type" if sign.startswith("$") else "value"
        elif awaited == "value" and sign in {"[", "{"}:
            awaited, depth = "", 1
        elif awaited == "type" and sign == "=":
            awaited = "value"
        elif not sign.startswith("#") and not (awaited == "type" and (sign in {"[", "]", "!"} or sign[0].isalpha())):
            awaited = ""
