"""What the fifth positional argument means, and those after it."""
import inspect

import pytest
import torch
from flash_cosine_sim_attention import flash_cosine_sim_attention, plain_cosine_sim_attention
from flash_cosine_sim_attention.flash_cosine_sim_attention import (FlashCosineSimAttention, flash_cosine_sim_attention_cpu,
                                                                   flash_cosine_sim_attention_cuda, l2norm_tensors)

import reference
from reference import assert_close, qkv

BOTH = pytest.mark.parametrize("fn", [flash_cosine_sim_attention, plain_cosine_sim_attention])


@BOTH
def test_none_or_a_tensor_of_two_axes_or_more_is_the_bias_of_0_1_40(fn, device):
    q, k, v = qkv(device, (2, 2, 5, 32))
    mask = torch.rand(2, 5, device=device) > 0.2
    wanted = reference.attention(q, k, v, mask, scale=3, groups=2, causal=True)
    assert_close(fn(q, k, v, mask, None, 3, 2, True), wanted)
    bias = torch.randn(2, 5, 5, device=device)
    per_head = reference.attention(q, k, v, mask, bias[None], scale=3, causal=True)
    per_batch = reference.attention(q, k, v, mask, bias[:, None], scale=3, causal=True)
    assert_close(fn(q, k, v, mask, bias, 3, 1, True), per_head)
    assert_close(fn(q, k, v, mask, bias, 3, 1, True, True, True), per_batch)
    assert_close(fn(q, k, v, None, bias[0], 3), reference.attention(q, k, v, None, bias[0], scale=3))


@BOTH
def test_a_number_or_a_tensor_of_one_axis_at_most_is_the_scale_of_0_2_2(fn, device):
    q, k, v = qkv(device, (2, 2, 5, 32))
    wanted = reference.attention(q, k, v, scale=3, groups=2, causal=True)
    for scale in (3, 3.0, torch.tensor(3.0, device=device), torch.tensor([3.0], device=device),
                  torch.tensor([3.0, 3.0], device=device)):
        assert_close(fn(q, k, v, None, scale, 2, True), wanted)
    raw = reference.attention(q, k, v, scale=0.2, causal=True, l2norm_qk=False)
    assert_close(fn(q, k, v, None, 0.2, 1, True, False), raw)
    if fn is flash_cosine_sim_attention:
        assert_close(fn(q, k, v, None, 0.2, 1, True, False, True, False), raw)


@BOTH
def test_the_two_orders_that_named_parameters_cannot_tell_apart(fn, device):
    q, k, v = qkv(device, (1, 2, 5, 32))
    mask = torch.tensor([[True, True, False, True, True]], device=device)
    assert_close(fn(q, k, v, mask, 8, causal=True), reference.attention(q, k, v, mask, causal=True))
    if fn is flash_cosine_sim_attention:
        assert_close(fn(q, k, v, mask, 8, 1, False, True), reference.attention(q, k, v, mask))


@BOTH
@pytest.mark.parametrize("fifth", [True, False, "8", [8], 8j])
def test_a_bool_or_something_else_is_a_type_error(fn, fifth):
    with pytest.raises(TypeError, match="fifth positional argument is"):
        fn(*qkv("cpu", (1, 1, 3, 16)), None, fifth)


def test_too_many_arguments_and_arguments_given_twice_are_type_errors():
    q, k, v = qkv("cpu", (1, 1, 3, 16))
    with pytest.raises(TypeError, match="at most 10 positional arguments, and 11 were given"):
        flash_cosine_sim_attention(q, k, v, None, None, 8, 1, False, True, False, True)
    with pytest.raises(TypeError, match="multiple values for argument 'causal'"):
        flash_cosine_sim_attention(q, k, v, None, 8, 1, False, causal=True)
    with pytest.raises(TypeError, match=r"flash_cosine_sim_attention\(\) got an unexpected keyword argument 'casual'"):
        flash_cosine_sim_attention(q, k, v, casual=True)
    with pytest.raises(TypeError, match=r"flash_cosine_sim_attention\(\) missing 1 required positional argument: 'v'"):
        flash_cosine_sim_attention(q, k)


def test_the_signature_names_every_argument():
    parameters = inspect.signature(flash_cosine_sim_attention).parameters
    assert list(parameters)[:4] == ["q", "k", "v", "mask"]
    assert {"attn_bias", "scale", "groups", "causal", "l2norm_qk", "attn_bias_batch_dim", "use_triton", "sequence_parallel",
            "logit_bound", "deterministic", "return_lse", "key_lengths"} == set(list(parameters)[4:])
    assert parameters["scale"].default == 8


@pytest.mark.parametrize("fn", [flash_cosine_sim_attention_cpu, FlashCosineSimAttention.apply, flash_cosine_sim_attention_cuda])
def test_what_takes_normalised_tensors_follows_the_same_rule_and_then_takes_tile_sizes(fn, device):
    q, k, v = qkv(device, (2, 2, 5, 32))
    unit_q, unit_k = l2norm_tensors(q, k)
    bias = torch.randn(2, 5, 5, device=device)
    mask = torch.ones(2, 5, device=device, dtype=torch.bool)
    causal, biased = reference.attention(q, k, v, scale=4, causal=True), reference.attention(q, k, v, bias=bias[:, None], scale=4)
    assert_close(fn(unit_q, unit_k, v, None, 4, True), causal)
    assert_close(fn(unit_q, unit_k, v, mask, 4, True, 256, 128), causal)
    assert_close(fn(unit_q, unit_k, v, None, None, 4, True, False), causal)
    assert_close(fn(unit_q, unit_k, v, mask, bias, 4, False, True, 256, 128), biased)
    with pytest.raises(TypeError, match="fifth"):
        fn(unit_q, unit_k, v, None, True, 4)
