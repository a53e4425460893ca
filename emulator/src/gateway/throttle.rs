//! The throttle of the stage: how many requests of a method are taken each second, whoever sends
//! them. Before the authorizer, as on AWS. The console says of the stage's default that "each method
//! in this stage will respect" it, so each method has a bucket of its own here.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

use crate::template::{Route, Throttle};

/// Method and path of a route.
type Place = (String, String);

pub(super) struct Throttles {
    settings: Vec<Throttle>,
    /// Requests that are there, and when that was counted.
    buckets: Mutex<HashMap<Place, (f64, Instant)>>,
}

impl Throttles {
    pub(super) fn new(settings: Vec<Throttle>) -> Self {
        Self {
            settings,
            buckets: Mutex::default(),
        }
    }

    /// Takes a request of the route out of its bucket; false when it is empty.
    pub(super) fn admits(&self, route: &Route) -> bool {
        let Some(setting) = self.setting(route) else {
            return true;
        };
        let now = Instant::now();
        let place = (route.method.clone(), route.path.clone());
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let (there, counted) = buckets.entry(place).or_insert((setting.burst, now));
        let back = now.duration_since(*counted).as_secs_f64() * setting.rate;
        *there = (*there + back).min(setting.burst);
        *counted = now;
        if *there < 1.0 {
            return false;
        }
        *there -= 1.0;
        true
    }

    /// What is said of the very method wins over what is said of all.
    fn setting(&self, route: &Route) -> Option<&Throttle> {
        let of = |method: &str, path: &str| {
            let mut settings = self.settings.iter();
            settings.find(|one| one.method == method && one.path == path)
        };
        of(&route.method, &route.path).or_else(|| of("*", "/*"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn route(path: &str) -> Route {
        Route {
            function: "f".to_owned(),
            path: path.to_owned(),
            method: "GET".to_owned(),
            streaming: true,
            timeout_milliseconds: 1000,
            authorizer: None,
        }
    }

    fn throttle(method: &str, path: &str, rate: f64, burst: f64) -> Throttle {
        Throttle {
            method: method.to_owned(),
            path: path.to_owned(),
            rate,
            burst,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate_and_each_method_for_itself() {
        let all = throttle("*", "/*", 2.0, 3.0);
        let throttles = Throttles::new(vec![all, throttle("GET", "/ready", 1.0, 1.0)]);
        let taken = |path: &str| (0..5).filter(|_| throttles.admits(&route(path))).count();
        assert_eq!(taken("/a"), 3);
        assert_eq!(taken("/ready"), 1);
        assert_eq!(taken("/b"), 3);
        tokio::time::advance(Duration::from_millis(1000)).await;
        assert_eq!((taken("/a"), taken("/ready")), (2, 1));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((taken("/a"), taken("/ready")), (3, 1));
        let none = Throttles::new(Vec::new());
        assert!((0..1000).all(|_| none.admits(&route("/a"))));
    }
}
