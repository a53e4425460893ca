//! The page of costs says what the recorded calls and the table of prices come to.

use e2e::{checkout, costs};

const PAGE: &str = "infra/COST.md";

#[test]
fn the_page_is_computed_from_the_record_and_the_prices() {
    let figures = costs::figures(&costs::Prices::load(), &costs::recorded());
    let table = costs::table(&figures);
    let page = checkout::read(PAGE);
    assert!(
        page.contains(&table),
        "{PAGE} says something else; put this there:\n{table}"
    );
}

#[test]
fn the_readme_and_the_page_know_each_other() {
    assert!(checkout::read("README.md").contains(&format!("({PAGE})")));
}
