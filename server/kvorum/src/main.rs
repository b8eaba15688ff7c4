//! kvorum: a key-value store with etcd's v3 API in one static binary.

mod cli;
mod config;
mod log;

fn main() {
    match cli::parse() {
        cli::Request::Serve(flags) => {
            let s = config::read(flags, std::env::vars_os());
            eprintln!("{s:?}");
        }
        cli::Request::Version => {}
        cli::Request::Completions(shell) => cli::print_completions(shell),
    }
    let _ = log::start;
}
