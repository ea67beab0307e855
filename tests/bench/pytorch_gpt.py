#!/usr/bin/env python3
"""One training step of a GPT in ordinary eager PyTorch, the side of the comparison that
step_bench.cpp stands against: SDPA, fused AdamW, zero_grad(set_to_none=True).

Prints one JSON object: the shape, the median seconds of a step, tokens/s and peak memory.
"""
import argparse
import json
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="10m")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    shape = SHAPES[args.shape]
    model = Gpt(**shape)
    decaying = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [dict(params=decaying, weight_decay=0.1), dict(params=others, weight_decay=0.0)],
        lr=3e-4, betas=(0.9, 0.95), fused=True)
    text = torch.randint(shape["vocab"], (shape["batch"], shape["seq"] + 1))
    inputs, targets = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    seconds, backward_seconds, cpu_seconds, loss = [], [], [], None
    for _ in range(args.warmup + args.steps):
        begin, busy = time.perf_counter(), time.process_time()
        loss = model(inputs, targets)
        loss.backward()
        backward_seconds.append(time.perf_counter() - begin)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - begin)
        cpu_seconds.append(time.process_time() - busy)
    step = statistics.median(seconds[args.warmup:])
    tokens = shape["batch"] * shape["seq"]
    print(json.dumps({
        "what": "pytorch", "shape": args.shape, "threads": args.threads,
        "step_seconds": round(step, 4),
        "backward_seconds": round(statistics.median(backward_seconds[args.warmup:]), 4),
        "cpu_seconds": round(statistics.median(cpu_seconds[args.warmup:]), 4),
        "tokens_per_s": round(tokens / step, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "loss": round(loss.item(), 4),
    }))


if __name__ == "__main__":
    main()
