// What both drivers share: commands come as JSON, a line each, on stdin; answers leave the same way on stdout.
//
// A command is {verb, server, args}, an answer {value}, {refused: [Kafka's error code, message]} or {failed: message}.
// Bytes travel as base64, null as null. What a driver opened is kept by a number of its own until it is closed.

import { createInterface } from 'node:readline'

/** base64 to bytes. */
export const bytes = text => (text === null ? null : Buffer.from(text, 'base64'))

/** Whatever verbs return, without the BigInts that JSON has no word for. */
const spelled = value => JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? Number(part) : part))

/** What is open, by number. */
export class Opened {
  #things = new Map()
  #last = 0

  add (thing) {
    this.#last += 1
    this.#things.set(this.#last, thing)
    return this.#last
  }

  get (number) {
    return this.#things.get(number)
  }

  take (number) {
    const thing = this.#things.get(number)
    this.#things.delete(number)
    return thing
  }
}

/** What a member of a group was given, until the test takes it. */
export class Inbox {
  #records = []
  #changes = []
  #failure = null
  #wake = () => {}

  put (record) {
    this.#records.push(record)
    this.#wake()
  }

  /** The member holds these now: pairs of a topic and its partitions. */
  hold (assignment) {
    this.#changes.push(assignment.flatMap(([topic, partitions]) => partitions.map(partition => [topic, partition])))
  }

  fail (error) {
    this.#failure = error
    this.#wake()
  }

  forget (topic, partition) {
    this.#records = this.#records.filter(record => record.topic !== topic || record.partition !== partition)
  }

  /** At most so many, as soon as there is one; none, when for a while there is none. */
  async take (count) {
    if (this.#records.length === 0 && this.#failure === null) {
      await new Promise(resolve => {
        this.#wake = resolve
        setTimeout(resolve, 200)
      })
    }
    if (this.#failure !== null) throw this.#failure
    return this.#records.splice(0, count)
  }

  changes () {
    if (this.#failure !== null) throw this.#failure
    return this.#changes
  }
}

/** A record as the tests know it; a header that has no value, or a record without one, is null. */
export const spelledRecord = (topic, partition, { offset, timestamp, key, value }, headers) => ({
  topic,
  partition,
  offset: Number(offset),
  timestampMs: Number(timestamp),
  key: key?.toString('base64') ?? null,
  value: value?.toString('base64') ?? null,
  headers: headers.map(([name, value]) => [String(name), value?.toString('base64') ?? null])
})

/** Answer commands until stdin ends. `codeOf` finds the code of the broker in a client's error, or undefined. */
export async function serve (verbs, codeOf) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { verb, server, args } = JSON.parse(line)
    let answer
    try {
      answer = { value: (await verbs[verb](server, args)) ?? null }
    } catch (error) {
      const code = codeOf(error)
      answer = code === undefined ? { failed: String(error.stack) } : { refused: [code, error.message] }
    }
    process.stdout.write(`${spelled(answer)}\n`)
  }
  process.exit(0)
}
