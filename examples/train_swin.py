#!/usr/bin/env python3
"""Trains timm's Swin V2 for a few steps on made-up images, as it is and with attention in one kernel: images a second before and
after, from the same parameters on the same images.

    python3 train_swin.py                                      swinv2_tiny_window8_256, two images a step on a CPU
    python3 train_swin.py --model swinv2_base_window8_256 --batch 64 --dtype bf16 --compile

Needs torch, timm and flash_cosine_sim_attention. Ends with status 1 where losses differ."""
import argparse
import copy
import sys
import time

import timm
import torch
import torch.nn.functional as F
from flash_cosine_sim_attention.swin import replace_attention

CLASSES = 10


def arguments():
    gpu = torch.cuda.is_available()
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda" if gpu else "cpu")
    p.add_argument("--model", default="swinv2_tiny_window8_256")
    p.add_argument("--batch", type=int, default=64 if gpu else 2)
    p.add_argument("--steps", type=int, default=20 if gpu else 4)
    p.add_argument("--dtype", choices=("f32", "bf16"), default="bf16" if gpu else "f32", help="bf16: by autocast")
    p.add_argument("--compile", action="store_true", help="torch.compile of both models")
    return p.parse_args()


def made_up(batch, size, step):
    """Stripes whose direction is the class, in noise: (b, 3, size, size) and labels (b)."""
    drawn = torch.Generator().manual_seed(step)
    labels = torch.randint(CLASSES, (batch,), generator=drawn)
    angle = (labels * torch.pi / CLASSES)[:, None, None]
    x = torch.arange(size) / size
    waves = torch.sin(40 * (x[:, None] * angle.cos() + x * angle.sin()))
    return waves[:, None] + 0.5 * torch.randn(batch, 3, size, size, generator=drawn), labels


def train(model, options):
    """Losses and images a second, the first step, which compiles, left out."""
    model = torch.compile(model) if options.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    losses, times = [], []
    for step in range(options.steps + 1):
        images, labels = (t.to(options.device) for t in made_up(options.batch, 256, step))
        began = time.perf_counter()
        with torch.autocast(torch.device(options.device).type, torch.bfloat16, enabled=options.dtype == "bf16"):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())  # waits for the device
        times.append(time.perf_counter() - began)
    return losses, options.batch * options.steps / sum(times[1:])


def main():
    options = arguments()
    torch.manual_seed(0)
    before = timm.create_model(options.model, num_classes=CLASSES, drop_path_rate=0.0).to(options.device).train()
    after = copy.deepcopy(before)
    layers = replace_attention(after)
    print(f"{options.model}, {layers} attention layers, {options.batch} images in a step, {options.dtype} on {options.device}")
    curves = []
    for name, model in (("as it is", before), ("one kernel", after)):
        losses, rate = train(model, options)
        curves.append(losses)
        print(f"{name:11s} {rate:8.2f} images a second; loss " + " ".join(f"{loss:.3f}" for loss in losses[:: max(1, len(losses) // 6)]))
    apart = abs(curves[0][0] - curves[1][0])
    print(f"losses of the first step are {apart:.5f} apart, of the last {abs(curves[0][-1] - curves[1][-1]):.5f}")
    if not apart < (0.05 if options.dtype == "bf16" else 0.001):
        sys.exit("the first step's losses differ")


if __name__ == "__main__":
    main()
