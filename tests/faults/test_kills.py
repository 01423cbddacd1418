"""Kills of every role on a real Ray: one of each, or as many as TRIALS says."""

import os
from pathlib import Path

import pytest

from tests.faults.kills.campaign import EPOCHS, Campaign
from tests.faults.kills.roles import ONE_OF_EACH, Role
from tests.faults.trials import SEED, TRIALS_VARIABLE, Trials

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(0)]

NUM_LANES = 2
# What few kills leave of longer jobs nothing happens in.
SHORT_EPOCHS = 15


def test_jobs_come_to_the_same_however_often_they_are_killed(
    faults: Trials, tmp_path: Path
) -> None:
    num_processes = max(int(os.environ.get(TRIALS_VARIABLE, ONE_OF_EACH)), ONE_OF_EACH)
    is_short = num_processes == ONE_OF_EACH
    campaign = Campaign(
        tmp_path,
        num_processes=num_processes,
        seed=SEED,
        epochs=SHORT_EPOCHS if is_short else EPOCHS,
    )
    campaign.run(NUM_LANES)
    faults.all += campaign.trials
    violations = [violation for trial in campaign.trials for violation in trial.violations]
    assert not violations, "\n".join(violations)
    assert {kill.role for kill in campaign.kills} == set(Role)
