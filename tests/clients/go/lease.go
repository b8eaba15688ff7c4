package main

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var leaseChecks = []check{
	{"lease: grant, attach, revoke", func(ctx context.Context, c *clientv3.Client) {
		lease := must(c.Grant(ctx, 100))
		equal("ttl", lease.TTL, 100)
		must(c.Put(ctx, "lease/b", "v", clientv3.WithLease(lease.ID)))
		must(c.Put(ctx, "lease/a", "v", clientv3.WithLease(lease.ID)))
		left := must(c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()))
		equal("granted", left.GrantedTTL, 100)
		equal("keys", len(left.Keys), 2)
		equal("remaining", left.TTL > 90 && left.TTL <= 100, true)
		before := must(c.Get(ctx, "lease/a")).Header.Revision
		revoked := must(c.Revoke(ctx, lease.ID))
		equal("one revision", revoked.Header.Revision, before+1)
		equal("keys left", must(c.Get(ctx, "lease/", clientv3.WithPrefix())).Count, 0)
		equal("gone", must(c.TimeToLive(ctx, lease.ID)).TTL, -1)
	}},
	{"lease: list", func(ctx context.Context, c *clientv3.Client) {
		first, second := must(c.Grant(ctx, 100)), must(c.Grant(ctx, 50))
		listed := map[clientv3.LeaseID]bool{}
		for _, status := range must(c.Leases(ctx)).Leases {
			listed[status.ID] = true
		}
		equal("both listed", listed[first.ID] && listed[second.ID], true)
		must(c.Revoke(ctx, first.ID))
		must(c.Revoke(ctx, second.ID))
	}},
	{"lease: keep alive once", func(ctx context.Context, c *clientv3.Client) {
		lease := must(c.Grant(ctx, 30))
		equal("ttl", must(c.KeepAliveOnce(ctx, lease.ID)).TTL, 30)
		must(c.Revoke(ctx, lease.ID))
		_, err := c.KeepAliveOnce(ctx, lease.ID)
		refused(err, rpctypes.ErrLeaseNotFound)
	}},
	{"lease: a channel keeps it alive", func(ctx context.Context, c *clientv3.Client) {
		lease := must(c.Grant(ctx, 2))
		must(c.Put(ctx, "lease/kept", "v", clientv3.WithLease(lease.ID)))
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		alive := must(c.KeepAlive(ctx, lease.ID))
		// Six answers at a third of the TTL each are twice the lease's life.
		for range 6 {
			answer := <-alive
			if answer == nil {
				panic(failure{"the channel closed"})
			}
			equal("ttl", answer.TTL, 2)
		}
		equal("still there", must(c.Get(ctx, "lease/kept")).Count, 1)
		must(c.Revoke(ctx, lease.ID))
		for range alive { // Closes when the server says that the lease is gone.
		}
	}},
	{"lease: expiry deletes the keys in one revision", func(ctx context.Context, c *clientv3.Client) {
		lease := must(c.Grant(ctx, 1))
		var revision int64
		for _, key := range []string{"lease/exp/b", "lease/exp/a", "lease/exp/c"} {
			revision = must(c.Put(ctx, key, "v", clientv3.WithLease(lease.ID))).Header.Revision
		}
		granted := time.Now()
		events := c.Watch(ctx, "lease/exp/", clientv3.WithPrefix(), clientv3.WithRev(revision+1))
		answer := <-events
		equal("events", len(answer.Events), 3)
		for index, key := range []string{"lease/exp/a", "lease/exp/b", "lease/exp/c"} {
			equal("deleted", answer.Events[index].Type, clientv3.EventTypeDelete)
			equal("key", string(answer.Events[index].Kv.Key), key)
			equal("revision", answer.Events[index].Kv.ModRevision, revision+1)
		}
		equal("not too early", time.Since(granted) > 900*time.Millisecond, true)
	}},
	{"lease: a put without it detaches the key", func(ctx context.Context, c *clientv3.Client) {
		lease := must(c.Grant(ctx, 100))
		must(c.Put(ctx, "lease/moved", "v", clientv3.WithLease(lease.ID)))
		must(c.Put(ctx, "lease/moved", "w"))
		left := must(c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()))
		equal("keys", len(left.Keys), 0)
		must(c.Revoke(ctx, lease.ID))
		equal("still there", must(c.Get(ctx, "lease/moved")).Count, 1)
	}},
	{"lease: typed errors", func(ctx context.Context, c *clientv3.Client) {
		_, err := c.Revoke(ctx, 4711)
		refused(err, rpctypes.ErrLeaseNotFound)
		_, err = c.Grant(ctx, 9_000_000_001)
		refused(err, rpctypes.ErrLeaseTTLTooLarge)
	}},
}
