#!/usr/bin/env python3
"""Training steps of a GPT in ordinary eager PyTorch: SDPA, fused AdamW, zero_grad(set_to_none=True),
DDP over gloo when torchrun starts several ranks.

Prints a line a step, and one JSON object at the end: the median seconds of the timed steps, tokens/s
of all ranks and the peak memory of rank 0.
"""
import argparse
import json
import os
import resource
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SHAPES = {
    "124m": dict(layers=12, width=768, heads=12, vocab=50257, batch=4, seq=256),
    "10m": dict(layers=6, width=384, heads=6, vocab=256, batch=12, seq=256),
    "tiny": dict(layers=2, width=64, heads=2, vocab=256, batch=2, seq=32),
}


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x):
        batch, seq, width = x.shape
        q, k, v = (
            part.view(batch, seq, self.heads, -1).transpose(1, 2)
            for part in self.qkv(x).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(y.transpose(1, 2).reshape(batch, seq, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, layers, width, heads, vocab, seq, **_):
        super().__init__()
        self.tokens = nn.Embedding(vocab, width)
        self.positions = nn.Embedding(seq, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        self.head.weight = self.tokens.weight
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, inputs, targets):
        x = self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def make_optimizer(model):
    decaying = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW(
        [dict(params=decaying, weight_decay=0.1), dict(params=others, weight_decay=0.0)],
        lr=3e-4, betas=(0.9, 0.95), fused=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="10m")
    parser.add_argument("--steps", type=int, default=5, help="timed steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--threads", type=int, default=2, help="of each rank")
    args = parser.parse_args()
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    shape = SHAPES[args.shape]
    model = Gpt(**shape)
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = make_optimizer(model)
    text = torch.randint(256, (shape["batch"], shape["seq"] + 1))
    inputs, targets = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    seconds = []
    for step in range(args.warmup + args.steps):
        begin = time.perf_counter()
        loss = model(inputs, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        seconds.append(time.perf_counter() - begin)
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"step {step + 1}/{args.warmup + args.steps}", flush=True)
    median = statistics.median(seconds[args.warmup:])
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps({
            "step_seconds": median,
            "tokens_per_s": ranks * shape["batch"] * shape["seq"] / median,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "loss": loss.item()}))
    if ranks > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
