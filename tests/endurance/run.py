"""The long course: `uv run tests/endurance/run.py`, ten minutes by default. Exits with 1 if anything is left."""

import argparse
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from endurance.course import Course, Run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=60, help="of each kind, at a time")
    parser.add_argument("--life", type=float, default=15, help="seconds that a client lives, about")
    parser.add_argument("--losses", type=int, default=30, help="how often the server loses everything")
    parser.add_argument("--kills", type=int, default=6, help="how often the proxy is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="folder for what the proxy logs, and the file of mcp_log")
    asked = vars(parser.parse_args())
    folder: Path | None = asked.pop("log")
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    run = Run(Course(**asked), **({"mcp_log": folder / "mcp.jsonl"} if folder else {}))
    found = asyncio.run(run.run())
    if folder:
        (folder / "proxy.log").write_text("\n".join(run.log), "utf-8")
    for what, figure in found.figures.items():
        print(f"{what:<45} {figure}")
    for fault in found.faults:
        print(f"FAULT: {fault}")
    sys.exit(1 if found.faults else 0)
