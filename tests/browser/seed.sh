#!/bin/sh
# Writes a small, realistic set of keys through etcdctl, with some past: seed.sh [ENDPOINT]
set -eu
export ETCDCTL_API=3
endpoint=${1:-127.0.0.1:2379}
put() { etcdctl --endpoints "$endpoint" put "$@" >/dev/null; }

for service in billing catalog checkout gateway identity inventory mailer search; do
  for key in replicas image owner; do
    put "app/services/$service/$key" "$service-$key"
  done
  put "app/config/$service" "{\"replicas\":2,\"image\":\"registry.example/$service:1.8.0\",\"limits\":{\"cpu\":\"250m\",\"memory\":\"128Mi\"},\"features\":[\"retry\",\"tracing\"],\"canary\":false,\"timeout_s\":2.5}"
done
for step in 3 4 6; do
  put app/config/checkout "{\"replicas\":$step,\"image\":\"registry.example/checkout:1.9.$step\",\"limits\":{\"cpu\":\"500m\",\"memory\":\"256Mi\"},\"features\":[\"retry\",\"tracing\"],\"canary\":true,\"timeout_s\":2.5}"
done
etcdctl --endpoints "$endpoint" del app/config/checkout >/dev/null
for step in 2 4 8; do
  put app/config/checkout "{\"replicas\":$step,\"image\":\"registry.example/checkout:2.0.$step\",\"limits\":{\"cpu\":\"500m\",\"memory\":\"256Mi\"},\"features\":[\"retry\",\"tracing\",\"new-basket\"],\"canary\":false,\"timeout_s\":1.75}"
done
for zone in a b c; do
  lease=$(etcdctl --endpoints "$endpoint" lease grant 3600 | cut -d ' ' -f 2)
  put --lease "$lease" "leases/zone-$zone" "edge-$zone"
done
put "locks/deploy" "held by gateway"
put "registry/pods/default/web-1" "$(printf 'k8s\001\002Pod')"
put "straße/größe" "Grüße"
put motd "Welcome to the edge."
