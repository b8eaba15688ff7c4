package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const (
	contenders = 50
	// Their sessions end while they wait for their turn.
	expiringWaiters = 4
	// Turns of every other contender.
	steadyTurns = 2
)

// Of each kind of holders that lose their turn: those whose keep-alive stops, and processes that are stopped and
// continued when another has the turn. Every one costs the contest as long as a lease lasts.
var losers = numberFromEnv("KVORUM_TEST_LOCK_LOSERS", 1)

// The shortest that a server grants is longer; it says which.
const shortTTL = 1

var contestChecks = []check{
	{"fencing: the history's checker notices", func(context.Context, *clientv3.Client) {
		ok(checkHistoryNotices())
	}},
	{"fencing: 50 contenders on one mutex and one election", func(ctx context.Context, c *clientv3.Client) {
		failed := make(chan error)
		kinds := []string{"mutex", "election"}
		for _, kind := range kinds {
			go func() { failed <- runContest(ctx, c, kind) }()
		}
		for range kinds {
			ok(<-failed)
		}
	}},
}

type contest struct {
	kind, prefix, resource, endpoint string
	client                           *clientv3.Client
	// The store's when the contest began.
	revision int64
	outside  *gate
	// Holders that have yet to lose their turn; the steady ones go on so that somebody follows them.
	losing atomic.Int32
	// Opened when every contender stands in the queue and the expiring ones have left it.
	queued chan struct{}
}

// What became of a contender, or why it is wrong.
type outcome struct {
	name string
	err  error
}

func runContest(ctx context.Context, c *clientv3.Client, kind string) error {
	t := &contest{
		kind: kind, prefix: "contest/" + kind, resource: "protected/" + kind, endpoint: c.Endpoints()[0],
		client: c, outside: newGate(), queued: make(chan struct{}),
	}
	t.losing.Store(int32(2 * losers))
	opener, err := concurrency.NewSession(c)
	if err != nil {
		return err
	}
	now, err := c.Get(ctx, t.resource)
	if err != nil {
		return err
	}
	t.revision = now.Header.Revision
	first := newTurn(kind, c, opener, t.prefix)
	if err := first.begin(ctx); err != nil {
		return err
	}
	outcomes := t.start(ctx)
	// The opener and everyone else; then without those whose sessions end.
	if err := t.waitForArrivals(ctx, 1+contenders); err != nil {
		return err
	}
	close(t.queued)
	if err := t.waitForQueue(ctx, 1+contenders-expiringWaiters); err != nil {
		return err
	}
	if err := errors.Join(first.end(ctx), opener.Close()); err != nil {
		return err
	}
	for range contenders {
		if done := <-outcomes; done.err != nil {
			return fmt.Errorf("%s, %s: %w", kind, done.name, done.err)
		}
	}
	return t.checkAfterwards(ctx)
}

func (t *contest) start(ctx context.Context) <-chan outcome {
	outcomes := make(chan outcome, contenders)
	run := func(name string, contend func(ctx context.Context, name string) error) {
		go func() { outcomes <- outcome{name, contend(ctx, name)} }()
	}
	for n := range contenders {
		switch {
		case n < expiringWaiters:
			run(fmt.Sprintf("expiring-%d", n), t.expireWaiting)
		case n < expiringWaiters+losers:
			run(fmt.Sprintf("lapsing-%d", n), t.lapse)
		case n < expiringWaiters+2*losers:
			run(fmt.Sprintf("frozen-%d", n), t.freeze)
		default:
			run(fmt.Sprintf("steady-%d", n), t.takeTurns)
		}
	}
	return outcomes
}

