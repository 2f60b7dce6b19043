"""How much the server takes: throughput, waiting times, memory, and a restart under load.

    python benchmarks/server.py                              # shipped networks, 1024 px, 1, 8 and 64 clients
    python benchmarks/server.py --memory 10000               # memory over that many requests
    python benchmarks/server.py --model FOLDER --json figures.json

Starts `lungsight serve` on loopback in a process of its own and asks nothing but it. The clients share the machine with
it, so on few cores the server would do better alone. Needs the serve extra and httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np

from lungsight.inference import Result, load_model
from lungsight.inference.sessions import Session
from lungsight.phantom import draw

SERVE = "from lungsight.cli import main; main()"


def main() -> None:
    """Measure and print."""
    arguments = parse()
    pictures = [picture(seed, arguments.size) for seed in range(8)]
    report: dict[str, Any] = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_before": os.getloadavg()[0],
        "kilobytes_each": round(len(pictures[0]) / 1024),
    }
    for name, figures in without_server(arguments, pictures).items():
        report[name] = figures
        show(name, figures)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = start(arguments, listening, url)
        try:
            for clients in arguments.clients:
                count = max(arguments.requests, 2 * clients)
                report[f"{clients} clients"] = asyncio.run(load(url, pictures, clients, count))
                show(f"{clients} clients", report[f"{clients} clients"])
            if arguments.memory:
                report["memory"] = asyncio.run(memory(url, pictures, server.pid, arguments.memory))
                show("memory", report["memory"])
            if not arguments.no_restart:
                report["restart"] = asyncio.run(restart(arguments, listening, url, pictures, server))
                show("restart", report["restart"])
        finally:
            server.kill()
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of networks; default: those that ship")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--size", type=int, default=1024, help="side of the drawn X-rays in pixels")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--requests", type=int, default=200, help="for each number of clients")
    parser.add_argument(
        "--memory", type=int, default=1000, help="requests over which memory is watched; 0: none"
    )
    parser.add_argument("--no-restart", action="store_true", help="leave out the restart under load")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def without_server(arguments: argparse.Namespace, pictures: list[bytes]) -> dict[str, dict[str, float]]:
    """The same X-rays through the package, and what its networks saw through ONNX Runtime alone, on all cores."""
    model = load_model(arguments.model, threads=arguments.threads)
    many = pictures * max(1, arguments.requests // len(pictures))
    seen: list[tuple[Session, Any]] = []
    run = Session.run

    def note(session: Session, batch: Any) -> Any:
        seen.append((session, batch))
        return run(session, batch)

    Session.run = note  # type: ignore[method-assign]
    list(model.stream(pictures))
    Session.run = run  # type: ignore[method-assign]
    begin = time.perf_counter()
    count = sum(isinstance(one, Result) for one in model.stream(iter(many)))
    package = count / (time.perf_counter() - begin)
    rounds = max(1, len(many) // len(pictures))
    with ThreadPoolExecutor(arguments.threads) as pool:
        begin = time.perf_counter()
        list(pool.map(lambda pair: run(*pair), seen * rounds))
        alone = rounds * len(pictures) / (time.perf_counter() - begin)
    return {
        "the package, without a server": {"per_second": round(package, 2)},
        "ONNX Runtime alone": {"per_second": round(alone, 2), "networks": len({id(one) for one, _ in seen})},
    }


def picture(seed: int, size: int) -> bytes:
    """A drawn X-ray as PNG."""
    pixels = draw(np.random.default_rng(seed), hospital="north", covid=bool(seed % 2), size=512).pixels
    return bytes(cv2.imencode(".png", cv2.resize(pixels, (size, size)))[1].tobytes())


def start(arguments: argparse.Namespace, listening: socket.socket, url: str) -> subprocess.Popen[bytes]:
    """A server on the socket, as systemd would start it, once it is ready."""
    command = [sys.executable, "-c", SERVE, "serve", "--fd", str(listening.fileno())]
    command += ["--threads", str(arguments.threads)]
    command += ["--model", str(arguments.model)] if arguments.model else []
    log = subprocess.PIPE
    server = subprocess.Popen(command, pass_fds=[listening.fileno()], stdout=subprocess.DEVNULL, stderr=log)
    assert server.stderr is not None
    told = b""
    for line in server.stderr:
        told += line
        if b"open http" in line:
            break
    else:
        raise SystemExit(f"the server did not start:\n{told.decode()}")
    # Nothing may block on a full pipe.
    drain = ["cat"]
    subprocess.Popen(drain, stdin=server.stderr, stdout=subprocess.DEVNULL)
    return server


async def ask(client: httpx.AsyncClient, url: str, data: bytes, found: Counter[str]) -> float | None:
    """Seconds until the answer; None where it was refused or lost. A 503 is tried again when it says."""
    begin = time.perf_counter()
    while True:
        try:
            answer = await client.post(f"{url}/v1/predictions", files={"files": data})
        except httpx.HTTPError as error:
            found[type(error).__name__] += 1
            return None
        found[str(answer.status_code)] += 1
        if answer.status_code != 503:
            return time.perf_counter() - begin if answer.status_code == 200 else None
        await asyncio.sleep(float(answer.headers["Retry-After"]))


async def load(url: str, pictures: list[bytes], clients: int, count: int) -> dict[str, Any]:
    """`count` requests by `clients` that each send the next as soon as the last is answered."""
    found: Counter[str] = Counter()
    times: list[float] = []
    numbers = iter(range(count))

    async def work(client: httpx.AsyncClient) -> None:
        for number in numbers:
            seconds = await ask(client, url, pictures[number % len(pictures)], found)
            if seconds is not None:
                times.append(seconds)

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:
        await ask(client, url, pictures[0], Counter())
        before = await batches(client, url)
        begin = time.perf_counter()
        await asyncio.gather(*(work(client) for _ in range(clients)))
        seconds = time.perf_counter() - begin
        after = await batches(client, url)
    return {
        "per_second": round(len(times) / seconds, 2),
        "p50_ms": round(float(np.percentile(times, 50)) * 1000, 1),
        "p99_ms": round(float(np.percentile(times, 99)) * 1000, 1),
        "xrays_a_batch": round((after[0] - before[0]) / max(after[1] - before[1], 1), 2),
        "answers": dict(found),
    }


async def batches(client: httpx.AsyncClient, url: str) -> tuple[float, float]:
    """X-rays and batches so far."""
    text = (await client.get(f"{url}/metrics")).text
    total, count = (
        float(re.search(rf"^lungsight_batch_xrays_{word} (\S+)", text, re.M)[1])  # type: ignore[index]
        for word in ("sum", "count")
    )
    return total, count


async def memory(url: str, pictures: list[bytes], pid: int, count: int) -> dict[str, Any]:
    """Resident memory in MiB after each tenth of `count` requests by 8 clients."""
    taken = []
    for _ in range(10):
        await load(url, pictures, 8, count // 10)
        status = Path(f"/proc/{pid}/status").read_text()
        taken.append(int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024)  # type: ignore[index]
    return {"requests": count, "mib_after_each_tenth": taken, "growth_last_half_mib": taken[-1] - taken[4]}


async def restart(
    arguments: argparse.Namespace,
    listening: socket.socket,
    url: str,
    pictures: list[bytes],
    server: subprocess.Popen[bytes],
) -> dict[str, Any]:
    """Replace the server while 8 clients ask: the new one on the same socket first, then SIGTERM to the old one.

    Every request opens its own connection, since a server that stops may close an idle one at any time.
    """
    found: Counter[str] = Counter()
    over = False

    async def work(number: int) -> None:
        async with httpx.AsyncClient(timeout=120, headers={"Connection": "close"}) as client:
            while not over:
                await ask(client, url, pictures[number], found)

    clients = [asyncio.create_task(work(number)) for number in range(8)]
    await asyncio.sleep(2)
    before = sum(found.values())
    new = await asyncio.to_thread(start, arguments, listening, url)
    server.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(server.wait, 60)
    between = sum(found.values())
    await asyncio.sleep(2)
    over = True
    await asyncio.gather(*clients)
    after = sum(found.values()) - between
    new.send_signal(signal.SIGTERM)
    await asyncio.to_thread(new.wait, 60)
    lost = sum(count for kind, count in found.items() if kind not in ("200", "503"))
    return {
        "answers": dict(found),
        "lost": lost,
        "before": before,
        "after": after,
        "old_server_exit_code": code,
    }


def show(name: str, figures: dict[str, Any]) -> None:
    """One line."""
    print(f"{name}: {json.dumps(figures)}", flush=True)


if __name__ == "__main__":
    main()
