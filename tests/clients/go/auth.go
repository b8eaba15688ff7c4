package main

import (
	"context"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Authentication is on from the beginning of a check to its end.
var authChecks = []check{
	{"auth: users see what their roles permit", func(ctx context.Context, c *clientv3.Client) {
		root, reader := switchOn(ctx, c)
		defer root.Close()
		defer reader.Close()
		defer switchOff(ctx, root)
		_, err := c.Get(ctx, "auth/a")
		refused(err, rpctypes.ErrUserEmpty)
		must(root.Put(ctx, "auth/a", "1"))
		must(root.Put(ctx, "other", "1"))
		equal("count", must(reader.Get(ctx, "auth/", clientv3.WithPrefix())).Count, 1)
		_, err = reader.Get(ctx, "other")
		refused(err, rpctypes.ErrPermissionDenied)
		_, err = reader.Get(ctx, "auth/a", clientv3.WithFromKey())
		refused(err, rpctypes.ErrPermissionDenied)
		_, err = reader.Put(ctx, "auth/a", "2")
		refused(err, rpctypes.ErrPermissionDenied)
		_, err = reader.UserList(ctx)
		refused(err, rpctypes.ErrPermissionDenied)
		equal("own roles", must(reader.UserGet(ctx, "reader")).Roles[0], "reader")
		_, err = login(c, "reader", "wrong")
		refused(err, rpctypes.ErrAuthFailed)
		_, err = login(c, "nobody", "reader")
		refused(err, rpctypes.ErrAuthFailed)
	}},
	{"auth: watches are looked at when they are made", func(ctx context.Context, c *clientv3.Client) {
		root, reader := switchOn(ctx, c)
		defer root.Close()
		defer reader.Close()
		defer switchOff(ctx, root)
		seen := reader.Watch(ctx, "auth/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		equal("made", (<-seen).Created, true)
		must(root.Put(ctx, "auth/a", "1"))
		equal("an event", len((<-seen).Events), 1)
		denied := <-reader.Watch(ctx, "other")
		equal("refused", strings.Contains(denied.Err().Error(), "etcdserver: permission denied"), true)
	}},
	// With JWTs, each of these changes makes all tokens old: the client gets itself another one.
	{"auth: clients go on while users change", func(ctx context.Context, c *clientv3.Client) {
		root, reader := switchOn(ctx, c)
		defer root.Close()
		defer reader.Close()
		defer switchOff(ctx, root)
		must(root.Put(ctx, "auth/a", "1"))
		for _, role := range []string{"first", "second", "third"} {
			must(root.RoleAdd(ctx, role))
			equal("count", must(reader.Get(ctx, "auth/a")).Count, 1)
			must(root.RoleDelete(ctx, role))
			must(root.Put(ctx, "auth/a", role))
		}
		must(root.RoleRevokePermission(ctx, "reader", "auth/", "auth0"))
		_, err := reader.Get(ctx, "auth/a")
		refused(err, rpctypes.ErrPermissionDenied)
	}},
}

// Makes users whose passwords are their names, and returns a client of each.
func switchOn(ctx context.Context, c *clientv3.Client) (root, reader *clientv3.Client) {
	for _, name := range []string{"root", "reader"} {
		must(c.UserAdd(ctx, name, name))
		must(c.RoleAdd(ctx, name))
		must(c.UserGrantRole(ctx, name, name))
	}
	read := clientv3.PermissionType(clientv3.PermRead)
	must(c.RoleGrantPermission(ctx, "reader", "auth/", "auth0", read))
	must(c.AuthEnable(ctx))
	return must(login(c, "root", "root")), must(login(c, "reader", "reader"))
}

func switchOff(ctx context.Context, root *clientv3.Client) {
	must(root.AuthDisable(ctx))
	for _, name := range []string{"root", "reader"} {
		must(root.UserDelete(ctx, name))
		must(root.RoleDelete(ctx, name))
	}
}

// Another client of the same server.
func login(c *clientv3.Client, name, password string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:   c.Endpoints(),
		DialTimeout: 10 * time.Second,
		Username:    name,
		Password:    password,
		Logger:      c.GetLogger(),
	})
}
