#!/usr/bin/env python3
"""Whole models with attention in one kernel beside the same models as they come: timm's Swin V2, and a Qwen3 of transformers,
with random parameters.

    python3 benchmarks/models_vs_torch.py --out models.json
    python3 benchmarks/models_vs_torch.py --models qwen3_0.6b --lengths 1024,4096,16384 --rounds 7 --out qwen3.json
    python3 benchmarks/models_vs_torch.py --models swin_try,qwen3_try --batch 2 --lengths 64 --seconds 0    to try it, CPU too

Swin V2: forward, bf16 parameters; training, a step of AdamW under autocast. Qwen3: forward, all logits of the last token of one
sequence (a prefill, without keeping keys); training, a step of AdamW on the next token, bf16 parameters. `compiled` is
torch.compile of the whole model; of Qwen3 at the longest length alone.

Each contender has a process of its own, which compiles while the others do; then they are timed in turn, round by round, the
others waiting. A contender whose logits or loss are far from the first's has no time. Peak memory is all that PyTorch has
allocated, parameters and the optimizer's state included. FCSA_LIBRARY names libfcsa.so where the package is not installed."""
import argparse
import copy
import json
import os
import statistics
import sys
import threading
import time
from typing import NamedTuple

import torch
import torch.nn.functional as F

from processes import Contender, provenance, serve

SWIN = ("swinv2_tiny_window8_256", "swinv2_base_window8_256", "swin_try")
QWEN3 = {
    "qwen3_0.6b": dict(vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
                       num_key_value_heads=8, head_dim=128, max_position_embeddings=40960, tie_word_embeddings=True),
    "qwen3_try": dict(vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                      num_key_value_heads=2, head_dim=32, max_position_embeddings=4096, tie_word_embeddings=True),
}
PASSES = ("forward", "training")
FAR = 0.1  # relative: roundings of bf16 stay below; with a wrong mask or scale logits don't


class Key(NamedTuple):
    """A process: what it measures."""
    attention: str
    compiled: bool
    passes: tuple  # compiled, each has a process: compiling is what takes long


def contenders_of(model, passes):
    """The first is what the others are compared with."""
    names = ("timm", "fcsa") if model in SWIN else ("eager", "sdpa", "fcsa")
    return [*(Key(name, False, passes) for name in names),
            *(Key(name, True, (which,)) for name in names if name != "eager" for which in passes)]


