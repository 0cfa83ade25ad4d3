"""Schemas that others publish, out of packages that ship them: fetched once, checked by their hash, and kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.environments import REPOSITORY, locked

_PACKAGE = "@microsoft/jest-sarif@1.0.0-beta.0"
_MEMBER = "package/lib/schemas/sarif-2.1.0-rtm.5.json"
_SHA256 = "2d99159ae54a3eea97f81781cff48780548657c35949f4b7f25e99a2ba4de4f8"
"""Of the schema."""


@cache
def sarif_schema() -> Any:
    """The JSON Schema of SARIF 2.1.0 as OASIS has it, which Microsoft's package of matchers ships (MIT)."""
    store = REPOSITORY / ".peers"
    kept = store / "sarif-2.1.0.json"
    store.mkdir(exist_ok=True)
    with locked(store / "sarif.lock"):
        if not kept.exists():
            kept.write_bytes(_fetched(store))
    text = kept.read_bytes()
    assert hashlib.sha256(text).hexdigest() == _SHA256, f"{kept} is not what it was: delete it"
    return json.loads(text)


def _fetched(store: Path) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here, which brings the schema of SARIF")
    command = [npm, "pack", "--silent", "--pack-destination", str(store), _PACKAGE]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        pytest.skip(f"the schema of SARIF can't be had: npm pack {_PACKAGE} failed")
    packed = store / done.stdout.strip().splitlines()[-1]
    with tarfile.open(packed) as archive:
        member = archive.extractfile(_MEMBER)
        assert member is not None
        text = member.read()
    packed.unlink()
    return text
