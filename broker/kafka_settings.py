"""Kafka's broker settings that have no mechanism here: known, so that they are refused by what they are.

`storage.config` states the rule; a value in `_ACCEPTED` says what happens anyway and is taken without a word. When a
mechanism is built, its names move from here to `config.py`.
"""

from collections.abc import Mapping

from ..storage.config import INT_MAX, NotBuilt, ValueType

_BY_MECHANISM: Mapping[str, str] = {
    "a separate advertised address (write HOST:PORT@ADVERTISED_HOST:PORT in listeners)": """
        advertised.listeners
    """,
    "a choice of listeners by purpose": """
        control.plane.listener.name controller.listener.names early.start.listeners inter.broker.listener.name
        listener.security.protocol.map security.inter.broker.protocol
    """,
    "a cluster of several brokers": """
        auto.leader.rebalance.enable broker.heartbeat.interval.ms broker.id.generation.enable broker.rack
        broker.session.timeout.ms controlled.shutdown.enable controlled.shutdown.max.retries
        controlled.shutdown.retry.backoff.ms controller.quorum.append.linger.ms
        controller.quorum.bootstrap.servers controller.quorum.election.backoff.max.ms
        controller.quorum.election.timeout.ms controller.quorum.fetch.timeout.ms
        controller.quorum.request.timeout.ms controller.quorum.retry.backoff.ms controller.quorum.voters
        controller.socket.timeout.ms initial.broker.registration.timeout.ms inter.broker.protocol.version
        leader.imbalance.check.interval.seconds leader.imbalance.per.broker.percentage metadata.log.dir
        metadata.log.max.record.bytes.between.snapshots metadata.log.max.snapshot.interval.ms
        metadata.log.segment.bytes metadata.log.segment.ms metadata.max.idle.interval.ms
        metadata.max.retention.bytes metadata.max.retention.ms process.roles reserved.broker.max.id
        server.max.startup.time.ms zookeeper.connect zookeeper.connection.timeout.ms zookeeper.max.in.flight.requests
        zookeeper.metadata.migration.enable zookeeper.session.timeout.ms zookeeper.set.acl zookeeper.sync.time.ms
    """,
    "replication": """
        alter.log.dirs.replication.quota.window.num alter.log.dirs.replication.quota.window.size.seconds
        default.replication.factor eligible.leader.replicas.enable offsets.commit.required.acks
        offsets.topic.replication.factor fetch.purgatory.purge.interval.requests
        follower.fetch.last.tiered.offset.enable min.insync.replicas num.replica.alter.log.dirs.threads
        num.replica.fetchers producer.purgatory.purge.interval.requests delete.records.purgatory.purge.interval.requests
        replica.fetch.backoff.ms replica.fetch.max.bytes replica.fetch.min.bytes replica.fetch.response.max.bytes
        replica.fetch.wait.max.ms replica.high.watermark.checkpoint.interval.ms replica.lag.time.max.ms
        replica.selector.class replica.socket.receive.buffer.bytes replica.socket.timeout.ms
        replication.quota.window.num replication.quota.window.size.seconds unclean.leader.election.enable
        unclean.leader.election.interval.ms
    """,
    "a choice of threads (one event loop does the work)": """
        background.threads group.coordinator.threads num.io.threads num.network.threads
        num.recovery.threads.per.data.dir queued.max.requests
    """,
    "a limit by rate": "connection.failed.authentication.delay.ms max.connection.creation.rate",
    "a choice of socket options": "socket.listen.backlog.size socket.receive.buffer.bytes socket.send.buffer.bytes",
    "a delay of the coordinators' writes": "group.coordinator.append.linger.ms",
    "a limit on how long a commit may take": "offsets.commit.timeout.ms",
    "a choice of how much is read at a time when groups are loaded": "offsets.load.buffer.size",
    "a choice of group protocols": "group.coordinator.new.enable group.coordinator.rebalance.protocols",
    "a search by time for topics that patterns match (each change is seen at once)": """
        group.consumer.regex.refresh.interval.ms
    """,
    "compression of the offsets' topic": "offsets.topic.compression.codec",
    "queues": """
        errors.deadletterqueue.auto.create.topics.enable errors.deadletterqueue.topic.name.prefix
        group.share.assignors group.share.delivery.count.limit group.share.enable group.share.heartbeat.interval.ms
        group.share.max.delivery.count.limit group.share.max.heartbeat.interval.ms
        group.share.max.partition.max.record.locks group.share.max.record.lock.duration.ms
        group.share.max.session.timeout.ms group.share.max.share.sessions group.share.max.size
        group.share.min.delivery.count.limit group.share.min.heartbeat.interval.ms
        group.share.min.partition.max.record.locks group.share.min.record.lock.duration.ms
        group.share.min.session.timeout.ms group.share.partition.max.record.locks
        group.share.record.lock.duration.ms group.share.session.timeout.ms
        share.coordinator.append.linger.ms share.coordinator.cold.partition.snapshot.interval.ms
        share.coordinator.load.buffer.size share.coordinator.snapshot.update.records.per.snapshot
        share.coordinator.state.topic.compression.codec share.coordinator.state.topic.min.isr
        share.coordinator.state.topic.num.partitions share.coordinator.state.topic.prune.interval.ms
        share.coordinator.state.topic.replication.factor share.coordinator.state.topic.segment.bytes
        share.coordinator.threads share.coordinator.write.timeout.ms
        share.fetch.purgatory.purge.interval.requests
    """,
    "transactions": """
        add.partitions.to.txn.retry.backoff.max.ms add.partitions.to.txn.retry.backoff.ms
        transaction.abort.timed.out.transaction.cleanup.interval.ms transaction.max.timeout.ms
        transaction.partition.verification.enable transaction.remove.expired.transaction.cleanup.interval.ms
        transaction.state.log.load.buffer.size transaction.state.log.min.isr transaction.state.log.num.partitions
        transaction.state.log.replication.factor transaction.state.log.segment.bytes
        transaction.two.phase.commit.enable transactional.id.expiration.ms
    """,
    "retention": """
        log.retention.bytes log.retention.check.interval.ms log.retention.hours log.retention.minutes log.retention.ms
    """,
    "compaction": """
        log.cleaner.backoff.ms log.cleaner.dedupe.buffer.size log.cleaner.delete.retention.ms log.cleaner.enable
        log.cleaner.io.buffer.load.factor log.cleaner.io.buffer.size log.cleaner.io.max.bytes.per.second
        log.cleaner.max.compaction.lag.ms log.cleaner.min.cleanable.ratio log.cleaner.min.compaction.lag.ms
        log.cleaner.threads log.cleanup.policy
    """,
    "a rolling time in hours (write log.roll.ms)": "log.roll.hours",
    "jitter of the segments' age": "log.roll.jitter.hours log.roll.jitter.ms",
    "a flush by schedule": "log.flush.scheduler.interval.ms",
    "a checkpoint of the logs' start": "log.flush.start.offset.checkpoint.interval.ms",
    "preallocation of segments": "log.preallocate",
    "a delay between a deletion and the removal of the files": "log.segment.delete.delay.ms",
    "survival of the loss of one of several data directories": "log.dir.failure.timeout.ms",
    "conversion to old record formats": """
        log.message.downconversion.enable log.message.format.version message.format.version
    """,
    "one limit for the records' times both ways (write log.message.timestamp.before.max.ms and after.max.ms)": """
        log.message.timestamp.difference.max.ms
    """,
    "tiered storage": """
        log.local.retention.bytes log.local.retention.ms remote.fetch.max.wait.ms
        remote.list.offsets.request.timeout.ms remote.log.index.file.cache.total.size.bytes
        remote.log.manager.copier.thread.pool.size remote.log.manager.copy.max.bytes.per.second
        remote.log.manager.copy.quota.window.num remote.log.manager.copy.quota.window.size.seconds
        remote.log.manager.expiration.thread.pool.size remote.log.manager.fetch.max.bytes.per.second
        remote.log.manager.fetch.quota.window.num remote.log.manager.fetch.quota.window.size.seconds
        remote.log.manager.follower.thread.pool.size remote.log.manager.task.interval.ms
        remote.log.manager.task.retry.backoff.max.ms remote.log.manager.task.retry.backoff.ms
        remote.log.manager.task.retry.jitter remote.log.manager.thread.pool.size
        remote.log.metadata.custom.metadata.max.bytes remote.log.metadata.manager.class.name
        remote.log.metadata.manager.class.path remote.log.metadata.manager.impl.prefix
        remote.log.metadata.manager.listener.name remote.log.reader.max.pending.tasks remote.log.reader.threads
        remote.log.storage.manager.class.name remote.log.storage.manager.class.path
        remote.log.storage.manager.impl.prefix remote.log.storage.system.enable
    """,
    "a switch against the deletion of topics": "delete.topic.enable",
    "quotas": """
        client.quota.callback.class controller.quota.window.num controller.quota.window.size.seconds
        quota.consumer.default quota.producer.default quota.window.num quota.window.size.seconds
    """,
    "plug-ins": """
        alter.config.policy.class.name auto.include.jmx.reporter create.topic.policy.class.name
        kafka.metrics.polling.interval.secs kafka.metrics.reporters metric.reporters
        metrics.num.samples metrics.recording.level metrics.sample.window.ms telemetry.max.bytes
        config.providers
    """,
    "access control": """
        allow.everyone.if.no.acl.found authorizer.class.name principal.builder.class super.users
    """,
    "authentication": """
        connections.max.reauth.ms delegation.token.expiry.check.interval.ms delegation.token.expiry.time.ms
        delegation.token.master.key delegation.token.max.lifetime.ms delegation.token.secret.key
        password.encoder.cipher.algorithm password.encoder.iterations password.encoder.key.length
        password.encoder.keyfactory.algorithm password.encoder.old.secret password.encoder.secret
        sasl.client.callback.handler.class sasl.enabled.mechanisms sasl.jaas.config sasl.kerberos.kinit.cmd
        sasl.kerberos.min.time.before.relogin sasl.kerberos.principal.to.local.rules sasl.kerberos.service.name
        sasl.kerberos.ticket.renew.jitter sasl.kerberos.ticket.renew.window.factor
        sasl.login.callback.handler.class sasl.login.class sasl.mechanism.controller.protocol
        sasl.mechanism.inter.broker.protocol sasl.oauthbearer.clock.skew.seconds
        sasl.oauthbearer.expected.audience sasl.oauthbearer.expected.issuer
        sasl.oauthbearer.jwks.endpoint.url sasl.oauthbearer.token.endpoint.url sasl.server.callback.handler.class
        sasl.server.max.receive.size
    """,
    "encryption": """
        security.providers ssl.allow.dn.changes ssl.allow.san.changes ssl.cipher.suites ssl.client.auth
        ssl.enabled.protocols ssl.endpoint.identification.algorithm ssl.engine.factory.class ssl.key.password
        ssl.keymanager.algorithm ssl.keystore.certificate.chain ssl.keystore.key ssl.keystore.location
        ssl.keystore.password ssl.keystore.type ssl.principal.mapping.rules ssl.protocol ssl.provider
        ssl.secure.random.implementation ssl.trustmanager.algorithm ssl.truststore.certificates
        ssl.truststore.location ssl.truststore.password ssl.truststore.type
    """,
}

