"""`kill -9` at every named point: what survives ends the row as it must end, and the platform is called at most once.

A process is killed at each point in turn; then the survivors have the length of a lease to end all rows.
"""

import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from crash_points import Point
from tests.faults.people import Agent, Person
from tests.faults.site import MARGIN, TIMEOUT, WORKERS, Site
from tests.faults.storm import storm
from tests.runtime.installation import eventually

pytestmark = pytest.mark.services

SENT = ["approval.requested", "approval.approved", "approval.sending", "approval.executed"]
UNKNOWN = [*SENT[:3], "approval.outcome_unknown"]
# Where it dies: how many requests the platform gets, and what is on record in the end.
ENDINGS: dict[Point, tuple[int, list[str]]] = {
    Point.BEFORE_WAKE_UP: (1, SENT),
    Point.BEFORE_CLAIM: (1, SENT),
    Point.BEFORE_INTENT_COMMIT: (1, SENT),
    Point.AFTER_CLAIM: (0, UNKNOWN),
    Point.BEFORE_SEND: (0, UNKNOWN),
    Point.MID_SEND: (0, UNKNOWN),
    Point.AFTER_RESPONSE: (1, UNKNOWN),
    Point.BEFORE_OUTCOME_COMMIT: (1, UNKNOWN),
    Point.AFTER_COMMIT: (1, SENT),
}
SHORT = {Point.BEFORE_WAKE_UP, Point.MID_SEND, Point.BEFORE_OUTCOME_COMMIT}  # what `make test` tries
SWEEPS = 8  # seconds: a lost message is sent again after 3, a sweep comes every 2, and machines are busy


def approved(person: Person, agent: Agent, endpoint: str = "/api/messages") -> tuple[str, int]:
    """A fresh call, and the status of the answer to its approval."""
    approval_id = agent.ask(endpoint, {"text": str(uuid4())})
    return approval_id, person.decide("approve", approval_id, person.digest_of(approval_id))


def die_at(site: Site, point: Point, person: Person, agent: Agent) -> str:
    """Have one call approved, and one process killed at the point; what was killed is started again."""
    approval_id = agent.ask("/api/messages", {"died at": point})
    site.arm(point, "" if point == Point.MID_SEND else approval_id)  # libcurl's callback knows no approvals
    status = person.decide("approve", approval_id, person.digest_of(approval_id))
    if point in {Point.BEFORE_WAKE_UP, Point.BEFORE_DECISION_COMMIT}:
        assert status == 0
        assert eventually(lambda: site.is_dead("web"))
    else:
        assert status == 200
        assert eventually(lambda: any(map(site.is_dead, WORKERS)))
    assert not site.is_armed(point)
    site.mend()
    return approval_id


