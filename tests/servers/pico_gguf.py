"""How does a llama.cpp server get to run the embedded models?

Writes a folder in Hugging Face layout as one GGUF file: the same f16 weights, the same vocabulary and chat template. Norms become
f32, as llama.cpp wants them, and the experts of a layer are stacked.
"""

import json
import struct
from pathlib import Path

import gguf
import numpy

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate": "ffn_gate_inp",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(folder: Path, path: Path, template: str | None = None) -> Path:
    """The model in `folder` as `path`; `template` replaces its chat template."""
    config = json.loads((folder / "config.json").read_text())
    moe = config["model_type"] == "qwen3_moe"
    writer = gguf.GGUFWriter(path, "qwen3moe" if moe else "qwen3")
    settings(writer, config, moe)
    vocabulary(writer, folder, config, template)
    for name, values in tensors(folder, config):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def settings(writer, config, moe):
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    if moe:
        writer.add_expert_count(config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])


def vocabulary(writer, folder, config, template):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokens, kinds = [f"[unused{at}]" for at in range(config["vocab_size"])], [gguf.TokenType.UNUSED] * config["vocab_size"]
    for token, at in tokenizer["model"]["vocab"].items():
        tokens[at], kinds[at] = token, gguf.TokenType.NORMAL
    for token in tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        tokens[token["id"]], kinds[token["id"]] = token["content"], kind
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(template or json.loads((folder / "tokenizer_config.json").read_text())["chat_template"])


def tensors(folder, config):
    weights = dict(read(folder / "model.safetensors"))
    yield "token_embd.weight", weights["model.embed_tokens.weight"]
    yield "output_norm.weight", weights["model.norm.weight"].astype(numpy.float32)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for theirs, ours in NAMES.items():
            name, target = f"{prefix}{theirs}.weight", f"blk.{layer}.{ours}"
            if name in weights:
                small = "norm" in ours or ours == "ffn_gate_inp"
                yield f"{target}.weight", weights[name].astype(numpy.float32) if small else weights[name]
            elif theirs.startswith("mlp.") and "num_experts" in config and theirs != "mlp.gate":
                part = theirs.removeprefix("mlp.")
                stack = [weights[f"{prefix}mlp.experts.{at}.{part}.weight"] for at in range(config["num_experts"])]
                yield f"{target}_exps.weight", numpy.stack(stack)  # (experts, rows, columns)


def read(path):
    """Tensors of a safetensors file, as they are stored."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        values = numpy.frombuffer(data[8 + length + start : 8 + length + end], {"F16": "<f2", "F32": "<f4"}[entry["dtype"]])
        yield name, values.reshape(entry["shape"])
