"""Virtual environments for peers, made once and kept."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PEERS = REPOSITORY / "tests" / "peers"
_STORE = REPOSITORY / ".peers"


def interpreter(*packages: str) -> Path:
    """The Python of an environment that has these packages, e.g. `interpreter("mcp==1.30.0")`."""
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    name = "_".join([version, *(re.sub(r"[^A-Za-z0-9.]+", "-", package) for package in packages)])
    home = _STORE / name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # Written last: an environment whose making was interrupted does not count.
    complete = home / "complete"
    if complete.exists():
        return python
    _STORE.mkdir(exist_ok=True)
    with locked(_STORE / f"{name}.lock"):
        if not complete.exists():
            shutil.rmtree(home, ignore_errors=True)
            base = getattr(sys, "_base_executable", sys.executable)
            _run([uv(), "venv", "--quiet", "--python", base, str(home)])
            _run([uv(), "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *packages])
            complete.touch()
    return python


def uv() -> str:
    """Where uv is."""
    found = os.environ.get("UV") or shutil.which("uv")
    if not found:
        raise RuntimeError("uv is needed to make the peers' environments: not in the variable UV, not on the path")
    return found


def python_of(version: str) -> str:
    """An interpreter of this version on this machine, for uv does not look at all that pyenv has; empty if none."""
    asked = [uv(), "python", "find", "--no-python-downloads", version]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    of_pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return said or next(map(str, of_pyenv.glob(f"{version}.*/bin/python")), "")


def _run(command: list[str]) -> None:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            # Released when the file is closed, also if this process dies.
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
