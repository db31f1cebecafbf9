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
BALANCE = 0.02


def batches(samples, most, r):
    """Groups samples of like length into batches of at most `most` tokens, in random order."""
    groups, group = [], []
    for sample in sorted(samples, key=len):
        length = padded(len(sample))
        if group and length * (len(group) + 1) > most:
            groups.append(group)
            group = []
        group.append(sample)
    groups.append(group)
    r.shuffle(groups)
    return groups


def padded(length):
    return -(-length // 8) * 8


def tensors(group, pad):
    """What the model reads and should say, all [samples, length]: ids, labels, positions, branch numbers (0 is the prompt,
    -1 padding). And every branch's cell and count of labels, in the order of the labels."""
    length = padded(max(map(len, group)))
    ids, labels = torch.full((len(group), length), pad), torch.full((len(group), length), -100)
    positions, branches = torch.zeros(len(group), length, dtype=torch.long), torch.full((len(group), length), -1)
    counts = []
    for row, sample in enumerate(group):
        start = end = len(sample.prompt)
        ids[row, :end], positions[row, :end], branches[row, :end] = torch.tensor(sample.prompt), torch.arange(end), 0
        for number, branch in enumerate(sample.branches, 1):
            tokens = branch.read + branch.written
            at = slice(end, end + len(tokens))
            ids[row, at], branches[row, at] = torch.tensor(tokens), number
            positions[row, at] = torch.arange(start, start + len(tokens))
            # A token is learned at the place before it; a branch's first token at the prompt's last place.
            learned = torch.tensor(branch.written)
            first = end + len(branch.read)
            labels[row, start - 1 if first == end else first - 1] = learned[0]
            labels[row, first:at.stop - 1] = learned[1:]
            counts.append((branch.cell, len(branch.written)))
            end = at.stop
    return ids, labels, positions, branches, counts


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
    seen, step, pool, stage = 0, 0, 0, None
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
        seen, step, pool, stage = state["seen"], state["step"], state["pool"], state["stage"]
        if origin == checkpoint:  # what was logged after the checkpoint will be logged again
            log.truncate(state["logged"])
    else:
        size, active = model.parameters_total_active()
        say(f"{arguments.model}: {size} parameters, {active} active, seed {arguments.seed}, {total} tokens, batches of {arguments.batch}")

    def save(path):
        state = {"optimizer": optimizer.state(), "hardness": source.hardness, "seen": seen, "step": step, "pool": pool, "stage": stage,
                 "losses": losses, "logged": log.tell(), "shape": model.shape}
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)  # a killed run leaves the last whole checkpoint

    losses, began = state["losses"] if origin else [], (time.time(), seen)
    while seen < total:
        if (now := stage_at(seen, total)) != stage:
            stage = now
            say(f"stage {stage.name} from step {step}, {seen} tokens")
        model.set_rope(stage.rope_theta)
        model.to_device(arguments.device)
        samples = source.pool(pool, stage, POOL)
        cells = []
        for group in batches(samples, arguments.batch, random.Random(f"{arguments.seed} order {pool}")):
            *given, counts = tensors(group, chat.end_of_text)
            ids, labels, positions, branches = (t.to(arguments.device) for t in given)
            each = model.token_losses(ids, labels, positions, branches)
            (each.mean() + BALANCE * model.balance_loss()).backward()
            optimizer.step(rate(seen, total))
            seen, step = seen + int((branches >= 0).sum()), step + 1
            losses.append(each.detach().mean().item())
            parts = each.detach().split([count for _, count in counts])
            cells += [(cell, part.sum().item()) for (cell, _), part in zip(counts, parts) if cell]
            if step % 50 == 0:
                balance = float(model.balance_loss())
                say(f"step {step} tokens {seen} loss {sum(losses) / len(losses):.4f}" + (f" balance {balance:.3f}" if balance else ""))
                print(f"{step} {time.time():.0f} {(seen - began[1]) / (time.time() - began[0]):.0f} tokens/s", file=times, flush=True)
                losses = []
        source.learn(cells)
        pool += 1
        if pool % 4 == 0:
            hardest = sorted(source.hardness.items(), key=lambda x: -x[1])[:6]
            say("hardest " + ", ".join(f"{kind}{level} {loss:.2f}" for (kind, level), loss in hardest))
            save(checkpoint)
            for mark in arguments.keep:
                if seen >= mark and not (kept := arguments.out / f"kept-{mark:.0f}.pt").exists():
                    save(kept)
    save(checkpoint)
    torch.save({"weights": optimizer.masters.state_dict(), "shape": model.shape}, arguments.out / "final.part")
    (arguments.out / "final.part").rename(arguments.out / "final.pt")
    say(f"done: step {step}, {seen} tokens")


if __name__ == "__main__":
    main()
