package main

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

var maintenanceChecks = []check{
	{"maintenance: status", func(ctx context.Context, c *clientv3.Client) {
		status := must(c.Status(ctx, c.Endpoints()[0]))
		equal("version", strings.HasPrefix(status.Version, "3."), true)
		equal("leader", status.Leader, status.Header.MemberId)
		equal("learner", status.IsLearner, false)
		equal("applied", status.RaftAppliedIndex > 0 && status.RaftAppliedIndex <= status.RaftIndex, true)
		equal("sizes", status.DbSize > 0 && status.DbSizeInUse > 0, true)
		equal("errors", len(status.Errors), 0)
	}},
	{"maintenance: members", func(ctx context.Context, c *clientv3.Client) {
		members := must(c.MemberList(ctx))
		equal("members", len(members.Members), 1)
		equal("name", members.Members[0].Name, "default")
		equal("id", members.Members[0].ID, members.Header.MemberId)
		equal("client URL", members.Members[0].ClientURLs[0], "http://"+c.Endpoints()[0])
		equal("revision", members.Header.Revision, 0)
	}},
	{"maintenance: alarms", func(ctx context.Context, c *clientv3.Client) {
		equal("alarms", len(must(c.AlarmList(ctx)).Alarms), 0)
		must(c.AlarmDisarm(ctx, &clientv3.AlarmMember{}))
	}},
	{"maintenance: hashes", func(ctx context.Context, c *clientv3.Client) {
		endpoint := c.Endpoints()[0]
		put := must(c.Put(ctx, "hash", "v"))
		first := must(c.HashKV(ctx, endpoint, put.Header.Revision))
		must(c.Put(ctx, "hash", "w"))
		again := must(c.HashKV(ctx, endpoint, put.Header.Revision))
		equal("hash of one revision", again.Hash, first.Hash)
		now := must(c.HashKV(ctx, endpoint, 0))
		equal("another revision", now.Hash != first.Hash, true)
	}},
	{"maintenance: defragmentation", func(ctx context.Context, c *clientv3.Client) {
		must(c.Defragment(ctx, c.Endpoints()[0]))
		equal("still there", must(c.Get(ctx, "hash")).Count, 1)
	}},
}
