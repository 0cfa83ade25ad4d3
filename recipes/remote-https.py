"""A remote server with TLS, as a proxy and in its place: `uv run recipes/remote-https.py`.

Two trusts are needed: the client's in mitmproxy's certificate authority, and mitmproxy's in the server's.
"""

from __future__ import annotations

from staging import MiniMcp, Mitmdump, ScriptedServer, SdkClient, Stage, logged, perform


async def story(stage: Stage) -> str:
    mini = MiniMcp()
    async with ScriptedServer(mini, tls=True) as server:
        # A certificate from a public authority needs no such option.
        trust = {"ssl_verify_upstream_trusted_ca": server.ca}

        stage.title(f"As a regular proxy: HTTPS_PROXY, SSL_CERT_FILE, and {server.url}")
        async with Mitmdump(options=trust) as proxy:
            env = {"HTTPS_PROXY": proxy.base, "HTTP_PROXY": proxy.base}
            async with SdkClient(1, env=env) as client:
                refused = await client.do("connect", url=server.url, name="agent")
                stage.say("without trust in mitmproxy's authority: " + ("connected" if refused.ok else "refused"))
                stage.expect(not refused.ok, "a client connected that does not trust mitmproxy")
            async with SdkClient(1, env=env | {"SSL_CERT_FILE": str(proxy.ca)}) as client:
                await used(stage, mini, client, server.url, proxy)

        stage.title(f"In reverse: --mode reverse:{server.base}, and the client speaks plain HTTP on loopback")
        async with Mitmdump(server.url, options=trust) as proxy, SdkClient(1) as client:
            await used(stage, mini, client, proxy.url, proxy)

        stage.title("In reverse, to a server whose certificate mitmproxy does not trust")
        async with Mitmdump(server.url) as proxy, SdkClient(1) as client:
            refused = await client.do("connect", url=proxy.url, name="agent")
            stage.say("connected" if refused.ok else "refused")
            stage.expect(not refused.ok, "the server's certificate was not checked")
    return "A session at an HTTPS server was brought back in both modes, and no certificate was taken unchecked."


async def used(stage: Stage, mini: MiniMcp, client: SdkClient, url: str, proxy: Mitmdump) -> None:
    """A call before and one after the loss of all sessions."""
    await client.connect(url, name="agent")
    before = await client.call("echo", text="before")
    mini.forget()
    after = await client.call("echo", text="after", limit=5)
    stage.say(f"before the loss: {before.text or before.error}; after it: {after.text or after.error}")
    stage.expect(before.ok and after.ok, "a call failed")
    stage.expect(logged(proxy, "recovered"), "the proxy did not look into the TLS traffic")
    await client.close()


if __name__ == "__main__":
    perform(story)
