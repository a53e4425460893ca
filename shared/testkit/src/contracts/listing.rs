//! Lists of sessions.

use domain::{
    State, Transition, UnixMillis,
    ports::{ControlChange, ListQuery},
};

use super::{Ports, new_owner};
use crate::{builders, yield_once};

/// `list`.
pub async fn listing_contract<P: Ports>(ports: &P) {
    let owner = new_owner(ports);
    let start = ports.now();
    let mut heads = Vec::new();
    // Two sessions share each time.
    for index in 0..7_u64 {
        let mut new = builders::new_session(ports, &owner);
        new.now = start.plus(index / 2);
        new.spec.tags = if index % 3 == 0 {
            vec!["third".to_owned()]
        } else {
            Vec::new()
        };
        heads.push(ports.create(new).await.expect("created").head);
    }
    heads.sort_by(|one, other| {
        (other.created_at, &other.key.session).cmp(&(one.created_at, &one.key.session))
    });
    let ended = ports
        .control(ControlChange {
            rewind: None,
            slots: domain::ports::SlotLimits::NONE,
            transition: Transition::WasCancelled,
            reason: "enough".to_owned(),
            events: Vec::new(),
            now: ports.now(),
            based_on: heads[2].clone(),
        })
        .await
        .expect("cancelled");
    heads[2] = ended;

    let query = |limit| ListQuery {
        limit,
        ..ListQuery::default()
    };
    // Lists may lag: wait until the newest change shows.
    let cancelled = ListQuery {
        states: vec![State::Cancelled],
        ..query(50)
    };
    for _ in 0..1_000 {
        if all(ports, &owner, &cancelled).await.len() == 1
            && all(ports, &owner, &query(50)).await.len() == 7
        {
            break;
        }
        yield_once().await;
    }
    assert_eq!(all(ports, &owner, &cancelled).await, [heads[2].clone()]);
    for limit in [1, 2, 3, 7, 50] {
        assert_eq!(all(ports, &owner, &query(limit)).await, heads, "{limit}");
    }
    let third = ListQuery {
        tags: vec!["third".to_owned()],
        ..query(2)
    };
    assert_eq!(all(ports, &owner, &third).await.len(), 3);
    let between = ListQuery {
        created_from: Some(start.plus(1)),
        created_before: Some(start.plus(3)),
        ..query(50)
    };
    let times: Vec<UnixMillis> = all(ports, &owner, &between)
        .await
        .iter()
        .map(|head| head.created_at)
        .collect();
    assert_eq!(
        times,
        [start.plus(2), start.plus(2), start.plus(1), start.plus(1)]
    );
    assert!(all(ports, &new_owner(ports), &query(50)).await.is_empty());
}

/// All pages.
async fn all<P: Ports>(ports: &P, owner: &domain::OwnerId, query: &ListQuery) -> Vec<domain::Head> {
    let mut query = query.clone();
    let mut heads = Vec::new();
    loop {
        let page = ports.list(owner, &query).await.expect("listed");
        assert!(page.heads.len() <= query.limit);
        heads.extend(page.heads);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return heads,
        }
    }
}
