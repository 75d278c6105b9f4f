//! The service's metrics, in the format of Prometheus.

use std::fmt;
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::memory::resident;

/// Bounds of the histograms of seconds: from a small model's part of a batch to the timeout of a request.
const SECONDS_BOUNDS: [f64; 15] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Bounds of the histogram of batch sizes.
const BATCH_BOUNDS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// The stages of an image, in order, and the whole of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From an upload to the encoder's input size.
    Decode,
    /// Waiting in the queue.
    Wait,
    /// From input to features: the batch's time divided by its size.
    Encode,
    /// From features to words: the batch's time divided by its size.
    Generate,
    /// A whole request, from its headers to the answer.
    Total,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Wait => "wait",
            Stage::Encode => "encode",
            Stage::Generate => "generate",
            Stage::Total => "total",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

/// All metrics of the service.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    batches: Histogram,
    queue: Gauge,
    memory: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let requests = Family::default();
        let stages: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS_BOUNDS));
        let batches = Histogram::new(BATCH_BOUNDS);
        let (queue, memory) = (Gauge::default(), Gauge::default());
        let mut registry = Registry::default();
        registry.register(
            "glimpse_requests",
            "Requests that were answered",
            requests.clone(),
        );
        registry.register_with_unit(
            "glimpse_stage",
            "Time of an image in each stage (its share of the batch's time), and of a whole request for captions",
            Unit::Seconds,
            stages.clone(),
        );
        registry.register(
            "glimpse_batch_images",
            "Images in a batch of the model",
            batches.clone(),
        );
        registry.register(
            "glimpse_queue_images",
            "Images that wait for the model",
            queue.clone(),
        );
        registry.register(
            "process_resident_memory_bytes",
            "Resident memory of the process, if the system reports it",
            memory.clone(),
        );
        Metrics {
            registry,
            requests,
            stages,
            batches,
            queue,
            memory,
        }
    }

    /// Counts an answer. `route` is one of the service's routes, not a text from the client.
    pub fn request(&self, method: &Method, route: &str, status: StatusCode) {
        let labels = RequestLabels {
            method: known(method),
            route: route.to_string(),
            status: status.as_u16(),
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Records a batch of `images`.
    pub fn batch(&self, images: usize) {
        self.batches.observe(images as f64);
    }

    /// Records the time of one image in a stage.
    pub fn observe(&self, stage: Stage, took: Duration) {
        let labels = StageLabels {
            stage: stage.name(),
        };
        self.stages
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// Records, for each of `images`, its part of the time since `started`; returns that in milliseconds.
    pub fn observe_share(&self, stage: Stage, started: Instant, images: usize) -> f64 {
        let share = started.elapsed().div_f64(images.max(1) as f64);
        for _ in 0..images {
            self.observe(stage, share);
        }
        share.as_secs_f64() * 1e3
    }

    /// Returns all metrics as text; `waiting` images are in the queue.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn text(&self, waiting: usize) -> Result<String, fmt::Error> {
        self.queue.set(waiting as i64);
        self.memory.set(resident().unwrap_or(0) as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Returns the method if it is a known one, so that clients cannot create any number of labels.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_said() {
        let metrics = Metrics::new();
        metrics.request(&Method::POST, "/api/caption", StatusCode::OK);
        metrics.request(
            &Method::from_bytes(b"MADEUP").unwrap(),
            "other",
            StatusCode::NOT_FOUND,
        );
        metrics.batch(3);
        let ms = metrics.observe_share(Stage::Encode, Instant::now(), 3);
        assert!(ms >= 0.0);
        let text = metrics.text(2).unwrap();
        for line in [
            r#"glimpse_requests_total{method="POST",route="/api/caption",status="200"} 1"#,
            r#"glimpse_requests_total{method="other",route="other",status="404"} 1"#,
            r#"glimpse_batch_images_bucket{le="4.0"} 1"#,
            r#"glimpse_stage_seconds_count{stage="encode"} 3"#,
            "glimpse_queue_images 2",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        if cfg!(target_os = "linux") {
            assert!(!text.contains("process_resident_memory_bytes 0"));
        }
    }
}
