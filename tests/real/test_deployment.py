"""The container and the unit, as far as a machine without Docker and without systemd running can try them.

The last stage of the Dockerfile is taken apart, and its steps run in a mount namespace: as its user, without a
capability, on a file system that can only be read. The unit is looked at by systemd's own tools, and its command gets
its socket from one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from conftest import StartClient, StartServer
from harness.environments import REPOSITORY
from harness.ports import free_port
from harness.process import Process

pytestmark = pytest.mark.real

CONTAINER, UNITS = REPOSITORY / "recipes" / "container", REPOSITORY / "recipes" / "systemd"
HOME = Path(sys.base_prefix)
STATE = "/var/lib/mcp"


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of the Dockerfile, by stage."""
    text = re.sub(r"^#.*\n", "", (CONTAINER / "Dockerfile").read_text("utf-8"), flags=re.M).replace("\\\n", " ")
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append((word, re.sub(r" +", " ", rest.strip())))
    return found


def last(word: str) -> str:
    """What an instruction of the last stage says."""
    return dict(stages()[-1])[word]


def cannot() -> str:
    """Why no mount namespace can be made here; empty if one can."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("setpriv"):
        return "a mount namespace needs Linux, root and setpriv"
    done = subprocess.run(["unshare", "-m", "-p", "-f", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else f"no mount namespace: {done.stderr.decode().strip()}"


STAGE = r"""
set -eu
here=$1 venv=$2 python=$3 code=$4 user=$5 group=$6 run=$7; shift 7
mount --make-rprivate /
# What the base image and the stage before would have: Python, and the environment at /opt/mcp.
mount -t tmpfs tmpfs /mnt; mkdir /mnt/python /mnt/venv /mnt/here /mnt/code
chmod 755 "$here"
mount --bind "$python" /mnt/python; mount --bind "$venv" /mnt/venv; mount --bind "$here" /mnt/here
mount --bind "$code" /mnt/code
mount -t tmpfs -o mode=755 tmpfs /root  # where nobody may look, and where either may lie
for at in python code; do
  eval "path=\$$at"; [ -d "$path" ] || { mkdir -p "$path"; mount --bind "/mnt/$at" "$path"; }
done
mount -t tmpfs tmpfs /opt; mkdir /opt/mcp; mount --bind /mnt/venv /opt/mcp
mount --bind /mnt/here /var/lib
sh -euc "$run"
# Nothing can be written from here on, but the volume.
awk '{print $5}' /proc/self/mountinfo | grep -vE '^/(proc|sys|dev)(/|$)' | while read -r at; do
  mount -o remount,bind,ro "$at" 2>/dev/null || true
done
mount --bind /var/lib/mcp /var/lib/mcp; mount -o remount,bind,rw /var/lib/mcp
exec setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --bounding-set -all --inh-caps -all "$@"
"""
"""Sets the stage: what is done by the runtime of containers."""


def in_the_container(folder: Path, *words: str) -> list[str]:
    user, _, group = last("USER").partition(":")
    run = " && ".join(rest for word, rest in stages()[-1] if word == "RUN")
    there = [str(folder), sys.prefix, str(HOME), str(REPOSITORY / "addon")]
    return ["unshare", "-m", "sh", "-c", STAGE, "stage", *there, user, group, run, *words]


def status(pid: int) -> dict[str, str]:
    """What Linux says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def files(folder: Path) -> dict[str, os.stat_result]:
    return {path.name: path.stat() for path in folder.iterdir()}


def environment() -> dict[str, str]:
    env = dict(pair.split("=", 1) for pair in shlex.split(last("ENV")))
    # The interpreter that the environment's is a link to, and what it is made of, lie elsewhere in the image.
    return env | {"LD_LIBRARY_PATH": str(HOME / "lib")}


@pytest.mark.skipif(bool(cannot()), reason=cannot())
async def test_the_container_runs_as_nobody_on_a_file_system_that_can_only_be_read(
    sdk_server: StartServer, sdk_client: StartClient, tmp_path: Path
) -> None:
    server = await sdk_server(1)
    port, metrics = free_port(), free_port()

    def here(words: Sequence[str]) -> list[str]:
        return [word.replace("8080", str(port)).replace("9464", str(metrics)) for word in words]

    entry = here(json.loads(last("ENTRYPOINT")))
    command = ["--listen-host", "127.0.0.1", "--mode", f"reverse:http://127.0.0.1:{server.port}"]
    env = environment()
    async with Process(in_the_container(tmp_path, *entry, *command), env=env, name="container") as container:
        await container.wait_line(r"mcp: mitmproxy-mcp-sessions .*", 30)
        about = status(container.pid)
        assert about["Uid"].split() == ["10001"] * 4
        assert int(about["CapEff"], 16) == 0
        assert about["NoNewPrivs"] == "1"

        client = await sdk_client(1, f"http://127.0.0.1:{port}/mcp")
        assert (await client.call("echo", text="x")).text == "x"
        # Root's client, and nobody's proxy.
        await container.wait_line(r"session \w+ opened client=127\.0\.0\.1", 10)

        healthy = here(json.loads(last("HEALTHCHECK").partition("CMD ")[2]))
        tried = in_the_container(tmp_path, *healthy)
        async with Process(tried, env=env, name="health") as health:
            assert await health.wait(20) == 0, health.report()
        writing = f"for at in / /tmp /opt/mcp /var/lib {STATE}; do touch $at/tried 2>/dev/null && echo $at; done; true"
        async with Process(in_the_container(tmp_path, "sh", "-c", writing), env=env, name="touch") as touch:
            assert await touch.wait(20) == 0, touch.report()
        assert list(touch.lines) == [STATE]
        await client.close()
        container.signal(signal.Signals[last("STOPSIGNAL")])
        assert await container.wait(20) == 0, container.report()
    written = files(tmp_path / "mcp")
    assert "mcp-sessions.sqlite" in written
    assert {about.st_uid for about in written.values()} == {10001}
    assert written["mcp-sessions.sqlite"].st_mode & 0o077 == 0
    async with Process(in_the_container(tmp_path, *healthy), env=env, name="health") as health:
        assert await health.wait(20) == 1, "nobody is there any more"


