// kafkajs as a member whose doings are judged: node member.mjs SERVER GROUP TOPIC JOURNAL
//
// The journal is that of tests/support/members/journal.py: a line for what it was given, read and committed. The client
// tells its generation only to its debug log, in which the line about it comes before the assignment is used.

import { openSync, writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'

import kafkajs from 'kafkajs'

const { Kafka, logLevel } = kafkajs
const [server, groupId, topic, path] = process.argv.slice(2)

const journal = openSync(path, 'a')
const write = (...words) => writeSync(journal, `${JSON.stringify(words)}\n`)

let generation = -1
const logCreator = () => ({ log }) => {
  if (log.message === 'Received assignment') generation = log.generationId
}

const kafka = new Kafka({
  clientId: 'member',
  brokers: [server],
  logLevel: logLevel.DEBUG,
  logCreator,
  retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 200 }
})
const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200, maxBytesPerPartition: 20_000 })

consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
  write('assigned', generation, payload.memberAssignment[topic] ?? [])
})

async function eachBatch ({ batch, resolveOffset, commitOffsetsIfNecessary, heartbeat, isRunning, isStale }) {
  const { partition, messages } = batch
  const given = generation
  for (let start = 0; start < messages.length && isRunning() && !isStale(); start += 100) {
    const taken = messages.slice(start, start + 100)
    const end = Number(taken.at(-1).offset) + 1
    write('read', given, partition, Number(taken[0].offset), taken.map(({ value }) => crc32(value)))
    resolveOffset(taken.at(-1).offset)
    write('committing', given, partition, end)
    await commitOffsetsIfNecessary({ topics: [{ topic, partitions: [{ partition, offset: String(end) }] }] })
    write('committed', given, partition, end)
    await heartbeat()
  }
}

process.on('SIGTERM', async () => {
  await consumer.disconnect()
  process.exit(0)
})
await consumer.connect()
await consumer.subscribe({ topics: [topic], fromBeginning: true })
await consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch })
