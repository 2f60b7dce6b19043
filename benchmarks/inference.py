"""How fast prediction is, and where the time goes.

Run on a machine with nothing else to do:

    python benchmarks/inference.py                          # drawn X-rays of 1024 px, shipped networks
    python benchmarks/inference.py --images FOLDER --count 500
    python benchmarks/inference.py --memory 100 1000 10000  # peak memory against the number of images

Needs the train extra for the comparison networks (PyTorch, MONAI) and for counting operations (onnx).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lungsight.batch import predict
from lungsight.card import Card, InputSettings
from lungsight.inference import Lungsight, load_model
from lungsight.inference.sessions import Session
from lungsight.model import Model
from lungsight.preprocess import Frame, resize_image, to_unit
from lungsight.writers.images import overlay, write_mask, write_picture
from lungsight.xray import find_inputs, read_xray

COMMAND = """
from pathlib import Path
from lungsight.cli import main
try:
    main()
finally:
    status = Path("/proc/self/status")
    if status.exists():
        print(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")))
"""
"""`lungsight` that prints its peak memory: what the operating system reports of a child counts its parent's too."""


def main() -> None:
    """Measure and print."""
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="lungsight-benchmark-") as name:
        scratch = Path(name)
        files = pictures(arguments, scratch)
        model = load_model(arguments.model, threads=arguments.threads)
        report: dict[str, Any] = {
            "machine": {
                "processor": processor(),
                "threads": arguments.threads,
                "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            },
            "images": {"count": len(files), "first": list(read_xray(files[0]).shape)},
            "matmul_gflops": matmul_rate(arguments.threads),
        }
        for key, measure in (
            ("networks", lambda: network_part(model, report["matmul_gflops"])),
            ("stages_ms", lambda: stages(model, files, scratch)),
            ("stages_one_core_ms", lambda: stages(load_model(arguments.model, threads=1), files, scratch)),
            ("end_to_end", lambda: end_to_end(model, files, scratch, arguments.batch)),
            ("cold_start_s", lambda: cold_start(files[0], arguments, scratch)),
            ("compared", lambda: compared(files, scratch, arguments)),
            ("low_precision", lambda: low_precision(model, files, scratch)),
            ("memory_mib", lambda: memory(files, arguments, scratch)),
        ):
            if key not in arguments.skip:
                report[key] = measure()
                show(key, report[key])
        summary(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder of X-rays; default: drawn ones")
    parser.add_argument("--count", type=int, default=200, help="how many of them")
    parser.add_argument("--size", type=int, default=1024, help="side of drawn X-rays in pixels")
    parser.add_argument("--model", type=Path, help="folder of networks; default: those that ship")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory", type=int, nargs="*", default=[100, 1000], help="numbers of images")
    parser.add_argument(
        "--compare-count", type=int, default=8, help="images for the slow comparison networks"
    )
    parser.add_argument("--skip", nargs="*", default=[], help="parts to leave out, by their key in the JSON")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def pictures(arguments: argparse.Namespace, scratch: Path) -> list[Path]:
    """The X-rays to measure with; a few drawn ones are repeated, since drawing is slow."""
    if arguments.images:
        found = [one.path for one in find_inputs([arguments.images])][: arguments.count]
    else:
        from lungsight.phantom import write_phantoms

        drawn = write_phantoms(scratch / "drawn", count=min(arguments.count, 24), seed=0, size=arguments.size)
        found = [row.image for row in drawn]
    return copies(found, arguments.count, scratch / "images") if not arguments.images else found


def copies(files: list[Path], count: int, folder: Path) -> list[Path]:
    """`count` files in `folder`, repeating `files`; each PNG gets bytes of its own: equal ones are predicted once."""
    folder.mkdir(parents=True)
    made = [folder / f"{number:06}{files[number % len(files)].suffix}" for number in range(count)]
    for number, path in enumerate(made):
        data = files[number % len(files)].read_bytes()
        if data[:4] == b"\x89PNG":
            body = b"tEXtn\0%d" % number
            chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
            data = data[:-12] + chunk + data[-12:]
        path.write_bytes(data)
    return made


def seconds(work: Callable[[], object], repeats: int = 5, least: float = 0.5) -> float:
    """Median time of one call, after one that does not count."""
    work()
    times: list[float] = []
    while len(times) < repeats or sum(times) < least:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matmul_rate(threads: int) -> float:
    """The machine's float32 rate in GFLOP/s: the better of NumPy's and PyTorch's product of 2048 x 2048 matrices."""
    side = 2048
    a, b = np.random.default_rng(0).random((2, side, side), np.float32)
    best = seconds(lambda: a @ b, 3)
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.set_num_threads(threads)
        first, second = torch.from_numpy(a), torch.from_numpy(b)
        best = min(best, seconds(lambda: first @ second, 3))
    return 2 * side**3 / best / 1e9


def operations(model: Model) -> float:
    """GFLOP of one image: two for each multiplication of a convolution or matrix product."""
    import onnx
    import onnxruntime

    graph = onnx.load_from_string(model.onnx)
    shape = graph.graph.input[0].type.tensor_type.shape.dim
    for dimension, value in zip(shape, (1, model.card.input.channels, *model.card.input.size), strict=True):
        dimension.Clear()
        dimension.dim_value = value
    for output in graph.graph.output:
        output.type.tensor_type.ClearField("shape")
    # ONNX Runtime works out what is constant, paddings among it.
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = f"{folder}/simple.onnx"
        onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(options.optimized_model_filepath)
    graph = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
    weights = {item.name: list(item.dims) for item in graph.initializer}
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output, *graph.input)
    }
    for node in graph.node:  # weights that a network uses twice
        if node.op_type == "Identity" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += 2 * int(np.prod(shapes[node.output[0]])) * int(np.prod(weights[node.input[1]][1:]))
        elif node.op_type == "ConvTranspose":
            total += 2 * int(np.prod(shapes[node.input[0]])) * int(np.prod(weights[node.input[1]][1:]))
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in weights:
            total += 2 * int(np.prod(weights[node.input[1]]))
    return total / 1e9


