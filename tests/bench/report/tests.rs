//! Tests of the table's text.

use super::*;
use crate::{
    measure::{Cell, ServerCost},
    workload::Workload,
};

fn cell(per_second: f64, p99_us: f64, cpu_us: f64) -> Cell {
    Cell {
        per_second,
        p50_us: p99_us / 2.0,
        p99_us,
        p999_us: p99_us * 2.0,
        server: Some(ServerCost {
            cpu_us,
            written_bytes: 1000.0,
            resident_mib: 100.0,
        }),
        ..Cell::default()
    }
}

fn series(clients: u32, etcd: Cell, kvorum: Cell) -> Series {
    let row = Row {
        through: Through::Alone,
        workload: Workload::Put,
        clients,
        connections: 1,
    };
    Series {
        row,
        cells: vec![vec![etcd], vec![kvorum]],
    }
}

#[test]
fn a_won_row_shows_ratios_and_no_mark() {
    let table = table(&[series(
        16,
        cell(14_500.0, 2_000.0, 90.0),
        cell(34_900.0, 800.0, 20.0),
    )]);
    let expected = [
        "put 16 x 1",
        "14.5k",
        "34.9k",
        "2.41x",
        "1.00 : 0.40 = 0.40x",
        "2.00 : 0.80 = 0.40x",
        "4.00 : 1.60 = 0.40x",
        "90.0 : 20.0 = 0.22x",
        "1000 : 1000 = 1.00x",
        "100 : 100 = 1.00x",
        "",
    ];
    assert_eq!(table.lines[1], expected);
}

#[test]
fn a_lost_row_is_marked_and_says_by_how_much() {
    let table = table(&[series(
        16,
        cell(10_000.0, 1_000.0, 50.0),
        cell(8_500.0, 1_100.0, 25.0),
    )]);
    let line = &table.lines[1];
    assert_eq!(line[3], "0.85x LOST");
    assert_eq!(line[5], "1.00 : 1.10 = 1.10x LOST");
    assert_eq!(line[7], "50.0 : 25.0 = 0.50x");
    assert_eq!(
        line[10],
        "rate 50 % below floor 1.7x; p99 above 1x; CPU above a third"
    );
    assert!(table.markdown().contains("| **0.85x LOST** |"));
}

#[test]
fn errors_and_a_busy_client_are_told() {
    let broken = Cell {
        errors: 3,
        ..Cell::default()
    };
    let busy = Cell {
        client_cores: 0.97,
        ..cell(900_000.0, 100.0, 1.0)
    };
    let lines = table(&[series(1, broken, busy)]).lines;
    assert_eq!(lines[1][3], "-");
    assert_eq!(
        lines[1][10],
        "etcd: 3 ERRORS; client-bound, kvorum could be faster"
    );
}

#[test]
fn one_server_gets_a_table_without_ratios() {
    let row = Row {
        through: Through::Alone,
        workload: Workload::Watch,
        clients: 1,
        connections: 1,
    };
    let table = table(&[Series {
        row,
        cells: vec![vec![cell(5.0, 100.0, 0.5)]],
    }]);
    assert_eq!(table.lines[0].len(), table.lines[1].len());
    assert_eq!(table.lines[1][1], "5.00");
}

#[test]
fn columns_line_up_and_markdown_has_a_rule() {
    let lines = vec![
        vec!["load".to_owned(), "µs".to_owned()],
        vec!["put".to_owned(), "12.5".to_owned()],
    ];
    let table = Table { lines };
    assert_eq!(table.plain(), "load    µs\nput   12.5\n");
    assert_eq!(
        table.markdown(),
        "| load | µs |\n|---|--:|\n| put | 12.5 |\n"
    );
}

#[test]
fn figures_keep_about_three_digits() {
    let texts = [
        0.0, 0.123, 9.99, 12.34, 123.4, 1234.0, 9_999.0, 12_345.0, 123_456.0,
    ]
    .map(figure);
    assert_eq!(
        texts,
        [
            "0", "0.12", "9.99", "12.3", "123", "1234", "10.0k", "12.3k", "123k"
        ]
    );
}

#[test]
fn every_cell_becomes_a_csv_line() {
    let series = [series(1, cell(1.0, 2.0, 3.0), cell(4.0, 5.0, 6.0))];
    let text = csv(
        &series,
        &["etcd 3.6.0".to_owned(), "kvorum 0.1.0".to_owned()],
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with("put,Alone,1,1,etcd 3.6.0,1,1.0,1.0,2.0,4.0,3.000,1000.0,100.0"));
    let columns = |line: &str| line.split(',').count();
    assert!(lines.iter().all(|line| columns(line) == columns(lines[0])));
}

#[test]
fn a_comparison_with_the_oldest_etcd_is_told_to_be_weak() {
    let about = |etcd: &str| About {
        servers: vec![etcd.to_owned(), "kvorum 0.1.0".to_owned()],
        command: "cargo xtask bench".to_owned(),
        machine: "2 cores".to_owned(),
        members: 1,
        is_secure: false,
        rounds: 3,
        seconds: Some(2.5),
        keys: 100_000,
        value_bytes: 256,
    };
    let old = preamble(&about("etcd 3.4.23")).join("\n");
    assert!(old.contains("no claim should rest on it alone"), "{old}");
    assert!(old.contains("etcd 3.4.23, kvorum 0.1.0"), "{old}");
    assert!(old.contains("Command: `cargo xtask bench`"), "{old}");
    assert!(!preamble(&about("etcd 3.6.14")).join("\n").contains("alone"));
}
