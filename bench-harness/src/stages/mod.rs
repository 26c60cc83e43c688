//! Where the tail went: which stage of the server the slow requests spent their time in, from Coreline's `/metrics` before and after a run.
//!
//! Coreline counts produces and fetches in bands of their active time (the time without waiting for data) and sums each stage per band. The
//! difference of two readings tells, for the requests at and beyond a quantile, how much of their time each stage had. That is an exact sum over
//! those very requests, to the width of a band; a distribution per stage could not say it, since the slow produces and the slow flushes in it may
//! be different requests.

mod scrape;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use scrape::Scrape;

/// Requests that must lie at and beyond a quantile for its shares to be given.
const REQUESTS_MIN: f64 = 10.0;
/// Quantiles of the report.
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// Shares of the stages during a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// APIs that were called and are counted in bands.
    pub apis: Vec<ApiStages>,
    /// What the server's own counters rose by, those that rose.
    pub counters: BTreeMap<String, f64>,
}

/// The stages of one API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApiStages {
    /// Name of the API.
    pub api: String,
    /// Requests during the run.
    pub requests: u64,
    /// By quantile of the active time; quantiles that too few requests lie beyond are left out.
    pub quantiles: Vec<QuantileStages>,
}

/// The stages of the requests around or beyond a quantile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantileStages {
    /// The quantile, 0 to 1.
    pub quantile: f64,
    /// The requests' active time begins here, seconds.
    pub from_s: f64,
    /// And ends here; `None` is open. At the median it is the one band that holds the median; at higher quantiles everything beyond.
    pub to_s: Option<f64>,
    /// Their number.
    pub requests: u64,
    /// Largest share first; shares sum to 1.
    pub stages: Vec<StageShare>,
}

/// One stage's part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageShare {
    /// Name of the stage.
    pub stage: String,
    /// Share of the requests' active time, 0 to 1.
    pub share: f64,
    /// Mean per request, seconds.
    pub mean_s: f64,
}

impl StageReport {
    /// The stages between two readings. A server that was started again in between counts from zero: then the later reading is taken whole.
    pub fn between(before: &Scrape, after: &Scrape) -> StageReport {
        let grown = after.since(before);
        let apis = grown.bands.iter().map(|(api, bands)| api_stages(api, bands)).filter(|api| api.requests > 0).collect();
        let counters = grown.counters.into_iter().filter(|(_, by)| *by > 0.0).collect();
        StageReport { apis, counters }
    }

    /// The stage with the largest share of an API's time at a quantile.
    pub fn largest(&self, api: &str, quantile: f64) -> Option<&StageShare> {
        self.at(api, quantile)?.stages.first()
    }

    /// One stage's share of an API's time at a quantile.
    pub fn share(&self, api: &str, quantile: f64, stage: &str) -> Option<&StageShare> {
        self.at(api, quantile)?.stages.iter().find(|s| s.stage == stage)
    }

    fn at(&self, api: &str, quantile: f64) -> Option<&QuantileStages> {
        self.apis.iter().find(|a| a.api == api)?.quantiles.iter().find(|q| q.quantile == quantile)
    }
}

/// Requests of one band of active time and their time by stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Band {
    /// Upper bound, seconds; infinite for the last.
    pub to_s: f64,
    /// Requests.
    pub requests: f64,
    /// Seconds by stage.
    pub stage_s: BTreeMap<String, f64>,
}

fn api_stages(api: &str, bands: &[Band]) -> ApiStages {
    let requests: f64 = bands.iter().map(|band| band.requests).sum();
    let quantiles = QUANTILES.iter().filter(|q| requests * (1.0 - **q) >= REQUESTS_MIN - 1e-6);
    ApiStages { api: api.into(), requests: requests as u64, quantiles: quantiles.map(|q| quantile_stages(bands, requests, *q)).collect() }
}

