"""What the runs amount to: rows of hosts, peers, TLS and workers; and whether answers under load were right."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.config.shape import ConfigShape
from bench import answers, behind_envoy, beside, direct, load, profile, rows
from bench.answers import WrongAnswer
from bench.peers import Peer
from bench.programs import AuthzGrpc, AuthzHttp, bench_config, counted, foreign_config
from bench.workload import CERTIFICATE, KEY, Description, Workload, workload
from tests.proxies.harness import EXAMPLES

SEEN: dict[str, Any] = {"requests": 1000, "seconds": 2.0, "refused": 100, "broken": 0, "p50": 1.5, "p99": 4.0}
HTTP_PEER = Peer(name="other", door="http", host="127.0.0.2", port=8000, prefix="/check")
GRPC_PEER = Peer(name="another", door="grpc", host="::1", port=9000)


@pytest.fixture(scope="module")
def small() -> Workload:
    return workload(dataclasses.replace(Description.read(), requests=60))


def sample(cpu: float, *, throughput: float = 1000, p99: float = 1, memory: float = 50) -> behind_envoy.Sample:
    return behind_envoy.Sample(cpu=cpu, throughput=throughput, p50=1, p99=p99, memory=memory, told=40)


def run(**changed: behind_envoy.Sample) -> behind_envoy.Run:
    """Every contender alike, but those named (with `_` for each other sign of a name)."""
    keys = {name: re.sub(r"\W", "_", name) for name in behind_envoy.contenders(Path())}
    samples = {name: changed.pop(key, sample(20)) for name, key in keys.items()}
    return behind_envoy.Run(samples=samples | changed, engine=40)


def find(found: list[rows.Row], metric: str, name: str) -> rows.Row:
    return next(row for row in found if row.metric == metric and name in (row.reference_name or ""))


# --- hosts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", behind_envoy.HOSTS, ids=lambda host: host.ours)
@pytest.mark.parametrize(("ours", "met"), [(120, True), (121, False)])
def test_each_host_may_take_its_bare_handlers_time_and_two_and_a_half_engine_calls(host, ours, met):
    made = run(**{host.ours.replace(" ", "_"): sample(ours)})
    row = find(beside.rows([made] * 3), f"{host.ours}: CPU per request", "by itself")
    assert (row.reference, row.bar, row.met) == (120, "<= 1", met)
    assert row.reference_name == f"{host.bare} + 2.5 × engine by itself"


def test_every_host_has_a_bare_handler_of_its_own_among_the_contenders():
    names = list(behind_envoy.contenders(Path()))
    assert len({host.bare for host in behind_envoy.HOSTS}) == len(behind_envoy.HOSTS) == 4
    assert {name for host in behind_envoy.HOSTS for name in (host.ours, host.bare)} <= set(names)


def test_throughput_and_latency_are_judged_against_the_null_authorizer_for_http():
    found = beside.rows([run(authz_http=sample(100, throughput=399, p99=4.1))])
    assert find(found, "authz http: throughput", "nginx").met is False
    assert find(found, "authz http: p99", "nginx").met is False
    assert find(found, "authz grpc: throughput", "nginx").met is None
    assert find(found, "authz http on h2corn: throughput", "nginx").met is None
    assert find(found, "authz http: throughput", "aiohttp").met is None


@pytest.mark.parametrize(
    ("throughput", "bare", "null_met", "bare_met"),
    [(350, 200, True, True), (349, 200, False, True), (350, 220, True, False)],
)
def test_the_best_grpc_host_is_judged_by_throughput(throughput, bare, null_met, bare_met):
    made = run(
        authz_grpc=sample(100, throughput=100),
        authz_grpc_on_h2corn=sample(100, throughput=throughput),
        bare_grpc_aio=sample(50, throughput=bare),
    )
    found = beside.rows([made])
    metric = "best gRPC host (authz grpc on h2corn): throughput"
    assert (find(found, metric, "nginx").bar, find(found, metric, "nginx").met) == (">= 0.35", null_met)
    assert (find(found, metric, "grpc.aio").bar, find(found, metric, "grpc.aio").met) == (">= 1.6", bare_met)


def test_a_chosen_host_is_a_setting_that_authz_has_and_the_default_is_not_spelled_out(tmp_path):
    assert "hosts" not in AuthzHttp(tmp_path, tmp_path).configuration()
    for kind, door in ((AuthzHttp, "http"), (AuthzGrpc, "grpc")):
        made = kind(tmp_path, tmp_path, host="h2corn").configuration()
        assert getattr(ConfigShape.model_validate(made).hosts, door) == "h2corn"


def test_workers_and_tls_are_asked_for_only_where_they_are_measured(tmp_path):
    assert "--workers" not in AuthzHttp(tmp_path, tmp_path).command()
    server = AuthzHttp(tmp_path, tmp_path, workers=2, tls=True)
    assert server.command()[-2:] == ["--workers", "2"]
    plain, behind = ConfigShape.model_validate(server.configuration()).listeners.http
    assert plain.tls is None
    assert behind.tls is not None
    assert behind.address.port == server.tls_port


# --- peers -------------------------------------------------------------------------------------------------


def test_a_peer_stands_beside_the_null_authorizer_and_ours_of_the_same_door_beside_the_peer():
    found = beside.peer_rows([run(other=sample(60, throughput=500))], [HTTP_PEER])
    assert {row.bench for row in found} == {"peers"}
    assert all(row.bar is None for row in found)
    assert find(found, "other: throughput", "null nginx").ratio == 0.5
    assert find(found, "authz http: throughput", "other").ratio == 2
    assert find(found, "authz http on h2corn: CPU per request", "other").ratio == pytest.approx(1 / 3, rel=0.01)
    assert not any("grpc" in row.metric for row in found)


def test_processor_time_and_memory_of_an_unknown_process_are_no_rows():
    found = beside.peer_rows([run(other=sample(math.nan, memory=math.nan))], [HTTP_PEER])
    assert {row.metric.partition(": ")[2] for row in found} == {"throughput", "p50", "p99"}


def test_beside_peers_only_those_are_measured_that_they_are_compared_with():
    assert behind_envoy.beside([GRPC_PEER]) == {"null nginx", "authz grpc", "authz grpc on h2corn"}
    assert behind_envoy.beside([GRPC_PEER]) <= set(behind_envoy.contenders(Path()))


def ext_authz(config: Any) -> Any:
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["http_filters"][0]["typed_config"]


@pytest.mark.parametrize("peer", [HTTP_PEER, GRPC_PEER], ids=lambda peer: peer.door)
def test_envoy_asks_a_peer_at_its_address_without_what_is_for_authz_alone(peer):
    config = yaml.safe_load((EXAMPLES / f"{peer.door}-tcp.yaml").read_text(encoding="utf-8"))
    bench_config(config)
    foreign_config(config, peer)
    text = json.dumps(config)
    assert f'"socket_address": {{"address": "{peer.host}", "port_value": {peer.port}}}' in text
    settings = ext_authz(config)
    assert settings["failure_mode_allow"] is False
    assert "encode_raw_headers" not in settings
    assert "decoder_header_mutation_rules" not in settings
    assert settings.get("http_service", {}).get("path_prefix", "") == peer.prefix


def test_a_peer_without_prefix_is_asked_at_the_path_itself():
    config = yaml.safe_load((EXAMPLES / "http-tcp.yaml").read_text(encoding="utf-8"))
    bench_config(config)
    foreign_config(config, dataclasses.replace(HTTP_PEER, prefix=""))
    assert "path_prefix" not in ext_authz(config)["http_service"]


# --- TLS and workers ---------------------------------------------------------------------------------------


def pair(first: float, second: float, what: str) -> direct.Pair:
    usual = {"cpu": 100.0, "throughput": 1000.0, "generator": 0.2}
    return direct.Direct(**usual | {what: first}), direct.Direct(**usual | {what: second})


@pytest.mark.parametrize(("behind", "met"), [(115, True), (116, False)])
def test_tls_may_take_fifteen_per_cent_more_processor_time(behind, met):
    found = direct.tls_rows([{"authz http": pair(100, behind, "cpu")}])
    row = find(found, "authz http: CPU per request with TLS", "without")
    assert (row.ours, row.reference, row.bar, row.met) == (behind, 100, "<= 1.15", met)


@pytest.mark.parametrize(("two", "met"), [(1700, True), (1699, False)])
def test_two_workers_must_answer_one_and_seven_tenths_as_much(two, met):
    found = direct.worker_rows([{"authz http": pair(1000, two, "throughput")}])
    row = find(found, "authz http, two workers: throughput", "one")
    assert (row.bar, row.met) == (">= 1.7", met)
    assert find(found, "authz http, two workers: cores that the load generator took", "one").ours == 0.2


def test_the_certificate_is_one_that_a_server_can_show(tmp_path):
    direct.certify(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / CERTIFICATE, tmp_path / KEY)
    assert (tmp_path / KEY).stat().st_mode & 0o077 == 0


def test_the_door_is_asked_directly_as_envoy_asks_it(small):
    first = direct.requests(small)[0].decode()
    ask = small.asks[0]
    assert first.startswith(f"{ask.method} /envoy{ask.path} HTTP/1.1\r\n")
    assert f"Bearer {small.tokens[ask.user]}\r\n" in first
    assert "x-forwarded-for: 127.0.0.1\r\n" in first
    assert first.endswith("\r\n\r\n")


# --- answers under load ------------------------------------------------------------------------------------


def seen(**changes: Any) -> load.Load:
    return load.Load(**{**SEEN, **changes})


def test_answers_under_load_must_be_refused_as_often_as_the_round_says(small):
    answers.check_load(seen(requests=10_000, refused=1000), small, decides=True)
    answers.check_load(seen(refused=0), small, decides=False)
    for wrong, decides in (
        (seen(requests=10_000, refused=10_000), True),
        (seen(requests=10_000, refused=0), True),
        (seen(refused=1), False),
    ):
        with pytest.raises(WrongAnswer):
            answers.check_load(wrong, small, decides=decides)
    with pytest.raises(WrongAnswer, match="lost"):
        answers.check_load(seen(broken=1), small, decides=True)


def test_by_its_own_metrics_every_request_was_decided_and_recorded():
    before = {"allowed": 5}
    answers.check_metrics({"allowed": 905, "denied": 100, "failed": 0}, before, 0, seen())
    for outcomes, dropped, said in (
        ({"allowed": 905, "denied": 99}, 0, "metrics say"),
        ({"allowed": 905, "denied": 99, "failed": 1}, 0, "metrics say"),
        ({"allowed": 905, "denied": 100}, 1, "dropped"),
    ):
        with pytest.raises(WrongAnswer, match=said):
            answers.check_metrics(outcomes, before, dropped, seen())


def test_decisions_and_drops_are_read_from_the_metrics():
    text = (
        "# TYPE authz_decisions_total counter\n"
        'authz_decisions_total{door="envoy_http",outcome="allowed",route="a",reason="allowed"} 7.0\n'
        'authz_decisions_total{door="envoy_http",outcome="allowed",route="b",reason="allowed"} 2.0\n'
        'authz_decisions_total{door="envoy_http",outcome="denied",route="a",reason="policy_forbid"} 1.0\n'
        'authz_records_dropped_total{reason="queue_full"} 3.0\n'
    )
    assert counted(text).outcomes == {"allowed": 9, "denied": 1}
    assert counted(text).dropped == 3


@pytest.mark.parametrize("example", ["http-tcp.yaml", "grpc-tcp.yaml"])
def test_the_examples_envoy_answers_itself_and_keeps_no_access_log(example):
    config = yaml.safe_load((EXAMPLES / example).read_text(encoding="utf-8"))
    bench_config(config)
    text = json.dumps(config)
    assert "access_log" not in text
    assert '"direct_response": {"status": 200}' in text
    assert "ext_authz" in text


# --- profile -----------------------------------------------------------------------------------------------


def test_stacks_count_for_the_thread_that_runs_the_loop():
    found = profile.from_stacks(
        ["thread (0x1): MainThread;main;work 3", "thread (0x1): MainThread;main 1", "thread (0x2): w;wait 9"]
    )
    assert found.own == {"work": 0.75, "main": 0.25}
    assert found.whole == {"work": 0.75, "main": 1.0}
    assert "75.0%  work" in profile.told(found, 1)


def test_a_loop_that_waits_takes_no_time():
    stack = "thread (0x1): MainThread;run_forever (loop.c:1);"
    found = profile.from_stacks([f"{stack}epoll_pwait (libc.so.6) 90", f"{stack}work 10"])
    assert found.own == {"work": 1.0}


def test_the_profile_tells_what_every_thread_takes_dearest_first():
    found = profile.Profile(source="s", own={}, whole={}, threads={"tokio-rt": 20.0, "python": 100.0})
    text = profile.told(found, 1)
    assert "by thread, 120.0 µs" in text
    assert text.index("python") < text.index("tokio-rt")
