"""The key bindings that are offered for the console."""

from __future__ import annotations

from pathlib import Path

from mitmproxy.test import taddons
from mitmproxy.tools.console import defaultkeys, keymap

from mcp_sessions.addon import McpSessions

KEYS = Path(__file__).parents[2] / "recipes" / "keys.yaml"


async def test_they_load_name_commands_that_exist_and_take_no_key_of_mitmproxys() -> None:
    addon = McpSessions()
    with taddons.context(addon) as context:
        standard = keymap.Keymap(context.master)
        defaultkeys.map(standard)
        taken = {binding.key for binding in standard.bindings}
        mine = keymap.Keymap(context.master)
        keymap.KeymapConfig(context.master).load_path(mine, str(KEYS))
        assert len(mine.bindings) == 5
        assert not taken & {binding.key for binding in mine.bindings}
        named = {word for binding in mine.bindings for word in binding.command.split() if word.startswith("mcp.")}
        assert named <= set(context.master.commands.commands)
        addon.done()
