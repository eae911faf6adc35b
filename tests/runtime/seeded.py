"""The installation that secrets are planted in: what is done to it, and everything that can be seen of it."""

import json
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import redis
import yaml

from agentvalet import embedded
from tests.interop.desk import Answer, Desk
from tests.runtime.canaries import Canaries
from tests.runtime.installation import eventually, manage
from tests.runtime.valet import Valet
from tests.world import private_key


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


class Seeded:
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

    def allow(self, name: str, secret: str) -> None:
        """The last answer is where this secret is shown, the one time."""
        self.canaries.plant(name, secret)
        self.allowed.setdefault(next(reversed(self.answers)), set()).add(name)

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
