//! Making an API key and taking it back.

use domain::ports::{AuditTrail, Clock, KeyRing};
use domain::use_cases::{CreateKey, KeyRevoked, check_key, create_key, revoke_key};
use domain::{ApiKey, Authorized, KeyName, Principal, authorization::Administer, roles::SCOPES};
use domain::{audit::AuditChain, use_cases::list_keys};
use testkit::{Fake, FaultTime, owner};

fn administrator() -> (Principal, Authorized<Administer>) {
    let principal = Principal {
        owner: owner("administrator"),
        scopes: SCOPES.map(str::to_owned).to_vec(),
    };
    let proof = principal.authorize().expect("an administrator");
    (principal, proof)
}

async fn made(fake: &Fake) -> Result<ApiKey, domain::use_cases::CreateKeyError> {
    let wanted = CreateKey {
        name: KeyName::parse("ci").expect("valid"),
        scopes: vec!["sessions:read".to_owned()],
        days: 1,
        person: None,
    };
    let (principal, administrator) = administrator();
    let made = create_key(fake, &administrator, &principal, wanted).await;
    made.map(|(key, _)| key)
}

/// As many entries of the audit as changes of keys, whatever failed.
async fn assert_audited(fake: &Fake) {
    let keys = fake.api_keys().await.expect("read");
    let revoked = keys.iter().filter(|key| key.revoked_at.is_some()).count();
    let entries = fake.entries(&AuditChain::Deployment, 0, 100).await;
    assert_eq!(entries.expect("read").len(), keys.len() + revoked);
}

/// A second key is the worst that comes of a fault: nobody has seen the first.
#[tokio::test]
async fn making_a_key_makes_at_most_one_more() {
    for n in 1..=2 {
        for time in [FaultTime::Before, FaultTime::After] {
            let fake = Fake::new(1);
            fake.fail_call(n, time);
            assert!(made(&fake).await.is_err(), "call {n} {time:?}");
            let key = made(&fake).await.expect("nothing fails any more");
            assert!(check_key(&fake, key.expose()).await.is_ok());
            let (_, administrator) = administrator();
            let listed = list_keys(&fake, &administrator).await.expect("read");
            assert!(listed.len() <= 2, "{listed:?}");
            assert_audited(&fake).await;
        }
    }
}

#[tokio::test]
async fn revoking_survives() {
    let (_, administrator) = administrator();
    for n in 1..=2 {
        for time in [FaultTime::Before, FaultTime::After] {
            let fake = Fake::new(1);
            let key = made(&fake).await.expect("made");
            fake.fail_call(n, time);
            let revoke = async || revoke_key(&fake, &administrator, key.id()).await;
            assert!(revoke().await.is_err(), "call {n} {time:?}");
            let again = revoke().await.expect("nothing fails any more");
            let had_happened = n == 2 && time == FaultTime::After;
            let expected = if had_happened {
                KeyRevoked::Before
            } else {
                KeyRevoked::Revoked
            };
            assert_eq!(again, expected);
            assert!(check_key(&fake, key.expose()).await.is_err());
            assert_audited(&fake).await;
        }
    }
    let fake = Fake::new(1);
    let unknown = ApiKey::from_random([9; 17], [[9; 17]; 2]);
    let none = revoke_key(&fake, &administrator, unknown.id()).await;
    assert_eq!(none.expect("asked"), KeyRevoked::NotThere);
    assert!(fake.now().0 > 0);
}
