"""Whether there is what builds the kernels: without, all the rest is tested on the slower paths."""

import os
import shutil

import pytest


def has_compiler() -> bool:
    return shutil.which(os.environ.get("CXX", "g++")) is not None


# Not whether a kernel can be loaded: one that does not compile must fail its tests.
needs_compiler = pytest.mark.skipif(not has_compiler(), reason="the kernels need g++")
