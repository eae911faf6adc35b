"""What `manage.py up` does, step by step. The parts are in `supervisor`, `embedded`, `startup` and `demo`."""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from agents.set_up_secret import set_up_secret
from agentvalet import command_lines, demo, embedded, keys, processes, startup
from agentvalet.embedded import ServiceError
from agentvalet.supervisor import (
    Child,
    Interrupted,
    Interrupts,
    Supervisor,
    check_port,
    say,
    sole_run,
    wait_until_served,
)

_DEFAULT_PORT = 8080


@dataclass(frozen=True)
class Plan:
    """What was asked for on the command line, completed."""

    host: str
    port: int
    demo: bool
    only: str | None
    data_dir: Path
    public_url: str

    def runs(self, name: str) -> bool:
        return self.only in {None, name}


def up(*, host: str, port: int | None, demo: bool, only: str | None) -> None:
    """Start everything, stay until a signal comes, stop everything. Raises ServiceError and ImproperlyConfigured."""
    plan = _plan(host=host, port=port, with_demo=demo, only=only)
    with suppress(Interrupted), ExitStack() as stack:
        interrupts = Interrupts()
        interrupts.install()
        supervisor = Supervisor(cwd=settings.BASE_DIR, interrupts=interrupts)
        if plan.only is None:
            supervisor.pass_fds = [stack.enter_context(sole_run(plan.data_dir))]
        stack.callback(supervisor.stop)
        _start(supervisor, plan)
        supervisor.watch()


def _plan(*, host: str, port: int | None, with_demo: bool, only: str | None) -> Plan:
    """Settle port and public URL before anything reads the settings: they follow --port unless told otherwise."""
    given = os.environ.get("AGENTVALET_PUBLIC_URL")
    local = os.environ.get("AGENTVALET_MODE", "local") != "production"
    if given and local and port is None:
        port = urlsplit(given).port
    port = _DEFAULT_PORT if port is None else port
    if not given and local:
        os.environ["AGENTVALET_PUBLIC_URL"] = f"http://localhost:{port}"
    return Plan(
        host=host,
        port=port,
        demo=with_demo,
        only=only,
        data_dir=settings.DATA_DIR,
        public_url=settings.PUBLIC_URL,
    )


def _start(supervisor: Supervisor, plan: Plan) -> None:
    for sentence in settings.UNKNOWN_VARIABLES.values():
        say(f"  Note: {sentence}")
    if plan.runs("web"):
        check_port(host=plan.host, port=plan.port)
    if plan.demo:
        demo.check_installed()
    _make_places(plan)
    if plan.only is None:
        _start_services(supervisor, plan)
    env = dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
    child = _children(plan, env)
    platform = child("platform", demo.platform_argv(sys.executable), 5) if plan.demo else None
    platform_url = ""
    if platform is not None:
        supervisor.start(platform)
        platform_url = demo.platform_url()
        listed = [*settings.PRIVATE_TARGETS, urlsplit(platform_url).netloc]
        env["AGENTVALET_PRIVATE_TARGETS"] = ",".join(listed)
    if plan.only is None:
        say("Checking settings, migrating the database …")
    has_owner = _prepare(plan, env=env, platform_url=platform_url)
    supervisor.interrupts.check()

    if plan.only is None:
        say("Starting web server and workers …")
    web = child("web", command_lines.web(host=plan.host, port=plan.port, threads=settings.WEB_THREADS), 20)
    worker = child(
        "worker",
        command_lines.worker(threads=settings.WORKER_THREADS),
        settings.APPROVED_TIMEOUT + 5,  # a call that is under way may end; what is left is found by the sweep
    )
    sweeper = child("sweeper", command_lines.sweeper(threads=settings.SWEEPER_THREADS), 10)
    messenger = child("messenger", command_lines.messenger(threads=settings.MESSENGER_THREADS), 15)
    beat = child("beat", command_lines.beat(schedule=plan.data_dir / "beat-schedule"), 5)
    for process, part in ((web, "web"), (worker, "worker"), (sweeper, "worker"), (messenger, "worker"), (beat, "beat")):
        if plan.runs(part):
            supervisor.start(process)
    if plan.runs("web"):
        wait_until_served(web, host=plan.host, port=plan.port, host_header=urlsplit(plan.public_url).netloc)
    supervisor.interrupts.check()
    _greet(plan, has_owner=has_owner)
    if plan.demo:
        agent = child("agent", demo.agent_argv(), 5)
        agent.env = demo.agent_environment(proxy_url=plan.public_url)
        agent.log = None  # what it prints is what a newcomer wants to see
        supervisor.start(agent)
    # Stopped in this order: who asks, who answers, who works, who looks after it, who tells, who reminds, who is asked.
    order = ["agent", "web", "worker", "sweeper", "messenger", "beat", "platform"]
    supervisor.children.sort(key=lambda one: order.index(one.name))


