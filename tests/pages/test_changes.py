"""What changed against the last approved call of the same kind: which call that is, and what is said of it."""

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import changes
from approvals.binding import read_form
from approvals.models import ApprovalRequest
from platforms.models import Platform, Scope
from tests.pages.scene import Scene
from tests.world import make_connection, new_token

FRAGMENT = {"X-Fragment": "1"}
FIRST = "First call of this kind."


def made(scene: Scene, data: object = None, *, ago: int = 1, **change: Any) -> ApprovalRequest:
    """A call that was approved and made so many hours ago."""
    approval = scene.approve(scene.submit(data, **change))
    at = timezone.now() - timedelta(hours=ago)
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        execution_started_at=at, executed_at=at, result_status=200, result_json='{"status":200,"data":null}'
    )
    return approval


def shown(client: Client, approval: ApprovalRequest) -> tuple[list[str], str]:
    """The lines with their signs, and all of the words."""
    html = client.get(f"/approvals/{approval.pk}/changes", headers=FRAGMENT).content.decode()
    lines = re.findall(r'<div class="diff-line.*?<span aria-hidden="true">(.?)</span></span>(.*?)</div>', html)
    return [f"{sign}{words(rest)}" for sign, rest in lines], words(html)


def words(html: str) -> str:
    return unescape(re.sub("<[^>]+>", "", html))


def test_the_lines_that_went_and_came_stand_out_and_every_cut_is_marked(scene: Scene, admin: Client) -> None:
    same = {f"same{n}": n for n in range(5)}
    earlier = made(scene, {"to": "a", **same, "amount": 1.50, "gone": 1})
    now = scene.submit({"to": "b\u202e", **same, "amount": 1500})
    lines, _ = shown(admin, now)
    assert lines == [
        "…2 lines that did not change",
        "application/json",
        "{",
        '-  "to": "a",',
        '+  "to": "b⟦U+202E⟧",',
        '  "same0": 0,',
        '  "same1": 1,',
        "…1 line that did not change",
        '  "same3": 3,',
        '  "same4": 4,',
        '-  "amount": 1.5,',
        '-  "gone": 1',
        '+  "amount": 1500',
        "}",
    ]
    html = admin.get(f"/approvals/{now.pk}").content.decode()
    assert f'<a href="/approvals/{earlier.pk}">that call</a>' in html
    assert all(line.lstrip("-+…") in words(html) for line in lines)  # the page of the call has them, too


def test_only_a_call_of_the_same_kind_that_was_made_counts(scene: Scene, admin: Client) -> None:
    now = scene.submit({"n": 0}, endpoint="/api/items/7")
    assert FIRST in shown(admin, now)[1]
    scene.add_platform("bank", base_url="https://chat.example.com", connection="x", scopes={"pay": ["* /**"]})
    Scope.objects.create(platform=scene.platform, name="other", rules=["* /**"])
    second = make_connection(scene.platform, new_token(), label="Second", default=False)
    scene.approve(scene.submit({"n": 1}, endpoint="/api/items/7"))  # not made yet
    scene.lose(scene.submit({"n": 2}, endpoint="/api/items/7"))  # nobody knows
    made(scene, {"n": 3}, endpoint="/api/items/7", platform="bank", scope="pay")
    made(scene, {"n": 4}, endpoint="/api/items/7", agent=scene.add_agent("other bot"))
    made(scene, {"n": 5}, endpoint="/api/items/7", method="PUT")
    made(scene, {"n": 6}, endpoint="/api/people/7")
    made(scene, {"n": 7}, endpoint="/api/items/7", connection_id=second.pk)
    forged = made(scene, {"n": 8}, endpoint="/api/items/7")
    ApprovalRequest.objects.filter(pk=forged.pk).update(seal=b"x" * 32)
    assert FIRST in shown(admin, now)[1]
    made(scene, {"n": 9}, endpoint="/api/items/8", ago=9)
    assert '-  "n": 9' in shown(admin, now)[0]
    made(scene, {"n": 10}, endpoint="/api/items/8", ago=2)
    assert '-  "n": 10' in shown(admin, now)[0]  # the newest
    Scope.objects.filter(name="chat:write").update(rules=["* /api/*/*"])  # the scope's own pattern says what is alike
    assert '-  "n": 6' in shown(admin, now)[0]


def test_secrets_are_covered_and_a_changed_one_is_seen_to_have_changed(scene: Scene, admin: Client) -> None:
    made(scene, {"password": "old-secret", "n": 1})
    now = scene.submit({"password": "new-secret", "n": 1})
    lines, _ = shown(admin, now)
    assert [line for line in lines if line[0] in "-+"] == [
        '-  "password": masked, 10 characters"old-secret",',
        '+  "password": masked, 10 characters"new-secret",',
    ]
    html = admin.get(f"/approvals/{now.pk}/changes", headers=FRAGMENT).content.decode()
    assert html.count('<details class="masked"><summary>masked, 10 characters</summary>') == 2


def test_forms_and_texts_are_compared_too_and_a_comma_counts_there(scene: Scene, admin: Client) -> None:
    row = made(scene, {"n": 1})
    before, after = (replace(read_form(bytes(row.form)), content_type="text/plain", body=text) for text in ("1", "1,"))
    assert [change.sign for change in changes.compare(row, before, after).lines][-2:] == ["-", "+"]
    Platform.objects.update(body_kind="form")
    made(scene, {"to": "a", "note": "x"})
    lines, _ = shown(admin, scene.submit({"to": "a", "note": "x,"}))
    assert [line for line in lines if line[0] in "-+"] == ['-"note" = "x"', '+"note" = "x,"']


def test_what_cannot_be_compared_says_so(scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    long = made(scene, {"n": ["x"] * changes.MOST_COMPARED})
    now = scene.submit({"n": ["y"] * changes.MOST_COMPARED})
    assert "It is too long to be compared here." in shown(admin, now)[1]
    ApprovalRequest.objects.filter(pk=long.pk).delete()
    made(scene, {"n": 1})
    assert "No line of it differs." in shown(admin, scene.submit(text='{ "n" : 1 }'))[1]
    monkeypatch.setattr(changes, "LONGEST", 10)
    assert "None of the last 1 calls under this scope can be compared with it." in shown(admin, now)[1]
    ApprovalRequest.objects.filter(pk=now.pk).update(scope="chat:read")
    assert "This call cannot be compared." in shown(admin, now)[1]


def test_the_queue_computes_none_of_it_and_the_part_costs_the_same_for_any_number_of_calls(
    scene: Scene, admin: Client, stranger: Client
) -> None:
    path = f"/approvals/{scene.submit({'n': 0}).pk}/changes"

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(path, headers=FRAGMENT).status_code == 200
        return len(captured)

    made(scene, {"n": 1})
    queries()
    before = queries()
    for n in range(2, 6):
        made(scene, {"n": n}, endpoint="/api/elsewhere")
    assert queries() == before
    html = admin.get("/approvals").content.decode()
    assert f'href="{path}">What changed' in html
    assert "diff-line" not in html
    assert admin.get(path)["Location"] == f"{path.removesuffix('/changes')}#changes"
    assert [stranger.get(path, headers=headers).status_code for headers in ({}, FRAGMENT)] == [404, 404]
