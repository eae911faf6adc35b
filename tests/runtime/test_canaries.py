"""Secrets planted everywhere a secret lives: after every path has been run, none is anywhere that it must not be.

One installation of its own with logs at DEBUG, and a platform that repeats whatever it is sent.
"""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from uuid import uuid4

import pytest

from agentvalet import keys
from tests.interop.desk import Form
from tests.runtime.canaries import Canaries, spellings
from tests.runtime.installation import eventually
from tests.runtime.seeded import Seeded, Watched
from tests.runtime.valet import Valet
from tests.world import public_key

pytestmark = pytest.mark.services

_FAKE = Path(__file__).parents[1] / "fakes" / "echoing_platform.py"
EMAIL = "owner@example.com"
CREDENTIALS = {
    "bearer": "cnry.Bearer+/0a7c51e49b2f_x==",
    "header": 'cnry&Header<"1b8d62f50ac3">',
    "query": "cnry Query/?2c9e73&061bd4=%+\u00e9",
    "basic": "robot:cnry:Basic/3d0f84172ce5+\u00fc",
}
SAME_SHAPE = 6  # pages
ENDPOINTS = ("/ok", "/status/401", "/status/403", "/status/429", "/status/500", "/redirect", "/cut")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
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
        scene = Seeded(valet, f"http://{target}", log)
        for name, value in ours.items():
            text = value.rpartition(":")[2]
            scene.canaries.plant(name, text)
            if name != "AGENTVALET_SECRET_KEY":  # which is a text; the others are bytes
                scene.canaries.plant(f"{name} raw", base64.b64decode(text))
        try:
            scene.outputs["output of up"] = valet.start().encode()
            set_up(scene, nowhere=f"http://127.0.0.1:{nowhere.getsockname()[1]}")
            yield scene
        finally:
            valet.remove()
            process.communicate()


def set_up(scene: Seeded, *, nowhere: str) -> None:
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


def test_no_secret_gets_out(scene: Seeded) -> None:
    seen: dict[str, bytes] = {}
    desk = sign_in(scene)
    provision_with_mistakes(scene)
    direct_calls(scene)
    seen |= scene.leftovers("after direct calls")
    enrol(scene, desk)
    register(scene)
    sign_command_line_in(scene, desk)
    decide_by_link(scene, desk)
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


def sign_in(scene: Seeded) -> Watched:
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


def provision_with_mistakes(scene: Seeded) -> None:
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


def direct_calls(scene: Seeded) -> None:
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


def enrol(scene: Seeded, desk: Watched) -> None:
    """Bind secret, install token and child token: each is shown once, and used."""
    bind_secret = str(scene.canaries.secrets["bind secret"])
    scene.call("POST", "/v1/invites/bind", {"bind_secret": bind_secret, "public_key_pem": "nonsense"})
    scene.call("POST", "/v1/invites/bind", f'{{"bind_secret": "{bind_secret}", ')
    scene.call("POST", "/v1/invites/bind", {"bind_secret": bind_secret, "public_key_pem": public_key("invited")})
    desk.submit(desk.form(f"/agents/{scene.ids['invited']}", ending="/install-token"))
    shown = scene.answers[next(reversed(scene.answers))].decode()
    install = shown[shown.index("itok_") :][:48]
    scene.allow("install token", install)
    scene.call("POST", "/v1/agents/bind", {"bootstrap_token": install, "public_key_pem": "nonsense"})
    scene.call("POST", "/v1/agents/bind", {"bootstrap_token": install, "public_key_pem": public_key("fresh")})
    child = scene.call(
        "POST",
        "/v1/agents/children",
        {"name": "child", "grants": [{"platform": "p-bearer", "scopes": ["get"]}]},
        token=scene.token("bot"),
    )
    token = child["bearer_token"]
    scene.allow("child token", token.rpartition(".")[2])
    scene.call("GET", "/v1/agent/permissions", token=token)


def register(scene: Seeded) -> None:
    asked = {"owner_id": scene.owner_id, "agent_name": "helper"}
    wanted = [{"platformId": "p-bearer", "scopes": ["get"]}]
    token = scene.call("POST", "/v1/register", asked | {"requested_scopes": wanted})["registration_token"]
    scene.allow("registration token", token)
    for what in ("status", "claim-key", "nonsense"):
        scene.call("GET", f"/v1/register/{what}/{token}")


