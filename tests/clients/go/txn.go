package main

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var txnChecks = []check{
	{"txn: both branches", func(ctx context.Context, c *clientv3.Client) {
		created := clientv3.Compare(clientv3.CreateRevision("txn/a"), "=", 0)
		create := func() *clientv3.TxnResponse {
			return must(c.Txn(ctx).If(created).Then(clientv3.OpPut("txn/a", "1")).Else(clientv3.OpGet("txn/a")).Commit())
		}
		first := create()
		equal("first", first.Succeeded, true)
		second := create()
		equal("second", second.Succeeded, false)
		equal("value", string(second.Responses[0].GetResponseRange().Kvs[0].Value), "1")
		equal("no new revision", second.Header.Revision, first.Header.Revision)
	}},
	{"txn: every comparison", comparisons},
	{"txn: operations see earlier ones and share a revision", func(ctx context.Context, c *clientv3.Client) {
		must(c.Put(ctx, "txn/see/old", "0"))
		done := must(c.Txn(ctx).Then(
			clientv3.OpPut("txn/see/a", "1"),
			clientv3.OpPut("txn/see/b", "2"),
			clientv3.OpGet("txn/see/", clientv3.WithPrefix()),
			clientv3.OpDelete("txn/see/old"),
			clientv3.OpGet("txn/see/", clientv3.WithPrefix(), clientv3.WithCountOnly()),
		).Commit())
		equal("responses", len(done.Responses), 5)
		seen := done.Responses[2].GetResponseRange()
		equal("seen", len(seen.Kvs), 3)
		equal("same revision", seen.Kvs[0].ModRevision, seen.Kvs[1].ModRevision)
		equal("header", done.Header.Revision, seen.Kvs[0].ModRevision)
		equal("deleted", done.Responses[3].GetResponseDeleteRange().Deleted, 1)
		equal("left", done.Responses[4].GetResponseRange().Count, 2)
	}},
	{"txn: nested", func(ctx context.Context, c *clientv3.Client) {
		absent := clientv3.Compare(clientv3.Version("txn/nested"), "=", 0)
		inner := clientv3.OpTxn([]clientv3.Cmp{absent},
			[]clientv3.Op{clientv3.OpPut("txn/nested/in", "then")},
			[]clientv3.Op{clientv3.OpPut("txn/nested/in", "else")})
		// The inner condition looks at the state before the whole transaction.
		done := must(c.Txn(ctx).Then(clientv3.OpPut("txn/nested", "x"), inner).Commit())
		equal("inner", done.Responses[1].GetResponseTxn().Succeeded, true)
		equal("value", string(must(c.Get(ctx, "txn/nested/in")).Kvs[0].Value), "then")
	}},
	{"txn: comparing a range", func(ctx context.Context, c *clientv3.Client) {
		must(c.Put(ctx, "txn/range/a", "1"))
		must(c.Put(ctx, "txn/range/b", "1"))
		all := clientv3.Compare(clientv3.Value("txn/range/"), "=", "1").WithPrefix()
		equal("all equal", must(c.Txn(ctx).If(all).Commit()).Succeeded, true)
		must(c.Put(ctx, "txn/range/b", "2"))
		equal("one differs", must(c.Txn(ctx).If(all).Commit()).Succeeded, false)
	}},
	{"txn: typed errors", func(ctx context.Context, c *clientv3.Client) {
		_, err := c.Txn(ctx).Then(clientv3.OpPut("txn/d", "1"), clientv3.OpPut("txn/d", "2")).Commit()
		refused(err, rpctypes.ErrDuplicateKey)
		var many []clientv3.Op
		for number := range 129 {
			many = append(many, clientv3.OpPut(fmt.Sprintf("txn/many/%d", number), "v"))
		}
		_, err = c.Txn(ctx).Then(many...).Commit()
		refused(err, rpctypes.ErrTooManyOps)
		must(c.Txn(ctx).Then(many[:128]...).Commit())
	}},
}

func comparisons(ctx context.Context, c *clientv3.Client) {
	lease := must(c.Grant(ctx, 100))
	must(c.Put(ctx, "txn/cmp", "m"))
	put := must(c.Put(ctx, "txn/cmp", "n", clientv3.WithLease(lease.ID)))
	rev := put.Header.Revision
	holds := func(want bool, cmp clientv3.Cmp) {
		got := must(c.Txn(ctx).If(cmp).Commit()).Succeeded
		equal(fmt.Sprint(cmp), got, want)
	}
	for _, operator := range []struct {
		sign           string
		less, eq, more bool
	}{{"=", false, true, false}, {"!=", true, false, true}, {"<", true, false, false}, {">", false, false, true}} {
		// The key's own value is less than, equal to or greater than the one it is compared with.
		for _, with := range []struct {
			by    int64
			value string
			want  bool
		}{{1, "o", operator.less}, {0, "n", operator.eq}, {-1, "m", operator.more}} {
			holds(with.want, clientv3.Compare(clientv3.ModRevision("txn/cmp"), operator.sign, rev+with.by))
			holds(with.want, clientv3.Compare(clientv3.CreateRevision("txn/cmp"), operator.sign, rev-1+with.by))
			holds(with.want, clientv3.Compare(clientv3.Version("txn/cmp"), operator.sign, 2+with.by))
			holds(with.want, clientv3.Compare(clientv3.Value("txn/cmp"), operator.sign, with.value))
			holds(with.want, clientv3.Compare(clientv3.LeaseValue("txn/cmp"), operator.sign, int64(lease.ID)+with.by))
		}
		holds(false, clientv3.Compare(clientv3.Value("txn/missing"), operator.sign, "x"))
	}
	must(c.Revoke(ctx, lease.ID))
}
