"""Measure how images become batches: decoders, `mml pp`, its memory, and loading from its cache, side by side in one run.

    python scripts/bench_data.py [--images 1000] [--rounds 5] [--json FILE] [--only decoders packing memory loading]

Decoders take turns on the same files; their times are medians of processor time on one core. Packing is measured in wall time
with one thread and with all, each in its own process. Peak memory is that of this process; "before" is the memory of Python
and the imported libraries.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

SECTIONS = ("decoders", "packing", "memory", "loading")
TOP = Path(__file__).parents[1]

PACKS = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
from bench_data import peak_mb
from mlpipe.data import cache, preprocessing, sources
root, folder, workers, size, keep = sys.argv[1:]
task = sources.folder(root=root)
steps = preprocessing.standard(3, id="bench", size=int(size), keep=keep)
before = peak_mb()
started = time.perf_counter()
pack = cache.build(task, steps, Path(folder), workers=int(workers))
seconds = time.perf_counter() - started
print(json.dumps({"images_per_s": len(pack) / seconds, "peak_mb": peak_mb(), "before_mb": before}))
"""


def peak_mb() -> float:
    """Return the peak memory of this process so far, in MB."""
    import resource

    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux `ru_maxrss` starts at the peak of the parent process.
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


def photo(height: int, width: int, seed: int) -> Any:
    """Return a synthetic photograph: smooth areas, edges and some noise, so that files have a realistic size."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(seed)
    areas = draw.integers(0, 256, (height // 32 + 2, width // 32 + 2, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(areas).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    return Image.fromarray((smooth + draw.integers(-8, 9, smooth.shape)).clip(0, 255).astype(np.uint8))


def encoded(picture: Any, kind: str) -> bytes:
    """Encode an image as the bytes of a file; JPEG with quality 90."""
    stream = io.BytesIO()
    picture.save(stream, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return stream.getvalue()


def ways_to_decode(content: bytes, is_jpeg: bool) -> dict[str, Callable[[], Any]]:
    """Return the decoders for a file, as functions without arguments that return an RGB array."""
    import cv2
    import numpy as np
    import simplejpeg
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_image

    from mlpipe.data.decoding import images

    values, tensor = np.frombuffer(content, np.uint8), torch.frombuffer(bytearray(content), dtype=torch.uint8)
    ways: dict[str, Callable[[], Any]] = {
        "mlpipe": lambda: images.decode(content, 3),
        "opencv": lambda: cv2.cvtColor(cv2.imdecode(values, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB),
        "torchvision": lambda: decode_image(tensor, ImageReadMode.RGB),
        "pillow": lambda: np.asarray(Image.open(io.BytesIO(content)).convert("RGB")),
    }
    if is_jpeg:
        ways["simplejpeg"] = lambda: simplejpeg.decode_jpeg(content, "RGB", fastdct=False, fastupsample=False)
    return ways


def decoders(rounds: int) -> dict[str, dict[str, float]]:
    """Measure microseconds of processor time per image, by file format and decoder; decoders take turns."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    table = {}
    kinds = {
        "JPEG 256": (256, 256, "JPEG", 40),
        "PNG 256": (256, 256, "PNG", 20),
        "JPEG 1600x1067": (1067, 1600, "JPEG", 4),
    }
    for name, (height, width, kind, repeats) in kinds.items():
        ways = ways_to_decode(encoded(photo(height, width, 0), kind), kind == "JPEG")
        spent: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way, decode in ways.items():
                started = time.process_time()
                for _ in range(repeats):
                    decode()
                if number:
                    spent[way].append((time.process_time() - started) / repeats * 1e6)
        table[name] = {way: statistics.median(times) for way, times in spent.items()}
    return table


def write_pictures(folder: Path, count: int, side: int, distinct: int = 50) -> Path:
    """Write JPEG files in two class folders; bytes after the end of the image make every file unique."""
    contents = [encoded(photo(side, side, seed), "JPEG") for seed in range(min(count, distinct))]
    for number in range(count):
        file = folder / ("cat", "dog")[number % 2] / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[number % len(contents)] + number.to_bytes(4, "big"))
    return folder


