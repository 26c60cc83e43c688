//! `/metrics` as Prometheus text, format 0.0.4: each metric with HELP and TYPE, its samples together, shards in order.

use std::fmt::Write;

use super::process::ProcessFacts;
use super::registry::{self, Counter, Gauge, MetricSpec, Timing};
use super::shard::{BUCKET_BOUNDS_US, Band, Buckets, ShardSnapshot};
use crate::stage::Stage;

/// The text's `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole answer of `/metrics`.
pub fn render_prometheus(shards: &[ShardSnapshot], process: &ProcessFacts) -> String {
    let mut out = Text(String::with_capacity(16 * 1024));
    for counter in Counter::ALL {
        out.head(&counter.spec());
        for s in shards {
            out.sample(counter.spec().name, &[("shard", &s.shard.to_string())], s.counters.get(*counter as usize).copied().unwrap_or(0));
        }
    }
    for gauge in Gauge::ALL {
        out.head(&gauge.spec());
        for s in shards {
            out.sample(gauge.spec().name, &[("shard", &s.shard.to_string())], s.gauges.get(*gauge as usize).copied().unwrap_or(0));
        }
    }
    out.head(&registry::REQUESTS);
    for s in shards {
        for a in &s.apis {
            out.sample(registry::REQUESTS.name, &[("shard", &s.shard.to_string()), ("api", a.api)], a.requests);
        }
    }
    out.head(&registry::ERRORS);
    for s in shards {
        for (code, n) in &s.errors {
            out.sample(registry::ERRORS.name, &[("shard", &s.shard.to_string()), ("code", code)], n);
        }
    }
    out.head(&registry::REQUEST_SECONDS);
    for s in shards {
        for a in &s.apis {
            if let Some(total) = &a.total {
                out.histogram(registry::REQUEST_SECONDS.name, &[("shard", &s.shard.to_string()), ("api", a.api)], total);
            }
        }
    }
    out.head(&registry::STAGE_SECONDS);
    for s in shards {
        for a in &s.apis {
            for (stage, buckets) in &a.stages {
                let labels = [("shard", s.shard.to_string()), ("api", a.api.to_string()), ("stage", stage.name().to_string())];
                let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
                out.histogram(registry::STAGE_SECONDS.name, &labels, buckets);
            }
        }
    }
    out.bands(shards);
    for timing in Timing::ALL {
        out.head(&timing.spec());
        for s in shards {
            if let Some(Some(buckets)) = s.timings.get(*timing as usize) {
                out.histogram(timing.spec().name, &[("shard", &s.shard.to_string())], buckets);
            }
        }
    }
    out.one(&registry::PROCESS_CPU, process.cpu_seconds);
    out.one(&registry::PROCESS_RESIDENT, process.resident_bytes);
    out.one(&registry::PROCESS_VIRTUAL, process.virtual_bytes);
    out.one(&registry::PROCESS_OPEN_FDS, process.open_fds);
    out.one(&registry::PROCESS_MAX_FDS, process.max_fds);
    out.one(&registry::PROCESS_THREADS, process.threads);
    out.one(&registry::PROCESS_START, process.start_seconds);
    out.head(&registry::BUILD_INFO);
    out.sample(registry::BUILD_INFO.name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.0
}

/// The text being written. Writing to a `String` cannot fail.
struct Text(String);

impl Text {
    fn head(&mut self, spec: &MetricSpec) {
        let _ = writeln!(self.0, "# HELP {} {}\n# TYPE {} {}", spec.name, spec.help.trim(), spec.name, spec.kind.name());
    }

    fn one(&mut self, spec: &MetricSpec, value: impl std::fmt::Display) {
        self.head(spec);
        self.sample(spec.name, &[], value);
    }

    /// Label values are names and numbers of our own, so nothing in them needs escaping.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn bands(&mut self, shards: &[ShardSnapshot]) {
        let all =
            || shards.iter().flat_map(|s| s.apis.iter().flat_map(move |a| a.bands.iter().map(move |b| (s.shard.to_string(), a.api, b))));
        let bound = |band: &Band| band.bound_us.map_or("+Inf".to_string(), seconds);
        self.head(&registry::BAND_REQUESTS);
        for (shard, api, band) in all() {
            self.sample(registry::BAND_REQUESTS.name, &[("shard", &shard), ("api", api), ("le", &bound(band))], band.requests);
        }
        self.head(&registry::BAND_STAGE_SECONDS);
        for (shard, api, band) in all() {
            for stage in Stage::ALL.into_iter().filter(|s| band.stage_us[*s as usize] > 0) {
                let labels = [("shard", shard.as_str()), ("api", api), ("le", &bound(band)), ("stage", stage.name())];
                self.sample(registry::BAND_STAGE_SECONDS.name, &labels, band.stage_us[stage as usize] as f64 / 1e6);
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], buckets: &Buckets) {
        let bucket = format!("{name}_bucket");
        for (bound_us, n) in BUCKET_BOUNDS_US.iter().zip(&buckets.cumulative) {
            let le = seconds(*bound_us);
            self.sample(&bucket, &[labels, &[("le", &le)]].concat(), n);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), buckets.count);
        self.sample(&format!("{name}_sum"), labels, buckets.sum_us as f64 / 1e6);
        self.sample(&format!("{name}_count"), labels, buckets.count);
    }
}

