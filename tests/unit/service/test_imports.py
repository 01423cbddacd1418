"""The control plane's image has no torch: nothing of the service may import it, even indirectly."""

import json
import subprocess
import sys

# What trains, decodes or schedules: a Ray worker's packages, heavy and absent from the service.
FORBIDDEN = {
    "numpy",
    "plotly",
    "PIL",
    "ray",
    "safetensors",
    "simplejpeg",
    "torch",
    "torchvision",
    "webdataset",
}

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import service
# To import these is to run them: the command line, and a migration inside Alembic.
scripts = {"service.__main__", "service.store.env"}
names = [one.name for one in pkgutil.walk_packages(service.__path__, "service.")]
names = [name for name in names if name not in scripts]
for name in names:
    importlib.import_module(name)
print(json.dumps({"imported": names, "loaded": sorted(sys.modules)}))
"""


def test_the_whole_service_imports_without_what_trains() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout)
    assert {"service.terminal.cli", "service.api.jobs", "service.reconciling.reconciler"} <= set(
        seen["imported"]
    )
    assert {name.partition(".")[0] for name in seen["loaded"]} & FORBIDDEN == set()
