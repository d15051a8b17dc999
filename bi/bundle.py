"""Write the dashboards of dashboards.yml as a bundle that Superset imports: its database, a dataset for each mart, charts, dashboards.

Metrics come from the semantic layer (`dbt_project/models/semantic/_semantic.yml`), columns and their descriptions from the published file.
Ids are made of names, so importing twice changes nothing. Errors name the chart and what it asks for in vain.
"""

from __future__ import annotations

import json
import sys
import uuid
import zipfile
from pathlib import Path
from typing import Any

import yaml

from aftercast import warehouse
from aftercast.errors import AftercastError, ConfigError

HERE = Path(__file__).parent
SEMANTIC = HERE.parent / "dbt_project" / "models" / "semantic" / "_semantic.yml"
OURS = uuid.UUID("6f2a4f1e-3c1b-4a55-9d0c-0a5f7e1c2b3d")
AGGREGATES = {"sum": "sum({})", "median": "median({})", "count": "count({})", "average": "avg({})", "max": "max({})", "min": "min({})"}
SHARES = ("share", "rate", "availability", "probability")
MONEY = ("revenue", "risk_reduction")
# Severities in one colour that darkens, so that their order is seen without a legend.
COLOURS = {"sev1": "#7a1f1f", "sev2": "#c2553d", "sev3": "#e3a08a", "sev4": "#d9d4cf"}
EPOCH = "2026-01-01T00:00:00+00:00"


def identity(*names: str) -> str:
    """Return the id of a thing, the same for the same names."""
    return str(uuid.uuid5(OURS, "/".join(names)))


