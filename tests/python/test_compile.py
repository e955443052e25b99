"""torch.compile, torch.export and the operators that they see."""
import pytest
import torch
from flash_cosine_sim_attention import execute, flash_cosine_sim_attention, native
from torch._subclasses.fake_tensor import FakeTensorMode

import reference
from reference import BF16, F16, F32, assert_close, gradients, qkv

opcheck = torch.library.opcheck
OPTIONS = (8.0, 1, True, True, 0.0, False, False)  # those of Options: scale, groups, causal, ...


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch._dynamo.reset()


def layouts(device, dtype=F32):
    """q, k, v in canonical form, in every layout that has a name."""
    yield qkv(device, (2, 4, 9, 32), dtype=dtype)
    yield [t.transpose(1, 2) for t in torch.randn(3, 2, 9, 4, 32, device=device).to(dtype)]
    yield list(torch.randn(2, 9, 3, 4, 32, device=device).to(dtype).permute(2, 0, 3, 1, 4))
    yield [torch.randn(2, 4, 32, 9, device=device).to(dtype).transpose(2, 3) for _ in range(3)]
    yield [torch.randn(2, 4, 9, 48, device=device).to(dtype)[..., :32] for _ in range(3)]
    yield [torch.randn(2, n, 9, 32, device=device).to(dtype).expand(2, 4, 9, 32) for n in (4, 1, 1)]
    yield qkv(device, (2, 4, 1, 32), columns=9, dtype=dtype)
    yield [torch.randn(4, 2, 9, 32, device=device).to(dtype).transpose(0, 1) for _ in range(3)]
    yield [torch.randn(2, 4, 9, 33, device=device).to(dtype)[..., :32] for _ in range(3)]


@pytest.mark.parametrize("extra", ["", "mask", "bias", "scale"])
def test_opcheck_of_the_forward_operator(device, extra):
    for requires_grad in (False, True):
        q, k, v = qkv(device, (2, 4, 9, 32), kv_heads=2, requires_grad=requires_grad)
        mask = torch.rand(2, 9, device=device) > 0.2 if extra == "mask" else None
        bias = torch.randn(1, 4, 9, 9, device=device, requires_grad=requires_grad) if extra == "bias" else None
        scale = torch.rand(4, device=device, requires_grad=requires_grad) if extra == "scale" else None
        opcheck(torch.ops.fcsa.attention.default, (q, k, v, mask, bias, scale, *OPTIONS, True))


def test_opcheck_of_every_layout_and_dtype(device):
    for dtype in (F32, F16, BF16):
        for q, k, v in layouts(device, dtype):
            opcheck(torch.ops.fcsa.attention.default, (q, k, v, None, None, None, *OPTIONS, False),
                    test_utils=("test_schema", "test_faketensor"))


def test_opcheck_of_the_backward_operator(device):
    for q, k, v in layouts(device):
        bias, scale = torch.randn(2, 1, q.shape[2], k.shape[2], device=device), torch.rand(4, device=device)
        o, lse = execute.forward(q, k, v, None, bias, scale, torch_options(), True)
        for wants in ((0, False, False), (0, True, True), (native.DQ | native.DV, False, True)):
            opcheck(torch.ops.fcsa.attention_backward.default, (torch.randn_like(o), q, k, v, o, lse, None, bias, scale, *OPTIONS,
                                                                *wants), test_utils=("test_schema", "test_faketensor"))


def torch_options():
    from flash_cosine_sim_attention.arguments import Options
    return Options(*OPTIONS)


def test_fakes_have_the_strides_of_what_is_real(device):
    for q, k, v in layouts(device):
        out = flash_cosine_sim_attention(q, k, v)
        with FakeTensorMode() as mode:
            fake = flash_cosine_sim_attention(*(mode.from_tensor(t) for t in (q, k, v)))
        assert fake.shape == out.shape and fake.stride() == out.stride() and fake.dtype == out.dtype
        meta = flash_cosine_sim_attention(*(t.to("meta") if t.is_contiguous() else torch.empty_strided(
            t.shape, t.stride(), device="meta", dtype=t.dtype) for t in (q, k, v)))
        assert meta.device.type == "meta" and meta.stride() == out.stride()


