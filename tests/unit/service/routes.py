"""The routes of an application, and the rules who may call them."""

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from service.api.app import create_app
from service.api.dependencies import NoRule, RoleRule
from service.control_plane import ControlPlane


def routes_of(plane: ControlPlane) -> list[APIRoute]:
    return routes_below(create_app(plane))


def routes_below(app: FastAPI) -> list[APIRoute]:
    found: list[BaseRoute] = list(app.routes)
    routes = []
    while found:
        route = found.pop()
        if isinstance(route, APIRoute):
            routes.append(route)
        else:
            found.extend(getattr(getattr(route, "router", None), "routes", ()))
            found.extend(getattr(getattr(route, "original_router", None), "routes", ()))
    return routes


def rules_of(dependant: Dependant) -> set[RoleRule | NoRule]:
    below = {rule for one in dependant.dependencies for rule in rules_of(one)}
    call = dependant.call
    return below | ({call} if isinstance(call, RoleRule | NoRule) else set())
