"""Secrets that clients send or are given come out nowhere."""

import logging
from typing import Any

import pytest
from sqlalchemy import select

from service.control_plane import ControlPlane
from service.store.tables import metadata
from tests.unit.service.guarded import Guarded, bearer


def stored_text(plane: ControlPlane) -> str:
    """Return everything that is in the store, and in its files where it has some."""
    rows = plane.store.read(
        lambda connection: [
            repr(row)
            for table in metadata.sorted_tables
            for row in connection.execute(select(table))
        ]
    )
    path = plane.settings.store_path
    files = [] if path is None else path.parent.glob(f"{path.name}*")
    return "\n".join([*rows, *(file.read_bytes().decode("latin-1") for file in files)])


@pytest.mark.parametrize(
    "location",
    [
        "s3://AKIAEXAMPLE:hush-hush@bucket/set",
        "s3://bucket/set?X-Amz-Signature=hush-hush",
        "az://container/set?sig=hush-hush",
        "gs://bucket/set#hush-hush",
        "https://user:hush-hush@host/set",
    ],
)
@pytest.mark.parametrize("field", ["train", "validation"])
def test_credentials_in_a_location_are_refused_and_come_out_nowhere(
    guarded: Guarded,
    request_body: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    field: str,
    location: str,
) -> None:
    with caplog.at_level(logging.DEBUG):
        body = request_body | {"data": request_body["data"] | {field: location}}
        answer = guarded.ann.post("/jobs", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [f"data.{field}"]
    assert "hush" not in answer.text
    assert "hush" not in "\n".join(
        record.getMessage() for record in caplog.records if record.name != "httpcore.http11"
    )
    assert "hush" not in stored_text(guarded.plane)


def test_no_secret_of_a_token_is_stored_or_logged(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        created = guarded.admin.post(
            "/tokens", json={"owner": "eve", "role": "viewer", "expires_in_days": 1}
        ).json()
        assert guarded.nobody.get("/jobs", headers=bearer(created["token"])).status_code == 200
        listed = guarded.admin.get("/tokens").text
        audited = guarded.admin.get("/audit").text
    assert created["id"] in listed
    assert created["id"] in audited
    secret = created["token"].split("_", 2)[2]
    for text in (listed, audited, caplog.text):
        assert secret not in text
    assert secret not in stored_text(guarded.plane)
