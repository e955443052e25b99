"""What is different where the package is a kernel of Hugging Face's Hub (scripts/hub_layout.py): it is imported under another
name, beside an installed package and other versions of itself, and comes without libfcsa."""
import importlib.util
import os

try:
    from ._ops import add_op_namespace_prefix as operator_name  # the Hub's builds have this module
    IS_KERNEL = True
except ImportError:
    IS_KERNEL = False

    def operator_name(name):
        return f"fcsa::{name}"


def installed_library():
    """The libfcsa of an installed fcsa, which isn't imported for that; None where there is none."""
    found = importlib.util.find_spec("flash_cosine_sim_attention")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = os.path.join(folder, "lib", "libfcsa.so.0")
        if os.path.exists(path):
            return path
    return None


class NoLibrary:
    """In place of libfcsa: serves nothing and says why, so that PyTorch's own operations do it all, and warn."""

    def __init__(self, why, unsupported):
        self._why, self._unsupported = why.encode(), unsupported

    def fcsa_version(self):
        return b"0"

    def fcsa_last_error(self):
        return self._why

    def fcsa_open(self, options, handle):
        return 0

    def fcsa_plan_create(self, library, problem, handle):
        return self._unsupported

    # Nobody gets a plan to call these with.
    fcsa_plan_destroy = fcsa_forward = fcsa_backward = None
