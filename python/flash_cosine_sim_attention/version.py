"""`__version__` is that of fcsa. The names and arguments are those of flash-cosine-sim-attention `API_VERSION`, and of its
0.1.40 where the two differ: docs/pytorch.md."""
from .native import VERSION as __version__

API_VERSION = "0.2.2"
