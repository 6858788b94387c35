"""Settings: precedence, and messages that name the place."""

import json
import re
from pathlib import Path

import pytest

from common.errors import SettingsError
from common.settings_load import find_project_dir, load_settings, load_with_origins

SECRET = "hunter2hunter2"


def write(folder: Path, text: str) -> Path:
    (folder / "sluice.toml").write_text(text, encoding="utf-8")
    return folder


def write_record(data_dir: Path, addresses: dict[str, str]) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "stack.json").write_text(json.dumps({"addresses": addresses}), encoding="utf-8")


def test_environment_wins_over_file_over_stack_over_default(tmp_path: Path) -> None:
    write(tmp_path, '[kafka]\nbootstrap_servers = "file:1"\nusername = "file"\n')
    addresses = {"kafka.bootstrap_servers": "stack:1", "temporal.address": "stack:2"}
    write_record(tmp_path / ".sluice", addresses)
    loaded = load_with_origins(tmp_path, {"SLUICE_KAFKA__BOOTSTRAP_SERVERS": "env:1"})
    assert loaded.settings.kafka.bootstrap_servers == "env:1"
    assert loaded.settings.kafka.username == "file"
    assert loaded.settings.temporal.address == "stack:2"
    assert loaded.settings.temporal.namespace == "default"
    assert loaded.origins == {
        ("kafka", "bootstrap_servers"): "SLUICE_KAFKA__BOOTSTRAP_SERVERS",
        ("kafka", "username"): "sluice.toml:3",
        ("temporal", "address"): "stack.json",
    }


def test_stack_record_is_read_from_the_data_dir_in_force(tmp_path: Path) -> None:
    write_record(tmp_path / "elsewhere", {"clickhouse.url": "http://127.0.0.1:1"})
    write(tmp_path, 'data_dir = "elsewhere"\n')
    assert load_settings(tmp_path, {}).clickhouse.url == "http://127.0.0.1:1"
    assert load_settings(tmp_path, {"SLUICE_DATA_DIR": "none"}).clickhouse.url is None


def test_stack_record_of_a_newer_release_may_name_unknown_settings(tmp_path: Path) -> None:
    write_record(tmp_path / ".sluice", {"redis.url": "redis://h", "temporal": "x"})
    assert load_settings(tmp_path, {}).temporal.address is None


def test_broken_stack_record_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / ".sluice").mkdir()
    (tmp_path / ".sluice" / "stack.json").write_text("{")
    with pytest.raises(SettingsError, match=r"stack record `.*stack\.json`: expected"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[worker]\n\nproceses = 3\n", r"sluice\.toml:3: `worker\.proceses` is no .*`processes`\?"),
        ("[wroker]\nprocesses = 3\n", r"sluice\.toml:2: `wroker` is no setting.*`worker`\?"),
        ('[worker]\nprocesses = "3"\n', r":2: `worker\.processes` must be a whole number.*'3'"),
        ("[worker]\nprocesses = 0\n", r"must be a whole number from 1, got 0"),
        ("[stack]\nkafka_port = 70000\n", r"must be a whole number from 1 to 65535, got 70000"),
        ('[log]\nlevel = "loud"\n', r"must be one of DEBUG, INFO, WARNING, ERROR, got 'loud'"),
        ("kafka = 3\n", r"sluice\.toml:1: `kafka` is a section"),
        ("[kafka.username]\nname = 1\n", r"`kafka\.username` must be text, got a section"),
        ("data_dir = 3\n", r"`data_dir` must be text, got 3"),
        ('project_dir = "x"\n', r"`project_dir` is no setting"),
        ('[connections.shop]\nkind = "postgres"\n', r":2: connection `shop` needs `dsn`"),
        (
            '[connections.shop]\nkind = "x"\ndsn = "y"\n',
            r"`connections\.shop\.kind` must be one of",
        ),
        ("[connections]\nshop = 1\n", r"`connections\.shop` is a section"),
        ("x = [", r"sluice\.toml: expected a readable TOML file"),
        ('[kafka]\npassword = "${NOPE}"\n', r":2: `kafka\.password` needs .* `NOPE`, which is not"),
    ],
)
def test_wrong_file_is_refused_with_place_and_expectation(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(write(tmp_path, text), {})


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SLUICE_KAFKA__BOOTSTRAPSERVERS", "x", r"^SLUICE_KAFKA__B.*did you mean `bootstrap_serv"),
        ("SLUICE_WORKER__PROCESSES", "many", r"must be a whole number from 1, got 'many'"),
        ("SLUICE_KAFKA", "x", r"`kafka` is a section"),
        ("SLUICE_TEMPORAL__TLS", "perhaps", r"must be true or false, got 'perhaps'"),
    ],
)
def test_wrong_variable_is_refused(tmp_path: Path, variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(tmp_path, {variable: value})


def test_text_of_variables_is_parsed_by_type(tmp_path: Path) -> None:
    environment = {
        "SLUICE_WORKER__PROCESSES": "3",
        "SLUICE_WORKER__GRACEFUL_STOP_S": "1.5",
        "SLUICE_TEMPORAL__TLS": "true",
        "SLUICE_LOG__LEVEL": "debug",
        "SLUICE_CONNECTIONS__SHOP__KIND": "postgres",
        "SLUICE_CONNECTIONS__SHOP__DSN": "postgresql://h",
        "SLUICE_KAFKA__USERNAME": "",
        "SLUICE_TEST_ANYTHING": "is no setting",
        "SLUICE_STACK_ID": "neither",
    }
    settings = load_settings(tmp_path, environment)
    assert (settings.worker.processes, settings.worker.graceful_stop_s) == (3, 1.5)
    assert (settings.temporal.tls, settings.log.level) == (True, "DEBUG")
    assert settings.connections["shop"].dsn.get_secret_value() == "postgresql://h"
    assert settings.kafka.username is None


def test_secrets_never_print(tmp_path: Path) -> None:
    write(tmp_path, '[postgres]\ndsn = "postgresql://u:${PW}@h/d"\n[kafka]\npassword = "${PW}"\n')
    settings = load_settings(tmp_path, {"PW": SECRET})
    assert settings.postgres.dsn is not None
    assert SECRET in settings.postgres.dsn.get_secret_value()
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert SECRET not in text


def test_message_about_a_wrong_secret_does_not_show_it(tmp_path: Path) -> None:
    write(tmp_path, "[kafka]\npassword = 8675309\n")
    with pytest.raises(SettingsError, match="must be text") as caught:
        load_settings(tmp_path, {})
    assert "8675309" not in str(caught.value)


def test_project_is_the_nearest_folder_with_a_mark(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_project_dir(inner) == inner.resolve()
    (tmp_path / ".sluice").mkdir()
    assert find_project_dir(inner) == tmp_path.resolve()
    write(tmp_path / "a", "")
    assert find_project_dir(inner) == (tmp_path / "a").resolve()


def test_shipped_example_sets_nothing_and_its_lines_are_right_when_uncommented(
    tmp_path: Path,
) -> None:
    text = (Path(__file__).parents[2] / "sluice.toml").read_text(encoding="utf-8")
    assert load_with_origins(write(tmp_path, text), {}).origins == {}
    lines = re.sub(r"^# (?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE)
    names = re.findall(r"\$\{(\w+)\}", lines)
    origins = load_with_origins(write(tmp_path, lines), dict.fromkeys(names, "x")).origins
    assert len(origins) > 30