def redrawn(model):
    """With the initialisation that Swin V2 comes with, the norms after attention hide what it gives."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("logit_scale"):
                p.uniform_(1.0, 4.0)
            elif p.dim() > 1:
                p.normal_(std=p[0].numel() ** -0.5)
            elif name.endswith("weight"):
                p.uniform_(0.5, 1.5)
            else:
                p.normal_(std=0.1)
    return model


class Swin:
    """What is run of a Swin V2; n is the batch."""

    def __init__(self, name, attention, compiled, device):
        import timm
        from timm.models.swin_transformer_v2 import SwinTransformerV2
        small = dict(img_size=64, window_size=8, embed_dim=32, depths=(2, 2), num_heads=(2, 4), num_classes=1000, drop_path_rate=0.0)
        torch.manual_seed(0)
        made = SwinTransformerV2(**small) if name == "swin_try" else timm.create_model(name, drop_path_rate=0.0)
        self.model, self.compiled, self.device = redrawn(made).to(device), compiled, device
        self.size = 64 if name == "swin_try" else 256
        if attention == "fcsa":
            from flash_cosine_sim_attention.swin import replace_attention
            replace_attention(self.model)

    def inputs(self, n):
        drawn = torch.Generator().manual_seed(1)
        images = torch.randn(n, 3, self.size, self.size, generator=drawn).to(self.device)
        return images, torch.randint(1000, (n,), generator=drawn).to(self.device)

    def forward(self, n):
        model = copy.deepcopy(self.model).bfloat16().eval()
        run = torch.compile(model) if self.compiled else model
        images = self.inputs(n)[0].bfloat16()
        return lambda: run(images)

    def training(self, n):
        run = torch.compile(self.model.train()) if self.compiled else self.model.train()
        images, labels = self.inputs(n)

        def loss():
            with torch.autocast(self.device, torch.bfloat16):
                return F.cross_entropy(run(images), labels)
        return loss


class Qwen3:
    """What is run of a Qwen3; n is the length."""

    def __init__(self, name, attention, compiled, device):
        import transformers
        if attention == "fcsa":
            from flash_cosine_sim_attention.huggingface import register
            register(attention)
        config = transformers.Qwen3Config(**QWEN3[name], attn_implementation=attention, use_cache=False)
        torch.manual_seed(0)
        with torch.device(device):
            self.model = transformers.Qwen3ForCausalLM(config).bfloat16().eval()  # without dropout that is all the same
        self.run = torch.compile(self.model) if compiled else self.model
        self.vocabulary, self.device = config.vocab_size, device

    def tokens(self, n):
        return torch.randint(self.vocabulary, (1, n), generator=torch.Generator().manual_seed(1)).to(self.device)

    def forward(self, n):
        run, tokens = self.run, self.tokens(n)
        return lambda: run(input_ids=tokens, use_cache=False, logits_to_keep=1).logits

    def training(self, n):
        run, tokens = self.run, self.tokens(n)
        return lambda: run(input_ids=tokens, labels=tokens, use_cache=False).loss


def step_of(model, which, n):
    """A call that gives what is compared: logits, or the loss before the step. There is one optimizer for all lengths."""
    call = getattr(model, which)(n)
    if which == "forward":
        def forward():
            with torch.no_grad():
                return call()
        return forward
    if not hasattr(model, "optimizer"):
        model.optimizer = torch.optim.AdamW(model.model.parameters(), lr=1e-7, fused=True)
    optimizer = model.optimizer

    def training():
        loss = call()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()
    return training


def clock(device):
    """(a function that marks, a function that gives milliseconds between two marks)."""
    if device != "cuda":
        return time.perf_counter, lambda begin, end: (end - begin) * 1e3

    def mark():
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(begin, end):
        end.synchronize()
        return begin.elapsed_time(end)
    return mark, between


class Answers:
    """One contender: (warm) compiles a cell and gives what comes out and the peak of memory, (time) milliseconds a call."""

    def __init__(self, options):
        self.device = options.device
        attention, compiled = options.contender.rsplit("-", 1)
        self.model = (Swin if options.models in SWIN else Qwen3)(options.models, attention, compiled == "compiled", self.device)
        self.steps = {}

    def __call__(self, do, which, n, seconds=0.0):
        try:
            return getattr(self, do)(which, n, seconds)
        except Exception as error:  # out of memory, or what another library raises
            self.steps.pop((which, n), None)
            return {"error": f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}"[:200]}
        finally:
            if self.device == "cuda":
                torch.cuda.empty_cache()

    def warm(self, which, n, seconds):
        step = step_of(self.model, which, n)
        out = step().float().flatten()
        for _ in range(2):
            step()
        self.steps[which, n] = step
        return {"out": out[:: max(1, out.numel() // 256)][:256].tolist(), **self.peak(step)}

    def peak(self, step):
        if self.device != "cuda":
            return {}
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return {"peak_gib": torch.cuda.max_memory_allocated() / 2**30}

    def time(self, which, n, seconds):
        step, (mark, between) = self.steps[which, n], clock(self.device)
        step()
        begin = mark()
        step()
        calls = max(1, min(100, int(seconds * 1e3 / between(begin, mark()))))
        begin = mark()
        for _ in range(calls):
            step()
        return {"ms": between(begin, mark()) / calls}


def difference(out, wanted):
    """Relative, of what is compared."""
    largest = max(map(abs, wanted)) or 1.0
    return max(abs(a - b) for a, b in zip(out, wanted)) / largest if len(out) == len(wanted) else float("inf")


class Race:
    """The contenders of one model."""

    def __init__(self, model, options):
        self.model, self.options = model, options
        command = [os.path.abspath(__file__), "--models", model, "--device", options.device, "--contender"]
        self.processes = {key: Contender(*command, f"{key.attention}-{'compiled' if key.compiled else 'eager'}")
                          for key in contenders_of(model, options.passes)}
        self.lengths = [options.batch] if model in SWIN else options.lengths
        self.out = {}

    def cells(self, key):
        """Forward passes first: what they take of memory has no optimizer in it."""
        return [(which, n) for which in key.passes for n in (self.lengths[-1:] if key.compiled else self.lengths)]

    def begin_warming(self):
        """Every process compiles its cells, one after another, while the others do."""
        self.threads = [threading.Thread(target=self.warm, args=(key,)) for key in self.processes]
        for thread in self.threads:
            thread.start()

    def warm(self, key):
        process = self.processes[key]
        deadline = time.monotonic() + self.options.compile_limit
        ready = process.answer(self.options.compile_limit)
        for which, n in self.cells(key):
            found = ready if isinstance(ready, dict) else process.ask(max(0.0, deadline - time.monotonic()), do="warm", which=which, n=n)
            self.out[key, which, n] = found
            print(self.model, key.attention, "compiled" if key.compiled else "eager", which, n, found.get("error", "ready"),
                  file=sys.stderr, flush=True)

    def measure(self):
        """Rows, one for each contender and cell."""
        rows = []
        for (key, which, n), found in self.out.items():
            if found.get("error", "").startswith("OutOfMemoryError"):  # memory that all of them wanted at the same time
                self.out[key, which, n] = self.processes[key].ask(60, do="warm", which=which, n=n)
        for which, n in self.cells(next(iter(self.processes))):
            entered = [key for key in self.processes if (key, which, n) in self.out]
            rows += self.measure_cell(which, n, entered)
        for process in self.processes.values():
            process.end()
        return rows

    def measure_cell(self, which, n, entered):
        found = {key: dict(self.out[key, which, n]) for key in entered}
        wanted = next((each["out"] for each in found.values() if "out" in each), None)
        for each in found.values():
            if "out" in each:
                each["difference"] = difference(each.pop("out"), wanted)
                if not each["difference"] < FAR:
                    each["error"] = "the result is far from the first's"
        racing = [key for key in entered if "error" not in found[key]]
        times = {key: [] for key in racing}
        for _ in range(self.options.rounds):
            for key in racing:
                found[key].update(self.processes[key].ask(60, do="time", which=which, n=n, seconds=self.options.seconds))
                times[key].append(found[key].pop("ms", float("nan")))
        for key in racing:
            if "error" not in found[key]:
                found[key]["ms"] = statistics.median(times[key])
        rows = [self.row(key, which, n, found) for key in entered]
        for row in rows:
            print(json.dumps(row), flush=True)
        return rows

    def row(self, key, which, n, found):
        mine, others = found[key], [each["ms"] for other, each in found.items() if other.attention != "fcsa" and "ms" in each]
        return {"model": self.model, "pass": which, "batch": n if self.model in SWIN else 1, "length": "" if self.model in SWIN else n,
                "attention": key.attention, "compiled": key.compiled, "ms": mine.get("ms", ""),
                "peak_gib": mine.get("peak_gib", ""),
                "best_other_over_this": min(others) / mine["ms"] if others and "ms" in mine else "",
                "difference": mine.get("difference", ""), "error": mine.get("error", "")}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", default="swinv2_tiny_window8_256,swinv2_base_window8_256,qwen3_0.6b", help=", ".join([*SWIN, *QWEN3]))
    p.add_argument("--device", choices=("cpu", "cuda"))
    p.add_argument("--batch", type=int, default=64, help="images of Swin V2")
    p.add_argument("--lengths", type=lambda text: [int(n) for n in text.split(",")], default=[1024, 2048, 4096], help="of Qwen3, ascending")
    p.add_argument("--passes", type=lambda text: tuple(text.split(",")), default=PASSES, help=",".join(PASSES))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=0.1, help="of each contender in a round")
    p.add_argument("--compile-limit", type=float, default=600, help="seconds; a contender that isn't ready then is left out")
    p.add_argument("--out")
    p.add_argument("--contender", help=argparse.SUPPRESS)
    return p.parse_args()


def main():
    options = arguments()
    if options.contender:
        serve(lambda: Answers(options))
        return
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    races = [Race(model, options) for model in options.models.split(",")]
    for race in races:
        race.begin_warming()
    for race in races:
        for thread in race.threads:
            thread.join()
    rows = []
    for race in races:
        rows += race.measure()
        if options.out:  # as far as it has come
            with open(options.out, "w") as file:
                json.dump({"provenance": provenance(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
