"""Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon): momentum that Newton-Schulz makes orthogonal.

Matrices of one shape are orthogonalised together, in float32. torch's own Muon does it one by one in bfloat16, which is
slow on processors. In the first hundreds of steps it learned as much as AdamW in twice as many.
"""

import torch


class Muon(torch.optim.Optimizer):
    def __init__(self, matrices, learning_rate, momentum=0.95, weight_decay=0.01, iterations=5):
        super().__init__(list(matrices), dict(lr=learning_rate, momentum=momentum, weight_decay=weight_decay, iterations=iterations))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(tuple(matrix.shape), []).append(matrix)
            for shape, matrices in by_shape.items():
                updates = orthogonal(torch.stack([self.momentum(matrix, group["momentum"]) for matrix in matrices]), group["iterations"])
                rate = group["lr"] * 0.2 * max(shape) ** 0.5  # updates as large as AdamW's
                for matrix, update in zip(matrices, updates):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)

    def momentum(self, matrix, amount):
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].mul_(amount).add_(matrix.grad)
        return matrix.grad.add(state["momentum"], alpha=amount)  # Nesterov


def orthogonal(x, iterations):
    """Turns [count, rows, columns] into nearly orthogonal matrices with the same singular vectors."""
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x
