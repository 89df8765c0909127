"""Measure the images/s of `mml serve` with many clients, against a loop that decodes and predicts, in one run.

    python scripts/bench_serve.py [--clients 50] [--seconds 30] [--size 224] [--arch resnet18] [--threads 1]

A network with random weights is trained for one step to get a record. The loop decodes JPEG files with Pillow, resizes them and
calls the same timm network with batches of 32, in its own process with the same threads, before and after the server is
measured. Each client sends one image at a time over one connection. Printed are images/s of both and their ratio, the ratio
of CPU seconds per image (which depends less on other programs), responses other than 200, and response times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

LOOP = """
import io, json, sys, time
from pathlib import Path
import numpy as np, timm, torch
from PIL import Image
folder, arch, size, threads, seconds = sys.argv[1:]
torch.set_num_threads(int(threads))
network = timm.create_model(arch, num_classes=2).eval()
contents = [path.read_bytes() for path in sorted(Path(folder).rglob("*.jpg"))]
def batch(contents):
    images = [Image.open(io.BytesIO(content)).convert("RGB") for content in contents]
    images = [image.resize((int(size),) * 2, Image.Resampling.BILINEAR) for image in images]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return network(pixels).softmax(1).tolist()
batch(contents[:32])
done, started, cpu = 0, time.perf_counter(), time.process_time()
while time.perf_counter() - started < float(seconds):
    done += len(batch(contents[:32]))
passed = time.perf_counter() - started
print(json.dumps({"images/s": done / passed, "cpu": (time.process_time() - cpu) / done}))
"""
_IMAGES = 32


def make_images(folder: Path) -> list[bytes]:
    """Write JPEG files of 400 x 300 pixels in two class folders, and return their contents."""
    rng = np.random.default_rng(0)
    for number in range(_IMAGES):
        path = folder / f"{'ab'[number % 2]}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)
        Image.fromarray(small).resize((400, 300), Image.Resampling.BICUBIC).save(path, quality=90)
    return [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]


def loop(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    words = [str(folder), options.arch, str(options.size), str(options.threads), str(options.seconds / 3)]
    done = subprocess.run([sys.executable, "-c", LOOP, *words], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


async def client(
    address: tuple[str, int], images: Sequence[bytes], first: int, until: float, responses: list[tuple[int, float]]
) -> None:
    """Send requests over one connection until a time; append status and seconds of every response."""
    reader, writer = await asyncio.open_connection(*address)
    place = first
    while time.perf_counter() < until:
        body = images[place % len(images)]
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        started = time.perf_counter()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        content = await reader.readexactly(length)
        status = int(answer.split(b" ", 2)[1])
        responses.append((status if b'"probabilities"' in content else -status, time.perf_counter() - started))
        place += 1
    writer.close()


async def load(
    address: tuple[str, int], images: Sequence[bytes], options: argparse.Namespace
) -> tuple[list[tuple[int, float]], float]:
    responses, started = list[tuple[int, float]](), time.perf_counter()
    until = started + options.seconds
    await asyncio.gather(*[client(address, images, place, until, responses) for place in range(options.clients)])
    return responses, time.perf_counter() - started


def cpu_of(process: int) -> float:
    """Return the CPU seconds that a process has used (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("clients", 50), ("seconds", 30.0), ("size", 224), ("threads", 1)):
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--arch", default="resnet18")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        images = make_images(folder / "images")
        places = [f"out_dir={folder / 'results'}", f"data_dir={folder / 'data'}", f"sys.threads={options.threads}"]
        train = [
            "train", "task=folder", f"task.root={folder / 'images'}", f"arch={options.arch}", "arch.pretrained=false",
            f"preprocessing.size={options.size}", "split=holdout", "mode.nested=false", "mode.subroutines=[train]",
            "trainer.max_steps=1", "optimizer.lr=1e-9",
        ]  # fmt: skip
        mml = [sys.executable, "-m", "mlpipe.cli"]
        subprocess.run([*mml, *train, *places], check=True, stdout=subprocess.DEVNULL)
        loops = [loop(folder / "images", options)]
        limits = ["mode.rate=null", f"mode.concurrency={options.clients}", "mode.port=0", "mode.record=1"]
        server = subprocess.Popen([*mml, "serve", *limits, *places], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        (host, port) = next(
            line.partition("//")[2].split(": ")[0].split(":") for line in server.stdout if line.startswith("http://")
        )
        before = cpu_of(server.pid)
        responses, seconds = asyncio.run(load((host, int(port)), images, options))
        used = cpu_of(server.pid) - before
        server.terminate()
        server.communicate()
        loops.append(loop(folder / "images", options))
    bare, cpu = (statistics.mean(run[name] for run in loops) for name in ("images/s", "cpu"))
    rate, waits = len(responses) / seconds, sorted(wait for _, wait in responses)
    wrong = sum(status != 200 for status, _ in responses)
    print(
        f"{options.arch}, {options.size} pixels, {options.threads} threads, {options.clients} clients, {seconds:.0f} s"
    )
    print(f"loop    {bare:8.1f} images/s ({loops[0]['images/s']:.1f} before, {loops[1]['images/s']:.1f} after)")
    print(f"server  {rate:8.1f} images/s, ratio {rate / bare:.2f}; code {server.returncode}")
    print(f"{len(responses)} responses, {wrong} of them without a prediction")
    print(
        f"CPU per image: loop {1000 * cpu:.1f} ms, server {1000 * used / len(responses):.1f} ms, "
        f"ratio {cpu * len(responses) / used:.2f}"
    )
    print(f"response time {statistics.median(waits):.2f} s (median), {waits[int(0.95 * len(waits))]:.2f} s (95 %)")


if __name__ == "__main__":
    main()
