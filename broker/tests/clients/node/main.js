// The Node client program: the common command line of broker/tests/clients/README.md over KafkaJS.
'use strict'

const crypto = require('node:crypto')
const fs = require('node:fs')
const readline = require('node:readline')
const { Kafka, CompressionCodecs, CompressionTypes, logLevel } = require('kafkajs')
const group = require('./member.js')

const CODECS = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }
const FLAGS = new Set(['idempotent', 'commit'])

async function main(argv) {
  const args = parse(argv)
  const commands = {
    version, create, delete: remove, describe, 'list-offsets': listOffsets, produce, consume, 'group-consume': groupConsume,
    member: group.member, 'group-offsets': group.groupOffsets, 'group-reset': group.groupReset,
  }
  const command = commands[args.words[0]]
  if (!command) throw new Error(`unknown command ${args.words[0]}`)
  await command(args, { client, retry, print, withAdmin })
}

async function version() {
  print({ client: 'KafkaJS', version: require('kafkajs/package.json').version })
}

// Topics

async function create(args) {
  const numPartitions = Number(args.words[2])
  await withAdmin(args, (admin) =>
    admin.createTopics({ topics: args.topics.map((topic) => ({ topic, numPartitions, replicationFactor: 1 })) }))
}

async function remove(args) {
  await withAdmin(args, (admin) => admin.deleteTopics({ topics: args.topics }))
}

async function describe(args) {
  const { topics } = await withAdmin(args, (admin) => admin.fetchTopicMetadata({ topics: args.topics }))
  for (const { name, partitions } of topics) {
    for (const { partitionId, leader, replicas, isr } of partitions.sort((a, b) => a.partitionId - b.partitionId)) {
      print({ topic: name, partition: partitionId, leader, replicas, isr })
    }
  }
}

async function listOffsets(args) {
  const topic = args.words[1]
  await withAdmin(args, async (admin) => {
    const offsets = await admin.fetchTopicOffsets(topic)
    const after = args.timestamp === undefined ? [] : await admin.fetchTopicOffsetsByTimestamp(topic, Number(args.timestamp))
    const number = (text) => Number.parseInt(text, 10)
    for (const { partition, low, high } of offsets.sort((a, b) => a.partition - b.partition)) {
      const line = { topic, partition, earliest: number(low), latest: number(high) }
      const found = after.find((each) => each.partition === partition)
      // KafkaJS answers the end offset where no record is that young.
      if (found) line.at = found.offset === high ? -1 : number(found.offset)
      print(line)
    }
  })
}

async function withAdmin(args, work) {
  const admin = client(args).admin()
  await admin.connect()
  try {
    return await work(admin)
  } finally {
    await admin.disconnect()
  }
}

// Produce

