//! What the process costs, which version it is, and since when it runs.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// What the process costs, as every Prometheus client calls it.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        for name in ["argo_rollouts_controller_info", "build_info"] {
            let mut family =
                encoder.encode_descriptor(name, "The running version", None, MetricType::Gauge)?;
            ConstGauge::new(1_u64).encode(family.encode_family(&[("version", version)])?)?;
        }
        if let Some(bytes) = resident_bytes() {
            let name = "process_resident_memory_bytes";
            let metric = encoder.encode_descriptor(name, "Resident memory", None, MetricType::Gauge)?;
            ConstGauge::new(bytes).encode(metric)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let help = "User and system CPU time";
            let mut metric =
                encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
        }
        if let Some(seconds) = start_seconds() {
            let (name, help) = ("process_start_time_seconds", "Start of the process, since 1970");
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(seconds).encode(metric)?;
        }
        Ok(())
    }
}

/// Resident memory of this process; `None` where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// CPU time of this process; `None` where the system does not tell.
fn cpu_seconds() -> Option<f64> {
    Some(stat_seconds(14)? + stat_seconds(15)?)
}

/// When this process started, in seconds since 1970; `None` where the system does not tell.
fn start_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + stat_seconds(22)?)
}

/// A time in `/proc/self/stat`, by the number that its manual page gives the field.
fn stat_seconds(field: usize) -> Option<f64> {
    /// Clock ticks a second in `/proc`, the same on every architecture of Linux.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name, which may hold spaces.
    let ticks = stat.rsplit_once(')')?.1.split_whitespace().nth(field.checked_sub(3)?)?;
    Some(ticks.parse::<f64>().ok()? / TICKS)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn the_process_tells_what_it_costs() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("process_cpu_seconds_total") && text.contains("process_resident_memory_bytes"));
        // Between the start of 2020 and that of 2100.
        let start = start_seconds().unwrap();
        assert!((1.577e9..4.102e9).contains(&start), "{start}");
        assert!(text.contains("process_start_time_seconds"));
    }
}
