package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

var errLockLost = errors.New("the lock is lost: its lease has ended")

// The README shows this function as it stands here.
func putAsOwner(ctx context.Context, client *clientv3.Client, mutex *concurrency.Mutex, key, value string) error {
	answer, err := client.Txn(ctx).
		If(mutex.IsOwner()). // the lock's key still has the revision that our Lock created it with
		Then(clientv3.OpPut(key, value)).
		Commit()
	if err == nil && !answer.Succeeded {
		err = errLockLost
	}
	return err
}

// A way to be alone: a mutex to lock, or an election to win.
type turn interface {
	// Waits until it is this contender's turn.
	begin(ctx context.Context) error
	// Writes if it is this contender's turn, or answers errLockLost.
	put(ctx context.Context, key, value string) error
	// A number that only grows from one holder to the next.
	token() int64
	end(ctx context.Context) error
}

type mutexTurn struct {
	client *clientv3.Client
	mutex  *concurrency.Mutex
}

func (t mutexTurn) begin(ctx context.Context) error { return t.mutex.Lock(ctx) }
func (t mutexTurn) token() int64                    { return t.mutex.Header().Revision }
func (t mutexTurn) end(ctx context.Context) error   { return t.mutex.Unlock(ctx) }
func (t mutexTurn) put(ctx context.Context, key, value string) error {
	return putAsOwner(ctx, t.client, t.mutex, key, value)
}

type electionTurn struct {
	client   *clientv3.Client
	election *concurrency.Election
}

func (t electionTurn) begin(ctx context.Context) error { return t.election.Campaign(ctx, "candidate") }
func (t electionTurn) token() int64                    { return t.election.Rev() }
func (t electionTurn) end(ctx context.Context) error   { return t.election.Resign(ctx) }
func (t electionTurn) put(ctx context.Context, key, value string) error {
	leads := clientv3.Compare(clientv3.CreateRevision(t.election.Key()), "=", t.election.Rev())
	answer, err := t.client.Txn(ctx).If(leads).Then(clientv3.OpPut(key, value)).Commit()
	if err == nil && !answer.Succeeded {
		err = errLockLost
	}
	return err
}

func newTurn(kind string, client *clientv3.Client, session *concurrency.Session, prefix string) turn {
	if kind == "mutex" {
		return mutexTurn{client, concurrency.NewMutex(session, prefix)}
	}
	return electionTurn{client, concurrency.NewElection(session, prefix)}
}

// Stands for a resource outside the store: it remembers the highest token and refuses lower ones.
type gate struct {
	lock    sync.Mutex
	changed *sync.Cond
	highest int64
}

func newGate() *gate {
	g := &gate{}
	g.changed = sync.NewCond(&g.lock)
	return g
}

func (g *gate) admits(token int64) bool {
	g.lock.Lock()
	defer g.lock.Unlock()
	if token < g.highest {
		return false
	}
	g.highest = token
	g.changed.Broadcast()
	return true
}

// Waits for a holder after the one with this token.
func (g *gate) waitAbove(ctx context.Context, token int64) error {
	stop := context.AfterFunc(ctx, g.changed.Broadcast)
	defer stop()
	g.lock.Lock()
	defer g.lock.Unlock()
	for g.highest <= token {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("nobody came after token %d: %w", token, err)
		}
		g.changed.Wait()
	}
	return nil
}

// One accepted write to the protected key.
type accepted struct {
	revision int64
	token    int64
	holder   string
}

// The server's own history of the key from a revision up to its last write.
func acceptedWrites(ctx context.Context, c *clientv3.Client, key string, from int64) ([]accepted, error) {
	last, err := c.Get(ctx, key)
	if err != nil || last.Count == 0 {
		return nil, errors.Join(err, errors.New("nothing was ever written"))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var writes []accepted
	for answer := range c.Watch(ctx, key, clientv3.WithRev(from)) {
		if err := answer.Err(); err != nil {
			return nil, err
		}
		for _, event := range answer.Events {
			write := accepted{revision: event.Kv.ModRevision}
			if _, err := fmt.Sscanf(string(event.Kv.Value), "%d %s", &write.token, &write.holder); err != nil {
				return nil, fmt.Errorf("value %q: %w", event.Kv.Value, err)
			}
			writes = append(writes, write)
			if write.revision == last.Kvs[0].ModRevision {
				return writes, nil
			}
		}
	}
	return nil, fmt.Errorf("the watch ended early: %w", ctx.Err())
}

// Holders follow each other with growing tokens, and none writes again once another has.
func checkHistory(writes []accepted) error {
	for at, write := range writes[:max(len(writes), 1)-1] {
		next := writes[at+1]
		if next.revision <= write.revision {
			return fmt.Errorf("write %+v is listed before %+v", write, next)
		}
		same := next.token == write.token && next.holder == write.holder
		if !same && next.token <= write.token {
			return fmt.Errorf("write %+v was accepted after %+v", next, write)
		}
	}
	return nil
}

// A checker that finds nothing would pass everything: it must notice each way of going wrong.
func checkHistoryNotices() error {
	good := []accepted{{2, 1, "a"}, {3, 1, "a"}, {4, 3, "b"}, {6, 5, "a"}}
	if err := checkHistory(good); err != nil {
		return fmt.Errorf("a good history is refused: %w", err)
	}
	for what, wrong := range map[string][]accepted{
		"a stale write":      {{2, 1, "a"}, {3, 2, "b"}, {4, 1, "a"}},
		"two with one token": {{2, 1, "a"}, {3, 1, "b"}},
		"a falling token":    {{2, 2, "a"}, {3, 1, "b"}},
	} {
		if checkHistory(wrong) == nil {
			return fmt.Errorf("%s went unnoticed", what)
		}
	}
	return nil
}

func holders(writes []accepted) []string {
	var names []string
	for _, write := range writes {
		names = append(names, write.holder)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
