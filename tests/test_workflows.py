"""The workflows are valid, and call the same commands as ``.ci/run``."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def targets() -> set[str]:
    """The targets of the Makefile that are commands."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    return set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())


def commands(path: Path) -> list[str]:
    """What a workflow runs, in order."""
    jobs = yaml.safe_load(path.read_text(encoding="utf8"))["jobs"].values()
    steps = (step for job in jobs for step in job["steps"])
    return [line for step in steps if "run" in step for line in step["run"].splitlines()]


def schema(*paths: Path) -> subprocess.CompletedProcess:
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    return subprocess.run([sys.executable, *check, *paths], capture_output=True, text=True)


def test_the_workflows_are_valid(tmp_path):
    run = schema(*WORKFLOWS)
    assert run.returncode == 0, run.stdout
    broken = tmp_path / "broken.yml"
    broken.write_text("on: push\njobs: {a: {steps: [{run: make test}]}}\n", encoding="utf8")
    assert schema(broken).returncode == 1


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_make_and_nothing_else(path):
    for command in commands(path):
        assert re.fullmatch(r"make \w+", command) and command.split()[1] in targets()


def test_pull_requests_are_checked_as_everything_else_is():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf8")
    assert re.findall(r"^make \w+$", ci, re.MULTILINE) == commands(
        ROOT / ".github" / "workflows" / "check.yml"
    )
