import json

import pytest

from data_shards.errors import PackError
from data_shards.packing.pack import pack


@pytest.mark.parametrize("force", [True, False])
def test_tars_that_somebody_else_packed_are_never_replaced(request_for, own_copy, force):
    document = json.loads((own_copy / "manifest.json").read_text())
    document["packing"]["source"] = "indexed-webdataset"
    (own_copy / "manifest.json").write_text(json.dumps(document))
    before = {path.name: path.read_bytes() for path in own_copy.rglob("*") if path.is_file()}
    with pytest.raises(PackError, match="packed elsewhere and are only indexed; choose another"):
        pack(request_for(), own_copy, num_processes=1, force=force)
    after = {path.name: path.read_bytes() for path in own_copy.rglob("*") if path.is_file()}
    assert after == before