fn quantile_stages(bands: &[Band], requests: f64, quantile: f64) -> QuantileStages {
    let mut seen = 0.0;
    let at = bands.iter().position(|band| {
        seen += band.requests;
        seen >= requests * quantile
    });
    let at = at.unwrap_or(bands.len().saturating_sub(1));
    let chosen = if quantile > 0.5 { &bands[at..] } else { &bands[at..=at] };
    let mut stage_s: BTreeMap<&str, f64> = BTreeMap::new();
    for (stage, seconds) in chosen.iter().flat_map(|band| &band.stage_s).filter(|(stage, _)| *stage != "park") {
        *stage_s.entry(stage).or_default() += seconds;
    }
    let (all_s, count): (f64, f64) = (stage_s.values().sum(), chosen.iter().map(|band| band.requests).sum());
    let share = |(stage, seconds): (&str, f64)| StageShare {
        stage: stage.into(),
        share: if all_s > 0.0 { seconds / all_s } else { 0.0 },
        mean_s: if count > 0.0 { seconds / count } else { 0.0 },
    };
    let mut stages: Vec<StageShare> = stage_s.into_iter().map(share).collect();
    stages.sort_by(|a, b| b.share.total_cmp(&a.share));
    QuantileStages {
        quantile,
        from_s: if at == 0 { 0.0 } else { bands[at - 1].to_s },
        to_s: chosen.iter().rfind(|band| band.requests > 0.0).map(|band| band.to_s).filter(|to| to.is_finite()),
        requests: count as u64,
        stages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(fast: u64, slow: u64, flush_s: f64) -> Scrape {
        let decode_s = (fast + slow) as f64 * 1e-5;
        Scrape::parse(&format!(
            "# HELP x y\ncoreline_request_band_requests_total{{shard=\"0\",api=\"Produce\",le=\"0.0001\"}} {fast}\n\
             coreline_request_band_requests_total{{shard=\"0\",api=\"Produce\",le=\"+Inf\"}} 0\n\
             coreline_request_band_requests_total{{shard=\"1\",api=\"Produce\",le=\"0.01\"}} {slow}\n\
             coreline_request_band_stage_seconds_total{{shard=\"0\",api=\"Produce\",le=\"0.0001\",stage=\"decode\"}} {decode_s}\n\
             coreline_request_band_stage_seconds_total{{shard=\"0\",api=\"Produce\",le=\"0.0001\",stage=\"send\"}} {}\n\
             coreline_request_band_stage_seconds_total{{shard=\"1\",api=\"Produce\",le=\"0.01\",stage=\"flush\"}} {flush_s}\n\
             coreline_request_band_stage_seconds_total{{shard=\"1\",api=\"Produce\",le=\"0.01\",stage=\"decode\"}} {}\n\
             coreline_request_band_stage_seconds_total{{shard=\"1\",api=\"Produce\",le=\"0.01\",stage=\"park\"}} 77\n\
             coreline_journal_flushes_total{{shard=\"0\"}} {slow}\ncoreline_journal_flushes_total{{shard=\"1\"}} {slow}\n",
            fast as f64 * 2e-5,
            slow as f64 * 1e-5,
        ))
    }

    #[test]
    fn the_tail_is_charged_to_the_stage_that_the_slow_requests_were_in() {
        let (before, after) = (metrics(1_000, 10, 0.01), metrics(3_000, 40, 0.301));
        let report = StageReport::between(&before, &after);
        let produce = &report.apis[0];
        assert_eq!((report.apis.len(), produce.requests, produce.quantiles.len()), (1, 2_030, 2), "no p99.9 of 2,030 requests");
        assert_eq!(report.largest("Produce", 0.5).map(|s| s.stage.as_str()), Some("send"), "the typical request spent its time elsewhere");
        let tail = report.largest("Produce", 0.99).expect("enough requests");
        assert_eq!(tail.stage, "flush");
        assert!(tail.share > 0.99 && (tail.mean_s - 0.291 / 30.0).abs() < 1e-9, "{tail:?}");
        let slow = &produce.quantiles[1];
        assert_eq!((slow.from_s, slow.to_s, slow.requests), (0.0001, Some(0.01), 30));
        assert!((slow.stages.iter().map(|s| s.share).sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!(report.counters.get("coreline_journal_flushes_total"), Some(&60.0));
    }

    #[test]
    fn a_restarted_server_counts_from_zero() {
        let report = StageReport::between(&metrics(5_000, 50, 1.0), &metrics(2_000, 20, 0.5));
        assert_eq!(report.apis[0].requests, 2_020);
    }

    #[test]
    fn without_bands_there_is_nothing_to_say() {
        let scrape = Scrape::parse("up 1\nbroken\nkafka_x{a=\"b\"} nan\n");
        assert!(StageReport::between(&Scrape::default(), &scrape).apis.is_empty());
    }
}
