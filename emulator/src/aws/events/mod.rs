//! EventBridge: rules that send events of ECS to functions, and schedules that call functions.

mod pattern;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

pub(super) use self::pattern::Pattern;
pub use self::pattern::PatternError;
use crate::{
    invoker::Invoker,
    template::{ACCOUNT, EventRule, REGION, Schedule},
};

/// The default event bus with the rules and schedules of the template. Cheap to clone.
#[derive(Clone)]
pub(super) struct EventBus(Arc<Inner>);

struct Inner {
    rules: Vec<(Pattern, String)>,
    schedules: Vec<Schedule>,
    stack: String,
    invoker: Arc<dyn Invoker>,
}

impl EventBus {
    /// # Errors
    /// When a pattern holds what the emulator does not understand.
    pub(super) fn new(
        stack: &str,
        rules: &[EventRule],
        schedules: &[Schedule],
        invoker: Arc<dyn Invoker>,
    ) -> Result<Self, PatternError> {
        let rules = rules
            .iter()
            .map(|rule| Ok((Pattern::parse(&rule.pattern)?, rule.function.clone())))
            .collect::<Result<_, PatternError>>()?;
        Ok(Self(Arc::new(Inner {
            rules,
            schedules: schedules.to_vec(),
            stack: stack.to_owned(),
            invoker,
        })))
    }

    /// Functions that the event goes to; one that two rules name gets it twice, as on AWS.
    pub(super) fn targets(&self, event: &Value) -> Vec<String> {
        self.0
            .rules
            .iter()
            .filter(|(pattern, _)| pattern.matches(event))
            .map(|(_, function)| function.clone())
            .collect()
    }

    /// Calls a function with an event and waits until it was taken care of.
    pub(super) async fn deliver(&self, function: &str, event: Value) {
        self.0.invoker.invoke_event(function, event).await;
    }

    /// Fires the schedules of a function once, now; returns how many there are.
    pub(super) async fn fire(&self, function: &str) -> usize {
        let due: Vec<_> = self
            .0
            .schedules
            .iter()
            .filter(|it| it.function == function)
            .collect();
        for schedule in &due {
            self.deliver(&schedule.function, self.scheduled_event(schedule))
                .await;
        }
        due.len()
    }

    /// One future per schedule that fires it until dropped. A firing that comes while the former one is
    /// still running waits for it, and what was missed meanwhile is left out: a local machine that was
    /// asleep is not to be flooded.
    pub(super) fn schedules(&self) -> Vec<impl Future<Output = ()> + Send + 'static> {
        (0..self.0.schedules.len())
            .map(|index| {
                let bus = self.clone();
                async move {
                    let schedule = &bus.0.schedules[index];
                    let period = Duration::from_secs(schedule.seconds.max(1));
                    let mut ticks =
                        tokio::time::interval_at(tokio::time::Instant::now() + period, period);
                    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
                    loop {
                        ticks.tick().await;
                        bus.deliver(&schedule.function, bus.scheduled_event(schedule))
                            .await;
                    }
                }
            })
            .collect()
    }

    fn scheduled_event(&self, schedule: &Schedule) -> Value {
        let rule = format!("{}-{}", self.0.stack, schedule.name);
        envelope(
            "aws.events",
            "Scheduled Event",
            json!([format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{rule}")]),
            json!({}),
        )
    }
}

/// The frame of every event.
pub(super) fn envelope(source: &str, kind: &str, resources: Value, detail: Value) -> Value {
    json!({
        "version": "0",
        "id": uuid::Uuid::new_v4().to_string(),
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": time_text(super::ecs::now(), false),
        "region": REGION,
        "resources": resources,
        "detail": detail,
    })
}

/// RFC 3339 in UTC, of milliseconds since 1970.
pub(super) fn time_text(milliseconds: i64, fractions: bool) -> String {
    let kept = if fractions {
        milliseconds
    } else {
        milliseconds - milliseconds.rem_euclid(1000)
    };
    aws_smithy_types::DateTime::from_millis(kept)
        .fmt(aws_smithy_types::date_time::Format::DateTime)
        .unwrap_or_default()
}
