"""The embedded broker: Apache Kafka in KRaft mode, one node that is broker and controller."""

import os
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

from devstack.java import find_java
from devstack.kafka_jars import class_path, ensure_jars
from devstack.port import HOST
from devstack.probe import probe_kafka
from devstack.service import Report, Service
from devstack.tool import run_tool

_JAVA_OPTIONS = ["--enable-native-access=ALL-UNNAMED"]
# Measured on 4 cores: up in 2.1 s; 1.8 s with the first compiler tier alone, which is slow later.
_BROKER_OPTIONS = ["-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]
_FORMAT_OPTIONS = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
_LOG_OPTIONS = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.utils.AppInfoParser=error",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
]

# Records keep their own, possibly old, event times: retention by time would delete a replayed set
# at once. A killed broker may come back only when its session has ended: 9 s by default.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
log.retention.ms=-1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
log.cleaner.dedupe.buffer.size=16777216
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
"""


def kafka_service(data_dir: Path, *, port: int, controller_port: int) -> Service:
    """Describe the broker of a stack; its log lives in `<data_dir>/kafka`."""
    home = data_dir / "kafka"
    properties = home / "server.properties"
    log_dir = home / "log"

    async def prepare(report: Report) -> None:
        await ensure_jars(report)
        home.mkdir(parents=True, exist_ok=True)
        properties.write_text(
            _PROPERTIES.format(
                host=HOST, port=port, controller_port=controller_port, log_dir=log_dir
            ),
            encoding="utf-8",
        )
        if not (log_dir / "meta.properties").exists():
            report("formatting its log")
            main = ["kafka.tools.StorageTool", "format", "--ignore-formatted"]
            await run_tool(
                "format of the kafka log",
                _java(_FORMAT_OPTIONS) + main + ["-t", new_cluster_id(), "-c", str(properties)],
                environment=dict(os.environ),
            )

    def command() -> list[str]:
        return [*_java(_BROKER_OPTIONS), "kafka.Kafka", str(properties)]

    async def probe(_started: float) -> str | None:
        return await probe_kafka(port)

    return Service("kafka", command, probe, prepare, start_timeout_s=90, stop_timeout_s=20)


def new_cluster_id(draw: Callable[[], uuid.UUID] = uuid.uuid4) -> str:
    """Make an id in Kafka's form; one that began with a dash would be taken for an option."""
    while (text := urlsafe_b64encode(draw().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def _java(options: list[str]) -> list[str]:
    return [str(find_java()), *options, *_JAVA_OPTIONS, *_LOG_OPTIONS, "-cp", class_path()]
