"""Libraries of models that tests run, where they are installed."""
import importlib
import os

import pytest
import torch


def library(name):
    """The module. Without it the tests are skipped; with $FCSA_TEST_MODELS, which scripts/test_python.sh sets, that is an
    error, except with torch 2.4, for which today's libraries are too new."""
    if torch.__version__.startswith("2.4."):
        pytest.skip(f"{name} of today doesn't run with torch {torch.__version__}", allow_module_level=True)
    if os.environ.get("FCSA_TEST_MODELS"):
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"{name} isn't installed")
