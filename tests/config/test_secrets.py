"""Addresses without their secrets: in values, in texts, across processes."""

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest

from na_ray.config import Experiment, from_dict, override, secrets, to_dict
from na_ray.config.yaml_file import to_yaml

PRESIGNED = "X-Amz-Credential=AKIAEXAMPLE%2F20260101&X-Amz-Signature=5f0c6b1e9d"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(secrets, "_known", {})
    monkeypatch.delenv(secrets.VARIABLE, raising=False)
    yield


@pytest.mark.parametrize(
    ("given", "told", "whole", "options"),
    [
        ("https://anna:pa55w0rd@host/c", "https://host/c", "https://anna:pa55w0rd@host/c", {}),
        ("https://anna:p@55w@host:8080/c", "https://host:8080/c", "https://anna:p@55w@host:8080/c", {}),
        ("https://token@host/c/", "https://host/c/", "https://token@host/c/", {}),
        (f"https://host/c?{PRESIGNED}", "https://host/c", f"https://host/c?{PRESIGNED}", {}),
        ("s3://AKIA:wJal/K7+D=@bucket/c", "s3://bucket/c", "s3://bucket/c", {"key": "AKIA", "secret": "wJal/K7+D="}),
        ("s3://AKIA:wJal%2FK7@bucket", "s3://bucket", "s3://bucket", {"key": "AKIA", "secret": "wJal/K7"}),
        ("ftp://anna:pa55w0rd@host/c", "ftp://host/c", "ftp://anna:pa55w0rd@host/c", {}),
        ("postgresql://u:pa55@h/db?password=x1y2", "postgresql://h/db", "postgresql://u:pa55@h/db?password=x1y2", {}),
    ],
)
def test_an_address_is_told_without_its_secret_and_opened_with_it(
    given: str, told: str, whole: str, options: dict[str, str]
) -> None:
    assert secrets.public(given) == told
    assert secrets.opened_by(told) == secrets.opened_by(given) == (whole, options)
    assert secrets.public(told) == told, "what was known stays known"
    assert secrets.opened_by(told) == (whole, options)


@pytest.mark.parametrize(
    "plain",
    [
        "captures/anna",
        "/data/a b/c?d@e",
        "s3://bucket/anna@home/what?.png",
        "s3://bucket/a:b@c",
        "https://host:8080/a@b/c",
        "sqlite:////data/mlflow.db?timeout=9",
        "memory://capture",
        "",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(plain: str) -> None:
    assert secrets.public(plain) == plain and type(secrets.public(plain)) is str
    assert secrets.opened_by(plain) == (plain, {})


def test_a_secret_serves_its_own_host_alone_and_the_nearest_folder() -> None:
    for given in ("https://host/a?sig=aaaa", "https://host/b?sig=bbbb"):
        secrets.public(given)
    assert secrets.opened_by("https://host/a/training/x.avi")[0] == "https://host/a/training/x.avi?sig=aaaa"
    assert secrets.opened_by("https://host/b/training")[0] == "https://host/b/training?sig=bbbb"
    for other in ("https://other/a", "http://host/a", "https://host.evil.org/a", "s3://host/a"):
        assert secrets.opened_by(other) == (other, {})


def test_the_environment_gives_what_the_command_line_must_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secrets.VARIABLE, "https://anna:pa55w0rd@host/c s3://KEYID:s3cr3t@bucket")
    assert secrets.opened_by("https://host/c/training")[0] == "https://anna:pa55w0rd@host/c/training"
    assert secrets.opened_by("s3://bucket/x") == ("s3://bucket/x", {"key": "KEYID", "secret": "s3cr3t"})
    assert secrets.hidden("https://anna:pa55w0rd@host: s3cr3t") == "https://host: ***"


def test_an_experiment_holds_none_and_takes_it_along() -> None:
    given = "https://anna:pa55w0rd@host/capture?sig=5f0c6b1e9d"
    knobs = {"nerf.encoder_weights": "https://w:w0rdw0rd@host2/r.pth", "texture.vgg_weights": "s3://K:s3cr3t@b/v.pth"}
    experiment = override(Experiment(capture=given), knobs)
    texts = [repr(experiment), json.dumps(to_dict(experiment)), to_yaml(experiment), str(experiment.capture)]
    assert not [t for t in texts for s in ("pa55w0rd", "5f0c6b", "w0rdw0rd", "s3cr3t", "anna") if s in t]
    # As Ray sends it to a worker: plain values, which become an experiment again there.
    sent = pickle.dumps(copy.deepcopy(to_dict(override(experiment, {"name": "other"}))))
    script = (
        "import pickle, sys; from na_ray.config import Experiment, from_dict, secrets\n"
        "experiment = from_dict(Experiment, pickle.loads(sys.stdin.buffer.read()))\n"
        "print(secrets.opened_by(experiment.capture + '/x')[0], secrets.opened_by(experiment.texture.vgg_weights)[1])"
    )
    arrived = subprocess.run([sys.executable, "-c", script], input=sent, capture_output=True, check=True).stdout
    opened = "https://anna:pa55w0rd@host/capture/x?sig=5f0c6b1e9d {'key': 'K', 'secret': 's3cr3t'}"
    assert arrived.decode().strip() == opened
    assert from_dict(Experiment, json.loads(json.dumps(to_dict(experiment)))) == experiment, "as a file gives it"


def test_texts_of_other_libraries_lose_them() -> None:
    secrets.public(f"https://anna:p%40ss w0rd@host/c?{PRESIGNED}".replace(" ", "%20"))
    text = f"403, message='no', url='https://anna:p%40ss%20w0rd@host/c?{PRESIGNED}' for p@ss w0rd, 5f0c6b1e9d"
    assert secrets.hidden(text) == "403, message='no', url='https://host/c' for ***, ***"
    # Also those that nobody told this process of.
    assert secrets.hidden("see postgresql://u:pw@h/db and http://h/x?token=abc, too") == (
        "see postgresql://h/db and http://h/x too"
    )
    assert secrets.hidden("nothing @ all? no: 50% of a@b") == "nothing @ all? no: 50% of a@b"
