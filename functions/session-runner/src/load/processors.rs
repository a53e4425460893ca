//! Used processor time, of what may be used.
//!
//! Read from the control group of the container (version 2 or 1), else from what Linux says of the whole
//! machine; other systems say nothing. Fargate bounds the task and not its container, so the bound comes
//! from the task's metadata; without one it is the processors that this process may use.
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html>

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::thousandths;

/// Ticks a second in `/proc/stat`, on every architecture that we build for.
const TICKS: f64 = 100.0;

/// Looks at the processors now and then.
#[derive(Debug)]
pub struct Processors {
    root: PathBuf,
    /// So many may be used.
    bound: f64,
    /// Seconds that were used by then.
    last: Option<(f64, Instant)>,
}

impl Processors {
    /// Begins; `bound` is how many processors the task may use, where that is known.
    #[must_use]
    pub fn of_task(bound: Option<f64>) -> Self {
        Self::below(Path::new("/"), bound)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a machine has far fewer than 2^53 processors"
    )]
    fn below(root: &Path, bound: Option<f64>) -> Self {
        let own = || std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        let mut processors = Self {
            root: root.to_owned(),
            bound: bound.filter(|bound| *bound > 0.0).unwrap_or_else(own),
            last: None,
        };
        processors.last = processors.seconds().map(|used| (used, Instant::now()));
        processors
    }

    /// Share of the processor time since the last look that was used; more than 1 where a bound may be
    /// passed for a moment.
    pub fn used(&mut self) -> Option<f64> {
        let now = (self.seconds()?, Instant::now());
        let (used, at) = self.last.replace(now)?;
        let passed = now.1.duration_since(at).as_secs_f64();
        // A counter that began anew says nothing about the time before.
        let more = now.0 - used;
        (passed > 0.0 && more >= 0.0).then(|| thousandths(more / passed / self.bound))
    }

    /// Processor seconds that were used since some moment.
    fn seconds(&self) -> Option<f64> {
        let read = |name: &str| std::fs::read_to_string(self.root.join(name)).ok();
        let unified = || {
            let text = read("sys/fs/cgroup/cpu.stat")?;
            let usage = text
                .lines()
                .find_map(|line| line.strip_prefix("usage_usec "));
            Some(usage?.trim().parse::<f64>().ok()? / 1e6)
        };
        let accounted = || {
            let text = read("sys/fs/cgroup/cpuacct/cpuacct.usage");
            let text = text.or_else(|| read("sys/fs/cgroup/cpu,cpuacct/cpuacct.usage"))?;
            Some(text.trim().parse::<f64>().ok()? / 1e9)
        };
        let machine = || of_machine(&read("proc/stat")?);
        unified().or_else(accounted).or_else(machine)
    }
}

/// User, nice, system, interrupts and soft interrupts of all processors, less what was idle or waited.
fn of_machine(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let busy = [0, 1, 2, 5, 6].map(|index: usize| ticks.get(index).copied());
    let busy: Option<f64> = busy.into_iter().sum();
    Some(busy? / TICKS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A machine that says this in one of its files.
    fn machine(name: &str, text: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        say(root.path(), name, text);
        root
    }

    fn say(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("written");
    }

    #[test]
    fn each_kind_of_machine_is_read() {
        for (name, before, after) in [
            (
                "sys/fs/cgroup/cpu.stat",
                "usage_usec 1000000\nuser_usec 1\n",
                "usage_usec 3000000\nuser_usec 1\n",
            ),
            (
                "sys/fs/cgroup/cpuacct/cpuacct.usage",
                "1000000000\n",
                "3000000000\n",
            ),
            (
                "sys/fs/cgroup/cpu,cpuacct/cpuacct.usage",
                "1000000000\n",
                "3000000000\n",
            ),
            (
                "proc/stat",
                "cpu  50 10 20 7000 9 10 10 3 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
                "cpu  200 10 70 9000 99 10 10 3 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
            ),
        ] {
            let root = machine(name, before);
            let mut processors = Processors::below(root.path(), Some(2.0));
            assert_eq!(processors.seconds(), Some(1.0), "{name}");
            say(root.path(), name, after);
            let began = Instant::now() - Duration::from_secs(1);
            processors.last = Some((1.0, began));
            let used = processors.used().expect("two looks");
            // Two seconds of two processors in a little more than one.
            assert!((0.5..=1.0).contains(&used), "{name}: {used}");
            // A container that was frozen and began anew counts from zero.
            say(root.path(), name, before);
            assert_eq!(processors.used(), None, "{name}");
        }
        for text in ["", "usage_usec\n", "usage_usec many\n", "cpu 1 2\n"] {
            for name in ["sys/fs/cgroup/cpu.stat", "proc/stat"] {
                let root = machine(name, text);
                assert_eq!(Processors::below(root.path(), None).used(), None);
            }
        }
    }

    /// What this very machine says while all of its processors are busy.
    #[cfg(target_os = "linux")]
    #[test]
    fn work_is_seen() {
        let mut processors = Processors::of_task(None);
        let before = processors.seconds().expect("Linux says it");
        let busy = Duration::from_millis(600);
        let own = std::thread::available_parallelism()
            .expect("processors")
            .get();
        let spin = || {
            let began = Instant::now();
            while began.elapsed() < busy {
                std::hint::spin_loop();
            }
        };
        std::thread::scope(|scope| (0..own).for_each(|_| drop(scope.spawn(spin))));
        let more = processors.seconds().expect("Linux says it") - before;
        assert!(more > 0.2, "{more} s of {own} processors");
        let used = processors.used().expect("two looks");
        // Others who share the machine may have had a part of the time.
        assert!(used > 0.3, "{used} of {own} processors");
    }
}
