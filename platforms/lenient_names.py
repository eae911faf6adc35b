"""Names of parameters and fields as lenient servers read them, where that decides what a call does.

PHP makes `_` of a space and a dot, and of a bracket that is not closed, drops spaces in front, and cuts at a NUL
(`php_register_variable_ex`): `.method` and `api key` arrive as `_method` and `api_key`. Other servers tell no capitals
apart, or take name[] for name.
"""

import re
from urllib.parse import unquote_plus

OTHER_METHOD = "_method"  # what many frameworks go by instead of the method of the request line
_UNDERSCORED = re.compile(r"[ .\[]")


def is_read_as(name: str, wanted: str) -> bool:
    """Whether some server takes a parameter of that name, decoded, for the one that is wanted."""
    return not _readings(name).isdisjoint(_readings(wanted))


def sets_parameter(query: str, wanted: str) -> bool:
    """Whether some server finds that parameter in the query of a URL, in which `;` divides as well."""
    names = (unquote_plus(pair.partition("=")[0]) for pair in re.split("[&;]", query))
    sought = _readings(wanted)
    return any(not sought.isdisjoint(_readings(name)) for name in names)


def _readings(name: str) -> frozenset[str]:
    plain = name.partition("\0")[0].strip().lower()
    return frozenset(_UNDERSCORED.sub("_", one) for one in (plain, plain.partition("[")[0].strip()))
