"""Muon for matrices, AdamW for the rest, over f32 masters of a bf16 working copy.

Muon (K. Jordan, 2024): momentum orthogonalised by a Newton-Schulz iteration. Tiny models trained on a CPU take about half
the tokens with it that AdamW alone takes.
"""
import copy

import torch

# Quintic Newton-Schulz coefficients of the Muon write-up.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


def orthogonalised(updates):
    """Each of [n, rows, columns], brought near the closest matrix with orthonormal rows or columns."""
    tall = updates.shape[1] > updates.shape[2]
    x = updates.transpose(1, 2) if tall else updates
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return (x.transpose(1, 2) if tall else x).float()


class Optimizer:
    """Steps the f32 masters and copies them into the working model, whose gradients it consumes."""

    def __init__(self, working, matrix_rate=0.02, other_rate=4e-3, momentum=0.95):
        self.masters = copy.deepcopy(working).float()
        working.bfloat16()
        self.pairs = list(zip(working.parameters(), self.masters.parameters()))
        self.matrix_rate, self.other_rate, self.momentum = matrix_rate, other_rate, momentum
        self.by_shape, others = {}, []
        for name, parameter in self.masters.named_parameters():
            if parameter.dim() >= 2 and "embed" not in name and not name.endswith("mlp.gate.weight"):
                self.by_shape.setdefault(tuple(parameter.shape[-2:]), []).append(parameter)
            else:
                others.append(parameter)
        self.velocity = {shape: [torch.zeros_like(p) for p in matrices] for shape, matrices in self.by_shape.items()}
        self.adam = torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.98), weight_decay=0.0, eps=1e-9)

    @torch.no_grad()
    def step(self, scale: float):
        """One update at `scale` times the full rates."""
        for working, master in self.pairs:
            master.grad = torch.zeros_like(master) if working.grad is None else working.grad.float()
            working.grad = None
        for group in self.adam.param_groups:
            group["lr"] = self.other_rate * scale
        self.adam.step()
        for shape, matrices in self.by_shape.items():
            ahead = []
            for matrix, velocity in zip(matrices, self.velocity[shape]):
                velocity.mul_(self.momentum).add_(matrix.grad)
                ahead.append((matrix.grad + self.momentum * velocity).reshape(-1, *shape))
            updates, at = orthogonalised(torch.cat(ahead)), 0
            rate = self.matrix_rate * scale * max(1.0, shape[0] / shape[1]) ** 0.5
            for matrix in matrices:
                count = matrix.numel() // (shape[0] * shape[1])
                matrix.add_(updates[at:at + count].reshape(matrix.shape), alpha=-rate)
                at += count
        for working, master in self.pairs:
            working.copy_(master)
            master.grad = None

    def state(self):
        return {"masters": self.masters.state_dict(), "adam": self.adam.state_dict(),
                "velocity": {"x".join(map(str, shape)): v for shape, v in self.velocity.items()}}

    def restore(self, state):
        self.masters.load_state_dict(state["masters"])
        self.adam.load_state_dict(state["adam"])
        for shape, kept in self.velocity.items():
            for velocity, saved in zip(kept, state["velocity"]["x".join(map(str, shape))]):
                velocity.copy_(saved)
        with torch.no_grad():
            for working, master in self.pairs:
                working.copy_(master)
