//! The table that the harness prints. Goals are judged by the figures of this run only.

use crate::contest::arena::Arena;
use crate::contest::outcome::{Measured, Outcome, median};
use crate::row::goal::Found;
use crate::row::measure::Measure;
use crate::system::disturbance::Disturbance;
use crate::system::machine;

/// Share of the CPU that other processes and the hypervisor may take before the table warns.
const DISTURBED: f64 = 0.05;

pub fn print_preface(arena: &Arena) {
    println!(
        "httpipe load harness, commit {}, {}",
        machine::commit(),
        machine::description()
    );
    let congestion = machine::congestion_control();
    println!("TCP congestion control: {congestion}");
    if congestion.starts_with("bbr") {
        println!("WARNING: {congestion} paces every socket; large bodies measure its timers.");
    }
    if let Some(beside) = &arena.beside {
        println!("Beside it: {}", beside.display());
    }
    if cfg!(debug_assertions) {
        println!("WARNING: a debug build. Its figures say nothing about speed.");
    }
    if arena.smoke {
        println!("Smoke run: everything is tiny; the figures mean nothing.");
    } else {
        println!(
            "Medians of {} rounds [lowest to highest]; CPU is the server's.",
            arena.rounds
        );
    }
    println!();
}

pub fn print_footer(disturbance: &Disturbance) {
    let Disturbance {
        available,
        others,
        stolen,
    } = disturbance;
    println!(
        "\nOf {available:.0} CPU seconds, other processes took {others:.1} and the hypervisor {stolen:.1}."
    );
    if (others + stolen) / available > DISTURBED {
        println!(
            "WARNING: the machine was busy with other work, which makes absolute figures worse."
        );
    }
}

/// Prints the table, and below it all notes and failures.
pub fn print(arena: &Arena, outcomes: &[Outcome]) {
    let beside = arena.beside.as_ref().map_or("", |_| "to beside");
    let mut lines = vec![
        [
            "row", "server", "figure", "median", "range", "ratio", beside, "goal", "",
        ]
        .map(str::to_owned),
    ];
    for outcome in outcomes {
        lines.extend(outcome_lines(arena, outcome));
    }
    print_aligned(&lines);
    for outcome in outcomes {
        let name = outcome.row.name;
        outcome
            .notes
            .iter()
            .for_each(|note| println!("{name}: {note}"));
        outcome
            .failures
            .iter()
            .for_each(|failure| println!("{name} FAILED: {failure}"));
    }
}

const COLUMNS: usize = 9;

type Line = [String; COLUMNS];

fn outcome_lines(arena: &Arena, outcome: &Outcome) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(missing) = outcome.missing {
        let skipped = format!("skipped: no {missing}");
        lines.push(line(outcome.row.name, &skipped, [""; COLUMNS - 2]));
    }
    for measured in &outcome.measured {
        let Some(first) = measured.samples.first() else {
            let failed = ["failed", "", "", "", "", "", ""];
            lines.push(line(outcome.row.name, &measured.label, failed));
            continue;
        };
        for &(measure, _) in first {
            lines.push(figure_line(arena, outcome, measured, measure));
        }
    }
    lines
}

fn figure_line(arena: &Arena, outcome: &Outcome, measured: &Measured, measure: Measure) -> Line {
    let values = measured.values(measure);
    let (label, unit, digits) = measure.label();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    let figure = median(&values);
    let bound = outcome.bound(measured, measure);
    let found = Found {
        figure,
        ratio: outcome.ratio(measured, measure),
        ratio_to_beside: outcome.ratio_to_beside(measured, measure),
        complete: values.len() == arena.rounds as usize,
    };
    let ratio = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.2}"));
    let verdict = match bound {
        None => "",
        Some(_) if arena.smoke => "not judged",
        Some(bound) => bound.verdict(&found),
    };
    let figures = [
        label,
        &format!("{figure:.digits$} {unit}"),
        &format!("[{low:.digits$} to {high:.digits$}]"),
        &ratio(found.ratio).unwrap_or_default(),
        &ratio(found.ratio_to_beside).unwrap_or_default(),
        &bound.map(|bound| bound.describe(unit)).unwrap_or_default(),
        verdict,
    ];
    line(outcome.row.name, &measured.label, figures)
}

fn line(row: &str, server: &str, rest: [&str; COLUMNS - 2]) -> Line {
    let [figure, median, range, ratio, beside, goal, verdict] = rest;
    [
        row, server, figure, median, range, ratio, beside, goal, verdict,
    ]
    .map(str::to_owned)
}

fn print_aligned(lines: &[Line]) {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<_> = (0..COLUMNS)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    for (index, line) in lines.iter().enumerate() {
        let again = index > 0 && lines[index - 1][0] == line[0];
        let used = line
            .iter()
            .enumerate()
            .filter(|(column, _)| widths[*column] > 0);
        let cells = used.map(|(column, cell)| match column {
            0 if again => " ".repeat(widths[0]),
            3 | 5 | 6 => format!("{cell:>width$}", width = widths[column]),
            _ => format!("{cell:<width$}", width = widths[column]),
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
