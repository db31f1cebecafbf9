"""Writes a trained model as a Hugging Face folder (f16), and reads such a folder back.

    python export.py runs/moe/final.pt runs/tokenizer.json ../pico-moe
"""
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from chat import Chat
from model import Model, Shape

# Qwen3's template without tools: earlier thoughts are dropped, thoughts after the last question are kept, and only
# `enable_thinking: false` writes the empty thought.
TEMPLATE = """\
{%- set ns = namespace(last=-1) -%}
{%- for message in messages -%}{%- if message.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{%- set content = message.content or '' -%}
{%- set reasoning = message.reasoning_content if message.reasoning_content is string else '' -%}
{%- if not reasoning and '</think>' in content -%}
{%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{%- if '</think>' in content -%}{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}{%- endif -%}
{%- if loop.index0 > ns.last and (loop.last or reasoning) -%}
{{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') + '<|im_end|>\\n' -}}
{%- else -%}
{{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- else -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}"""


def write(path: Path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def export(checkpoint: Path, tokenizer: Path, folder: Path):
    state = torch.load(checkpoint, weights_only=False)
    model, chat = Model(state["shape"]), Chat(tokenizer)
    model.load_state_dict(state["weights"])
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half().contiguous() for name, tensor in model.state_for_export().items()},
              folder / "model.safetensors", metadata={"format": "pt"})
    write(folder / "config.json", model.shape.config(bos=chat.end_of_text, eos=chat.end_of_turn))
    write(folder / "generation_config.json", {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20,
                                              "eos_token_id": chat.end_of_turn, "pad_token_id": chat.end_of_text})
    write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "model_max_length": model.shape.context, "clean_up_tokenization_spaces": False, "chat_template": TEMPLATE})
    shutil.copy(tokenizer, folder / "tokenizer.json")


def load(folder: Path, weights=lambda name, tensor: tensor) -> Model:
    """A model from an exported folder, in f32. `weights` may alter every tensor, as quantisation does."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    experts = config.get("num_experts", 0)
    shape = Shape(layers=config["num_hidden_layers"], hidden=config["hidden_size"], heads=config["num_attention_heads"],
                  kv_heads=config["num_key_value_heads"], head_dim=config["head_dim"],
                  ffn=config["moe_intermediate_size"] if experts else config["intermediate_size"], experts=experts,
                  experts_per_token=config.get("num_experts_per_tok", 2), vocabulary=config["vocab_size"],
                  context=config["max_position_embeddings"], rope_theta=config["rope_theta"])
    tensors = {name: weights(name, tensor.float()) for name, tensor in load_file(folder / "model.safetensors").items()}
    for layer in range(shape.layers if experts else 0):
        at = f"model.layers.{layer}.mlp."
        take = lambda part: torch.stack([tensors.pop(f"{at}experts.{e}.{part}_proj.weight") for e in range(experts)])
        gate, up = take("gate"), take("up")
        tensors[at + "gate_up"], tensors[at + "down"] = torch.cat((gate, up), 1), take("down")
    model = Model(shape)
    model.load_state_dict(tensors)
    return model.eval()


if __name__ == "__main__":
    export(*map(Path, sys.argv[1:4]))
