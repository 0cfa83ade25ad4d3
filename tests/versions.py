"""Versions of mitmproxy and of Python, each in an environment of its own: `uv run tests/versions.py`.

Runs the contract with mitmproxy's internals, the main job, and recovery with and without its place in the HTTP layer,
and prints what holds. Interpreters that are not on this machine are named and left out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness.environments import python_of

REPOSITORY = Path(__file__).resolve().parents[1]
STORE = REPOSITORY / ".peers"

# The package asks for 12.2.
MITMPROXY = ("12.2.0", "12.2.1", "12.2.2", "12.2.3", "12.3.0", "12.3.1")
PYTHON = ("3.12", "3.13", "3.14")
TESTS = (
    "tests/proxy/test_internals.py",
    "tests/real/test_main_job.py",
    "tests/real/test_recovery_cases.py",
)
_COUNTS = re.compile(r"^(?:\d+ (?:failed|passed|skipped|error\w*|rerun\w*|warning\w*)(?:, )?)+", re.M)


def main() -> int:
    """Run what was asked for; 0 if all that could be installed holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mitmproxy", action="append", help="only this version; may be repeated")
    parser.add_argument("--python", action="append", help="only this version; may be repeated")
    options = parser.parse_args()
    well = True
    print("| Python | mitmproxy | outcome |\n|---|---|---|", flush=True)
    for python in options.python or PYTHON:
        base = python_of(python)
        for version in options.mitmproxy or MITMPROXY:
            outcome, held = _tried(python, base, version) if base else ("not on this machine", True)
            well = well and held
            print(f"| {python} | {version if base else 'any'} | {outcome} |", flush=True)
            if not base:
                break
    return 0 if well else 1


def _tried(python: str, base: str, version: str) -> tuple[str, bool]:
    home = STORE / f"versions_py{python}_mitmproxy-{version}"
    interpreter = home / "bin" / "python"
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(exist_ok=True)
        _run("uv", "venv", "--quiet", "--python", base, str(home))
        # What the package asks for is overruled: that is what is tried here. So is mitmproxy's wish for the latest
        # certificates, which a registry may not have yet, and which nothing here looks at.
        override = home / "override.txt"
        override.write_text(f"mitmproxy=={version}\ncertifi\n")
        made = _run(
            *("uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(interpreter)),
            *("--override", str(override), "--group", "dev", "--editable", str(REPOSITORY)),
        )
        if made.returncode:
            return f"can't be installed: {_reason(made.stderr)}", True
        (home / "complete").touch()
    ran = _run(str(interpreter), "-m", "pytest", "--maxfail=3", *TESTS)
    counts = _COUNTS.search(ran.stdout)
    said = counts[0] if counts else ran.stdout[-200:] + ran.stderr[-200:]
    if ran.returncode:
        said += ": " + ", ".join(re.findall(r"^FAILED (\S+)", ran.stdout, re.M)[:3])
    return said.replace("\n", " "), ran.returncode == 0


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if "Because" in line or "depends" in line]
    return (lines[0] if lines else said.strip())[:160].replace("|", "/")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTEST_ADDOPTS")}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
