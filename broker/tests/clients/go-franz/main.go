// The franz-go client program: the common command line of broker/tests/clients/README.md over kgo and kadm.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type args struct {
	words   []string
	options map[string]string
}

func main() {
	a := parse(os.Args[1:])
	if err := a.run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", strings.Join(a.words, " "), err)
		os.Exit(1)
	}
}

func (a *args) run() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.timeout())
	defer cancel()
	switch a.word(0) {
	case "version":
		return version()
	case "create":
		return a.create(ctx)
	case "delete":
		return a.delete(ctx)
	case "describe":
		return a.describe(ctx)
	case "list-offsets":
		return a.listOffsets(ctx)
	case "produce":
		return a.produce(ctx)
	case "consume":
		return a.consume(ctx)
	case "group-consume":
		return a.groupConsume(ctx)
	case "member":
		return a.member()
	case "group-offsets":
		return a.groupOffsets(ctx)
	case "group-reset":
		return a.groupReset(ctx)
	}
	return fmt.Errorf("unknown command %q", a.word(0))
}

func version() error {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == "github.com/twmb/franz-go" {
			show(map[string]any{"client": "franz-go", "version": dependency.Version})
		}
	}
	return nil
}

// Topics

func (a *args) create(ctx context.Context) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	partitions, err := strconv.Atoi(a.word(2))
	if err != nil {
		return err
	}
	created, err := kadm.NewClient(client).CreateTopics(ctx, int32(partitions), 1, nil, a.topics()...)
	if err != nil {
		return err
	}
	return created.Error()
}

func (a *args) delete(ctx context.Context) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	deleted, err := kadm.NewClient(client).DeleteTopics(ctx, a.topics()...)
	if err != nil {
		return err
	}
	return deleted.Error()
}

func (a *args) describe(ctx context.Context) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(ctx, a.word(1))
	if err != nil {
		return err
	}
	if err := topics.Error(); err != nil {
		return err
	}
	for _, partition := range topics[a.word(1)].Partitions.Sorted() {
		show(map[string]any{"topic": a.word(1), "partition": partition.Partition, "leader": partition.Leader,
			"replicas": partition.Replicas, "isr": partition.ISR})
	}
	return nil
}

func (a *args) listOffsets(ctx context.Context) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	earliest, err := admin.ListStartOffsets(ctx, a.word(1))
	if err == nil {
		err = earliest.Error()
	}
	if err != nil {
		return err
	}
	latest, err := admin.ListEndOffsets(ctx, a.word(1))
	if err == nil {
		err = latest.Error()
	}
	if err != nil {
		return err
	}
	at := kadm.ListedOffsets{}
	if timestamp, ok := a.options["timestamp"]; ok {
		milli, err := strconv.ParseInt(timestamp, 10, 64)
		if err != nil {
			return err
		}
		at, err = admin.ListOffsetsAfterMilli(ctx, milli, a.word(1))
		if err == nil {
			err = at.Error()
		}
		if err != nil {
			return err
		}
	}
	for _, first := range earliest.Offsets().Sorted() {
		last, _ := latest.Lookup(first.Topic, first.Partition)
		line := map[string]any{"topic": first.Topic, "partition": first.Partition, "earliest": first.At, "latest": last.Offset}
		if found, ok := at.Lookup(first.Topic, first.Partition); ok {
			line["at"] = found.Offset
			if found.Timestamp == -1 { // kadm answers the end offset where no record is that young
				line["at"] = -1
			}
		}
		show(line)
	}
	return nil
}

// Produce

type recordLine struct {
	I         int64
	Partition *int32
	Key       *[]byte
	Value     *[]byte
	Headers   [][2]*json.RawMessage
	Timestamp *int64
}

func (a *args) produce(ctx context.Context) error {
	options := []kgo.Opt{
		kgo.RecordPartitioner(orExplicit{kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.ProducerBatchMaxBytes(1_000_012),
	}
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	codec, ok := codecs[a.option("codec", "none")]
	if !ok {
		return fmt.Errorf("unknown codec %q", a.option("codec", ""))
	}
	options = append(options, kgo.ProducerBatchCompression(codec))
	switch a.option("acks", "all") {
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()))
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()))
	default:
		options = append(options, kgo.RequiredAcks(kgo.AllISRAcks()))
	}
	if !a.flag("idempotent") {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	client, err := a.client(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	file, err := os.Open(a.option("file", ""))
	if err != nil {
		return err
	}
	defer file.Close()
	rate, _ := strconv.ParseFloat(a.option("rate", "0"), 64)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	start := time.Now()
	var sent int64
	var acknowledged atomic.Int64
	var acks sync.WaitGroup
	for lines.Scan() {
		var line recordLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return err
		}
		if rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(float64(sent) / rate * float64(time.Second)))))
		}
		record, err := line.record(a.word(1))
		if err != nil {
			return err
		}
		acks.Add(1)
		client.Produce(ctx, record, func(record *kgo.Record, err error) {
			defer acks.Done()
			if err != nil {
				fmt.Fprintf(os.Stderr, "record %d: %v\n", line.I, err)
				return
			}
			acknowledged.Add(1)
			show(map[string]any{"i": line.I, "partition": record.Partition, "offset": record.Offset})
		})
		sent++
	}
	if err := lines.Err(); err != nil {
		return err
	}
	acks.Wait()
	if acknowledged.Load() != sent {
		return fmt.Errorf("%d of %d records acknowledged", acknowledged.Load(), sent)
	}
	return nil
}