def packed(root: Path, folder: Path, workers: int, size: int, keep: str = "fixed") -> dict[str, float]:
    """Fill a cache in a separate process; return its images/s and peak memory."""
    command = [sys.executable, "-c", PACKS, str(TOP / "scripts"), str(root), str(folder), str(workers), str(size), keep]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def packing(images: int, rounds: int, folder: Path) -> dict[str, float]:
    """Measure images/s of `mml pp` with one thread, with all threads, and in as many processes; they take turns."""
    root = write_pictures(folder / "pictures", images, 256)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    halves = [write_pictures(folder / f"part {part}", images // cores, 256) for part in range(cores)]
    speeds: dict[str, list[float]] = {"1 thread": [], f"{cores} threads": [], f"{cores} processes": []}
    for number in range(rounds):
        for workers in dict.fromkeys((1, cores)):
            name = "1 thread" if workers == 1 else f"{cores} threads"
            speeds[name].append(packed(root, folder / f"{workers} {number}", workers, 224)["images_per_s"])
        speeds[f"{cores} processes"].append(sum(_at_once(halves, folder, number)))
    return {name: statistics.median(values) for name, values in speeds.items() if values}


def _at_once(roots: list[Path], folder: Path, number: int) -> list[float]:
    """Return images/s of several processes that pack with one thread each at the same time, without start-up."""
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                PACKS,
                str(TOP / "scripts"),
                str(root),
                str(folder / f"{root.name} {number}"),
                "1",
                "224",
                "fixed",
            ],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for root in roots
    ]
    return [json.loads(process.communicate()[0])["images_per_s"] for process in running]


def memory(folder: Path, counts: tuple[int, int] = (1000, 10000)) -> dict[str, dict[str, float]]:
    """Measure peak memory in MB of filling a cache with few images, many images, and few large originals."""
    table = {}
    for count in counts:
        root = write_pictures(folder / f"{count}", count, 128)
        table[f"{count} at 224 px"] = packed(root, folder / f"pack {count}", 2, 224)
    root = write_pictures(folder / "large", 60, 3000, distinct=2)
    table["60 originals of 3000 px"] = packed(root, folder / "pack large", 2, 224, "original")
    return table


def loading(images: int, rounds: int, folder: Path) -> dict[str, float]:
    """Measure images/s of one epoch of batches of 32: from the cache, from cached originals, and from tensors in memory."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from mlpipe.data import preprocessing, sampling, sources
    from mlpipe.data.cache import packs
    from mlpipe.data.loading.loaders import Draw, FoldData
    from mlpipe.data.splits import methods, variants

    torch.set_num_threads(1)
    task = sources.folder(root=str(write_pictures(folder / "pictures", images, 256)))
    view = variants.plain(task, methods.kfold(task.samples, folds=5), 0)
    drawn = sampling.full(batch_size=32, eval_batch_size=32)
    loaders: dict[str, Any] = {}
    for keep in ("fixed", "original"):
        steps = preprocessing.standard(3, id="bench", size=224, keep=keep)  # type: ignore[arg-type]
        pack = packs.build(task, steps, folder / keep, workers=2)
        data = FoldData(task, view, pack, steps=(), sampling=drawn, draw=Draw(0, 0), num_workers=0)
        loaders[f"cache, {keep}"] = data.train_dataloader()
        if keep == "fixed":
            rows = view.train
            pixels = torch.from_numpy(pack.take(rows)).permute(0, 3, 1, 2)
            tensors = TensorDataset(pixels, torch.from_numpy(task.samples.targets[rows]))
            loaders["TensorDataset"] = DataLoader(tensors, batch_size=32, shuffle=True)
    speeds: dict[str, list[float]] = {name: [] for name in loaders}
    for number in range(rounds + 1):
        for name, loader in loaders.items():
            started = time.perf_counter()
            seen = sum(_count(batch) for batch in loader)
            if number:
                speeds[name].append(seen / (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    return {**medians, "ratio of cache to TensorDataset": medians["cache, fixed"] / medians["TensorDataset"]}


def _count(batch: Any) -> int:
    return len(batch["row"]) if isinstance(batch, dict) else len(batch[1])


def lines(results: dict[str, Any]) -> Iterator[str]:
    """Format the results as text."""
    if "decoders" in results:
        yield "microseconds for one image, one core"
        for name, row in results["decoders"].items():
            ordered = sorted(row.items(), key=lambda item: item[1])
            yield f"  {name:16}" + "".join(f"{way:>13} {spent:6.0f}" for way, spent in ordered)
    if "packing" in results:
        yield "mml pp, JPEG 256 to 224 px, images/s"
        yield from (f"  {name:32}{speed:10.0f}" for name, speed in results["packing"].items())
    if "memory" in results:
        yield "mml pp, peak memory in MB (before it began)"
        for name, row in results["memory"].items():
            yield f"  {name:32}{row['peak_mb']:10.0f} ({row['before_mb']:.0f})"
    if "loading" in results:
        yield "one epoch of batches of 32 at 224 px, images/s"
        yield from (f"  {name:32}{value:10.{2 if value < 100 else 0}f}" for name, value in results["loading"].items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folders = {section: Path(temporary) / section for section in SECTIONS}
        if "decoders" in arguments.only:
            results["decoders"] = decoders(arguments.rounds)
        if "packing" in arguments.only:
            results["packing"] = packing(arguments.images, arguments.rounds, folders["packing"])
        if "memory" in arguments.only:
            results["memory"] = memory(folders["memory"])
        if "loading" in arguments.only:
            results["loading"] = loading(arguments.images, arguments.rounds, folders["loading"])
    print("\n".join(lines(results)))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
