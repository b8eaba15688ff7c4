package main

import (
	"context"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var kvChecks = []check{
	{"kv: put and get", func(ctx context.Context, c *clientv3.Client) {
		first := must(c.Put(ctx, "kv/a", "1"))
		second := must(c.Put(ctx, "kv/a", "2", clientv3.WithPrevKV()))
		equal("revision", second.Header.Revision, first.Header.Revision+1)
		equal("previous value", string(second.PrevKv.Value), "1")
		got := must(c.Get(ctx, "kv/a"))
		equal("count", got.Count, 1)
		kv := got.Kvs[0]
		equal("value", string(kv.Value), "2")
		equal("version", kv.Version, 2)
		equal("create revision", kv.CreateRevision, first.Header.Revision)
		equal("mod revision", kv.ModRevision, second.Header.Revision)
		equal("header revision", got.Header.Revision, second.Header.Revision)
	}},
	{"kv: history can be read", func(ctx context.Context, c *clientv3.Client) {
		first := must(c.Put(ctx, "kv/history", "old"))
		must(c.Put(ctx, "kv/history", "new"))
		old := must(c.Get(ctx, "kv/history", clientv3.WithRev(first.Header.Revision)))
		equal("value", string(old.Kvs[0].Value), "old")
	}},
	{"kv: ranges", ranges},
	{"kv: delete", func(ctx context.Context, c *clientv3.Client) {
		for _, key := range []string{"kv/del/a", "kv/del/b", "kv/del/c"} {
			must(c.Put(ctx, key, key))
		}
		deleted := must(c.Delete(ctx, "kv/del/", clientv3.WithPrefix(), clientv3.WithPrevKV()))
		equal("deleted", deleted.Deleted, 3)
		equal("previous keys", len(deleted.PrevKvs), 3)
		equal("order", string(deleted.PrevKvs[0].Key), "kv/del/a")
		again := must(c.Delete(ctx, "kv/del/", clientv3.WithPrefix()))
		equal("deleted again", again.Deleted, 0)
		equal("revision", again.Header.Revision, deleted.Header.Revision)
	}},
	{"kv: a deleted key starts again at version 1", func(ctx context.Context, c *clientv3.Client) {
		must(c.Put(ctx, "kv/again", "1"))
		must(c.Put(ctx, "kv/again", "2"))
		must(c.Delete(ctx, "kv/again"))
		put := must(c.Put(ctx, "kv/again", "3"))
		kv := must(c.Get(ctx, "kv/again")).Kvs[0]
		equal("version", kv.Version, 1)
		equal("create revision", kv.CreateRevision, put.Header.Revision)
	}},
	{"kv: ignore value and ignore lease", func(ctx context.Context, c *clientv3.Client) {
		lease := must(c.Grant(ctx, 100))
		must(c.Put(ctx, "kv/keep", "value", clientv3.WithLease(lease.ID)))
		must(c.Put(ctx, "kv/keep", "other", clientv3.WithIgnoreLease()))
		equal("lease", must(c.Get(ctx, "kv/keep")).Kvs[0].Lease, int64(lease.ID))
		must(c.Put(ctx, "kv/keep", "", clientv3.WithIgnoreValue()))
		kv := must(c.Get(ctx, "kv/keep")).Kvs[0]
		equal("value", string(kv.Value), "other")
		equal("lease", kv.Lease, 0)
		must(c.Revoke(ctx, lease.ID))
	}},
	{"kv: bytes of every kind", func(ctx context.Context, c *clientv3.Client) {
		var bytes []byte
		for value := range 256 {
			bytes = append(bytes, byte(value))
		}
		key, value := "kv/bytes/"+string(bytes), strings.Repeat(string(bytes), 4000)
		must(c.Put(ctx, key, value))
		equal("same value", string(must(c.Get(ctx, key)).Kvs[0].Value) == value, true)
	}},
	{"kv: typed errors", func(ctx context.Context, c *clientv3.Client) {
		_, err := c.Put(ctx, "", "v")
		refused(err, rpctypes.ErrEmptyKey)
		_, err = c.Put(ctx, "k", "v", clientv3.WithLease(12345))
		refused(err, rpctypes.ErrLeaseNotFound)
		_, err = c.Put(ctx, "kv/none", "", clientv3.WithIgnoreValue())
		refused(err, rpctypes.ErrKeyNotFound)
		_, err = c.Get(ctx, "k", clientv3.WithRev(1<<40))
		refused(err, rpctypes.ErrFutureRev)
		_, err = c.Put(ctx, "k", strings.Repeat("x", 1<<20+1<<19))
		refused(err, rpctypes.ErrRequestTooLarge)
	}},
	{"kv: compaction", func(ctx context.Context, c *clientv3.Client) {
		first := must(c.Put(ctx, "kv/compact", "1"))
		second := must(c.Put(ctx, "kv/compact", "2"))
		must(c.Compact(ctx, second.Header.Revision, clientv3.WithCompactPhysical()))
		_, err := c.Get(ctx, "kv/compact", clientv3.WithRev(first.Header.Revision))
		refused(err, rpctypes.ErrCompacted)
		_, err = c.Compact(ctx, second.Header.Revision)
		refused(err, rpctypes.ErrCompacted)
		_, err = c.Compact(ctx, second.Header.Revision+100)
		refused(err, rpctypes.ErrFutureRev)
		at := must(c.Get(ctx, "kv/compact", clientv3.WithRev(second.Header.Revision)))
		equal("value", string(at.Kvs[0].Value), "2")
	}},
}

func keys(got *clientv3.GetResponse) string {
	var names []string
	for _, kv := range got.Kvs {
		names = append(names, strings.TrimPrefix(string(kv.Key), "kv/range/"))
	}
	return strings.Join(names, " ")
}

func ranges(ctx context.Context, c *clientv3.Client) {
	get := func(key string, options ...clientv3.OpOption) *clientv3.GetResponse {
		return must(c.Get(ctx, "kv/range/"+key, options...))
	}
	var revision int64
	for _, pair := range []string{"a3", "b1", "c2", "d0"} {
		revision = must(c.Put(ctx, "kv/range/"+pair[:1], pair[1:])).Header.Revision
	}
	prefix := clientv3.WithPrefix()
	equal("prefix", keys(get("", prefix)), "a b c d")
	equal("interval", keys(get("b", clientv3.WithRange("kv/range/d"))), "b c")
	equal("open end", keys(get("c", prefix, clientv3.WithRange("kv/range0"))), "c d")
	descend := clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)
	equal("descending", keys(get("", prefix, descend)), "d c b a")
	byValue := clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend)
	equal("by value", keys(get("", prefix, byValue)), "d b c a")
	byMod := clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend)
	equal("by mod revision", keys(get("", prefix, byMod)), "d c b a")
	limited := get("", prefix, clientv3.WithLimit(3))
	equal("limited", keys(limited), "a b c")
	equal("more", limited.More, true)
	equal("count", limited.Count, 4)
	all := get("", prefix, clientv3.WithLimit(4))
	equal("more of all", all.More, false)
	counted := get("", prefix, clientv3.WithCountOnly())
	equal("count only", counted.Count, 4)
	equal("keys of count only", len(counted.Kvs), 0)
	named := get("", prefix, clientv3.WithKeysOnly())
	equal("keys only", len(named.Kvs[0].Value), 0)
	equal("serializable", keys(get("", prefix, clientv3.WithSerializable())), "a b c d")
	equal("min mod", keys(get("", prefix, clientv3.WithMinModRev(revision))), "d")
	equal("max mod", keys(get("", prefix, clientv3.WithMaxModRev(revision-2))), "a b")
	equal("max create", keys(get("", prefix, clientv3.WithMaxCreateRev(revision-3))), "a")
	first := must(c.Get(ctx, "kv/range/", clientv3.WithFirstCreate()...))
	equal("first created", keys(first), "a")
	last := must(c.Get(ctx, "kv/range/", clientv3.WithLastRev()...))
	equal("last revision", keys(last), "d")
}
