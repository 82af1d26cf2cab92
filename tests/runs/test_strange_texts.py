"""Settings, facts and tables of a folder that a stranger wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyro_vae.files.texts import printable
from pyro_vae.runs.card import MAX_CONFIG
from pyro_vae.runs.trust import read_config
from tests.runs.folder import call


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: &a [1]\nguide: *a\n", "an anchor or an alias"),
        ("epochs: &a 3\n", "an anchor or an alias"),
        ("config: other.yaml\n", "config: names another file of settings"),
        ("a: " + "[" * 3000, "cannot be read as YAML"),
        ("a: " + "[" * 40 + "]" * 40, "more than 30 levels"),
        ("[1, 2]", "got a list, expected settings by name"),
        ("", "got a NoneType"),
        ("1: 2", "expected the name of a setting"),
        ("__path__: x", "expected the name of a setting"),
        ("data: !!python/object/apply:os.system [touch was_run]", "cannot be read as YAML"),
        ("data: !!binary aGVsbG8=", "got a bytes"),
        ("model: {class_path: [os.system]}", "expected the name of a class"),
        ("model: {class_path: Nothing}", "got 'Nothing', expected a class of pyro_vae"),
        ('data: "\\e[31mred"', "without control characters"),
        ("x" * (MAX_CONFIG + 1), "expected at most"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
    ],
)
def test_settings_that_are_refused(
    text: str | bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("config.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"config\.yaml") as error:
        read_config(path)
    assert told in str(error.value) and str(error.value).isprintable()
    assert not Path("was_run").exists()


def test_settings_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: faces.old.npz\nbeta: 1e-3\noptimizer: {class_path: SGD, init_args:"
        " {lr: 1.0e-08}}\nvalid: null\n"
    )
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-8}}
    assert read_config(path) == {
        "data": "faces.old.npz",
        "beta": 1e-3,
        "optimizer": optimizer,
        "valid": None,
    }


def test_a_file_s_text_does_not_drive_the_terminal(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\x9b31m"
    for name in ("data.json", "versions.json"):
        facts = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(facts | {"name": evil, evil: 1}))
    for name in ("evidence.json", "diagnosis.json"):
        (run / name).write_text(
            json.dumps(
                {"guides": {"a": {"verdict": evil}}, "settings": {"method": evil}, "x": "\ud800"}
            )
        )
    assert call("info run") == 0
    (run / "run.json").write_text(json.dumps({"id": evil}))
    assert call("info run") == 2
    shown = "".join(capsys.readouterr())
    assert "\\x1b[2J" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_printable() -> None:
    assert printable("a\r\n\x1b[0m\x9b\u202e\ud800é") == "a\\r\\n\\x1b[0m\\x9b\\u202e\\ud800é"


@pytest.mark.parametrize("name", ["data.json", "versions.json", "evidence.json"])
@pytest.mark.parametrize(
    "content", [b"[" * 10**5, b"[1]", b"\xff", b"", b"1" * 10**4, b"\x00", b'{"shape": [0]}']
)
def test_files_that_are_no_facts(
    name: str, content: bytes, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / name).write_bytes(content)
    assert call("info run") == (0 if content.startswith(b"{") and name != "data.json" else 2)
    assert capsys.readouterr().err.count("\n") <= 1


@pytest.mark.parametrize(
    "shape", [[1, -8, 8], [1, 8, "8"], "188", [10**9, 10**9], None, [True, 8, 8], [1] * 99]
)
def test_shapes_that_are_none(shape: Any, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(facts | {"shape": shape}))
    assert call("sample run") == 2
    assert "data.json: got the shape" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [b"\x00", b'epoch\n"' + b"a" * 2 * 10**5, b"epoch,a\n1\n", b"epoch\nx\n", b"\xff\n\xff", b""],
)
def test_tables_that_are_torn(
    content: bytes, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("units.csv", "metrics.csv"):
        (run / name).write_bytes(content)
        assert call("info run") == 2
        told = capsys.readouterr().err
        assert name in told and told.count("\n") == 1
