//! One reading of `/metrics`: fetched over HTTP, and the series of it that tell where requests spent their time.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::Band;

/// Longest wait for the server's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 32 << 20;
const BAND_REQUESTS: &str = "coreline_request_band_requests_total";
const BAND_STAGE_SECONDS: &str = "coreline_request_band_stage_seconds_total";

/// What `/metrics` said at one moment, shards summed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    /// Bands by API, in order of their bounds.
    pub bands: BTreeMap<String, Vec<Band>>,
    /// Counters without labels but the shard.
    pub counters: BTreeMap<String, f64>,
}

impl Scrape {
    /// Asks `HOST:PORT` for its metrics.
    pub fn fetch(admin: &str) -> io::Result<Scrape> {
        let address = admin.to_socket_addrs()?.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
        let answer = String::from_utf8_lossy(&bytes);
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(Scrape::parse(body)),
            _ => Err(io::Error::other(format!("answered {:?}", answer.lines().next().unwrap_or("nothing")))),
        }
    }

    /// Reads Prometheus text. Lines that are not understood are skipped: another server may have them.
    pub fn parse(text: &str) -> Scrape {
        let mut scrape = Scrape::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some(value) = value.parse::<f64>().ok().filter(|value| value.is_finite()) else { continue };
            let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest.trim_end_matches('}')));
            let label = |wanted: &str| {
                let pairs = labels.split(',').filter_map(|pair| pair.split_once("=\""));
                pairs.filter(|(key, _)| *key == wanted).map(|(_, value)| value.trim_end_matches('"')).next()
            };
            match name {
                BAND_REQUESTS => {
                    if let Some(band) = scrape.band(label("api"), label("le")) {
                        band.requests += value;
                    }
                }
                BAND_STAGE_SECONDS => {
                    if let (Some(band), Some(stage)) = (scrape.band(label("api"), label("le")), label("stage")) {
                        *band.stage_s.entry(stage.to_string()).or_default() += value;
                    }
                }
                _ if name.starts_with("coreline_")
                    && name.ends_with("_total")
                    && labels.split(',').all(|l| l.is_empty() || l.starts_with("shard=")) =>
                {
                    *scrape.counters.entry(name.to_string()).or_default() += value;
                }
                _ => {}
            }
        }
        scrape
    }

    fn band(&mut self, api: Option<&str>, le: Option<&str>) -> Option<&mut Band> {
        let to_s: f64 = match le? {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().ok()?,
        };
        let bands = self.bands.entry(api?.to_string()).or_default();
        let at = bands.partition_point(|band| band.to_s < to_s);
        if bands.get(at).is_none_or(|band| band.to_s != to_s) {
            bands.insert(at, Band { to_s, ..Band::default() });
        }
        bands.get_mut(at)
    }

    /// What was added since `before`; all of it if any band shrank, which is what a new process looks like.
    pub(super) fn since(&self, before: &Scrape) -> Scrape {
        let earlier = |api: &str, to_s: f64| before.bands.get(api).and_then(|bands| bands.iter().find(|band| band.to_s == to_s));
        let is_new = before.bands.iter().any(|(api, bands)| {
            let now =
                |to_s: f64| self.bands.get(api).and_then(|all| all.iter().find(|band| band.to_s == to_s)).map_or(0.0, |band| band.requests);
            bands.iter().any(|band| now(band.to_s) < band.requests)
        });
        if is_new {
            return self.clone();
        }
        let mut grown = self.clone();
        for (api, bands) in &mut grown.bands {
            for band in bands {
                let Some(old) = earlier(api, band.to_s) else { continue };
                band.requests -= old.requests;
                for (stage, seconds) in &mut band.stage_s {
                    *seconds = (*seconds - old.stage_s.get(stage).copied().unwrap_or(0.0)).max(0.0);
                }
            }
        }
        for (name, value) in &mut grown.counters {
            *value -= before.counters.get(name).copied().unwrap_or(0.0);
        }
        grown
    }
}
