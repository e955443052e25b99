"""key_lengths: prefixes of the keys, in place of a mask."""
import json

import pytest
import torch
from flash_cosine_sim_attention import describe, flash_cosine_sim_attention, plain_cosine_sim_attention, record

from reference import BF16, F16, F32, qkv

LENGTHS = [0, 1, 17, 40, 33]  # of 40 keys


def lengths_on(device, dtype=torch.int32):
    return torch.tensor(LENGTHS, device=device, dtype=dtype)


def mask_of(lengths, columns=40):
    return torch.arange(columns, device=lengths.device) < lengths[:, None]


def padded(device, dtype=F32, requires_grad=True, **options):
    """q, k and v of five batches with NaN in all that the lengths hide, in q too where a batch sees nothing."""
    q, k, v = qkv(device, (len(LENGTHS), 4, 33, 64), columns=40, dtype=dtype, **options)
    hidden = ~mask_of(lengths_on(device))[:, None, :, None]
    q = q.masked_fill((lengths_on(device) == 0)[:, None, None, None], float("nan"))
    return [t.detach().requires_grad_(requires_grad) for t in (q, k.masked_fill(hidden, float("nan")), v.masked_fill(hidden, float("nan")))]


def results(inputs, function=flash_cosine_sim_attention, **options):
    """Output and gradients; the same dout each time."""
    out = function(*inputs, **options)
    dout = torch.linspace(-1, 1, out.numel(), device=out.device).reshape(out.shape).to(out.dtype)
    return [out, *torch.autograd.grad(out, inputs, dout)]


def assert_same(got, wanted):
    for g, w in zip(got, wanted):
        assert torch.isfinite(g).all()
        assert torch.equal(g, w)


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", [torch.int32, torch.int64], ids=["int32", "int64"])
def test_are_the_mask_that_says_the_same_in_values_and_gradients(device, dtype, causal, kind):
    inputs = padded(device, dtype, kv_heads=2)
    lengths = lengths_on(device, kind)
    got = results(inputs, key_lengths=lengths, causal=causal, deterministic=True)
    assert_same(got, results(inputs, mask=mask_of(lengths), causal=causal, deterministic=True))
    assert not got[0][0].any() and not got[1][0].any()  # a batch without keys


def test_below_0_and_above_all_keys_are_clamped(device):
    inputs = qkv(device, (3, 2, 20, 32))
    lengths = [-5, 2 ** 31 - 1, 7]
    wanted = flash_cosine_sim_attention(*inputs, key_lengths=torch.tensor([0, 20, 7], device=device))
    for kind in (torch.int32, torch.int64):
        assert torch.equal(flash_cosine_sim_attention(*inputs, key_lengths=torch.tensor(lengths, device=device, dtype=kind)), wanted)
    far = torch.tensor([-2 ** 40, 2 ** 40, 7], device=device)
    assert torch.equal(flash_cosine_sim_attention(*inputs, key_lengths=far), wanted)


def test_change_from_call_to_call(device):
    inputs = qkv(device, (2, 2, 20, 32))
    for lengths in ([3, 20], [20, 3], [0, 0]):
        lengths = torch.tensor(lengths, device=device, dtype=torch.int32)
        assert torch.equal(flash_cosine_sim_attention(*inputs, key_lengths=lengths),
                           flash_cosine_sim_attention(*inputs, mask=mask_of(lengths, 20)))


def test_go_with_padded_channels_single_heads_merged_heads_and_float64(device):
    lengths = lengths_on(device)
    for shape, columns in (((5, 4, 33, 40), (5, 4, 40, 40)), ((5, 4, 33, 64), (5, 40, 64)), ((5, 33, 64), (5, 40, 64))):
        q, k, v = torch.randn(shape, device=device), torch.randn(columns, device=device), torch.randn(columns, device=device)
        assert torch.equal(flash_cosine_sim_attention(q, k, v, key_lengths=lengths), flash_cosine_sim_attention(q, k, v, mask=mask_of(lengths)))
    wide = qkv(device, (5, 2, 33, 64), columns=40, dtype=torch.float64)
    assert torch.equal(flash_cosine_sim_attention(*wide, key_lengths=lengths), flash_cosine_sim_attention(*wide, mask=mask_of(lengths)))
    assert torch.equal(plain_cosine_sim_attention(*wide, key_lengths=lengths), plain_cosine_sim_attention(*wide, mask=mask_of(lengths)))


