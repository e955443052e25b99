"""The formula in plain operations, to compare with."""
from . import arguments
from .attention import _by_form_plainly


def plain_cosine_sim_attention(*args, **kwargs):
    """flash_cosine_sim_attention, arguments and all, in PyTorch's own operations: memory for every query-key pair, and any
    derivative of any order."""
    if len(args) > 4:
        args, kwargs = arguments.by_name("plain_cosine_sim_attention", args, kwargs)
    return _by_form_plainly(*args, **kwargs)
