"""Trains one model through the stages; resumable, and the same seed prints the same lines.

    python train.py dense --out runs/dense --tokens 24e6

Every line of `train.log` depends on the seed and the tokens seen alone; times go to `times.log`.
"""
import argparse
import random
import time
from pathlib import Path

import torch

import chat as chat_format
from model import Model, Shape
from optim import Optimizer
from stages import Source, stage_at

SHAPES = {
    "dense": Shape(layers=3, ffn=256),
    "moe": Shape(layers=4, kv_heads=4, ffn=256, experts=8),
    "twin": Shape(layers=4, kv_heads=4, ffn=512),       # dense, of the MoE's active size; for comparison, not shipped
}
POOL = 1600            # samples sorted by length together, so that batches carry little padding
WARM_UP = 0.3e6        # tokens
DECAY = 0.35           # share of the run over which the rates fall to almost nothing
BALANCE = 0.01


def batches(samples, most, r):
    """Groups samples of like length into batches of at most `most` tokens, in random order."""
    groups, group = [], []
    for sample in sorted(samples, key=lambda sample: len(sample[0])):
        length = -(-len(sample[0]) // 8) * 8
        if group and length * (len(group) + 1) > most:
            groups.append(group)
            group = []
        group.append(sample)
    groups.append(group)
    r.shuffle(groups)
    return groups


def tensors(group, pad, context):
    length = min(context, -(-max(len(ids) for ids, _, _ in group) // 8) * 8)
    ids = torch.full((len(group), length), pad)
    labels, real = torch.full((len(group), length), -100), torch.zeros(len(group), length, dtype=torch.bool)
    for row, (sample, read, _) in enumerate(group):
        sample = torch.tensor(sample[:length])
        ids[row, :len(sample)], real[row, :len(sample)] = sample, True
        labels[row, read - 1:len(sample) - 1] = sample[read:]
    return ids, labels, real


def rate(seen, total):
    """Warm-up, plateau, linear fall: a plateau checkpoint can be continued to any length."""
    return min(1.0, (seen + 1) / WARM_UP, max(0.01, (1 - seen / total) / DECAY))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=SHAPES)
    parser.add_argument("--out", type=Path, required=True, help="folder for the log and checkpoints")
    parser.add_argument("--tokens", type=float, required=True, help="tokens to train on")
    parser.add_argument("--batch", type=int, default=6144, help="tokens per step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/tokenizer.json"))
    parser.add_argument("--from", dest="origin", type=Path, help="checkpoint of another run to go on from")
    parser.add_argument("--keep", type=float, nargs="*", default=[], help="token counts at which a checkpoint is kept for later")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="one per process keeps results the same from run to run")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    total = int(arguments.tokens)

    chat = chat_format.Chat(arguments.tokenizer)
    source = Source(chat, arguments.seed)
    model = Model(SHAPES[arguments.model]).to_device(arguments.device)
    model.train()
    optimizer = Optimizer(model)
    seen = step = pool = 0
    checkpoint = arguments.out / "checkpoint.pt"
    origin = checkpoint if checkpoint.exists() else arguments.origin
    log, times = (open(arguments.out / name, "a", encoding="utf-8") for name in ("train.log", "times.log"))

    def say(line):
        print(line, flush=True)
        print(line, file=log, flush=True)

    if origin:
        state = torch.load(origin, map_location=arguments.device, weights_only=False)
        optimizer.restore(state["optimizer"])
        source.hardness = state["hardness"]
        seen, step, pool = state["seen"], state["step"], state["pool"]
    else:
        size, active = model.parameters_total_active()
        say(f"{arguments.model}: {size} parameters, {active} active, seed {arguments.seed}, {total} tokens, batches of {arguments.batch}")

    def save(path):
        state = {"optimizer": optimizer.state(), "hardness": source.hardness, "seen": seen, "step": step, "pool": pool, "shape": model.shape}
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)  # a killed run leaves the last whole checkpoint

    stage, losses, kept_back, began = None, [], [], (time.time(), seen)
    while seen < total:
        if (now := stage_at(seen, total)) != stage:
            stage = now
            model.set_rope(stage.rope_theta)
            model.to_device(arguments.device)
            say(f"stage {stage.name} from step {step}, {seen} tokens")
        samples = source.pool(pool, stage, POOL)
        cells = []
        for group in batches(samples, arguments.batch, random.Random(f"{arguments.seed} order {pool}")):
            ids, labels, real = (t.to(arguments.device) for t in tensors(group, chat.end_of_text, model.shape.context))
            each = model.token_losses(ids, labels, real)
            (each.mean() + BALANCE * model.balance_loss()).backward()
            optimizer.step(rate(seen, total))
            seen, step = seen + int(real.sum()), step + 1
            losses.append(each.detach().mean().item())
            counts = (labels != -100).sum(1).tolist()
            cells += [(cell, part.sum().item()) for (_, _, cell), part in zip(group, each.detach().split(counts)) if cell]
            if step % 50 == 0:
                balance = float(model.balance_loss())
                say(f"step {step} tokens {seen} loss {sum(losses) / len(losses):.4f}" + (f" balance {balance:.3f}" if balance else ""))
                print(f"{step} {time.time():.0f} {(seen - began[1]) / (time.time() - began[0]):.0f} tokens/s", file=times, flush=True)
                losses = []
        source.learn(cells)
        pool += 1
        if pool % 8 == 0:
            hardest = sorted(source.hardness.items(), key=lambda x: -x[1])[:6]
            say("hardest " + ", ".join(f"{kind}{level} {loss:.2f}" for (kind, level), loss in hardest))
            save(checkpoint)
            for mark in arguments.keep:
                if seen >= mark and mark not in kept_back:
                    kept_back.append(mark)
                    if not (kept := arguments.out / f"kept-{mark:.0f}.pt").exists():
                        save(kept)
    save(checkpoint)
    torch.save({"weights": optimizer.masters.state_dict(), "shape": model.shape}, arguments.out / "final.pt")
    say(f"done: step {step}, {seen} tokens")


if __name__ == "__main__":
    main()