def _start_services(supervisor: Supervisor, plan: Plan) -> None:
    if not os.environ.get("DATABASE_URL"):
        is_new = not (plan.data_dir / "postgres").exists()
        say("Making a database and starting it …" if is_new else "Starting the database …")
        supervisor.start_service(embedded.Postgres(data_dir=plan.data_dir))
    if not os.environ.get("REDIS_URL"):
        say("Starting Valkey …")
        supervisor.start_service(embedded.Valkey(data_dir=plan.data_dir))


def _python() -> str:
    """How this Python is called from where the person is."""
    here, python = Path.cwd(), Path(sys.executable)
    return str(python.relative_to(here) if python.is_relative_to(here) else python)


def _make_places(plan: Plan) -> None:
    if not settings.PRODUCTION:
        embedded.make_dir(plan.data_dir)
        keys.ensure(keys_dir=settings.KEYS_DIR)
    if settings.EMAIL_FILE_PATH:  # messages with links that decide
        Path(settings.EMAIL_FILE_PATH).mkdir(mode=0o700, parents=True, exist_ok=True)


def _children(plan: Plan, env: dict[str, str]) -> Callable[[str, list[str], float], Child]:
    def child(name: str, argv: list[str], patience: float) -> Child:
        log = None if plan.only else embedded.open_log(plan.data_dir, name)
        return Child(name=name, argv=argv, env=env, log=log, patience=patience)

    return child


def _prepare(plan: Plan, *, env: dict[str, str], platform_url: str) -> bool:
    """Run `agentvalet.startup` to its end; whether there is an owner. Raises ServiceError with its last line."""
    argv = [sys.executable, "-m", "agentvalet.startup"]
    argv += ["--no-migrate"] if plan.only else []
    argv += [] if plan.runs("web") else ["--no-static"]
    argv += ["--demo", platform_url] if plan.demo else []
    log = embedded.open_log(plan.data_dir, "start")
    with log.open("wb") as output:
        process = processes.spawn(argv=argv, output=output, env=env, cwd=settings.BASE_DIR)
        try:
            code = process.wait()
        except Interrupted:
            process.kill()
            raise
    if code == os.EX_CONFIG:
        raise ServiceError(embedded.last_line(log))
    if code != 0:
        raise ServiceError(f"The start failed, see {log}: {embedded.last_line(log)}")
    return embedded.last_line(log) != startup.NO_OWNER


def _greet(plan: Plan, *, has_owner: bool) -> None:
    if plan.runs("web") and not has_owner:
        from agentvalet.settings import secret  # noqa: PLC0415 - `_plan` settles the environment before

        key = secret("AGENTVALET_SECRET_KEY")  # made after the settings were read, at the very first start
        say(f"\n  Nobody owns this server yet: make the first owner at {plan.public_url}/set-up")
        say(f"  with this secret, which is good for that alone:  {set_up_secret(key=key)}")
    if plan.only:
        return
    say(f"\n  AgentValet runs at {plan.public_url}\n")
    if plan.demo:
        say(f"  Sign in as   {demo.SIGN_IN}\n  Password     {demo.password_to_show()}\n")
    else:
        say(f"  Owners, platforms and agents can also come from a file: {_python()} manage.py provision FILE.yaml\n")
    # A shell starts what it puts into the background deaf to Ctrl-C's signal.
    kill = "" if sys.stdin and sys.stdin.isatty() else f" or `kill {os.getpid()}`"
    say(f"  Logs are in {plan.data_dir / 'log'}; Ctrl-C{kill} stops everything.\n")
