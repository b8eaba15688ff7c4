//! kvorum: a key-value store with etcd's v3 API in one static binary.

mod cli;
mod config;
mod console;
mod exit;
mod listeners;
mod log;
mod memory;
mod owner;
mod peers;
mod pki;
mod process;
mod serve;
mod tools;

use std::process::ExitCode;

use exit::Exit;

fn main() -> ExitCode {
    let exit = match cli::parse() {
        cli::Request::Serve(flags) => serve(flags),
        cli::Request::Version => cli::print_version(),
        cli::Request::Completions(shell) => cli::print_completions(shell),
        cli::Request::Tool(tool, matches) => tool(&matches),
    };
    exit.into()
}

fn serve(flags: Vec<(&'static str, String)>) -> Exit {
    let settings = match config::read(flags, std::env::vars_os()) {
        Ok(settings) => settings,
        Err(problems) => {
            for problem in problems {
                eprintln!("kvorum: {problem}");
            }
            return Exit::BadSettings;
        }
    };
    log::start(settings.logging);
    process::abort_on_panic();
    let exit = serve::run(settings);
    log::flush();
    exit
}