def network_part(model: Lungsight, rate: float) -> dict[str, Any]:
    """Each network alone: time an image and share of the machine's rate."""
    found = {}
    for one in model.bundle.models:
        session = Session(one, model.threads)
        flop = operations(one)
        for batch in (1, 8):
            images = np.random.default_rng(0).random(
                (batch, one.card.input.channels, *one.card.input.size), np.float32
            )
            each = seconds(lambda session=session, images=images: session.run(images)) / batch
            found[f"{one.card.task}, batch {batch}"] = {
                "ms": each * 1e3,
                "gflop": flop,
                "gflop_per_s": flop / each,
                "share_of_matmul": flop / each / rate,
            }
    return found


def stages(model: Lungsight, files: list[Path], scratch: Path) -> dict[str, float]:
    """Mean time of each stage in ms, one after the other, one image at a time."""
    totals = dict.fromkeys(("decode", "resize", "networks and the rest", "write mask", "write overlay"), 0.0)

    def clock(stage: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = work()
        totals[stage] += time.perf_counter() - start
        return value

    model(files[0])
    some = files[:: max(1, len(files) // 50)]
    inputs = [one.card.input.size for one in model.bundle.models]
    for path in some:
        xray = clock("decode", lambda path=path: read_xray(path))
        result = clock("networks and the rest", lambda xray=xray: model(xray))
        frame = Frame.whole(xray.shape, model.bundle.lungs.card.input.size)
        resizing = time.perf_counter()
        for size in inputs:
            to_unit(resize_image(xray.pixels, size))
        frame.restore(result.network_map)
        frame.restore(result.network_map)
        resizing = time.perf_counter() - resizing
        totals["resize"] += resizing
        totals["networks and the rest"] -= resizing
        clock("write mask", lambda result=result: write_mask(scratch / "mask.png", result.mask))
        clock(
            "write overlay",
            lambda result=result: write_picture(
                scratch / "overlay.jpg", overlay(result.xray.pixels, result.labels)
            ),
        )
    return {stage: value / len(some) * 1e3 for stage, value in totals.items()}


def end_to_end(model: Lungsight, files: list[Path], scratch: Path, batch: int) -> dict[str, float]:
    """Images a second: decoding, all networks and writing of masks, overlays and tables."""
    found = {}
    for size in sorted({1, batch}):
        for overlays in (True, False):
            predict(files[:2], scratch / "out", model=model)
            shutil.rmtree(scratch / "out")
            start = time.perf_counter()
            predict(files, scratch / "out", model=model, batch=size, overlays=overlays)
            name = f"batch {size}{'' if overlays else ', no overlays'}"
            found[name] = len(files) / (time.perf_counter() - start)
            shutil.rmtree(scratch / "out")
    return found


def command(arguments: argparse.Namespace, *inputs: Path, out: Path) -> list[str]:
    """`lungsight predict` as a process of its own."""
    words = [sys.executable, "-c", COMMAND, "predict", *map(str, inputs)]
    words += ["--out", str(out), "--threads", str(arguments.threads), "--batch", str(arguments.batch)]
    return words + (["--model", str(arguments.model)] if arguments.model else [])


def cold_start(file: Path, arguments: argparse.Namespace, scratch: Path) -> dict[str, float]:
    """`lungsight predict one.png` in a new process."""
    times = []
    for number in range(6):
        start = time.perf_counter()
        words = command(arguments, file, out=scratch / f"cold{number}")
        subprocess.run(words, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return {"first": times[0], "median": statistics.median(times[1:]), "worst": max(times)}


def compared(files: list[Path], scratch: Path, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """PyTorch networks at 256 x 256 over the same files: decode, resize, network, mask at the size of the file."""
    import torch
    from monai.networks.nets import BasicUNet

    from lungsight.networks import build

    torch.set_num_threads(arguments.threads)
    networks: dict[str, tuple[Any, int]] = {
        "the paper's U-Net, PyTorch": (build("paper-unet", width=1.0), 3),
        "MONAI BasicUNet, PyTorch": (BasicUNet(spatial_dims=2, in_channels=1, out_channels=1), 1),
    }
    some = files[: arguments.compare_count]
    found = {}
    for name, (network, channels) in networks.items():
        network.eval()
        for batch in sorted({1, arguments.batch}):
            with torch.inference_mode():
                example = torch.rand(batch, channels, 256, 256)
                alone = seconds(lambda network=network, example=example: network(example), 3) / batch
                start = time.perf_counter()
                for group in (some[index : index + batch] for index in range(0, len(some), batch)):
                    xrays = [read_xray(path) for path in group]
                    small = [to_unit(resize_image(xray.pixels, (256, 256))) for xray in xrays]
                    images = torch.from_numpy(np.stack(small))[:, None].expand(-1, channels, -1, -1)
                    maps = torch.sigmoid(network(images)).numpy()[:, 0]
                    for xray, one in zip(xrays, maps, strict=True):
                        mask = Frame.whole(xray.shape, (256, 256)).restore(one) > 0.5
                        write_mask(scratch / "mask.png", mask)
                whole = (time.perf_counter() - start) / len(some)
            found[f"{name}, batch {batch}"] = {
                "network_ms": alone * 1e3,
                "network_per_s": 1 / alone,
                "end_to_end_per_s": 1 / whole,
            }
    return found


def low_precision(model: Lungsight, files: list[Path], scratch: Path) -> dict[str, float]:
    """The lung network in int8 (static, from these images): speed, and Dice between its masks and float32's."""
    from onnxruntime import quantization

    card: Card = model.bundle.lungs.card
    settings: InputSettings = card.input
    small = [
        np.repeat(
            to_unit(resize_image(read_xray(path).pixels, settings.size))[None, None], settings.channels, 1
        )
        for path in files[:48]
    ]
    source, target = scratch / "float.onnx", scratch / "int8.onnx"
    (scratch / "plain.onnx").write_bytes(model.bundle.lungs.onnx)
    quantization.quant_pre_process(str(scratch / "plain.onnx"), str(source), skip_symbolic_shape=True)
    name = Session(model.bundle.lungs, 1).inputs[0]

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.items: Iterator[dict[str, Any]] = iter([{name: image} for image in small[::2]])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.items, None)

    quantization.quantize_static(
        source, target, Images(), quant_format=quantization.QuantFormat.QDQ, per_channel=True
    )
    plain = Session(model.bundle.lungs, model.threads)
    fast = Session(Model(card, target.read_bytes()), model.threads)
    batch = np.concatenate(small[1:16:2])
    overlaps = []
    for image in small[1::2]:
        first, second = (session.run(image)["probability"] > card.threshold for session in (plain, fast))
        overlaps.append(2 * (first & second).sum() / max(first.sum() + second.sum(), 1))
    return {
        "float32_ms": seconds(lambda: plain.run(batch)) / len(batch) * 1e3,
        "int8_ms": seconds(lambda: fast.run(batch)) / len(batch) * 1e3,
        "dice_with_float32_mean": float(np.mean(overlaps)),
        "dice_with_float32_least": float(np.min(overlaps)),
        "int8_bytes": target.stat().st_size,
    }


def memory(files: list[Path], arguments: argparse.Namespace, scratch: Path) -> dict[str, float]:
    """Peak resident memory of `lungsight predict` on so many images, in MiB; Linux alone says it exactly."""
    if not Path("/proc/self/status").exists():
        return {}
    found = {}
    for count in arguments.memory:
        folder = scratch / f"memory{count}"
        copies(files, count, folder)
        words = command(arguments, folder, out=scratch / "memory-out")
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        found[str(count)] = int(done.stdout.split()[-2]) / 2**10
        shutil.rmtree(folder)
        shutil.rmtree(scratch / "memory-out")
    return found


def processor() -> str:
    """Name of the CPU."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def show(key: str, values: dict[str, Any]) -> None:
    """Print one part."""
    print(f"\n{key}")
    for name, value in values.items():
        if isinstance(value, dict):
            value = "  ".join(f"{inner} {number:.4g}" for inner, number in value.items())
            print(f"  {name:32} {value}")
        else:
            print(f"  {name:32} {value:.4g}")


def summary(report: dict[str, Any]) -> None:
    """Print what the goals are about."""
    print(f"\nmatrix product: {report['matmul_gflops']:.0f} GFLOP/s float32; {report['machine']}")
    for key, words in (
        ("stages_ms", "one image, all cores to the networks"),
        ("stages_one_core_ms", "an image of many, a core to each"),
    ):
        if key in report:
            stage = report[key]
            around = sum(value for name, value in stage.items() if name != "networks and the rest")
            print(f"decode, resize and writing: {around / sum(stage.values()):.0%} of the time ({words})")
    if "end_to_end" in report and "compared" in report:
        ours = max(report["end_to_end"].values())
        paper = max(v["end_to_end_per_s"] for k, v in report["compared"].items() if k.startswith("the paper"))
        print(
            f"end to end {ours:.1f} images/s, {ours / paper:.1f} times the paper's U-Net in PyTorch ({paper:.2f}/s)"
        )


if __name__ == "__main__":
    main()
