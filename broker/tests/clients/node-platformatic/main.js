// The second Node client program: the common command line of broker/tests/clients/README.md over @platformatic/kafka.

import { randomUUID } from 'node:crypto'
import { createReadStream, readFileSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Admin, Consumer, ListOffsetTimestamps, MessagesStreamFallbackModes, MessagesStreamModes, Producer } from '@platformatic/kafka'

const FLAGS = new Set(['idempotent', 'commit'])

async function main(argv) {
  const args = parse(argv)
  const commands = { version, create, delete: remove, describe, 'list-offsets': listOffsets, produce, consume, 'group-consume': groupConsume }
  const command = commands[args.words[0]]
  if (!command) throw new Error(`unknown command ${args.words[0]}`)
  await command(args)
}

async function version() {
  const manifest = readFileSync(new URL('node_modules/@platformatic/kafka/package.json', import.meta.url))
  print({ client: '@platformatic/kafka', version: JSON.parse(manifest).version })
}

// Topics

async function create(args) {
  await withAdmin(args, (admin) => admin.createTopics({ topics: args.topics, partitions: Number(args.words[2]), replicas: 1 }))
}

async function remove(args) {
  await withAdmin(args, (admin) => admin.deleteTopics({ topics: args.topics }))
}

async function describe(args) {
  // A missing topic counts as retriable here: it would be asked for until the timeout.
  const metadata = await withAdmin({ ...args, timeout: 1 }, (admin) => admin.metadata({ topics: args.topics, autocreateTopics: false }))
  for (const [topic, { partitions }] of metadata.topics) {
    partitions.forEach(({ leader, replicas, isr }, partition) => print({ topic, partition, leader, replicas, isr }))
  }
}

async function listOffsets(args) {
  const topic = args.words[1]
  await withAdmin(args, async (admin) => {
    const metadata = await admin.metadata({ topics: [topic] })
    const count = metadata.topics.get(topic).partitionsCount
    const offsets = async (timestamp) => {
      const partitions = Array.from({ length: count }, (_, partitionIndex) => ({ partitionIndex, timestamp }))
      const [listed] = await admin.listOffsets({ topics: [{ name: topic, partitions }] })
      return new Map(listed.partitions.map((partition) => [partition.partitionIndex, Number(partition.offset)]))
    }
    const earliest = await offsets(ListOffsetTimestamps.EARLIEST)
    const latest = await offsets(ListOffsetTimestamps.LATEST)
    const at = args.timestamp === undefined ? undefined : await offsets(BigInt(args.timestamp))
    for (let partition = 0; partition < count; partition++) {
      print({ topic, partition, earliest: earliest.get(partition), latest: latest.get(partition), at: at?.get(partition) })
    }
  })
}

async function withAdmin(args, work) {
  const admin = new Admin(options(args))
  try {
    return await work(admin)
  } finally {
    await admin.close()
  }
}

// Produce

async function produce(args) {
  const topic = args.words[1]
  const acks = { all: -1, 1: 1, 0: 0 }[args.acks ?? 'all']
  const producer = new Producer({ ...options(args), autocreateTopics: true, idempotent: Boolean(args.idempotent) })
  const start = Date.now()
  let sent = 0
  const send = async (records) => {
    const messages = records.map((record) => toMessage(topic, record))
    const { offsets = [] } = await producer.send({ messages, acks, compression: args.codec ?? 'none' })
    const next = new Map(offsets.map(({ partition, offset }) => [partition, Number(offset)]))
    for (const record of records) {
      const partition = record.partition ?? offsets[0].partition
      print({ i: record.i, partition, offset: next.get(partition) })
      next.set(partition, next.get(partition) + 1)
    }
  }
  // A call is a batch. A record that leaves the partition to the library goes alone, so that its place is known.
  const batch = []
  let bytes = 0
  for await (const text of createInterface({ input: createReadStream(args.file), crlfDelay: Infinity })) {
    const record = JSON.parse(text)
    if (args.rate) {
      const wait = start + (sent * 1000) / Number(args.rate) - Date.now()
      if (wait > 0) await sleep(wait)
    }
    sent += 1
    const alone = record.partition === null || Boolean(args.rate)
    if (batch.length > 0 && (alone || batch.length === 10 || bytes + text.length > 1_200_000)) {
      await send(batch.splice(0))
      bytes = 0
    }
    if (alone) {
      await send([record])
    } else {
      batch.push(record)
      bytes += text.length
    }
  }
  if (batch.length > 0) await send(batch)
  await producer.close()
}

function toMessage(topic, { partition, key, value, headers, timestamp }) {
  // Header names are buffers, so the map keeps the same name twice, and the order.
  const message = { topic, key: bytes(key), value: bytes(value), headers: new Map(headers.map(([name, each]) => [Buffer.from(name), bytes(each)])) }
  if (partition !== null) message.partition = partition
  if (timestamp !== null) message.timestamp = BigInt(timestamp)
  return message
}

// Consume

async function consume(args) {
  await receive(args, `consume-${randomUUID()}`, { mode: MessagesStreamModes.EARLIEST }, false)
}

async function groupConsume(args) {
  const from = { mode: MessagesStreamModes.COMMITTED, fallbackMode: MessagesStreamFallbackModes.EARLIEST }
  await receive(args, args.group, from, Boolean(args.commit))
}

async function receive(args, groupId, from, commit) {
  const count = Number(args.count)
  const consumer = new Consumer({ ...options(args), groupId, autocommit: false, maxWaitTime: 500 })
  const stream = await consumer.consume({ topics: args.topics, ...from })
  const timer = setTimeout(() => stream.destroy(new Error(`${received} of ${count} records within the timeout`)), Number(args.timeout ?? 60) * 1000)
  const next = new Map()
  let received = 0
  for await (const message of stream) {
    const { topic, partition, offset } = message
    print(toLine(message))
    next.set(`${topic}/${partition}`, { topic, partition, offset: offset + 1n, leaderEpoch: 0 })
    received += 1
    if (received === count) break
  }
  clearTimeout(timer)
  // The library's commit takes the offset of the next record.
  if (commit) await consumer.commit({ offsets: [...next.values()] })
  await consumer.close(true)
}

function toLine({ topic, partition, offset, timestamp, key, value, headers }) {
  return {
    topic, partition, offset: Number(offset), timestamp: Number(timestamp), timestampType: null,
    key: base64(key), value: base64(value), headers: [...headers].map(([name, each]) => [name.toString(), base64(each)]),
  }
}

// Helpers

function parse(argv) {
  const args = { words: [] }
  for (let i = 0; i < argv.length; i++) {
    if (!argv[i].startsWith('--')) args.words.push(argv[i])
    else if (FLAGS.has(argv[i].slice(2))) args[argv[i].slice(2)] = true
    else args[argv[i].slice(2)] = argv[++i]
  }
  args.topics = (args.words[1] ?? '').split(',')
  return args
}

function options(args) {
  return {
    clientId: 'interop-node-platformatic', bootstrapBrokers: [args.bootstrap ?? '127.0.0.1:9092'],
    retries: 10 * Number(args.timeout ?? 60), retryDelay: 100, connectTimeout: 2000, timeout: 10_000,
  }
}

function bytes(text) {
  return text === null ? null : Buffer.from(text, 'base64')
}

function base64(value) {
  return value === null || value === undefined ? null : value.toString('base64')
}

function print(line) {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${process.argv.slice(2).join(' ')}: ${error.stack}\n${JSON.stringify(error.errors ?? error.cause ?? '')}\n`)
    process.exit(1)
  },
)
