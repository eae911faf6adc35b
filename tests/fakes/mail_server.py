"""A mail server at the edge of the world: SMTP in a process of its own that keeps what it takes.

    python mail_server.py FOLDER

It prints its port, writes each message to FOLDER as N.eml, and ends with its parent (its standard input closes). The
mailbox says what becomes of a message: full@… is refused for good, busy@… for now, others are taken; after taking one to
lost@… it hangs up without a word.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

FOLDER = Path(sys.argv[1])
_numbers = count(1)


class Keep:
    async def handle_RCPT(  # noqa: N802 - the name aiosmtpd asks for
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        mailbox = address.partition("@")[0]
        if mailbox == "full":
            return "550 No such mailbox"
        if mailbox == "busy":
            return "450 Try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        draft = FOLDER / "draft"
        draft.write_bytes(envelope.content)
        draft.rename(FOLDER / f"{next(_numbers)}.eml")
        if any(address.startswith("lost@") for address in envelope.rcpt_tos):
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return "250 Taken"


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Keep(), loop=loop), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
