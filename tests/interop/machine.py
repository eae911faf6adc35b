"""A computer on which somebody uses the published command lines: a home, a project folder, `npx` and `python3`."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

from tests.interop.commands import Command
from tests.interop.desk import Desk
from tests.interop.remote import Remote
from tests.interop.site import CLIENT_PYTHON, CREW_PYTHON, MCP_SERVER, REGISTER, SCRIPTS, Site

READ = {"platform": "acme-chat", "endpoint": "/api/messages", "method": "GET", "scope": "chat:read"}
HOSTED = "https://app.agentvalet.ai"

# What a person would type; the packages are installed already, from lock files.
NPX = f"""#!/bin/sh
[ "$1" = -y ] && shift
package=$1
shift
case "$package" in
    @agentvalet/register) exec node "{REGISTER}" "$@" ;;
    @agentvalet/mcp-server) exec node "{MCP_SERVER}" "$@" ;;
esac
echo "npx: no $package here" >&2
exit 127
"""
PYTHON = f"""#!/bin/sh
[ "$1 $2" = "-m venv" ] && [ "$#" = 3 ] || exit 1
mkdir -p "$3/bin"
ln -sf "{CLIENT_PYTHON.with_name("agentvalet")}" "$3/bin/agentvalet"
printf '#!/bin/sh\\n[ "$1" = install ] && [ "$#" = 2 ]\\n' > "$3/bin/pip"
chmod +x "$3/bin/pip"
"""


class Machine:
    """A computer on which somebody uses the command lines."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.home = site.home(name)
        self.project = self.home / "project"  # run in the home itself, `register` overwrites its own configuration
        self.project.mkdir()
        self.running: list[Command] = []
        self.bin = self.home / "bin"
        self.bin.mkdir()
        for command, script in (("npx", NPX), ("python3", PYTHON)):
            (self.bin / command).write_text(script)
            (self.bin / command).chmod(0o755)

    @property
    def kept(self) -> Path:
        return self.home / ".agentvalet"

    @property
    def path(self) -> str:
        return os.pathsep.join([str(self.bin), str(CLIENT_PYTHON.parent), os.environ["PATH"]])

    def register(self, *argv: str, **env: str) -> Command:
        """`npx @agentvalet/register …`"""
        return self._run(["node", REGISTER, *argv], **env)

    def agentvalet(self, *argv: str, **env: str) -> Command:
        """`agentvalet …` of PyPI"""
        return self._run([CLIENT_PYTHON.with_name("agentvalet"), *argv], **env)

    def shell(self, text: str) -> Command:
        """What somebody copies into a terminal."""
        return self._run(["sh", "-eu", "-c", text], PATH=self.path)

    def python(self, text: str, *, crew: bool = False) -> Command:
        """What somebody copies into a file."""
        file = self.project / "agent.py"
        file.write_text(text)
        return self._run([CREW_PYTHON if crew else CLIENT_PYTHON, file])

    def reads(self) -> bool:
        """Whether AgentValet.from_env() without any variable finds an identity that may call."""
        env = self.site.environment(self.home)
        remote = Remote(
            [CLIENT_PYTHON, SCRIPTS / "calls.py", "sync"], env=env, cwd=self.project, log=self.site.valet.top / "log"
        )
        try:
            return "returned" in remote.order("call", **{"with": READ}).outcome
        finally:
            remote.close()

    def stop(self) -> None:
        for command in self.running:
            command.stop()

    def _run(self, argv: Sequence[str | Path], **env: str) -> Command:
        command = Command(argv, env=self.site.environment(self.home, **env), cwd=self.project)
        self.running.append(command)
        return command


def let_in(command: Command, desk: Desk) -> None:
    """Open the address that the command line prints, on our host, and confirm: docs/agents.md tells people to."""
    line = command.until(f"{HOSTED}/cli-auth?")
    address = line.split("URL: ")[1].strip().removeprefix(HOSTED)
    (form,) = [form for form in desk.forms(address) if "state" in form.fields]
    sent_on = desk.submit(form)
    assert sent_on.status in {302, 303}
    location = sent_on.headers["location"]
    assert location.startswith("http://127.0.0.1:")
    with contextlib.closing(urlopen(location)) as page:
        assert "Authorized" in page.read().decode()
