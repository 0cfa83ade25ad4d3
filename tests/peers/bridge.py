# mypy: ignore-errors
"""A bridge: whoever connects to it is connected to a port of this host, byte by byte, as by `ssh -L`.

With a header it begins each connection's first request with it, as a proxy does that says that it forwards.
"""

import argparse
import asyncio


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("to", type=int, help="the port to connect to")
    parser.add_argument("--port", type=int, default=0, help="where to listen")
    parser.add_argument("--header", default="")
    options = parser.parse_args()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", options.to)
        if options.header:
            onward.write(await reader.readline() + options.header.encode() + b"\r\n")
        await asyncio.gather(copy(reader, onward), copy(there, writer))

    server = await asyncio.start_server(accepted, "127.0.0.1", options.port)
    print(f"READY {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