def sign_command_line_in(scene: Seeded, desk: Watched) -> None:
    login = {"state": str(uuid4()), "port": 43117}
    scene.call("POST", "/functions/v1/cli-auth", login | {"action": "init"})
    answer = desk.submit(desk.form(f"/cli-auth?{urlencode(login)}", ending="/cli-auth"))
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    scene.allow("command line's code", code)
    exchanged = scene.call(
        "POST", "/functions/v1/cli-auth", {"action": "exchange", "state": login["state"], "code": code}
    )
    token = exchanged["cli_token"]
    scene.allow("command line's token", token)
    for path in ("list-agents", "nonsense"):
        scene.call("GET", f"/functions/v1/{path}", token=token)


def decide_by_link(scene: Seeded, desk: Watched) -> None:
    desk.submit(desk.form("/settings", ending="/settings/delegates"), email="dana@elsewhere.example")
    scene.queue("mailed gated")
    mails = scene.valet.data / "mail"

    def found() -> set[str]:
        return {token for mail in mails.iterdir() for token in re.findall(r"token=([\w-]+)", mail.read_text())}

    assert eventually(found)
    (token,) = found()
    delegate = scene.desk()
    (form,) = [form for form in delegate.forms(f"/approve?token={token}") if "reason" in form.fields]
    scene.allow("magic link", token)
    delegate.submit(form, decision="deny", reason="no")
    assert "denied" in str(scene.valet.rows("SELECT decision FROM approvals_approvalrequest"))


def gated_calls(scene: Seeded, desk: Watched) -> dict[str, bytes]:
    """Approved, denied, failed, lost with its worker; the broker is looked at while a message waits in it."""
    seen: dict[str, bytes] = {}
    for kind in CREDENTIALS:
        asked = {
            f"{kind} {end} gated": scene.queue(f"{kind} {end} gated", kind=kind, endpoint=end) for end in ENDPOINTS
        }
        for words in asked:
            desk.approve(words)
        for words, approval_id in asked.items():
            assert scene.ended(approval_id), words
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


def malformed(scene: Seeded) -> None:
    for secret in (*CREDENTIALS.values(), str(scene.canaries.secrets["bind secret"])):
        for body in (f'{{"platform": "{secret}', f'{{"a": 1, "a": "{secret}"}}', f'["{secret}"]', f"{secret}"):
            scene.call("POST", "/v1/actions", body, token=scene.token("bot"))
            scene.call("POST", "/v1/invites/bind", body)
            scene.call("POST", "/v1/register", body)
    token = scene.token("bot")
    scene.call("GET", "/v1/agent/permissions", token=token[:-4] + "AAAA")
    scene.canaries.plant("broken assertion", token.rpartition(".")[2][:-4])
    scene.call("GET", "/v1/agent/permissions", token="cnry.Bearer.nonsense")


def crawl(scene: Seeded, desk: Watched) -> None:
    """Every page that a link leads to, the admin's among them; of those that differ in an id alone, a few."""
    waiting = ["/approvals", "/agents", "/notifications", "/agent-reports", "/admin/", "/api-docs"]
    done: Counter[str] = Counter()
    seen: set[str] = set()
    while waiting:
        path = waiting.pop(0)
        shape = re.sub(r"[0-9a-f-]{24,}|\d+|=[^&]*", "*", path)
        if path in seen or done[shape] >= SAME_SHAPE:
            continue
        seen.add(path)
        done[shape] += 1
        answer = desk.get(path)
        for part in answer.text.split('href="')[1:]:
            link = urlsplit(urljoin(f"{scene.valet.url}{path}", part.partition('"')[0].replace("&amp;", "&")))
            if f"{link.scheme}://{link.netloc}" == scene.valet.url and not link.path.startswith(
                ("/static", "/sign-out")
            ):
                waiting.append(f"{link.path}?{link.query}" if link.query else link.path)
    assert len(seen) > 60


def assert_it_was_worth_looking(scene: Seeded, seen: dict[str, bytes]) -> None:
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