async function produce(args) {
  const producer = client(args).producer({
    idempotent: Boolean(args.idempotent),
    maxInFlightRequests: 1,
    allowAutoTopicCreation: true,
    retry: retry(args),
  })
  await producer.connect()
  const acks = { all: -1, 1: 1, 0: 0 }[args.acks ?? 'all']
  const compression = CompressionTypes[CODECS[args.codec ?? 'none']]
  const start = Date.now()
  let sent = 0
  const send = async (records) => {
    const messages = records.map(toMessage)
    const results = await producer.send({ topic: args.words[1], acks, compression, timeout: 10_000, messages })
    const next = new Map(results.map((result) => [result.partition, Number(result.baseOffset)]))
    for (const record of records) {
      const partition = record.partition ?? results[0].partition
      print({ i: record.i, partition, offset: next.get(partition) })
      next.set(partition, next.get(partition) + 1)
    }
  }
  // KafkaJS has no accumulator: a call is a batch. A record that leaves the partition to the library goes alone, so that its place is known.
  let batch = []
  let bytes = 0
  for await (const text of readline.createInterface({ input: fs.createReadStream(args.file), crlfDelay: Infinity })) {
    const record = JSON.parse(text)
    if (args.rate) {
      const wait = start + (sent * 1000) / Number(args.rate) - Date.now()
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
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
  await producer.disconnect()
}

function toMessage({ partition, key, value, headers, timestamp }) {
  const message = { key: bytes(key), value: bytes(value), headers: {} }
  if (partition !== null) message.partition = partition
  if (timestamp !== null) message.timestamp = String(timestamp)
  for (const [name, text] of headers) {
    message.headers[name] = name in message.headers ? [].concat(message.headers[name], [bytes(text)]) : bytes(text)
  }
  return message
}

// Consume

async function consume(args) {
  // KafkaJS consumes in a group only; a fresh one that never commits stands for a consumer without a group.
  await receive(args, `consume-${crypto.randomUUID()}`, false)
}

async function groupConsume(args) {
  await receive(args, args.group, Boolean(args.commit))
}

async function receive(args, groupId, commit) {
  const count = Number(args.count)
  const consumer = client(args).consumer({ groupId, retry: retry(args), maxWaitTimeInMs: 500 })
  let received = 0
  const next = new Map()
  await consumer.connect()
  try {
    await consumer.subscribe({ topics: args.topics, fromBeginning: true })
    await new Promise((resolve, reject) => {
      const seconds = Number(args.timeout ?? 60)
      const timer = setTimeout(() => reject(new Error(`${received} of ${count} records within the timeout`)), seconds * 1000)
      const finish = (settle, reason) => {
        clearTimeout(timer)
        settle(reason)
      }
      consumer.on(consumer.events.CRASH, ({ payload }) => {
        if (!payload.restart) finish(reject, payload.error)
      })
      if (count === 0) finish(resolve)
      consumer.run({
        autoCommit: false,
        partitionsConsumedConcurrently: 1,
        eachMessage: async ({ topic, partition, message }) => {
          if (received === count) return
          received += 1
          next.set(`${topic}/${partition}`, { topic, partition, offset: String(Number(message.offset) + 1) })
          print(toLine(topic, partition, message))
          if (received === count) finish(resolve)
        },
      }).catch((error) => finish(reject, error))
    })
    if (commit) await consumer.commitOffsets([...next.values()])
  } finally {
    await consumer.disconnect()
  }
}

function toLine(topic, partition, message) {
  const headers = Object.entries(message.headers ?? {}).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((each) => [name, base64(each)]))
  const type = { 0: 'create', 1: 'append' }[message.batchContext?.timestampType] ?? null
  return {
    topic, partition, offset: Number(message.offset), timestamp: Number(message.timestamp), timestampType: type,
    key: base64(message.key), value: base64(message.value), headers,
  }
}

// Codecs that KafkaJS leaves to plug-ins

const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])

CompressionCodecs[CompressionTypes.Snappy] = () => {
  const snappy = require('snappy')
  return {
    compress: async (encoder) => snappy.compress(encoder.buffer),
    async decompress(buffer) {
      if (!buffer.subarray(0, 8).equals(XERIAL_MAGIC)) return snappy.uncompress(buffer)
      const blocks = []
      for (let at = 16; at < buffer.length;) {
        const size = buffer.readUInt32BE(at)
        blocks.push(await snappy.uncompress(buffer.subarray(at + 4, at + 4 + size)))
        at += 4 + size
      }
      return Buffer.concat(blocks)
    },
  }
}

CompressionCodecs[CompressionTypes.LZ4] = () => {
  const lz4 = require('lz4-napi')
  return {
    compress: async (encoder) => lz4.compressFrame(encoder.buffer),
    decompress: async (buffer) => lz4.decompressFrame(buffer),
  }
}

CompressionCodecs[CompressionTypes.ZSTD] = () => {
  const { Decoder, Encoder } = require('@toondepauw/node-zstd')
  return {
    compress: async (encoder) => new Encoder(3).encode(encoder.buffer),
    decompress: async (buffer) => new Decoder().decode(buffer),
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

function client(args) {
  return new Kafka({
    clientId: 'interop-node', brokers: [args.bootstrap ?? '127.0.0.1:9092'], logLevel: logLevel.ERROR,
    logCreator: () => ({ label, log }) => process.stderr.write(`${label} ${JSON.stringify(log)}\n`),
    requestTimeout: 10_000, retry: retry(args),
  })
}

function retry(args) {
  return { initialRetryTime: 100, maxRetryTime: 500, retries: 2 * Number(args.timeout ?? 60) }
}

function bytes(text) {
  return text === null ? null : Buffer.from(text, 'base64')
}

function base64(value) {
  return value === null || value === undefined ? null : Buffer.from(value).toString('base64')
}

function print(line) {
  fs.writeSync(1, `${JSON.stringify(line)}\n`)
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${process.argv.slice(2).join(' ')}: ${error.stack}\n`)
    process.exit(1)
  },
)
