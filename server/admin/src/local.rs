//! The way in for whoever has the machine: a socket in the data directory that hands out one-time links.
//!
//! It needs no password and no certificate, because who can open it can read and replace all files of the member
//! anyway. One line of JSON each way.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kvorum_core::console::is_name;
use kvorum_member::Handle;
use kvorum_member::console::{ConsoleError, LinkPurpose};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// In the data directory.
const SOCKET: &str = "admin.sock";
/// What `sun_path` holds besides its end (unix(7)).
const ADDRESS_BYTES_MAX: usize = 107;
const LINE_BYTES_MAX: u64 = 4096;
/// For a request and its answer, which goes through the log.
const PATIENCE: Duration = Duration::from_secs(20);
/// Who asks at the machine, in the events.
const BY: &str = "root at the machine";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    LoginLink { account: Option<String> },
    Reset {},
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Link(LoginLink),
    Refused(String),
}

/// A link that was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginLink {
    /// Opens the page that sets a password.
    pub url: String,
    /// Until when, milliseconds since 1970.
    pub expires_unix_ms: i64,
}

impl fmt::Debug for LoginLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginLink").finish_non_exhaustive()
    }
}

/// Why there is no link. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nobody listens.
    #[error(
        "no member runs on {}, or one with --listen-console-url none: start it with a console, or name the data directory of \
         the one that runs with --data-dir ({source})",
        data_dir.display()
    )]
    NotRunning {
        /// Where it was looked for.
        data_dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The files are somebody else's.
    #[error("the member on {} belongs to another user: run this as that user or as root", data_dir.display())]
    NotYours {
        /// Where it was looked for.
        data_dir: PathBuf,
    },
    /// The member did not answer, or not in time.
    #[error("the member does not answer: {0}")]
    NoAnswer(#[from] io::Error),
    /// The member says no.
    #[error("{0}")]
    Refused(String),
}

/// Asks the member of a data directory for a link that makes an account or gives one a new password.
///
/// # Errors
/// No member runs there, or it has no quorum to do it.
pub fn login_link(data_dir: &Path, account: Option<&str>) -> Result<LoginLink, LocalError> {
    let account = account.map(str::to_owned);
    ask(data_dir, &Request::LoginLink { account })
}

/// Lets the member of a data directory forget all accounts and sessions of the console, and begin with a new link.
///
/// # Errors
/// As `login_link`.
pub fn reset(data_dir: &Path) -> Result<LoginLink, LocalError> {
    ask(data_dir, &Request::Reset {})
}

fn ask(data_dir: &Path, request: &Request) -> Result<LoginLink, LocalError> {
    let opened = at_socket(data_dir, |path| Blocking::connect(path));
    let mut socket = opened.map_err(|source| {
        let data_dir = data_dir.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => LocalError::NotYours { data_dir },
            _ => LocalError::NotRunning { data_dir, source },
        }
    })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(request).map_err(io::Error::other)?;
    line.push('\n');
    socket.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    match serde_json::from_str(&answer).map_err(io::Error::other)? {
        Reply::Link(link) => Ok(link),
        Reply::Refused(why) => Err(LocalError::Refused(why)),
    }
}

/// Does `what` with a path of the socket that is short enough for a socket's address, however long the data
/// directory's own is: the kernel leads `/proc/self/fd/N` to the directory that is open as N.
fn at_socket<T>(data_dir: &Path, what: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = data_dir.join(SOCKET);
    if path.as_os_str().as_bytes().len() <= ADDRESS_BYTES_MAX {
        return what(&path);
    }
    let directory = File::open(data_dir)?;
    let short = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    what(Path::new(&short))
}

/// Opens the socket of a data directory; one that a crash has left is replaced, as the directory is locked by the
/// caller.
///
/// # Errors
/// What the system says.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let path = data_dir.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = at_socket(data_dir, |path| UnixListener::bind(path))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers at the socket until `stop` turns true. Links lead to `console_url`.
pub async fn serve(
    listener: UnixListener,
    handle: Handle,
    console_url: String,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // One after the other: people ask here, and each answer is bounded in time.
            Ok((socket, _)) => {
                let answered = answer(socket, &handle, &console_url);
                match tokio::time::timeout(PATIENCE, answered).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a request at the machine's socket failed")
                    }
                    Err(_) => tracing::debug!("a request at the machine's socket took too long"),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the machine's socket cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(socket: UnixStream, handle: &Handle, console_url: &str) -> io::Result<()> {
    let uid = socket.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    let (read, mut write) = socket.into_split();
    let reply = if uid == 0 || uid == own {
        let mut line = String::new();
        let mut read = tokio::io::BufReader::new(read.take(LINE_BYTES_MAX));
        read.read_line(&mut line).await?;
        match serde_json::from_str(&line) {
            Ok(request) => carry_out(request, handle, console_url).await,
            Err(_) => Reply::Refused(
                "the member does not know this request: is it another version?".into(),
            ),
        }
    } else {
        Reply::Refused("only root and the member's own user may ask here".into())
    };
    let mut line = serde_json::to_string(&reply).map_err(io::Error::other)?;
    line.push('\n');
    write.write_all(line.as_bytes()).await
}

async fn carry_out(request: Request, handle: &Handle, console_url: &str) -> Reply {
    let made = match request {
        Request::LoginLink {
            account: Some(name),
        } if !is_name(&name) => {
            return Reply::Refused(format!(
                "{name:?} cannot be an account: 1 to 64 letters, digits or . _ - @"
            ));
        }
        Request::LoginLink { account } => link(handle, account, console_url).await,
        Request::Reset {} => match handle.console_reset(BY).await {
            Ok(()) => link(handle, None, console_url).await,
            Err(error) => Err(error),
        },
    };
    match made {
        Ok(link) => Reply::Link(link),
        Err(error) => Reply::Refused(format!("the link cannot be made now: {error}")),
    }
}

async fn link(
    handle: &Handle,
    account: Option<String>,
    console_url: &str,
) -> Result<LoginLink, ConsoleError> {
    let purpose = match account {
        None if !handle.console().has_accounts() => LinkPurpose::FirstRun,
        account => LinkPurpose::Granted { account },
    };
    let link = handle.console_link(purpose, BY).await?;
    Ok(LoginLink {
        url: url_of(console_url, &link.code),
        expires_unix_ms: link.expires_unix_ms,
    })
}

/// The code stands behind `#`, which browsers keep to themselves.
fn url_of(console_url: &str, code: &str) -> String {
    format!("{}/setup#{code}", console_url.trim_end_matches('/'))
}

/// Writes the link for the first account to the log, if there is none yet. Call it when the member is ready.
pub async fn invite(handle: &Handle, console_url: &str) {
    if handle.console().has_accounts() {
        return;
    }
    match handle
        .console_link(LinkPurpose::FirstRun, "the member's start")
        .await
    {
        Ok(link) => {
            let url = url_of(console_url, &link.code);
            tracing::info!(
                url,
                "the console has no administrator yet: this link makes the first one; it works once, for 15 minutes \
                 (`kvorum admin login-link` prints another)"
            );
        }
        // Another member was faster, or there is no quorum; the command makes one any time.
        Err(error) => {
            tracing::info!(%error, "no link for the console's first administrator: ask with `kvorum admin login-link`");
        }
    }
}
