"""describe."""
import pytest
from flash_cosine_sim_attention import describe

from reference import qkv


def test_describe_says_which_kernel_runs_and_why(device):
    q, k, v = qkv(device, (2, 4, 33, 64))
    text = describe(q, k, v, causal=True)
    assert text.startswith("forward:") and "backward:" not in text and "copied" not in text
    assert "causal" in text
    text = describe(*(t.requires_grad_() for t in (q, k, v)), causal=True)
    assert text.index("forward:") < text.index("backward:")


def test_describe_says_what_is_copied_padded_or_done_without_kernels(device):
    q, k, v = qkv(device, (2, 4, 33, 64))
    assert "k is copied" in describe(q, k.transpose(-1, -2).contiguous().transpose(-1, -2), v)
    assert "from 40 to 48 channels" in describe(*qkv(device, (2, 4, 33, 40)))
    assert "no float64" in describe(q.double(), k.double(), v.double())
    assert "no keys" in describe(q, k[:, :, :0], v[:, :, :0])
    assert "on meta" in describe(q.to("meta"), k.to("meta"), v.to("meta"))
    with pytest.raises(ValueError, match="scale"):
        describe(q, k, v, scale=float("nan"))