_ACCEPTED: Mapping[str, str] = {
    "allow.everyone.if.no.acl.found": "true",
    "authorizer.class.name": "",
    "auto.leader.rebalance.enable": "false",
    "connections.max.reauth.ms": "0",
    "default.replication.factor": "1",
    "delete.topic.enable": "true",
    "group.coordinator.append.linger.ms": "0",
    "group.coordinator.new.enable": "true",
    "group.coordinator.rebalance.protocols": "classic,consumer",
    "log.cleaner.enable": "false",
    "log.cleanup.policy": "delete",
    "log.message.downconversion.enable": "false",
    "log.preallocate": "false",
    "log.retention.bytes": "-1",
    "log.retention.hours": "-1",
    "log.retention.minutes": "-1",
    "log.retention.ms": "-1",
    "log.roll.jitter.hours": "0",
    "log.roll.jitter.ms": "0",
    "log.segment.delete.delay.ms": "0",
    "max.connection.creation.rate": str(INT_MAX),
    "min.insync.replicas": "1",
    "offsets.commit.required.acks": "-1",
    "offsets.topic.compression.codec": "0",
    "offsets.topic.replication.factor": "1",
    "remote.log.storage.system.enable": "false",
    "unclean.leader.election.enable": "false",
}

_INTS = """
    default.replication.factor group.coordinator.append.linger.ms log.retention.hours log.retention.minutes
    log.roll.jitter.hours max.connection.creation.rate min.insync.replicas offsets.topic.compression.codec
"""
_SHORTS = "offsets.commit.required.acks offsets.topic.replication.factor"
_LISTS = "group.coordinator.rebalance.protocols log.cleanup.policy"


def _declared_type(name: str) -> ValueType | None:
    """Kafka's type of a setting's value, where it cannot be told from the accepted one."""
    for names, value_type in ((_INTS, ValueType.INT), (_SHORTS, ValueType.SHORT), (_LISTS, ValueType.LIST)):
        if name in names.split():
            return value_type
    return None


BROKER_NOT_BUILT: Mapping[str, NotBuilt] = {
    name: NotBuilt(mechanism, _ACCEPTED.get(name), _declared_type(name))
    for mechanism, names in _BY_MECHANISM.items()
    for name in names.split()
}
"""Known to Kafka's users, refused here, by name."""

assert _ACCEPTED.keys() <= BROKER_NOT_BUILT.keys(), "an accepted value without its setting"
assert _ACCEPTED.keys() >= {*_INTS.split(), *_SHORTS.split(), *_LISTS.split()}, "a type without its value"
