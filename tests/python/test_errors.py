"""What is refused: a Python error of the usual type that names the argument, its value, and what is allowed."""
import pytest
import torch
from flash_cosine_sim_attention import flash_cosine_sim_attention, l2norm_tensors, plain_cosine_sim_attention

from reference import BF16, F16, qkv


def q_k_v(**changes):
    tensors = dict(zip("qkv", qkv("cpu", (2, 4, 5, 32))))
    return {**tensors, **changes}


def t(*shape, dtype=torch.float32):
    return torch.zeros(shape).to(dtype)


CASES = {
    "q of two axes": (dict(q=t(5, 32)), ValueError, r"q has shape \(5, 32\): it must be \(batch, heads, i, d\)"),
    "k of two axes": (dict(k=t(5, 32)), ValueError, r"k has shape \(5, 32\): it must be"),
    "k of four axes with q of three": (dict(q=t(8, 5, 32)), ValueError, "as q has three axes"),
    "v unlike k": (dict(v=t(2, 4, 6, 32)), ValueError, r"v has shape \(2, 4, 6, 32\): it must be that of k, \(2, 4, 5, 32\)"),
    "batch": (dict(k=t(3, 4, 5, 32), v=t(3, 4, 5, 32)), ValueError, "k has shape .*: its first axis must be 2"),
    "channels": (dict(k=t(2, 4, 5, 16), v=t(2, 4, 5, 16)), ValueError, "k has shape .*: its last axis must be 32"),
    "heads": (dict(k=t(2, 3, 5, 32), v=t(2, 3, 5, 32)), ValueError, "k has 3 heads and q 4: the heads of q must be a multiple"),
    "head dim": (dict(q=t(2, 4, 5, 320), k=t(2, 4, 5, 320), v=t(2, 4, 5, 320)), ValueError, "head dim of 320: it must be from 1 to 256"),
    "no channels": (dict(q=t(2, 4, 5, 0), k=t(2, 4, 5, 0), v=t(2, 4, 5, 0)), ValueError, "head dim of 0"),
    "integers": (dict(q=t(2, 4, 5, 32, dtype=torch.int64)), TypeError, "q is torch.int64: it must be float32, bfloat16, float16 or float64"),
    "complex": (dict(v=t(2, 4, 5, 32, dtype=torch.complex64)), TypeError, "v is torch.complex64: it must be"),
    "dtypes": (dict(k=t(2, 4, 5, 32, dtype=F16)), TypeError, "k is torch.float16 and q is torch.float32: they must have the same dtype"),
    "devices": (dict(k=torch.empty(2, 4, 5, 32, device="meta")), ValueError, "k is on meta and q on cpu: they must be on the same device"),
    "no tensor": (dict(k=[1.0]), TypeError, r"k is \[1.0\] \(list\): it must be a tensor"),
    "none": (dict(q=None), TypeError, "q is None"),
    "sparse": (dict(q=t(2, 4, 5, 32).to_sparse()), TypeError, "q has layout torch.sparse_coo: it must be dense"),
    "groups that don't divide": (dict(groups=5), ValueError, "groups is 5: it must divide the head dim, which is 32"),
    "no groups": (dict(groups=0), ValueError, "groups is 0: it must be at least 1"),
    "half a group": (dict(groups=1.5), TypeError, "groups is 1.5 .*: it must be an integer"),
    "groups as a bool": (dict(groups=True), TypeError, "groups is True: it must be an integer"),
    "scale of the wrong type": (dict(scale="8"), TypeError, "scale is '8' .*: it must be a number"),
    "scale as a bool": (dict(scale=True), TypeError, "scale is True"),
    "infinite scale": (dict(scale=float("inf")), ValueError, "scale is inf: it must be finite"),
    "scale of other heads": (dict(scale=t(3)), ValueError, r"scale has shape \(3,\): it must be a number, a tensor of one value, or \(4,\)"),
    "scale of integers": (dict(scale=torch.tensor([1, 2, 3, 4])), TypeError, "scale is a tensor of torch.int64: it must be floating point"),
    "bound": (dict(logit_bound=-1), ValueError, "logit_bound is -1.0: it must be above 0"),
    "causal": (dict(causal="yes"), TypeError, "causal is 'yes' .*: it must be True or False"),
    "mask of the wrong dtype": (dict(mask=t(2, 5)), TypeError, "mask is torch.float32: it must be bool, True where a key is visible"),
    "mask of integers": (dict(mask=t(2, 5, dtype=torch.int64)), TypeError, "mask is torch.int64: it must be bool"),
    "mask that wants a gradient": (dict(mask=t(2, 5).requires_grad_()), TypeError, "mask is torch.float32: it must be bool"),
    "mask of the wrong size": (dict(mask=t(2, 6, dtype=torch.bool)), ValueError, r"mask has shape \(2, 6\): it must be \(2, 5\)"),
    "mask of the wrong batch": (dict(mask=t(3, 5, dtype=torch.bool)), ValueError, r"mask has shape \(3, 5\)"),
    "mask of four axes": (dict(mask=t(2, 1, 1, 5, dtype=torch.bool)), ValueError, "masks of queries and keys are attn_bias"),
    "mask elsewhere": (dict(mask=torch.empty(2, 5, device="meta", dtype=torch.bool)), ValueError, "mask is on meta and q on cpu"),
    "bias of the wrong size": (dict(attn_bias=t(4, 5, 6)), ValueError, r"attn_bias has shape \(4, 5, 6\): it must be \(4, 5, 5\)"),
    "bias of batches without the flag": (dict(attn_bias=t(2, 5, 5)), ValueError, r"\(2, 5, 5\) with attn_bias_batch_dim=True"),
    "bias of heads with the flag": (dict(attn_bias=t(4, 5, 5), attn_bias_batch_dim=True), ValueError, r"must be \(2, 5, 5\) with"),
    "bias of one axis": (dict(attn_bias=t(5)), ValueError, r"attn_bias has shape \(5,\)"),
    "bias of integers": (dict(attn_bias=t(4, 5, 5, dtype=torch.int32)), TypeError, "attn_bias is torch.int32: it must be floating point, or bool"),
    "bias elsewhere": (dict(attn_bias=torch.empty(4, 5, 5, device="meta")), ValueError, "attn_bias is on meta and q on cpu"),
    "bias that is no tensor": (dict(attn_bias=1.0), TypeError, "attn_bias is 1.0"),
    "no keyword": (dict(mask=None, dropout=0.1), TypeError, "unexpected keyword argument 'dropout'"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("grad", [False, True])
def test_says_what_is_wrong(name, grad):
    changes, kind, text = CASES[name]
    arguments = q_k_v(**changes)
    if grad and isinstance(arguments["v"], torch.Tensor) and arguments["v"].is_floating_point():
        arguments["v"] = arguments["v"].detach().requires_grad_()
    for _ in range(2):
        with pytest.raises(kind, match=text):
            flash_cosine_sim_attention(**arguments)


def test_nested_tensors_are_refused():
    nested = torch.nested.nested_tensor([torch.randn(4, 5, 32), torch.randn(4, 3, 32)])
    for name in "qkv":
        with pytest.raises(TypeError, match=f"{name} is a nested tensor: pad it, and pass a mask"):
            flash_cosine_sim_attention(**q_k_v(**{name: nested}))


def test_groups_whose_padding_would_be_too_long_are_refused():
    q, k, v = qkv("cpu", (1, 1, 3, 250))
    with pytest.raises(ValueError, match="a head dim of 250 in 5 groups would be padded to 320: at most 256"):
        flash_cosine_sim_attention(q, k, v, groups=5)


@pytest.mark.gpu
def test_tensors_on_two_devices_are_refused():
    q, k, v = qkv("cuda", (2, 4, 5, 32))
    with pytest.raises(ValueError, match="v is on cpu and q on cuda:0"):
        flash_cosine_sim_attention(q, k, v.cpu())
    with pytest.raises(ValueError, match="scale is on cpu"):
        flash_cosine_sim_attention(q, k, v, scale=torch.ones(4))


def test_l2norm_tensors_says_what_is_wrong():
    with pytest.raises(TypeError, match="at least one tensor"):
        l2norm_tensors()
    with pytest.raises(TypeError, match="argument 1 is list"):
        l2norm_tensors(t(2, 4), [1.0])
    with pytest.raises(ValueError, match="groups is 3: it must divide the last axis, which is 4"):
        l2norm_tensors(t(2, 4), groups=3)


def test_plain_attention_refuses_the_same():
    with pytest.raises(ValueError, match="v has shape"):
        plain_cosine_sim_attention(**q_k_v(v=t(2, 4, 6, 32)))