def semantic() -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Return of every metric the mart it is asked of and its row with `sql`, the expression over that mart."""
    layer = yaml.safe_load(SEMANTIC.read_text(encoding="utf-8"))
    measures, marts = {}, {}
    for model in layer["semantic_models"]:
        mart = model["model"].split("'")[1]
        for measure in model["measures"]:
            measures[measure["name"]] = AGGREGATES[measure["agg"]].format(measure["expr"])
            marts[measure["name"]] = mart
    metrics = {metric["name"]: dict(metric) for metric in layer["metrics"]}
    homes = {}
    for name, metric in metrics.items():
        if metric["type"] == "simple":
            metric["sql"], homes[name] = measures[metric["type_params"]["measure"]], marts[metric["type_params"]["measure"]]
    for name, metric in metrics.items():
        if metric["type"] == "ratio":
            top, bottom = (metric["type_params"][part] for part in ("numerator", "denominator"))
            metric["sql"], homes[name] = f"{metrics[top]['sql']} / nullif({metrics[bottom]['sql']}, 0)", homes[top]
    return homes, metrics


def _format(name: str) -> str:
    return ".1%" if any(word in name for word in SHARES) else ",.0f"


def _words(name: str) -> str:
    return name.removesuffix("_n").replace("_", " ").capitalize()


def _column_formats(columns: list[str]) -> dict[str, dict[str, str]]:
    """Return how numbers of a table look: shares as percentages, money in whole units, estimates with two digits."""
    shown = {}
    for name in columns:
        if any(word in name for word in (*SHARES, *MONEY)):
            shown[name] = {"d3NumberFormat": _format(name)}
        elif name in ("estimate", "ci_low", "ci_high"):
            shown[name] = {"d3NumberFormat": ".2f"}
    return shown


def dataset(mart: Path, table: str, along: str | None) -> dict[str, Any]:
    """Return the dataset of a mart: its columns as described, and the metrics that are asked of it."""
    homes, metrics = semantic()
    sql = (
        "select column_name, data_type, comment from duckdb_columns() where schema_name = 'marts' and table_name = ? order by column_index"
    )
    columns = warehouse.query(mart, sql, [table]).rows()
    if not columns:
        raise ConfigError(f"the published mart has no table {table}; `aftercast run` publishes it anew")
    return {
        "table_name": table,
        "main_dttm_col": along,
        "description": f"Published mart {table}; docs/metrics.md",
        "schema": "marts",
        "sql": None,
        "filter_select_enabled": True,
        "uuid": identity("dataset", table),
        "metrics": [
            {
                "metric_name": name,
                "verbose_name": metric["label"],
                "metric_type": None,
                "expression": metric["sql"],
                "description": metric["description"],
                "d3format": _format(name),
            }
            for name, metric in metrics.items()
            if homes[name] == table
        ],
        "columns": [
            {
                "column_name": name,
                "verbose_name": _words(name),
                "is_dttm": kind.startswith(("TIMESTAMP", "DATE")),
                "is_active": True,
                "type": kind,
                "groupby": True,
                "filterable": True,
                "description": text,
            }
            for name, kind, text in columns
        ],
        "version": "1.0.0",
        "database_uuid": identity("database"),
    }


def chart(dashboard: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a chart of a dashboard; its id holds the dashboard's, so two may have charts of one name."""
    kinds = {
        "number": "big_number_total",
        "bars": "echarts_timeseries_bar",
        "line": "echarts_timeseries_line",
        "rows": "table",
    }
    params: dict[str, Any] = {"viz_type": kinds[row["kind"]], "time_range": "No filter", "extra_form_data": {}, "adhoc_filters": []}
    if "where" in row:
        params["adhoc_filters"] = [{"clause": "WHERE", "expressionType": "SQL", "sqlExpression": row["where"]}]
    if row["kind"] == "number":
        params |= {"metric": row["metrics"][0], "y_axis_format": _format(row["metrics"][0]), "header_font_size": 0.4, "subtitle": ""}
    elif row["kind"] == "rows":
        params |= {
            "query_mode": "raw",
            "all_columns": row["columns"],
            "order_by_cols": [json.dumps([row["order"], False])],
            "row_limit": 50,
            "table_timestamp_format": "%d %b %Y",
            "server_pagination": False,
            "show_cell_bars": False,
            "column_config": _column_formats(row["columns"]),
        }
    else:
        by = [row["by"]] if "by" in row and "along" in row else []
        params |= {
            "metrics": row["metrics"],
            "groupby": by,
            "x_axis": row.get("along", row.get("by")),
            "time_grain_sqla": row.get("grain"),
            "row_limit": 1000,
            "stack": "Stack" if row["kind"] == "bars" and by else None,
            "show_legend": bool(by),
            "rich_tooltip": True,
            "truncateYAxis": row["kind"] == "line",
            "y_axis_bounds": [None, None],
            "y_axis_format": _format(row["metrics"][0]),
            "x_axis_time_format": "%d %b",
        }
        if "along" not in row:
            params |= {"orientation": "horizontal", "x_axis_sort": row["metrics"][0], "x_axis_sort_asc": True}
    return {
        "slice_name": row["title"],
        "viz_type": params["viz_type"],
        "params": params,
        "uuid": identity("chart", dashboard, row["title"]),
        "version": "1.0.0",
        "dataset_uuid": identity("dataset", row["mart"]),
    }


def position(board: dict[str, Any]) -> dict[str, Any]:
    """Return where each chart stands: rows of twelve columns, below a text that says what one sees."""
    places: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": board["title"]}},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": ["ROW-about"], "parents": ["ROOT_ID"]},
    }

    def put(name: str, kind: str, parents: list[str], children: list[str], meta: dict[str, Any]) -> None:
        places[name] = {"type": kind, "id": name, "children": children, "parents": parents, "meta": meta}

    above = ["ROOT_ID", "GRID_ID"]
    put("ROW-about", "ROW", above, ["MARKDOWN-about"], {"background": "BACKGROUND_TRANSPARENT"})
    put("MARKDOWN-about", "MARKDOWN", [*above, "ROW-about"], [], {"width": 12, "height": 9, "code": board["about"]})
    for number, charts in enumerate(board["rows"]):
        row = f"ROW-{number}"
        places["GRID_ID"]["children"].append(row)
        names = [f"CHART-{number}-{index}" for index in range(len(charts))]
        put(row, "ROW", above, names, {"background": "BACKGROUND_TRANSPARENT"})
        for name, one in zip(names, charts, strict=True):
            meta = {"width": one["width"], "height": one["height"], "sliceName": one["title"], "chartId": 0}
            put(name, "CHART", [*above, row], [], meta | {"uuid": identity("chart", board["title"], one["title"])})
    return places


