"""What a warm process costs beside the network alone, and whether it stays as it is.

`python benchmarks/serve.py` starts `lunet serve` with `lunet_small_4f` in windows of 64 x 64 x 64,
and measures: requests of one client beside the bare predictor; many requests of several clients,
with the memory before and after; malformed uploads, and what is left of them. Floors: p95 of at
most 100 ms on a quiet machine, no growth of memory, no traceback, no leftover.
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, ModelCard, save_checkpoint
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.inference.load_model import load_model
from lunet_cli.engine.networks import build_network
from lunet_cli.records.network_card import Execution, KeptConfig

EDGE = 64
START_SECONDS = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alone", type=int, default=100, help="requests of one client")
    parser.add_argument("--requests", type=int, default=1000, help="requests of all clients")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--malformed", type=int, default=200)
    parser.add_argument("--threads", type=int, default=None, help="CPU threads of the network")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model, scan = write_model(place / "model.pt"), write_scan(place / "scan.nii.gz")
        print(f"load of the machine: {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores")
        measure_bare(model, scan, args.alone, args.threads)
        measure_service(place, model, scan, args)


def write_model(path: Path) -> Path:
    """`lunet_small_4f` with random weights, which computes as long as a trained one."""
    spec = parse_preset("lunet_small_4f").spec
    network = build_network(spec).eval()
    card = ModelCard(
        spec,
        LabelScheme((("label", (1,)),), "sigmoid"),
        Preprocessing("LPS", None, Normalization("zscore", 40.0, 400.0)),
        (EDGE, EDGE, EDGE),
    )
    execution = Execution(device="cpu", precision="fp32", channels_last=True, compile=False)
    weights = network.state_dict()
    save_checkpoint(Checkpoint(card, weights, 1, KeptConfig({}), {}, execution), path)
    return path


def write_scan(path: Path) -> Path:
    noise = np.random.default_rng(0).normal(100, 30, (EDGE, EDGE, EDGE)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(noise), path)
    return path


def measure_bare(model: Path, scan: Path, count: int, threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    predictor = load_model(model, options=PredictionOptions(device="cpu"))
    image = sitk.GetArrayFromImage(sitk.ReadImage(scan))[None].astype(np.float32)
    predictor.predict(image)
    seconds = [timed(lambda: predictor.predict(image)) for _ in range(count)]
    tell("bare predictor, array in and out", seconds)


def measure_service(place: Path, model: Path, scan: Path, args: argparse.Namespace) -> None:
    work = place / "work"
    work.mkdir(mode=0o700)
    command = [sys.executable, "-m", "lunet_cli", "serve", str(model), "--port", "0"]
    command += ["--work-dir", str(work), "--max-queue", str(4 * args.clients)]
    if args.threads is not None:
        command += ["--threads", str(args.threads)]
    said = place / "said"
    with said.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stderr=file)
    try:
        address = address_of(said)
        content = scan.read_bytes()
        with httpx.Client(base_url=address, timeout=600) as client:
            while client.get("/health").status_code != 200:
                time.sleep(0.05)
            seconds = [timed(lambda: send(client, content)) for _ in range(args.alone)]
            tell("one client, file in and out", seconds)
        memory = psutil.Process(process.pid)
        before = memory.memory_info().rss
        many(address, content, args.requests, args.clients)
        after = memory.memory_info().rss
        print(f"memory: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
        malformed(address, scan, args.malformed)
        left = [path.name for path in work.glob("process-*/*") if path.name != "alive.lock"]
        print(f"left over: {left or 'nothing'}")
    finally:
        process.terminate()
        process.wait()
    print(f"tracebacks: {said.read_text(encoding='utf-8').count('Traceback')}")


def address_of(said: Path) -> str:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        found = re.search(r"listening on (http://\S+)", said.read_text(encoding="utf-8"))
        if found:
            return found[1]
        time.sleep(0.05)
    raise SystemExit("the service does not start")


def send(client: httpx.Client, content: bytes) -> None:
    client.post("/predict", content=content).raise_for_status()


def many(address: str, content: bytes, count: int, clients: int) -> None:
    def work(_: int) -> list[float]:
        with httpx.Client(base_url=address, timeout=600) as client:
            return [timed(lambda: send(client, content)) for _ in range(count // clients)]

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        seconds = [value for part in pool.map(work, range(clients)) for value in part]
    rate = len(seconds) / (time.perf_counter() - start)
    tell(f"{len(seconds)} requests of {clients} clients, {rate:.1f}/s", seconds)


def malformed(address: str, scan: Path, count: int) -> None:
    """Send damaged copies of a scan: cut, with other bytes, packed twice, or made of nothing."""
    rng, codes = random.Random(0), Counter[int]()
    packed = scan.read_bytes()
    plain = gzip.decompress(packed)
    with httpx.Client(base_url=address, timeout=600) as client:
        for index in range(count):
            source = bytearray((packed, plain)[index % 2])
            if index % 4 < 2:
                del source[rng.randrange(len(source)) :]
            else:
                for _ in range(8):
                    source[rng.randrange(min(len(source), 348))] = rng.randrange(256)
            answer = client.post("/predict", content=bytes(source))
            codes[answer.status_code] += 1
            if answer.status_code >= 400:
                assert set(answer.json()) == {"error", "hint"}
    print(f"{count} malformed uploads: {dict(sorted(codes.items()))}")


def timed(act: object) -> float:
    assert callable(act)
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def tell(what: str, seconds: list[float]) -> None:
    median, p95 = np.quantile(seconds, (0.5, 0.95)) * 1000
    print(f"{what}: median {median:.0f} ms, p95 {p95:.0f} ms")


if __name__ == "__main__":
    main()
