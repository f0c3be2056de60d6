// kafkajs as a driver of the compatibility suite.

import { lz4Compress, lz4Decompress } from '@platformatic/wasm-utils'
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'

import { Opened, bytes, serve } from './driver.mjs'

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

const verbs = {
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
  for (const inner of [error.cause, error.originalError, ...(error.errors ?? [])]) {
    const code = inner && codeOf(inner)
    if (code !== undefined) return code
  }
}

await serve(verbs, codeOf)
