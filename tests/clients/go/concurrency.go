package main

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

var concurrencyChecks = []check{
	{"concurrency: a mutex has one owner", func(ctx context.Context, c *clientv3.Client) {
		first, second := must(concurrency.NewSession(c)), must(concurrency.NewSession(c))
		mine, yours := concurrency.NewMutex(first, "lock/m"), concurrency.NewMutex(second, "lock/m")
		ok(mine.Lock(ctx))
		refused(yours.TryLock(ctx), concurrency.ErrLocked)
		owned := make(chan error)
		go func() { owned <- yours.Lock(ctx) }()
		ok(mine.Unlock(ctx))
		ok(<-owned)
		ok(yours.Unlock(ctx))
		ok(first.Close())
		ok(second.Close())
	}},
	{"concurrency: a session that ends frees its lock", func(ctx context.Context, c *clientv3.Client) {
		first, second := must(concurrency.NewSession(c)), must(concurrency.NewSession(c))
		ok(concurrency.NewMutex(first, "lock/s").Lock(ctx))
		ok(first.Close())
		ok(concurrency.NewMutex(second, "lock/s").Lock(ctx))
		ok(second.Close())
	}},
	{"concurrency: an election", func(ctx context.Context, c *clientv3.Client) {
		first, second := must(concurrency.NewSession(c)), must(concurrency.NewSession(c))
		one, two := concurrency.NewElection(first, "elect"), concurrency.NewElection(second, "elect")
		_, err := one.Leader(ctx)
		refused(err, concurrency.ErrElectionNoLeader)
		ok(one.Campaign(ctx, "one"))
		observed := two.Observe(ctx)
		equal("leader", string((<-observed).Kvs[0].Value), "one")
		won := make(chan error)
		go func() { won <- two.Campaign(ctx, "two") }()
		ok(one.Proclaim(ctx, "still one"))
		equal("proclaimed", string((<-observed).Kvs[0].Value), "still one")
		ok(one.Resign(ctx))
		ok(<-won)
		equal("next leader", string(must(one.Leader(ctx)).Kvs[0].Value), "two")
		ok(two.Resign(ctx))
		ok(first.Close())
		ok(second.Close())
	}},
	{"concurrency: software transactions", func(ctx context.Context, c *clientv3.Client) {
		must(c.Put(ctx, "stm/n", "x"))
		done := make(chan error)
		for range 8 {
			go func() {
				_, err := concurrency.NewSTM(c, func(stm concurrency.STM) error {
					stm.Put("stm/n", stm.Get("stm/n")+"x")
					return nil
				})
				done <- err
			}()
		}
		for range 8 {
			ok(<-done)
		}
		equal("value", string(must(c.Get(ctx, "stm/n")).Kvs[0].Value), "xxxxxxxxx")
	}},
}
