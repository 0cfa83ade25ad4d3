"""The wheel, as people install it: into empty environments of each Python, beside a mitmproxy, as a tool, for once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.environments import REPOSITORY, python_of, uv
from harness.process import Process

pytestmark = pytest.mark.real

EXTRAS = "[fleet,prometheus,otel,schema,pytest]"
QUIET = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}


def run(*command: str | Path, **env: str) -> str:
    """Run uv to its end; what it printed."""
    done = subprocess.run(
        [uv(), *command], env={**os.environ, **QUIET, **env}, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run("build", "--quiet", "--wheel", "--out-dir", folder, REPOSITORY)
    [built] = folder.glob("*.whl")
    return built


def bin_of(home: Path) -> Path:
    return home / ("Scripts" if os.name == "nt" else "bin")


def with_extras(wheel: Path) -> str:
    return f"mitmproxy-mcp-sessions{EXTRAS} @ {wheel.as_uri()}"


def into_an_empty_environment(python: str, wheel: Path, home: Path) -> list[str | Path]:
    run("venv", "--quiet", "--python", python, home)
    run("pip", "install", "--quiet", "--python", home, with_extras(wheel))
    return [bin_of(home) / "mcp-mitmdump"]


def beside_a_mitmproxy(python: str, wheel: Path, home: Path) -> list[str | Path]:
    """Where mitmproxy is used already, as a script of its."""
    run("venv", "--quiet", "--python", python, home)
    run("pip", "install", "--quiet", "--python", home, "mitmproxy>=12.2,<13")
    before = run("pip", "freeze", "--python", home)
    run("pip", "install", "--quiet", "--python", home, wheel)
    after = run("pip", "freeze", "--python", home)
    assert set(before.splitlines()) <= set(after.splitlines()), "what was there is as it was"
    path = subprocess.run([bin_of(home) / "mcp-sessions", "path"], capture_output=True, text=True, check=True).stdout
    return [bin_of(home) / "mitmdump", "-s", path.strip()]


def as_a_tool(python: str, wheel: Path, home: Path) -> list[str | Path]:
    where = {"UV_TOOL_DIR": str(home / "tools"), "UV_TOOL_BIN_DIR": str(home / "bin")}
    run("tool", "install", "--quiet", "--python", python, wheel, **where)
    assert {"mcp-mitmdump", "mcp-mitmweb", "mcp-mitmproxy", "mcp-sessions"} <= {
        file.stem for file in (home / "bin").iterdir()
    }
    return [home / "bin" / "mcp-mitmdump"]


def for_once(python: str, wheel: Path, home: Path) -> list[str | Path]:
    return [uv(), "tool", "run", "--quiet", "--python", python, "--from", with_extras(wheel), "mcp-mitmdump"]


WAYS: list[tuple[Callable[[str, Path, Path], list[str | Path]], str]] = [
    (into_an_empty_environment, "3.12"),
    (beside_a_mitmproxy, "3.12"),
    (as_a_tool, "3.13"),
    (for_once, "3.13"),
]


@pytest.mark.parametrize(("way", "python"), WAYS, ids=lambda one: getattr(one, "__name__", one))
async def test_it_starts(
    way: Callable[[str, Path, Path], list[str | Path]], python: str, wheel: Path, tmp_path: Path
) -> None:
    interpreter = python_of(python)
    if not interpreter:
        pytest.skip(f"there is no Python {python}")
    command = way(interpreter, wheel, tmp_path / "home")
    options = ["--listen-host", "127.0.0.1", "--listen-port", "0", "--set", f"confdir={tmp_path}"]
    async with Process([*command, *options], env=QUIET, cwd=tmp_path, name="mcp-mitmdump") as proxy:
        said = (await proxy.wait_line(r"mcp: mitmproxy-mcp-sessions \d.* rules judged.*", 60)).group()
        if way in (into_an_empty_environment, for_once):
            # On 3.12 mitmproxy and the messages' types ask for different versions of one package.
            assert ("the extra schema is not installed" in said) is (python == "3.12"), said
        assert await proxy.interrupt(15) == 0, proxy.report()


def test_the_interpreter_of_the_tests_is_one_of_those() -> None:
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in {python for _, python in WAYS}
    assert shutil.which("uv") or os.environ.get("UV")
