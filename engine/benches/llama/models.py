"""What do the models look like whose speed is compared?

Random weights in the shapes of published models, written as GGUF, so that nothing has to be downloaded. Only speed and memory
are measured on them; what they say is noise. Blocks are drawn directly rather than quantised from floats, with scales
that keep the weights centred and small, so that activations stay finite.
"""

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy

Kind = gguf.GGMLQuantizationType


@dataclass(frozen=True)
class Shape:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    experts: int = 0
    used: int = 0


HEAD = 128
SHAPES = {
    "dense-0.6b": Shape(28, 1024, 16, 8, 3072, 151936),
    "moe-30b-2-layers": Shape(2, 2048, 32, 4, 768, 4096, experts=128, used=8),
}


# Kind of most weights, and of those that get more bits.
RECIPES = {
    "q4_k_m": (Kind.Q4_K, Kind.Q6_K),
    "q8_0": (Kind.Q8_0, Kind.Q8_0),
    "f16": (Kind.F16, Kind.F16),
    "f32": (Kind.F32, Kind.F32),
}


def write(path: Path, shape: Shape, recipe: str) -> None:
    """A file of this shape. `recipe` is one of RECIPES."""
    draw = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "qwen3moe" if shape.experts else "qwen3")
    settings(writer, shape)
    for name, rows, columns, many, kind in tensors(shape, recipe):
        if kind is None:
            writer.add_tensor(name, numpy.ones(columns, numpy.float32))
        elif kind == Kind.F32:
            values = draw.standard_normal((many, rows, columns), numpy.float32) * 0.02
            writer.add_tensor(name, values if many > 1 else values[0])
        else:
            bytes_ = blocks(draw, kind, many * rows, columns)
            lead = (many,) if many > 1 else ()
            writer.add_tensor(name, bytes_.reshape(*lead, rows, -1), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def settings(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_block_count(shape.layers)
    writer.add_context_length(40960)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_vocab_size(shape.vocab)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.used)
        writer.add_expert_feed_forward_length(shape.ffn)
    writer.add_tokenizer_model("no_vocab")


def tensors(shape: Shape, recipe: str):
    """Name, rows, columns, how many are stacked, and kind; a kind of None is a norm's gain."""
    queries, keys = shape.heads * HEAD, shape.kv_heads * HEAD
    low, high = RECIPES[recipe]
    yield "token_embd.weight", shape.vocab, shape.hidden, 1, high
    yield "output_norm.weight", 1, shape.hidden, 1, None
    for layer in range(shape.layers):
        # llama.cpp's recipe gives values and down projections of a part of the layers more bits.
        eighth = shape.layers // 8
        more = layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2
        mixed = high if more else low
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", 1, shape.hidden, 1, None
        yield block + "attn_q.weight", queries, shape.hidden, 1, low
        yield block + "attn_k.weight", keys, shape.hidden, 1, low
        yield block + "attn_v.weight", keys, shape.hidden, 1, mixed
        yield block + "attn_output.weight", shape.hidden, queries, 1, low
        yield block + "attn_q_norm.weight", 1, HEAD, 1, None
        yield block + "attn_k_norm.weight", 1, HEAD, 1, None
        yield block + "ffn_norm.weight", 1, shape.hidden, 1, None
        many, end = max(shape.experts, 1), "_exps.weight" if shape.experts else ".weight"
        if shape.experts:
            yield block + "ffn_gate_inp.weight", shape.experts, shape.hidden, 1, Kind.F32
        yield block + "ffn_gate" + end, shape.ffn, shape.hidden, many, low
        yield block + "ffn_up" + end, shape.ffn, shape.hidden, many, low
        yield block + "ffn_down" + end, shape.hidden, shape.ffn, many, mixed


def blocks(draw: numpy.random.Generator, kind: Kind, rows: int, columns: int) -> numpy.ndarray:
    if kind == Kind.F16:
        values = draw.random((rows, columns), numpy.float32) * 0.08 - 0.04
        return values.astype(numpy.float16).view(numpy.uint8)
    values, size = gguf.GGML_QUANT_SIZES[kind]
    count = rows * columns // values
    out = draw.integers(0, 256, (count, size), numpy.uint8)
    scale = lambda value: numpy.full(count, value, numpy.float16).view(numpy.uint8).reshape(count, 2)
    if kind == Kind.Q4_K:
        out[:, 0:2], out[:, 2:4] = scale(1e-4), scale(7.5e-4)  # of nibbles up to 15, whose mean is 7.5
    elif kind == Kind.Q6_K:
        out[:, -2:] = scale(1.5e-5)
    else:
        out[:, 0:2] = scale(3e-4)
    return out.reshape(rows, -1)
