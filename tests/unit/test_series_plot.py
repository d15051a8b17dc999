"""Pictures of series: they state what was found, keep what is missing missing, lose no spike, and say why there is nothing to see."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast import cli, histories, reporting, warehouse
from aftercast.detection import SCORES
from aftercast.entities import FLAG, NUMBER, TEXT, TEXTS, TIME
from aftercast.errors import AftercastError, ConfigError
from aftercast.landing import working
from aftercast.reporting import history as told
from aftercast.reporting.charts import MUTED
from aftercast.reporting.history import History
from aftercast.reporting.series_plot import picture, thinned
from aftercast.settings import PROJECT, Settings
from aftercast.window import Window

START = datetime(2026, 11, 2, tzinfo=UTC)
FIVE = timedelta(minutes=5)
SERIES = "error_ratio|environment=production|service=payments|region=eu"
FAULT = slice(168, 181)
DOCS = PROJECT / "docs"
TEMPLATES = Path(reporting.__file__).parent / "templates"


def at(bucket: int) -> datetime:
    return START + bucket * FIVE


def history(**changes: Any) -> History:
    """A day of five minute points with an hour's fault at 14:00, an incident beside it, and half an hour without data at 05:00."""
    n = 288
    expected = 0.006 + 0.003 * np.sin(2 * np.pi * np.arange(n) / n)
    actual = expected + 0.0005 * np.random.default_rng(3).normal(size=n)
    actual[FAULT] = 0.06
    actual[174] = 0.12
    points = pl.DataFrame(
        {
            "bucket_at": [at(bucket) for bucket in range(n)],
            "actual": actual,
            "expected": expected,
            "low": expected - 0.002,
            "high": expected + 0.002,
            "is_masked": [165 <= bucket < 187 for bucket in range(n)],
        }
    ).filter(~pl.col("bucket_at").is_between(at(60), at(65)))
    episode = {"started_at": at(168), "ended_at": at(181), "direction": "up", "hurts": True, "score": 0.93, "explained_by": None}
    incident = {"incident_id": "INC-7", "title": "Card payments fail", "started_at": at(170), "impact_end_at": at(182)}
    known = History(
        series_id=SERIES,
        window=Window(START, START + timedelta(days=1)),
        as_of=START + timedelta(days=1),
        points=points,
        episodes=pl.DataFrame([episode], schema_overrides={"explained_by": TEXT}),
        incidents=pl.DataFrame([incident]),
    )
    return replace(known, **changes)


def drawing(known: History, width: int = 1000) -> str:
    return str(picture(known, width=width).drawing)


def test_the_title_states_what_was_seen_and_what_was_expected() -> None:
    assert picture(history(), width=1000).finding == (
        "Payments error ratio in eu reached 12% where 0.22–0.62% was expected, Mon 2 Nov 14:00–15:05"
    )


def test_a_fall_is_called_a_fall() -> None:
    points = history().points.with_columns(pl.col("actual", "expected", "low", "high").map_batches(lambda values: 1 - values))
    points = points.with_columns(low="high", high="low")
    episodes = history().episodes.with_columns(direction=pl.lit("down"))
    known = history(series_id="conversion|journey=checkout|step=pay|region=eu|tier=gold", points=points, episodes=episodes)
    assert told.finding(told.checked(known)).startswith("Checkout pay conversion in eu, gold fell to 88% where 99.38–99.78% was expected")


def test_the_severest_episode_is_the_one_in_the_title() -> None:
    weaker = history().episodes.with_columns(started_at=pl.lit(at(20)), ended_at=pl.lit(at(24)), score=pl.lit(0.6))
    title = picture(history(episodes=pl.concat([weaker, history().episodes], how="vertical_relaxed")), width=1000).finding
    assert "14:00–15:05" in title


def test_what_the_calendar_explains_is_no_alarm() -> None:
    explained = history().episodes.with_columns(explained_by=pl.lit("Black Friday"), hurts=pl.lit(value=False))
    drawn = picture(history(episodes=explained), width=1000)
    assert "Black Friday explains" in drawn.finding
    assert "Black Friday" in str(drawn.drawing)
    assert "#b3261e" not in str(drawn.drawing)


def test_without_an_episode_the_title_says_how_many_points_lay_in_the_interval() -> None:
    quiet = history(points=history().points.filter(pl.col("bucket_at") < at(160)), episodes=history().episodes.clear())
    assert re.search(r"stayed as expected, 2 Nov: \d+% of points in the interval", picture(quiet, width=1000).finding)


