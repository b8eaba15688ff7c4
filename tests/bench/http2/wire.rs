//! The bytes of a connection, in plain or by TLS; never blocks once it is open.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

/// Whom to dial, and how.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) address: SocketAddr,
    /// Plain text without it.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Dial {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }
}

pub(crate) struct Wire {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Wire {
    pub(crate) fn open(dial: &Dial) -> Result<Self> {
        let address = dial.address;
        let socket = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let begin = |config: &Arc<ClientConfig>| {
            let name = ServerName::from(address.ip());
            ClientConnection::new(config.clone(), name).map(Box::new)
        };
        let tls = dial.tls.as_ref().map(begin).transpose();
        let tls = tls.context("begin a TLS connection")?;
        Ok(Self { socket, tls })
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What has arrived; zero at the end of the stream. By TLS at most what one read of the socket gave, so `into` needs
    /// room for it.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.read(into);
        };
        if tls.read_tls(&mut self.socket)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        tls.reader().read(into)
    }

    /// Takes as much as goes out now.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(tls) => match tls.writer().write(bytes)? {
                // Its buffer is full.
                0 => self.flush().and(Err(ErrorKind::WouldBlock.into())),
                taken => Ok(taken),
            },
        }
    }

    /// Sends what TLS still holds. True when nothing is left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            return Ok(true);
        };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
