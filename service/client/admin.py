"""A typed client of what admins may do."""

from collections.abc import Iterator

from service.access.caller import Role
from service.client.arguments import named_by_field
from service.client.jobs import JobClient, segment
from service.views.access import (
    AuditPage,
    AuditRecord,
    CreatedToken,
    DrainState,
    QuotaView,
    Token,
    TokenList,
    TokenRequest,
)


class AdminClient(JobClient):
    """Speaks to one service with the token of an admin."""

    def tokens(self) -> tuple[Token, ...]:
        """List every token that there ever was, the newest first."""
        return self._ask("GET", "/tokens", TokenList).tokens

    def create_token(
        self,
        owner: str,
        role: Role,
        *,
        expires_in_days: int | None = None,
        description: str = "",
    ) -> CreatedToken:
        """Make a token, which is told this once. Raises WrongArgumentError."""
        with named_by_field():
            request = TokenRequest(
                owner=owner, role=role, expires_in_days=expires_in_days, description=description
            )
        return self._ask("POST", "/tokens", CreatedToken, json=request.model_dump(mode="json"))

    def revoke_token(self, token_id: str) -> Token:
        """End a token."""
        return self._ask("DELETE", f"/tokens/{segment(token_id, 'token')}", Token)

    def audit(self, *, target: str | None = None, limit: int = 50) -> Iterator[AuditRecord]:
        """Yield what was done, the newest first, page by page of `limit`."""
        query: dict[str, str | int] = {"limit": limit}
        if target is not None:
            query["target"] = target
        while True:
            page = self._ask("GET", "/audit", AuditPage, params=query)
            yield from page.entries
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def quota(self, owner: str) -> QuotaView:
        """Read what an owner may have."""
        return self._ask("GET", f"/quotas/{owner}", QuotaView)

    def set_quota(self, owner: str, quota: QuotaView) -> QuotaView:
        """Replace what an owner may have."""
        return self._ask("PUT", f"/quotas/{owner}", QuotaView, json=quota.model_dump())

    def drain(self, *, pause: bool = False) -> DrainState:
        """Begin no attempt until `undrain`; `pause`: have what runs pause until then."""
        return self._ask("POST", "/drain", DrainState, params={"pause": pause})

    def undrain(self) -> DrainState:
        """Begin attempts again."""
        return self._ask("POST", "/undrain", DrainState)

    def drain_state(self) -> DrainState:
        """Say whether the service drains, and how many jobs still hold devices."""
        return self._ask("GET", "/drain", DrainState)
