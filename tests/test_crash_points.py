"""Crash points are live in the fault suite's own mode, and nothing at all anywhere else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crash_points import Point
from tests.runtime.installation import ROOT

PASS = "from crash_points import Point, crash_point; crash_point(Point.BEFORE_SEND, 'x'); print('alive')"


def passing(folder: Path, mode: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    bare = {name: value for name, value in os.environ.items() if name not in {"AGENTVALET_MODE", "PYTHONPATH"}}
    env = bare | {"AGENTVALET_CRASH_POINTS": str(folder)} | mode
    return subprocess.run([sys.executable, "-c", PASS], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mode", [{}, {"AGENTVALET_MODE": "local"}, {"AGENTVALET_MODE": "production"}])
def test_an_armed_point_does_nothing_in_a_mode_for_use(tmp_path: Path, mode: dict[str, str]) -> None:
    (tmp_path / Point.BEFORE_SEND).touch()
    assert passing(tmp_path, mode).stdout == "alive\n"
    assert [file.name for file in tmp_path.iterdir()] == [Point.BEFORE_SEND]


@pytest.mark.parametrize("subject", ["", "x"])
def test_an_armed_point_kills_once_and_says_who_passed(tmp_path: Path, subject: str) -> None:
    (tmp_path / Point.BEFORE_SEND).write_text(subject)
    mode = {"AGENTVALET_MODE": "test"}
    assert passing(tmp_path, mode).returncode == -signal.SIGKILL
    assert passing(tmp_path, mode).stdout == "alive\n"
    assert [line.split(" ")[2:] for line in (tmp_path / "trace").read_text().splitlines()] == [["before-send", "x"]] * 2


def test_a_point_that_is_armed_for_another_subject_lets_this_one_pass(tmp_path: Path) -> None:
    (tmp_path / Point.BEFORE_SEND).write_text("y")
    assert passing(tmp_path, {"AGENTVALET_MODE": "test"}).stdout == "alive\n"
    assert (tmp_path / Point.BEFORE_SEND).exists()
