"""What surrounds a call in a training script."""
import os
import threading

import pytest
import torch
from flash_cosine_sim_attention import attention, execute, flash_cosine_sim_attention, native
from torch.utils.checkpoint import checkpoint

import reference
from reference import BF16, F16, F32, assert_close, gradients, qkv


def saw(monkeypatch):
    """How often calls go past the dispatcher, and how often through the operator."""
    counts = {"direct": 0, "operator": 0}
    run, op = attention._run_forward, attention.operators.attention

    def direct(*a):
        counts["direct"] += 1
        return run(*a)

    def through(*a):
        counts["operator"] += 1
        return op(*a)
    monkeypatch.setattr(attention, "_run_forward", direct)
    monkeypatch.setattr(attention.operators, "attention", through)
    return counts


def test_eager_calls_go_past_the_dispatcher(device, monkeypatch):
    counts = saw(monkeypatch)
    q, k, v = qkv(device)
    flash_cosine_sim_attention(q, k, v)
    flash_cosine_sim_attention(torch.nn.Parameter(q), k, v, causal=True)
    assert counts == {"direct": 2, "operator": 0}


def test_dispatch_modes_see_the_operator_forward_and_backward(device):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen.append(str(func))
            return func(*args, **(kwargs or {}))
    inputs = qkv(device, requires_grad=True)
    with Names() as names:
        out = flash_cosine_sim_attention(*inputs)
        out.sum().backward()
    assert "fcsa.attention.default" in names.seen and "fcsa.attention_backward.default" in names.seen
    out = flash_cosine_sim_attention(*inputs)
    with Names() as names:
        out.sum().backward()
    assert "fcsa.attention_backward.default" in names.seen


def test_function_modes_and_subclasses_are_served_by_the_operator(device, monkeypatch):
    counts = saw(monkeypatch)
    q, k, v = qkv(device)
    with torch.overrides.BaseTorchFunctionMode():
        out = flash_cosine_sim_attention(q, k, v)
    assert counts["operator"] == 1
    assert_close(out, reference.attention(q, k, v))

    class Marked(torch.Tensor):
        pass
    out = flash_cosine_sim_attention(q.as_subclass(Marked), k, v)
    assert counts["operator"] == 2
    assert_close(out.as_subclass(torch.Tensor), reference.attention(q, k, v))


@pytest.mark.parametrize("dtype", [BF16, F16])
def test_autocast_casts_q_k_and_v_as_sdpa_does_and_keeps_the_scale(device, dtype):
    inputs = qkv(device, requires_grad=True)
    scale = torch.tensor(5.0, device=device, requires_grad=True)
    bias = torch.randn(4, 33, 33, device=device)
    with torch.autocast(device, dtype=dtype):
        out = flash_cosine_sim_attention(*inputs, attn_bias=bias, scale=scale)
        same = torch.nn.functional.scaled_dot_product_attention(*inputs)
    assert out.dtype == same.dtype == dtype
    wanted = reference.attention(*inputs, bias=bias, scale=scale)
    assert_close(out, wanted, dtype)
    dout = torch.randn_like(out)
    got = torch.autograd.grad(out, [*inputs, scale], dout)
    assert all(g.dtype == F32 for g in got)
    for g, w in zip(got, torch.autograd.grad(wanted, [*inputs, scale], dout.double())):
        assert_close(g, w, dtype, 3)
    with torch.autocast(device, dtype=dtype):
        doubles = [t.detach().double() for t in inputs]
        assert flash_cosine_sim_attention(*doubles).dtype == torch.float64
        mixed = flash_cosine_sim_attention(inputs[0].to(dtype), inputs[1], inputs[2])
        assert mixed.dtype == dtype


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint(device, reentrant):
    inputs = qkv(device, requires_grad=True)
    run = lambda q, k, v: flash_cosine_sim_attention(q * 2, k, v, causal=True).sin()
    dout = torch.randn_like(inputs[0])
    got = [torch.zeros(())] * 3
    (checkpoint(run, *inputs, use_reentrant=reentrant) * dout).sum().backward()
    got = [t.grad for t in inputs]
    for g, w in zip(got, gradients(run, inputs, dout)):
        assert_close(g, w.double())


