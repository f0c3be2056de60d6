// @platformatic/kafka as a driver of the compatibility suite.

import { Admin, Producer } from '@platformatic/kafka'

import { Opened, bytes, serve } from './driver.mjs'

const RETRY = { retries: 100, retryDelay: 100, metadataMaxAge: 1000, timeout: 20_000 }

const opened = new Opened()
const admins = new Map()

const options = server => ({ clientId: 'compat', bootstrapBrokers: [server], ...RETRY })

function adminOf (server) {
  if (!admins.has(server)) admins.set(server, new Admin({ ...options(server), retries: 3 }))
  return admins.get(server)
}

const entries = configs => Object.entries(configs).map(([name, value]) => ({ name, value }))

const verbs = {
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