def test_a_series_that_is_not_judged_says_why_and_is_drawn_without_a_model() -> None:
    bare = history().points.with_columns(pl.lit(None).alias(name) for name in ("expected", "low", "high"))
    drawn = picture(history(points=bare, episodes=history().episodes.clear()), width=1000)
    assert drawn.finding == "Payments error ratio in eu is not judged: not enough data, 1 of 7 days"
    assert ">measured</text>" in str(drawn.drawing)
    assert ">expected</text>" not in str(drawn.drawing)
    given_reason = picture(history(points=bare, reason="12 points on 3 days; a model needs more"), width=1000)
    assert given_reason.finding.endswith("is not judged: 12 points on 3 days; a model needs more")


@pytest.mark.parametrize("reason", ["", "first seen today"])
def test_no_data_is_said_and_not_drawn(reason: str) -> None:
    drawn = picture(history(points=history().points.clear(), reason=reason), width=1000)
    assert drawn.drawing is None
    assert drawn.finding.endswith(reason or "has no data, 2 Nov")


def test_gaps_stay_gaps() -> None:
    assert told.checked(history()).points["actual"].null_count() == 6
    lines = re.findall(rf'<path d="([^"]*)" stroke="{MUTED}"', drawing(history()))
    assert len(lines) == 2
    assert "6 points missing" in picture(history(), width=1000).caption


