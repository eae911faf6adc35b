"""A person at the pages, over HTTP: signs in, reads forms, presses their buttons. Knows of addresses and forms only."""

import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

PATIENCE = 20.0


@dataclass
class Form:
    """A form, with the words of the list item, row or article around it."""

    action: str
    method: str
    fields: dict[str, str]
    words: str = ""


@dataclass
class Answer:
    status: int
    url: str
    text: str
    headers: dict[str, str] = field(default_factory=dict)


class _Reader(HTMLParser):
    AROUND = {"li", "tr", "article"}

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None
        self._around: list[tuple[list[Form], list[str]]] = [([], [])]
        self._name = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in self.AROUND:
            self._around.append(([], []))
        elif tag == "form":
            self._open = Form(given.get("action", ""), given.get("method", "get").upper(), {})
            self.forms.append(self._open)
            self._around[-1][0].append(self._open)
        elif tag in {"input", "button", "textarea", "select"} and self._open is not None and given.get("name"):
            kind = given.get("type", "text")
            if tag == "button" or (kind in {"checkbox", "radio"} and "checked" not in given):
                return
            self._open.fields[given["name"]] = given.get("value", "on" if kind == "checkbox" else "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag in self.AROUND and len(self._around) > 1:
            forms, words = self._around.pop()
            for form in forms:
                form.words = form.words or "".join(words)
            self._around[-1][1].extend(words)

    def handle_data(self, data: str) -> None:
        self._around[-1][1].append(data)


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


class Desk:
    """One browser session of one person."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._seen: dict[str, list[Form]] = {}
        self._password = ""
        self.cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self.cookies), _NoRedirect())

    def get(self, path: str) -> Answer:
        return self._send(Request(urljoin(self.url, path)))

    def submit(self, form: Form, **fields: str | list[str]) -> Answer:
        """Press the form's button, with FIELDS filled in."""
        about = form.action.rpartition("/")[0]
        for forms in self._seen.values():  # once pressed, the buttons beside it are out of date as well
            forms[:] = [other for other in forms if other.action.rpartition("/")[0] != about]
        body = urlencode(form.fields | fields, doseq=True).encode()
        answer = self._send(Request(urljoin(self.url, form.action), data=body))
        assert answer.status < 400, f"{answer.status} {answer.text[:2000]}"
        return self._confirmed(answer)

    def _confirmed(self, answer: Answer) -> Answer:
        """Say again who is there, where the page asks for that."""
        reader = _Reader()
        reader.feed(answer.text)
        asked = [form for form in reader.forms if "confirm_password" in form.fields]
        return self.submit(asked[0], confirm_password=self._password) if asked else answer

    def sign_in(self, *, email: str, password: str) -> None:
        self._password = password
        (form,) = [form for form in self.forms("/sign-in") if "password" in form.fields]
        answer = self.submit(form, email=email, password=password)
        assert answer.status == 302, answer.text

    def forms(self, path: str) -> list[Form]:
        answer = self.get(path)
        assert answer.status == 200, f"GET {path}: {answer.status} {answer.headers}"
        reader = _Reader()
        reader.feed(answer.text)
        self._seen[path] = reader.forms
        return reader.forms

    def form(self, path: str, *, about: str = "", ending: str, words: str = "", patience: float = PATIENCE) -> Form:
        """The one form whose action has ABOUT and ends so, among WORDS. Reads the page again until it is there."""
        deadline = time.monotonic() + patience
        forms = self._seen.get(path, [])
        while True:
            found = [
                form for form in forms if about in form.action and form.action.endswith(ending) and words in form.words
            ]
            if found or time.monotonic() > deadline:
                assert len(found) == 1, f"{len(found)} forms …{ending} with {words!r} on {path}: {forms}"
                return found[0]
            time.sleep(0.2)
            forms = self.forms(path)

    def approve(self, words: str) -> str:
        """Approve the call whose card has these words; its id."""
        form = self.form("/approvals", ending="/approve", words=words)
        self.submit(form)
        return form.action.split("/")[-2]

    def deny(self, words: str, *, reason: str = "") -> str:
        form = self.form("/approvals", ending="/deny", words=words)
        self.submit(form, reason=reason)
        return form.action.split("/")[-2]

    def _send(self, request: Request) -> Answer:
        try:
            with self._opener.open(request, timeout=20) as response:
                return Answer(response.status, response.url, response.read().decode(), dict(response.headers))
        except HTTPError as error:  # 3xx too: redirects are not followed
            with error:
                return Answer(error.code, error.url or "", error.read().decode(), dict(error.headers))
