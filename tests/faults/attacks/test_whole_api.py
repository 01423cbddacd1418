"""Whatever the description allows or forbids, sent to the service with a token of each role."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis

from service.access.caller import Role
from service.store.store import Store
from tests.faults.attacks.targets import ATTACK, Target, attacked
from tests.faults.trials import TRIALS_VARIABLE, Trials
from tests.postgres import Postgres
from tests.whole_api.asking import WholeApi
from tests.whole_api.belongings import RECEIVERS, Belongings, give
from trainer.contract.status import TERMINAL

FAULT = "whatever the API's description allows or forbids, as {role}"
# Of each operation as each role, for each trial.
NUM_ALLOWED = 10
NUM_REFUSED = 5
DATABASE = "whole_api"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def described(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """A service for this alone: what is asked here changes whatever can be changed."""
    settings = {"ALEXNET_WEBHOOK_NETWORKS": f'["{RECEIVERS}"]'}
    server: Postgres | None = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        settings["ALEXNET_STORE_URL"] = server.create(DATABASE)
    with attacked(tmp_path_factory.mktemp("described"), **settings) as target:
        yield target
    if server is not None:
        server.drop(DATABASE)


@pytest.mark.timeout(900)
def test_whatever_is_sent_is_answered_as_described(faults: Trials, described: Target) -> None:
    belongings = _give(described)
    whole_api = WholeApi(
        schemathesis.openapi.from_url(f"{described.plane.url}/openapi.json"),
        belongings,
        # Streams of others would go on until they end.
        streamed=sorted(TERMINAL),
    )
    trials = int(os.environ.get(TRIALS_VARIABLE, "1"))
    wrong = whole_api.ask(
        NUM_ALLOWED * trials,
        NUM_REFUSED * trials,
        within=lambda role: faults.trial(ATTACK, FAULT.format(role=role)),
    )
    print(whole_api.table())
    assert not wrong, "\n\n".join(wrong)
    assert whole_api.unreached() == []
    for own in belongings:
        with faults.trial(ATTACK, FAULT.format(role=own.role)) as trial:
            described.check_whole(trial)
            headers = {"Authorization": f"Bearer {own.token}"}
            let_in = described.ask("GET", "/jobs", headers=headers).status_code
            trial.must(let_in == 200, "A", f"the token was none, or is none any more: {let_in}")


def _give(target: Target) -> list[Belongings]:
    store = Store(target.plane.store_url)
    try:
        data, run_root = target.body["data"], target.plane.run_directory("").resolve()
        return [give(store, Path(run_root), data, role) for role in Role]
    finally:
        store.close()
