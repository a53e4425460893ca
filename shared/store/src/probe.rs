//! Whether what a deployment stands on answers: one cheap read of each, for `GET /ready`.

use domain::{UnixMillis, ports::Unavailable};

use crate::{
    Store, Topic,
    failure::{self, Kind},
    item::UnreadableRow,
    keys::Record,
};

/// As ECS spells it, for clusters and for task definitions.
const ACTIVE: &str = "ACTIVE";

impl Store {
    /// Reads the table's own count of sessions that hold compute.
    ///
    /// # Errors
    /// [`Unavailable`]: no session can be looked at either.
    pub async fn probe_table(&self) -> Result<u64, Unavailable> {
        const ATTEMPTED: &str = "read the table";
        let Some(row) = self
            .table
            .get(ATTEMPTED, &Record::DeploymentSlots.key())
            .await?
        else {
            return Ok(0);
        };
        row.number(crate::create::USED)
            .map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }

    /// Until when the table can be restored, to any moment before; `None` when it cannot.
    ///
    /// # Errors
    /// [`Unavailable`]: nobody knows.
    pub async fn restorable_until(&self) -> Result<Option<UnixMillis>, Unavailable> {
        const ATTEMPTED: &str = "ask for backups of the table";
        let table = &self.table;
        let asked = table.client.describe_continuous_backups();
        let answer = Box::pin(asked.table_name(&table.name).send())
            .await
            .map_err(|error| failure::aws(ATTEMPTED, Kind::Read, error))?;
        let found = answer.continuous_backups_description();
        let latest = found
            .and_then(|found| found.point_in_time_recovery_description())
            .and_then(|found| found.latest_restorable_date_time());
        let milliseconds = latest.map(|at| at.to_millis()).transpose();
        let milliseconds = milliseconds.map_err(|error| failure::own(ATTEMPTED, error))?;
        Ok(milliseconds
            .and_then(|at| u64::try_from(at).ok())
            .map(UnixMillis))
    }

    /// Asks whether the bucket is there and may be used.
    ///
    /// # Errors
    /// [`Unavailable`]: no checkpoint can be stored or restored either.
    pub async fn probe_bucket(&self) -> Result<(), Unavailable> {
        let asked = Box::pin(self.s3.head_bucket().bucket(&self.bucket).send()).await;
        asked
            .map(drop)
            .map_err(|error| failure::aws("reach the bucket", Kind::Read, error))
    }

    /// Asks whether the cluster and the task definition of runners are there and in use, both at once.
    ///
    /// # Errors
    /// [`Unavailable`]: no runner can be started either.
    pub async fn probe_compute(
        &self,
        cluster: &str,
        task_definition: &str,
    ) -> Result<(), Unavailable> {
        tokio::try_join!(
            self.probe_cluster(cluster),
            self.probe_definition(task_definition)
        )
        .map(drop)
    }

    async fn probe_cluster(&self, cluster: &str) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "look at the cluster";
        let answer = Box::pin(self.ecs.describe_clusters().clusters(cluster).send())
            .await
            .map_err(|error| failure::aws(ATTEMPTED, Kind::Read, error))?;
        // One that is not there is no error of ECS, but a failure in its answer.
        match answer.clusters().first().and_then(|found| found.status()) {
            Some(ACTIVE) => Ok(()),
            Some(other) => Err(failure::own(ATTEMPTED, format!("it is {other}"))),
            None => Err(failure::own(ATTEMPTED, "it does not exist")),
        }
    }

    async fn probe_definition(&self, name: &str) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "look at the task definition";
        let asked = self.ecs.describe_task_definition().task_definition(name);
        let answer = Box::pin(asked.send())
            .await
            .map_err(|error| failure::aws(ATTEMPTED, Kind::Read, error))?;
        let status = answer
            .task_definition()
            .and_then(|found| found.status())
            .map(|status| status.as_str().to_owned());
        match status.as_deref() {
            Some(ACTIVE) => Ok(()),
            other => Err(failure::own(
                ATTEMPTED,
                format!("it is {}", other.unwrap_or("in no state")),
            )),
        }
    }
}

impl Topic {
    /// Asks whether the topic is there.
    ///
    /// # Errors
    /// [`Unavailable`]: no notice can be published either.
    pub async fn probe(&self) -> Result<(), Unavailable> {
        let asked = self.sns.get_topic_attributes().topic_arn(&self.arn);
        Box::pin(asked.send())
            .await
            .map(drop)
            .map_err(|error| failure::aws("look at the topic", Kind::Read, error))
    }
}
