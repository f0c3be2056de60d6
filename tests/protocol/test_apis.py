"""The table of APIs: Kafka's keys and names, the versions that clients need (kafka.md, sections 1 and 1b)."""

from __future__ import annotations

import pytest

from tidelog.protocol.apis import APIS, BY_NAME, Api, ApiKey

SERVED = {
    ApiKey.API_VERSIONS: (18, "ApiVersions", 0, 4, 3),
    ApiKey.METADATA: (3, "Metadata", 0, 13, 9),
    ApiKey.PRODUCE: (0, "Produce", 3, 13, 9),
    ApiKey.FETCH: (1, "Fetch", 4, 18, 12),
    ApiKey.LIST_OFFSETS: (2, "ListOffsets", 1, 11, 6),
    ApiKey.CREATE_TOPICS: (19, "CreateTopics", 0, 7, 5),
    ApiKey.DELETE_TOPICS: (20, "DeleteTopics", 0, 6, 4),
    ApiKey.DESCRIBE_CLUSTER: (60, "DescribeCluster", 0, 2, 0),
}


@pytest.mark.parametrize("key", ApiKey)
def test_each_api_is_served_in_the_versions_that_clients_use(key: ApiKey) -> None:
    api = APIS[key]
    assert (api.key, api.name, api.versions.min, api.versions.max, api.flexible_from) == SERVED[key]


def test_the_tables_hold_every_api_once() -> None:
    assert set(APIS) == set(ApiKey)
    assert {api.name for api in APIS.values()} == set(BY_NAME)
    assert list(BY_NAME.values()) == list(APIS.values())


def test_produce_is_advertised_from_0_although_served_from_3() -> None:
    # kafka.md 1b.3: otherwise older librdkafka silently switches compression off (KAFKA-18659).
    assert APIS[ApiKey.PRODUCE].advertised_min == 0
    assert all(api.advertised_min == api.versions.min for api in APIS.values() if api.key is not ApiKey.PRODUCE)


def test_topic_ids_in_produce_and_fetch_need_a_metadata_that_tells_them() -> None:
    # kafka.md 1b.5
    assert APIS[ApiKey.PRODUCE].versions.max >= 13
    assert APIS[ApiKey.FETCH].versions.max >= 13
    assert APIS[ApiKey.METADATA].versions.max >= 12


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
def test_messages_are_named_for_their_api(api: Api) -> None:
    assert (api.request.__name__, api.response.__name__) == (f"{api.name}Request", f"{api.name}Response")


def test_a_version_is_flexible_from_the_first_flexible_one_on() -> None:
    produce = APIS[ApiKey.PRODUCE]
    assert [produce.is_flexible(version) for version in (8, 9, 13)] == [False, True, True]
