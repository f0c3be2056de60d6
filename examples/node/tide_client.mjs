// A client of tidelog's own wire in plain Node.js, as docs/formats.md describes it: it produces, and reads back.
//
//     node examples/node/tide_client.mjs 127.0.0.1:9092 greetings hello world

import { connect } from 'node:net'

// -- msgpack: what the wire needs of it --

function pack (value) {
  if (value === null) return Buffer.of(0xc0)
  if (typeof value === 'boolean') return Buffer.of(value ? 0xc3 : 0xc2)
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(9, 0xd3)
    bytes.writeBigInt64BE(BigInt(value), 1)
    return bytes
  }
  const tagged = (tag, size, ...parts) => Buffer.concat([Buffer.of(tag, size >>> 24, size >>> 16, size >>> 8, size), ...parts])
  if (Buffer.isBuffer(value)) return tagged(0xc6, value.length, value)
  if (typeof value === 'string') return tagged(0xdb, Buffer.byteLength(value), Buffer.from(value))
  if (Array.isArray(value)) return tagged(0xdd, value.length, ...value.map(pack))
  return tagged(0xdf, Object.keys(value).length, ...Object.entries(value).flat().map(pack))
}

function unpack (bytes) {
  let at = 0
  const take = size => bytes.subarray(at, (at += size))
  const uint = size => (size === 8 ? Number(take(8).readBigUInt64BE()) : take(size).readUIntBE(0, size))
  const int = size => (size === 8 ? Number(take(8).readBigInt64BE()) : take(size).readIntBE(0, size))
  const array = size => Array.from({ length: size }, next)
  const map = size => Object.fromEntries(Array.from({ length: size }, () => [next(), next()]))
  function next () {
    const tag = uint(1)
    if (tag < 0x80) return tag
    if (tag < 0x90) return map(tag & 15)
    if (tag < 0xa0) return array(tag & 15)
    if (tag < 0xc0) return take(tag & 31).toString()
    if (tag < 0xc4) return [null, undefined, false, true][tag - 0xc0]
    if (tag < 0xc7) return take(uint(1 << (tag - 0xc4)))
    if (tag === 0xcb) return take(8).readDoubleBE()
    if (tag < 0xd0) return uint(1 << (tag - 0xcc))
    if (tag < 0xd4) return int(1 << (tag - 0xd0))
    if (tag < 0xdc) return take(uint(1 << (tag - 0xd9))).toString()
    if (tag < 0xde) return array(uint(2 << (tag - 0xdc)))
    return tag < 0xe0 ? map(uint(2 << (tag - 0xde))) : tag - 256
  }
  return next()
}

// -- record batches --

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0x82f63b78 : byte >>> 1
  return byte
})
const crc32c = bytes => ~bytes.reduce((crc, byte) => CRC[(crc ^ byte) & 0xff] ^ (crc >>> 8), -1) >>> 0

function varint (number) {
  const bytes = []
  let rest = BigInt.asUintN(64, (BigInt(number) << 1n) ^ (BigInt(number) >> 63n))
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  return Buffer.from([...bytes, Number(rest)])
}
const sized = bytes => (bytes === null ? varint(-1) : Buffer.concat([varint(bytes.length), bytes]))

function batch (records, now) {
  const body = records.map(({ key, value }, delta) =>
    sized(Buffer.concat([Buffer.of(0), varint(0), varint(delta), sized(key), sized(value), varint(0)])))
  const whole = Buffer.concat([Buffer.alloc(61), ...body])
  whole.writeInt32BE(whole.length - 12, 8)
  whole.writeInt8(2, 16)
  whole.writeInt32BE(records.length - 1, 23)
  whole.writeBigInt64BE(BigInt(now), 27)
  whole.writeBigInt64BE(BigInt(now), 35)
  whole.fill(0xff, 43, 57) // not idempotent: producer id, epoch and sequence are -1
  whole.writeInt32BE(records.length, 57)
  whole.writeUInt32BE(crc32c(whole.subarray(21)), 17)
  return whole
}

