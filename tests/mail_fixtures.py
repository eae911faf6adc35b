"""The mail server in its own process, seen from tests: what it took, and the links in it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from django.core.mail.backends.smtp import EmailBackend
from pytest_django.fixtures import Settings

_FAKE = Path(__file__).parent / "fakes" / "mail_server.py"


@dataclass
class MailServer:
    """The fake of tests/fakes/mail_server.py."""

    port: int
    folder: Path

    @property
    def messages(self) -> list[EmailMessage]:
        """What it has taken since the test began, in order."""
        files = sorted(self.folder.glob("*.eml"), key=lambda file: int(file.stem))
        return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]

    @property
    def tokens(self) -> list[str]:
        """The tokens of the links in them."""
        found = [re.search(r"/approve\?token=(\S+)", message.get_content()) for message in self.messages]
        return [match[1] for match in found if match]


@pytest.fixture(scope="session")
def running_mail_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    folder = tmp_path_factory.mktemp("mail")
    with subprocess.Popen(
        [sys.executable, str(_FAKE), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield MailServer(port=int(process.stdout.readline()), folder=folder)
        process.communicate()  # closes its standard input, and it ends


@pytest.fixture
def mail_server(running_mail_server: MailServer, settings: Settings) -> MailServer:
    """The server without messages; what is sent goes there, as AGENTVALET_EMAIL_URL would say."""
    for file in running_mail_server.folder.glob("*.eml"):
        file.unlink()
    settings.EMAIL_BACKEND = f"{EmailBackend.__module__}.{EmailBackend.__name__}"
    settings.EMAIL_IS_SENT = True
    settings.EMAIL_TIMEOUT = 60  # a busy machine is slow, and its mail server too
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", running_mail_server.port
    return running_mail_server