def yaml(path: Path) -> Any:
    loader = YAML(typ="safe", pure=True)
    loader.constructor.add_constructor("!reset", lambda made, node: None)
    return loader.load(path.read_text("utf-8"))


def test_what_runs_the_image_agrees_with_it() -> None:
    assert last("USER") == "10001:10001"
    assert json.loads(last("VOLUME")) == [STATE]
    healthy = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    proxy = yaml(CONTAINER / "compose.yaml")["services"]["proxy"]
    assert (CONTAINER / proxy["build"]["context"] / proxy["build"]["dockerfile"]).resolve() == CONTAINER / "Dockerfile"
    assert proxy["read_only"]
    assert proxy["cap_drop"] == ["ALL"]
    assert proxy["volumes"] == [f"ledger:{STATE}"]
    certain = yaml(CONTAINER / "certainty.yaml")["services"]["proxy"]
    assert (certain["pid"], certain["network_mode"], certain["user"]) == ("host", "host", "0:0")
    pod = yaml(CONTAINER / "sidecar.yaml")["spec"]["template"]["spec"]
    [sidecar] = pod["initContainers"]
    assert pod["shareProcessNamespace"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert sidecar["image"] == proxy["image"]
    assert sidecar["securityContext"]["readOnlyRootFilesystem"]
    assert {mount["mountPath"] for mount in sidecar["volumeMounts"]} == {STATE, "/tmp"}
    assert {mount["name"] for mount in sidecar["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    for probe in ("startupProbe", "livenessProbe"):
        assert sidecar[probe]["exec"]["command"] == healthy
    for words in (proxy["command"], certain["command"], sidecar["args"], json.loads(last("CMD"))):
        assert words[0] == "--listen-host"
        assert words[2:3] == ["--mode"]
    copied = [rest.split()[:-1] for word, rest in stages()[0] if word == "COPY"]
    allowed = (CONTAINER / "Dockerfile.dockerignore").read_text().split()
    assert {f"!{name.removeprefix('./')}" for names in copied for name in names} <= set(allowed)
    assert all((REPOSITORY / name).exists() for names in copied for name in names)


def unit(name: str) -> dict[str, list[str]]:
    """What a unit says, by key."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text("utf-8").replace("\\\n", "").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    tool = str(Path(sys.executable).with_name("mcp-mitmdump"))
    for file in UNITS.glob("mcp-sessions.s*t*"):
        shutil.copy(file, tmp_path)
    service, dropin = tmp_path / "mcp-sessions.service", tmp_path / "mcp-sessions.service.d"
    service.write_text((UNITS / service.name).read_text().replace("/opt/mcp/bin/mcp-mitmdump", tool))

    def analyzed(*words: str | Path) -> str:
        done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout + done.stderr

    assert analyzed("verify", service, tmp_path / "mcp-sessions.socket").strip() == ""
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", analyzed("security", "--offline=yes", service))
    assert exposure
    assert float(exposure[1]) <= 1.7
    assert f"gives it {exposure[1]} of 10" in (UNITS / "systemd.md").read_text("utf-8")
    dropin.mkdir()
    shutil.copy(UNITS / "certainty.conf", dropin)
    assert analyzed("verify", service).strip() == ""
    service.write_text(service.read_text() + "\n[Service]\nNoSuchKey=1\n")
    assert "NoSuchKey" in analyzed("verify", service), "it does look"


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="there is no systemd here")
async def test_the_proxy_gets_its_socket_from_systemd(
    sdk_server: StartServer, sdk_client: StartClient, tmp_path: Path
) -> None:
    server = await sdk_server(1)
    service = unit("mcp-sessions.service")
    said = service["ExecStart"][0]
    tool = str(Path(sys.executable).with_name("mcp-mitmdump"))
    for given, here in (
        ("/opt/mcp/bin/mcp-mitmdump", tool),
        ("${MCP_MODE}", f"reverse:http://127.0.0.1:{server.port}"),
        ("/var/lib/mcp-sessions", str(tmp_path)),
        ("/var/log/mcp-sessions", str(tmp_path)),
        ("$MCP_MORE", "--set mcp_end=log"),
    ):
        assert given in said
        said = said.replace(given, here)
    port = free_port()
    given_too = [word for pair in shlex.split(service["Environment"][0]) for word in ("-E", pair)]
    activate = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", *given_too, *shlex.split(said)]
    # Nothing runs yet: the first that connects has it started, and waits.
    async with Process(activate, env={"PATH": os.environ["PATH"]}, name="activate") as proxy:
        client = await sdk_client(1, f"http://127.0.0.1:{port}/mcp")
        assert (await client.call("echo", text="x")).text == "x"
        await proxy.wait_line(rf"listening at 127\.0\.0\.1:{port}\.", 10)
        # No forwarder in between: the client is known by its process.
        await proxy.wait_line(r"opened client=\w+\[\d+\]", 10)
        await client.close()
        assert await proxy.interrupt(20) == 0, proxy.report()
    written = files(tmp_path)
    assert written["mcp.jsonl"].st_size
    assert "mcp-sessions.sqlite" in written
