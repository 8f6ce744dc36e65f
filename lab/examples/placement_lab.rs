//! Simulates a burst of creations on 1, 2, 3… replicas, as a table and a picture.
//!
//! `cargo run --release --example placement_lab -- --vms 120 --scale-sets 5x600 --replicas 1..=20 --image-gib 30 --svg lab.svg`
//!
//! All creations arrive at once. Each replica count is simulated twice: creations wait for room, or are throttled.

use std::error::Error;
use std::ops::RangeInclusive;
use std::time::Duration;

use compute_gallery::model::{Limits, StorageAccountType};
use compute_gallery::placement::{
    CreationTime, Overflow, PlacementPolicy, PlacementRequest, Pool, Simulation, SimulationReport, Sizing, Workload,
};
use lexopt::ValueExt;
use plotters::prelude::*;

struct Options {
    vms: u32,
    scale_sets: (u32, u32),
    replicas: RangeInclusive<u32>,
    image_gib: u64,
    seed: u64,
    svg: Option<String>,
}

/// The reports for one replica count.
struct Row {
    replicas: u32,
    queued: SimulationReport,
    throttled: SimulationReport,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let (policy, limits) = (PlacementPolicy::default(), Limits::default());
    let storage = StorageAccountType::StandardLrs;
    let (scale_sets, instances) = options.scale_sets;
    let workload = Workload::vms(options.vms).with_scale_sets(scale_sets, instances);
    let recommended = Sizing::new(&policy, &limits, storage).recommend(&workload)?;
    let creation = CreationTime::of_image(options.image_gib << 30);

    let simulation = simulation(&options, creation);
    let rows: Vec<Row> = options
        .replicas
        .clone()
        .map(|replicas| {
            let run = |overflow| {
                let pool = Pool::new(&policy, &limits, storage);
                pool.resize(replicas);
                simulation.clone().with_overflow(overflow).run(&pool, Duration::from_secs(7 * 86_400))
            };
            Row { replicas, queued: run(Overflow::Queue), throttled: run(Overflow::Throttle) }
        })
        .collect();

    println!("{} VMs and {scale_sets} scale sets of {instances}, {} GiB image", options.vms, options.image_gib);
    println!("{:>8} | {:^34} | {:^31}", "", "they wait for room", "they are placed anyway");
    println!(
        "{:>8} | {:>8} {:>8} {:>8} {:>7} | {:>9} {:>10} {:>10}",
        "replicas", "wait p50", "p95", "p99", "served", "throttled", "busiest", "slowest"
    );
    for Row { replicas, queued, throttled } in &rows {
        let wait = |percentile| format!("{:.0} s", queued.wait(percentile).as_secs_f64());
        println!(
            "{replicas:>8} | {:>8} {:>8} {:>8} {:>7} | {:>7.0} % {:>8} % {:>8.0} s",
            wait(50),
            wait(95),
            wait(99),
            queued.completed,
            throttled.throttled_share() * 100.0,
            throttled.busiest_percent,
            throttled.duration(100).as_secs_f64()
        );
    }
    println!("recommended: {recommended}");
    if let Some(path) = &options.svg {
        draw(path, &options, &rows, recommended.replicas)?;
        println!("drawn: {path}");
    }
    Ok(())
}

/// The scale sets come first, as in a batch. Behind VMs, each would wait for an idle replica.
fn simulation(options: &Options, creation: CreationTime) -> Simulation {
    let (scale_sets, instances) = options.scale_sets;
    let scale_sets = (0..scale_sets).map(|_| PlacementRequest::scale_set(instances));
    let requests = scale_sets.chain((0..options.vms).map(|_| PlacementRequest::vm()));
    let empty = Simulation::new(options.seed, creation);
    requests.fold(empty, |all, request| all.with_request(Duration::ZERO, request))
}

const INK: RGBColor = RGBColor(40, 44, 52);
const BLUE_: RGBColor = RGBColor(31, 95, 175);
const ORANGE: RGBColor = RGBColor(214, 110, 20);
const GREEN_: RGBColor = RGBColor(30, 130, 90);