def both(fn, device, dynamic, shapes, **options):
    """The compiled function gives values and gradients of the eager one, for several shapes."""
    compiled = torch.compile(fn, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for shape in shapes:
        inputs = qkv(device, shape, requires_grad=True)
        dout = torch.randn_like(inputs[0])
        assert_close(compiled(*inputs), fn(*inputs).double())
        for got, wanted in zip(gradients(compiled, inputs, dout), gradients(fn, inputs, dout)):
            assert_close(got, wanted.double(), factor=2)
        with torch.no_grad():
            assert_close(compiled(*inputs), fn(*inputs).double())


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_in_one_graph(device, dynamic):
    both(lambda q, k, v: flash_cosine_sim_attention(q * 2, k, v, causal=True) + 1, device, dynamic,
         [(2, 4, 9, 32), (2, 4, 17, 32), (3, 4, 33, 32)])


def test_compile_with_the_arguments_of_both_generations_and_every_feature(device):
    mask, bias = torch.rand(2, 9, device=device) > 0.2, torch.randn(4, 9, 9, device=device)
    scale = torch.rand(4, device=device) * 8
    for fn in (lambda q, k, v: flash_cosine_sim_attention(q, k, v, mask, bias, 3, 2, True),
               lambda q, k, v: flash_cosine_sim_attention(q, k, v, mask, 3, 2, True),
               lambda q, k, v: flash_cosine_sim_attention(q, k, v, attn_bias=bias > 0, scale=scale, return_lse=True)[0],
               lambda q, k, v: flash_cosine_sim_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)).unflatten(0, (2, 4)),
               lambda q, k, v: flash_cosine_sim_attention(q, k[:, 0], v[:, 0], l2norm_qk=False, scale=0.1),
               lambda q, k, v: flash_cosine_sim_attention(q[..., :28], k[..., :28], v[..., :28], groups=4).repeat(1, 1, 1, 2)[..., :32]):
        torch._dynamo.reset()
        both(fn, device, False, [(2, 4, 9, 32)])


def test_compile_by_inductor(device):
    both_inputs = qkv(device, (2, 4, 9, 32), requires_grad=True)
    fn = lambda q, k, v: (flash_cosine_sim_attention(q.sin(), k, v, causal=True) * 2).cos()
    compiled = torch.compile(fn, fullgraph=True)
    assert_close(compiled(*both_inputs), fn(*both_inputs).double())
    dout = torch.randn_like(both_inputs[0])
    for got, wanted in zip(gradients(compiled, both_inputs, dout), gradients(fn, both_inputs, dout)):
        assert_close(got, wanted.double(), factor=2)


def test_compile_under_autocast(device):
    inputs = qkv(device, (2, 4, 9, 32), requires_grad=True)

    def fn(q, k, v):
        with torch.autocast(device, dtype=BF16):
            return flash_cosine_sim_attention(q, k, v)
    out = torch.compile(fn, fullgraph=True, backend="aot_eager")(*inputs)
    assert out.dtype == BF16
    assert_close(out, reference.attention(*inputs), BF16)


def test_what_a_compiled_function_refuses_is_an_error(device):
    q, k, v = qkv(device, (2, 4, 9, 32))
    compiled = torch.compile(lambda *a: flash_cosine_sim_attention(*a), backend="aot_eager")
    with pytest.raises(Exception, match="it must be that of k"):
        compiled(q, k, v[..., :16])


class Attend(torch.nn.Module):
    def forward(self, q, k, v):
        return flash_cosine_sim_attention(q, k, v, causal=True, scale=4)


def test_export(device):
    inputs = tuple(qkv(device, (2, 4, 9, 32)))
    program = torch.export.export(Attend(), inputs)
    assert any("fcsa.attention" in str(node.target) for node in program.graph.nodes)
    assert_close(program.module()(*inputs), reference.attention(*inputs, causal=True, scale=4))
    rows = torch.export.Dim("rows", min=2, max=512)
    shapes = {name: {2: rows} for name in "qkv"}
    program = torch.export.export(Attend(), inputs, dynamic_shapes=shapes)
    longer = tuple(qkv(device, (2, 4, 40, 32)))
    assert_close(program.module()(*longer), reference.attention(*longer, causal=True, scale=4))


@pytest.mark.parametrize("tracing_mode", ["real", "fake", "symbolic"])
def test_make_fx_sees_the_operator(device, tracing_mode):
    from torch.fx.experimental.proxy_tensor import make_fx
    inputs = qkv(device, (2, 4, 9, 32))
    graph = make_fx(lambda *a: flash_cosine_sim_attention(*a), tracing_mode=tracing_mode)(*inputs)
    assert any("fcsa.attention" in str(node.target) for node in graph.graph.nodes)
    assert_close(graph(*inputs), reference.attention(*inputs))


@pytest.mark.filterwarnings("ignore")
def test_jit_trace_sees_the_operator(device):
    inputs = tuple(qkv(device, (2, 4, 9, 32)))
    traced = torch.jit.trace(lambda q, k, v: flash_cosine_sim_attention(q, k, v), inputs)
    others = tuple(qkv(device, (2, 4, 9, 32)))
    assert_close(traced(*others), reference.attention(*others))


def test_second_derivatives_of_a_compiled_function_raise(device):
    q, k, v = qkv(device, (1, 2, 5, 32), requires_grad=True)
    compiled = torch.compile(lambda *a: flash_cosine_sim_attention(*a), fullgraph=True, backend="aot_eager")
    with pytest.raises((RuntimeError, NotImplementedError)):
        first, = torch.autograd.grad(compiled(q, k, v).pow(2).sum(), q, create_graph=True)
        (first.pow(2).sum() + q.sum()).backward()
