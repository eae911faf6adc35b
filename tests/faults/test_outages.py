"""What the processes stand on goes away and comes back; the platform hangs, or ends in the middle of its answer."""

import pytest

from tests.faults.people import Agent, Person
from tests.faults.site import WORKERS, Site
from tests.faults.test_crash_points import SENT, UNKNOWN, approved, ended, events, sends
from tests.runtime.installation import eventually

pytestmark = [pytest.mark.services, pytest.mark.faults]


def test_a_click_while_the_broker_is_lost_is_a_decision_and_runs_when_it_is_back(
    site: Site, person: Person, agent: Agent
) -> None:
    site.kill_valkey()
    approval_id, status = approved(person, agent)
    assert status == 200
    assert events(site, approval_id)[:2] == SENT[:2]
    site.valkey.start()
    assert ended(site, approval_id, patience=30)
    assert (sends(site, approval_id), events(site, approval_id)) == (1, SENT)


def test_a_broker_that_comes_back_empty_has_forgotten_nothing(site: Site, person: Person, agent: Agent) -> None:
    for name in WORKERS:
        site.kill(name)
    approval_id, status = approved(person, agent)
    assert status == 200
    site.kill_valkey()  # with the message in it
    site.valkey.start()
    site.mend()
    assert ended(site, approval_id, patience=30)
    assert (sends(site, approval_id), events(site, approval_id)) == (1, SENT)


def test_a_database_that_restarts_during_a_call_gets_its_answer(site: Site, person: Person, agent: Agent) -> None:
    assert site.is_whole()
    approval_id, _ = approved(person, agent, "/slow/0.6")
    assert eventually(lambda: sends(site, approval_id) == 1)
    site.shut_postgres_down_at_once()
    site.postgres.start()
    assert ended(site, approval_id)
    assert (sends(site, approval_id), events(site, approval_id)) == (1, SENT)


@pytest.mark.parametrize("endpoint", ["/cut", "/slow/5"], ids=["cuts its answer", "hangs"])
def test_a_platform_that_does_not_finish_is_called_once_and_the_outcome_unknown(
    site: Site, person: Person, agent: Agent, endpoint: str
) -> None:
    approval_id, _ = approved(person, agent, endpoint)
    assert ended(site, approval_id)
    assert (sends(site, approval_id), events(site, approval_id)) == (1, UNKNOWN)


def test_what_two_beats_remind_of_happens_once(site: Site, agent: Agent) -> None:
    assert not site.is_dead("beat 1")
    assert not site.is_dead("beat 2")
    approval_id = agent.ask("/api/messages", {"text": "nobody looks"})
    with site.postgres.connect(database="agentvalet") as server:
        server.execute("UPDATE approvals_approvalrequest SET expires_at = now() WHERE id = %s", [approval_id])
    assert eventually(lambda: events(site, approval_id) == ["approval.requested", "approval.expired"])


def test_without_any_beat_a_call_runs_and_with_one_again_nothing_is_left(
    site: Site, person: Person, agent: Agent
) -> None:
    for name in ("beat 1", "beat 2"):
        site.kill(name)
    approval_id, _ = approved(person, agent)
    assert ended(site, approval_id)
    waits = agent.ask("/api/messages", {"text": "waits for the sweep"})
    with site.postgres.connect(database="agentvalet") as server:
        server.execute("UPDATE approvals_approvalrequest SET expires_at = now() WHERE id = %s", [waits])
    site.mend()
    assert eventually(lambda: events(site, waits) == ["approval.requested", "approval.expired"], patience=30)


def test_afterwards_the_chain_verifies(site: Site) -> None:
    done = site.verify_audit()
    assert done.returncode == 0, done.stdout + done.stderr