def test_selective_checkpointing_keeps_what_attention_gave(device, monkeypatch):
    policy_module = pytest.importorskip("torch.utils.checkpoint")
    if not hasattr(policy_module, "create_selective_checkpoint_contexts"):
        pytest.skip("this torch has no selective checkpointing")
    ran, forward = [], execute.run_forward
    monkeypatch.setattr(execute, "run_forward", lambda *a: ran.append(1) or forward(*a))
    inputs = qkv(device, requires_grad=True)
    run = lambda q, k, v: flash_cosine_sim_attention(q.sin(), k, v).sin()
    kept = [torch.ops.fcsa.attention.default]
    contexts = lambda: policy_module.create_selective_checkpoint_contexts(kept)
    checkpoint(run, *inputs, use_reentrant=False, context_fn=contexts).sum().backward()
    assert len(ran) == 1
    for t, w in zip(inputs, gradients(run, inputs, torch.ones_like(inputs[0]))):
        assert_close(t.grad, w.double())


def test_saved_tensors_can_be_moved_away(device):
    inputs = qkv(device, requires_grad=True)
    with torch.autograd.graph.save_on_cpu():
        out = flash_cosine_sim_attention(*inputs, causal=True)
    dout = torch.randn_like(out)
    for g, w in zip(torch.autograd.grad(out, inputs, dout), gradients(lambda *a: flash_cosine_sim_attention(*a, causal=True), inputs, dout)):
        assert_close(g, w.double())


def test_changing_an_input_in_place_before_backward_is_an_error(device):
    q, k, v = qkv(device, requires_grad=True)
    out = flash_cosine_sim_attention(q, k, v)
    with torch.no_grad():
        k.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_backward_twice_needs_retain_graph(device):
    inputs = qkv(device, requires_grad=True)
    out = flash_cosine_sim_attention(*inputs).sum()
    first = torch.autograd.grad(out, inputs, retain_graph=True)
    second = torch.autograd.grad(out, inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    with pytest.raises(RuntimeError, match="second time"):
        out.backward()


def test_inference_mode_and_no_grad(device):
    q, k, v = qkv(device, requires_grad=True)
    wanted = reference.attention(q, k, v)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            out = flash_cosine_sim_attention(q, k, v)
            assert not out.requires_grad
            assert_close(out, wanted)


def test_fresh_threads_and_several_at_a_time(device):
    inputs = [qkv(device, (1, 2, 9 + n, 32), requires_grad=True) for n in range(8)]
    results = [None] * len(inputs)

    def work(i):
        for _ in range(5):
            out = flash_cosine_sim_attention(*inputs[i], causal=True)
            results[i] = (out, torch.autograd.grad(out.sum(), inputs[i]))
    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, given in zip(results, inputs):
        exact = reference.attention(*given, causal=True)
        assert_close(got[0], exact)
        for g, w in zip(got[1], torch.autograd.grad(exact.sum(), given)):
            assert_close(g, w, factor=3)


def test_the_cpu_pool_follows_torch(monkeypatch):
    asked, before = [], torch.get_num_threads()
    monkeypatch.setattr(execute, "_follow_threads", True)
    monkeypatch.setattr(execute, "_threads", None)
    monkeypatch.setattr(execute, "set_threads", lambda n, real=execute.set_threads: asked.append(n) or real(n))
    q, k, v = qkv("cpu", requires_grad=True)
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            asked.clear()
            out = flash_cosine_sim_attention(q, k, v)
            assert asked == [n]
            assert_close(out, reference.attention(q, k, v))
            out.sum().backward()
            assert asked == [n]
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ValueError, match="threads is -1"):
        execute.set_threads(-1)


