"""Swin V2 of timm and of Hugging Face with attention in one kernel, against the models as they are."""
import copy
import pickle

import pytest
import torch

import installed_models

timm = installed_models.library("timm")
from flash_cosine_sim_attention import swin
from reference import BF16, error
from timm.models.swin_transformer_v2 import SwinTransformerV2, WindowAttention

TIMM = dict(img_size=64, window_size=8, embed_dim=64, depths=(2, 2), num_heads=(2, 4), num_classes=10, drop_path_rate=0.0)


def redraw(model):
    """With the initialisation that these models come with, norms after attention hide what it gives."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("logit_scale"):
                p.uniform_(1.0, 5.5)  # exp(4.6) is the limit
            elif p.dim() > 1:
                p.normal_(std=p[0].numel() ** -0.5)
            elif name.endswith("weight"):
                p.uniform_(0.5, 1.5)
            else:
                p.normal_(std=0.1)
    return model


def small(**options):
    return redraw(SwinTransformerV2(**{**TIMM, **options})).eval()


def hugging_face():
    transformers = installed_models.library("transformers")
    config = transformers.Swinv2Config(image_size=64, window_size=8, embed_dim=64, depths=[2, 2], num_heads=[2, 4], drop_path_rate=0.0)
    model = redraw(transformers.Swinv2Model(config)).eval()

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x).last_hidden_state
    return Pooled().eval()


def fused(model):
    model = copy.deepcopy(model)
    assert swin.replace_attention(model) == 4
    return model


def run(model, x, dout=None):
    """The output and the gradients of x and of all parameters."""
    x = x.detach().requires_grad_()
    out = model(x)
    dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)) if dout is None else dout
    inputs = [x, *(p for p in model.parameters() if p.requires_grad)]
    gradients = torch.autograd.grad(out, inputs, dout.to(out), allow_unused=True)
    return [out.detach(), *(torch.zeros_like(t) if g is None else g for t, g in zip(inputs, gradients))]


def largest(got, wanted):
    """The largest error, by tensors, relative to the largest value of a tensor."""
    return max(error(g.cpu(), w.cpu().double()) for g, w in zip(got, wanted))


MAKERS = pytest.mark.parametrize("make", [small, hugging_face], ids=["timm", "Hugging Face"])


@MAKERS
def test_outputs_and_gradients_are_those_of_eager_with_shifted_windows_of_several_images(device, make):
    model = make().to(device)
    x = torch.randn(2, 3, 64, 64, device=device)
    wanted = run(copy.deepcopy(model).double(), x.double())
    # By luck one is off by twice as much as the other where terms cancel: of hundreds in a logit scale's gradient of 0.6.
    assert largest(run(fused(model), x), wanted) < max(4 * largest(run(model, x), wanted), 1e-4)


@MAKERS
def test_bf16_is_no_further_from_fp64_than_eager_is(device, make):
    model = make().to(device)
    x = torch.randn(2, 3, 64, 64, device=device)
    wanted = run(copy.deepcopy(model).double(), x.double())
    eager, ours = (run(copy.deepcopy(m).to(BF16), x.to(BF16)) for m in (model, fused(model)))
    distance = lambda found: sum(((g.double() - w).norm() / w.norm().clamp_min(1e-9)).item() for g, w in zip(found, wanted)) / len(wanted)
    assert distance(ours) < 1.1 * distance(eager)
    assert distance(ours[:1]) < 0.1


def test_a_real_model_gives_what_it_gave_and_not_what_it_gives_without_attention(device):
    model = redraw(timm.create_model("swinv2_tiny_window8_256")).to(device).eval()
    x = torch.randn(1, 3, 256, 256, device=device)
    with torch.no_grad():
        wanted = model(x).double()
        assert swin.replace_attention(model) == 12
        found = error(model(x), wanted)
        assert found < 1e-3, f"off by {found:.3g} of the largest value"
        for layer in model.modules():
            if isinstance(layer, WindowAttention):
                layer.proj.register_forward_pre_hook(lambda layer, given: (torch.zeros_like(given[0]),))
        assert error(model(x), wanted) > 0.05, "attention makes no difference: the weights hide it"


def test_restored_models_pickles_and_state_dicts(device):
    model = small().to(device)
    x = torch.randn(1, 3, 64, 64, device=device)
    names, wanted = list(model.state_dict()), model(x)
    assert swin.replace_attention(model) == swin.replace_attention(model) == 4
    assert list(model.state_dict()) == names
    ours = model(x)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), ours)
    assert swin.restore_attention(model) == 4 and torch.equal(model(x), wanted)
    assert not torch.equal(ours, wanted), "what ran was eager attention"


def test_autocast_and_compile_in_one_graph(device):
    model = fused(small().to(device))
    x = torch.randn(1, 3, 64, 64, device=device)
    wanted = model(x).double()
    assert error(torch.compile(model, fullgraph=True, backend="aot_eager")(x), wanted) < 1e-4
    with torch.autocast(device, dtype=BF16):
        assert error(model(x), wanted) < 0.2


def test_dropout_of_attention_weights_raises_in_training_only(device):
    model = fused(small(attn_drop_rate=0.1).to(device))
    x = torch.randn(1, 3, 64, 64, device=device)
    model(x)
    with pytest.raises(ValueError, match="drops 0.1 of the attention weights"):
        model.train()(x)


def test_models_without_such_layers_are_an_error():
    with pytest.raises(ValueError, match="Linear has no attention layer of Swin V2"):
        swin.replace_attention(torch.nn.Linear(2, 2))


def test_hugging_face_asked_for_weights_raises():
    model = fused(hugging_face())
    with pytest.raises(ValueError, match="output_attentions"):
        model.model(torch.randn(1, 3, 64, 64), output_attentions=True)
