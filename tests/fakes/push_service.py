"""A browser vendor's push service at the edge of the world: HTTPS in a process of its own that checks what it gets.

    python push_service.py FOLDER

It writes FOLDER/ca.pem (whom to trust) and FOLDER/log.jsonl (a line per message), prints its port, and ends with its
parent (its standard input closes). POST /subscribe takes {"key": the application server key, "behaviour": …} and
answers as a browser's PushManager does; POST /behave/ID/BEHAVIOUR changes it. A behaviour is a status (429-7 with
Retry-After: 7) or `hang`. A message is checked against RFC 8030, 8291, 8292: what is wrong with it is a 400 and is in
the log; what is right with it is decrypted, because this one made the device's keys too.
"""

import base64
import datetime
import json
import ssl
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import http_ece
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FOLDER = Path(sys.argv[1])
_lock = threading.Lock()
_devices: dict[str, dict[str, Any]] = {}
PORT: list[int] = []


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Wrong(Exception):
    """What is wrong with a message."""


def must(holds: object, otherwise: str) -> None:
    if not holds:
        raise Wrong(otherwise)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def check_token(header: str, device: dict[str, Any], origin: str) -> None:
    """RFC 8292."""
    must(header.startswith("vapid "), "no vapid scheme")
    parts = dict(part.strip().split("=", 1) for part in header.removeprefix("vapid ").split(","))
    must(parts.get("k") == device["key"], "not the key that was subscribed with")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unbase64url(parts["k"]))
    try:
        claims = jwt.decode(parts["t"], key, algorithms=["ES256"], audience=origin, options={"require": ["exp", "aud"]})
    except jwt.PyJWTError as error:
        raise Wrong(f"token: {error!r}") from error
    must(claims["exp"] - time.time() <= 24 * 3600, "token valid for too long")
    must(str(claims.get("sub", "")).startswith(("mailto:", "https:")), "no contact")


def read_message(headers: Any, body: bytes, device: dict[str, Any], origin: str) -> str:
    """The plaintext. Raises Wrong."""
    check_token(headers.get("Authorization", ""), device, origin)
    must(headers.get("TTL", "").isdigit(), "no TTL")
    must(headers.get("Urgency") in {"very-low", "low", "normal", "high"}, "no urgency")
    topic = headers.get("Topic", "")
    must(0 < len(topic) <= 32 and topic.replace("-", "").replace("_", "").isalnum(), "no topic")
    must(headers.get("Content-Encoding") == "aes128gcm", "not aes128gcm")
    must(len(body) <= 4096, "too long")
    try:
        plain = http_ece.decrypt(body, private_key=device["private"], auth_secret=device["auth"], version="aes128gcm")
    except Exception as error:
        raise Wrong(f"cannot be decrypted: {error!r}") from error
    return bytes(plain).decode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind, _, rest = self.path.strip("/").partition("/")
        if kind == "subscribe":
            self.subscribe(json.loads(body))
        elif kind == "behave":
            name, _, behaviour = rest.partition("/")
            _devices[name]["behaviour"] = behaviour
            self.reply(200)
        else:
            self.take(rest, body)

    def subscribe(self, wish: dict[str, str]) -> None:
        name, private, auth = uuid.uuid4().hex, ec.generate_private_key(ec.SECP256R1()), uuid.uuid4().bytes
        _devices[name] = {"private": private, "auth": auth, "key": wish["key"], "behaviour": wish["behaviour"]}
        keys = {"p256dh": base64url(point(private)), "auth": base64url(auth)}
        answer = {"endpoint": f"{self.origin}/push/{name}", **keys}
        self.reply(200, json.dumps(answer).encode())

    def take(self, name: str, body: bytes) -> None:
        device = _devices.get(name)
        if device is None:
            self.reply(404)
            return
        status, _, wait = device["behaviour"].partition("-")
        seen = {"device": name, "at": time.time(), "size": len(body), "headers": dict(self.headers)}
        try:
            seen["message"] = json.loads(read_message(self.headers, body, device, self.origin))
        except Wrong as wrong:
            seen["wrong"], status = str(wrong), "400"
        with _lock, (FOLDER / "log.jsonl").open("a") as log:
            log.write(json.dumps(seen) + "\n")
        if status == "hang":
            time.sleep(60)
        else:
            self.reply(int(status), retry_after=wait)

    @property
    def origin(self) -> str:
        return f"https://localhost:{PORT[0]}"

    def reply(self, status: int, body: bytes = b"", *, retry_after: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status // 100 == 3:
            self.send_header("Location", f"{self.origin}/push/{next(iter(_devices))}")
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server uses
        """Say nothing: the log has it all."""


def certificates() -> ssl.SSLContext:
    """A certificate for localhost, and whom to trust for it."""
    today = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Push authority")])

    def certificate(name: x509.Name, of: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(authority).public_key(of.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(today - day).not_valid_after(today + 30 * day)
        signed = builder.add_extension(extension, critical=True).sign(authority_key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    ca = certificate(authority, authority_key, x509.BasicConstraints(ca=True, path_length=0))
    (FOLDER / "ca.pem").write_bytes(ca)
    localhost = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    chain = certificate(localhost, key, x509.SubjectAlternativeName([x509.DNSName("localhost")]))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (FOLDER / "server.pem").write_bytes(secret + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "server.pem")
    return context


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = certificates().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    (FOLDER / "log.jsonl").touch()
    PORT.append(int(server.server_port))
    print(*PORT, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
