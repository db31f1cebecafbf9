"""Post-training stage 5: reinforcement learning with verifiable rewards, in the manner of GRPO.

    python rl.py runs/dense/final.pt --out runs/dense-rl --steps 60

Groups of sampled replies are compared with each other: a reply earns its advantage over its group's mean reward, which is
1 for a right answer that ends its turn and 0 otherwise. One on-policy update per batch of groups, so no ratio to clip.
"""
import argparse
import random
import time
from pathlib import Path

import torch

import tasks
from chat import Chat, prompt
from model import Model, generate
from questions import is_right

GROUPS, REPLIES = 24, 8     # questions per step, replies per question
MOST = 200                  # new tokens
ROWS = 64                   # replies per forward pass


def losses(model, chat, prompts, replies, advantages, total):
    """Policy-gradient loss of replies in chunks: minus advantage times log-probability, per generated token."""
    order = sorted((at for at in range(len(replies)) if abs(advantages[at]) > 1e-4), key=lambda at: len(prompts[at]) + len(replies[at]))
    for start in range(0, len(order), ROWS):
        part = order[start:start + ROWS]
        length = max(len(prompts[at]) + len(replies[at]) for at in part)
        ids, labels = torch.full((len(part), length), chat.end_of_text), torch.full((len(part), length), -100)
        weight = []
        for row, at in enumerate(part):
            both, read = prompts[at] + replies[at], len(prompts[at])
            ids[row, :len(both)] = torch.tensor(both)
            labels[row, read - 1:len(both) - 1] = ids[row, read:len(both)]
            weight += [advantages[at]] * len(replies[at])
        real = torch.where(ids != chat.end_of_text, 0, -1)
        each = model.token_losses(ids, labels, torch.arange(length).expand_as(ids), real)
        yield (each * torch.tensor(weight)).sum() / total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rate", type=float, default=1e-4, help="AdamW learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/tokenizer.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    r = random.Random(arguments.seed)
    chat = Chat(arguments.tokenizer)
    state = torch.load(arguments.checkpoint, weights_only=False)
    model = Model(state["shape"])
    model.load_state_dict(state["weights"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.rate, betas=(0.9, 0.95), weight_decay=0.0)
    arguments.out.mkdir(parents=True, exist_ok=True)
    log, times = (open(arguments.out / name, "w", encoding="utf-8") for name in ("train.log", "times.log"))
    # Groups in which every reply is right or every one is wrong teach nothing: easy kinds are left out.
    cells = [cell for cell in tasks.CELLS if cell[0] not in tasks.EASY and cell[1] > 1]
    for step in range(arguments.steps):
        items = [tasks.draw(r, *r.choice(cells), r.choice(("en", "zh"))) for _ in range(GROUPS)]
        prompts = [ids for item in items for ids in [chat.encode(prompt(item.question, item.history))] for _ in range(REPLIES)]
        model.eval()
        replies = generate(model, prompts, MOST, chat.end_of_turn, temperature=1.0)
        model.train()
        right = [ids[-1] == chat.end_of_turn and is_right({"type": items[at // REPLIES].checker, "answer": items[at // REPLIES].answer}, chat.answer(ids))
                 for at, ids in enumerate(replies)]
        rewards = torch.tensor(right, dtype=torch.float32).view(GROUPS, REPLIES)
        advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-3)).view(-1).tolist()
        total = sum(len(ids) for ids, advantage in zip(replies, advantages) if abs(advantage) > 1e-4)
        for loss in losses(model, chat, prompts, replies, advantages, max(1, total)):
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        mixed = int(((rewards.mean(1) > 0) & (rewards.mean(1) < 1)).sum())
        line = f"rl step {step} reward {rewards.mean():.3f} mixed groups {mixed}/{GROUPS} tokens {sum(map(len, replies)) / len(replies):.1f}"
        print(line, flush=True)
        print(line, file=log, flush=True)
        print(f"{step} {time.time():.0f}", file=times, flush=True)
    torch.save({"weights": model.state_dict(), "shape": model.shape}, arguments.out / "final.part")
    (arguments.out / "final.part").rename(arguments.out / "final.pt")


if __name__ == "__main__":
    main()