def test_that_lie_apart_are_copied(device):
    inputs = padded(device)
    apart = torch.stack([lengths_on(device), lengths_on(device) * 0], 1)[:, 0]
    assert not apart.is_contiguous()
    assert_same(results(inputs, key_lengths=apart), results(inputs, key_lengths=lengths_on(device)))


def test_work_under_compile_without_a_break_in_the_graph(device):
    inputs = padded(device)
    for kind in (torch.int32, torch.int64):
        compiled = torch.compile(lambda q, k, v, n: flash_cosine_sim_attention(q, k, v, key_lengths=n), fullgraph=True, backend="aot_eager")
        lengths = lengths_on(device, kind)
        assert_same(results(inputs, lambda *t: compiled(*t, lengths)), results(inputs, key_lengths=lengths))


def test_pass_opcheck(device):
    q, k, v = padded(device)
    operator = getattr(torch.ops.fcsa, "attention").default
    torch.library.opcheck(operator, (torch.randn_like(q), torch.randn_like(k), torch.randn_like(v), lengths_on(device), None, None, 8.0, 1,
                                     False, True, 0.0, False, False, True),
                          test_utils=("test_schema", "test_faketensor", "test_autograd_registration"))


def test_fold_under_vmap(device):
    q, k, v = (torch.randn(3, 5, 2, 20, 32, device=device) for _ in range(3))
    lengths = torch.randint(0, 21, (3, 5), device=device, dtype=torch.int32)

    def attend(q, k, v, n):
        return flash_cosine_sim_attention(q, k, v, key_lengths=n)

    wanted = torch.stack([attend(*t) for t in zip(q, k, v, lengths)])
    assert torch.equal(torch.vmap(attend)(q, k, v, lengths), wanted)
    shared = torch.stack([attend(*t, lengths[0]) for t in zip(q, k, v)])
    assert torch.equal(torch.vmap(attend, (0, 0, 0, None))(q, k, v, lengths[0]), shared)


@pytest.mark.parametrize("given,error,text", [
    (lambda n: dict(key_lengths=n.float()), TypeError, "key_lengths is torch.float32: it must be int32 or int64"),
    (lambda n: dict(key_lengths=[1, 2]), TypeError, "key_lengths is"),
    (lambda n: dict(key_lengths=n[:3]), ValueError, r"key_lengths has shape \(3,\): it must be \(5,\)"),
    (lambda n: dict(key_lengths=n[:, None]), ValueError, r"key_lengths has shape \(5, 1\)"),
    (lambda n: dict(key_lengths=n.to("meta")), ValueError, "key_lengths is on meta and q on"),
    (lambda n: dict(key_lengths=n, mask=mask_of(n)), ValueError, "mask and key_lengths are both given"),
    (lambda n: dict(mask=n), TypeError, "mask is torch.int32: it must be bool"),
])
def test_that_are_wrong_are_refused_by_name(device, given, error, text):
    inputs = qkv(device, (5, 2, 33, 64), columns=40)
    for _ in range(2):
        with pytest.raises(error, match=text):
            flash_cosine_sim_attention(*inputs, **given(lengths_on(device)))


def test_are_described_and_recorded_as_the_mask_that_runs(device, tmp_path):
    inputs = padded(device)
    assert describe(*inputs, key_lengths=lengths_on(device)) != describe(*inputs)
    with record(str(tmp_path / "shapes.jsonl")):
        results(inputs, key_lengths=lengths_on(device))
    lines = [json.loads(line) for line in (tmp_path / "shapes.jsonl").read_text().splitlines()[1:]]
    assert [(line["op"], line["key_mask"]) for line in lines] == [("forward", True), ("backward", True)]
