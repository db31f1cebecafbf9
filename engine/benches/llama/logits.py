"""Do the engine and llama.cpp say the same of the same file?

    V as compare.py makes it
    cargo build --release -p thinkgate-engine --example logits
    V/bin/python engine/benches/llama/logits.py target/release/examples/logits [MODEL.gguf ...]

Both read the same tokens and give logits at every position. Files given are compared on the LICENSE, small random models of
two shapes, made on the way, on any tokens. Differences are shares of the spread, the standard deviation of the right hand's
logits: the largest, and the root mean square of the middle position and of all. What quantised weights cost is told against
"exact", the same weights widened to f32, read here, with keys and values in f32.
"""

import argparse
import ctypes
import subprocess
import tempfile
from pathlib import Path

import gguf
import llama_cpp as llama
import numpy

import models

SHAPES = {
    "dense": models.Shape(4, 512, 8, 4, 1024, 4096),
    "moe": models.Shape(4, 512, 8, 2, 256, 4096, experts=16, used=4),
}
RECIPES = ("f32", "f16", "q8_0", "q4_k_m")
CACHES = {"f16": (1, "half"), "f32": (0, "full")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logits", help="the built example")
    parser.add_argument("files", nargs="*", help="GGUF files to compare as well")
    parser.add_argument("--tokens", type=int, default=300)
    options = parser.parse_args()
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    llama.llama_backend_init()
    print(f"{options.tokens} positions\n\n| model | compared | largest | middle | all | same first token | KL, nats |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for path in [*random_models(Path(folder)), *map(Path, options.files)]:
            compare(path, Path(folder), options)


def random_models(folder: Path):
    for shape in SHAPES:
        for recipe in RECIPES:
            path = folder / f"{shape}-{recipe}.gguf"
            models.write(path, SHAPES[shape], recipe)
            yield path


def compare(path: Path, folder: Path, options: argparse.Namespace) -> None:
    tokens = tokens_of(path, options.tokens)
    ours = {cache: read_here(path, tokens, cache, folder, options.logits) for cache in CACHES}
    theirs = {cache: read_there(path, tokens, cache) for cache in CACHES}
    for cache in CACHES:
        row(path, f"engine, llama.cpp; {cache} cache", ours[cache], theirs[cache])
    if any(tensor.tensor_type not in (0, 1) for tensor in gguf.GGUFReader(path).tensors):
        wide = folder / "wide.gguf"
        widen(path, wide)
        exact = read_here(wide, tokens, "f32", folder, options.logits)
        row(path, "engine, exact", ours["f16"], exact)
        row(path, "llama.cpp, exact", theirs["f16"], exact)
        row(path, "exact here, there", exact, read_there(wide, tokens, "f32"))
        wide.unlink()


def row(path: Path, what: str, left: numpy.ndarray, right: numpy.ndarray) -> None:
    apart, spread = numpy.abs(left - right), right.std()
    same = (left.argmax(1) == right.argmax(1)).mean()
    log_left, log_right = (side - numpy.logaddexp.reduce(side, 1, keepdims=True) for side in (left, right))
    divergence = (numpy.exp(log_right) * (log_right - log_left)).sum(1).mean()
    squares = (apart**2).mean(1)
    shares = [apart.max(), numpy.sqrt(numpy.median(squares)), numpy.sqrt(squares.mean())]
    shares = " | ".join(f"{share / spread:.1e}" for share in shares)
    print(f"| {path.stem} | {what} | {shares} | {same:.1%} | {divergence:.1e} |", flush=True)


def tokens_of(path: Path, many: int) -> list[int]:
    """The LICENSE's, where the file has a vocabulary."""
    model = load(path)
    vocabulary = llama.llama_model_get_vocab(model)
    found = [100 + at * 37 % 1000 for at in range(many)]
    if llama.llama_vocab_type(vocabulary) != 0:
        text = (Path(__file__).parents[3] / "LICENSE").read_bytes()
        buffer = (llama.llama_token * len(text))()
        count = llama.llama_tokenize(vocabulary, text, len(text), buffer, len(text), False, False)
        found = list(buffer[:count])[:many]
    llama.llama_model_free(model)
    return found


def read_here(path: Path, tokens: list[int], cache: str, folder: Path, program: str) -> numpy.ndarray:
    ids, out = folder / "ids", folder / "out"
    ids.write_text(" ".join(map(str, tokens)))
    subprocess.run([program, path, ids, out, CACHES[cache][1]], check=True)
    return numpy.fromfile(out, "<f4").reshape(len(tokens), -1).astype(numpy.float64)


def read_there(path: Path, tokens: list[int], cache: str) -> numpy.ndarray:
    model = load(path)
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 512 * -(-len(tokens) // 512)
    params.n_threads = params.n_threads_batch = 2
    params.type_k = params.type_v = CACHES[cache][0]
    if cache == "f32":
        params.flash_attn_type = 0  # its fast attention rounds queries to f16 all the same
    context = llama.llama_init_from_model(model, params)
    batch = llama.llama_batch_init(len(tokens), 0, 1)
    for at, token in enumerate(tokens):
        batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.seq_id[at][0] = token, at, 1, 0
        batch.logits[at] = True
    batch.n_tokens = len(tokens)
    if llama.llama_decode(context, batch) != 0:
        raise RuntimeError("llama_decode failed")
    width = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    rows = [llama.llama_get_logits_ith(context, at)[:width] for at in range(len(tokens))]
    logits = numpy.array(rows, numpy.float64)
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return logits


def load(path: Path):
    return llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())


def widen(path: Path, into: Path) -> None:
    """The same model with every weight in f32."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(into, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            kind = field.types[0]
            below = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, below)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@llama.llama_log_callback
def silent(_level, _text, _data):
    pass


main()
