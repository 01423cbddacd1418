"""The whole API, asked by what it says of itself, with a token of each role."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import schemathesis
from schemathesis import BaseSchema

from service.access.caller import Role
from service.api.app import create_app
from service.control_plane import ControlPlane
from service.settings import Settings
from tests.unit.service.databases import Databases
from tests.unit.service.guarded import bearer
from tests.whole_api.asking import AS_DESCRIBED, WholeApi
from tests.whole_api.belongings import RECEIVERS, Belongings, give
from trainer.contract.status import Status


@dataclass(frozen=True)
class Described:
    """A service in this process, and what each role has there."""

    schema: BaseSchema
    belongings: list[Belongings]


@pytest.fixture(scope="module")
def described(
    settings: Settings,
    databases: Databases,
    data_root: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Described]:
    folder = tmp_path_factory.mktemp("described")
    own = settings.model_copy(
        update={
            "state_dir": folder,
            "store_url": databases.migrated(),
            "run_root": folder / "runs",
            "requests_per_second": None,
            "allowed_hosts": ("*",),
            "webhook_networks": (RECEIVERS,),
        }
    )
    plane = ControlPlane(own, token=None)
    plane.try_to_lead()
    data = {split: str(data_root / split / "manifest.json") for split in ("train", "validation")}
    belongings = [give(plane.store, own.run_root, data, role) for role in Role]
    # Streams end at once, as they do when the service stops.
    plane.begin_stop()
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(plane))
    yield Described(schema, belongings)
    plane.stop()


def test_jobs_are_answered_as_described(described: Described) -> None:
    """Without FastAPI's own check of what it is to answer."""
    for own in described.belongings:
        headers = bearer(own.token)
        jobs = described.schema["/jobs"]["GET"].Case()
        jobs.call_and_validate(checks=AS_DESCRIBED, headers=headers)
        for status in Status:
            one = described.schema["/jobs/{job_id}"]["GET"].Case(
                path_parameters={"job_id": own.job(status)}
            )
            one.call_and_validate(checks=AS_DESCRIBED, headers=headers)


@pytest.mark.slow
def test_whatever_is_sent_is_answered_as_described(described: Described) -> None:
    whole_api = WholeApi(described.schema, described.belongings)
    wrong = whole_api.ask(6, 3, within=lambda _role: nullcontext())
    print(whole_api.table())
    assert not wrong, "\n\n".join(wrong)
    assert whole_api.unreached() == []
