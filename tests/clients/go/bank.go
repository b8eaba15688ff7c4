package main

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const (
	accounts     = 8
	tellers      = 16
	transfers    = 20
	firstBalance = 100
)

func account(n int) string { return fmt.Sprintf("bank/%02d", n%accounts) }

func balance(text string) int {
	amount, err := strconv.Atoi(text)
	ok(err)
	return amount
}

var bankChecks = []check{
	{"stm: transfers between accounts keep the sum", func(ctx context.Context, c *clientv3.Client) {
		for n := range accounts {
			must(c.Put(ctx, account(n), strconv.Itoa(firstBalance)))
		}
		before := must(c.Get(ctx, account(0))).Header.Revision
		done := make(chan error)
		for teller := range tellers {
			go func() {
				var err error
				for n := 0; n < transfers && err == nil; n++ {
					// Neighbours meet on an account; the amounts differ, so that a lost update changes the sum.
					err = transfer(c, account(teller+n), account(teller+n*3+1), 1+(teller+n)%7)
				}
				done <- err
			}()
		}
		for range tellers {
			ok(<-done)
		}
		after := must(c.Get(ctx, account(0))).Header.Revision
		equal("something moved", after > before, true)
		// The sum is the same at every revision, so no transfer was ever half done.
		for revision := before; revision <= after; revision++ {
			state := must(c.Get(ctx, "bank/", clientv3.WithPrefix(), clientv3.WithRev(revision)))
			sum := 0
			for _, kv := range state.Kvs {
				sum += balance(string(kv.Value))
			}
			equal(fmt.Sprintf("sum at revision %d", revision), sum, accounts*firstBalance)
		}
		// Every transfer between two accounts counts once in the versions of both.
		versions := 0
		for _, kv := range must(c.Get(ctx, "bank/", clientv3.WithPrefix())).Kvs {
			versions += int(kv.Version) - 1
		}
		want := 0
		for teller := range tellers {
			for n := range transfers {
				if account(teller+n) != account(teller+n*3+1) {
					want += 2
				}
			}
		}
		equal("balances written", versions, want)
	}},
}

func transfer(c *clientv3.Client, from, to string, amount int) error {
	if from == to {
		return nil
	}
	_, err := concurrency.NewSTM(c, func(stm concurrency.STM) error {
		stm.Put(from, strconv.Itoa(balance(stm.Get(from))-amount))
		stm.Put(to, strconv.Itoa(balance(stm.Get(to))+amount))
		return nil
	})
	return err
}
