// Command go-client runs etcd's official Go client against one server and checks every answer.
//
// It prints "ok NAME" or "FAIL NAME: why" for each check and ends with 1 if one failed.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Far above what any check takes; one that gets here has found a hang.
const checkTimeout = 60 * time.Second

type check struct {
	name string
	run  func(ctx context.Context, c *clientv3.Client)
}

// A failed expectation unwinds to the check that made it.
type failure struct{ why string }

func must[T any](value T, err error) T {
	if err != nil {
		panic(failure{err.Error()})
	}
	return value
}

func ok(err error) {
	if err != nil {
		panic(failure{err.Error()})
	}
}

func equal[T comparable](what string, got, want T) {
	if got != want {
		panic(failure{fmt.Sprintf("%s: got %v, want %v", what, got, want)})
	}
}

// Go clients compare typed errors, so the text and the code must both be etcd's.
func refused(got, want error) {
	if !errors.Is(got, want) {
		panic(failure{fmt.Sprintf("got error %q, want %q", got, want)})
	}
}

func main() {
	if len(os.Args) == 7 && os.Args[1] == "hold" {
		if err := holdAndWrite(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "steady" {
		if err := runSteady(os.Args[2]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	only := ""
	if len(os.Args) == 4 && os.Args[1] == "only" {
		only, os.Args = os.Args[2], os.Args[2:]
	}
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: go-client [only GROUP] HOST:PORT[,HOST:PORT...] [GROUP-TO-LEAVE-OUT...]")
		os.Exit(2)
	}
	var checks []check
	checks = append(checks, kvChecks...)
	checks = append(checks, txnChecks...)
	checks = append(checks, watchChecks...)
	checks = append(checks, leaseChecks...)
	checks = append(checks, concurrencyChecks...)
	checks = append(checks, contestChecks...)
	checks = append(checks, bankChecks...)
	checks = append(checks, maintenanceChecks...)
	checks = append(checks, authChecks...)
	failed := 0
	for _, check := range checks {
		group, _, _ := strings.Cut(check.name, ":")
		if slices.Contains(os.Args[2:], group) || only != "" && only != group {
			continue
		}
		if err := runOne(check, os.Args[1]); err != nil {
			fmt.Printf("FAIL %s: %v\n", check.name, err)
			failed++
		} else {
			fmt.Printf("ok %s\n", check.name)
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func runOne(check check, endpoint string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	client, err := connect(ctx, endpoint)
	if err != nil {
		return err
	}
	defer client.Close()
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case failure:
			err = errors.New(reason.why)
		default:
			panic(reason)
		}
	}()
	check.run(ctx, client)
	return nil
}

// The files that a kube-apiserver takes as --etcd-cafile, --etcd-certfile and --etcd-keyfile, read as it reads them.
func clientTLS() (*tls.Config, error) {
	files := transport.TLSInfo{
		TrustedCAFile: os.Getenv("GO_CLIENT_CAFILE"),
		CertFile:      os.Getenv("GO_CLIENT_CERTFILE"),
		KeyFile:       os.Getenv("GO_CLIENT_KEYFILE"),
	}
	if files.TrustedCAFile == "" {
		return nil, nil
	}
	return files.ClientConfig()
}

func connect(ctx context.Context, endpoint string) (*clientv3.Client, error) {
	tlsConfig, err := clientTLS()
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{
		TLS:         tlsConfig,
		Endpoints:   strings.Split(endpoint, ","),
		DialTimeout: 10 * time.Second,
		Logger:      zap.NewNop(),
		Context:     ctx,
	})
}
