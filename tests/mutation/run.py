"""Changes the core and the rules in one place at a time, and counts which of these mutants the quick tests kill.

    uv run --group mutation tests/mutation/run.py                        # all: hours; goes on where it was stopped
    uv run --group mutation tests/mutation/run.py --sample 600 --seed 1  # some of them, drawn by chance
    uv run --group mutation tests/mutation/run.py --only 'mcp_sessions.core.place.*'

mutmut wants its sources in `src`, so all is copied to a folder of its own. What is mutated, and by which tests, stands
in pyproject.toml. A mutant is killed by a failure or by taking too long; who has no test has survived. mutmut chooses a
mutant when all is imported, so who has survived a sample is run once more in a process of its own, with all tests of
its room: for what is run at import, such as a table that is made by a function.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STAGE = REPOSITORY / ".mutation"
COPIED = ("pyproject.toml", "README.md", "CHANGELOG.md", "SECURITY.md", "docs", "recipes", "tests")
IN_ONE_GO = 110
"""Mutants of a sample that are run before the next ones are, so that what was done by then is a sample, too."""

KILLED = frozenset({1, 2, 3, 24, -24, 36, 152, 255, 37})
"""What mutmut writes down of a mutant that a test has failed for, that took too long, or that does not come to be."""

WITHOUT_A_TEST = frozenset({5, 33})


def stage() -> None:
    """Copy what is needed; what has not changed keeps its time, so that what is known of it stands."""
    ignore = shutil.ignore_patterns("__pycache__", "real")
    shutil.rmtree(STAGE / "src", ignore_errors=True)
    shutil.rmtree(STAGE / "tests", ignore_errors=True)
    shutil.copytree(REPOSITORY / "addon" / "mcp_sessions", STAGE / "src" / "mcp_sessions", ignore=ignore)
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, STAGE / name, ignore=ignore, dirs_exist_ok=True)
        else:
            shutil.copy2(source, STAGE / name)


def mutmut(*arguments: str) -> None:
    """Run it there, at low priority."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(CHILDREN), *arguments]
    subprocess.run(command, cwd=STAGE, check=True, preexec_fn=lambda: os.nice(10))


def survives_alone(name: str) -> bool:
    """Whether a mutant survives all tests of its room, too, in a process of its own."""
    tests = {"core": ("tests/core", "tests/ending"), "rules": ("tests/rules",)}[name.split(".")[1]]
    mutants = STAGE / "mutants"
    options = ("-x", "-q", "-n", "0", "-m", "not long and not real", "-p", "no:cacheprovider", "-p", "no:rerunfailures")
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=mutants,
            env={**os.environ, "PYTHONPATH": str(mutants / "src"), "MUTANT_UNDER_TEST": name},
            preexec_fn=lambda: os.nice(10),
            capture_output=True,
            timeout=600,
        )
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


def known() -> dict[str, int | None]:
    """What came of each mutant, by its name; None of those that were not run yet."""
    found: dict[str, int | None] = {}
    for file in sorted((STAGE / "mutants" / "src").rglob("*.meta")):
        found |= json.loads(file.read_text("utf-8"))["exit_code_by_key"]
    return found


def report(names: list[str], results: dict[str, int | None]) -> None:
    """Print the shares, and who has survived."""
    rooms: dict[str, Counter[str]] = {}
    survivors = []
    for name in names:
        result = results.get(name)
        if result is None:
            continue
        came = "killed" if result in KILLED else "without a test" if result in WITHOUT_A_TEST else "survived"
        for room in (name.split(".")[1], "both"):
            rooms.setdefault(room, Counter())[came] += 1
        if came != "killed":
            survivors.append(f"{came}: {name}")
    print("\n".join(["", *survivors, ""]), flush=True)
    for room, counts in sorted(rooms.items()):
        total = counts.total()
        others = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if what != "killed")
        print(f"{room}: {counts['killed']} of {total} killed, {counts['killed'] / total:.1%}; {others}")
    print(f"{len(results)} mutants in all. One of them: cd {STAGE} && mutmut show NAME")


def main() -> None:
    """Run and report."""
    stage()
    if options.sample or options.only:
        mutmut("mcp_sessions.core.outbox.*")  # they come to be, and it is found out which tests run what
        names = sorted(name for name in known() if fnmatch.fnmatch(name, options.only or "*"))
        if options.sample:
            names = random.Random(options.seed).sample(names, min(options.sample, len(names)))
        for at in range(0, len(names), IN_ONE_GO):
            mutmut(*names[at : at + IN_ONE_GO])
            report(names[: at + IN_ONE_GO], known())
        results = known()
        for name in names:
            if results[name] not in KILLED and not survives_alone(name):
                print(f"killed at last: {name}", flush=True)
                results[name] = 1
        report(names, results)
    else:
        mutmut()
        report([*known()], known())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="so many of them, drawn by chance")
    parser.add_argument("--seed", type=int, default=1, help="of that chance")
    parser.add_argument("--only", default="", help="mutants of which the name is like this")
    parser.add_argument("--children", type=int, default=1, help="processes beside each other")
    options = parser.parse_args()
    CHILDREN = options.children
    main()
