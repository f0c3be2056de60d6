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