fn seconds(bound_us: u64) -> String {
    (bound_us as f64 / 1e6).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use coreline_wire::api::ApiKey;

    use super::*;
    use crate::metrics::ShardMetrics;
    use crate::stage::StageStamps;

    type Samples = BTreeMap<String, f64>;

    /// A small reader of the text format: checks HELP, TYPE, grouping and syntax; gives samples by name and labels, and types by name.
    fn read(text: &str) -> Result<(Samples, BTreeMap<String, String>), String> {
        let (mut samples, mut types, mut current) = (Samples::new(), BTreeMap::new(), String::new());
        let mut helped = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                helped = rest.split_once(' ').ok_or(format!("HELP without text: {line}"))?.0.to_string();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or(format!("TYPE without type: {line}"))?;
                if name != helped {
                    return Err(format!("TYPE {name} does not follow its HELP"));
                }
                if types.insert(name.to_string(), kind.to_string()).is_some() {
                    return Err(format!("{name} appears in two places"));
                }
                current = name.to_string();
            } else {
                let (series, value) = line.rsplit_once(' ').ok_or(format!("no value: {line}"))?;
                let name = series.split('{').next().unwrap_or("");
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)).filter(|b| *b == current);
                if base.unwrap_or(name) != current {
                    return Err(format!("sample of {name} below {current}"));
                }
                let value: f64 = value.parse().map_err(|_| format!("bad value: {line}"))?;
                if samples.insert(series.to_string(), value).is_some() {
                    return Err(format!("doubled sample {series}"));
                }
            }
        }
        Ok((samples, types))
    }

    fn example() -> String {
        let metrics = [ShardMetrics::new(0), ShardMetrics::new(1)];
        let mut stamps = StageStamps::start(0);
        stamps.mark(Stage::Decode, 12);
        stamps.mark(Stage::Send, 2_000_012);
        metrics[1].request(ApiKey::Fetch, &stamps);
        metrics[1].error(3);
        metrics[0].inc(Counter::Rescues);
        metrics[0].time(Timing::JournalFlush, 800);
        let shards: Vec<_> = metrics.iter().map(ShardMetrics::snapshot).collect();
        render_prometheus(&shards, &ProcessFacts { cpu_seconds: 1.5, ..ProcessFacts::default() })
    }

    #[test]
    fn the_text_is_well_formed_and_holds_every_declared_metric() {
        let (samples, types) = read(&example()).expect("well-formed");
        for metric in registry::all() {
            assert_eq!(types.get(metric.name).map(String::as_str), Some(metric.kind.name()), "{}", metric.name);
        }
        assert_eq!(samples["coreline_rescues_total{shard=\"0\"}"], 1.0);
        assert_eq!(samples["coreline_requests_total{shard=\"1\",api=\"Fetch\"}"], 1.0);
        assert_eq!(samples["coreline_errors_total{shard=\"1\",code=\"UNKNOWN_TOPIC_OR_PARTITION\"}"], 1.0);
        assert_eq!(samples["process_cpu_seconds_total"], 1.5);
    }

    #[test]
    fn histograms_are_cumulative_in_seconds_and_end_with_all() {
        let (samples, _) = read(&example()).expect("well-formed");
        let at =
            |le: &str| samples[&format!("coreline_request_stage_seconds_bucket{{shard=\"1\",api=\"Fetch\",stage=\"send\",le=\"{le}\"}}")];
        assert_eq!((at("1.5"), at("3"), at("+Inf")), (0.0, 1.0, 1.0));
        assert_eq!(samples["coreline_request_stage_seconds_sum{shard=\"1\",api=\"Fetch\",stage=\"send\"}"], 2.0);
        assert_eq!(samples["coreline_request_seconds_count{shard=\"1\",api=\"Fetch\"}"], 1.0);
        let series = "coreline_journal_flush_seconds_bucket{shard=\"0\"";
        let mut last = -1.0;
        for bound_us in BUCKET_BOUNDS_US {
            let n = samples[&format!("{series},le=\"{}\"}}", bound_us as f64 / 1e6)];
            assert!(n >= last, "buckets never fall");
            last = n;
        }
        assert_eq!(last, 1.0);
    }

    #[test]
    fn the_reader_refuses_what_is_wrong() {
        for bad in [
            "# TYPE a counter\na 1",
            "# HELP a h\n# TYPE a counter\nb 1",
            "# HELP a h\n# TYPE a counter\na 1\na 1",
            "# HELP a h\n# TYPE a counter\na x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