// Waits until that many have ever stood in the queue; on a slow machine one of them may have gone again.
func (t *contest) waitForArrivals(ctx context.Context, want int) error {
	seen := map[string]bool{}
	for len(seen) < want {
		waiting, err := t.client.Get(ctx, t.prefix+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			return fmt.Errorf("%d of %d have come: %w", len(seen), want, err)
		}
		for _, kv := range waiting.Kvs {
			seen[string(kv.Key)] = true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// Waits until at most that many stand in the queue.
func (t *contest) waitForQueue(ctx context.Context, most int64) error {
	for {
		waiting, err := t.client.Get(ctx, t.prefix+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return fmt.Errorf("waiting for a queue of %d: %w", most, err)
		}
		if waiting.Count <= most {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Each contender has a connection of its own, as programs have.
func (t *contest) session(ctx context.Context, ttl int) (*clientv3.Client, *concurrency.Session, error) {
	client, err := connect(ctx, t.endpoint)
	if err != nil {
		return nil, nil, err
	}
	session, err := concurrency.NewSession(client, concurrency.WithTTL(ttl))
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, session, nil
}

func value(token int64, name string) string { return fmt.Sprintf("%d %s", token, name) }

// Never loses its session, so everything it does during its turn is accepted.
func (t *contest) takeTurns(ctx context.Context, name string) error {
	client, session, err := t.session(ctx, 60)
	if err != nil {
		return err
	}
	defer client.Close()
	for done := 0; done < steadyTurns || t.losing.Load() > 0; done++ {
		mine := newTurn(t.kind, client, session, t.prefix)
		if err := mine.begin(ctx); err != nil {
			return err
		}
		for range 2 {
			if err := mine.put(ctx, t.resource, value(mine.token(), name)); err != nil {
				return err
			}
			if !t.outside.admits(mine.token()) {
				return fmt.Errorf("the gate refuses token %d during its turn", mine.token())
			}
		}
		if err := mine.end(ctx); err != nil {
			return err
		}
	}
	return session.Close()
}

// Its session ends in the queue. A mutex tells it; an election lets it believe that it leads. Both refuse its write.
func (t *contest) expireWaiting(ctx context.Context, name string) error {
	client, session, err := t.session(ctx, shortTTL)
	if err != nil {
		return err
	}
	defer client.Close()
	go func() {
		<-t.queued
		session.Orphan()
	}()
	mine := newTurn(t.kind, client, session, t.prefix)
	err = mine.begin(ctx)
	if errors.Is(err, concurrency.ErrSessionExpired) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := mine.put(ctx, t.resource, value(mine.token(), name)); !errors.Is(err, errLockLost) {
		return fmt.Errorf("a write after the session's end: got %v", err)
	}
	return nil
}

// Begins a turn in which the first write is accepted, however slow the machine: a session may end before it.
func (t *contest) hold(ctx context.Context, name string) (*clientv3.Client, *concurrency.Session, turn, error) {
	for {
		client, session, err := t.session(ctx, shortTTL)
		if err != nil {
			return nil, nil, nil, err
		}
		mine := newTurn(t.kind, client, session, t.prefix)
		if err = mine.begin(ctx); err == nil {
			err = mine.put(ctx, t.resource, value(mine.token(), name))
		}
		if err == nil {
			return client, session, mine, nil
		}
		client.Close()
		if !errors.Is(err, errLockLost) && !errors.Is(err, concurrency.ErrSessionExpired) {
			return nil, nil, nil, err
		}
	}
}

// Stops its keep-alive during its turn and writes again when another has had one.
func (t *contest) lapse(ctx context.Context, name string) error {
	client, session, mine, err := t.hold(ctx, name)
	if err != nil {
		return err
	}
	defer client.Close()
	session.Orphan()
	if err := t.outside.waitAbove(ctx, mine.token()); err != nil {
		return err
	}
	if err := mine.put(ctx, t.resource, value(mine.token(), name)); !errors.Is(err, errLockLost) {
		return fmt.Errorf("a stale write: got %v", err)
	}
	if t.outside.admits(mine.token()) {
		return fmt.Errorf("the gate admits the stale token %d", mine.token())
	}
	// Leaving late must not end the turn of whoever has it now; the history would show.
	if err := mine.end(ctx); err != nil {
		return err
	}
	t.losing.Add(-1)
	return nil
}

// The same with a whole process that stops without knowing, as under a paused machine.
func (t *contest) freeze(ctx context.Context, name string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.CommandContext(ctx, program, "hold", t.endpoint, t.kind, t.prefix, t.resource, name)
	child.Stderr = os.Stderr
	input, err := child.StdinPipe()
	if err != nil {
		return err
	}
	output, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	told := t.thaw(ctx, child.Process, input, bufio.NewReader(output))
	if told != nil {
		// Also ends one that is stopped.
		child.Process.Kill()
	}
	return errors.Join(told, child.Wait())
}

func (t *contest) thaw(ctx context.Context, child *os.Process, input io.Writer, output *bufio.Reader) error {
	var token int64
	if _, err := fmt.Fscanf(output, "holds %d\n", &token); err != nil {
		return fmt.Errorf("the process does not hold: %w", err)
	}
	if err := child.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := t.outside.waitAbove(ctx, token); err != nil {
		return err
	}
	if err := child.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(input, "write"); err != nil {
		return err
	}
	told, err := output.ReadString('\n')
	if err != nil {
		return err
	}
	if told = strings.TrimSpace(told); told != "refused, session ended" {
		return fmt.Errorf("the process that was stopped says %q", told)
	}
	if t.outside.admits(token) {
		return fmt.Errorf("the gate admits the stale token %d", token)
	}
	t.losing.Add(-1)
	return nil
}

// The process that is stopped: holds, says so, writes when told to, and says what came of it.
func holdAndWrite(endpoint, kind, prefix, resource, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	t := &contest{kind: kind, prefix: prefix, resource: resource, endpoint: endpoint}
	client, session, mine, err := t.hold(ctx, name)
	if err != nil {
		return err
	}
	defer client.Close()
	fmt.Printf("holds %d\n", mine.token())
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	if err := mine.put(ctx, resource, value(mine.token(), name)); !errors.Is(err, errLockLost) {
		return fmt.Errorf("a stale write: got %v", err)
	}
	select {
	case <-session.Done():
	case <-ctx.Done():
		return errors.New("the session never learns that its lease has ended")
	}
	if err := mine.end(ctx); err != nil {
		return err
	}
	fmt.Println("refused, session ended")
	return nil
}

func (t *contest) checkAfterwards(ctx context.Context) error {
	writes, err := acceptedWrites(ctx, t.client, t.resource, t.revision+1)
	if err != nil {
		return err
	}
	if err := checkHistory(writes); err != nil {
		return fmt.Errorf("%s: %w", t.kind, err)
	}
	if got, want := len(holders(writes)), contenders-expiringWaiters; got != want {
		return fmt.Errorf("%s: %d contenders had a turn, want %d: %v", t.kind, got, want, holders(writes))
	}
	return t.waitForQueue(ctx, 0)
}

func numberFromEnv(name string, usual int) int {
	text, set := os.LookupEnv(name)
	if !set {
		return usual
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s=%s is not a number\n", name, text)
		os.Exit(2)
	}
	return number
}
