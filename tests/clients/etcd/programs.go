//go:build programs

// Package programs names what this module is for: etcd's own server.
package programs

import _ "go.etcd.io/etcd/server/v3"
