"""What else is installed under the name of this package."""
import os
import sys
import warnings

from . import hub


def warn_of_the_original():
    """Both packages have the same import name: files of one may have replaced files of the other, but for a kernel of the Hub."""
    if hub.IS_KERNEL:
        return
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.startswith("flash_cosine_sim_attention-") and name.endswith((".dist-info", ".egg-info")):
                warnings.warn(f"{os.path.join(folder, name)}: flash-cosine-sim-attention is installed too, under the same import "
                              "name. Uninstall both, then install fcsa: pip uninstall flash-cosine-sim-attention fcsa",
                              RuntimeWarning, stacklevel=3)
                return
