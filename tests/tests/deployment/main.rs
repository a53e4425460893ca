//! What `template.yaml` deploys, as far as it can be seen without a cloud: what AWS's translator makes
//! of it, rules in the language of CloudFormation Guard, and a deployment into an AWS emulator that we
//! did not write.

mod alarm_lines;
mod alarms;
mod costs;
mod deployed;
mod functions;
mod guarded;
mod patterns;
mod recovery;
