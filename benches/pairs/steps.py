"""Optimiser steps as trainers take them: AdamW with the decay that PyTorch defaults to."""

import torch


def descend(weights, loss, rate, kept_in=torch.float32):
    """Takes a step of AdamW each time it is asked for the next number.

    With `kept_in` bf16, weights, gradients and moments are bf16, as where no f32 master copy is kept;
    only the forward and backward passes are computed in f32.
    """
    weights = [weight for weight in weights if weight.requires_grad]
    master = weights if kept_in == torch.float32 else [weight.detach().to(kept_in) for weight in weights]
    optimiser = torch.optim.AdamW(master, lr=rate, fused=True)
    step = 0
    while True:
        loss().backward()
        for own, weight in zip(master, weights):
            # None where the loss does not reach: AdamW leaves those alone.
            gradient, weight.grad = weight.grad, None
            own.grad = gradient if gradient is None else gradient.to(kept_in)
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            for own, weight in zip(master, weights):
                weight.copy_(own)
        step += 1
        yield step


def take(steps, count):
    for _ in range(count):
        next(steps)
