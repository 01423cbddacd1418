"""Whether there is what builds the kernels: without, all the rest is tested on the slower paths."""

import os
import shutil

import pytest

# Not whether a kernel can be loaded: one that does not compile must fail its tests.
needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="the kernels need g++"
)
