//! "Who answers?" The model decided on, or one other that fits, where nothing was started yet.

use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::app::{App, Served};
use crate::backends::{Answer, Applied, BackendError, Blame, Call, Steps};
use crate::decide::Decision;

/// Attempts at one request. SDKs retry too; each attempt more would multiply theirs.
const ATTEMPTS: usize = 2;

/// A call and who may take it, best first; never empty.
pub struct Order {
    call: Call,
    takers: Vec<Arc<Served>>,
}

/// An answer and who gives it.
pub struct Dispatched {
    /// Who.
    pub served: Arc<Served>,
    /// What; if it is a stream, its first step has arrived.
    pub answer: Answer,
    /// What it was told of the decision.
    pub applied: Applied,
}

impl Order {
    /// The model decided on first; then, if the choice was `free`, the next best arms of the same thinking mode.
    #[must_use]
    pub fn new(app: &App, decision: &Decision, call: Call, free: bool) -> Option<Order> {
        let mut takers = vec![Arc::clone(app.served(&decision.model)?)];
        if free {
            let now = Instant::now();
            let others = decision
                .arms
                .iter()
                .filter(|arm| arm.thinking == decision.thinking.mode && arm.model != decision.model)
                .filter_map(|arm| app.served(&arm.model))
                .filter(|served| served.breaker.available(now));
            takers.extend(others.take(ATTEMPTS - 1).cloned());
        }
        Some(Order { call, takers })
    }

    /// A text to be continued.
    #[must_use]
    pub fn is_completion(&self) -> bool {
        self.call.is_completion()
    }

    /// What the first taker will be told of the decision.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.takers[0].applied(&self.call)
    }
}

/// Asks each taker until one answers or an error says not to go on.
///
/// # Errors
/// The last attempt's.
pub async fn dispatch(app: Arc<App>, order: Order) -> Result<Dispatched, BackendError> {
    let mut takers = order.takers.into_iter().peekable();
    loop {
        let served = takers.next().expect("an order names at least one taker, and the last one returns");
        match attempt(&app, &served, &order.call).await {
            Ok(answer) => {
                let applied = served.applied(&order.call);
                let trail = app.warmth.trail(&order.call.body, order.call.caller);
                app.warmth.read(&trail, &served.model.profile.name, Instant::now());
                return Ok(Dispatched { served, answer, applied });
            }
            Err(error) if error.may_retry() && takers.peek().is_some() => {
                tracing::warn!(model = served.model.profile.name, %error, "trying another model");
            }
            Err(error) => return Err(error),
        }
    }
}

async fn attempt(app: &Arc<App>, served: &Arc<Served>, call: &Call) -> Result<Answer, BackendError> {
    served.breaker.asked(Instant::now());
    let answer = match served.ask(call).await {
        Ok(Answer::Steps(steps)) => first_step(steps).await.map(Answer::Steps),
        other => other,
    };
    match answer {
        Err(error) => {
            note_failure(app, served, &error);
            Err(error)
        }
        Ok(answer) => {
            served.breaker.succeeded();
            Ok(match answer {
                Answer::Steps(steps) => Answer::Steps(watched(app, served, steps)),
                whole => whole,
            })
        }
    }
}

/// Waits for the first step, so that a failure before it still gets a status of its own.
async fn first_step(mut steps: Steps) -> Result<Steps, BackendError> {
    match steps.next().await {
        Some(Ok(step)) => Ok(Box::pin(stream::once(async { Ok(step) }).chain(steps))),
        Some(Err(error)) => Err(error),
        None => Err(BackendError::Truncated(None)),
    }
}

/// The same steps; a failure among them counts against the model's health.
fn watched(app: &Arc<App>, served: &Arc<Served>, steps: Steps) -> Steps {
    let (app, served) = (Arc::clone(app), Arc::clone(served));
    Box::pin(steps.inspect_err(move |error| note_failure(&app, &served, error)))
}

fn note_failure(app: &App, served: &Served, error: &BackendError) {
    app.recorder.metrics.attempt_failed(&served.model.profile.name, error.code());
    match error.blame() {
        Blame::Backend => served.breaker.failed(Instant::now()),
        // It answered, and properly.
        Blame::Caller => served.breaker.succeeded(),
        Blame::Load => {}
    }
}
