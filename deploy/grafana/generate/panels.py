"""The panels of every dashboard: one look; each says what it shows, and in which unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.builders.bargauge import Panel as Bars
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Series
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    MatcherConfig,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.generate.colours import BLUE

# As deploy/grafana/provisioning/datasources names it.
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
# Ray's agents have new numbers every few seconds: rates are taken over four of these.
RAY_STEP = "15s"
STAT_HEIGHT = 4
SERIES_HEIGHT = 8

Panel = Stat | Series | Bars | Table
P = TypeVar("P", Stat, Series, Bars, Table)


@dataclass(frozen=True)
class Query:
    """What Prometheus is asked, and how its series are called."""

    expr: str
    legend: str = "__auto"


def stat(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str,
    width: int,
    none: str = "–",
    bounds: Mapping[float, str] | None = None,
    decimals: int | None = None,
) -> Stat:
    """Return one number, large, with its curve; `none` is shown where there is none."""
    panel = (
        _common(
            Stat(), title, description, [Query(expr)], unit=unit, width=width, height=STAT_HEIGHT
        )
        .thresholds(_thresholds(bounds or {}))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .reduce_options(build.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .no_value(none)
    )
    return panel if decimals is None else panel.decimals(decimals)


def bar(title: str, description: str, expr: str, *, width: int) -> Bars:
    """Return a share, as a bar that fills."""
    return (
        _common(
            Bars(),
            title,
            description,
            [Query(expr)],
            unit=units.PercentUnit,
            width=width,
            height=STAT_HEIGHT,
        )
        .min(0)
        .max(1)
        .thresholds(_thresholds({}))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .reduce_options(build.ReduceDataOptions().calcs(["lastNotNull"]))
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .orientation(common.VizOrientation.HORIZONTAL)
        .no_value("–")
    )


def series(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 8,
    colours: Mapping[str, str] | None = None,
    bound: tuple[float, str] | None = None,
    stacked: bool = False,
    logarithmic: bool = False,
    share: bool = False,
    links: list[DashboardLink] | None = None,
) -> Series:
    """Return curves over time.

    `colours`: of series by name, or by /pattern/. `bound`: drawn as a line. `share`: the axis goes
    from 0 to 1. `links`: where a click on a series leads.
    """
    panel = (
        _common(Series(), title, description, queries, unit=unit, width=width, height=SERIES_HEIGHT)
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .fill_opacity(40 if stacked else 8)
        .line_width(1 if stacked else 2)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            build.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            build.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )
    if logarithmic:
        log = build.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(log)
    else:
        panel = panel.min(0)
    if share:
        panel = panel.max(1)
    if stacked:
        panel = panel.stacking(build.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if bound is not None:
        line = build.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        panel = panel.thresholds(_thresholds(dict([bound]))).thresholds_style(line)
    if links is not None:
        panel = panel.data_links([*links])
    for name, colour in (colours or {}).items():
        panel = _coloured(panel, name, colour)
    return panel


def table(
    title: str, description: str, expr: str, *, columns: Mapping[str, str], width: int, none: str
) -> Table:
    """Return labels of the present series, a row each; `columns`: headings by label, in order."""
    query = Query(expr)
    panel = _common(
        Table(), title, description, [query], unit=units.String, width=width, height=SERIES_HEIGHT
    )
    order = {name: position for position, name in enumerate(columns)}
    chosen = {"include": {"names": list(columns)}}
    named = {"indexByName": order, "renameByName": dict(columns)}
    return (
        panel.targets([_target("A", query).format(PromQueryFormat.TABLE).instant()])
        .transformations(
            [
                DataTransformerConfig(id_val="filterFieldsByName", options=chosen),
                DataTransformerConfig(id_val="organize", options=named),
            ]
        )
        .no_value(none)
    )


def _common(
    panel: P,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    width: int,
    height: int,
) -> P:
    named = zip(ascii_uppercase, queries, strict=False)
    return (
        panel.title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .span(width)
        .height(height)
        .targets([_target(ref_id, query) for ref_id, query in named])
    )


def _target(ref_id: str, query: Query) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .ref_id(ref_id)
        .expr(query.expr)
        .legend_format(query.legend)
        .datasource(PROMETHEUS)
        .range()
    )
    return target.interval(RAY_STEP) if "ray_" in query.expr else target


def _thresholds(bounds: Mapping[float, str]) -> ThresholdsConfig:
    steps = [Threshold(value=None, color=BLUE)]
    steps += [Threshold(value=value, color=colour) for value, colour in sorted(bounds.items())]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _coloured(panel: Series, name: str, colour: str) -> Series:
    matcher = "byRegexp" if name.startswith("/") else "byName"
    fixed = {"mode": "fixed", "fixedColor": colour}
    return panel.with_override(
        MatcherConfig(id_val=matcher, options=name),
        [DynamicConfigValue(id_val="color", value=fixed)],
    )
