//! etcd's gRPC services and HTTP endpoints on the client port.
