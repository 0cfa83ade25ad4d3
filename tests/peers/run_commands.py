# mypy: ignore-errors
"""A mitmproxy script that runs the command in the body of a POST to /commands, and answers with what it says."""

from mitmproxy import ctx, exceptions, http


def request(flow: http.HTTPFlow) -> None:
    if flow.request.path == "/commands":
        try:
            said = ctx.master.commands.execute(flow.request.text)
        except exceptions.CommandError as e:
            flow.response = http.Response.make(400, str(e))
        else:
            flow.response = http.Response.make(200, "\n".join(map(str, said)) if isinstance(said, list) else str(said))
