//! Whose process is at the other end of a connection, read from the kernel's own tables.

use std::fs;

/// The one of `pids` that holds the socket with this local port, connected to `remote_port` on loopback, by itself or
/// as the tracer of who does.
pub(super) fn holder(pids: &[u32], local_port: u16, remote_port: u16) -> Option<u32> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let socket = format!("socket:[{}]", inode(&table, local_port, remote_port)?);
    pids.iter()
        .copied()
        .find(|pid| holds(*pid, &socket).unwrap_or(false) || child_holds(*pid, &socket))
}

fn child_holds(pid: u32, socket: &str) -> bool {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|child| child.parse().ok())
        .any(|child| holds(child, socket).unwrap_or(false))
}

/// Reads the socket's number from a table as `/proc/net/tcp`.
fn inode(table: &str, local_port: u16, remote_port: u16) -> Option<&str> {
    let (local, remote) = (format!(":{local_port:04X}"), format!(":{remote_port:04X}"));
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&local) && fields.get(2)?.ends_with(&remote);
        is_it.then(|| fields.get(9).copied())?
    })
}

/// An error means that the process is gone, or goes.
fn holds(pid: u32, socket: &str) -> std::io::Result<bool> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed between the listing and the look.
        let target = fs::read_link(entry?.path());
        if target.is_ok_and(|target| target.as_os_str() == socket) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn this_process_is_found_as_the_holder_of_its_own_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let remote = listener.local_addr().expect("bound");
        let dialled = TcpStream::connect(remote).expect("loopback");
        let local = dialled.local_addr().expect("connected");
        let pids = [1, std::process::id()];
        let found = holder(&pids, local.port(), remote.port());
        assert_eq!(found, Some(std::process::id()));
        assert_eq!(holder(&[], local.port(), remote.port()), None);
        assert_eq!(holder(&pids, remote.port(), 1), None);
    }
}
