//! What the documents say is what the code says.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use quartet_crds::conditions::{Reason, Type};

#[cfg(test)]
fn read(document: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
    std::fs::read_to_string(path).unwrap()
}

/// The words in the first column of the tables under a heading and its subheadings.
#[cfg(test)]
fn first_column(text: &str, heading: &str) -> BTreeSet<String> {
    let section = text.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let words = rows.flat_map(|(cell, _)| cell.split(", ")).map(str::to_owned);
    words.filter(|word| word != "reason" && word != "type").collect()
}

#[test]
fn every_reason_is_documented_and_no_other() {
    let documented = first_column(&read("operations.md"), "Reasons\n");
    let known = Reason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    assert_eq!(documented, known);
}

#[test]
fn every_condition_is_documented_and_no_other() {
    let documented = first_column(&read("operations.md"), "Conditions\n");
    assert_eq!(documented, Type::ALL.map(|known| known.as_str().to_owned()).into());
}

#[test]
fn the_quickstart_is_bash() {
    let text = read("quickstart.md");
    let blocks: Vec<&str> =
        text.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(blocks.len() > 10, "only {} blocks", blocks.len());
    for block in blocks {
        let checked = Command::new("bash").args(["-n", "-c", block]).output().unwrap();
        assert!(checked.status.success(), "{}\n{block}", String::from_utf8_lossy(&checked.stderr));
    }
}
