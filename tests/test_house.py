"""The rules of the house that a machine can hold: who imports whom, and that models and migrations agree."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

ROOT = Path(settings.BASE_DIR)
TEXTS = {".py", ".html", ".css", ".js", ".md", ".toml", ".yml", ".yaml", ".json", ".txt", ".sh", ".sql"}


def test_imports_run_one_way_only() -> None:
    command = shutil.which("lint-imports", path=Path(sys.executable).parent)
    assert command is not None
    checked = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.django_db
def test_models_and_migrations_agree() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "deploy/demo/requirements.lock"])
def test_lock_files_pin_every_package_by_hash_and_name_no_host(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    packages = [line for line in lines if not line.startswith(" ")]
    assert packages
    assert all("==" in line and line.endswith("\\") for line in packages)
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_the_test_environment_contains_the_one_that_runs() -> None:
    def pins(lock: str) -> set[str]:
        lines = (ROOT / lock).read_text().splitlines()
        return {line.split(" ")[0] for line in lines if line[:1].isalnum()}

    assert pins("requirements.lock") <= pins("requirements-dev.lock")


def test_no_file_has_the_marks_of_a_merge_that_was_not_finished() -> None:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    files = [path for path in ROOT.iterdir() if path.suffix in TEXTS]
    files += [path for folder in folders for path in folder.rglob("*") if path.suffix in TEXTS]
    assert len(files) > 500
    assert [path for path in files if re.search(rb"^(<{7} |>{7} )", path.read_bytes(), re.MULTILINE)] == []


def test_the_readme_leads_to_every_page_of_the_documentation() -> None:
    read_on = (ROOT / "README.md").read_text().partition("## Read on")[2]
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in read_on] == []
