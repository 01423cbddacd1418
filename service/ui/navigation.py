"""The views that every page leads to. Pure."""

from dataclasses import dataclass

from service.access.caller import Caller, Role


@dataclass(frozen=True, kw_only=True)
class Link:
    """One view."""

    path: str
    title: str
    is_here: bool = False


# Each with the role that it needs.
_VIEWS = (("/ui/", "Jobs", Role.VIEWER),)


def links_for(caller: Caller | None, path: str) -> list[Link]:
    """Return the views that a caller may open, and which of them is shown."""
    if caller is None:
        return []
    return [
        Link(path=where, title=title, is_here=where == path)
        for where, title, role in _VIEWS
        if caller.role.covers(role)
    ]
