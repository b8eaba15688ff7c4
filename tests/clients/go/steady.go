package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const steadyWorkers = 8

// runSteady writes, compares and reads as an application does that leaves all retries to the client, until its input
// ends. It prints what failed, and how much did not.
func runSteady(endpoints string) error {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   strings.Split(endpoints, ","),
		DialTimeout: 10 * time.Second,
		// As the documentation advises for members that come and go.
		DialKeepAliveTime:    2 * time.Second,
		DialKeepAliveTimeout: 2 * time.Second,
		Logger:               zap.NewNop(),
	})
	if err != nil {
		return err
	}
	defer client.Close()
	stop := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		}
		close(stop)
	}()
	var calls, failed atomic.Int64
	var workers sync.WaitGroup
	for worker := range steadyWorkers {
		workers.Go(func() {
			for number := 0; ; number++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				calls.Add(1)
				begun := time.Now()
				if err := steadyCall(client, worker, number); err != nil {
					failed.Add(1)
					fmt.Printf("FAIL worker %d, call %d after %v: %v\n", worker, number, time.Since(begun), err)
				}
			}
		})
	}
	workers.Wait()
	fmt.Printf("ok %d calls, %d failed\n", calls.Load(), failed.Load())
	return nil
}

func steadyCall(client *clientv3.Client, worker, number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	key, value := fmt.Sprintf("steady/%d", worker), fmt.Sprint(number)
	switch number % 3 {
	case 0:
		_, err := client.Put(ctx, key, value)
		return err
	case 1:
		_, err := client.Txn(ctx).
			If(clientv3.Compare(clientv3.Version(key), ">", 0)).
			Then(clientv3.OpPut(key, value)).
			Commit()
		return err
	default:
		answer, err := client.Get(ctx, key)
		if err == nil && (len(answer.Kvs) != 1 || string(answer.Kvs[0].Value) != fmt.Sprint(number-1)) {
			err = fmt.Errorf("read %v after writing %d", answer.Kvs, number-1)
		}
		return err
	}
}
