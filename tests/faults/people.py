"""An agent that signs and a person who clicks, over real HTTP, who know that anything may be down. No Django in here."""

import json
import re
import time
import urllib.parse
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

import jwt

DOWN = (OSError, HTTPException)  # refused, cut off, no sense: nobody knows what the server has done
_DIGEST = re.compile(r'name="digest" value="([0-9a-f]{64})"')
_CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class _Visitor:
    """One kept connection; a failure closes it."""

    def __init__(self, port: int) -> None:
        self._host = f"localhost:{port}"
        self._connection = HTTPConnection("127.0.0.1", port, timeout=15)

    def leave(self) -> None:
        self._connection.close()

    def exchange(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[HTTPResponse, str]:
        """Raises one of DOWN."""
        try:
            self._connection.request(method, path, body, {"Host": self._host} | headers)
            answer = self._connection.getresponse()
            return answer, answer.read().decode()
        except DOWN:
            self._connection.close()
            raise


class Agent(_Visitor):
    """One of the owner's agents."""

    def __init__(self, port: int, *, agent_id: str, owner_id: str, key: str) -> None:
        super().__init__(port)
        self._claims = {"agent_id": agent_id, "owner_id": owner_id}
        self._key = key

    def ask(self, endpoint: str, data: object) -> str:
        """Submit a call until it is taken, and return the approval's id: the same call again is the same approval."""
        action = {"platform": "acme-chat", "scope": "chat:write", "method": "POST", "endpoint": endpoint, "data": data}
        while True:
            status, answer = self.request("POST", "/v1/actions", action)
            if status == 202:
                return str(answer["approval_id"])
            if status not in {0, 500, 502, 503}:
                raise AssertionError(f"{status}: {answer}")
            time.sleep(0.1)

    def poll(self, approval_id: str) -> dict[str, Any]:
        while True:
            status, answer = self.request("GET", f"/v1/approvals/{approval_id}")
            if status == 200:
                return answer
            time.sleep(0.1)

    def request(self, method: str, path: str, body: object = None, *, key: str = "") -> tuple[int, dict[str, Any]]:
        """Status and body; 0 when there was no answer. `key` is the agent's Idempotency-Key."""
        now = int(time.time())
        token = jwt.encode(self._claims | {"iat": now, "exp": now + 60}, self._key, algorithm="RS256")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        try:
            answer, text = self.exchange(method, path, None if body is None else json.dumps(body), headers)
            return answer.status, json.loads(text)
        except (*DOWN, ValueError):
            return 0, {}


class Person(_Visitor):
    """A member who is signed in, and clicks as the page's script does."""

    def __init__(self, port: int, *, email: str, cookies: dict[str, str] | None = None) -> None:
        super().__init__(port)
        self.email = email
        self._port = port
        self._cookies = dict(cookies or {})

    @classmethod
    def signed_in(cls, port: int, *, email: str, password: str) -> "Person":
        person = cls(port, email=email)
        while True:
            _, page = person._request("GET", "/sign-in")
            if found := _CSRF.search(page):
                form = {"csrfmiddlewaretoken": found[1], "email": email, "password": password, "next": ""}
                status, _ = person._request("POST", "/sign-in", form)
                if status in {302, 303}:
                    return person
            time.sleep(0.2)

    def in_another_window(self) -> "Person":
        """The same session over a connection of its own."""
        return Person(self._port, email=self.email, cookies=self._cookies)

    def digest_of(self, approval_id: str) -> str:
        """The digest on the call's page; "" when the call cannot be decided on any more."""
        while True:
            status, page = self._request("GET", f"/approvals/{approval_id}")
            if status == 200:
                found = _DIGEST.search(page)
                return found[1] if found else ""
            time.sleep(0.1)

    def decide(self, verb: str, approval_id: str, digest: str) -> int:
        """Click once. 200: it was recorded; 409: somebody was first; 0: no answer came; 500 and more: broken."""
        form = {"csrfmiddlewaretoken": self._cookies["agentvalet_csrf"], "digest": digest}
        status, _ = self._request("POST", f"/approvals/{approval_id}/{verb}", form, fragment=True)
        return status

    def _request(
        self, method: str, path: str, form: dict[str, str] | None = None, *, fragment: bool = False
    ) -> tuple[int, str]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if fragment:
            headers["X-Fragment"] = "1"
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            answer, text = self.exchange(method, path, urllib.parse.urlencode(form) if form else None, headers)
        except DOWN:
            return 0, ""
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return answer.status, text