function * recordsOf (batches) {
  for (let start = 0, end; start < batches.length; start = end) {
    end = start + 12 + batches.readInt32BE(start + 8)
    if (crc32c(batches.subarray(start + 21, end)) !== batches.readUInt32BE(start + 17)) throw new Error('a batch is damaged')
    const attributes = batches.readInt16BE(start + 21)
    if (attributes & 0x07) throw new Error('this example reads no compressed batches')
    let at = start + 61
    const read = () => {
      let number = 0n
      for (let shift = 0n, byte = 128; byte & 128; shift += 7n) number |= BigInt((byte = batches[at++]) & 127) << shift
      return Number((number >> 1n) ^ -(number & 1n))
    }
    const blob = size => (size < 0 ? null : batches.subarray(at, (at += size)))
    while (at < end && !(attributes & 0x20)) { // but for a transaction's marker
      const next = read() + at++
      const timestamp = Number(batches.readBigInt64BE(start + 27)) + read()
      const offset = Number(batches.readBigInt64BE(start)) + read()
      yield { offset, timestamp, key: blob(read()), value: blob(read()) }
      at = next // behind the headers
    }
  }
}

// -- the wire --

function open (host, port) {
  const waiting = new Map()
  const socket = connect(port, host)
  let [last, received] = [0, Buffer.alloc(0)]
  let why = new Error('the broker has closed the connection')
  socket.on('error', error => { why = error }).on('close', () => waiting.forEach(([, reject]) => reject(why))).write('TIDE\x01')
  socket.on('data', bytes => {
    received = Buffer.concat([received, bytes])
    while (received.length >= 4 && received.length >= 4 + received.readUInt32BE(0)) {
      const [end, split] = [4 + received.readUInt32BE(0), 8 + received.readUInt32BE(4)]
      const [id, error, body] = unpack(received.subarray(8, split))
      const [resolve, reject] = waiting.get(id)
      waiting.delete(id)
      error ? reject(new Error(`${error}: ${body.error_message}`)) : resolve([body, received.subarray(split, end)])
      received = received.subarray(end)
    }
  })
  const call = (api, body, payload = Buffer.alloc(0)) => new Promise((resolve, reject) => {
    waiting.set(++last, [resolve, reject])
    const header = pack([api, last, body, 'tide_client.mjs'])
    const sizes = Buffer.alloc(8)
    sizes.writeUInt32BE(4 + header.length + payload.length, 0)
    sizes.writeUInt32BE(header.length, 4)
    socket.write(Buffer.concat([sizes, header, payload]))
  })
  return { call, close: () => socket.end() }
}

const [address, topic, ...words] = process.argv.slice(2)
if (!words.length) { console.error('usage: node tide_client.mjs HOST:PORT TOPIC WORD...'); process.exit(2) }
const { call, close } = open(...address.split(':'))
await call('Metadata', { topics: [{ name: topic }] }) // makes the topic, if there is none
const sent = batch(words.map((word, n) => ({ key: Buffer.from(`word ${n}`), value: Buffer.from(word) })), Date.now())
const partition_data = [{ index: 0, records: [0, sent.length] }]
const [{ responses }] = await call('Produce', { acks: -1, timeout_ms: 30_000, topic_data: [{ name: topic, partition_data }] }, sent)
const { error_code: refused, error_message: why, base_offset: first = 0 } = responses[0].partition_responses[0]
if (refused) throw new Error(`error ${refused}: ${why}`)
console.log(`sent ${words.length} records to ${topic}[0] at offset ${first}`)
const partitions = [{ partition: 0, fetch_offset: first, partition_max_bytes: 1 << 20 }]
const [fetched, payload] = await call('Fetch', { max_wait_ms: 500, min_bytes: 1, topics: [{ topic, partitions }] })
const { error_code: failed, records: [position, size] = [0, 0] } = fetched.responses[0].partitions[0]
if (failed) throw new Error(`error ${failed}`)
for (const { offset, key, value } of recordsOf(payload.subarray(position, position + size))) {
  if (offset >= first) console.log(`read ${key}: ${value} at offset ${offset}`)
}
close()