@pytest.fixture(scope="module")
def dead(request: pytest.FixtureRequest, site: Site, person: Person, agent: Agent) -> dict[Point, str]:
    """One death after the other, at the points of the tests that will run; their rows end while others die."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    specs = [item.callspec for item in items if hasattr(item, "callspec")]
    chosen = [Point(str(spec.params["point"])) for spec in specs if "point" in spec.params]
    # A worker that dies takes its other calls along, so no call may be tried again while another waits for its death.
    # Mid-send comes first, as it is armed for any call.
    chosen.sort(key=lambda point: (ENDINGS[point][1] == SENT, point != Point.MID_SEND))
    dead = {}
    for point in chosen:
        dead[point] = die_at(site, point, person, agent)
        assert ENDINGS[point][1] != SENT or ended(site, dead[point])
    return dead


def sends(site: Site, approval_id: str) -> int:
    return sum(request["headers"].get("Idempotency-Key") == approval_id for request in site.platform.requests)


def events(site: Site, approval_id: str) -> list[str]:
    found = site.rows("SELECT event FROM audit_auditevent WHERE approval_id = %s ORDER BY seq", approval_id)
    return [event for (event,) in found]


def ended(site: Site, approval_id: str, *, patience: float = TIMEOUT + MARGIN + SWEEPS) -> bool:
    return eventually(
        lambda: site.rows(
            "SELECT 1 FROM approvals_approvalrequest WHERE id = %s AND executed_at IS NOT NULL", approval_id
        ),
        patience=patience,
    )


@pytest.mark.parametrize(
    "point", [point if point in SHORT else pytest.param(point, marks=pytest.mark.faults) for point in ENDINGS]
)
def test_a_process_killed_there_leaves_a_row_that_ends_as_it_must(
    site: Site, dead: dict[Point, str], agent: Agent, point: Point
) -> None:
    times, record = ENDINGS[point]
    approval_id = dead[point]
    assert ended(site, approval_id)
    assert sends(site, approval_id) == times
    assert events(site, approval_id) == record
    answer = agent.poll(approval_id)
    if record == UNKNOWN:
        assert answer["execution_error"].startswith("outcome unknown:")
    else:
        assert answer["result"]["status"] == 200


@pytest.mark.faults
def test_a_server_killed_before_a_decision_is_committed_has_not_decided(
    site: Site, person: Person, agent: Agent
) -> None:
    approval_id = die_at(site, Point.BEFORE_DECISION_COMMIT, person, agent)
    assert events(site, approval_id) == SENT[:1]
    assert eventually(lambda: person.decide("deny", approval_id, person.digest_of(approval_id)) == 200)
    assert events(site, approval_id) == ["approval.requested", "approval.denied"]
    assert sends(site, approval_id) == 0


@pytest.mark.faults
def test_a_worker_killed_while_the_platform_works_never_sends_again(site: Site, person: Person, agent: Agent) -> None:
    approval_id, status = approved(person, agent, "/slow/0.8")
    assert status == 200
    assert eventually(lambda: sends(site, approval_id) == 1)
    for name in WORKERS:  # one of them has it
        site.kill(name)
    site.mend()
    assert ended(site, approval_id)
    assert (sends(site, approval_id), events(site, approval_id)) == (1, UNKNOWN)


# Where the server dies in the middle of a direct call, and how many requests the platform got.
DIRECT = {Point.BEFORE_SEND: 0, Point.MID_SEND: 0, Point.AFTER_RESPONSE: 1, Point.BEFORE_OUTCOME_COMMIT: 1}


@pytest.mark.parametrize(
    "at", [at if at == Point.AFTER_RESPONSE else pytest.param(at, marks=pytest.mark.faults) for at in DIRECT]
)
def test_a_direct_call_that_was_cut_short_is_not_sent_again_under_its_key(site: Site, agent: Agent, at: Point) -> None:
    path, key = f"/direct/{at}", str(uuid4())
    call = {"platform": "acme-chat", "scope": "chat:post", "method": "POST", "endpoint": path, "data": {}}

    def send() -> tuple[int, str]:
        status, answer = agent.request("POST", "/v1/actions", call, key=key)
        return status, answer.get("code", "")

    site.arm(at, "")
    assert send() == (0, "")
    assert eventually(lambda: site.is_dead("web"))
    site.mend()
    assert eventually(lambda: send() == (502, "outcome_unknown"), patience=TIMEOUT + MARGIN + SWEEPS)
    assert send() == (502, "outcome_unknown")
    assert sum(request["path"] == path for request in site.platform.requests) == DIRECT[at]
    assert agent.request("POST", "/v1/actions", call, key=str(uuid4()))[0] == 200


def test_a_message_that_comes_six_times_is_one_call(site: Site, person: Person, agent: Agent) -> None:
    approval_id, _ = approved(person, agent, "/slow/0.3")
    again = "import sys, django; django.setup()\nfrom approvals.tasks import wake_worker\nfor _ in range(5): wake_worker(sys.argv[1])"
    site.run("-c", again, approval_id)
    assert ended(site, approval_id)
    with site.broker() as broker:
        assert eventually(lambda: broker.llen("celery") == 0)
    assert (sends(site, approval_id), events(site, approval_id)) == (1, SENT)


@pytest.fixture
def full_disk(site: Site) -> Iterator[Callable[[], None]]:
    """No row of the audit log can be written, until what is yielded is called."""

    def room() -> None:
        with site.postgres.connect(database="agentvalet") as server:
            server.execute("DROP FUNCTION IF EXISTS full_disk CASCADE")

    with site.postgres.connect(database="agentvalet") as server:
        server.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$"
        )
        server.execute("CREATE TRIGGER full_disk BEFORE INSERT ON audit_auditevent EXECUTE FUNCTION full_disk()")
    yield room
    room()


def test_what_cannot_be_put_on_record_is_not_decided(
    site: Site, person: Person, agent: Agent, request: pytest.FixtureRequest
) -> None:
    approval_id = agent.ask("/api/messages", {"text": "no room"})
    digest = person.digest_of(approval_id)
    request.getfixturevalue("full_disk")
    assert person.decide("approve", approval_id, digest) >= 500
    assert person.decide("deny", approval_id, digest) >= 500
    state = site.rows("SELECT decision, decided_at FROM approvals_approvalrequest WHERE id = %s", approval_id)
    assert state == [("pending", None)]
    assert sends(site, approval_id) == 0


@pytest.mark.faults
def test_what_cannot_be_put_on_record_is_not_sent_until_it_can(
    site: Site, person: Person, agent: Agent, request: pytest.FixtureRequest
) -> None:
    for name in WORKERS:
        site.kill(name)
    approval_id, status = approved(person, agent)
    assert status == 200
    room = request.getfixturevalue("full_disk")
    site.mend()
    assert site.is_whole()
    assert eventually(lambda: f"{Point.BEFORE_CLAIM} {approval_id}" in (site.points / "trace").read_text())
    time.sleep(0.5)  # the claim has failed by now; if it had not, the request would have left
    assert (sends(site, approval_id), events(site, approval_id)) == (0, SENT[:2])
    room()
    assert ended(site, approval_id)
    assert (sends(site, approval_id), events(site, approval_id)) == (1, SENT)


def test_a_few_random_kills_lose_nothing_and_double_nothing(site: Site) -> None:
    """The short form of `test_random_kills.py`; nobody waits here for what is left to expire."""
    account = storm(site, approvals=16, seed=1, calm=8, patience=30, threads=4)
    assert account.found["sends"] > 4
    assert account.holds, account


def test_nothing_is_stuck_and_the_chain_verifies(site: Site) -> None:
    assert eventually(
        lambda: (
            not site.rows(
                "SELECT id FROM approvals_approvalrequest WHERE decision = 'approved' AND executed_at IS NULL"
            )
        )
    )
    done = site.verify_audit()
    assert done.returncode == 0, done.stdout + done.stderr
