"""How does the engine compare with llama.cpp, on this machine?

    python3 -m venv V && CMAKE_ARGS=-DGGML_NATIVE=ON V/bin/pip install gguf numpy llama-cpp-python
    cargo build --release -p thinkgate-engine --example speed
    V/bin/python engine/benches/llama/compare.py target/release/examples/speed [MODEL.gguf ...]

Runs both engines in turn, a process each, with the same threads on the same files, and prints medians and ratios. Machines are
noisy: trust the ratios. Random models of published shapes are made in --folder at first use; files given are measured too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import models

MEASURES = {
    "prefill": "prefill 512, tok/s",
    "decode": "decode, tok/s",
    "decode 8": "decode of 8, tok/s",
    "first token": "first token among 7, s",
    "peak": "peak memory, MiB",
}
LESS_IS_BETTER = ("first token", "peak")


def main() -> None:
    options = parse()
    files = [Path(name) for name in options.files]
    for shape, recipe in (name.split(":") for name in options.shapes.split(",") if name):
        path = Path(options.folder) / f"{shape}-{recipe}.gguf"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            models.write(path, models.SHAPES[shape], recipe)
        files.append(path)
    llama = [sys.executable, str(Path(__file__).parent / "run_llama.py")]
    engines = {"llama.cpp": llama} | {Path(path).name: [path] for path in options.speed.split(",")}
    print(f"{options.threads} threads, decode at {options.positions} positions, medians of {options.rounds}\n")
    for path in files:
        print_table(path, measure(engines, path, options))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speed", help="the built example; several, with commas between, are compared too")
    parser.add_argument("files", nargs="*", help="GGUF files to measure")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--positions", type=int, default=600, help="context of the single decode")
    parser.add_argument("--steps", type=int, default=32, help="decode steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", default="dense-0.6b:q4_k_m,dense-0.6b:q8_0,moe-30b-2-layers:q4_k_m")
    parser.add_argument("--folder", default=str(Path(tempfile.gettempdir()) / "thinkgate-speed"))
    return parser.parse_args()


def measure(engines: dict, path: Path, options: argparse.Namespace) -> dict:
    """Engine to measure to the median of all rounds."""
    rounds = {name: [] for name in engines}
    threads = str(options.threads)
    environment = os.environ | {"RAYON_NUM_THREADS": threads, "CANDLE_NUM_THREADS": threads}
    for _ in range(options.rounds):
        for name, command in engines.items():
            arguments = [str(path), threads, str(options.positions), str(options.steps)]
            output = subprocess.run(command + arguments, env=environment, stdout=subprocess.PIPE, check=True)
            rounds[name].append(json.loads(output.stdout))
    return {name: {key: median(row[key] for row in rows) for key in MEASURES} for name, rows in rounds.items()}


def print_table(path: Path, engines: dict) -> None:
    theirs = engines["llama.cpp"]
    print(f"{path.stem}, {path.stat().st_size / 2**20:.0f} MiB")
    for key, title in MEASURES.items():
        line = f"  {title:24} llama.cpp {theirs[key]:8.2f}"
        for name, ours in list(engines.items())[1:]:
            ratio = theirs[key] / ours[key] if key in LESS_IS_BETTER else ours[key] / theirs[key]
            line += f"   {name} {ours[key]:8.2f} ({ratio:.2f}x)"
        print(line, flush=True)
    print()


main()
