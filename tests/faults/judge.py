"""What came of a storm, judged from the database, the platform's own log, what people were told, and the traces.

    python -m tests.faults.judge ANSWERS PLATFORM_LOG FOLDER

Runs in the environment of the installation, for its keys. Prints JSON: `found`, the counts, `violations`, how often each
thing was that must not be, and `details`, a sentence for each of those. FOLDER holds `kills.jsonl` and `crash-points/trace`.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.utils import timezone

django.setup()

from approvals.binding import Tampered, check_row, check_seal  # noqa: E402 - models load after setup
from approvals.models import ApprovalRequest, Decision  # noqa: E402
from audit.models import AuditEvent  # noqa: E402
from audit.verify import verify_owner  # noqa: E402
from crash_points import Point  # noqa: E402

RECORDED = {("approve", 200): Decision.APPROVED, ("deny", 200): Decision.DENIED}
ENDS = {"approval.executed", "approval.failed", "approval.tampered", "approval.outcome_unknown"}

VIOLATIONS = (
    "duplicates",
    "stuck",
    "lost decisions",
    "sends without a valid decision",
    "unknowns without a cause",
    "outcomes that contradict the platform",
    "audit rows that are not the transitions",
    "chains that do not verify",
    "kinds that were hardly killed",
)
KINDS = ("web", "worker 1", "worker 2", "sweeper", "messenger", "beat 1", "beat 2", "valkey", "postgres")
APPROVALS_PER_KILL = 500  # of each kind, in a long storm
_NOTED_BEFORE = 0.5  # seconds: a kill is noted, then done
_UNANSWERED = {Point.AFTER_CLAIM, Point.BEFORE_SEND, Point.MID_SEND}


@dataclass
class Evidence:
    """Everything that was written down."""

    answers: list[dict[str, Any]]
    sends: Counter[str]
    kills: list[dict[str, Any]]
    passed: dict[str, list[tuple[float, int, str]]]  # by approval: when, which process, which point
    found: Counter[str] = field(default_factory=Counter)
    violations: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VIOLATIONS, 0))
    details: list[str] = field(default_factory=list)

    def violation(self, name: str, sentence: str) -> None:
        self.violations[name] += 1
        self.details.append(f"{name}: {sentence}")


def gather(answers: Path, platform_log: Path, folder: Path) -> Evidence:
    passed: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for line in (folder / "crash-points" / "trace").read_text().splitlines():
        at, pid, point, subject = line.split(" ", 3)
        passed[subject].append((float(at), int(pid), point))
    return Evidence(
        answers=list(_lines(answers)),
        sends=Counter(request["headers"].get("Idempotency-Key", "") for request in _lines(platform_log)),
        kills=list(_lines(folder / "kills.jsonl")),
        passed=passed,
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, path.read_text().splitlines())


def judge(evidence: Evidence) -> None:
    asked = {line["approval_id"] for line in evidence.answers if "kind" in line}
    rows = {str(row.pk): row for row in ApprovalRequest.objects.filter(pk__in=asked)}
    found = evidence.found
    found["approvals"] = len(rows)
    found.update({str(decision): 0 for decision in Decision})
    found.update(Counter(str(row.decision) for row in rows.values()))
    found["sends"] = evidence.sends.total()
    found["unknown outcomes"] = 0
    for lost in asked - rows.keys():
        evidence.violation("lost decisions", f"{lost} was accepted and is not there")
    for approval_id, times in evidence.sends.items():
        if times > 1:
            evidence.violation("duplicates", f"{approval_id} was sent {times} times")
        row = ApprovalRequest.objects.filter(pk=approval_id).first() if approval_id else None
        if (why := _invalid(row)) is not None:
            evidence.violation("sends without a valid decision", f"{approval_id}: {why}")
    for approval_id, row in rows.items():
        _judge_row(evidence, approval_id, row)
    _judge_answers(evidence, rows)
    _judge_kills(evidence)
    for owner_id in {row.owner_id for row in rows.values()}:
        if not (verdict := verify_owner(owner_id=owner_id)).verifies:
            evidence.violation("chains that do not verify", str(verdict))


def _invalid(row: ApprovalRequest | None) -> str | None:
    if row is None or row.decision != Decision.APPROVED:
        return "nobody approved it"
    try:
        check_row(row)
        check_seal(row)
    except Tampered as error:
        return str(error)
    return None


def _judge_row(evidence: Evidence, approval_id: str, row: ApprovalRequest) -> None:
    overdue = row.decision == Decision.PENDING and row.expires_at <= timezone.now()
    if overdue or (row.decision == Decision.APPROVED and row.executed_at is None):
        evidence.violation("stuck", f"{approval_id} is {row.decision}")
    record = list(AuditEvent.objects.filter(approval_id=row.pk).order_by("seq"))
    events = [line.event for line in record if not line.metadata.get("late")]
    late = [number for number, line in enumerate(record) if line.metadata.get("late")]
    if late and (len(late) > 1 or "approval.outcome_unknown" not in [line.event for line in record[: late[0]]]):
        evidence.violation("audit rows that are not the transitions", f"{approval_id}: an answer that is not late")
    expected = ["approval.requested"]
    expected += [f"approval.{row.decision}"] if row.decided_at else []
    expected += ["approval.sending"] if row.execution_started_at else []
    if events[: len(expected)] != expected or (len(events) - len(expected) != (row.executed_at is not None)):
        evidence.violation("audit rows that are not the transitions", f"{approval_id}: {events}")
        return
    if row.executed_at is None:
        return
    end, sends = events[-1], evidence.sends[approval_id]
    if end not in ENDS or (end == "approval.executed") != (row.result_json is not None):
        evidence.violation("audit rows that are not the transitions", f"{approval_id}: {events}")
    if (end == "approval.executed" and sends != 1) or (end in {"approval.failed", "approval.tampered"} and sends):
        evidence.violation("outcomes that contradict the platform", f"{approval_id}: {end}, {sends} sends")
    evidence.found["failed, nothing sent"] += end == "approval.failed"
    if end == "approval.outcome_unknown":
        evidence.found["unknown outcomes"] += 1
        if (cause := _cause(evidence, approval_id, row)) is None:
            evidence.violation("unknowns without a cause", f"{approval_id}: {record[-1].reason}")
        else:
            evidence.found[f"of which by the end of a {cause}"] += 1


def _cause(evidence: Evidence, approval_id: str, row: ApprovalRequest) -> str | None:
    """What was killed between the intent and the commit of the outcome, if anything was.

    The process that had the call is the one that passed a point of it and never the last one. It must have been killed
    later than that; or it lives, and PostgreSQL was killed between the intent of this process and its outcome.
    """
    passed = evidence.passed[approval_id]
    if row.execution_started_at is None or any(point == Point.AFTER_COMMIT for _, _, point in passed):
        return None
    begun = row.execution_started_at.timestamp()
    ended = row.executed_at.timestamp() if row.executed_at is not None else 0.0
    # Before the claim everybody passes who was told of the row, also of one that somebody else has.
    last = max((line for line in passed if line[0] >= begun - 1 and line[2] != Point.BEFORE_CLAIM), default=None)
    for kill in evidence.kills:
        if last is None or not kill["name"].startswith("worker") or last[1] not in kill["pids"]:
            continue
        if last[0] <= kill["at"] <= ended:
            return "worker"
    if last is not None and _postgres_took_it(evidence.kills, passed, last, ended):
        return "postgres"
    return None


def _postgres_took_it(
    kills: list[dict[str, Any]], passed: list[tuple[float, int, str]], last: tuple[float, int, str], ended: float
) -> bool:
    """Whether it went while the process that had the call had something to commit, and would still have waited for it."""
    at, pid, point = last
    intents = [line[0] for line in passed if line[1] == pid and line[2] == Point.BEFORE_INTENT_COMMIT and line[0] <= at]
    if not intents:
        return False
    patience = settings.LEASE_MARGIN + (settings.APPROVED_TIMEOUT if point in _UNANSWERED else 0)
    since, until = max(intents) - _NOTED_BEFORE, min(ended, at + patience)
    return any(kill["name"] == "postgres" and since <= kill["at"] <= until for kill in kills)


def _judge_kills(evidence: Evidence) -> None:
    """A storm that hardly killed one of the kinds says nothing about it; a short one demands nothing.

    A process is killed once, however often that is noted, and a kill that hit nobody is none.
    """
    killed = Counter(name for name, pids in {(kill["name"], tuple(kill["pids"])) for kill in evidence.kills} if pids)
    least = evidence.found["approvals"] // APPROVALS_PER_KILL
    for name in KINDS:
        if killed[name] < least:
            evidence.violation("kinds that were hardly killed", f"{name}: {killed[name]} of {least}")


def _judge_answers(evidence: Evidence, rows: dict[str, ApprovalRequest]) -> None:
    """Whoever was told that the decision is recorded has to find it there."""
    evidence.found["decisions that people were told of"] = 0
    for line in evidence.answers:
        said = RECORDED.get((line.get("verb", ""), line.get("status", 0)))
        if said is None:
            continue
        evidence.found["decisions that people were told of"] += 1
        row = rows.get(line["approval_id"])
        if row is None:
            evidence.violation("lost decisions", f"{line['approval_id']} was decided on and is not there")
        elif row.decision != said or row.decided_by != line["by"]:
            evidence.violation(
                "lost decisions", f"{row.pk}: {line['by']} was told {said}, it is {row.decision} by {row.decided_by}"
            )


if __name__ == "__main__":
    evidence = gather(*map(Path, sys.argv[1:]))
    judge(evidence)
    sys.stdout.write(
        json.dumps({"found": evidence.found, "violations": evidence.violations, "details": evidence.details})
    )
