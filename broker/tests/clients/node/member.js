// A member of a group that follows commands on its stdin, and a group's offsets told and set.
'use strict'

const readline = require('node:readline')
// KafkaJS tells a member its generation nowhere else.
const ConsumerGroup = require('kafkajs/src/consumer/consumerGroup')

async function member(args, { client, retry, print }) {
  const owned = new Map()
  const next = new Map()
  let group = null
  const key = ([topic, partition]) => `${topic}/${partition}`
  const revoke = () => {
    if (owned.size === 0) return
    print({ event: 'revoked', at: Date.now(), partitions: [...owned.values()] })
    owned.clear()
    next.clear()
  }
  // Eager: whatever it had is given up before it joins again.
  const join = ConsumerGroup.prototype.joinAndSync
  ConsumerGroup.prototype.joinAndSync = async function () {
    group = this
    revoke()
    await join.call(this)
    for (const { topic, partitions } of this.assigned()) {
      for (const partition of partitions) owned.set(key([topic, partition]), [topic, partition])
    }
    const all = [...owned.values()]
    print({ event: 'assigned', at: Date.now(), generation: this.generationId, partitions: all, owned: all })
  }

  const consumer = client(args).consumer({
    groupId: args.group, sessionTimeout: 6000, rebalanceTimeout: 20_000, heartbeatInterval: 500, retry: retry(args), maxWaitTimeInMs: 200,
  })
  await consumer.connect()
  await consumer.subscribe({ topics: args.topics, fromBeginning: true })
  // With the broker away for a moment it crashes and starts itself again.
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) print({ event: 'error', reason: String(payload.error) })
  })
  const commit = async () => {
    const asked = Date.now()
    const offsets = [...next.values()]
    try {
      await consumer.commitOffsets(offsets.map(([topic, partition, offset]) => ({ topic, partition, offset: String(offset) })))
      print({ event: 'committed', asked, at: Date.now(), offsets })
    } catch (failure) {
      print({ event: 'commit-failed', reason: String(failure), offsets })
    }
  }
  await consumer.run({
    autoCommit: false,
    partitionsConsumedConcurrently: 1,
    eachBatch: async ({ batch: { topic, partition, messages }, resolveOffset, isStale, isRunning }) => {
      // A batch that was fetched before a rebalance is not this member's any more.
      if (messages.length === 0 || isStale() || !isRunning() || !owned.has(key([topic, partition]))) return
      const offsets = messages.map(({ offset }) => Number(offset))
      print({ event: 'records', generation: group.generationId, topic, partition, offsets })
      next.set(key([topic, partition]), [topic, partition, offsets.at(-1) + 1])
      resolveOffset(messages.at(-1).offset)
    },
  })
  for await (const command of readline.createInterface({ input: process.stdin })) {
    if (command === 'commit') await commit()
    else if (command === 'leave') break
    else throw new Error(`unknown command ${command}`)
  }
  await consumer.stop()
  revoke()
  await consumer.disconnect()
  print({ event: 'left', at: Date.now() })
  process.exit(0)
}

async function groupOffsets(args, { withAdmin, print }) {
  const [topic] = args.topics
  await withAdmin(args, async (admin) => {
    const ends = new Map((await admin.fetchTopicOffsets(topic)).map(({ partition, high }) => [partition, Number(high)]))
    const [{ partitions }] = await admin.fetchOffsets({ groupId: args.group, topics: [topic] })
    for (const { partition, offset } of partitions) {
      const [committed, end] = [Number(offset), ends.get(partition)]
      print({ topic, partition, committed, end, lag: end - Math.max(committed, 0) })
    }
  })
}

async function groupReset(args, { withAdmin }) {
  const [topic] = args.topics
  await withAdmin(args, async (admin) => {
    const partitions = (await admin.fetchTopicOffsets(topic)).map(({ partition }) => ({ partition, offset: args.to }))
    await admin.setOffsets({ groupId: args.group, topic, partitions })
  })
}

module.exports = { member, groupOffsets, groupReset }
