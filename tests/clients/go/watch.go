package main

import (
	"context"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// next returns the events of the next answer that has any.
func next(events clientv3.WatchChan) []*clientv3.Event {
	for answer := range events {
		if err := answer.Err(); err != nil {
			panic(failure{err.Error()})
		}
		if len(answer.Events) > 0 {
			return answer.Events
		}
	}
	panic(failure{"the watch ended"})
}

// created opens a watch and waits until the server has it.
func created(ctx context.Context, c *clientv3.Client, key string, options ...clientv3.OpOption) clientv3.WatchChan {
	events := c.Watch(ctx, key, append(options, clientv3.WithCreatedNotify())...)
	answer := <-events
	equal("created", answer.Created, true)
	return events
}

var watchChecks = []check{
	{"watch: puts and deletes", func(ctx context.Context, c *clientv3.Client) {
		events := created(ctx, c, "watch/a")
		put := must(c.Put(ctx, "watch/a", "1"))
		event := next(events)[0]
		equal("create", event.IsCreate(), true)
		equal("revision", event.Kv.ModRevision, put.Header.Revision)
		must(c.Put(ctx, "watch/a", "2"))
		equal("modify", next(events)[0].IsModify(), true)
		deleted := must(c.Delete(ctx, "watch/a"))
		event = next(events)[0]
		equal("type", event.Type, clientv3.EventTypeDelete)
		equal("revision", event.Kv.ModRevision, deleted.Header.Revision)
		equal("no value", len(event.Kv.Value), 0)
	}},
	{"watch: history", func(ctx context.Context, c *clientv3.Client) {
		first := must(c.Put(ctx, "watch/h/0", "v")).Header.Revision
		for number := 1; number < 3000; number++ {
			must(c.Put(ctx, fmt.Sprintf("watch/h/%d", number), "v"))
		}
		events := c.Watch(ctx, "watch/h/", clientv3.WithPrefix(), clientv3.WithRev(first))
		for seen := int64(0); seen < 3000; {
			for _, event := range next(events) {
				equal("revision", event.Kv.ModRevision, first+seen)
				seen++
			}
		}
		last := must(c.Put(ctx, "watch/h/live", "v"))
		equal("then live", next(events)[0].Kv.ModRevision, last.Header.Revision)
	}},
	{"watch: previous values", func(ctx context.Context, c *clientv3.Client) {
		events := created(ctx, c, "watch/prev", clientv3.WithPrevKV())
		must(c.Put(ctx, "watch/prev", "1"))
		equal("none before the first", next(events)[0].PrevKv == nil, true)
		must(c.Put(ctx, "watch/prev", "2"))
		equal("before the second", string(next(events)[0].PrevKv.Value), "1")
		must(c.Delete(ctx, "watch/prev"))
		equal("before the delete", string(next(events)[0].PrevKv.Value), "2")
	}},
	{"watch: filters", func(ctx context.Context, c *clientv3.Client) {
		puts := created(ctx, c, "watch/filter", clientv3.WithFilterDelete())
		deletes := created(ctx, c, "watch/filter", clientv3.WithFilterPut())
		must(c.Put(ctx, "watch/filter", "1"))
		must(c.Delete(ctx, "watch/filter"))
		must(c.Put(ctx, "watch/filter", "2"))
		equal("deletes only", next(deletes)[0].Type, clientv3.EventTypeDelete)
		equal("first put", string(next(puts)[0].Kv.Value), "1")
		equal("second put", string(next(puts)[0].Kv.Value), "2")
	}},
	{"watch: a transaction arrives whole", func(ctx context.Context, c *clientv3.Client) {
		events := created(ctx, c, "watch/txn/", clientv3.WithPrefix())
		var ops []clientv3.Op
		for number := range 100 {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("watch/txn/%03d", 99-number), "v"))
		}
		must(c.Txn(ctx).Then(ops...).Commit())
		got := next(events)
		equal("events", len(got), 100)
		equal("in the order of the operations", string(got[0].Kv.Key), "watch/txn/099")
	}},
	{"watch: fragments", func(ctx context.Context, c *clientv3.Client) {
		// Ten values of 1 MB are more than one message of 2 MiB; the client puts the pieces together.
		first := must(c.Put(ctx, "watch/big/0", strings.Repeat("0", 1_000_000))).Header.Revision
		for number := 1; number < 10; number++ {
			must(c.Put(ctx, fmt.Sprintf("watch/big/%d", number), strings.Repeat(fmt.Sprint(number), 1_000_000)))
		}
		events := c.Watch(ctx, "watch/big/", clientv3.WithPrefix(), clientv3.WithRev(first), clientv3.WithFragment())
		for seen := 0; seen < 10; {
			for _, event := range next(events) {
				equal("size", len(event.Kv.Value), 1_000_000)
				equal("value", string(event.Kv.Value[:1]), fmt.Sprint(seen))
				seen++
			}
		}
		must(c.Delete(ctx, "watch/big/", clientv3.WithPrefix()))
	}},
	{"watch: a compacted start is cancelled", func(ctx context.Context, c *clientv3.Client) {
		first := must(c.Put(ctx, "watch/compact", "1")).Header.Revision
		must(c.Put(ctx, "watch/compact", "2"))
		last := must(c.Put(ctx, "watch/compact", "3")).Header.Revision
		must(c.Compact(ctx, last))
		answer := <-c.Watch(ctx, "watch/compact", clientv3.WithRev(first))
		refused(answer.Err(), rpctypes.ErrCompacted)
		equal("compact revision", answer.CompactRevision, last)
		equal("canceled", answer.Canceled, true)
	}},
	{"watch: a future start waits", func(ctx context.Context, c *clientv3.Client) {
		now := must(c.Put(ctx, "watch/future", "0")).Header.Revision
		events := created(ctx, c, "watch/future", clientv3.WithRev(now+3))
		for number := 1; number <= 3; number++ {
			must(c.Put(ctx, "watch/future", fmt.Sprint(number)))
		}
		equal("first seen", string(next(events)[0].Kv.Value), "3")
	}},
	{"watch: progress on request", func(ctx context.Context, c *clientv3.Client) {
		events := created(ctx, c, "watch/progress")
		put := must(c.Put(ctx, "watch/progress", "v"))
		next(events)
		other := must(c.Put(ctx, "watch/other", "v"))
		ok(c.RequestProgress(ctx))
		answer := <-events
		equal("progress", answer.IsProgressNotify(), true)
		equal("revision", answer.Header.Revision >= put.Header.Revision, true)
		equal("not beyond", answer.Header.Revision <= other.Header.Revision, true)
	}},
	{"watch: many on one stream, cancelled one by one", func(ctx context.Context, c *clientv3.Client) {
		const count = 100
		var watches [count]clientv3.WatchChan
		var cancels [count]context.CancelFunc
		for index := range watches {
			var one context.Context
			one, cancels[index] = context.WithCancel(ctx)
			defer cancels[index]()
			watches[index] = created(one, c, "watch/many")
		}
		for index := range watches {
			must(c.Put(ctx, "watch/many", fmt.Sprint(index)))
			for _, events := range watches[index:] {
				equal("value", string(next(events)[0].Kv.Value), fmt.Sprint(index))
			}
			cancels[index]()
			for range watches[index] { // Closes after the cancel.
			}
		}
	}},
	{"watch: the whole store", func(ctx context.Context, c *clientv3.Client) {
		events := created(ctx, c, "", clientv3.WithFromKey())
		must(c.Put(ctx, "zzz", "v"))
		equal("key", string(next(events)[0].Kv.Key), "zzz")
		must(c.Put(ctx, "\x00", "v"))
		equal("key", string(next(events)[0].Kv.Key), "\x00")
	}},
}
