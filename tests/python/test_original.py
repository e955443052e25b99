"""The original's names, its README and its little transformer."""
import os
import pathlib
import pickle
import re
import warnings

import pytest
import torch
import flash_cosine_sim_attention as package
from flash_cosine_sim_attention import flash_cosine_sim_attention, l2norm_tensors, plain_cosine_sim_attention
from flash_cosine_sim_attention.benchmark import benchmark
from flash_cosine_sim_attention.transformer import CosineSimCausalTransformer

import reference
from reference import BF16, F16, F32, assert_close, qkv

# The wheel of the original's 0.2.2, unpacked: scripts/test_python.sh gets it.
ORIGINAL = os.environ.get("FCSA_ORIGINAL")


def examples():
    if not ORIGINAL:
        return []
    readme = next(pathlib.Path(ORIGINAL).glob("flash_cosine_sim_attention-*.dist-info/METADATA")).read_text()
    return [block for block in re.findall(r"```python\n(.*?)```", readme, re.S) if "import flash_cosine_sim_attention" in block]


@pytest.mark.skipif(not ORIGINAL, reason="FCSA_ORIGINAL is not set")
def test_there_are_eight_examples():
    assert len(examples()) == 8


@pytest.mark.parametrize("index", range(len(examples())))
def test_the_examples_of_the_readme_run_word_for_word(index, device):
    text = examples()[index]
    names = {}
    exec(text if device == "cuda" else text.replace(".cuda()", ""), names)
    stated = re.search(r"#\s*\(([\d, ]+)\)\s*$", text)
    assert tuple(names["out"].shape) == tuple(int(n) for n in stated[1].split(","))
    assert torch.isfinite(names["out"]).all()


def test_every_name_is_there():
    from flash_cosine_sim_attention import triton_flash_cosine_sim_attention as triton_function
    from flash_cosine_sim_attention import version
    from flash_cosine_sim_attention.flash_cosine_sim_attention import (debug, flash_cosine_sim_attention_cpu,
                                                                       flash_cosine_sim_attention_cuda, grouped_l2norm, l2norm, l2norm_cpu)
    from flash_cosine_sim_attention.triton_flash_cosine_sim_attention import (triton_flash_cosine_sim_attention,
                                                                              triton_flash_cosine_sim_attention_cuda)
    assert triton_function is triton_flash_cosine_sim_attention and package.debug is debug
    assert callable(flash_cosine_sim_attention_cpu) and callable(flash_cosine_sim_attention_cuda)
    assert callable(l2norm) and callable(l2norm_cpu) and callable(grouped_l2norm) and callable(triton_flash_cosine_sim_attention_cuda)
    assert package.__version__ == version.__version__ and version.API_VERSION == "0.2.2"
    assert pickle.loads(pickle.dumps(flash_cosine_sim_attention)) is flash_cosine_sim_attention


def test_triton_names_do_the_same_without_triton(device):
    from flash_cosine_sim_attention.triton_flash_cosine_sim_attention import (triton_flash_cosine_sim_attention,
                                                                              triton_flash_cosine_sim_attention_cuda)
    q, k, v = qkv(device)
    wanted = flash_cosine_sim_attention(q, k, v, causal=True, scale=4)
    for flags in (dict(use_triton=True), dict(sequence_parallel=False), dict(use_triton=True, sequence_parallel=False)):
        assert torch.equal(flash_cosine_sim_attention(q, k, v, causal=True, scale=4, **flags), wanted)
    assert torch.equal(triton_flash_cosine_sim_attention(q, k, v, None, 4, 1, True, True, False), wanted)
    raw = triton_flash_cosine_sim_attention_cuda(*l2norm_tensors(q, k), v, None, 4, True, True)
    assert_close(raw, wanted.double())


def test_plain_attention_gives_the_same(device):
    for dtype in (F32, F16, BF16, torch.float64):
        q, k, v = qkv(device, dtype=dtype)
        mask, bias = torch.rand(2, 33, device=device) > 0.3, torch.randn(4, 33, 33, device=device)
        out = plain_cosine_sim_attention(q, k, v, mask, bias, 4, 2, True)
        assert out.dtype == dtype
        assert_close(out, reference.attention(q, k, v, mask, bias, 4, 2, True), dtype)


def test_l2norm_tensors(device):
    q, k = torch.randn(2, 5, 32, device=device, dtype=F16), torch.randn(2, 5, 32, device=device)
    for groups in (1, 4):
        a, b = l2norm_tensors(q, k, groups=groups)
        assert a.dtype == b.dtype == F16
        assert_close(b, reference.normalised(k.double(), groups), F16)
    assert len(l2norm_tensors(q, k, q)) == 3


def test_the_gradient_through_l2norm_tensors_and_a_rotation(device):
    q, k, v = qkv(device, requires_grad=True)
    turn = torch.linalg.qr(torch.randn(64, 64, device=device))[0]
    dout = torch.randn_like(q)

    def run(q, k, v):
        a, b = l2norm_tensors(q, k)
        return flash_cosine_sim_attention(a @ turn, b @ turn, v, l2norm_qk=False)
    for got, wanted in zip(reference.gradients(run, (q, k, v), dout), reference.gradients(reference.attention, (q, k, v), dout)):
        assert_close(got, wanted, factor=10)


def test_benchmark(device):
    q, k, v = qkv(device, (1, 1, 8, 32), requires_grad=True)
    for passes in (dict(), dict(backwards=True), dict(forwards=False, backwards=True)):
        assert benchmark(flash_cosine_sim_attention, num_times=2, warmup_iters=1, **passes)(q, k, v) > 0
    with pytest.raises(ValueError, match="nothing to time"):
        benchmark(flash_cosine_sim_attention, forwards=False)


@pytest.mark.parametrize("options", [dict(), dict(use_cuda_kernel=True), dict(use_triton=True, pre_norm=True),
                                     dict(non_cosine_sim_attn=True)])
def test_the_transformer_learns(device, options):
    model = CosineSimCausalTransformer(num_tokens=16, dim=32, depth=2, heads=2, dim_head=16, max_seq_len=24, attn_l2norm_groups=2,
                                       **options).to(device)
    tokens = (torch.arange(25, device=device) % 5)[None].repeat(4, 1)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = model(tokens, return_loss=True)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert model.generate(tokens[:1, :5], 7).shape == (1, 7)


def test_the_fused_and_the_plain_transformer_agree(device):
    torch.manual_seed(1)
    models = []
    for fused in (False, True):
        torch.manual_seed(1)
        models.append(CosineSimCausalTransformer(num_tokens=16, dim=32, depth=2, heads=2, dim_head=16, max_seq_len=24,
                                                 use_cuda_kernel=fused).to(device))
    models[1].load_state_dict(models[0].state_dict())
    tokens = torch.randint(0, 16, (2, 20), device=device)
    assert_close(models[1](tokens), models[0](tokens).double(), factor=50)


def test_warnings_of_the_package_are_none(recwarn):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flash_cosine_sim_attention(*qkv("cpu", (1, 1, 5, 64)))
