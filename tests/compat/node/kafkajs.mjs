// kafkajs as a driver of the compatibility suite.

import { lz4Compress, lz4Decompress } from '@platformatic/wasm-utils'
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'

import { Inbox, Opened, bytes, serve, spelledRecord } from './driver.mjs'

const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs

// The client brings gzip; for the others it has places, which programs fill.
CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4Compress(encoder.buffer),
  decompress: async buffer => lz4Decompress(buffer)
})
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4
}
const RETRY = { initialRetryTime: 100, maxRetryTime: 1000, retries: 40 }

const opened = new Opened()
const admins = new Map()

const kafka = (server, retry = RETRY) =>
  new Kafka({ clientId: 'compat', brokers: [server], logLevel: logLevel.NOTHING, retry })

async function adminOf (server) {
  if (!admins.has(server)) {
    const admin = kafka(server, { ...RETRY, retries: 2 }).admin()
    await admin.connect()
    admins.set(server, admin)
  }
  return admins.get(server)
}

const newTopic = ({ name, partitions, replicationFactor, configs }) => ({
  topic: name,
  numPartitions: partitions,
  replicationFactor,
  configEntries: Object.entries(configs).map(([name, value]) => ({ name, value }))
})

function headersOf (pairs) {
  const headers = {}
  for (const [name, value] of pairs) (headers[name] ??= []).push(bytes(value))
  return headers
}

const pairs = headers => Object.entries(headers ?? {}).flatMap(([name, values]) => [values].flat().map(value => [name, value]))

async function memberOf (server, how, inbox) {
  const consumer = kafka(server).consumer({
    groupId: how.group,
    sessionTimeout: how.sessionMs,
    heartbeatInterval: how.heartbeatMs,
    maxWaitTimeInMs: how.fetchWaitMs,
    ...(how.partitionBytesMax === null ? {} : { maxBytesPerPartition: how.partitionBytesMax }),
    ...(how.bytesMax === null ? {} : { maxBytes: how.bytesMax }),
    metadataMaxAge: how.metadataAgeMs,
    allowAutoTopicCreation: false
  })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => inbox.hold(Object.entries(payload.memberAssignment)))
  consumer.on(consumer.events.REBALANCING, () => inbox.hold([]))
  consumer.on(consumer.events.CRASH, ({ payload }) => payload.restart || inbox.fail(payload.error))
  await consumer.connect()
  const topics = how.pattern === null ? how.topics : [new RegExp(how.pattern)]
  await consumer.subscribe({ topics, fromBeginning: !how.fromTheEnd })
  await consumer.run({
    autoCommit: how.commitsByItself,
    eachMessage: async ({ topic, partition, message }) =>
      inbox.put(spelledRecord(topic, partition, message, pairs(message.headers)))
  })
  return consumer
}

