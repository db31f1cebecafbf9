"""Qwen3 and Qwen3-MoE, written for training: the same computation as transformers', with the experts fused per layer.

Weights are named as in the Hugging Face layout, except that a layer's experts are stacked; `state_for_export` takes them
apart again.
"""
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Shape:
    """What `config.json` says of a model. `experts` of 0 means dense."""

    layers: int
    hidden: int = 256
    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 32
    ffn: int = 256                # dense: the width; MoE: each expert's
    experts: int = 0
    experts_per_token: int = 2
    vocabulary: int = 1536
    context: int = 1024
    rope_theta: float = 100_000.0
    eps: float = 1e-6

    def config(self, bos: int, eos: int) -> dict:
        """The Hugging Face `config.json`."""
        common = dict(
            architectures=["Qwen3MoeForCausalLM" if self.experts else "Qwen3ForCausalLM"],
            model_type="qwen3_moe" if self.experts else "qwen3",
            attention_bias=False, attention_dropout=0.0, bos_token_id=bos, eos_token_id=eos, head_dim=self.head_dim,
            hidden_act="silu", hidden_size=self.hidden, initializer_range=0.02,
            intermediate_size=self.ffn * (self.experts_per_token if self.experts else 1),
            max_position_embeddings=self.context, num_attention_heads=self.heads, num_hidden_layers=self.layers,
            num_key_value_heads=self.kv_heads, rms_norm_eps=self.eps, rope_scaling=None, rope_theta=self.rope_theta,
            sliding_window=None, tie_word_embeddings=True, torch_dtype="float16", use_cache=True, use_sliding_window=False,
            vocab_size=self.vocabulary)
        if self.experts:
            common.update(decoder_sparse_step=1, mlp_only_layers=[], moe_intermediate_size=self.ffn, norm_topk_prob=True,
                          num_experts=self.experts, num_experts_per_tok=self.experts_per_token,
                          output_router_logits=False, router_aux_loss_coef=0.01)
        return common


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def rotate(x, cos, sin):
    """Rotary positions; `cos` and `sin` are [positions, head_dim / 2] or broadcast to x without its last axis."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        self.s = s
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.q_proj, self.o_proj = linear(s.hidden, s.heads * s.head_dim), linear(s.heads * s.head_dim, s.hidden)
        self.k_proj, self.v_proj = linear(s.hidden, s.kv_heads * s.head_dim), linear(s.hidden, s.kv_heads * s.head_dim)
        self.q_norm, self.k_norm = Norm(s.head_dim, s.eps), Norm(s.head_dim, s.eps)

    def forward(self, x, cos, sin, mask, cache=None):
        s, (batch, length, _) = self.s, x.shape
        split = lambda y: y.view(batch, length, -1, s.head_dim)
        q = rotate(self.q_norm(split(self.q_proj(x))).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(split(self.k_proj(x))).transpose(1, 2), cos, sin)
        v = split(self.v_proj(x)).transpose(1, 2)
        if cache is not None:
            k, v = cache(k, v)
        groups = s.heads // s.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        if cache is None and x.device.type == "cpu":
            # Plain products: on CPU twice as fast for short sequences as the fused kernel, whose bf16 path is slow.
            flat = lambda y: y.reshape(batch * s.heads, length, s.head_dim)
            scores = torch.baddbmm(mask.reshape(-1, length, length), flat(q * s.head_dim**-0.5), flat(k).transpose(1, 2))
            y = (F.softmax(scores, -1) @ flat(v)).view(batch, s.heads, length, s.head_dim)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class Dense(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(s.hidden, s.ffn, bias=False), nn.Linear(s.hidden, s.ffn, bias=False)
        self.down_proj = nn.Linear(s.ffn, s.hidden, bias=False)

    def forward(self, x, real=None):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Moe(nn.Module):
    """Top-k of softmax, weights renormalised, tokens sorted by expert so that each expert is two matrix products."""

    def __init__(self, s: Shape):
        super().__init__()
        self.s = s
        self.gate = nn.Linear(s.hidden, s.experts, bias=False)
        self.gate_up = nn.Parameter(torch.randn(s.experts, 2 * s.ffn, s.hidden) * s.hidden**-0.5)
        self.down = nn.Parameter(torch.randn(s.experts, s.hidden, s.ffn) * s.ffn**-0.5)
        self.balance = None  # the load-balancing loss of the last forward pass
        self.chosen = None   # expert ids of the last forward pass, [tokens, k]

    def forward(self, x, real=None):
        s, shape = self.s, x.shape
        x = x.reshape(-1, s.hidden)
        probability = F.softmax(self.gate(x).float(), -1)
        weight, chosen = probability.topk(s.experts_per_token, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        flat = chosen.reshape(-1)
        if self.training:
            counted = torch.ones_like(flat, dtype=torch.float32) if real is None else real.reshape(-1).repeat_interleave(s.experts_per_token).float()
            share = torch.zeros(s.experts, device=x.device).index_add_(0, flat, counted) / counted.sum()
            mean = probability.mean(0) if real is None else (probability * real.reshape(-1, 1)).sum(0) / real.sum()
            self.balance = s.experts * (share * mean).sum()
        self.chosen = chosen
        order = flat.argsort(stable=True)
        sizes = torch.bincount(flat, minlength=s.experts).tolist()
        rows = x.index_select(0, order // s.experts_per_token)
        out = []
        for part, gate_up, down in zip(rows.split(sizes), self.gate_up.unbind(0), self.down.unbind(0)):
            gate, up = (part @ gate_up.t()).chunk(2, -1)
            out.append((F.silu(gate) * up) @ down.t())
        y = torch.cat(out).index_select(0, order.argsort()).view(-1, s.experts_per_token, s.hidden)
        return (y * weight.unsqueeze(-1).to(y.dtype)).sum(1).view(shape)


class Block(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        self.self_attn, self.mlp = Attention(s), Moe(s) if s.experts else Dense(s)
        self.input_layernorm, self.post_attention_layernorm = Norm(s.hidden, s.eps), Norm(s.hidden, s.eps)

    def forward(self, x, cos, sin, mask, cache=None, real=None):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x), real)


class Model(nn.Module):
    def __init__(self, shape: Shape, theta: float | None = None):
        super().__init__()
        self.shape = shape
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.model.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.model.norm = Norm(shape.hidden, shape.eps)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, 0, 0.03 if "embed" in name else parameter.shape[1] ** -0.5)
            if "o_proj" in name or name.endswith(("down_proj.weight", ".down")):
                parameter.data.mul_((2 * shape.layers) ** -0.5)
        self.set_rope(theta or shape.rope_theta)

    def set_rope(self, theta: float):
        """Rotary tables for this base; longer context wants a larger one."""
        inverse = theta ** (-torch.arange(0, self.shape.head_dim, 2).float() / self.shape.head_dim)
        angles = torch.outer(torch.arange(self.shape.context).float(), inverse)
        self.cos, self.sin = angles.cos(), angles.sin()

    def to_device(self, device):
        self.cos, self.sin = self.cos.to(device), self.sin.to(device)
        return self.to(device)

    def sight(self, positions, branches):
        """Rotary tables and attention mask of training: a token sees its prompt and what came before in its own branch."""
        length = positions.shape[1]
        dtype = self.model.embed_tokens.weight.dtype
        seen = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])
        seen &= torch.ones(length, length, dtype=torch.bool, device=positions.device).tril()
        mask = torch.zeros(seen.shape, dtype=dtype, device=positions.device).masked_fill_(~seen, float("-inf"))
        return self.cos[positions][:, None], self.sin[positions][:, None], mask[:, None].repeat(1, self.shape.heads, 1, 1)

    def token_losses(self, ids, labels, positions, branches):
        """Cross entropy at every supervised position, in order; all arguments are [batch, length].

        `labels` are already shifted, -100 where nothing is supervised. `branches` numbers the replies to a prompt, whose own
        tokens are 0; -1 is padding.
        """
        cos, sin, mask = self.sight(positions, branches)
        real = branches >= 0
        at = (labels.reshape(-1) != -100).nonzero().squeeze(1)
        x = self.model.embed_tokens(ids)
        *layers, last = self.model.layers
        for layer in layers:
            x = layer(x, cos, sin, mask, real=real)
        # Nothing but the loss reads the last layer, so its MLP runs where there is a loss: a third of the positions.
        x = x + last.self_attn(last.input_layernorm(x), cos, sin, mask)
        x = x.reshape(-1, self.shape.hidden).index_select(0, at)
        x = self.model.norm(x + last.mlp(last.post_attention_layernorm(x)))
        logits = x @ self.model.embed_tokens.weight.t()
        return F.cross_entropy(logits.float(), labels.reshape(-1)[at], reduction="none")

    def balance_loss(self):
        """Mean load-balancing loss over MoE layers; 1 is perfect balance."""
        return sum(layer.mlp.balance for layer in self.model.layers) / self.shape.layers if self.shape.experts else 0.0

    def parameters_total_active(self) -> tuple[int, int]:
        total = sum(p.numel() for p in self.parameters())
        s = self.shape
        asleep = 3 * s.hidden * s.ffn * (s.experts - s.experts_per_token) * s.layers if s.experts else 0
        return total, total - asleep

    def state_for_export(self) -> dict:
        """Tensors under their Hugging Face names."""
        out = {}
        for name, tensor in self.state_dict().items():
            if name.endswith("mlp.gate_up"):
                for e, both in enumerate(tensor):
                    gate, up = both.chunk(2, 0)
                    out[f"{name[:-7]}experts.{e}.gate_proj.weight"] = gate.contiguous()
                    out[f"{name[:-7]}experts.{e}.up_proj.weight"] = up.contiguous()
            elif name.endswith("mlp.down"):
                for e, down in enumerate(tensor):
                    out[f"{name[:-4]}experts.{e}.down_proj.weight"] = down.contiguous()
            else:
                out[name] = tensor
        return out


@torch.no_grad()
def generate(model: Model, prompts: list[list[int]], most: int, eos: int, temperature: float = 0.0, rng=None) -> list[list[int]]:
    """Continues every prompt until `eos` (kept) or `most` tokens, with a cache, dropping rows that have finished."""
    s, device = model.shape, model.model.embed_tokens.weight.device
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in zip(ids, prompts):
        row[longest - len(prompt):] = torch.tensor(prompt)
    pad = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
    ids = ids.to(device)
    dtype = model.model.embed_tokens.weight.dtype
    store = [torch.zeros(2, len(prompts), s.kv_heads, longest + most, s.head_dim, dtype=dtype, device=device) for _ in range(s.layers)]
    out, rows, start = [[] for _ in prompts], torch.arange(len(prompts)), 0
    position = (torch.arange(longest, device=device)[None] - pad[:, None]).clamp(min=0)
    for _ in range(most):
        length = ids.shape[1]
        cos, sin = model.cos[position][:, None], model.sin[position][:, None]
        key, query = torch.arange(start + length, device=device), torch.arange(start, start + length, device=device)
        mask = (key <= query[:, None]) & ((key >= pad[:, None, None]) | (key == query[:, None]))
        x = model.model.embed_tokens(ids)
        for layer, kept in zip(model.model.layers, store):
            def cache(k, v, kept=kept):
                kept[0][:, :, start:start + length], kept[1][:, :, start:start + length] = k, v
                return kept[0][:, :, :start + length], kept[1][:, :, :start + length]
            x = layer(x, cos, sin, mask[:, None], cache)
        logits = (model.model.norm(x[:, -1]) @ model.model.embed_tokens.weight.t()).float()
        if temperature > 0:
            following = torch.multinomial(F.softmax(logits / temperature, -1), 1, generator=rng).squeeze(1)
        else:
            following = logits.argmax(-1)
        for row, token in zip(rows.tolist(), following.tolist()):
            out[row].append(token)
        start += length
        alive = (following != eos).nonzero().squeeze(1)
        if not len(alive):
            break
        if len(alive) < len(following):
            following, pad, rows = following[alive], pad[alive], rows[alive.cpu()]
            store = [kept[:, alive] for kept in store]
        position, ids = (start - pad)[:, None], following[:, None]
    return out
