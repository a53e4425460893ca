//! Tables and buckets.

use serde_json::{Map, Value, json};

use super::{
    BucketResource, TableResource, TemplateError, functions::number, intrinsics::invalid,
    load::Resource,
};

/// Properties that CreateTable takes under the same name.
const TABLE: &[&str] = &[
    "AttributeDefinitions",
    "BillingMode",
    "GlobalSecondaryIndexes",
    "KeySchema",
    "LocalSecondaryIndexes",
    "ProvisionedThroughput",
    "Tags",
];
/// Properties that change nothing on one machine.
const TABLE_WITHOUT_EFFECT: &[&str] =
    &["DeletionProtectionEnabled", "SSESpecification", "TableName"];
const BUCKET_WITHOUT_EFFECT: &[&str] = &[
    "BucketName",
    "OwnershipControls",
    "PublicAccessBlockConfiguration",
    "Tags",
];

pub(super) fn table(resource: &Resource) -> Result<TableResource, TemplateError> {
    let mut request = Map::new();
    request.insert("TableName".into(), json!(resource.name));
    let mut ttl_attribute = None;
    let mut point_in_time_recovery = false;
    for (name, value) in &resource.properties {
        match name.as_str() {
            known if TABLE.contains(&known) => {
                request.insert(name.clone(), value.clone());
            }
            known if TABLE_WITHOUT_EFFECT.contains(&known) => {}
            // CloudFormation has no StreamEnabled: that the specification exists says it.
            "StreamSpecification" => {
                let mut stream = value.clone();
                stream["StreamEnabled"] = json!(true);
                request.insert(name.clone(), stream);
            }
            "PointInTimeRecoverySpecification" => {
                point_in_time_recovery = truth(&value["PointInTimeRecoveryEnabled"]);
            }
            "TimeToLiveSpecification" => {
                if truth(&value["Enabled"]) {
                    let attribute = value["AttributeName"].as_str();
                    let missing = || invalid(&resource.place(name), "AttributeName is missing");
                    ttl_attribute = Some(attribute.ok_or_else(missing)?.to_owned());
                }
            }
            _ => return Err(unknown(resource, name)),
        }
    }
    whole_numbers(&mut request, resource)?;
    Ok(TableResource {
        name: resource.name.clone(),
        create_table: Value::Object(request),
        ttl_attribute,
        point_in_time_recovery,
    })
}

/// Capacities may have come through parameters, as texts; the service takes numbers.
fn whole_numbers(
    request: &mut Map<String, Value>,
    resource: &Resource,
) -> Result<(), TemplateError> {
    for (name, value) in request.iter_mut() {
        match value {
            Value::Object(inner) => whole_numbers(inner, resource)?,
            Value::Array(items) => {
                for item in items.iter_mut().filter_map(Value::as_object_mut) {
                    whole_numbers(item, resource)?;
                }
            }
            value if name == "ReadCapacityUnits" || name == "WriteCapacityUnits" => {
                *value = json!(number::<u64>(value, &resource.place(name))?);
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn bucket(resource: &Resource) -> Result<BucketResource, TemplateError> {
    let mut versioning = false;
    let mut object_lock = false;
    let mut object_key = None;
    let mut lifecycle = Vec::new();
    for (name, value) in &resource.properties {
        match name.as_str() {
            "VersioningConfiguration" => versioning = value["Status"] == "Enabled",
            "ObjectLockEnabled" => object_lock = truth(value),
            "BucketEncryption" => {
                let rule = &value["ServerSideEncryptionConfiguration"][0];
                let key = rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"].as_str();
                object_key = key
                    .filter(|_| !truth(&rule["BucketKeyEnabled"]))
                    .map(str::to_owned);
            }
            "LifecycleConfiguration" => {
                let rules = value["Rules"].as_array();
                let missing = || invalid(&resource.place(name), "Rules is missing");
                lifecycle = rules.ok_or_else(missing)?.clone();
            }
            known if BUCKET_WITHOUT_EFFECT.contains(&known) => {}
            _ => return Err(unknown(resource, name)),
        }
    }
    Ok(BucketResource {
        name: resource.name.clone(),
        versioning,
        object_lock,
        object_key,
        lifecycle,
    })
}

fn truth(value: &Value) -> bool {
    value == true || value == "true"
}

fn unknown(resource: &Resource, name: &str) -> TemplateError {
    invalid(
        &resource.place(name),
        "the emulator does not know this property",
    )
}