def test_a_lonely_point_between_gaps_is_still_seen() -> None:
    lonely = history(points=history().points.filter((pl.col("bucket_at") < at(160)) | (pl.col("bucket_at") == at(250))))
    assert len(re.findall(rf'<path [^>]*fill="{MUTED}"', drawing(lonely))) == 1


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=300), st.integers(1, 80))
def test_no_spike_is_lost_however_narrow_the_picture(values: list[float | None], most: int) -> None:
    n = len(values)
    columns = {"actual": values, **{name: [1.0] * n for name in ("expected", "low", "high")}, "is_masked": [False] * n}
    points = pl.DataFrame({"bucket_at": [at(bucket) for bucket in range(n)], **columns}, schema=told.POINTS)
    rows, step = thinned(points, most)
    assert rows.height <= most
    assert step == -(-n // rows.height) or rows.height == -(-n // step)
    assert rows["actual_high"].max() == points["actual"].max()
    assert rows["actual_low"].min() == points["actual"].min()
    assert rows["actual"].null_count() == sum(all(one is None for one in values[i : i + step]) for i in range(0, n, step))


def test_a_long_span_is_drawn_as_ranges_and_says_so() -> None:
    days = [history().points.with_columns(pl.col("bucket_at") + timedelta(days=day)) for day in range(28)]
    known = history(points=pl.concat(days), window=Window(START, START + timedelta(days=28)))
    drawn = picture(known, width=400)
    assert "range of 15 points" in drawn.caption
    assert len(str(drawn.drawing)) < 60_000


def test_a_picture_is_small_and_says_its_numbers() -> None:
    text = drawing(history())
    assert len(text) < 40_000
    assert "<title>Payments error ratio in eu reached 12%" in text
    assert "INC-7 Card payments fail" in text
    assert 'width="1000"' in text


def test_every_colour_follows_light_and_dark() -> None:
    mapped = set(re.findall(r'\.chart \[(?:fill|stroke)="(#[0-9a-f]{6})"\]', (TEMPLATES / "colours.css.j2").read_text()))
    explained = history().episodes.with_columns(started_at=pl.lit(at(20)), ended_at=pl.lit(at(30)), explained_by=pl.lit("Sale"))
    known = history(episodes=pl.concat([history().episodes, explained], how="vertical_relaxed"))
    css = (TEMPLATES / "colours.css.j2").read_text()
    for kind, colour in set(re.findall(r'(fill|stroke)="([^"]+)"', drawing(known))):
        assert colour in ("none", "transparent") or f'.chart [{kind}="{colour}"]' in css, (kind, colour)
    assert len(mapped) >= 6


def test_the_same_history_gives_the_same_drawing_whatever_the_order_of_its_rows() -> None:
    shuffled = history(points=history().points.sample(fraction=1, shuffle=True, seed=5))
    assert drawing(shuffled) == drawing(history())


def test_bad_points_are_missing_and_twins_are_averaged() -> None:
    odd = pl.DataFrame({"bucket_at": [at(0), at(0), at(1), at(2), at(3)], "actual": [1.0, 3.0, float("inf"), float("nan"), 5.0]})
    rest = [pl.lit(2.0).alias(name) for name in ("expected", "low", "high")]
    points = told.checked(history(points=odd.with_columns(rest))).points
    assert points["actual"].to_list() == [2.0, None, None, 5.0]


def test_a_lacking_column_and_a_time_without_zone_are_refused_by_name() -> None:
    with pytest.raises(AftercastError, match=r"payments.*lack expected"):
        picture(history(points=history().points.drop("expected")), width=500)
    naive = history().episodes.with_columns(pl.col("started_at").dt.replace_time_zone(None))
    with pytest.raises(AftercastError, match="'started_at' has no time zone"):
        picture(history(episodes=naive), width=500)


@pytest.mark.parametrize("values", [[5.0] * 40, [0.0] * 40, [-3.0, 1e9] * 20, [1e-9] * 40, [1.0]])
def test_odd_series_are_drawn(values: list[float]) -> None:
    points = pl.DataFrame({"bucket_at": [at(n) for n in range(len(values))], "actual": values, "expected": values})
    points = points.with_columns(low="expected", high="expected", is_masked=pl.lit(value=False))
    assert "<svg" in drawing(history(series_id="requests|service=x", points=points, episodes=history().episodes.clear()), 330)


def test_every_incident_has_its_bar_even_where_its_name_has_no_room() -> None:
    many = [{"incident_id": f"INC-{n}", "title": "x" * 60, "started_at": at(9 * n), "impact_end_at": at(9 * n + 5)} for n in range(30)]
    text = drawing(history(incidents=pl.DataFrame(many)))
    bars = re.findall(r'<path d="M[^"]*" fill="#1b1f27"', text)
    assert len(bars) == 30
    assert 3 <= len(re.findall("INC-", text)) < 30


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evil = '</title><script>alert(1)</script>" onload="x'
    known = history(series_id=f"errors|service={evil}", incidents=history().incidents.with_columns(incident_id=pl.lit(evil)))
    page = reporting.write_plot(evil, [known], tmp_path / "x.html").read_text()
    assert "<script>" not in page
    root = ElementTree.fromstring(reporting.write_plot(evil, [known], tmp_path / "x.svg").read_text())
    assert "script" not in {element.tag.split("}")[-1] for element in root.iter()}


def test_units_are_written_as_people_read_them() -> None:
    latency = told.Unit.of("latency_p95_ms|service=x", history().points)
    share = told.Unit.of(SERIES, history().points)
    count = told.Unit.of("requests|service=x", pl.DataFrame({"actual": [0.0, 1.0], "expected": [1.0, 0.0]}))
    assert [latency.write(value) for value in (0.42, 340.2, 3_041.0, 12_345.0)] == ["0.42 ms", "340 ms", "3,040 ms", "12.3k ms"]
    assert [share.write(value) for value in (0.0, 0.0042, 0.12, 0.995, 1.0)] == ["0%", "0.42%", "12%", "99.50%", "100%"]
    assert latency.write_range(324, 411) == "324–411 ms"
    assert count.write(1.0) == "1"


def test_files_of_every_kind_load_nothing(tmp_path: Path) -> None:
    page = reporting.write_plot("INC-7", [history()], tmp_path / "plots" / "a.html").read_text()
    assert not re.search(r"<(script|img|link|iframe)|url\(|@import|https?://", page)
    drawn = ElementTree.fromstring(reporting.write_plot("INC-7", [history(), history()], tmp_path / "a.svg").read_text())
    assert len(drawn.findall("{http://www.w3.org/2000/svg}svg")) == 2
    assert reporting.write_plot("INC-7", [history()], tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"a\.pdf.*\.html, \.svg or \.png"):
        reporting.write_plot("INC-7", [history()], tmp_path / "a.pdf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "plots"]


def test_the_figures_of_the_detection_page_are_there_small_and_drawn() -> None:
    page = (DOCS / "detection.md").read_text(encoding="utf-8")
    named = re.findall(r"!\[[^\]]{20,}\]\((images/detection_\w+\.svg)\)", page)
    assert len(named) == 5
    for name in named:
        text = (DOCS / name).read_text(encoding="utf-8")
        assert len(text.encode()) < 120_000, name
        assert "<text" in text
        ElementTree.fromstring(text)


INCIDENTS = {
    **dict.fromkeys(("incident_id", "title", "environment", "service_origin"), TEXT),
    **dict.fromkeys(("services_impacted", "journeys"), TEXTS),
    **dict.fromkeys(("started_at", "impact_end_at", "as_of"), TIME),
}
ANOMALIES = {
    **dict.fromkeys(("anomaly_id", "series_id", "incident_id", "direction", "explained_by"), TEXT),
    "hurts": FLAG,
    "score": NUMBER,
    **dict.fromkeys(("started_at", "ended_at", "trained_until"), TIME),
}


@pytest.fixture
def published(home: Path) -> Settings:
    """A mart with one series, its episode and two incidents, and the scores behind it."""
    settings = Settings.from_environment()
    end = START + timedelta(days=1)
    alarm = {"anomaly_id": "anomaly-1", "series_id": SERIES, "incident_id": "INC-7", "direction": "up", "hurts": True}
    alarm |= {"score": 0.93, "started_at": at(168), "ended_at": at(181), "trained_until": START}
    incident = {"incident_id": "INC-7", "title": "Card payments fail", "environment": "production", "service_origin": "payments"}
    incident |= {"started_at": at(170), "impact_end_at": at(182), "as_of": end}
    tables = {
        "mart_run": pl.DataFrame({"as_of": [end]}),
        "mart_anomalies": pl.DataFrame([alarm], schema=ANOMALIES),
        "mart_incidents": pl.DataFrame([incident, incident | {"incident_id": "INC-8", "service_origin": "search"}], schema=INCIDENTS),
        "mart_signal_quality": pl.DataFrame(
            {
                "source_kind": "series",
                "signal_id": [SERIES, "requests|service=new"],
                "status": ["scored", "learning"],
                "reason": ["", "new"],
            }
        ),
    }
    settings.mart.parent.mkdir(parents=True)
    with warehouse.connect(settings.mart, read_only=False) as connection:
        connection.execute("set timezone = 'UTC'; create schema marts")
        for name, frame in tables.items():
            connection.register("frame", frame.to_arrow())
            connection.execute(f"create table marts.{name} as select * from frame")
    points = told.checked(history()).points
    row = {
        "series_id": SERIES,
        "signal": "error_ratio",
        "day_at": START,
        "grain_minutes": 5,
        "non_negative": True,
        "share": True,
        "value": points["actual"].to_list(),
        "expected": points["expected"].to_list(),
        "scale": [0.01] * points.height,
        "is_masked": points["is_masked"].to_list(),
    }
    scores = pl.DataFrame([row], schema={name: SCORES[name] for name in row})
    working.keep_scores(settings, "code", working.Chunk(0, 2), scores, [START])
    return settings


def test_kept_scores_become_points_within_what_values_can_be(published: Settings) -> None:
    found = histories.series_history(published, SERIES, history().window)
    assert found.points["bucket_at"].to_list() == [at(bucket) for bucket in range(288)]
    assert found.points["actual"].null_count() == 6
    assert found.points["low"].min() == 0
    assert found.points["high"][0] == pytest.approx(0.006 + 1.96 * 0.01)
    assert found.points["is_masked"].sum() == 22
    assert found.episodes["score"].to_list() == [0.93]
    assert dict(found.incidents.select("incident_id", "concerns").rows()) == {"INC-7": True, "INC-8": False}


@pytest.mark.parametrize("name", [SERIES, "anomaly-1", "INC-7"])
def test_a_series_an_anomaly_and_an_incident_are_drawn_by_their_id(published: Settings, name: str) -> None:
    cli.main(["plot", name])
    (file,) = (published.home / "plots").glob("*.html")
    assert "Payments error ratio in eu reached 12%" in file.read_text()


def test_the_span_and_the_file_can_be_chosen(published: Settings, tmp_path: Path) -> None:
    file = histories.plot(published, SERIES, "2026-11-02T01:00Z", "2026-11-02T04:00Z", tmp_path / "quiet.svg")
    assert "stayed as expected" in file.read_text()


def test_an_unknown_id_lists_the_nearest(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["plot", "payments"])
    assert SERIES in capsys.readouterr().err.replace("\n", "")
    with pytest.raises(ConfigError, match="INC-7"):
        histories.plot(published, "INC-9")
    with pytest.raises(ConfigError, match="no watched series shows an episode that hurts in incident INC-8"):
        histories.plot(published, "INC-8")


def test_a_series_without_scores_says_why(published: Settings) -> None:
    page = histories.plot(published, "requests|service=new").read_text()
    assert "is not judged: new" in page
    assert "<svg" not in page


def test_without_an_id_the_most_alarming_series_are_listed(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    listed = histories.most_alarming(published)
    assert listed.select("series_id", "episodes", "severest").rows() == [(SERIES, 1, 0.93)]
    cli.main(["plot"])
    assert "payments" in capsys.readouterr().out


def test_a_picture_of_an_afternoon_names_its_day() -> None:
    known = history(window=Window(at(150), at(200)))
    assert ">2 Nov 1" in drawing(known)
