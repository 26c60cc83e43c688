// A member of a group that follows commands on its stdin, and a group's offsets told and set.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type place struct {
	topic     string
	partition int32
}

type member struct {
	lock sync.Mutex
	// The place behind the last record read, of every partition that is owned; without an entry in next none was read yet.
	owned map[place]bool
	next  map[place]kgo.EpochOffset
	// The generation last told.
	told int32
}

func (a *args) member() error {
	m := &member{owned: map[place]bool{}, next: map[place]kgo.EpochOffset{}}
	options := []kgo.Opt{kgo.ConsumeTopics(a.topics()...), kgo.ConsumerGroup(a.option("group", "")),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.FetchMaxWait(200 * time.Millisecond),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.gone("revoked")), kgo.OnPartitionsLost(m.gone("lost"))}
	if a.option("protocol", "classic") == "consumer" {
		balancer := kgo.StickyBalancer()
		if a.option("assignor", "uniform") == "range" {
			balancer = kgo.RangeBalancer()
		}
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(balancer))
	} else {
		balancers := map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(),
			"sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer()}
		options = append(options, kgo.Balancers(balancers[a.option("assignor", "range")]),
			kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond))
	}
	if instance := a.option("instance", ""); instance != "" {
		options = append(options, kgo.InstanceID(instance))
	}
	client, err := a.client(options...)
	if err != nil {
		return err
	}
	commands := make(chan string, 16)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			commands <- lines.Text()
		}
		commands <- "leave"
	}()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		fetches := client.PollRecords(ctx, 500)
		cancel()
		m.read(client, fetches)
		client.AllowRebalance()
		m.tell(client)
		select {
		case command := <-commands:
			switch command {
			case "commit":
				m.commit(client)
			case "leave":
				client.CloseAllowingRebalance()
				show(map[string]any{"event": "left", "at": time.Now().UnixMilli()})
				return nil
			default:
				return fmt.Errorf("unknown command %q", command)
			}
		default:
		}
	}
}

func (m *member) read(client *kgo.Client, fetches kgo.Fetches) {
	_, generation := client.GroupMetadata()
	fetches.EachError(func(topic string, partition int32, err error) {
		if err != context.DeadlineExceeded {
			fmt.Fprintf(os.Stderr, "%s-%d: %v\n", topic, partition, err)
		}
	})
	m.lock.Lock()
	defer m.lock.Unlock()
	fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
		if len(fetched.Records) == 0 {
			return
		}
		offsets := []int64{}
		for _, record := range fetched.Records {
			offsets = append(offsets, record.Offset)
			m.next[place{record.Topic, record.Partition}] = kgo.EpochOffset{Epoch: record.LeaderEpoch, Offset: record.Offset + 1}
		}
		show(map[string]any{"event": "records", "generation": generation, "topic": fetched.Topic, "partition": fetched.Partition, "offsets": offsets})
	})
}

func (m *member) commit(client *kgo.Client) {
	m.lock.Lock()
	uncommitted := map[string]map[int32]kgo.EpochOffset{}
	offsets := [][3]any{}
	for at, next := range m.next {
		if uncommitted[at.topic] == nil {
			uncommitted[at.topic] = map[int32]kgo.EpochOffset{}
		}
		uncommitted[at.topic][at.partition] = next
		offsets = append(offsets, [3]any{at.topic, at.partition, next.Offset})
	}
	m.lock.Unlock()
	asked := time.Now().UnixMilli()
	var failure error
	if len(offsets) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		client.CommitOffsetsSync(ctx, uncommitted, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
			failure = err
			if err != nil {
				return
			}
			for _, topic := range response.Topics {
				for _, partition := range topic.Partitions {
					if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
						failure = err
					}
				}
			}
		})
	}
	line := map[string]any{"event": "committed", "asked": asked, "at": time.Now().UnixMilli(), "offsets": offsets}
	if failure != nil {
		line["event"], line["reason"] = "commit-failed", failure.Error()
	}
	show(line)
}

func (m *member) assigned(_ context.Context, client *kgo.Client, gained map[string][]int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, each := range flat(gained) {
		m.owned[each] = true
		delete(m.next, each)
	}
	_, m.told = client.GroupMetadata()
	owned := []place{}
	for each := range m.owned {
		owned = append(owned, each)
	}
	show(map[string]any{"event": "assigned", "at": time.Now().UnixMilli(), "generation": m.told,
		"partitions": pairs(flat(gained)), "owned": pairs(owned)})
}

// A generation that brought nothing new is told here.
func (m *member) tell(client *kgo.Client) {
	m.lock.Lock()
	_, generation := client.GroupMetadata()
	news := generation >= 0 && m.told > 0 && generation != m.told
	m.lock.Unlock()
	if news {
		m.assigned(context.Background(), client, nil)
	}
}

func (m *member) gone(name string) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
		m.lock.Lock()
		defer m.lock.Unlock()
		show(map[string]any{"event": name, "at": time.Now().UnixMilli(), "partitions": pairs(flat(gone))})
		for _, each := range flat(gone) {
			delete(m.owned, each)
			delete(m.next, each)
		}
	}
}

func flat(partitions map[string][]int32) (all []place) {
	for topic, list := range partitions {
		for _, partition := range list {
			all = append(all, place{topic, partition})
		}
	}
	return all
}

func pairs(all []place) [][2]any {
	sort.Slice(all, func(i, j int) bool { return all[i].partition < all[j].partition })
	found := [][2]any{}
	for _, each := range all {
		found = append(found, [2]any{each.topic, each.partition})
	}
	return found
}

// kadm's own lag describes classic groups only.
func (a *args) groupOffsets(ctx context.Context) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	committed, err := admin.FetchOffsets(ctx, a.option("group", ""))
	if err != nil {
		return err
	}
	ends, err := admin.ListEndOffsets(ctx, a.words[1])
	if err != nil {
		return err
	}
	for _, end := range ends.Offsets().Sorted() {
		at := int64(-1)
		if found, ok := committed.Lookup(end.Topic, end.Partition); ok {
			at = found.At
		}
		show(map[string]any{"topic": end.Topic, "partition": end.Partition, "committed": at, "end": end.At, "lag": end.At - max(at, 0)})
	}
	return nil
}

func (a *args) groupReset(ctx context.Context) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx, a.words[1])
	if err != nil {
		return err
	}
	var to int64
	if _, err := fmt.Sscan(a.option("to", ""), &to); err != nil {
		return err
	}
	offsets := kadm.Offsets{}
	ends.Each(func(end kadm.ListedOffset) { offsets.AddOffset(end.Topic, end.Partition, to, -1) })
	return admin.CommitAllOffsets(ctx, a.option("group", ""), offsets)
}
