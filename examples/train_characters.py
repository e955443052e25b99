#!/usr/bin/env python3
"""Trains a small GPT of characters twice, with attention in plain operations and in one kernel, from the same parameters on the
same text, and compares losses, speed and memory.

    python3 train_characters.py                                a minute on a CPU; on a GPU 32,768 characters at a time, where
                                                               plain attention runs out of memory
    python3 train_characters.py --text FILE --length 512       your own text and lengths

The text is the source of Python's standard library where none is given. Needs torch and flash_cosine_sim_attention. Ends with
status 1 where losses differ or don't fall."""
import argparse
import inspect
import pathlib
import sys
import time

import torch
from flash_cosine_sim_attention.transformer import CosineSimCausalTransformer

ATTENTION = {"plain": False, "one kernel": True}
NOISE = 0.05  # nats: what the order of roundings may do to a loss


def arguments():
    gpu = torch.cuda.is_available()
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda" if gpu else "cpu")
    p.add_argument("--text", type=pathlib.Path)
    p.add_argument("--length", type=int, default=32768 if gpu else 256)
    p.add_argument("--batch", type=int, default=1 if gpu else 4)
    p.add_argument("--steps", type=int, default=40)
    p.add_argument("--depth", type=int, default=4 if gpu else 2)
    p.add_argument("--heads", type=int, default=8 if gpu else 4)
    p.add_argument("--dim-head", type=int, default=64 if gpu else 32)
    p.add_argument("--dtype", choices=("f32", "bf16"), default="bf16" if gpu else "f32", help="bf16: by autocast")
    return p.parse_args()


def text_of(options):
    """The text as numbers, and how many different ones there are."""
    if options.text:
        text = options.text.read_text(errors="replace")
    else:
        import argparse as a, ast, doctest, inspect as i, pathlib as b, pickle, tarfile, typing, unittest.mock as m
        text = "".join(inspect.getsource(module) for module in (a, ast, doctest, i, b, pickle, tarfile, typing, m))
    if len(text) < 2 * (options.length + 1):
        sys.exit(f"the text has {len(text)} characters: it must be twice as long as --length, {options.length}")
    alphabet = {c: n for n, c in enumerate(sorted(set(text)))}
    return torch.tensor([alphabet[c] for c in text]), len(alphabet)


def batches(text, options):
    drawn = torch.Generator().manual_seed(1)
    for _ in range(options.steps):
        starts = torch.randint(len(text) - options.length - 1, (options.batch,), generator=drawn)
        yield torch.stack([text[s:s + options.length + 1] for s in starts]).to(options.device)


def train(fused, text, characters, options):
    """Losses, seconds a step, and the peak of memory on a GPU in bytes."""
    torch.manual_seed(0)
    gpu = options.device.startswith("cuda")
    model = CosineSimCausalTransformer(
        num_tokens=characters, dim=options.heads * options.dim_head, max_seq_len=options.length, depth=options.depth,
        heads=options.heads, dim_head=options.dim_head, pre_norm=True, use_cuda_kernel=fused).to(options.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    losses, times = [], []
    for tokens in batches(text, options):
        began = time.perf_counter()
        with torch.autocast(torch.device(options.device).type, torch.bfloat16, enabled=options.dtype == "bf16"):
            loss = model(tokens, return_loss=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())  # waits for the device
        times.append(time.perf_counter() - began)
    times = sorted(times[2:] or times)
    return losses, times[len(times) // 2], torch.cuda.max_memory_allocated() if gpu else None


def attempt(name, fused, text, characters, options):
    """None where memory runs out."""
    try:
        losses, seconds, peak = train(fused, text, characters, options)
    except torch.OutOfMemoryError as error:
        print(f"{name:11s} out of memory: {str(error).splitlines()[0][:90]}")
        return None
    finally:
        if options.device.startswith("cuda"):
            torch.cuda.empty_cache()
    memory = "" if peak is None else f", {peak / 2 ** 30:.2f} GiB at most"
    print(f"{name:11s} {options.batch * options.length / seconds:10,.0f} characters a second{memory}; loss "
          + " ".join(f"{losses[i]:.3f}" for i in range(0, len(losses), max(1, len(losses) // 8))) + f" ... {losses[-1]:.3f}")
    return losses


def main():
    options = arguments()
    text, characters = text_of(options)
    print(f"{characters} different characters, {options.batch} x {options.length} in a step, {options.dtype} on {options.device}")
    curves = [attempt(name, fused, text, characters, options) for name, fused in ATTENTION.items()]
    ours = curves[-1]
    if ours is None or not ours[-1] < ours[0] - 0.5:
        sys.exit("the loss didn't fall")
    if curves[0] is not None:
        apart = max(abs(a - b) for a, b in zip(*curves))
        print(f"losses are {apart:.5f} apart at most")
        if not apart < NOISE:
            sys.exit(f"that is more than {NOISE}")


if __name__ == "__main__":
    main()