const verbs = {
  async openMember (server, how) {
    const inbox = new Inbox()
    return opened.add({ inbox, group: how.group, consumer: await memberOf(server, how, inbox) })
  },

  async openReader (server, how) {
    // Alone in its group; what it reads before it is told where to begin is not wanted.
    const inbox = new Inbox()
    const wanted = new Inbox()
    const places = new Map(how.starts.map(([topic, partition, offset]) => [`${topic}:${partition}`, offset]))
    let isPlaced = false
    const gate = Object.assign(Object.create(inbox), {
      hold: assignment => inbox.hold(assignment),
      fail: error => wanted.fail(error),
      put: record => isPlaced && places.has(`${record.topic}:${record.partition}`) && wanted.put(record)
    })
    const consumer = await memberOf(server, how, gate)
    for (const [topic, partition, offset] of how.starts) consumer.seek({ topic, partition, offset: String(offset) })
    isPlaced = true
    return opened.add({ inbox: wanted, group: how.group, consumer })
  },

  async take (server, { member, count }) {
    return opened.get(member).inbox.take(count)
  },

  async changes (server, { member }) {
    return opened.get(member).inbox.changes()
  },

  async commit (server, { member, positions }) {
    await opened.get(member).consumer.commitOffsets(positions.map(([topic, partition, offset, metadata]) =>
      ({ topic, partition, offset: String(offset), metadata })))
  },

  async committed (server, { member, topic, partition }) {
    const [{ partitions }] = await (await adminOf(server)).fetchOffsets({ groupId: opened.get(member).group, topics: [topic] })
    const found = partitions.find(row => row.partition === partition)
    return [Number(found?.offset ?? -1), found?.metadata ?? '']
  },

  async seek (server, { member, topic, partition, offset }) {
    const { consumer, inbox } = opened.get(member)
    consumer.seek({ topic, partition, offset: String(offset) })
    inbox.forget(topic, partition)
  },

  async pause (server, { member, topic, partition }) {
    opened.get(member).consumer.pause([{ topic, partitions: [partition] }])
  },

  async resume (server, { member, topic, partition }) {
    opened.get(member).consumer.resume([{ topic, partitions: [partition] }])
  },

  async closeMember (server, { member }) {
    await opened.take(member).consumer.disconnect()
  },

  async listGroups (server) {
    return (await (await adminOf(server)).listGroups()).groups.map(({ groupId }) => [groupId, ''])
  },

  async describeGroup (server, { group }) {
    const { groups: [seen] } = await (await adminOf(server)).describeGroups([group])
    if (seen.errorCode > 0) throw Object.assign(new Error('describeGroups'), { code: seen.errorCode })
    const members = seen.members.map(({ memberId, clientId, memberAssignment }) => {
      const decoded = kafkajs.AssignerProtocol.MemberAssignment.decode(memberAssignment)
      return [memberId, clientId, null, Object.entries(decoded?.assignment ?? {})]
    })
    return { state: seen.state, assignor: seen.protocol, members }
  },

  async deleteGroup (server, { group }) {
    await (await adminOf(server)).deleteGroups([group])
  },

  async listGroupOffsets (server, { group, topic }) {
    const [{ partitions }] = await (await adminOf(server)).fetchOffsets({ groupId: group, topics: [topic] })
    return partitions.map(({ partition, offset, metadata }) => [partition, Number(offset), metadata ?? ''])
  },

  async alterGroupOffsets (server, { group, topic, positions }) {
    const partitions = positions.map(([partition, offset]) => ({ partition, offset: String(offset) }))
    await (await adminOf(server)).setOffsets({ groupId: group, topic, partitions })
  },

  async openWriter (server, how) {
    const producer = kafka(server).producer({
      idempotent: how.idempotent,
      allowAutoTopicCreation: how.createsTopics,
      createPartitioner: () => ({ message }) => message.partition,
      metadataMaxAge: 1000
    })
    await producer.connect()
    return opened.add({ producer, acks: how.acks, compression: CODECS[how.codec] })
  },

  async send (server, { writer, topic, records }) {
    const { producer, acks, compression } = opened.get(writer)
    const messages = records.map(record => ({
      key: bytes(record.key),
      value: bytes(record.value),
      headers: headersOf(record.headers),
      partition: record.partition,
      ...(record.timestampMs === null ? {} : { timestamp: String(record.timestampMs) })
    }))
    const answers = await producer.send({ topic, messages, acks, compression })
    return answers.map(({ partition, baseOffset }) => [partition, Number(baseOffset)])
  },

  async closeWriter (server, { writer }) {
    await opened.take(writer).producer.disconnect()
  },

  async createTopic (server, topic) {
    const made = await (await adminOf(server)).createTopics({ topics: [newTopic(topic)], waitForLeaders: true })
    // The client swallows this one refusal and answers false.
    if (!made) throw Object.assign(new Error('the topic exists'), { code: 36 })
  },

  async validateTopic (server, topic) {
    await (await adminOf(server)).createTopics({ topics: [newTopic(topic)], validateOnly: true, waitForLeaders: false })
  },

  async deleteTopic (server, { topic }) {
    await (await adminOf(server)).deleteTopics({ topics: [topic] })
  },

  async createPartitions (server, { topic, count, validateOnly }) {
    await (await adminOf(server)).createPartitions({ topicPartitions: [{ topic, count }], validateOnly })
  },

  async listTopics (server) {
    return (await adminOf(server)).listTopics()
  },

  async describeTopic (server, { topic }) {
    const { topics } = await (await adminOf(server)).fetchTopicMetadata({ topics: [topic] })
    return topics[0].partitions.map(({ partitionId, leader, replicas }) => [partitionId, leader, replicas])
  },

  async describeCluster (server) {
    return (await adminOf(server)).describeCluster()
  },

  async describeConfigs (server, { type, name }) {
    const answer = await (await adminOf(server)).describeConfigs({ resources: [{ type, name }], includeSynonyms: true })
    return answer.resources[0].configEntries.map(({ configName, configValue, configSource, readOnly, isSensitive }) => [
      configName, configValue, configSource, readOnly, isSensitive
    ])
  },

  async alterConfigs (server, { type, name, configs }) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    await (await adminOf(server)).alterConfigs({ validateOnly: false, resources: [{ type, name, configEntries }] })
  },

  async findOffset (server, { topic, partition, timestampMs }) {
    const admin = await adminOf(server)
    if (timestampMs >= 0) {
      const found = await admin.fetchTopicOffsetsByTimestamp(topic, timestampMs)
      return Number(found.find(row => row.partition === partition).offset)
    }
    const found = (await admin.fetchTopicOffsets(topic)).find(row => row.partition === partition)
    return Number(timestampMs === -2 ? found.low : found.high)
  },

  async listReassignments (server) {
    const { topics } = await (await adminOf(server)).listPartitionReassignments({})
    return topics.flatMap(({ name, topic, partitions }) =>
      partitions.map(({ partition, partitionIndex, replicas }) => [name ?? topic, partition ?? partitionIndex, replicas]))
  },

  async reassign (server, { topic, partition, replicas }) {
    const partitionAssignment = [{ partition, replicas }]
    await (await adminOf(server)).alterPartitionReassignments({ topics: [{ topic, partitionAssignment }] })
  },

  async forget (server) {
    await admins.get(server)?.disconnect()
    admins.delete(server)
  }
}

function codeOf (error) {
  if (typeof error.code === 'number' && error.code > 0) return error.code
  for (const inner of [error.cause, error.originalError, ...(error.errors ?? []), ...(error.groups ?? [])]) {
    if (typeof inner?.errorCode === 'number' && inner.errorCode > 0) return inner.errorCode
    const code = inner && codeOf(inner)
    if (code !== undefined) return code
  }
}

await serve(verbs, codeOf)
