"""Looks for bytes that make a parser fail, guided by which branches they take (atheris).

    uv run --group fuzz tests/fuzz/run.py                        # every target, two minutes each
    uv run --group fuzz tests/fuzz/run.py --seconds 3600 sse     # one, for an hour

What was found to take new branches is kept in `.fuzz`, and is where the next run begins. A find is written there, too,
and ends the run with status 1: `--again FILE TARGET` shows it once more.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
KEPT = TESTS.parent / ".fuzz"
NAMES = ("sse", "message", "headers", "redaction", "recording")
LONGEST = 4096
"""Bytes of an input."""


def search(name: str, seconds: int) -> int:
    """Search in a process of its own, as atheris never comes back; its status."""
    corpus = KEPT / name
    corpus.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, __file__, "--within", name, str(corpus)),
        *(f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-artifact_prefix={KEPT}/find-{name}-"),
        *("-timeout=20", "-print_final_stats=1", "-verbosity=1"),
    ]
    said = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", preexec_fn=lambda: os.nice(10))
    figures = [line.removeprefix("stat::") for line in said.stderr.splitlines() if line.startswith("stat::")]
    covered = [line for line in said.stderr.splitlines() if "cov: " in line]
    print(
        f"{name}: status {said.returncode}; {covered[-1].strip() if covered else ''}; {', '.join(figures[:2])}",
        flush=True,
    )
    if said.returncode:
        print(said.stderr[-4000:])
    return said.returncode


def within(name: str, arguments: list[str]) -> None:
    """The search itself."""
    import atheris

    sys.path.insert(0, str(TESTS))
    with atheris.instrument_imports(include=["mcp_sessions", "mitmproxy.io.tnetstring"]):
        from fuzz.targets import SEEDS, TARGETS
    for number, seed in enumerate(SEEDS[name]):
        (KEPT / name / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def main() -> None:
    """Search by every target that is asked for."""
    if sys.argv[1:2] == ["--within"]:
        within(sys.argv[2], sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=int, default=600, help="for all of them together")
    parser.add_argument("--again", type=Path, help="a find, to be shown once more")
    options = parser.parse_args()
    targets = options.targets or NAMES
    if options.again:
        sys.path.insert(0, str(TESTS))
        from fuzz.targets import TARGETS

        TARGETS[targets[0]](options.again.read_bytes())
        return
    found = [search(name, options.seconds // len(targets)) for name in targets]
    sys.exit(any(found))


if __name__ == "__main__":
    main()
