"""Secrets planted everywhere a secret lives: after every path has been run, none is anywhere that it must not be.

One installation of its own with logs at DEBUG, and a platform that repeats whatever it is sent.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import jwt
import pytest
import redis
import yaml

from agentvalet import embedded, keys
from tests.interop.desk import Answer, Desk, Form
from tests.runtime.canaries import Canaries, spellings
from tests.runtime.installation import eventually, manage
from tests.runtime.valet import Valet
from tests.world import private_key, public_key

pytestmark = pytest.mark.services

_FAKE = Path(__file__).parents[1] / "fakes" / "echoing_platform.py"
EMAIL = "owner@example.com"
CREDENTIALS = {
    "bearer": "cnry.Bearer+/0a7c51e49b2f_x==",
    "header": 'cnry&Header<"1b8d62f50ac3">',
    "query": "cnry Query/?2c9e73&061bd4=%+\u00e9",
    "basic": "robot:cnry:Basic/3d0f84172ce5+\u00fc",
}
ENDPOINTS = ("/ok", "/status/401", "/status/403", "/status/429", "/status/500", "/redirect", "/cut")


class Watched(Desk):
    """A person whose every answer is kept."""

    answers: dict[str, bytes]

    def _send(self, request: Any) -> Answer:
        answer = super()._send(request)
        keep(self.answers, f"{request.get_method()} {urlsplit(request.full_url).path}", answer.headers, answer.text)
        return answer


def keep(answers: dict[str, bytes], name: str, headers: dict[str, str], body: str) -> None:
    headers = {name: text for name, text in headers.items() if name.lower() != "set-cookie"}  # where sessions belong
    answers[f"answer {len(answers)} to {name}"] = f"{json.dumps(headers)}\n{body}".encode()


class Scene:
    """The installation, the secrets in it, and all that was seen of it from outside."""

    def __init__(self, valet: Valet, platform: str, log: Path) -> None:
        self.valet, self.platform, self.log = valet, platform, log
        self.canaries = Canaries()
        self.answers: dict[str, bytes] = {}
        self.outputs: dict[str, bytes] = {}
        self.allowed: dict[str, set[str]] = {}
        self.ids: dict[str, str] = {}
        self.owner_id = ""

    # --- what people and agents do

    def manage(self, *argv: str, **secrets: str) -> str:
        done = manage(*argv, env=self.valet.env | secrets)
        self.outputs[f"output {len(self.outputs)} of {argv[0]}"] = (done.stdout + done.stderr).encode()
        return done.stdout

    def provision(self, file: Any, **secrets: str) -> str:
        path = self.valet.top / "canaries.yaml"
        path.write_text(file if isinstance(file, str) else yaml.safe_dump(file))
        return self.manage("provision", str(path), **secrets)

    def token(self, agent: str) -> str:
        now = int(time.time())
        claims = {"agent_id": self.ids[agent], "owner_id": self.owner_id, "iat": now, "exp": now + 60}
        token = jwt.encode(claims, private_key(agent), algorithm="RS256")
        self.canaries.plant(f"assertion of {agent}", token.rpartition(".")[2])
        return token

    def call(self, method: str, path: str, body: Any = None, *, token: str = "", **headers: str) -> Any:
        given = {"Host": f"localhost:{self.valet.port}", "Content-Type": "application/json"} | headers
        if token:
            given["Authorization"] = f"Bearer {token}"
        connection = HTTPConnection("127.0.0.1", self.valet.port, timeout=30)
        try:
            text = body if isinstance(body, str | None) else json.dumps(body)
            connection.request(method, path, body=text and text.encode(), headers=given)
            response = connection.getresponse()
            content = response.read().decode()
            keep(self.answers, f"{method} {path}", dict(response.headers), content)
        finally:
            connection.close()
        try:
            return json.loads(content)
        except ValueError:
            return {}

    def act(self, kind: str, endpoint: str, *, method: str = "GET", **data: Any) -> Any:
        action = {"platform": f"p-{kind}", "scope": method.lower(), "method": method, "endpoint": endpoint}
        return self.call("POST", "/v1/actions", action | data, token=self.token("bot"))

    def queue(self, words: str, *, kind: str = "bearer", endpoint: str = "/ok") -> str:
        return str(self.act(kind, endpoint, method="POST", data={"text": words})["approval_id"])

    def poll(self, approval_id: str) -> Any:
        return self.call("GET", f"/v1/approvals/{approval_id}", token=self.token("bot"))

    def ended(self, approval_id: str) -> bool:
        return eventually(lambda: self.poll(approval_id).get("executed_at"), patience=30)

    def desk(self) -> Watched:
        desk = Watched(self.valet.url)
        desk.answers = self.answers
        return desk

    # --- what is left behind

    def database(self) -> bytes:
        """Every row of every table, as text."""
        with embedded.Postgres(data_dir=self.valet.data).connect(database="agentvalet") as connection:
            tables = connection.execute(
                "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            dump = b""
            for (table,) in tables:
                with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
                    dump += f"\n-- {table}\n".encode() + b"".join(bytes(part) for part in copy)
        return dump

    def broker(self) -> bytes:
        """Every key in Valkey, with what is under it."""
        client = redis.Redis.from_url(embedded.redis_url(self.valet.data))
        try:
            readers: dict[Any, Any] = {
                b"none": lambda _: b"",  # it has run out meanwhile
                b"string": client.get,
                b"list": lambda key: client.lrange(key, 0, -1),
                b"hash": client.hgetall,
                b"set": client.smembers,
                b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            }
            keys: Any = client.keys("*")
            return b"\n".join(key + repr(readers[client.type(key)](key)).encode() for key in keys)
        finally:
            client.close()

    def leftovers(self, moment: str) -> dict[str, bytes]:
        return {f"database {moment}": self.database(), f"broker {moment}": self.broker()}

    def logs(self) -> dict[str, bytes]:
        return {f"log {file.name}": file.read_bytes() for file in (self.valet.data / "log").iterdir()}

    def disk(self) -> dict[str, bytes]:
        """The files of the database with dead rows and write-ahead log. It must have been stopped."""
        cluster = embedded.Postgres(data_dir=self.valet.data)._cluster
        return {f"disk {file.relative_to(cluster)}": file.read_bytes() for file in cluster.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    log = tmp_path_factory.mktemp("echo") / "requests.jsonl"
    log.touch()
    valet = Valet()
    with (
        subprocess.Popen([sys.executable, str(_FAKE), str(log)], stdin=-1, stdout=-1, text=True) as process,
        socket.socket() as nowhere,
    ):
        assert process.stdout is not None
        nowhere.bind(("127.0.0.1", 0))  # nobody listens there
        target = f"127.0.0.1:{int(process.stdout.readline())}"
        ours = keys.fresh()
        valet.env |= ours | {
            "AGENTVALET_PRIVATE_TARGETS": f"{target},127.0.0.1:{nowhere.getsockname()[1]}",
            "AGENTVALET_APPROVED_TIMEOUT": "4",
            "AGENTVALET_LOG_LEVEL": "DEBUG",
            "AGENTVALET_ANONYMOUS_PER_MINUTE": "0",
        }
        scene = Scene(valet, f"http://{target}", log)
        for name, value in ours.items():
            scene.canaries.plant(name, value.rpartition(":")[2])
        try:
            scene.outputs["output of up"] = valet.start().encode()
            set_up(scene, nowhere=f"http://127.0.0.1:{nowhere.getsockname()[1]}")
            yield scene
        finally:
            valet.remove()
            process.communicate()


def set_up(scene: Scene, *, nowhere: str) -> None:
    for kind, credential in CREDENTIALS.items():
        scene.canaries.plant(f"{kind} credential", credential.partition(":")[2] if kind == "basic" else credential)
    scene.canaries.plant("password", "cnry-Password-4e1a95283df6")
    (scene.valet.top / "bot.pub.pem").write_text(public_key("bot"))
    auth = {"header": {"type": "header", "name": "X-Api-Key"}, "query": {"type": "query", "name": "api_key"}}
    scopes = {"get": ["GET /**"], "post": ["POST /**"]}
    grants = [
        {"platform": f"p-{kind}", "scope": scope, "require_approval": scope == "post"}
        for kind in (*CREDENTIALS, "nowhere")
        for scope in scopes
    ]
    file = {
        "owner": "Acme",
        "members": [{"email": EMAIL, "role": "admin", "password_env": "PASSWORD"}],
        "platforms": [
            {"id": f"p-{kind}", "name": kind, "base_url": nowhere if kind == "nowhere" else scene.platform}
            | {"auth": auth.get(kind, {"type": "basic" if kind == "basic" else "bearer"}), "scopes": scopes}
            for kind in (*CREDENTIALS, "nowhere")
        ],
        "connections": [
            {"platform": f"p-{kind}", "label": "Main", "default": True, "credential_env": f"C_{kind}"}
            for kind in (*CREDENTIALS, "nowhere")
        ],
        "agents": [
            {"name": "bot", "public_key_file": "bot.pub.pem", "grants": grants},
            {"name": "invited", "invite": True},
        ],
    }
    secrets = {f"C_{kind}": text for kind, text in CREDENTIALS.items()} | {"C_nowhere": CREDENTIALS["bearer"]}
    made = json.loads(scene.provision(file, PASSWORD="cnry-Password-4e1a95283df6", **secrets))
    scene.owner_id = made["owner_id"]
    scene.ids = {agent["name"]: agent["agent_id"] for agent in made["agents"]}
    secret = next(agent["bind_secret"] for agent in made["agents"] if "bind_secret" in agent)
    scene.canaries.plant("bind secret", secret)
    scene.allowed[f"output {len(scene.outputs) - 1} of provision"] = {
        "bind secret"
    }  # it is printed once, for the owner


def last_answer(scene: Scene) -> str:
    return next(reversed(scene.answers))


def test_no_secret_gets_out(scene: Scene) -> None:
    seen: dict[str, bytes] = {}
    desk = sign_in(scene)
    provision_with_mistakes(scene)
    direct_calls(scene)
    seen |= scene.leftovers("after direct calls")
    enrol(scene, desk)
    seen |= gated_calls(scene, desk)
    malformed(scene)
    crawl(scene, desk)
    for command in ("verify_audit", "checkpoint_audit"):
        scene.manage(command)
    seen |= scene.leftovers("in the end")
    rotated = keys.fresh()["AGENTVALET_VAULT_KEYS"]
    scene.canaries.plant("the next vault key", rotated.rpartition(":")[2])
    scene.manage("rotate_vault_key", AGENTVALET_VAULT_KEYS=f"{rotated},{scene.valet.env['AGENTVALET_VAULT_KEYS']}")
    seen |= scene.leftovers("after a rotation")
    scene.valet.signal(signal.SIGTERM)
    scene.valet.wait()
    scene.valet.wait_until_gone(patience=30)
    seen |= scene.logs() | scene.disk()
    leaks = scene.canaries.found_in(seen | scene.answers | scene.outputs, allowed=scene.allowed)
    assert not leaks, "\n".join(leaks)
    assert_it_was_worth_looking(scene, seen)


def sign_in(scene: Scene) -> Watched:
    desk = scene.desk()
    (form,) = [form for form in desk.forms("/sign-in") if "password" in form.fields]
    scene.canaries.plant("wrong password", "cnry-Wrong-5f2ba6394e07")
    desk.submit(form, email=EMAIL, password="cnry-Wrong-5f2ba6394e07")
    without_csrf = Form(form.action, form.method, {"email": EMAIL, "password": "cnry-Wrong-5f2ba6394e07"})
    with pytest.raises(AssertionError, match="403"):
        scene.desk().submit(without_csrf)
    desk.sign_in(email=EMAIL, password="cnry-Password-4e1a95283df6")
    (cookie,) = [cookie for cookie in desk.cookies if cookie.name == "agentvalet_session"]
    scene.canaries.plant("session cookie", str(cookie.value))
    return desk


def provision_with_mistakes(scene: Scene) -> None:
    scene.canaries.plant("refused credential", "cnry-Refused 603cb74a5f18")
    scene.canaries.plant("refused password", "936eb41cnry")
    connection = {"platform": "p-bearer", "label": "Other"}
    scene.provision(
        {"owner": "Acme", "connections": [connection | {"credential_env": "C"}]}, C="cnry-Refused 603cb74a5f18"
    )
    scene.provision({"owner": "Acme", "connections": [connection | {"credential": "cnry-Refused 603cb74a5f18"}]})
    scene.provision("owner: Acme\nconnections: [{credential: 'cnry-Refused 603cb74a5f18'")
    member = {"email": "new@example.com", "role": "admin", "password_env": "P"}
    scene.provision({"owner": "Acme", "members": [member]}, P="936eb41cnry")


def direct_calls(scene: Scene) -> None:
    for kind in CREDENTIALS:
        for endpoint in ENDPOINTS:
            scene.act(kind, endpoint)
        keyed = {"platform": f"p-{kind}", "scope": "get", "method": "GET", "endpoint": "/status/429"}
        for _ in range(2):  # the second is answered from what was kept of the first
            scene.call("POST", "/v1/actions", keyed, token=scene.token("bot"), **{"Idempotency-Key": f"key-{kind}"})
    scene.act("nowhere", "/ok")
    for secret in ("bearer", "header", "query"):
        scene.act("bearer", "/ok", method="POST", data={"text": CREDENTIALS[secret]})
        scene.act("bearer", "/ok", method="POST", reason=CREDENTIALS[secret])
        scene.act("bearer", f"/ok?x={CREDENTIALS[secret]}")
    scene.canaries.plant("observed credential", "cnry-Observed-714dc85b6029")
    observed = {"platform": "p-bearer", "scope": "", "method": "GET", "endpoint": "/ok"}
    for endpoint in ("/ok", "/status/500", "/cut", "/redirect"):
        scene.call(
            "POST",
            "/v1/observe/actions",
            observed | {"endpoint": endpoint},
            token=scene.token("bot"),
            **{"X-AV-Observe-Credential": "cnry-Observed-714dc85b6029"},
        )


def enrol(scene: Scene, desk: Watched) -> None:
    """Bind secret, install token and child token: each is shown once, and used."""
    bind_secret = str(scene.canaries.secrets["bind secret"])
    scene.call("POST", "/v1/invites/bind", {"bind_secret": bind_secret, "public_key_pem": "nonsense"})
    scene.call("POST", "/v1/invites/bind", f'{{"bind_secret": "{bind_secret}", ')
    scene.call("POST", "/v1/invites/bind", {"bind_secret": bind_secret, "public_key_pem": public_key("invited")})
    desk.submit(desk.form(f"/agents/{scene.ids['invited']}", ending="/install-token"))
    shown = scene.answers[last_answer(scene)].decode()
    install = shown[shown.index("itok_") :][:48]
    scene.canaries.plant("install token", install)
    scene.allowed[last_answer(scene)] = {"install token"}
    scene.call("POST", "/v1/agents/bind", {"bootstrap_token": install, "public_key_pem": "nonsense"})
    scene.call("POST", "/v1/agents/bind", {"bootstrap_token": install, "public_key_pem": public_key("fresh")})
    child = scene.call(
        "POST",
        "/v1/agents/children",
        {"name": "child", "grants": [{"platform": "p-bearer", "scopes": ["get"]}]},
        token=scene.token("bot"),
    )
    token = child["bearer_token"]
    scene.canaries.plant("child token", token.rpartition(".")[2])
    scene.allowed[last_answer(scene)] = {"child token"}
    scene.call("GET", "/v1/agent/permissions", token=token)


def gated_calls(scene: Scene, desk: Watched) -> dict[str, bytes]:
    """Approved, denied, failed, lost with its worker; the broker is looked at while a message waits in it."""
    seen: dict[str, bytes] = {}
    for kind in CREDENTIALS:
        for endpoint in ENDPOINTS:
            words = f"{kind} {endpoint} gated"
            approval_id = scene.queue(words, kind=kind, endpoint=endpoint)
            desk.approve(words)
            assert scene.ended(approval_id), words
            scene.poll(approval_id)
    scene.queue("denied gated")
    desk.deny("denied gated", reason="no")
    unreachable = scene.queue("unreachable gated", kind="nowhere")
    desk.approve("unreachable gated")
    assert scene.ended(unreachable)

    for pid in scene.valet.pids("worker"):
        os.kill(pid, signal.SIGSTOP)
    crashed = scene.queue("crash gated", endpoint="/slow/3")
    desk.approve("crash gated")
    assert eventually(lambda: b"approvals.execute" in scene.broker())  # the sweep sends one, too
    seen |= scene.leftovers("while a message waits")
    for pid in scene.valet.pids("worker"):
        os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: "crash gated" in scene.log.read_text())
    scene.valet.kill_worker()
    assert eventually(lambda: scene.valet.pids("worker"))
    assert scene.ended(crashed)
    return seen


def malformed(scene: Scene) -> None:
    for secret in (*CREDENTIALS.values(), str(scene.canaries.secrets["bind secret"])):
        for body in (f'{{"platform": "{secret}', f'{{"a": 1, "a": "{secret}"}}', f'["{secret}"]', f"{secret}"):
            scene.call("POST", "/v1/actions", body, token=scene.token("bot"))
            scene.call("POST", "/v1/invites/bind", body)
            scene.call("POST", "/v1/register", body)
    token = scene.token("bot")
    scene.call("GET", "/v1/agent/permissions", token=token[:-4] + "AAAA")
    scene.canaries.plant("broken assertion", token.rpartition(".")[2][:-4])
    scene.call("GET", "/v1/agent/permissions", token="cnry.Bearer.nonsense")


def crawl(scene: Scene, desk: Watched) -> None:
    """Every page that a link leads to, the admin's among them."""
    waiting = ["/approvals", "/agents", "/notifications", "/agent-reports", "/admin/", "/api-docs"]
    done: set[str] = set()
    while waiting and len(done) < 400:
        path = waiting.pop(0)
        if path in done:
            continue
        done.add(path)
        answer = desk.get(path)
        for part in answer.text.split('href="')[1:]:
            link = urlsplit(urljoin(f"{scene.valet.url}{path}", part.partition('"')[0].replace("&amp;", "&")))
            if f"{link.scheme}://{link.netloc}" == scene.valet.url and not link.path.startswith(
                ("/static", "/sign-out")
            ):
                waiting.append(f"{link.path}?{link.query}" if link.query else link.path)
    assert len(done) > 60