fn draw(path: &str, options: &Options, rows: &[Row], recommended: u32) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (960, 960)).into_drawing_area();
    root.fill(&WHITE)?;
    let (scale_sets, instances) = options.scale_sets;
    let title = format!(
        "{} VMs and {scale_sets} scale sets of {instances} at once, {} GiB image: {recommended} replicas are recommended",
        options.vms, options.image_gib
    );
    let root = root.titled(&title, ("sans-serif", 20).into_font().color(&INK))?;
    let panels = root.split_evenly((3, 1));
    let points = |value: &dyn Fn(&Row) -> f64| -> Vec<(f64, f64)> {
        rows.iter().map(|row| (f64::from(row.replicas), value(row))).collect()
    };
    let minutes = |row: &Row, percentile| row.queued.wait(percentile).as_secs_f64() / 60.0;
    let lines = [
        vec![
            ("median", GREEN_, points(&|row| minutes(row, 50))),
            ("95th percentile", BLUE_, points(&|row| minutes(row, 95))),
            ("99th percentile", ORANGE, points(&|row| minutes(row, 99))),
        ],
        vec![("throttled share", ORANGE, points(&|row| row.throttled.throttled_share() * 100.0))],
        vec![
            ("guideline", GREEN_, points(&|_| 100.0)),
            ("busiest replica", ORANGE, points(&|row| row.throttled.busiest_percent as f64)),
        ],
    ];
    let titles = [
        ("Wait for a replica, when creations queue", "minutes"),
        ("Creations on a full replica, when none waits", "% of creations"),
        ("Load per replica, when none waits", "% of guideline"),
    ];
    let (first, last) = (f64::from(*options.replicas.start()), f64::from(*options.replicas.end()).max(2.0));
    for ((panel, lines), (title, unit)) in panels.iter().zip(lines).zip(titles) {
        let most = lines.iter().flat_map(|(_, _, points)| points).map(|(_, value)| *value).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(panel)
            .caption(title, ("sans-serif", 17).into_font().color(&INK))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(first..last, 0.0..most * 1.08)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.12))
            .axis_style(INK.mix(0.5))
            .label_style(("sans-serif", 14).into_font().color(&INK))
            .x_labels(options.replicas.clone().count().min(20))
            .x_label_formatter(&|replicas| format!("{replicas:.0}"))
            .y_labels(5)
            .y_label_formatter(&|value| format!("{value:.0}"))
            .x_desc("replicas")
            .y_desc(unit)
            .draw()?;
        let mark = [(f64::from(recommended), 0.0), (f64::from(recommended), most * 1.08)];
        chart.draw_series(DashedLineSeries::new(mark, 4, 4, INK.mix(0.6).stroke_width(1)))?;
        for (name, color, points) in lines {
            let style = color.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.clone(), style))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            if name != "guideline" {
                chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, color.filled())))?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .margin(10)
            .label_font(("sans-serif", 14).into_font().color(&INK))
            .background_style(WHITE.mix(0.9))
            .draw()?;
    }
    root.present()?;
    Ok(())
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options { vms: 120, scale_sets: (5, 600), replicas: 1..=20, image_gib: 30, seed: 7, svg: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("vms") => options.vms = parser.value()?.parse()?,
            lexopt::Arg::Long("scale-sets") => {
                let value = parser.value()?.string()?;
                let (count, instances) = value.split_once('x').ok_or("--scale-sets is COUNTxINSTANCES, as 5x600")?;
                options.scale_sets = (count.parse()?, instances.parse()?);
            }
            lexopt::Arg::Long("replicas") => {
                let value = parser.value()?.string()?;
                let (first, last) = value.split_once("..=").ok_or("--replicas is FIRST..=LAST, as 1..=20")?;
                options.replicas = first.parse()?..=last.parse()?;
            }
            lexopt::Arg::Long("image-gib") => options.image_gib = parser.value()?.parse()?,
            lexopt::Arg::Long("seed") => options.seed = parser.value()?.parse()?,
            lexopt::Arg::Long("svg") => options.svg = Some(parser.value()?.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.replicas.is_empty() || *options.replicas.start() == 0 {
        return Err("--replicas must contain at least one count, and start at 1 or above".into());
    }
    Ok(options)
}