def files(mart: Path) -> dict[str, Any]:
    """Return the files of the bundle by name.

    Raises:
        ConfigError: a chart asks for a metric or a column that is not there.
    """
    try:
        boards = yaml.safe_load((HERE / "dashboards.yml").read_text(encoding="utf-8"))["dashboards"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{HERE / 'dashboards.yml'} cannot be read as dashboards: {error}") from error
    homes, _ = semantic()
    uri = f"duckdb:///{mart.absolute()}"  # the link, which every publish moves
    found: dict[str, Any] = {
        "metadata.yaml": {"version": "1.0.0", "type": "Dashboard", "timestamp": EPOCH},
        "databases/Aftercast.yaml": {
            "database_name": "Aftercast",
            "sqlalchemy_uri": uri,
            "expose_in_sqllab": True,
            "allow_run_async": False,
            "allow_ctas": False,
            "allow_cvas": False,
            "allow_dml": False,
            "allow_file_upload": False,
            "extra": {"engine_params": {"connect_args": {"read_only": True}}, "allows_virtual_table_explore": True},
            "uuid": identity("database"),
            "version": "1.0.0",
        },
    }
    along: dict[str, str | None] = {}
    for board in boards:
        for one in (one for row in board["rows"] for one in row):
            along[one["mart"]] = along.get(one["mart"]) or one.get("along")
            wrong = [name for name in one.get("metrics", ()) if homes.get(name) != one["mart"]]
            if wrong:
                raise ConfigError(f"dashboards.yml: chart {one['title']!r} asks {one['mart']} for {wrong[0]!r}, which is not defined on it")
            found[f"charts/{identity('chart', board['title'], one['title'])}.yaml"] = chart(board["title"], one)
        found[f"dashboards/{board['slug']}.yaml"] = {
            "dashboard_title": board["title"],
            "description": board["about"],
            "slug": board["slug"],
            "published": True,
            "uuid": identity("dashboard", board["slug"]),
            "position": position(board),
            "metadata": {
                "color_scheme": "supersetColors",
                "refresh_frequency": 0,
                "native_filter_configuration": [],
                "label_colors": COLOURS,
            },
            "version": "1.0.0",
        }
    for table, time in along.items():
        found[f"datasets/Aftercast/{table}.yaml"] = described = dataset(mart, table, time)
        names = {column["column_name"] for column in described["columns"]}
        for board in boards:
            for one in (one for row in board["rows"] for one in row if one["mart"] == table):
                asked = {*one.get("columns", ()), *(one[key] for key in ("by", "along", "order") if key in one)}
                if missing := sorted(asked - names):
                    raise ConfigError(f"dashboards.yml: chart {one['title']!r} asks {table} for {missing[0]!r}, which is no column of it")
    return found


def write(mart: Path, bundle: Path) -> int:
    """Write the bundle; the same bytes for the same mart. Returns how many charts it has."""
    bundle.parent.mkdir(parents=True, exist_ok=True)
    content = files(mart)
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(content):
            target.writestr(zipfile.ZipInfo(f"aftercast/{name}"), yaml.safe_dump(content[name], sort_keys=False, allow_unicode=True))
    return sum(name.startswith("charts/") for name in content)


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]), Path(sys.argv[2]))
    except AftercastError as error:
        sys.exit(f"{type(error).__name__}: {error}")
