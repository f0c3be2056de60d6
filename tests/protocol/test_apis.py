"""The table of APIs: Kafka's keys and names, the versions that clients need (kafka.md, sections 1 and 1b)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tidelog.protocol.apis import APIS, BY_NAME, DEFINED, DEFINED_BY_NAME, KAFKA_APIS, Api, ApiKey, api_of

NEEDED = (
    (0, "Produce", "3-13"),
    (1, "Fetch", "4-18"),
    (2, "ListOffsets", "1-11"),
    (3, "Metadata", "0-13"),
    (8, "OffsetCommit", "2-10"),
    (9, "OffsetFetch", "1-10"),
    (10, "FindCoordinator", "0-6"),
    (11, "JoinGroup", "0-9"),
    (12, "Heartbeat", "0-4"),
    (13, "LeaveGroup", "0-5"),
    (14, "SyncGroup", "0-5"),
    (15, "DescribeGroups", "0-6"),
    (16, "ListGroups", "0-5"),
    (17, "SaslHandshake", "0-1"),
    (18, "ApiVersions", "0-4"),
    (19, "CreateTopics", "0-7"),
    (20, "DeleteTopics", "0-6"),
    (21, "DeleteRecords", "0-2"),
    (22, "InitProducerId", "0-5"),
    (23, "OffsetForLeaderEpoch", "2-4"),
    (24, "AddPartitionsToTxn", "0-5"),
    (25, "AddOffsetsToTxn", "0-4"),
    (26, "EndTxn", "0-5"),
    (27, "WriteTxnMarkers", "1-2"),
    (28, "TxnOffsetCommit", "0-5"),
    (29, "DescribeAcls", "1-3"),
    (30, "CreateAcls", "1-3"),
    (31, "DeleteAcls", "1-3"),
    (32, "DescribeConfigs", "1-4"),
    (33, "AlterConfigs", "0-2"),
    (34, "AlterReplicaLogDirs", "1-2"),
    (35, "DescribeLogDirs", "1-5"),
    (36, "SaslAuthenticate", "0-2"),
    (37, "CreatePartitions", "0-3"),
    (38, "CreateDelegationToken", "1-3"),
    (39, "RenewDelegationToken", "1-2"),
    (40, "ExpireDelegationToken", "1-2"),
    (41, "DescribeDelegationToken", "1-3"),
    (42, "DeleteGroups", "0-2"),
    (43, "ElectLeaders", "0-2"),
    (44, "IncrementalAlterConfigs", "0-1"),
    (45, "AlterPartitionReassignments", "0-1"),
    (46, "ListPartitionReassignments", "0-0"),
    (47, "OffsetDelete", "0-0"),
    (48, "DescribeClientQuotas", "0-1"),
    (49, "AlterClientQuotas", "0-1"),
    (50, "DescribeUserScramCredentials", "0-0"),
    (51, "AlterUserScramCredentials", "0-0"),
    (55, "DescribeQuorum", "0-2"),
    (57, "UpdateFeatures", "0-2"),
    (60, "DescribeCluster", "0-2"),
    (61, "DescribeProducers", "0-0"),
    (65, "DescribeTransactions", "0-0"),
    (66, "ListTransactions", "0-2"),
    (68, "ConsumerGroupHeartbeat", "0-1"),
    (69, "ConsumerGroupDescribe", "0-1"),
    (71, "GetTelemetrySubscriptions", "0-0"),
    (72, "PushTelemetry", "0-0"),
    (74, "ListConfigResources", "0-1"),
    (75, "DescribeTopicPartitions", "0-0"),
    (76, "ShareGroupHeartbeat", "1-1"),
    (77, "ShareGroupDescribe", "1-1"),
    (78, "ShareFetch", "1-2"),
    (79, "ShareAcknowledge", "1-2"),
    (88, "StreamsGroupHeartbeat", "0-0"),
    (89, "StreamsGroupDescribe", "0-0"),
    (90, "DescribeShareGroupOffsets", "0-1"),
    (91, "AlterShareGroupOffsets", "0-0"),
    (92, "DeleteShareGroupOffsets", "0-0"),
)
"""What clients ask for, as (key, name, versions); AddPartitionsToTxn from 4 on is spoken among brokers."""

OUR_OWN = ((-1000, "DescribeLag", "0-0"),)
"""What Kafka's protocol has no word for; a number that was given once is never given again."""


def test_every_api_that_clients_use_is_defined_in_the_versions_that_they_use() -> None:
    assert sorted((int(key), api.name, str(api.versions)) for key, api in DEFINED.items()) == [*OUR_OWN, *NEEDED]
    assert all(api.key is key for key, api in DEFINED.items())
    assert set(DEFINED) == set(ApiKey)


def test_what_kafka_does_not_know_has_keys_that_kafka_cannot_have() -> None:
    # Kafka's own ApiKeys refuses a negative id at its start; vendors' APIs have been seen up to 32,000.
    assert [api.name for api in DEFINED.values() if not api.is_kafkas] == [name for _, name, _ in OUR_OWN]
    assert all(key < 0 for key, _, _ in OUR_OWN)
    assert dict(KAFKA_APIS) == {key: api for key, api in APIS.items() if key >= 0}
    # Each is spoken in one version: the tide wire has no other.
    assert all(api.versions.min == api.versions.max for api in DEFINED.values() if not api.is_kafkas)


def test_the_tables_hold_every_api_once() -> None:
    assert list(BY_NAME.values()) == list(APIS.values())
    assert list(DEFINED_BY_NAME.values()) == list(DEFINED.values())
    assert all(DEFINED[key] is api for key, api in APIS.items())
    assert [api.name for api in APIS.values()] == list(BY_NAME)


def test_messages_are_imported_when_they_are_first_asked_for() -> None:
    # Some hundred message classes would cost more than the rest of a start.
    code = "import sys, tidelog.protocol.apis; print([name for name in sys.modules if '.protocol.messages.' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("api", DEFINED.values(), ids=lambda api: api.name)
def test_a_message_leads_to_its_api(api: Api) -> None:
    assert api_of(api.request) is api_of(api.response) is api


def test_produce_is_advertised_from_0_although_served_from_3() -> None:
    # kafka.md 1b.3: otherwise older librdkafka silently switches compression off (KAFKA-18659).
    assert APIS[ApiKey.PRODUCE].advertised_min == 0
    assert all(api.advertised_min == api.versions.min for api in DEFINED.values() if api.key is not ApiKey.PRODUCE)


def test_topic_ids_in_produce_and_fetch_need_a_metadata_that_tells_them() -> None:
    # kafka.md 1b.5
    assert APIS[ApiKey.PRODUCE].versions.max >= 13
    assert APIS[ApiKey.FETCH].versions.max >= 13
    assert APIS[ApiKey.METADATA].versions.max >= 12


@pytest.mark.parametrize("api", DEFINED.values(), ids=lambda api: api.name)
def test_messages_are_named_for_their_api(api: Api) -> None:
    assert (api.request.__name__, api.response.__name__) == (f"{api.name}Request", f"{api.name}Response")


def test_a_version_is_flexible_from_the_first_flexible_one_on() -> None:
    produce = APIS[ApiKey.PRODUCE]
    assert [produce.is_flexible(version) for version in (8, 9, 13)] == [False, True, True]
