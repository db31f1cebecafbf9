//! Every metric: name, help and labels in one place, one method per event.
//!
//! Label values come from enums and from the configuration, never from what a client sent.

use std::time::{Duration, UNIX_EPOCH};

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::backends::Usage;
use crate::decide::Decision;
use crate::loaded::{self, Loaded, Part, Standing};
use crate::record::{Outcome, Route};

/// All metrics of one gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    decisions: IntCounterVec,
    decision_seconds: Histogram,
    request_seconds: HistogramVec,
    first_token_seconds: HistogramVec,
    tokens: IntCounterVec,
    upstream_errors: IntCounterVec,
    fallbacks: IntCounter,
    in_flight: IntGauge,
    cancelled: IntCounter,
    connections: IntGauge,
    connections_refused: IntCounter,
    log_dropped: IntCounter,
    reloads: IntCounterVec,
    loaded: IntGaugeVec,
    loaded_timestamp: GaugeVec,
    reload_refused: IntGaugeVec,
}

const MICROS: &[f64] = &[2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 2e-2];
const SECONDS: &[f64] = &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 600.0];

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let metrics = Metrics {
            requests: counters("requests_total", "Requests finished.", &["route", "outcome"]),
            decisions: counters(
                "decisions_total",
                "Decisions made.",
                &["thinking", "model", "source", "language"],
            ),
            decision_seconds: histogram("decision_seconds", "Time to decide.", MICROS),
            request_seconds: histograms("request_seconds", "Time from request to end of answer.", &["route"]),
            first_token_seconds: histograms(
                "time_to_first_token_seconds",
                "Time from request to the first token of a stream.",
                &["model"],
            ),
            tokens: counters("tokens_total", "Tokens read and generated.", &["kind", "model"]),
            upstream_errors: counters("upstream_errors_total", "Failed attempts.", &["model", "code"]),
            fallbacks: counter(
                "fallbacks_total",
                "Requests served by another model than the one decided on.",
            ),
            in_flight: gauge("in_flight", "Requests being answered."),
            cancelled: counter("cancelled_total", "Requests whose client went away before the end."),
            connections: gauge("connections", "Open connections."),
            connections_refused: counter("connections_refused_total", "Connections closed for want of room."),
            log_dropped: counter("decision_log_dropped_total", "Lines the decision log had no room for."),
            reloads: counters("reloads_total", "Times that a part was read again.", &["part", "outcome"]),
            loaded: gauges("loaded_info", "1 for the version in force.", &["part", "version"]),
            loaded_timestamp: real_gauges(
                "loaded_timestamp_seconds",
                "When the version in force took over, since 1970.",
                &["part"],
            ),
            reload_refused: gauges(
                "reload_refused",
                "1 where what lies on disk is damaged, so that the last good version serves.",
                &["part"],
            ),
            registry,
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let all: Vec<Box<dyn prometheus::core::Collector>> = vec![
            Box::new(self.requests.clone()),
            Box::new(self.decisions.clone()),
            Box::new(self.decision_seconds.clone()),
            Box::new(self.request_seconds.clone()),
            Box::new(self.first_token_seconds.clone()),
            Box::new(self.tokens.clone()),
            Box::new(self.upstream_errors.clone()),
            Box::new(self.fallbacks.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.cancelled.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.connections_refused.clone()),
            Box::new(self.log_dropped.clone()),
            Box::new(self.reloads.clone()),
            Box::new(self.loaded.clone()),
            Box::new(self.loaded_timestamp.clone()),
            Box::new(self.reload_refused.clone()),
        ];
        for metric in all {
            self.registry.register(metric).expect("names are distinct and stated here");
        }
    }

    /// The exposition text.
    #[must_use]
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// A request began.
    pub fn request_began(&self) {
        self.in_flight.inc();
    }

    /// A request ended, one way or another.
    pub fn request_ended(&self, route: Route, outcome: Outcome, took: Duration) {
        self.in_flight.dec();
        self.requests.with_label_values(&[route.as_str(), outcome.as_str()]).inc();
        self.request_seconds.with_label_values(&[route.as_str()]).observe(took.as_secs_f64());
        if outcome == Outcome::Cancelled {
            self.cancelled.inc();
        }
    }

    /// A decision was made.
    pub fn decided(&self, decision: &Decision) {
        let thinking = &decision.thinking;
        let labels =
            [thinking.mode.as_str(), decision.model.as_str(), thinking.source.as_str(), decision.language];
        self.decisions.with_label_values(&labels).inc();
        if let Some(micros) = decision.micros {
            self.decision_seconds.observe(Duration::from_micros(micros).as_secs_f64());
        }
    }

    /// The first token of a stream went out.
    pub fn first_token(&self, model: &str, after: Duration) {
        self.first_token_seconds.with_label_values(&[model]).observe(after.as_secs_f64());
    }

    /// An answer's cost is known.
    pub fn used(&self, model: &str, usage: &Usage) {
        let reasoning = usage.reasoning_tokens.unwrap_or(0);
        let answer = usage.completion_tokens.saturating_sub(reasoning);
        for (kind, count) in [("prompt", usage.prompt_tokens), ("reasoning", reasoning), ("answer", answer)] {
            self.tokens.with_label_values(&[kind, model]).inc_by(count);
        }
    }

    /// An attempt failed.
    pub fn attempt_failed(&self, model: &str, code: &str) {
        self.upstream_errors.with_label_values(&[model, code]).inc();
    }

    /// Another model than the one decided on answered.
    pub fn fell_back(&self) {
        self.fallbacks.inc();
    }

    /// A connection was opened.
    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    /// A connection was closed.
    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    /// A connection was closed unheard for want of room.
    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// The decision log had no room for a line.
    pub fn log_dropped(&self) {
        self.log_dropped.inc();
    }

    /// Everything was loaded for the first time.
    pub fn started(&self, first: &Loaded) {
        for part in Part::ALL {
            // A counter that is not there yet hides its first step.
            for outcome in loaded::Outcome::ALL {
                self.reloads.with_label_values(&[part.as_str(), outcome.as_str()]);
            }
            self.stands(part, first.standing(part));
        }
    }

    /// Everything was read again, and `next` took over from `old`.
    pub fn reloaded(&self, old: &Loaded, next: &Loaded) {
        let outcomes = next.last_reload.map(|reload| reload.outcomes).into_iter().flatten();
        for (part, outcome) in Part::ALL.into_iter().zip(outcomes) {
            self.reloads.with_label_values(&[part.as_str(), outcome.as_str()]).inc();
            let (before, now) = (old.standing(part), next.standing(part));
            self.stands(part, now);
            if shown(before) != shown(now) {
                // Fails only where it is gone already.
                let _ = self.loaded.remove_label_values(&[part.as_str(), shown(before)]);
            }
        }
    }

    fn stands(&self, part: Part, standing: &Standing) {
        let since = standing.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.loaded.with_label_values(&[part.as_str(), shown(standing)]).set(1);
        self.loaded_timestamp.with_label_values(&[part.as_str()]).set(since.as_secs_f64());
        self.reload_refused.with_label_values(&[part.as_str()]).set(standing.refused.is_some().into());
    }
}

