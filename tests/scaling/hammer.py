"""A client process that increments a counter through several servers, and prints the tally as JSON.

Run as `python -m tests.scaling.hammer NAME CALLS PORT...`.
"""

import asyncio
import sys

from .replicas import Tally, count

CLIENTS = 4


async def main(name: str, calls: int, ports: list[int]) -> Tally:
    tally = Tally()
    shares = [ports[number % len(ports) :] + ports[: number % len(ports)] for number in range(CLIENTS)]
    await asyncio.gather(*(count(share, name, calls // CLIENTS, tally) for share in shares))
    return tally


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1], int(sys.argv[2]), [int(port) for port in sys.argv[3:]])).to_json())