def assert_it_was_worth_looking(scene: Scene, seen: dict[str, bytes]) -> None:
    """The control: the platform got every credential, each log was written, and the search finds what is there."""
    told = scene.log.read_text()
    for kind, credential in CREDENTIALS.items():
        assert json.dumps(credential)[1:-1] in told or json.dumps(credential.partition(":")[2])[1:-1] in told, kind
    for name in ("web", "worker", "sweeper"):
        assert b"DEBUG" in seen[f"log {name}.log"], name
    assert b"approvals.execute" in seen["broker while a message waits"]
    call = Canaries({"the words of a call": "crash gated"})
    found = "\n".join(call.found_in(seen))
    assert "in database in the end" in found
    assert "in disk " in found
    assert "in broker" not in found
    for where, names in scene.allowed.items():
        assert not scene.canaries.found_in({where: (scene.answers | scene.outputs)[where]}, allowed=scene.allowed)
        for name in names:
            one = Canaries({name: scene.canaries.secrets[name]})
            assert one.found_in({where: (scene.answers | scene.outputs)[where]}), f"{name} was never shown in {where}"


@pytest.mark.parametrize("encoding", list(spellings("cnry+/Secret-&<825ed96c713a>")))
def test_the_search_finds_a_secret_in_every_spelling(encoding: str) -> None:
    canaries = Canaries({"planted": "cnry+/Secret-&<825ed96c713a>"})
    text = b"before " + spellings("cnry+/Secret-&<825ed96c713a>")[encoding] + b" after"
    assert canaries.found_in({"a log": text})
    assert not canaries.found_in({"a log": text}, allowed={"a log": {"planted"}})
    assert not canaries.found_in({"a log": b"before after"})
