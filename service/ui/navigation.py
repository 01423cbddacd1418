"""The pages that every page leads to. Pure."""

from dataclasses import dataclass

from service.access.caller import Caller, Role


@dataclass(frozen=True, kw_only=True)
class Link:
    """One page."""

    path: str
    title: str
    is_here: bool = False


# Each with the role that it needs.
_PAGES = (
    ("/ui/", "Jobs", Role.VIEWER),
    ("/ui/submit", "Submit", Role.SUBMITTER),
    ("/ui/compare", "Compare", Role.VIEWER),
    ("/ui/data", "Data", Role.VIEWER),
    ("/ui/cluster", "Cluster", Role.VIEWER),
)


def links_for(caller: Caller | None, path: str) -> list[Link]:
    """Return the pages that a caller may open, and which of them is shown."""
    if caller is None:
        return []
    return [
        Link(path=where, title=title, is_here=_is_within(path, where))
        for where, title, role in _PAGES
        if caller.role.covers(role)
    ]


def _is_within(path: str, where: str) -> bool:
    """Whether a page belongs to another; all lie below that of the jobs."""
    return path == where or (where != "/ui/" and path.startswith(f"{where}/"))