func (line *recordLine) record(topic string) (*kgo.Record, error) {
	record := &kgo.Record{Topic: topic, Partition: unassigned}
	if line.Partition != nil {
		record.Partition = *line.Partition
	}
	if line.Timestamp != nil {
		record.Timestamp = time.UnixMilli(*line.Timestamp)
	}
	if line.Key != nil {
		record.Key = *line.Key
	}
	if line.Value != nil {
		record.Value = *line.Value
	}
	for _, pair := range line.Headers {
		var header kgo.RecordHeader
		var value *[]byte
		if err := json.Unmarshal(*pair[0], &header.Key); err != nil {
			return nil, err
		}
		if pair[1] != nil {
			if err := json.Unmarshal(*pair[1], &value); err != nil {
				return nil, err
			}
		}
		if value != nil {
			header.Value = *value
		}
		record.Headers = append(record.Headers, header)
	}
	return record, nil
}

const unassigned = -1

// orExplicit honours the partition of the produce file and asks the library's partitioner where there is none.
type orExplicit struct{ otherwise kgo.Partitioner }

func (p orExplicit) ForTopic(topic string) kgo.TopicPartitioner {
	return orExplicitTopic{p.otherwise.ForTopic(topic)}
}

type orExplicitTopic struct{ otherwise kgo.TopicPartitioner }

func (p orExplicitTopic) RequiresConsistency(record *kgo.Record) bool {
	return record.Partition != unassigned || p.otherwise.RequiresConsistency(record)
}

func (p orExplicitTopic) Partition(record *kgo.Record, partitions int) int {
	if record.Partition != unassigned {
		return int(record.Partition)
	}
	return p.otherwise.Partition(record, partitions)
}

// Consume

func (a *args) consume(ctx context.Context) error {
	client, err := a.client(kgo.ConsumeTopics(a.topics()...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = a.receive(ctx, client)
	return err
}

func (a *args) groupConsume(ctx context.Context) error {
	client, err := a.client(kgo.ConsumeTopics(a.topics()...), kgo.ConsumerGroup(a.option("group", "")),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll())
	if err != nil {
		return err
	}
	defer client.Close()
	defer client.AllowRebalance()
	received, err := a.receive(ctx, client)
	if err == nil && a.flag("commit") {
		err = client.CommitRecords(ctx, received...)
	}
	return err
}

func (a *args) receive(ctx context.Context, client *kgo.Client) ([]*kgo.Record, error) {
	count, err := strconv.Atoi(a.option("count", ""))
	if err != nil {
		return nil, err
	}
	var received []*kgo.Record
	for len(received) < count {
		fetches := client.PollRecords(ctx, count-len(received))
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%d of %d records within the timeout", len(received), count)
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			fmt.Fprintf(os.Stderr, "%s-%d: %v\n", topic, partition, err)
		})
		fetches.EachRecord(func(record *kgo.Record) {
			received = append(received, record)
			showRecord(record)
		})
		client.AllowRebalance()
	}
	return received, nil
}

func showRecord(record *kgo.Record) {
	kind := "none"
	switch record.Attrs.TimestampType() {
	case 0:
		kind = "create"
	case 1:
		kind = "append"
	}
	headers := [][2]any{}
	for _, header := range record.Headers {
		headers = append(headers, [2]any{header.Key, header.Value})
	}
	show(map[string]any{"topic": record.Topic, "partition": record.Partition, "offset": record.Offset,
		"timestamp": record.Timestamp.UnixMilli(), "timestampType": kind,
		"key": record.Key, "value": record.Value, "headers": headers})
}

// Helpers

func parse(words []string) *args {
	a := &args{options: map[string]string{}}
	for i := 0; i < len(words); i++ {
		name, option := strings.CutPrefix(words[i], "--")
		switch {
		case !option:
			a.words = append(a.words, words[i])
		case name == "idempotent" || name == "commit":
			a.options[name] = "true"
		default:
			i++
			a.options[name] = words[i]
		}
	}
	return a
}

func (a *args) word(at int) string {
	if at < len(a.words) {
		return a.words[at]
	}
	return ""
}

func (a *args) topics() []string { return strings.Split(a.word(1), ",") }

func (a *args) flag(name string) bool { return a.options[name] != "" }

func (a *args) option(name, absent string) string {
	if value, ok := a.options[name]; ok {
		return value
	}
	return absent
}

func (a *args) timeout() time.Duration {
	seconds, err := strconv.Atoi(a.option("timeout", "60"))
	if err != nil {
		seconds = 60
	}
	return time.Duration(seconds) * time.Second
}

func (a *args) client(options ...kgo.Opt) (*kgo.Client, error) {
	bootstrap := a.option("bootstrap", "127.0.0.1:9092")
	if bootstrap == "" {
		return nil, errors.New("--bootstrap is empty")
	}
	return kgo.NewClient(append(options, kgo.SeedBrokers(bootstrap), kgo.RetryTimeout(a.timeout()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }), kgo.RequestRetries(500),
		kgo.MetadataMinAge(100*time.Millisecond))...)
}

var output sync.Mutex

func show(line any) {
	text, err := json.Marshal(line)
	if err == nil {
		output.Lock()
		_, err = os.Stdout.Write(append(text, '\n'))
		output.Unlock()
	}
	if err != nil {
		os.Exit(2)
	}
}
