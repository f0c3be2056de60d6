// @platformatic/kafka as a driver of the compatibility suite.

import { Admin, Consumer, Producer } from '@platformatic/kafka'

import { Inbox, Opened, bytes, serve, spelledRecord } from './driver.mjs'

const RETRY = { retries: 100, retryDelay: 100, metadataMaxAge: 1000, timeout: 20_000 }

const opened = new Opened()
const admins = new Map()

const options = server => ({ clientId: 'compat', bootstrapBrokers: [server], ...RETRY })

function adminOf (server) {
  if (!admins.has(server)) admins.set(server, new Admin({ ...options(server), retries: 3 }))
  return admins.get(server)
}

const entries = configs => Object.entries(configs).map(([name, value]) => ({ name, value }))

async function memberOf (server, how, streaming, inbox) {
  const consumer = new Consumer({
    ...options(server),
    retries: 40,
    groupId: how.group,
    groupProtocol: how.protocol,
    ...(how.instanceId === null ? {} : { groupInstanceId: how.instanceId }),
    ...(how.protocol === 'consumer' ? {} : { sessionTimeout: how.sessionMs, heartbeatInterval: how.heartbeatMs }),
    rebalanceTimeout: 60_000,
    metadataMaxAge: how.metadataAgeMs
  })
  // In the classic protocol there are events; in the other one what it was given changes in silence, after a heartbeat.
  const hold = () => inbox.hold((consumer.assignments ?? []).map(({ topic, partitions }) => [topic, [...partitions]]))
  let known = null
  const look = () => {
    if (consumer.assignments !== known) hold()
    known = consumer.assignments
  }
  if (how.protocol === 'consumer') {
    const looking = setInterval(look, 10)
    consumer.on('client:close', () => clearInterval(looking))
  } else {
    consumer.on('consumer:group:join', hold)
    consumer.on('consumer:group:rebalance', () => inbox.hold([]))
  }
  const stream = await consumer.consume({
    topics: how.topics,
    maxWaitTime: how.fetchWaitMs,
    autocommit: how.commitsByItself,
    ...(how.partitionBytesMax === null ? {} : { maxBytesPerPartition: how.partitionBytesMax }),
    ...(how.bytesMax === null ? {} : { maxBytes: how.bytesMax }),
    ...streaming
  })
  stream.on('data', message => inbox.put(spelledRecord(message.topic, message.partition, message, [...message.headers])))
  stream.on('error', error => inbox.fail(error))
  return { consumer, stream, inbox }
}

