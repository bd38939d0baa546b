"""Prediction of tiles in memory: start of a process, and batches of several sizes, as JSON lines.

python benchmarks/gpu/network_speed.py --model models/glas --batches 8 16 32 64

Copies to and from the GPU are included. Run it alone: other programs on the GPU change it.
"""

import argparse
import json
import sys
import time
from pathlib import Path

_TILE_PX = 256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--batches", type=int, nargs="*", default=[8, 16, 32, 64])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement")
    arguments = parser.parse_args()
    start_s = time.perf_counter()
    import numpy as np
    import torch

    from semimoe.prediction.predictor import Predictor

    imported_s = time.perf_counter()
    if arguments.device == "gpu":
        torch.zeros(1, device="cuda")
    context_s = time.perf_counter()
    predictor = Predictor.load(
        arguments.model, device=arguments.device, threads=arguments.threads, precision="auto"
    )
    loaded_s = time.perf_counter()
    rng = np.random.default_rng(0)
    shape = (max(arguments.batches, default=1), 3, _TILE_PX, _TILE_PX)
    tiles = rng.integers(0, 256, shape, np.uint8)
    predictor(tiles[:1])
    first_s = time.perf_counter()
    times = {
        "imports": imported_s - start_s,
        "GPU context": context_s - imported_s,
        "model": loaded_s - context_s,
        "first tile": first_s - loaded_s,
    }
    print(json.dumps({"start": {name: round(value, 2) for name, value in times.items()}}))
    for batch in arguments.batches:
        predictor(tiles[:batch])  # the first call of a size chooses its algorithms
        begin_s, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - begin_s < arguments.seconds:
            predictor(tiles[:batch])
            calls += 1
        call_s = (time.perf_counter() - begin_s) / calls
        peak = torch.cuda.max_memory_reserved() >> 20 if arguments.device == "gpu" else 0
        line = {"batch": batch, "call s": call_s, "mpp_um": predictor.card.mpp_um, "MiB": peak}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
