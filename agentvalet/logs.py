"""What is cut out of log lines: tokens that stand in a path, for Django logs the path of a request that failed."""

import logging
import re

# Whoever has the token of one of these may read an answer, or claim a key.
_TOKENS = re.compile(r"(/v1/(?:register/(?:status|stream|claim-key)|revoke-request/stream)/)[^\s?#\"'<>]+")


class CutTokens(logging.Formatter):
    """Formats a line, its traceback included, and cuts the tokens out of it."""

    def format(self, record: logging.LogRecord) -> str:
        return _TOKENS.sub(r"\1…", super().format(record))
