//! What softflowd exported of real traffic gives the spans that independent readers of the same
//! datagrams agree on (`testdata/captures/README.md`);
//! and the comparison itself is tested.

mod attributes;
mod comparison;

use crate::flows::{self, Case};

#[test]
fn netflow_v5_of_softflowd() {
    judge("softflowd-v5");
}

#[test]
fn netflow_v9_of_softflowd() {
    judge("softflowd-v9");
}

#[test]
fn ipfix_of_softflowd() {
    judge("softflowd-ipfix");
}

fn judge(name: &str) {
    let folder = flows::workspace_root().join("testdata/captures");
    let cases = Case::all(&folder).expect("the captures come with the sources");
    let case = cases
        .into_iter()
        .find(|case| case.name == name)
        .expect("the case is there");
    assert!(!case.expected.records.is_empty(), "{name} expects records");
    let difference = flows::judge(&case).err().unwrap_or_default();
    assert!(difference.is_empty(), "{difference}");
}
