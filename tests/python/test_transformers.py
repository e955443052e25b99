"""Hugging Face's models with attn_implementation="fcsa" against their own eager attention."""
import copy

import pytest
import torch

import installed_models

transformers = installed_models.library("transformers")
if tuple(int(n) for n in transformers.__version__.split(".")[:2]) < (5, 17):
    pytest.skip(f"transformers {transformers.__version__}: 5.17 or later is needed", allow_module_level=True)

from flash_cosine_sim_attention import huggingface
from reference import assert_close

NAME = huggingface.register()
if not torch.cuda.is_available():  # libraries that stand in for CUDA's don't know what transformers asks for
    torch.cuda.is_current_stream_capturing = lambda: False
SHARED = dict(vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              head_dim=32, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=None)
MODELS = {
    "Llama": lambda **options: transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SHARED, **options})),
    "Qwen3": lambda **options: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**{**SHARED, **options})),
    "Gemma 3": lambda **options: transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(
        **{**SHARED, "layer_types": ["full_attention"] * 2, "query_pre_attn_scalar": 32, **options})),
}
FAMILIES = pytest.mark.parametrize("family", MODELS)


def pair(family, device, **options):
    """The same model with eager attention and with this one; every parameter drawn anew, so that attention matters."""
    eager = MODELS[family](**options)
    with torch.no_grad():
        for p in eager.parameters():
            p.normal_(std=p.shape[-1] ** -0.5) if p.dim() > 1 else p.uniform_(0.5, 1.5)
    eager.set_attn_implementation("eager")
    fused = copy.deepcopy(eager)
    fused.set_attn_implementation(NAME)
    assert fused.config._attn_implementation == NAME
    return eager.to(device).eval(), fused.to(device).eval()


def padded(side, device, lengths=(13, 7, 1)):
    longest = max(lengths)
    tokens = torch.randint(2, 97, (len(lengths), longest), device=device)
    mask = torch.zeros_like(tokens)
    for row, n in enumerate(lengths):
        mask[row, longest - n:] = 1 if side == "left" else 0
        if side == "right":
            mask[row, :n] = 1
    return torch.where(mask.bool(), tokens, 0), mask


@FAMILIES
@pytest.mark.parametrize("side", ["none", "left", "right"])
def test_outputs_and_gradients_of_visible_rows_are_those_of_eager(device, family, side):
    models = pair(family, device)
    tokens, mask = padded(side, device) if side != "none" else (torch.randint(2, 97, (3, 13), device=device), None)
    visible = torch.ones_like(tokens).bool() if mask is None else mask.bool()
    weights = torch.randn(3, 13, 97, device=device)
    logits, gradients = [], []
    for model in models:
        out = model(tokens, attention_mask=mask).logits[visible]
        logits.append(out)
        gradients.append(torch.autograd.grad((out * weights[visible]).sum(), list(model.parameters())))
    assert_close(logits[1], logits[0].double())
    for got, wanted in zip(gradients[1], gradients[0]):
        assert_close(got, wanted.double(), factor=10)


@FAMILIES
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_greedy_generation_is_that_of_eager(device, family, cache):
    models = pair(family, device)
    tokens, mask = padded("left", device)
    chosen = [model.generate(tokens, attention_mask=mask, max_new_tokens=9, do_sample=False, cache_implementation=cache,
                             output_scores=True, return_dict_in_generate=True) for model in models]
    assert torch.equal(chosen[0].sequences, chosen[1].sequences)
    for got, wanted in zip(chosen[1].scores, chosen[0].scores):
        assert_close(got, wanted.double())


@pytest.mark.parametrize("padding", [False, True])
def test_a_prompt_in_pieces_continues_its_cache(device, padding):
    models = pair("Qwen3", device)
    tokens, mask = padded("left", device) if padding else (torch.randint(2, 97, (3, 13), device=device), None)
    logits = []
    for model in models:
        first = model(tokens[:, :6], attention_mask=None if mask is None else mask[:, :6], use_cache=True)
        cache = first.cache if hasattr(first, "cache") else first.past_key_values
        name = "cache" if hasattr(first, "cache") else "past_key_values"
        logits.append(model(tokens[:, 6:], attention_mask=mask, **{name: cache}).logits)
    visible = slice(None) if mask is None else mask[:, 6:].bool()
    assert_close(logits[1][visible], logits[0][visible].double())


def test_packed_positions_keep_sequences_apart(device):
    eager, fused = pair("Qwen3", device)
    tokens = torch.randint(2, 97, (2, 12), device=device)
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3], [*range(7), *range(5)]], device=device)
    wanted = eager(tokens, position_ids=positions, use_cache=False).logits
    packed = fused(tokens, position_ids=positions, use_cache=False).logits
    assert_close(packed, wanted.double())
    assert_close(packed[1:, 7:], eager(tokens[1:, 7:]).logits.double())


