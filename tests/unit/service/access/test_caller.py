"""Who may see and change what, over every caller and every job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.caller import (
    Caller,
    ForbiddenError,
    Ownership,
    Role,
    check_change,
    check_role,
    may_name,
)

owners = st.sampled_from([None, "ann", "bob"])
callers = st.builds(Caller, owner=owners, role=st.sampled_from(Role))
jobs = st.builds(Ownership, owner=owners, private=st.booleans())


@given(caller=callers, job=jobs)
def test_what_may_be_changed_may_be_seen(caller: Caller, job: Ownership) -> None:
    assert caller.may_see(job) or not caller.may_change(job)


@given(caller=callers, job=jobs)
def test_only_its_owner_and_admins_are_told_of_a_private_job(
    caller: Caller, job: Ownership
) -> None:
    is_theirs = job.owner is not None and job.owner == caller.owner
    assert caller.may_see(job) == (caller.role is Role.ADMIN or is_theirs or not job.private)


@given(caller=callers, job=jobs, other=jobs)
def test_what_a_job_names_whoever_sees_the_job_may_see(
    caller: Caller, job: Ownership, other: Ownership
) -> None:
    if may_name(job, other) and caller.may_see(job):
        assert caller.may_see(other)


def test_a_job_names_what_is_public_and_a_private_one_what_its_owner_has() -> None:
    assert may_name(Ownership(owner="ann"), Ownership(owner="bob"))
    mine = Ownership(owner="ann", private=True)
    assert may_name(mine, mine)
    assert not may_name(Ownership(owner="ann"), mine)


@given(caller=callers, job=jobs)
def test_only_submitters_and_admins_change_and_submitters_their_own(
    caller: Caller, job: Ownership
) -> None:
    is_theirs = job.owner is not None and job.owner == caller.owner
    allowed = {Role.VIEWER: False, Role.SUBMITTER: is_theirs, Role.ADMIN: True}[caller.role]
    assert caller.may_change(job) == allowed
    if allowed:
        check_change(caller, "a", job)
    else:
        with pytest.raises(ForbiddenError, match="ask"):
            check_change(caller, "a", job)


@pytest.mark.parametrize("role", Role)
def test_each_role_covers_those_before_it(role: Role) -> None:
    order = ["viewer", "submitter", "admin"]
    covered = [needed for needed in Role if role.covers(needed)]
    assert covered == order[: order.index(role) + 1]
    for needed in set(Role) - set(covered):
        with pytest.raises(ForbiddenError, match=f"needs the role {needed}"):
            check_role(Caller(owner="ann", role=role), needed)
