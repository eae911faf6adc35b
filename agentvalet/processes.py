"""Starting child processes that never outlive their parent."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with(parent: int, signum: int) -> Callable[[], None]:
    """A preexec hook: the kernel sends SIGNUM when the parent dies, even by SIGKILL (Linux only)."""

    def hook() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signum)
            if os.getppid() != parent:  # it died between fork and prctl
                os._exit(1)

    return hook


def spawn(
    *,
    argv: Sequence[str | Path],
    output: IO[bytes] | None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    death_signal: int = signal.SIGTERM,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start ARGV in a process group of its own: Ctrl-C reaches only the parent, which stops its children in order.

    `output` takes stdout and stderr; None means the parent's own. `user` (root only) drops to that user with no
    supplementary groups. `death_signal` is what the child gets when the parent dies. Call it from a process with
    one thread: the death signal follows the forking thread, and the hook runs between fork and exec.
    """
    group = None
    if user is not None:
        import pwd  # noqa: PLC0415 - not on every platform that runs the rest

        group = pwd.getpwnam(user).pw_gid
    return subprocess.Popen(  # noqa: S603 - a list, no shell, and nothing in it comes from outside
        [os.fspath(part) for part in argv],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        env=None if env is None else dict(env),
        cwd=cwd,
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        pass_fds=pass_fds,
        process_group=0,
        preexec_fn=_die_with(os.getpid(), death_signal),  # noqa: PLW1509 - single-threaded by contract, see above
    )


def signal_group(process: subprocess.Popen[bytes], signum: int) -> None:
    """Send SIGNUM to the child and to everything it started in its group; a group that is gone is fine."""
    try:
        os.killpg(process.pid, signum)
    except ProcessLookupError:
        return


def stop(process: subprocess.Popen[bytes], *, signum: int, deadline: float) -> bool:
    """Ask with SIGNUM, wait DEADLINE seconds, then SIGKILL the whole group. True when asking was enough."""
    asked = True
    if process.poll() is None:
        process.send_signal(signum)
        try:
            process.wait(deadline)
        except subprocess.TimeoutExpired:
            asked = False
    signal_group(process, signal.SIGKILL)
    process.wait()
    return asked
