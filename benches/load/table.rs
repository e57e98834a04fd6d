//! The table that the harness prints. Goals are judged by the figures of this run only.

use crate::contest::arena::Arena;
use crate::contest::outcome::{Measured, Outcome};
use crate::row::goal::{Bound, Goal};
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
    let mut lines = vec![
        [
            "row", "server", "figure", "median", "range", "ratio", "goal", "",
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

type Line = [String; 8];

fn outcome_lines(arena: &Arena, outcome: &Outcome) -> Vec<Line> {
    let mut lines = Vec::new();
    for measured in &outcome.measured {
        let Some(first) = measured.samples.first() else {
            let failed = ["failed", "", "", "", "", ""];
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
    let values = values(measured, measure);
    let (label, unit, digits) = measure.label();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    let figure = median(&values);
    let bound = goal(outcome, measured, measure).map(|goal| goal.bound);
    let other = comparator(outcome).filter(|_| measured.place == Some(0));
    let ratio = other.and_then(|other| ratio(measured, other, measure));
    let complete = values.len() == arena.rounds as usize;
    let verdict = match bound {
        None => "",
        Some(_) if arena.smoke => "not judged",
        Some(bound) => verdict(bound, figure, ratio, complete),
    };
    let figures = [
        label,
        &format!("{figure:.digits$} {unit}"),
        &format!("[{low:.digits$} to {high:.digits$}]"),
        &ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        &bound.map(|bound| describe(bound, unit)).unwrap_or_default(),
        verdict,
    ];
    line(outcome.row.name, &measured.label, figures)
}

/// The goal for this figure. Only the row's first contestant has goals.
fn goal<'row>(outcome: &'row Outcome, measured: &Measured, measure: Measure) -> Option<&'row Goal> {
    let mut goals = outcome.row.goals.iter();
    goals.find(|goal| goal.measure == measure && measured.place == Some(0))
}

/// What the row's first contestant is compared with: the second contestant or, if the row has only
/// one, the first attached server. An attached server never replaces a second contestant that is
/// missing.
fn comparator(outcome: &Outcome) -> Option<&Measured> {
    let place = (outcome.row.contestants.len() > 1).then_some(1);
    outcome
        .measured
        .iter()
        .find(|measured| measured.place == place)
}

fn line(row: &str, server: &str, rest: [&str; 6]) -> Line {
    let [figure, median, range, ratio, goal, verdict] = rest;
    [row, server, figure, median, range, ratio, goal, verdict].map(str::to_owned)
}

fn describe(bound: Bound, unit: &str) -> String {
    match bound {
        Bound::AtMost(limit) => format!("at most {limit} {unit}"),
        Bound::AtLeast(limit) => format!("at least {limit} {unit}"),
        Bound::RatioAtMost(limit) => format!("at most {limit} ×"),
        Bound::RatioAtLeast(limit) => format!("at least {limit} ×"),
    }
}

fn verdict(bound: Bound, figure: f64, ratio: Option<f64>, complete: bool) -> &'static str {
    let met = match (bound, ratio) {
        _ if !complete => false,
        (Bound::AtMost(limit), _) => figure <= limit,
        (Bound::AtLeast(limit), _) => figure >= limit,
        (Bound::RatioAtMost(limit), Some(ratio)) => ratio <= limit,
        (Bound::RatioAtLeast(limit), Some(ratio)) => ratio >= limit,
        (_, None) => return "nothing to compare with",
    };
    if met { "met" } else { "NOT met" }
}

/// Median of the ratios within each round; `None` if rounds are missing or a divisor is zero.
fn ratio(measured: &Measured, other: &Measured, measure: Measure) -> Option<f64> {
    let (values, others) = (values(measured, measure), values(other, measure));
    let usable = values.len() == others.len() && others.iter().all(|&other| other > 0.0);
    let ratios: Vec<f64> = values
        .iter()
        .zip(&others)
        .map(|(value, other)| value / other)
        .collect();
    (usable && !ratios.is_empty()).then(|| median(&ratios))
}

fn values(measured: &Measured, measure: Measure) -> Vec<f64> {
    let of_sample = |sample: &Vec<(Measure, f64)>| {
        sample
            .iter()
            .find(|(found, _)| *found == measure)
            .map(|&(_, value)| value)
    };
    measured.samples.iter().filter_map(of_sample).collect()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    }
}

fn print_aligned(lines: &[Line]) {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<_> = (0..8).map(|column| width(column).unwrap_or(0)).collect();
    for (index, line) in lines.iter().enumerate() {
        let again = index > 0 && lines[index - 1][0] == line[0];
        let cells = line.iter().enumerate().map(|(column, cell)| match column {
            0 if again => " ".repeat(widths[0]),
            3 | 5 => format!("{cell:>width$}", width = widths[column]),
            _ => format!("{cell:<width$}", width = widths[column]),
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