fn shown(standing: &Standing) -> &str {
    standing.version.as_deref().unwrap_or("none")
}

const STATED: &str = "names and labels are stated here and valid";

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help).namespace("thinkgate"), labels).expect(STATED)
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::with_opts(Opts::new(name, help).namespace("thinkgate")).expect(STATED)
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::with_opts(Opts::new(name, help).namespace("thinkgate")).expect(STATED)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help).namespace("thinkgate"), labels).expect(STATED)
}

fn real_gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help).namespace("thinkgate"), labels).expect(STATED)
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts::new(name, help).namespace("thinkgate").buckets(buckets.to_vec());
    Histogram::with_opts(options).expect(STATED)
}

fn histograms(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).namespace("thinkgate").buckets(SECONDS.to_vec());
    HistogramVec::new(options, labels).expect(STATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_exposed_with_help() {
        let metrics = Metrics::default();
        metrics.request_began();
        metrics.request_ended(Route::Chat, Outcome::Answered, Duration::from_millis(5));
        let usage = Usage {
            prompt_tokens: 3,
            completion_tokens: 5,
            reasoning_tokens: Some(2),
            cached_tokens: None,
            raw: None,
        };
        metrics.used("small", &usage);
        let text = metrics.text();
        assert!(text.contains("thinkgate_requests_total{outcome=\"answered\",route=\"chat\"} 1"), "{text}");
        assert!(text.contains("thinkgate_tokens_total{kind=\"answer\",model=\"small\"} 3"), "{text}");
        assert!(text.contains("# HELP thinkgate_in_flight"), "{text}");
    }
}