const verbs = {
  async openMember (server, how) {
    const fallbackMode = how.fromTheEnd ? 'latest' : 'earliest'
    return opened.add(await memberOf(server, how, { mode: 'committed', fallbackMode }, new Inbox()))
  },

  async openReader (server, how) {
    // Alone in its group, with each partition of its topics; what it did not ask for is dropped.
    const places = new Set(how.starts.map(([topic, partition]) => `${topic}:${partition}`))
    const offsets = how.starts.map(([topic, partition, offset]) => ({ topic, partition, offset: BigInt(offset) }))
    const inbox = new Inbox()
    const put = inbox.put.bind(inbox)
    inbox.put = record => places.has(`${record.topic}:${record.partition}`) && put(record)
    return opened.add(await memberOf(server, how, { mode: 'manual', offsets, fallbackMode: 'earliest' }, inbox))
  },

  async take (server, { member, count }) {
    return opened.get(member).inbox.take(count)
  },

  async changes (server, { member }) {
    return opened.get(member).inbox.changes()
  },

  async commit (server, { member, positions }) {
    const offsets = positions.map(([topic, partition, offset]) => ({ topic, partition, offset: BigInt(offset), leaderEpoch: 0 }))
    await opened.get(member).consumer.commit({ offsets })
  },

  async committed (server, { member, topic, partition }) {
    const found = await opened.get(member).consumer.listCommittedOffsets({ topics: [{ topic, partitions: [partition] }] })
    return [Number(found.get(topic)[partition]), '']
  },

  async closeMember (server, { member }) {
    const { consumer, stream } = opened.take(member)
    await stream.close()
    await consumer.close()
  },

  async listGroups (server) {
    return [...(await adminOf(server).listGroups({ types: ['classic', 'consumer'] })).values()].map(({ id, state }) => [id, state])
  },

  async describeGroup (server, { group }) {
    const seen = (await adminOf(server).describeGroups({ groups: [group] })).get(group)
    const members = [...seen.members.values()].map(({ id, clientId, groupInstanceId, assignments }) =>
      [id, clientId, groupInstanceId, [...(assignments ?? new Map()).values()].map(({ topic, partitions }) => [topic, partitions])])
    return { state: seen.state, assignor: seen.protocol, members }
  },

  async deleteGroup (server, { group }) {
    await adminOf(server).deleteGroups({ groups: [group] })
  },

  async listGroupOffsets (server, { group, topic }) {
    const [{ topics }] = await adminOf(server).listConsumerGroupOffsets({ groups: [group] })
    const rows = topics.find(({ name }) => name === topic)?.partitions ?? []
    return rows.map(({ partitionIndex, committedOffset, metadata }) => [partitionIndex, Number(committedOffset), metadata ?? ''])
  },

  async alterGroupOffsets (server, { group, topic, positions }) {
    const partitionOffsets = positions.map(([partition, offset]) => ({ partition, offset: BigInt(offset) }))
    await adminOf(server).alterConsumerGroupOffsets({ groupId: group, topics: [{ name: topic, partitionOffsets }] })
  },

  async deleteGroupOffsets (server, { group, topic, partition }) {
    const topics = [{ name: topic, partitionIndexes: [partition] }]
    await adminOf(server).deleteConsumerGroupOffsets({ groupId: group, topics })
  },

  async removeMember (server, { group, memberId }) {
    await adminOf(server).removeMembersFromConsumerGroup({ groupId: group, members: [{ memberId }] })
  },

  async openWriter (server, how) {
    const { acks, codec: compression, idempotent, createsTopics: autocreateTopics } = how
    return opened.add(new Producer({ ...options(server), acks, compression, idempotent, autocreateTopics }))
  },

  async send (server, { writer, topic, records }) {
    const messages = records.map(record => ({
      topic,
      key: bytes(record.key),
      value: bytes(record.value),
      headers: new Map(record.headers.map(([name, value]) => [Buffer.from(name), bytes(value)])),
      partition: record.partition,
      ...(record.timestampMs === null ? {} : { timestamp: BigInt(record.timestampMs) })
    }))
    const { offsets } = await opened.get(writer).send({ messages })
    return (offsets ?? []).map(({ partition, offset }) => [partition, offset])
  },

  async closeWriter (server, { writer }) {
    await opened.take(writer).close()
  },

  async createTopic (server, { name, partitions, replicationFactor, configs }) {
    await adminOf(server).createTopics({ topics: [name], partitions, replicas: replicationFactor, configs: entries(configs) })
  },

  async deleteTopic (server, { topic }) {
    await adminOf(server).deleteTopics({ topics: [topic] })
  },

  async createPartitions (server, { topic, count, validateOnly }) {
    await adminOf(server).createPartitions({ topics: [{ name: topic, count }], validateOnly })
  },

  async listTopics (server) {
    return adminOf(server).listTopics()
  },

  async describeTopic (server, { topic }) {
    const { topics } = await adminOf(server).metadata({ topics: [topic], forceUpdate: true })
    return topics.get(topic).partitions.map(({ leader, replicas }, partition) => [partition, leader, replicas])
  },

  async topicId (server, { topic }) {
    return (await adminOf(server).metadata({ topics: [topic], forceUpdate: true })).topics.get(topic).id
  },

  async describeCluster (server) {
    const { id, brokers, controllerId } = await adminOf(server).metadata({ topics: [], forceUpdate: true })
    const nodes = [...brokers].map(([nodeId, { host, port }]) => ({ nodeId, host, port }))
    return { brokers: nodes, controller: controllerId, clusterId: id }
  },

  async describeConfigs (server, { type, name }) {
    const resources = [{ resourceType: type, resourceName: name }]
    const [{ configs }] = await adminOf(server).describeConfigs({ resources, includeSynonyms: true, includeDocumentation: true })
    return configs.map(({ name, value, configSource, readOnly, isSensitive }) => [
      name, value, configSource, readOnly, isSensitive
    ])
  },

  async alterConfigs (server, { type, name, configs }) {
    await adminOf(server).alterConfigs({ resources: [{ resourceType: type, resourceName: name, configs: entries(configs) }] })
  },

  async changeConfigs (server, { type, name, changes }) {
    const configs = changes.map(([name, configOperation, value]) =>
      value === null ? { name, configOperation } : { name, configOperation, value })
    await adminOf(server).incrementalAlterConfigs({ resources: [{ resourceType: type, resourceName: name, configs }] })
  },

  async findOffset (server, { topic, partition, timestampMs }) {
    const partitions = [{ partitionIndex: partition, timestamp: BigInt(timestampMs) }]
    const [found] = await adminOf(server).listOffsets({ topics: [{ name: topic, partitions }] })
    return found.partitions[0].offset
  },

  async describeLogDirs (server, { topic, partitions }) {
    const [{ results }] = await adminOf(server).describeLogDirs({ topics: [{ name: topic, partitions }] })
    return results[0].topics[0].partitions.map(({ partitionIndex, partitionSize }) => [partitionIndex, partitionSize])
  },

  async forget (server) {
    await admins.get(server)?.close()
    admins.delete(server)
  }
}

function codeOf (error) {
  if (typeof error.apiCode === 'number' && error.apiCode > 0) return error.apiCode
  for (const inner of [error.cause, ...(error.errors ?? [])]) {
    const code = inner && codeOf(inner)
    if (code !== undefined) return code
  }
}

await serve(verbs, codeOf)
