"""l2norm as the kernels have it, in PyTorch's own operations."""
import torch
import torch.nn.functional as F


def grouped(t, groups, eps=1e-12):
    """The last axis in `groups` equal parts, each divided by its norm, which counts as at least eps."""
    if groups == 1:
        return F.normalize(t, dim=-1, eps=eps)
    return F.normalize(t.unflatten(-1, (groups, t.shape[-1] // groups)), dim=-1, eps=eps).flatten(-2)


def l2norm(t):
    """The last axis divided by its norm."""
    return F.normalize(t, dim=-1)


l2norm_cpu = l2norm


def grouped_l2norm(t, groups=1):
    """Each of `groups` equal parts of the last axis divided by its norm."""
    if groups < 1 or t.shape[-1] % groups:
        raise ValueError(f"groups is {groups}: it must divide the last axis, which is {t.shape[-1]}")
    return grouped(t, groups)


def l2norm_tensors(*tensors, groups=1):
    """Every tensor normalised along its last axis, in `groups` equal parts, all in the dtype of the first: for what has
    to be done to queries and keys between normalising and attention, which then takes l2norm_qk=False."""
    if not tensors:
        raise TypeError("l2norm_tensors() needs at least one tensor")
    for position, t in enumerate(tensors):
        if not isinstance(t, torch.Tensor):
            raise TypeError(f"l2norm_tensors(): argument {position} is {type(t).__name__}, not a tensor")
    return tuple(grouped_l2norm(t, groups).to(tensors[0].dtype) for t in tensors)