class Dataset(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        torch.manual_seed(i)
        q, k, v = qkv("cpu", (1, 2, 9, 32))
        return flash_cosine_sim_attention(q, k, v), reference.attention(q, k, v)


def test_dataloader_workers_that_fork():
    flash_cosine_sim_attention(*qkv("cpu", (1, 2, 9, 32)))
    loader = torch.utils.data.DataLoader(Dataset(), num_workers=2, multiprocessing_context="fork", timeout=120)
    for out, wanted in loader:
        assert_close(out, wanted)


def _ddp(rank, port, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = torch.nn.Linear(32, 96)

        def forward(self, x):
            q, k, v = self.qkv(x)[:, None].chunk(3, -1)
            return flash_cosine_sim_attention(q, k, v, causal=True)
    layer = torch.nn.parallel.DistributedDataParallel(Layer())
    x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(rank))
    layer(x).sum().backward()
    results[rank] = layer.module.qkv.weight.grad.numpy()
    torch.distributed.destroy_process_group()


def test_ddp_of_two_processes_by_gloo():
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    manager = torch.multiprocessing.get_context("spawn").Manager()
    results = manager.dict()
    torch.multiprocessing.spawn(_ddp, (port, results), nprocs=2)
    torch.manual_seed(0)
    layer = torch.nn.Linear(32, 96)
    exact = torch.zeros_like(layer.weight, dtype=torch.float64)
    for rank in range(2):
        x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(rank))
        q, k, v = layer(x)[:, None].chunk(3, -1)
        exact += torch.autograd.grad(reference.attention(q, k, v, causal=True).sum(), layer.weight)[0].double() / 2
    for rank in range(2):
        assert_close(torch.from_numpy(results[rank]), exact, factor=10)


@pytest.mark.gpu
def test_cuda_graphs():
    inputs = qkv("cuda", (2, 4, 65, 64), dtype=BF16, requires_grad=True)
    dout = torch.randn_like(inputs[0])
    run = lambda *a: flash_cosine_sim_attention(*a, causal=True)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            torch.autograd.grad(run(*inputs), inputs, dout)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run(*inputs)
        got = torch.autograd.grad(out, inputs, dout)
    with torch.no_grad():
        for t in inputs:
            t.copy_(torch.randn_like(t))
    graph.replay()
    torch.cuda.synchronize()
    exact = reference.attention(*inputs, causal=True)
    assert_close(out, exact, BF16)
    for g, w in zip(got, torch.autograd.grad(exact, inputs, dout.double())):
        assert_close(g, w, BF16)


@pytest.mark.gpu
def test_a_shape_that_is_new_while_a_graph_is_captured_is_an_error_or_right():
    q, k, v = qkv("cuda", (1, 2, 37, 48))
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            out = flash_cosine_sim_attention(q, k, v)
    except RuntimeError:
        return
    graph.replay()
    assert_close(out, reference.attention(q, k, v))


@pytest.mark.gpu
def test_calls_run_on_the_current_stream_and_wait_for_nothing():
    q, k, v = qkv("cuda", (1, 2, 64, 64), dtype=BF16)
    flash_cosine_sim_attention(q, k, v)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        q.copy_(torch.ones_like(q))
        out = flash_cosine_sim_attention(q, k, v)
        assert not stream.query()
    stream.synchronize()
    assert_close(out, reference.attention(q, k, v), BF16)


@pytest.mark.gpu
def test_a_fresh_thread_on_the_gpu_makes_plans_and_runs_backward():
    failed = []

    def work():
        try:
            inputs = qkv("cuda", (1, 3, 29, 80), dtype=F16, requires_grad=True)
            out = flash_cosine_sim_attention(*inputs)
            exact = reference.attention(*inputs)
            assert_close(out, exact, F16)
            for g, w in zip(torch.autograd.grad(out.sum(), inputs), torch.autograd.grad(exact.sum(), inputs)):
                assert_close(g, w, F16, 2)
        except BaseException as error:
            failed.append(error)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed, failed


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_devices_that_are_not_current():
    for index in (1, 0):
        inputs = qkv(f"cuda:{index}", dtype=BF16, requires_grad=True)
        out = flash_cosine_sim_attention(*inputs)
        exact = reference.attention(*inputs)
        assert_close(out, exact, BF16)
        for g, w in zip(torch.autograd.grad(out.sum(), inputs), torch.autograd.grad(exact.sum(), inputs)):
            assert_close(g, w, BF16, 2)


def test_the_log_of_the_library_goes_to_logging(caplog, monkeypatch, tmp_path):
    import subprocess
    import sys
    program = ("import logging; logging.basicConfig(level=logging.INFO, format='%(name)s|%(message)s');"
               "import torch; from flash_cosine_sim_attention import flash_cosine_sim_attention as f; t = torch.randn(1, 1, 4, 32); f(t, t, t)")
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                         env={**os.environ, "FCSA_DB": str(tmp_path / "missing.db"), "XDG_DATA_HOME": str(tmp_path)})
    assert ran.returncode == 0, ran.stderr
    assert "flash_cosine_sim_attention|" in ran.stderr and "missing.db" in ran.stderr
    assert native.opened()
