"""Whether a covered call goes straight through or waits for a person."""

from enum import StrEnum

from platforms.coverage import Coverage


class Verdict(StrEnum):
    FORWARD = "forward"
    ASK = "ask"


def evaluate(coverage: Coverage) -> Verdict:
    """The grant's and the connection's `require_approval`, joined with "or"."""
    return Verdict.ASK if coverage.require_approval else Verdict.FORWARD
