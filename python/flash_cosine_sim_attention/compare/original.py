"""A program of its own, which measures the original (flash-cosine-sim-attention of PyPI) for run.py:

    original.py FOLDER_OF_THIS_FILE FOLDER_OF_THE_ORIGINAL ASKED GIVEN

The package `compare` is loaded from its folder under another name, without the package around it."""
import importlib
import json
import sys
import types


def load(folder):
    """run and problems as modules of a package without parents."""
    package = types.ModuleType("fcsa_compare")
    package.__path__ = [folder]
    sys.modules["fcsa_compare"] = package
    return importlib.import_module("fcsa_compare.run"), importlib.import_module("fcsa_compare.problems")


def attention(device):
    """(function, options) of whichever version it is: 0.2.2 has Triton kernels, 0.1 kernels in CUDA."""
    module = importlib.import_module("flash_cosine_sim_attention")
    function = module.flash_cosine_sim_attention
    triton = getattr(module, "triton_flash_cosine_sim_attention", None)
    return (triton if device == "cuda" and triton is not None else function), module.__file__


def peer_of(run, function, l2norm_qk):
    def make(p, device):
        if p.kv_heads != p.heads:
            raise run.peers.Refused("no grouped heads")
        return lambda q, k, v: function(q, k, v, scale=p.scale, causal=p.causal, l2norm_qk=l2norm_qk)
    return make


def main(here, folder, asked, given):
    sys.path[0] = folder
    run, problems = load(here)
    with open(asked) as file:
        wanted = json.load(file)
    conditions, rows = run.measure.Conditions(*wanted["conditions"]), []
    function, file = attention(conditions.device)
    if not file.startswith(folder):
        sys.exit(f"{file} was imported in place of what is in {folder}")
    normalise = run.peers.normalisation(conditions.device)
    for fields in wanted["problems"]:
        p = problems.Problem(*fields)
        inputs, dout, expected = run.prepared(p, conditions.device, normalise)
        for normalisation in (n for n in wanted["normalisations"] if n in inputs):
            peer = peer_of(run, function, normalisation == "included")
            rows += run.run_peer(p, run.ORIGINAL, peer, normalisation, wanted["directions"], conditions, inputs[normalisation], dout,
                                 expected)
    with open(given, "w") as out:
        json.dump([row._asdict() for row in rows], out)


if __name__ == "__main__":
    main(*sys.argv[1:])
