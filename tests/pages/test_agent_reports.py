"""What agents report of themselves: the bad news in the inbox, all of it under /agent-reports."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from audit.models import AuditEvent
from notifications.models import AgentReport, Severity
from tests.pages import asks
from tests.pages.scene import Scene
from tests.pages.test_inbox import CLEAR, page, press


@pytest.mark.parametrize("severity", Severity)
def test_bad_news_is_in_the_inbox_and_all_news_under_reports(scene: Scene, admin: Client, severity: Severity) -> None:
    asks.report(scene, "It is so.", severity=severity)
    assert ("It is so." in page(admin)) is (severity in {Severity.ERROR, Severity.CRITICAL})
    assert "It is so." in page(admin, "/agent-reports")


def test_the_inbox_has_the_latest_bad_news_of_each_agent_newest_first(scene: Scene, admin: Client) -> None:
    second = scene.add_agent("second")
    for text, agent in (("first news", scene.agent), ("second news", second), ("third news", scene.agent)):
        asks.report(scene, text, agent=agent)
    asks.report(scene, "no news", severity=Severity.INFO)
    html = page(admin)
    assert "first news" not in html
    assert "no news" not in html
    assert html.index("third news") < html.index("second news")
    assert ">2 waiting<" in html


def test_what_came_after_the_report_that_was_read_stays(scene: Scene, admin: Client) -> None:
    read = asks.report(scene, "old news")
    asks.report(scene, "fresh news")
    press(admin, "reports/{}/read", read)
    assert "fresh news" in page(admin)
    assert not AuditEvent.objects.filter(event="agent.report_read").exists()
    asks.report(scene, "fresher news")
    press(admin, "reports/{}/read", AgentReport.objects.get(message="fresher news"))
    assert CLEAR in page(admin)
    assert AuditEvent.objects.get(event="agent.report_read").actor_label == "admin@acme.example"


def test_reports_page_by_page(scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platforms.inbox_views.REPORTS_PER_PAGE", 3)
    now = timezone.now()
    for n in range(7):
        at = now - timedelta(seconds=n // 2)  # two at the same moment
        asks.report(scene, f"news {n}.", severity=Severity.INFO, now=at)
    seen: list[str] = []
    path: str | None = "/agent-reports"
    while path:
        html = page(admin, path)
        seen += re.findall(r"news \d\.", html)
        link = re.search(r'href="([^"]+)">Older<', html)
        path = link[1].replace("&amp;", "&") if link else None
    assert sorted(seen) == [f"news {n}." for n in range(7)]
    assert [int(text[5]) // 2 for text in seen] == [0, 0, 1, 1, 2, 2, 3]


def test_reports_of_one_agent(scene: Scene, admin: Client) -> None:
    asks.report(scene, "mine")
    asks.report(scene, "theirs", agent=scene.add_agent("second"))
    html = page(admin, f"/agent-reports?agent={scene.agent.pk}")
    assert "mine" in html
    assert "theirs" not in html


@pytest.mark.parametrize(
    "query",
    [
        "before=x", "before=_", "before=2026-01-01T00:00:00_x", "before=2026-01-01T00:00:00+00:00_", "before=%00",
        "before=9999-99-99_1", "agent=%00", "agent=agt_nobody", "agent=" + "x" * 3000,
        "before=0001-01-01T00:00:00%2B23:59_00000000-0000-4000-8000-000000000000",
        "before=9999-12-31T23:59:59-23:59_00000000-0000-4000-8000-000000000000",
    ],
)  # fmt: skip
def test_nonsense_in_the_address_is_no_error(scene: Scene, admin: Client, query: str) -> None:
    asks.report(scene)
    assert admin.get(f"/agent-reports?{query}").status_code == 200


def test_a_strangers_agent_does_not_filter(scene: Scene, stranger: Client) -> None:
    asks.report(scene, "mine")
    html = page(stranger, f"/agent-reports?agent={scene.agent.pk}")
    assert "mine" not in html
    assert "deploy-bot" not in html.split("<main", 1)[1]
