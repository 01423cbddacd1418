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