def test_masks_of_four_axes_are_taken_as_they_are(device):
    eager, fused = pair("Llama", device)
    tokens = torch.randint(2, 97, (2, 9), device=device)
    visible = (torch.rand(2, 1, 9, 9, device=device) > 0.4) | torch.eye(9, device=device, dtype=torch.bool)
    additive = torch.zeros(2, 1, 9, 9, device=device).masked_fill(~visible, torch.finfo(torch.float32).min)
    wanted = eager(tokens, attention_mask=additive).logits
    for mask in (visible, additive):
        assert_close(fused(tokens, attention_mask=mask).logits, wanted.double())


def test_causal_layers_need_no_memory_for_pairs_of_positions(device):
    """None without padding, one row of keys with it."""
    full = torch.ones(2, 9, dtype=torch.bool, device=device)
    left = full.clone()
    left[0, :4] = False
    ask = lambda mask, rows=9, keys=9, offset=0: huggingface.attention_mask(2, rows, keys, offset, attention_mask=mask, device=device)
    assert ask(None) is None and ask(full) is None
    assert torch.equal(ask(left), left)
    assert torch.equal(ask(left, rows=4, offset=5), left)
    assert ask(left, keys=32).shape == (2, 9), "of a static cache what is filled"
    assert ask(left, rows=1, offset=8).shape == (2, 1, 1, 9)


def test_an_encoder_with_padding(device):
    config = transformers.BertConfig(vocab_size=97, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
                                     attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0)
    eager = transformers.BertModel(config).to(device).eval()
    eager.set_attn_implementation("eager")
    fused = copy.deepcopy(eager)
    fused.set_attn_implementation(NAME)
    tokens, mask = padded("right", device)
    wanted = eager(tokens, attention_mask=mask).last_hidden_state[mask.bool()]
    assert_close(fused(tokens, attention_mask=mask).last_hidden_state[mask.bool()], wanted.double())


def test_compile_in_one_graph(device):
    eager, fused = pair("Qwen3", device)
    compiled = torch.compile(fused, fullgraph=True, backend="aot_eager")
    tokens, mask = padded("left", device)
    for given in (None, mask):
        visible = torch.ones_like(tokens).bool() if given is None else mask.bool()
        wanted = eager(tokens, attention_mask=given).logits[visible]
        assert_close(compiled(tokens, attention_mask=given).logits[visible], wanted.double())


def call(module=None, **options):
    q, k = torch.randn(1, 4, 5, 32), torch.randn(1, 2, 5, 32)
    return huggingface.attention_forward(module or torch.nn.Identity(), q, k, k, None, **options)


@pytest.mark.parametrize("options, text", [
    (dict(sliding_window=4), "sliding_window=4.*full"), (dict(softcap=50.0), "softcap=50.0"),
    (dict(s_aux=torch.zeros(4)), "s_aux=a tensor.*sinks"), (dict(dropout=0.1), "dropout=0.1.*attention_dropout=0.0"),
    (dict(output_attentions=True), "output_attentions")])
def test_what_is_not_implemented_is_said(options, text):
    with pytest.raises(ValueError, match=text):
        call(**options)
    call(**{name: 0.0 if name == "dropout" else None for name in options})


def test_models_with_windows_caps_sinks_and_dropout_raise(device):
    tokens = torch.randint(2, 97, (1, 9), device=device)
    windows = pair("Gemma 3", device, layer_types=["sliding_attention", "full_attention"], sliding_window=4)[1]
    gemma2 = transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**SHARED, layer_types=["full_attention"] * 2))
    oss = transformers.GptOssForCausalLM(transformers.GptOssConfig(**SHARED, num_local_experts=2, num_experts_per_tok=1,
                                                                   layer_types=["full_attention"] * 2))
    drops = pair("Llama", device, attention_dropout=0.1)[1]
    for model, text in ((windows, "sliding_window"), (gemma2, "softcap"), (oss, "s_aux"), (drops.train(), "dropout")):
        model.set_attn_implementation(NAME)
        with pytest.raises(ValueError, match=text):
            model.to(device)(tokens)
    drops.eval()(tokens)


def test_bias_of_positions_as_t5_has_it(device):
    q, k, v = (torch.randn(2, 4, 9, 32, device=device) for _ in range(3))
    bias = torch.randn(1, 4, 9, 9, device=device, requires_grad=True)
    module = torch.nn.Identity()
    module.is_causal = False
    mask = torch.rand(2, 1, 9, 9, device=device) > 0.3
    mask[..., 0] = True
    for given in (None, mask, torch.zeros(mask.shape, device=device).masked_fill(~mask, -1e9)):
        out = huggingface.attention_forward(module, q, k, v, given, scaling=1.0, position_bias=bias)[0]
        logits = (q @ k.transpose(-1, -2) + bias).double()
        wanted = (logits if given is None else logits.masked_fill(~mask, -1e9)).softmax(-1) @ v.double()
        assert_close(out, wanted.transpose(1, 2))
        dout = torch.randn_like(out)
        got, exact = (torch.autograd.grad(t, bias, d)[0] for t, d in ((out, dout), (wanted.transpose(1, 2), dout.double())))
        assert_close(got, exact.double(), factor=5)
