"""A narrative really goes through Airflow's common AI provider, in an environment that has it, to a server that speaks as vendors' do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from aftercast.settings import PROJECT
from tests.answering import Answer, Asked, serve
from tests.integration import services
from tests.unit import landing_fixture
from tests.unit.test_narrative import DOCUMENT, TRUE

SCRIPT = """
import sys
from pathlib import Path
from aftercast.acting import narrating
from aftercast.settings import Settings
text = narrating.narrated(Settings.from_environment(), "INC-1", Path(sys.argv[1]).read_text())
Path(sys.argv[2]).write_text(text)
"""


def says(text: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "small", "choices": [choice], "usage": usage}


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with the extra `narrative`, below the project."""
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": ".venv-narrative"}
    uv = PROJECT / ".tools" / "uv" / "bin" / "uv"
    command = [str(uv), "sync", "--frozen", "--quiet", "--no-dev", "--extra", "narrative"]
    try:
        made = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=600)
    except OSError as error:
        services.unavailable(f"the extra `narrative` cannot be installed: {error}")
    if made.returncode:
        services.unavailable(f"the extra `narrative` cannot be installed: {made.stderr[-300:]}")
    return PROJECT / ".venv-narrative" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.parametrize("answer", [says(f"{TRUE} It was caused by Cardway [E2]."), None])
def test_the_provider_asks_with_the_key_of_the_connection_and_sends_the_draft(
    python: Path, tmp_path: Path, answer: dict[str, object] | None
):
    settings = landing_fixture.deployment(tmp_path)
    (settings.config / "postmortems.yml").write_text("narrative: {connection: llm, timeout_seconds: 20}\n", encoding="utf-8")
    (tmp_path / "draft.md").write_text(DOCUMENT, encoding="utf-8")

    def rule(_: Asked) -> Answer:
        return Answer(answer) if answer else Answer({"error": {"message": "no such model"}}, status=404)

    with serve(rule) as server:
        connection = {"conn_type": "pydanticai", "host": f"{server.url}/v1", "password": "a-key", "extra": {"model": "openai-chat:small"}}
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AFTERCAST"))}
        environment |= {
            "AFTERCAST_HOME": str(settings.home),
            "AFTERCAST_CONFIG": str(settings.config),
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW_CONN_LLM": json.dumps(connection),
        }
        done = subprocess.run(
            [str(python), "-c", SCRIPT, str(tmp_path / "draft.md"), str(tmp_path / "told.md")],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "a-key" not in done.stdout + done.stderr
    (asked,) = [one for one in server.asked if one.path.endswith("/chat/completions")][:1]
    assert asked.headers["authorization"] == "Bearer a-key"
    assert "customers were hit for 55 min [E1]" in json.dumps(asked.body, ensure_ascii=False)
    assert "Never say that something caused" in json.dumps(asked.body)
    told = (tmp_path / "told.md").read_text(encoding="utf-8")
    if answer:
        assert TRUE in told
        assert "caused by" not in told
    else:
        assert told == DOCUMENT
        assert "INC-1 is drafted without a narrative" in done.stdout + done.stderr
